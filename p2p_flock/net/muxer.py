"""Yamux, wire-compatible with https://github.com/hashicorp/yamux/blob/master/spec.md, in place of py-libp2p's.

Called by `net/hardening.py` for every connection; to the library it is one more `IMuxedConn`. Replacing the muxer is
the remedy that patches could not be: in py-libp2p 0.8.1 (`stream_muxer/yamux/yamux.py`) a stream's owner writes to
the wire itself, so that cancelling it poisons every stream of the connection; the reading task answers on the wire,
so that two peers who send in bulk to each other can block each other for ever; a peer that ignores the receive window
fills our memory; the number of streams a peer may open has no bound; a window update is sent after every small read;
an empty window is polled and fails after 5 s; a peer that stopped (SIGSTOP, cut cable) is never noticed; and the death
of a connection looks to a reader like a clean end.

Here one task reads, one task writes and one watches that the peer is alive. Everybody else only touches queues, so any
call may be cancelled at any time: it can leave its own stream half said, never the connection. It must never raise out
of `start`, since that would end the library's swarm.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio
from libp2p.abc import IMuxedConn
from libp2p.connection_types import ConnectionType
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError
from multiaddr import Multiaddr

from p2p_flock.net.limits import (
    CONNECTION_WAIT_SECONDS_MAX,
    SMALL_FRAME_BYTES,
    SMALL_FRAMES,
    STRAY_BYTES,
    STREAMS_OPENED,
    Bucket,
    OverLimitError,
)
from p2p_flock.net.session import BulkSession
from p2p_flock.net.yamux_frames import FRAME_BYTES_MAX, HEADER_BYTES, Flag, FrameKind, Header, MuxerProtocolError
from p2p_flock.net.yamux_stream import Stream

log = logging.getLogger(__name__)

# Frames are joined into one encrypted write until they have this size (so it has less than this and a frame); larger
# gains nothing and delays small messages.
BATCH_BYTES_MAX = 256 * 1024
# Data waiting for the writing task, over all streams of a connection. At the bound writers of data wait.
OUTBOX_BYTES_MAX = 512 * 1024
# Control frames (12 bytes each) waiting likewise. A peer that makes us answer this often without reading is cut off.
OUTBOX_CONTROL_FRAMES_MAX = 4096
# Streams the peer may have open to us; one more is reset at once. Our own protocols need a dozen.
INBOUND_STREAMS_MAX = 32
# Received and not yet read, over all streams that the peer opened: messages and gossip may wait with a window each, all
# else is read at once. A peer that fills more is banned.
UNREAD_BYTES_MAX = 1 << 20
# Streams we may have open to the peer; `open_stream` raises beyond it instead of waiting for ever.
OUTBOUND_STREAMS_MAX = 256
# A stream that we closed and the peer did not is reset after this, else it would hold its slot for ever.
HALF_CLOSED_SECONDS_MAX = 60.0
TICKS_PER_INTERVAL = 6
# How often a round trip is measured while somebody looks.
ROUND_TRIP_INTERVAL_S = 10.0
# One encrypted write (half a MiB) that takes longer means that the peer does not read.
WRITE_SECONDS_MAX = 30.0


@dataclass(frozen=True)
class Liveness:
    """When a silent peer counts as dead.

    After ``interval_s`` without a byte it is pinged, after ``timeout_s`` the connection is closed. Silence is counted
    in ticks of our own loop, not by the clock, so that a process that was itself stopped does not blame its peers.
    """

    interval_s: float = 3.0
    timeout_s: float = 9.0

    @property
    def tick_s(self) -> float:
        """How often silence is looked at."""
        return self.interval_s / TICKS_PER_INTERVAL


class Muxer(IMuxedConn):
    """One connection. `start` runs it until it ends; the rest of the library calls the other methods."""

    def __init__(self, conn: BulkSession, peer_id: ID, liveness: Liveness | None = None) -> None:
        self.secured_conn = conn
        self.peer_id = peer_id
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.on_close: Callable[[], Awaitable[None]] | None = None  # set by the library's SwarmConn
        self.negotiated_muxer_protocol = "/yamux/1.0.0"
        self.negotiated_security_protocol = conn.negotiated_security_protocol
        self._session = conn
        self._liveness = liveness or Liveness()
        self._streams: dict[int, Stream] = {}
        self._next_stream_id = 1 if conn.is_initiator else 2
        self._accepted: deque[Stream] = deque()
        self._acceptable = trio.lowlevel.ParkingLot()
        self._outbox: deque[tuple[bytes, memoryview | None]] = deque()  # frames: header and body
        self._outbox_bytes = 0
        self._outbox_control_frames = 0
        self._outbox_filled = trio.lowlevel.ParkingLot()
        self._outbox_emptied = trio.lowlevel.ParkingLot()
        self._is_ending = False
        self._scope: trio.CancelScope | None = None
        self._header = bytearray()
        self._body_left = 0
        self._body_of: Stream | None = None
        self._body_ends: Flag = Flag(0)
        self._heard = True
        self._silent_ticks = 0
        self._attended_until = 0.0
        self._writing_since: float | None = None
        self._ping_count = 0
        self._pinged_at = -math.inf
        self._is_ping_open = False
        self._round_trip_s: float | None = None
        self.began_at = trio.current_time()
        # Told why, if the peer does what no honest one does; it should be banned. Set by the swarm.
        self.on_flood: Callable[[str], None] | None = None
        self._streams_opened = Bucket(STREAMS_OPENED)
        self._small_frames = Bucket(SMALL_FRAMES)
        self._stray_bytes = Bucket(STRAY_BYTES)
        self._small_frames_new = 0  # since the bucket was asked last

    # What the library asks.

    @property
    def is_initiator(self) -> bool:
        """Whether we dialed."""
        return self._session.is_initiator

    @property
    def is_established(self) -> bool:
        """Whether streams can be opened."""
        return self.event_started.is_set() and not self._is_ending

    @property
    def is_closed(self) -> bool:
        """Whether all is over."""
        return self.event_closed.is_set()

    def get_transport_addresses(self) -> list[Multiaddr]:
        """The peer's address as TCP sees it."""
        return self._session.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        """Direct or relayed."""
        return self._session.get_connection_type()

    def get_remote_address(self) -> tuple[str, int] | None:
        """The peer's IP address and port."""
        return self._session.get_remote_address()

    def rtt(self) -> float:
        """Not measured."""
        return 0.0

    async def open_stream(self) -> Stream:
        """A new stream to the peer. Raises MuxedStreamError at OUTBOUND_STREAMS_MAX and on a dead connection."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_ending:
            raise MuxedStreamError("the connection is closed")
        if sum(stream.is_ours for stream in self._streams.values()) >= OUTBOUND_STREAMS_MAX:
            raise MuxedStreamError(f"{OUTBOUND_STREAMS_MAX} streams to this peer are open")
        stream = Stream(self, self, self._next_stream_id, is_ours=True)
        self._next_stream_id += 2
        self._streams[stream.stream_id] = stream
        self.queue_control(FrameKind.WINDOW_UPDATE, Flag.SYN, stream.stream_id, 0)
        return stream

    async def accept_stream(self) -> Stream:
        """The next stream the peer opened. Raises MuxedConnUnavailable when the connection is closed."""
        while not self._accepted:
            if self._is_ending:
                raise MuxedConnUnavailable("the connection is closed")
            await self._acceptable.park()
        return self._accepted.popleft()

    async def start(self) -> None:
        """Run the connection until it ends, for whatever reason; raises nothing but Cancelled."""
        try:
            if self._is_ending:
                return
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                for task in (self._read_frames, self._write_frames, self._watch):
                    nursery.start_soon(self._run_task, task)
                self.event_started.set()
        finally:
            self.event_started.set()
            self._end()
            with trio.CancelScope(shield=True):
                await self._session.close()
            self.event_closed.set()
            if self.on_close is not None:
                await self.on_close()

    async def _run_task(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except OverLimitError as error:
            if self.on_flood is not None:
                self.on_flood(str(error))
        except Exception as error:  # noqa: BLE001 - whatever socket, cipher or a forged frame raises ends this connection only
            log.debug("connection with %s ended: %s: %s", self.peer_id, type(error).__name__, error)
        finally:
            if self._scope is not None:
                self._scope.cancel()

    async def close(self) -> None:
        """Say goodbye if the peer still reads, then end the connection and all its streams."""
        if not self._is_ending:
            self.queue_control(FrameKind.GO_AWAY, Flag(0), 0, 0)
            self._end()
        if self._scope is None:  # never started
            with trio.CancelScope(shield=True):
                await self._session.close()
            self.event_closed.set()
            return
        with trio.move_on_after(0.2):
            while self._outbox and not self.event_closed.is_set():
                await self._outbox_emptied.park()
        self._scope.cancel()
        await self.event_closed.wait()

    def _end(self) -> None:
        self._is_ending = True
        for stream in self._streams.values():
            stream.break_off()
        self._streams.clear()
        for lot in (self._acceptable, self._outbox_filled, self._outbox_emptied):
            lot.unpark_all()

    # The outbox, filled by streams.

    def has_room(self) -> bool:
        """Whether the outbox takes more data now."""
        return self._outbox_bytes < OUTBOX_BYTES_MAX or self._is_ending

    async def wait_for_room(self) -> None:
        """Wait until the outbox has shrunk."""
        await self._outbox_emptied.park()

    def queue_data(self, stream_id: int, data: memoryview) -> None:
        """Queue one data frame of at most DATA_BYTES_MAX bytes."""
        self._put(Header(FrameKind.DATA, Flag(0), stream_id, len(data)).encode(), data)

    def queue_control(self, kind: FrameKind, flags: Flag, stream_id: int, value: int) -> None:
        """Queue one frame without data. Beyond OUTBOX_CONTROL_FRAMES_MAX the connection is cut."""
        self._outbox_control_frames += 1
        self._put(Header(kind, flags, stream_id, value).encode())
        if self._outbox_control_frames > OUTBOX_CONTROL_FRAMES_MAX and self._scope is not None:
            self._scope.cancel()

    def _put(self, header: bytes, body: memoryview | None = None) -> None:
        if self._is_ending:
            return
        self._outbox.append((header, body))
        self._outbox_bytes += len(header) + (0 if body is None else len(body))
        self._outbox_filled.unpark_all()

    def forget_if_over(self, stream: Stream) -> None:
        """Free the slot of a stream that has ended; what it received stays with the stream."""
        if stream.is_over:
            self._streams.pop(stream.stream_id, None)

    # The three tasks.

    async def _write_frames(self) -> None:
        while True:
            while not self._outbox:
                await self._outbox_filled.park()
            batch = self._take_batch()
            self._writing_since = trio.current_time()
            await self._session.write_all(batch)
            self._writing_since = None
            self._outbox_emptied.unpark_all()

    def _take_batch(self) -> list[bytes | memoryview]:
        batch: list[bytes | memoryview] = []
        size = 0
        while self._outbox and size < BATCH_BYTES_MAX:
            header, body = self._outbox.popleft()
            batch.append(header)
            size += len(header)
            if body is None:
                self._outbox_control_frames -= 1
            else:
                batch.append(body)
                size += len(body)
        self._outbox_bytes -= size
        return batch

    async def _read_frames(self) -> None:
        while True:
            messages = await self._session.read_some()
            self._heard = True
            for message in messages:
                self._take(memoryview(message))
            count, self._small_frames_new = self._small_frames_new, 0
            wait_s = self._small_frames.take(count)
            self._check_wait(wait_s, "small frames")
            if wait_s > 0.0:
                await trio.sleep(wait_s)

    def _check_wait(self, wait_s: float, what: str) -> None:
        if wait_s > CONNECTION_WAIT_SECONDS_MAX:
            raise OverLimitError(f"it sends too many {what}")

    def silence_s(self) -> float:
        """For how long nothing came, in whole ticks. Asking makes us ping at each silent tick of the next interval."""
        self._attended_until = trio.current_time() + self._liveness.interval_s
        return 0.0 if self._heard else self._silent_ticks * self._liveness.tick_s

    def measure_round_trip(self) -> float | None:
        """Seconds that the last ping took, what waited before it included; None before the first answer. Never waits.

        Asking makes us ping, at most each ROUND_TRIP_INTERVAL_S.
        """
        if trio.current_time() - self._pinged_at >= ROUND_TRIP_INTERVAL_S:
            self._ping()
        return self._round_trip_s

    def _ping(self) -> None:
        self._ping_count += 1
        self._pinged_at, self._is_ping_open = trio.current_time(), True
        self.queue_control(FrameKind.PING, Flag.SYN, 0, self._ping_count & 0xFFFFFFFF)

    async def _watch(self) -> None:
        tick_s = self._liveness.tick_s
        while True:
            await trio.sleep(tick_s)
            self._silent_ticks = 0 if self._heard else self._silent_ticks + 1
            self._heard = False
            if self._silent_ticks * tick_s >= self._liveness.timeout_s:
                raise MuxedStreamError(f"the peer has been silent for {self._liveness.timeout_s} s")
            is_attended = bool(self._silent_ticks) and trio.current_time() < self._attended_until
            if is_attended or (self._silent_ticks >= TICKS_PER_INTERVAL and self._silent_ticks % 2 == 0):
                self._ping()
            now = trio.current_time()
            if self._writing_since is not None and now - self._writing_since > WRITE_SECONDS_MAX:
                raise MuxedStreamError("the peer does not read")
            for stream in list(self._streams.values()):
                if stream.closed_at is not None and now - stream.closed_at > HALF_CLOSED_SECONDS_MAX:
                    await stream.reset()

    # Incoming frames.

    def _take(self, data: memoryview) -> None:
        position = 0
        while position < len(data):
            if self._body_left:
                size = min(self._body_left, len(data) - position)
                self._take_body(data[position : position + size])
                self._body_left -= size
                position += size
                if not self._body_left:
                    self._finish_frame()
            else:
                size = min(HEADER_BYTES - len(self._header), len(data) - position)
                self._header += data[position : position + size]
                position += size
                if len(self._header) == HEADER_BYTES:
                    header = Header.decode(bytes(self._header))
                    self._header.clear()
                    self._take_header(header)

    def _take_body(self, data: memoryview) -> None:
        stream = self._body_of
        if stream is None:
            self._check_wait(self._stray_bytes.take(len(data)), "bytes for streams that are closed")
            return
        stream.take_data(data)
        if (
            not stream.is_ours
            and sum(s.unread_bytes for s in self._streams.values() if not s.is_ours) > UNREAD_BYTES_MAX
        ):
            raise OverLimitError(f"it has more than {UNREAD_BYTES_MAX} bytes wait to be read")

    def _take_header(self, header: Header) -> None:
        self._small_frames_new += header.kind is not FrameKind.DATA or header.length < SMALL_FRAME_BYTES
        match header.kind:
            case FrameKind.PING:
                if Flag.SYN in header.flags:
                    self.queue_control(FrameKind.PING, Flag.ACK, 0, header.length)
                elif self._is_ping_open and header.length == self._ping_count & 0xFFFFFFFF:  # older ones tell nothing
                    self._is_ping_open = False
                    self._round_trip_s = trio.current_time() - self._pinged_at
            case FrameKind.GO_AWAY:
                raise MuxedConnUnavailable("the peer said goodbye")
            case FrameKind.DATA | FrameKind.WINDOW_UPDATE:
                if Flag.SYN in header.flags:
                    self._take_syn(header.stream_id)
                self._body_of = self._streams.get(header.stream_id)  # None: a stream we reset; its bytes are skipped
                self._body_ends = header.flags
                if header.kind is FrameKind.DATA:
                    if header.length > FRAME_BYTES_MAX:
                        raise MuxerProtocolError("a data frame is larger than any window")
                    self._body_left = header.length
                elif self._body_of is not None:
                    self._body_of.take_credit(header.length)
                if not self._body_left:
                    self._finish_frame()

    def _take_syn(self, stream_id: int) -> None:
        ours = stream_id % 2 == (1 if self.is_initiator else 0)
        if ours or stream_id == 0 or stream_id in self._streams:
            raise MuxerProtocolError("the peer opened a stream under a number it may not use")
        wait_s = self._streams_opened.take(1.0)
        self._check_wait(wait_s, "streams")
        if wait_s > 0.0 or sum(not stream.is_ours for stream in self._streams.values()) >= INBOUND_STREAMS_MAX:
            self.queue_control(FrameKind.WINDOW_UPDATE, Flag.RST, stream_id, 0)
            return
        stream = Stream(self, self, stream_id, is_ours=False)
        self._streams[stream_id] = stream
        self.queue_control(FrameKind.WINDOW_UPDATE, Flag.ACK, stream_id, 0)
        self._accepted.append(stream)
        self._acceptable.unpark_all()

    def _finish_frame(self) -> None:
        stream, self._body_of = self._body_of, None
        if stream is None:
            return
        if Flag.RST in self._body_ends:
            stream.break_off()
        elif Flag.FIN in self._body_ends:
            stream.take_end()
        self.forget_if_over(stream)
