"""One stream of the multiplexer: its receive buffer, its windows and the tasks that wait for them.

Called by the library through `NetStream`, and by `net/muxer.py`, whose reading task fills it. It touches the connection
only through the synchronous methods of `Connection`, so its owner may be cancelled anywhere without harm to others.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Protocol

import trio
from libp2p.abc import IMuxedConn, IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

from p2p_flock.net.session import PLAINTEXT_BYTES_MAX
from p2p_flock.net.yamux_frames import HEADER_BYTES, INITIAL_WINDOW_BYTES, Flag, FrameKind, MuxerProtocolError

# Data and frame header together fill four Noise messages exactly, and are within the initial window.
DATA_BYTES_MAX = 4 * PLAINTEXT_BYTES_MAX - HEADER_BYTES
# Received data of this size stays in the Noise message (64 KiB) in which it came, so it may hold 4 times its size in
# memory. Smaller pieces are copied together, so that a peer that sends single bytes costs us no more than bytes.
KEPT_BYTES_MIN = 16 * 1024
JOINED_BYTES_MAX = 64 * 1024


class Connection(Protocol):
    """What a stream needs of its connection."""

    def has_room(self) -> bool:
        """Whether the outbox takes more data now."""
        ...

    async def wait_for_room(self) -> None:
        """Wait until the outbox has shrunk."""
        ...

    def queue_data(self, stream_id: int, data: memoryview) -> None:
        """Queue one data frame; nobody may change ``data`` any more."""
        ...

    def queue_control(self, kind: FrameKind, flags: Flag, stream_id: int, value: int) -> None:
        """Queue one frame without data."""
        ...

    def forget_if_over(self, stream: Stream) -> None:
        """Free the slot of a stream that has ended."""
        ...

    def get_remote_address(self) -> tuple[str, int] | None:
        """The peer's IP address and port."""
        ...


