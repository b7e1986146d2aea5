"""Server-sent events: one producer per kind, shared by all viewers, and none while nobody watches.

Called by ``server.py``. Format: https://html.spec.whatwg.org/multipage/server-sent-events.html. A viewer that does not
read must never slow the producers: its queue is bounded, and full means that it is cut off.
"""

from __future__ import annotations

import logging
import math

import trio
from starlette.types import Receive, Scope, Send

from p2p_flock.dashboard.answers import error_response
from p2p_flock.dashboard.connections import set_lifetime
from p2p_flock.dashboard.defects import Defects
from p2p_flock.dashboard.feeds import Feed
from p2p_flock.errors import LocalProtocolError, P2PFlockError

VIEWERS_MAX = 8
QUEUE_EVENTS_MAX = 64  # a minute of busy log; a browser reads within milliseconds
ALIVE_SECONDS = 10.0
POLL_SECONDS_MAX = 10.0
RETRY_MS = 3000

logger = logging.getLogger(__name__)


class Viewer:
    """One open stream: its queue, and whether it is cut off."""

    def __init__(self) -> None:
        self._send, self.events = trio.open_memory_channel[bytes](QUEUE_EVENTS_MAX)

    def put(self, event: bytes) -> None:
        """Queue an event; a viewer whose queue is full, or that has gone, gets no more."""
        try:
            self._send.send_nowait(event)
        except (trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            self.cut_off()

    def cut_off(self) -> None:
        """Ends its stream after what is queued."""
        self._send.close()


class Producer:
    """One feed and those who watch it. Polls only while there is a viewer."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self._viewers: list[Viewer] = []
        self._newcomers: list[Viewer] = []
        self._changed = trio.Event()

    @property
    def is_watched(self) -> bool:
        return bool(self._viewers or self._newcomers)

    def add(self, viewer: Viewer) -> None:
        self._newcomers.append(viewer)
        self._changed.set()

    def remove(self, viewer: Viewer) -> None:
        for viewers in (self._viewers, self._newcomers):
            if viewer in viewers:
                viewers.remove(viewer)
        self._changed.set()

    async def run(self, defects: Defects) -> None:
        """Produce until cancelled. A defect ends the streams that wait for this feed; the next turn tries again."""
        while True:
            self._changed = trio.Event()
            if not self.is_watched:
                self.feed.reset()
                await self._changed.wait()
                continue
            with defects.contained(f"the events of kind {self.feed.name}") as outcome:
                await self._turn()
            if outcome.is_defect:
                for viewer in (*self._viewers, *self._newcomers):
                    viewer.cut_off()
            with trio.move_on_after(self.feed.interval_s):
                await self._changed.wait()  # somebody came, who is not to wait, or went

    async def _turn(self) -> None:
        newcomers = self._newcomers[:]
        try:
            with trio.move_on_after(POLL_SECONDS_MAX):
                news = await self.feed.poll()
                first = await self.feed.greet() if newcomers else None
                for viewer in self._viewers if news is not None else ():
                    viewer.put(_encode(self.feed.name, news))
                for viewer in newcomers if first is not None else ():
                    viewer.put(_encode(self.feed.name, first))
                self._viewers += [viewer for viewer in newcomers if viewer in self._newcomers]
                self._newcomers = [viewer for viewer in self._newcomers if viewer not in newcomers]
        except LocalProtocolError:
            raise  # our own defect
        except P2PFlockError as error:
            logger.debug("no %s event now: %s", self.feed.name, error)


class Events:
    """``GET /api/v1/events`` as an ASGI application, and the producers behind it."""

    def __init__(self, feeds: list[Feed], defects: Defects) -> None:
        self._producers = [Producer(feed) for feed in feeds]
        self._defects = defects
        self._viewer_count = 0

    @property
    def viewer_count(self) -> int:
        return self._viewer_count

    async def run(self) -> None:
        """The producers; until cancelled."""
        async with trio.open_nursery() as nursery:
            for producer in self._producers:
                nursery.start_soon(producer.run, self._defects)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._viewer_count >= VIEWERS_MAX:
            refusal = error_response(503, "Busy", f"{VIEWERS_MAX} pages are open already\nclose one and come again")
            await refusal(scope, receive, send)
            return
        set_lifetime(scope, math.inf)
        viewer = Viewer()
        self._viewer_count += 1
        for producer in self._producers:
            producer.add(viewer)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, viewer, send, nursery.cancel_scope)
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()
        finally:
            self._viewer_count -= 1
            viewer.cut_off()
            for producer in self._producers:
                producer.remove(viewer)

    async def _write(self, viewer: Viewer, send: Send, scope: trio.CancelScope) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        piece = f"retry: {RETRY_MS}\n\n".encode()
        while True:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = b": alive\n\n"
            with trio.move_on_after(ALIVE_SECONDS):
                try:
                    piece = await viewer.events.receive()
                except trio.EndOfChannel:
                    break
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        scope.cancel()


def _encode(name: str, data: bytes | None) -> bytes:
    assert data is not None and b"\n" not in data
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
