"""JSON answers and errors of the dashboard's interface, by ``API.md``. Called by the other files of this package."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

from p2p_flock.errors import ChainError, P2PFlockError, ParameterError, UsageError

BUSY_RETRY_S = 5


def encode_json(value: Mapping[str, object]) -> bytes:
    """One line, no spaces; a number that JSON does not know is a defect and raises ValueError."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def json_response(value: Mapping[str, object], status: int = 200) -> Response:
    return Response(encode_json(value), status, media_type="application/json")


def error_response(status: int, kind: str, message: str) -> Response:
    """``{"error": {"kind", "message"}}``."""
    response = json_response({"error": {"kind": kind, "message": message}}, status)
    if status == 503:
        response.headers["retry-after"] = str(BUSY_RETRY_S)
    return response


def refused_response(error: P2PFlockError) -> Response:
    """The answer to a command that met an expected error."""
    status = 502 if isinstance(error, ChainError) else 400 if isinstance(error, (UsageError, ParameterError)) else 500
    return error_response(status, type(error).__name__, str(error))
