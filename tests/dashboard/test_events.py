"""Server-sent events: at once, only what is new, shared by all, nothing while nobody watches."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
import trio
from starlette.types import Message
from trio.testing import MockClock

from p2p_flock.dashboard.defects import Defects
from p2p_flock.dashboard.events import ALIVE_SECONDS, QUEUE_EVENTS_MAX, VIEWERS_MAX, Events
from p2p_flock.dashboard.feeds import LogFeed, make_feeds, without_clocks
from p2p_flock.errors import ChainError
from tests.dashboard.client import Client, EventReader, FakeNode, log_answer, open_dashboard

KINDS = ("alliance.watch", "alliance.history", "node.mesh", "node.log")
SCOPE: MutableMapping[str, Any] = {"type": "http", "method": "GET", "path": "/api/v1/events", "headers": []}


def watching_node() -> FakeNode:
    return FakeNode(
        {
            "alliance.watch": {"now_ms": 1, "alliance": {"round": 3}},
            "alliance.history": {"rounds": [{"round": 2}]},
            "node.mesh": {"peers": []},
            "node.log": log_answer("started"),
        }
    )


class Page:
    """A viewer without a socket: what it was sent, and its way to go."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.statuses: list[int] = []
        self.gone = trio.Event()
        self.reads = trio.Event()
        self.reads.set()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])
        elif message["body"]:
            self.pieces.append(message["body"])

    def events(self, kind: str) -> list[Any]:
        """Data of the events of one kind so far."""
        start = f"event: {kind}\ndata: ".encode()
        return [json.loads(piece.removeprefix(start)) for piece in self.pieces if piece.startswith(start)]


class Watched:
    """A node's events with viewers, on a clock that jumps."""

    def __init__(self, nursery: trio.Nursery, node: FakeNode) -> None:
        self.node = node
        self.defects = Defects()
        self.events = Events(make_feeds(node.ask, dict.fromkeys(KINDS)), self.defects)
        self._nursery = nursery
        nursery.start_soon(self.events.run)

    def open(self) -> Page:
        page = Page()
        self._nursery.start_soon(self.events, SCOPE, page.receive, page.send)
        return page


async def watched(node: FakeNode, act: Callable[[Watched], Any]) -> None:
    """Run ``act`` with a server's events, then end them."""
    async with trio.open_nursery() as nursery:
        await act(Watched(nursery, node))
        nursery.cancel_scope.cancel()


async def test_events__first_ones_of_each_kind_come_at_once() -> None:
    """The page would stay empty for seconds."""
    async with open_dashboard(watching_node()) as client, await client.connect() as stream:
        await stream.send_all(client.head("GET", "/api/v1/events"))
        reader = EventReader(stream)
        found = dict([await reader.next() for _ in range(4)])
        assert found == {
            "watch": {"now_ms": 1, "alliance": {"round": 3}},
            "history": {"rounds": [{"round": 2}]},
            "mesh": {"peers": []},
            "log": {"lines": [{"sequence": 1, "message": "started"}]},
        }


async def test_watch__is_sent_when_something_but_clocks_changed(autojump_clock: MockClock) -> None:
    """A page would be redrawn each second for nothing, or show old news."""
    node = watching_node()

    async def act(all_: Watched) -> None:
        page = all_.open()
        await trio.sleep(0.5)
        assert len(page.events("watch")) == 1
        for second in range(4):  # the clocks go on
            node.answers["alliance.watch"] = {"now_ms": second, "cost": {"x": second}, "alliance": {"round": 3}}
            await trio.sleep(1)
        assert len(page.events("watch")) == 1
        node.answers["alliance.watch"] = {"now_ms": 9, "alliance": {"round": 4}}
        await trio.sleep(1)
        assert page.events("watch")[-1]["alliance"] == {"round": 4}
        count = len(page.events("watch"))
        await trio.sleep(20.5)
        assert len(page.events("watch")) == count + 4  # at least each 5 s

    await watched(node, act)


async def test_events__are_produced_once_for_all_viewers_and_not_for_none(autojump_clock: MockClock) -> None:
    """Each open page would cost the node as much again, and closed ones for ever."""
    node = watching_node()

    async def act(all_: Watched) -> None:
        await trio.sleep(60)
        assert node.asked == []  # nobody watches
        pages = [all_.open() for _ in range(VIEWERS_MAX)]
        await trio.sleep(10.5)
        assert 10 <= node.count("alliance.watch") <= 13
        for page in pages:
            assert page.events("watch") and page.events("log") and page.events("mesh") and page.events("history")
            page.gone.set()
        await trio.sleep(1)
        assert all_.events.viewer_count == 0
        count = len(node.asked)
        await trio.sleep(60)
        assert len(node.asked) == count

    await watched(node, act)


async def test_events__a_newcomer_gets_its_first_ones_and_the_others_nothing_twice(autojump_clock: MockClock) -> None:
    """A second page would make the log of the first one double, or miss lines itself."""
    node = watching_node()

    async def act(all_: Watched) -> None:
        first = all_.open()
        await trio.sleep(3.25)
        node.answers["node.log"] = log_answer("started", "later")
        second = all_.open()
        await trio.sleep(0.25)
        assert second.events("log") == [log_answer_lines("started", "later")]
        assert len(second.events("watch")) == 1 and len(second.events("history")) == 1
        node.answers["node.log"] = {"lines": [], "next": 2}
        await trio.sleep(10)
        assert first.events("log")[0] == log_answer_lines("started")
        assert [line["sequence"] for event in first.events("log")[1:] for line in event["lines"]].count(2) == 1

    await watched(node, act)


