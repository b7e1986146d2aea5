"""The OpenAPI 3.1 document of the interface: types from the commands' TypedDicts, words from ``CONTROL.md``. Pure.

Called by ``api.py``, which serves it, and by ``scripts/openapi``, which writes ``docs/reference/openapi.json``. Schemas
are JSON Schema 2020-12: https://spec.openapis.org/oas/v3.1.1. Every field of an answer is always there, so all are
required; new ones may come, so others are allowed.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from p2p_flock.dashboard.words import ControlWords, parse_control_document

# Grows when a path or field changes its meaning or goes; new ones may come without.
INTERFACE_VERSION = "1"
API_ROOT = "/api/v1"
_PLAIN: Mapping[type, dict[str, object]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}
_ERRORS = {
    "400": "an argument is missing, unknown, double or wrong",
    "401": "no token or cookie, or a wrong one",
    "403": "the Host, Origin or Sec-Fetch-Site header is another site's",
    "500": "disk, training process or peers failed, or a defect",
    "502": "the chain cannot be reached or refused",
    "503": "too many at a time",
    "504": "it took too long",
}
_EVENTS = (
    "Server-sent events: `event:` is the kind, `data:` one JSON object. `watch`: the result of alliance.watch; "
    "`mesh`: of node.mesh; `log`: lines as in node.log; `history`: rounds as in alliance.history. The first of each "
    "kind comes at once. See p2p_flock/dashboard/API.md."
)


def build_openapi(
    commands: Mapping[str, tuple[type, type]], defaults: Mapping[str, Mapping[str, object]], documentation: str
) -> dict[str, object]:
    """The document as JSON values.

    Args:
        commands: arguments and result types of the commands that are served.
        defaults: what stands for arguments that are left out, by command.
        documentation: the text of ``CONTROL.md``.
    """
    words = parse_control_document(documentation)
    schemas = _Schemas(words)
    paths: dict[str, object] = {}
    for command, (arguments, result) in sorted(commands.items()):
        text = words.command(command)
        operation: dict[str, object] = {
            "operationId": re.sub(r"\W", "_", command),
            "summary": f"The control command {command}.",
            **({"description": text} if text else {}),
            "parameters": _parameters(schemas, arguments, defaults.get(command, {})),
            "responses": {"200": _json_answer(schemas.of(result, command)), **_pick(list(_ERRORS))},
        }
        paths[f"{API_ROOT}/{command.replace('.', '/')}"] = {"get": operation}
    paths.update(_other_paths())
    schemas.found["Error"] = _error_schema()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "p2p_flock node, read-only interface",
            "version": INTERFACE_VERSION,
            "summary": "What one node sees and does, on loopback, for its operator.",
            "description": "Money is wei as a decimal text. Times are Unix seconds, `_ms` fields milliseconds. "
            "Digests, hashes and addresses are 0x and lower-case hex. null means not known or none.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:4180", "description": "the default of [dashboard] port"}],
        "security": [{"token": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.found.items())),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "dashboard.token in the data directory"},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "p2p_flock_4180",
                    "description": "from POST /api/v1/session; the name ends in the port",
                },
            },
        },
    }


class _Schemas:
    """TypedDicts as named schemas."""

    def __init__(self, words: ControlWords) -> None:
        self._words = words
        self.found: dict[str, object] = {}

    def of(self, hint: Any, command: str) -> dict[str, object]:
        """The schema of a type; a TypedDict becomes a named one that is referred to.

        ``command`` says whose table explains its fields; what several commands share keeps its first explanation.
        """
        if hint in _PLAIN:
            return dict(_PLAIN[hint])
        if is_typeddict(hint):
            name = hint.__name__
            if name not in self.found:
                self.found[name] = {}  # a type that holds itself would never end
                self.found[name] = self._object(hint, command)
            return {"$ref": f"#/components/schemas/{name}"}
        origin, parts = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            return self._union(parts, command)
        if origin is list:
            return {"type": "array", "items": self.of(parts[0], command)}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(parts[1], command)}
        assert hint is Any, f"no schema for {hint}"
        return {}

    def _union(self, parts: tuple[Any, ...], command: str) -> dict[str, object]:
        shown = [self.of(part, command) for part in parts]
        if all(set(one) == {"type"} for one in shown):
            return {"type": [one["type"] for one in shown]}
        return {"anyOf": shown}

    def _object(self, hint: type, command: str) -> dict[str, object]:
        hints = get_type_hints(hint)
        properties: dict[str, object] = {}
        for name, part in hints.items():
            schema = self.of(part, command)
            text = self._words.field(command, name)
            properties[name] = {**schema, "description": text} if text else schema
        shown: dict[str, object] = {"type": "object", "properties": properties, "required": list(hints)}
        summary = (hint.__doc__ or "").strip()
        return {**shown, "description": summary} if summary and not summary.startswith("dict(") else shown


def _parameters(schemas: _Schemas, arguments: type, defaults: Mapping[str, object]) -> list[dict[str, object]]:
    shown = []
    for name, hint in get_type_hints(arguments).items():
        schema = schemas.of(hint, "")
        kind = schema.get("type")
        if isinstance(kind, list):  # null is said by leaving the parameter out
            schema["type"] = next(one for one in kind if one != "null")
        if defaults.get(name) is not None:
            schema["default"] = defaults[name]
        shown.append({"name": name, "in": "query", "required": name not in defaults, "schema": schema})
    return shown


def _pick(statuses: list[str]) -> dict[str, object]:
    return {status: _error_answer(_ERRORS[status]) for status in statuses}


def _json_answer(schema: Mapping[str, object]) -> dict[str, object]:
    return {"description": "the result", "content": {"application/json": {"schema": schema}}}


def _error_answer(text: str) -> dict[str, object]:
    return {"description": text, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}


def _error_schema() -> dict[str, object]:
    text = {"type": "string"}
    error = {
        "type": "object",
        "properties": {"kind": text, "message": {**text, "description": "what is wrong, a newline, what to do"}},
        "required": ["kind", "message"],
    }
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}


def _other_paths() -> dict[str, object]:
    """What is no control command."""
    token = {"type": "object", "properties": {"token": {"type": "string", "maxLength": 128}}, "required": ["token"]}

    def text_answer(kind: str, what: str) -> dict[str, object]:
        return {"200": {"description": what, "content": {kind: {"schema": {"type": "string"}}}}}

    return {
        f"{API_ROOT}/session": {
            "post": {
                "operationId": "open_session",
                "summary": "Exchange the token for a cookie.",
                "security": [],
                "requestBody": {"required": True, "content": {"application/json": {"schema": token}}},
                "responses": {"204": {"description": "the cookie is set"}, **_pick(["400", "401", "403"])},
            },
            "delete": {
                "operationId": "close_session",
                "summary": "Remove the cookie.",
                "responses": {"204": {"description": "the cookie is removed"}, **_pick(["401", "403"])},
            },
        },
        f"{API_ROOT}/events": {
            "get": {
                "operationId": "events",
                "summary": "What changes, as it happens.",
                "description": _EVENTS,
                "responses": {**text_answer("text/event-stream", "events"), **_pick(["401", "403", "503"])},
            }
        },
        f"{API_ROOT}/openapi.json": {
            "get": {
                "operationId": "openapi",
                "summary": "This document.",
                "responses": {"200": _json_answer({"type": "object"}), **_pick(["401", "403"])},
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Metrics for Prometheus.",
                "responses": {**text_answer("text/plain", "Prometheus text"), **_pick(["401", "403"])},
            }
        },
    }
