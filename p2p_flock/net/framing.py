"""Reading bounded frames from a libp2p stream.

Called by the protocols of this package and by the hardened gossip. The library's own helpers read byte by byte, give
up after 100 partial reads (`libp2p.io.utils.read_exactly`) and read whatever length a peer announces; this one buffers,
loops until done and checks every length before the first byte of a body is read. It never writes.
"""

from __future__ import annotations

import math
from typing import Protocol

import trio
from libp2p.abc import INetStream
from libp2p.io.exceptions import IOException
from libp2p.network.stream.exceptions import StreamEOF, StreamError, StreamReset
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError

from p2p_flock.errors import NetError
from p2p_flock.net.yamux_stream import Stream

READ_BYTES = 1 << 16
# What a stream raises when it or its connection ends (bytes still expected by us never came).
STREAM_FAILURES = (StreamError, IOException)
PREFIX_BYTES = 4
_VARINT_BYTES_MAX = 5  # 35 bits: more than any frame of ours


class FrameError(NetError):
    """A peer sent a frame that is too long or not a frame; it loses its stream."""


class Readable(Protocol):
    """The part of a stream that is read."""

    async def read(self, n: int | None = None) -> bytes:
        """Between 1 and ``n`` bytes; raises one of STREAM_FAILURES at the end."""
        ...


class FrameReader:
    """A buffered reader of one stream; it may read ahead, so nobody else may read the stream."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def read_exactly(self, size: int) -> bytes:
        """``size`` bytes; the caller has checked the bound. Raises one of STREAM_FAILURES if the stream ends before."""
        while len(self._buffer) < size:
            self._buffer += await self._stream.read(max(READ_BYTES, size - len(self._buffer)))
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    async def read_at_most(self, size: int) -> bytes:
        """Between 1 and ``size`` bytes, for bodies that are consumed piece by piece."""
        if not self._buffer:
            return await self._stream.read(size)
        return await self.read_exactly(min(size, len(self._buffer)))

    async def read_pieces(self, size: int) -> list[bytes | memoryview]:
        """As `read_at_most`, in the pieces that came, without a copy where the stream is our muxer's."""
        muxed = getattr(self._stream, "muxed_stream", None)
        if self._buffer or not isinstance(muxed, Stream):
            return [await self.read_at_most(size)]
        try:
            return await muxed.read_pieces(size)
        except MuxedStreamEOF as error:
            raise StreamEOF from error
        except MuxedStreamError as error:
            raise StreamReset from error

    async def read_frame(self, bytes_max: int) -> bytes:
        """A frame after a 4-byte big-endian length. Raises FrameError beyond ``bytes_max``."""
        size = int.from_bytes(await self.read_exactly(PREFIX_BYTES), "big")
        if size > bytes_max:
            raise FrameError(f"a frame of {size} bytes, allowed are {bytes_max}")
        return await self.read_exactly(size)

    async def read_varint_frame(self, bytes_max: int, body_seconds_max: float = math.inf) -> bytes:
        """A frame after an unsigned varint, libp2p's own framing.

        Raises FrameError beyond ``bytes_max``, and if its body is not complete ``body_seconds_max`` after its length.
        """
        size = 0
        for position in range(_VARINT_BYTES_MAX):
            (byte,) = await self.read_exactly(1)
            size |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                break
        else:
            raise FrameError("a length prefix that does not end")
        if size > bytes_max:
            raise FrameError(f"a frame of {size} bytes, allowed are {bytes_max}")
        with trio.move_on_after(body_seconds_max):
            return await self.read_exactly(size)
        raise FrameError("a frame that never ended")


async def end_stream(stream: INetStream, *, broken: bool = False) -> None:
    """Close, or where something went wrong reset, a stream of ours, also when the task is being cancelled.

    The library's wrapper forgets a stream only after its close has returned; over our muxer it returns at once.
    """
    with trio.CancelScope(shield=True):
        await (stream.reset() if broken else stream.close())


def encode_frame(*parts: bytes) -> bytes:
    """The parts as one frame with a 4-byte big-endian length before it."""
    return b"".join((sum(map(len, parts)).to_bytes(PREFIX_BYTES, "big"), *parts))
