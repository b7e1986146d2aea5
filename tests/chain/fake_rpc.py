"""A JSON-RPC endpoint that answers what a test says. Test support only; real HTTP, no chain behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from p2p_flock.chain.http import HttpEndpoint

JsonObject = dict[str, Any]


@dataclass
class FakeEndpoint:
    """Answers each HTTP request with what ``respond`` makes of its parsed body: a status and the body's bytes."""

    respond: Callable[[object], tuple[int, bytes]]
    bodies: list[object] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve_fake(respond: Callable[[object], tuple[int, bytes]]) -> Iterator[FakeEndpoint]:
    """Serve on a free port of 127.0.0.1 while the context lasts."""
    endpoint = FakeEndpoint(respond)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10.0

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.bodies.append(body)
            self.answer(*endpoint.respond(body))

        def do_GET(self) -> None:
            endpoint.bodies.append(self.path)
            self.answer(*endpoint.respond(self.path))

        def answer(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def results(values: Callable[[str], object]) -> Callable[[object], tuple[int, bytes]]:
    """A responder that answers each call, single or batched, by its method's name; a dict with "code" is an error."""

    def one(request: dict[str, object]) -> dict[str, object]:
        value = values(str(request["method"]))
        kind = "error" if isinstance(value, dict) and "code" in value else "result"
        return {"jsonrpc": "2.0", "id": request["id"], kind: value}

    def respond(body: object) -> tuple[int, bytes]:
        answer = [one(item) for item in body] if isinstance(body, list) else one(body)  # type: ignore[arg-type]
        return 200, json.dumps(answer).encode()

    return respond


class HttpFailure(Exception):
    """Raised by a test's answer: the whole exchange gets this status and body."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(status)
        self.status, self.body = status, body


@contextmanager
def serve_proxy(
    upstream_url: str, answer: Callable[[JsonObject, Callable[[], JsonObject]], JsonObject]
) -> Iterator[FakeEndpoint]:
    """An endpoint in front of a real one: ``answer`` gets each call and how to pass it on; it may do so, or lie."""
    upstream = HttpEndpoint(upstream_url, timeout_s=10.0, body_bytes_max=1 << 25)

    def pass_on(call: JsonObject) -> JsonObject:
        body = json.dumps(call).encode()
        return dict(json.loads(upstream.request("POST", "", body, {"Content-Type": "application/json"})[1]))

    def respond(body: object) -> tuple[int, bytes]:
        calls: list[JsonObject] = body if isinstance(body, list) else [body]  # type: ignore[list-item]
        try:
            answers = [answer(call, partial(pass_on, call)) for call in calls]
        except HttpFailure as failure:
            return failure.status, failure.body
        return 200, json.dumps(answers if isinstance(body, list) else answers[0]).encode()

    try:
        with serve_fake(respond) as endpoint:
            yield endpoint
    finally:
        upstream.close()


def result(call: JsonObject, value: object) -> JsonObject:
    """A successful answer to a call."""
    return {"jsonrpc": "2.0", "id": call["id"], "result": value}


def refusal(call: JsonObject, code: int, message: str) -> JsonObject:
    """An endpoint's error in answer to a call."""
    return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": message}}