class Stream(IMuxedStream):
    """One stream. At most one task reads it and one writes it; both may be cancelled at any time."""

    def __init__(self, muxed_conn: IMuxedConn, conn: Connection, stream_id: int, is_ours: bool) -> None:
        self.muxed_conn = muxed_conn
        self.stream_id = stream_id
        self.is_ours = is_ours
        self.closed_at: float | None = None  # trio time at which we closed it, while the peer has not
        self._conn = conn
        self._received: deque[bytearray | memoryview] = deque()
        self._received_bytes = 0
        self._position = 0  # in the first piece received
        self._window = INITIAL_WINDOW_BYTES  # what we let the peer have on the way
        self._window_left = INITIAL_WINDOW_BYTES
        self._consumed = 0
        self._send_window = INITIAL_WINDOW_BYTES
        self._receive_ended = False
        self._send_ended = False
        self._reset = False
        self._readable = trio.lowlevel.ParkingLot()
        self._writable = trio.lowlevel.ParkingLot()
        self._write_lock = trio.StrictFIFOLock()

    @property
    def is_over(self) -> bool:
        """Neither side will say more."""
        return self._reset or (self._receive_ended and self._send_ended)

    @property
    def unread_bytes(self) -> int:
        """Received, and waiting to be read."""
        return self._received_bytes

    async def read(self, n: int | None = None) -> bytes:
        """Between 1 and ``n`` bytes (all at hand if None).

        Raises MuxedStreamEOF once the peer has closed the stream and all is read, MuxedStreamReset if it or the
        connection broke, even if that looked orderly to TCP.
        """
        pieces = await self.read_pieces(n)
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    async def read_pieces(self, n: int | None = None) -> list[bytes | memoryview]:
        """As `read`, in the pieces that came, uncopied where they are large: for bulk."""
        await self._wait_for_data()
        size = self._received_bytes if n is None or n < 0 else min(n, self._received_bytes)
        left = size
        pieces = []
        while left:
            pieces.append(self._take_piece(left))
            left -= len(pieces[-1])
        self._note_consumed(size)
        return pieces

    async def _wait_for_data(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._received_bytes:
            if self._reset:
                raise MuxedStreamReset("the stream was reset")
            if self._receive_ended:
                raise MuxedStreamEOF("the peer closed the stream")
            await self._readable.park()

    def _take_piece(self, size: int) -> bytes | memoryview:
        first = self._received[0]
        size = min(size, len(first) - self._position)
        piece = memoryview(first)[self._position : self._position + size]
        self._position += size
        self._received_bytes -= size
        if self._position == len(first):
            self._received.popleft()
            self._position = 0
            return piece
        # An exported bytearray could not grow any more.
        return bytes(piece) if isinstance(first, bytearray) else piece

    def _note_consumed(self, size: int) -> None:
        self._consumed += size
        if self._consumed >= self._window // 2 and not (self._receive_ended or self._reset):
            self._grant(self._consumed)
            self._consumed = 0

    def widen(self, window_bytes: int) -> None:
        """Let the peer have ``window_bytes`` under way: for bulk streams, whose rate is window / round trip."""
        if window_bytes > self._window and not (self._receive_ended or self._reset):
            more, self._window = window_bytes - self._window, window_bytes
            self._grant(more)

    def _grant(self, more: int) -> None:
        self._window_left += more
        self._conn.queue_control(FrameKind.WINDOW_UPDATE, Flag(0), self.stream_id, more)

    async def write(self, data: bytes) -> None:
        """Queue all of ``data``; it waits while the peer's window or the connection's outbox is full.

        Raises MuxedStreamReset if the stream broke and MuxedStreamClosed if we closed it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        async with self._write_lock:
            with memoryview(data) as view:
                position = 0
                while position < len(view):
                    self._check_writable()
                    if self._send_window == 0:
                        await self._writable.park()
                        continue
                    if not self._conn.has_room():
                        await self._conn.wait_for_room()
                        continue
                    size = min(self._send_window, DATA_BYTES_MAX, len(view) - position)
                    self._send_window -= size
                    piece = view[position : position + size]
                    if not isinstance(view.obj, bytes):  # its owner may change it while it waits in the outbox
                        piece = memoryview(bytes(piece))
                    self._conn.queue_data(self.stream_id, piece)
                    position += size

    def _check_writable(self) -> None:
        if self._reset:
            raise MuxedStreamReset("the stream was reset")
        if self._send_ended:
            raise MuxedStreamClosed("we closed the stream")

    async def close(self) -> None:
        """Say that we shall send no more; the peer may still send. Never waits."""
        if not (self._send_ended or self._reset):
            self._send_ended = True
            self.closed_at = trio.current_time()
            self._conn.queue_control(FrameKind.WINDOW_UPDATE, Flag.FIN, self.stream_id, 0)
            self._writable.unpark_all()
            self._conn.forget_if_over(self)
        await trio.lowlevel.checkpoint_if_cancelled()

    async def reset(self) -> None:
        """Break the stream in both directions. Never waits."""
        if not self.is_over:
            self._conn.queue_control(FrameKind.WINDOW_UPDATE, Flag.RST, self.stream_id, 0)
        self.break_off()
        self._conn.forget_if_over(self)
        await trio.lowlevel.checkpoint_if_cancelled()

    def break_off(self) -> None:
        """Mark the stream as reset and wake who waits for it. What was received stays readable."""
        self._reset = True
        self._readable.unpark_all()
        self._writable.unpark_all()

    def take_data(self, data: memoryview) -> None:
        """Bytes of a data frame, given by the reading task, which nobody will change.

        Raises MuxerProtocolError beyond the window.
        """
        if len(data) > self._window_left:
            raise MuxerProtocolError("the peer sent more than its receive window")
        self._window_left -= len(data)
        if not self._reset:
            self._keep(data)
            self._readable.unpark_all()

    def _keep(self, data: memoryview) -> None:
        self._received_bytes += len(data)
        if len(data) >= KEPT_BYTES_MIN:
            self._received.append(data)
            return
        last = self._received[-1] if self._received else None
        if isinstance(last, bytearray) and len(last) < JOINED_BYTES_MAX:
            last += data
        elif data:
            self._received.append(bytearray(data))

    def take_credit(self, more: int) -> None:
        """The peer lets us send ``more`` bytes."""
        self._send_window += more
        self._writable.unpark_all()

    def take_end(self) -> None:
        """The peer closed its direction."""
        self._receive_ended = True
        self._readable.unpark_all()

    def set_deadline(self, ttl: int) -> None:
        """Not supported: callers use trio's cancel scopes, which are safe here."""
        raise NotImplementedError

    def get_remote_address(self) -> tuple[str, int] | None:
        """The peer's IP address and port."""
        return self._conn.get_remote_address()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
