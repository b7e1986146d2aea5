"""A JSON-RPC endpoint that answers what a test says. Test support only; real HTTP, no chain behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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
