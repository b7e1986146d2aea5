"""The paths below ``/api/v1``: read-only control commands, the session, the OpenAPI document; and ``/metrics``.

Called by ``server.py``. Nothing that moves money, changes the membership or stops the node may ever stand in
:data:`READ_COMMANDS`: whatever is there can be asked for by anything that runs in the operator's browser.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Union, get_args, get_origin, get_type_hints

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from p2p_flock.dashboard.access import Access
from p2p_flock.dashboard.answers import encode_json, error_response, json_response, refused_response
from p2p_flock.dashboard.connections import COMMAND_CONNECTION_SECONDS_MAX, set_lifetime
from p2p_flock.dashboard.openapi import build_openapi
from p2p_flock.dashboard.settings import DashboardSettings
from p2p_flock.errors import LocalProtocolError, P2PFlockError, UsageError

API_ROOT = "/api/v1"
# Every command that a browser may ask for, with what stands for arguments that are left out.
READ_COMMANDS: Mapping[str, Mapping[str, object]] = {
    "status": {},
    "alliance.watch": {},
    "alliance.list": {},
    "alliance.show": {},
    "alliance.history": {"before": None, "limit": 50},
    "node.mesh": {},
    "node.log": {"after": 0, "level": "info", "limit": 200},
    "wallet.show": {},
}
COMMANDS_AT_ONCE_MAX = 8
COMMAND_SECONDS_MAX = 30.0
SESSION_BODY_BYTES_MAX = 1 << 10
TEXT_CHARACTERS_MAX = 256  # of one argument; an alliance's ID has fewer than 100

_INTEGER = re.compile(r"-?[0-9]{1,18}")


def command_path(command: str) -> str:
    """``alliance.watch`` → ``/api/v1/alliance/watch``."""
    return f"{API_ROOT}/{command.replace('.', '/')}"


def describe_commands(commands: Mapping[str, tuple[type, type]], documentation: str) -> dict[str, object]:
    """The OpenAPI document over those of ``commands`` that are served; see ``build_openapi``."""
    served = {name: kinds for name, kinds in commands.items() if name in READ_COMMANDS}
    return build_openapi(served, READ_COMMANDS, documentation)


class Api:
    """Answers; see the module."""

    def __init__(self, settings: DashboardSettings, access: Access) -> None:
        self._settings = settings
        self._access = access
        self._slots = trio.CapacityLimiter(COMMANDS_AT_ONCE_MAX)
        self._openapi: bytes | None = None

    def routes(self) -> list[Route]:
        """All but the events."""
        served = [command for command in READ_COMMANDS if command in self._settings.commands]
        routes = [Route(command_path(command), self._command(command), methods=["GET"]) for command in served]
        routes.append(Route(f"{API_ROOT}/session", self._session, methods=["POST", "DELETE"]))
        routes.append(Route(f"{API_ROOT}/openapi.json", self._show_openapi, methods=["GET"]))
        if self._settings.render_metrics is not None:
            routes.append(Route("/metrics", self._metrics, methods=["GET"]))
        return routes

    def _command(self, command: str) -> Callable[[Request], Awaitable[Response]]:
        hints = get_type_hints(self._settings.commands[command][0])

        async def answer(request: Request) -> Response:
            set_lifetime(request.scope, COMMAND_CONNECTION_SECONDS_MAX)
            try:
                arguments = parse_arguments(hints, READ_COMMANDS[command], request.query_params.multi_items())
            except UsageError as error:
                return refused_response(error)
            return await self._ask(command, arguments)

        return answer

    async def _ask(self, command: str, arguments: dict[str, Any]) -> Response:
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            return error_response(503, "Busy", f"{COMMANDS_AT_ONCE_MAX} commands are running\ntry again later")
        try:
            with trio.move_on_after(COMMAND_SECONDS_MAX) as running:
                return json_response(await self._settings.ask(command, arguments))
        except LocalProtocolError:
            raise  # our own defect
        except P2PFlockError as error:
            return refused_response(error)
        finally:
            self._slots.release()
        assert running.cancelled_caught
        return error_response(
            504,
            "TooSlow",
            f"{command} took longer than {COMMAND_SECONDS_MAX:.0f} s\nis the chain's endpoint reachable?",
        )

    # --- session -----------------------------------------------------------------------------------------------

    async def _session(self, request: Request) -> Response:
        response = Response(status_code=204)
        if request.method == "DELETE":
            response.delete_cookie(self._access.cookie_name, path="/", httponly=True, samesite="strict")
            return response
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return error_response(400, "UsageError", "the body must be application/json\nsee the dashboard's API.md")
        body = await _read_body(request, SESSION_BODY_BYTES_MAX)
        if body is None:
            return error_response(413, "TooLarge", f"the body may have {SESSION_BODY_BYTES_MAX} bytes\nsend the token")
        if not self._access.is_token(_token_of(body)):
            return error_response(401, "NotAuthorised", "wrong token\nget the link with `p2p-flock dashboard`")
        response.set_cookie(
            self._access.cookie_name, self._access.cookie_value, path="/", httponly=True, samesite="strict"
        )
        return response

    # --- documents ---------------------------------------------------------------------------------------------

    async def _show_openapi(self, _request: Request) -> Response:
        if self._openapi is None:
            self._openapi = encode_json(describe_commands(self._settings.commands, self._settings.documentation))
        return Response(self._openapi, media_type="application/json")

    async def _metrics(self, _request: Request) -> Response:
        assert self._settings.render_metrics is not None
        return Response(self._settings.render_metrics(), media_type="text/plain; version=0.0.4")


def parse_arguments(
    hints: Mapping[str, Any], defaults: Mapping[str, object], given: list[tuple[str, str]]
) -> dict[str, Any]:
    """A command's arguments from query parameters, by the types of its arguments.

    Raises:
        UsageError: one is missing, unknown, double, too long or of the wrong type.
    """
    names = [name for name, _ in given]
    unknown = sorted(set(names) - set(hints))
    if unknown or len(names) != len(set(names)):
        raise UsageError(f"unknown or double arguments\nallowed are, once each: {', '.join(hints) or 'none'}")
    missing = sorted(set(hints) - set(names) - set(defaults))
    if missing:
        raise UsageError(f"the argument {missing[0]} is missing\nadd ?{missing[0]}=…")
    return {**defaults, **{name: _parse(name, text, hints[name]) for name, text in given}}


def _parse(name: str, text: str, hint: Any) -> object:
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if int in kinds:
        if _INTEGER.fullmatch(text) is None:
            raise UsageError(f"the argument {name} must be a whole number\nfor example ?{name}=12")
        return int(text)
    assert str in kinds, f"no query form for {hint}"
    if len(text) > TEXT_CHARACTERS_MAX or not text.isprintable():
        raise UsageError(
            f"the argument {name} must be printable, of at most {TEXT_CHARACTERS_MAX} characters\nshorten it"
        )
    return text


async def _read_body(request: Request, bytes_max: int) -> bytes | None:
    """``None`` beyond the bound; what is left is never read."""
    body = bytearray()
    async with aclosing(request.stream()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > bytes_max:
                return None
    return bytes(body)


def _token_of(body: bytes) -> str:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    token = message.get("token") if isinstance(message, dict) else None
    return token if isinstance(token, str) else ""
