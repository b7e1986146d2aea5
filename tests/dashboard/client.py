"""A fake node behind a real dashboard on loopback, and a client that can say what no browser would."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from p2p_flock.daemon.control_messages import COMMANDS
from p2p_flock.dashboard.server import Dashboard, serve_dashboard
from p2p_flock.dashboard.settings import DashboardSettings

TOKEN = "k" * 43
SECONDS_MAX = 20.0  # for anything that must happen at all


@dataclass
class FakeNode:
    """Answers commands from a table; counts who asked for what. An exception in the table is raised."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    changed: trio.Event = field(default_factory=trio.Event)

    async def ask(self, command: str, arguments: dict[str, Any]) -> Mapping[str, object]:
        self.asked.append((command, arguments))
        self.changed.set()
        self.changed = trio.Event()
        await trio.lowlevel.checkpoint()
        answer = self.answers.get(command, {"command": command})
        if isinstance(answer, Exception):
            raise answer
        if answer is trio.sleep_forever:
            await trio.sleep_forever()
        assert isinstance(answer, Mapping)
        return answer

    def count(self, command: str) -> int:
        return sum(asked == command for asked, _ in self.asked)


def log_answer(*messages: str) -> dict[str, object]:
    """What ``node.log`` says of these lines."""
    lines = [{"sequence": number, "message": message} for number, message in enumerate(messages, 1)]
    return {"lines": lines, "next": len(lines)}


@dataclass(frozen=True)
class Reply:
    """One HTTP answer, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """Of the error."""
        return str(self.json["error"]["kind"])


@dataclass(frozen=True)
class Client:
    """Talks to one dashboard."""

    dashboard: Dashboard
    node: FakeNode

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.dashboard.port}"

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.dashboard.port)

    def head(self, method: str, path: str, headers: Mapping[str, str | None] | None = None) -> bytes:
        """A request's first part; a header that is ``None`` is left out."""
        shown = {"Host": self.host, "Authorization": f"Bearer {TOKEN}", **(headers or {})}
        lines = [f"{name}: {value}" for name, value in shown.items() if value is not None]
        return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("utf-8", "surrogateescape")

    async def request(
        self, method: str, path: str, headers: Mapping[str, str | None] | None = None, body: bytes = b""
    ) -> Reply:
        length = {"Content-Length": str(len(body))} if body else {}
        return await self.send(self.head(method, path, {**length, **(headers or {})}) + body)

    async def get(self, path: str, headers: Mapping[str, str | None] | None = None) -> Reply:
        return await self.request("GET", path, headers)

    async def send(self, data: bytes) -> Reply:
        """Send these bytes and read until the server closes; status 0 where it said nothing."""
        with trio.fail_after(SECONDS_MAX):
            async with await self.connect() as stream:
                with suppress(trio.BrokenResourceError):  # it had heard enough
                    await stream.send_all(data)
                return parse_reply(await read_all(stream))

    async def open_session(self, token: str = TOKEN, headers: Mapping[str, str | None] | None = None) -> Reply:
        own = {"Origin": f"http://{self.host}", "Content-Type": "application/json", "Authorization": None}
        body = json.dumps({"token": token}).encode()
        return await self.request("POST", "/api/v1/session", {**own, **(headers or {})}, body)


async def read_all(stream: trio.SocketStream) -> bytes:
    """All until the server closes or resets."""
    received = bytearray()
    try:
        async for piece in stream:
            received += piece
    except trio.BrokenResourceError:
        pass
    return bytes(received)


def parse_reply(data: bytes) -> Reply:
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        return Reply(0, {}, b"")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split(" ")[1]), headers, body)


class EventReader:
    """Takes the events of one stream apart; Chrome's chunked encoding included."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = bytearray()

    async def next(self) -> tuple[str, Any]:
        """(kind, data) of the next event; comments and the head are skipped. Raises EOFError at the end."""
        with trio.fail_after(SECONDS_MAX):
            while True:
                end = self._received.find(b"\n\n")
                if end < 0:
                    piece = await self._stream.receive_some(65_536)
                    if not piece:
                        raise EOFError
                    self._received += piece
                    continue
                text = self._received[:end].decode()
                del self._received[: end + 2]
                kind = next((line[7:] for line in text.splitlines() if line.startswith("event: ")), None)
                if kind is not None:
                    data = next(line[6:] for line in text.splitlines() if line.startswith("data: "))
                    return kind, json.loads(data)


@asynccontextmanager
async def open_dashboard(
    node: FakeNode | None = None, commands: Mapping[str, tuple[type, type]] = COMMANDS, **settings: Any
) -> AsyncIterator[Client]:
    """A dashboard that runs while the block runs; fails where it met a defect that the test did not expect."""
    node = node or FakeNode()
    node.answers.setdefault("node.log", log_answer())
    node.answers.setdefault("alliance.history", {"rounds": []})
    expected_defects = settings.pop("expected_defects", 0)
    made = DashboardSettings(**{"port": 0, "token": TOKEN, "ask": node.ask, "commands": commands, **settings})
    async with trio.open_nursery() as nursery:
        dashboard: Dashboard = await nursery.start(serve_dashboard, made)
        yield Client(dashboard, node)
        assert dashboard.defects.count == expected_defects
        nursery.cancel_scope.cancel()


def write_page(folder: Path) -> Path:
    """A page's files."""
    (folder / "vendor").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>page</title>")
    (folder / "start.js").write_text("import './vendor/preact.mjs'")
    (folder / "vendor" / "preact.mjs").write_text("export {}")
    return folder