def log_answer_lines(*messages: str) -> dict[str, object]:
    return {"lines": log_answer(*messages)["lines"]}


async def test_log__each_line_comes_once() -> None:
    """Lines would be missing or double after each poll."""
    kept: list[str] = ["a", "b"]

    async def ask(command: str, arguments: dict[str, Any]) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        lines = [{"sequence": n, "message": text} for n, text in enumerate(kept, 1) if n > arguments["after"]]
        return {"lines": lines[-arguments["limit"] :], "next": len(kept)}

    feed = LogFeed(ask)
    assert await feed.poll() is None
    assert await feed.greet() == b'{"lines":[{"sequence":1,"message":"a"},{"sequence":2,"message":"b"}]}'
    kept.append("c")
    assert await feed.poll() == b'{"lines":[{"sequence":3,"message":"c"}]}'
    assert await feed.poll() is None


async def test_history__tells_a_round_again_when_more_is_known(autojump_clock: MockClock) -> None:
    """A reward that is known only later would never show."""
    node = watching_node()

    async def act(all_: Watched) -> None:
        page = all_.open()
        await trio.sleep(0.5)
        node.answers["alliance.history"] = {"rounds": [{"round": 3}, {"round": 2}]}
        await trio.sleep(2)
        node.answers["alliance.history"] = {"rounds": [{"round": 3, "reward": "7"}, {"round": 2}]}
        await trio.sleep(2)
        await trio.sleep(10)
        assert page.events("history") == [
            {"rounds": [{"round": 2}]},
            {"rounds": [{"round": 3}]},
            {"rounds": [{"round": 3, "reward": "7"}]},
        ]

    await watched(node, act)


async def test_events__say_that_they_are_alive(autojump_clock: MockClock) -> None:
    """A proxy or a laptop that slept would leave a page that shows old news for ever."""
    node = FakeNode({"alliance.watch": ChainError("away"), "alliance.history": {"rounds": []}})
    node.answers |= {"node.mesh": ChainError("away"), "node.log": ChainError("away")}

    async def act(all_: Watched) -> None:
        page = all_.open()
        await trio.sleep(3.5 * ALIVE_SECONDS)
        assert page.pieces == [b"retry: 3000\n\n", *[b": alive\n\n"] * 3]
        assert node.count("alliance.watch") <= 40  # an error is not asked again without end

    await watched(node, act)


async def test_viewer__that_does_not_read_is_cut_off_and_holds_nobody_up(autojump_clock: MockClock) -> None:
    """One page in a background tab would fill the node's memory, or stop the events of all others."""
    node = watching_node()

    async def act(all_: Watched) -> None:
        stalled, reader = all_.open(), all_.open()
        stalled.reads = trio.Event()
        for number in range(QUEUE_EVENTS_MAX + 10):
            node.answers["alliance.watch"] = {"round": number}
            await trio.sleep(1)
        assert reader.events("watch")[-1]["round"] >= QUEUE_EVENTS_MAX
        stalled.reads.set()
        await trio.sleep(1)
        assert all_.events.viewer_count == 1  # the stalled one's stream was ended after what it had queued
        assert len(stalled.pieces) <= QUEUE_EVENTS_MAX + 2

    await watched(node, act)


async def test_viewers__are_bounded() -> None:
    """Pages that were forgotten in tabs would use the node up."""
    async with open_dashboard(watching_node()) as client, trio.open_nursery() as nursery:
        streams = [await open_stream(client) for _ in range(VIEWERS_MAX)]
        refused = await client.get("/api/v1/events")
        assert (refused.status, refused.kind) == (503, "Busy") and refused.headers["retry-after"]
        await streams.pop().aclose()
        with trio.fail_after(20):
            while client.dashboard.events.viewer_count == VIEWERS_MAX:
                await trio.lowlevel.checkpoint()
        streams.append(await open_stream(client))
        for stream in streams:
            nursery.start_soon(stream.aclose)


async def open_stream(client: Client) -> trio.SocketStream:
    stream = await client.connect()
    await stream.send_all(client.head("GET", "/api/v1/events"))
    assert (await EventReader(stream).next())[0]
    return stream


async def test_events__a_defect_is_loud_and_ends_only_the_streams(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A page would hang silently on a defect, or a defect of the page would end a node with a stake."""
    node = watching_node()

    async def act(all_: Watched) -> None:
        page = all_.open()
        await trio.sleep(1.5)
        node.answers["node.mesh"] = KeyError("seat")
        with caplog.at_level(logging.ERROR):
            await trio.sleep(5)
        assert all_.defects.count >= 1 and all_.events.viewer_count == 0
        assert "the events of kind mesh" in caplog.text and "KeyError" in caplog.text
        node.answers["node.mesh"] = {"peers": []}
        page = all_.open()
        await trio.sleep(3)
        assert page.events("mesh") == [{"peers": []}]

    await watched(node, act)


def test_clocks__are_left_out_at_any_depth() -> None:
    """What is no news would be sent each second."""
    value = {"now_ms": 1, "a": [{"seen_seconds_ago": 3, "b": 1}], "c": {"cost": {}, "d": None}}
    assert without_clocks(value) == {"a": [{"b": 1}], "c": {"d": None}}


async def test_feeds__there_are_only_those_whose_commands_there_are() -> None:
    """A node without one of the commands would have no events at all."""
    node = FakeNode()
    assert [feed.name for feed in make_feeds(node.ask, {"alliance.watch": None})] == ["watch"]
    assert [feed.name for feed in make_feeds(node.ask, dict.fromkeys(KINDS))] == ["watch", "history", "mesh", "log"]
