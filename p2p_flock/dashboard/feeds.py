"""What each kind of event tells, and when: pure bookkeeping over the answers of control commands.

Called by ``events.py``, which owns the tasks. A feed is one per server, whoever watches: ``poll`` gives what all
viewers get, ``greet`` what a new one needs to begin with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Protocol, cast

import trio

from p2p_flock.dashboard.answers import encode_json
from p2p_flock.dashboard.settings import Ask

LOG_LINES_AT_FIRST = 200
LOG_LINES_PER_POLL = 500
ROUNDS_AT_FIRST = 200
ROUNDS_LOOKED_AT = 12  # a round's money and penalties may be known only rounds later
# Fields that move by themselves; they alone are no news.
CLOCKS = frozenset(
    ("now_ms", "uptime_s", "cost", "block", "chain_time_s", "as_of_s", "seen_seconds_ago", "connected_seconds")
)


class Feed(Protocol):
    """One kind of event."""

    name: str
    interval_s: float

    async def poll(self) -> bytes | None:
        """The event's data for those who watch already; ``None`` where there is nothing new."""

    async def greet(self) -> bytes | None:
        """The first event of a viewer, right after a ``poll``."""

    def reset(self) -> None:
        """Nobody watches any more."""


class SnapshotFeed:
    """The whole answer of one command, whenever something but clocks changed, and at least each ``repeat_s``."""

    def __init__(self, name: str, ask: Ask, command: str, interval_s: float, repeat_s: float) -> None:
        self.name = name
        self.interval_s = interval_s
        self._ask = ask
        self._command = command
        self._repeat_s = repeat_s
        self._last: bytes | None = None
        self._fingerprint = b""
        self._sent_at = 0.0

    async def poll(self) -> bytes | None:
        answer = await self._ask(self._command, {})
        self._last = encode_json(answer)
        fingerprint = encode_json(cast(dict[str, object], without_clocks(answer)))
        now = trio.current_time()
        if fingerprint == self._fingerprint and now - self._sent_at < self._repeat_s:
            return None
        self._fingerprint, self._sent_at = fingerprint, now
        return self._last

    async def greet(self) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self._last

    def reset(self) -> None:
        self._last, self._fingerprint = None, b""


class LogFeed:
    """Lines of the node's log, each once."""

    name = "log"
    interval_s = 1.0

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._next: int | None = None

    async def poll(self) -> bytes | None:
        if self._next is None:
            await self._read(0, 1)  # only to learn where the log stands
            return None
        answer = await self._read(self._next, LOG_LINES_PER_POLL)
        return encode_json({"lines": answer["lines"]}) if answer["lines"] else None

    async def greet(self) -> bytes | None:
        answer = await self._ask("node.log", {"after": 0, "level": "info", "limit": LOG_LINES_AT_FIRST})
        lines = cast(list[dict[str, object]], answer["lines"])
        assert self._next is not None
        shown = [line for line in lines if cast(int, line["sequence"]) <= self._next]  # the rest comes with the poll
        return encode_json({"lines": shown})

    async def _read(self, after: int, limit: int) -> Mapping[str, object]:
        answer = await self._ask("node.log", {"after": after, "level": "info", "limit": limit})
        self._next = cast(int, answer["next"])
        return answer

    def reset(self) -> None:
        self._next = None


class HistoryFeed:
    """Rounds that ended, each again when more became known of it."""

    name = "history"
    interval_s = 2.0

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._sent: dict[int, str] = {}

    async def poll(self) -> bytes | None:
        rounds = await self._read(ROUNDS_LOOKED_AT)
        news = [entry for entry in rounds if self._sent.get(cast(int, entry["round"])) != _text(entry)]
        self._sent = {cast(int, entry["round"]): _text(entry) for entry in rounds}
        return encode_json({"rounds": news}) if news else None

    async def greet(self) -> bytes | None:
        rounds = await self._read(ROUNDS_AT_FIRST)
        return encode_json({"rounds": rounds}) if rounds else None

    async def _read(self, limit: int) -> list[dict[str, object]]:
        answer = await self._ask("alliance.history", {"before": None, "limit": limit})
        return cast(list[dict[str, object]], answer["rounds"])

    def reset(self) -> None:
        self._sent = {}


def without_clocks(value: object) -> object:
    """The same JSON value without the fields of :data:`CLOCKS`, at any depth."""
    if isinstance(value, Mapping):
        return {name: without_clocks(one) for name, one in value.items() if name not in CLOCKS}
    return [without_clocks(one) for one in value] if isinstance(value, list | tuple) else value


def make_feeds(ask: Ask, commands: Mapping[str, object]) -> list[Feed]:
    """A feed for each kind whose command there is, the one that paints most first."""
    feeds: list[Feed] = []
    if "alliance.watch" in commands:
        feeds.append(SnapshotFeed("watch", ask, "alliance.watch", 1.0, 5.0))
    if "alliance.history" in commands:
        feeds.append(HistoryFeed(ask))
    if "node.mesh" in commands:
        feeds.append(SnapshotFeed("mesh", ask, "node.mesh", 2.0, 10.0))
    if "node.log" in commands:
        feeds.append(LogFeed(ask))
    return feeds


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)
