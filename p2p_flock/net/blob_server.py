"""Serving content by its SHA-256 over `/p2p-flock/blobs/1`; `net/blobs.py` pulls it.

Called by `net/adapter.py`. Whoever has a content serves it to any connected peer; what may be served to strangers is
the caller's choice, in its ``source`` function.

Wire format. The opener sends a question, a frame after a 4-byte big-endian length of 1 to 256 items of 48 bytes: digest
(32), offset (8, big-endian), largest size it takes (8). For each item, in order, the answer is a status (1 byte) and
the whole size (8); after FOUND follow the bytes from the offset to the end. Then the opener may ask again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import BinaryIO

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID

from p2p_flock.net.framing import STREAM_FAILURES, FrameError, FrameReader, end_stream
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.limits import (
    SERVED_BYTES_TO_PREFERRED,
    SERVED_BYTES_TO_STRANGER,
    SERVED_BYTES_TO_STRANGERS,
    SERVED_ITEMS_TO_PREFERRED,
    SERVED_ITEMS_TO_STRANGER,
    Allowance,
    get_limited_logger,
)

log = get_limited_logger(__name__)

BLOB_PROTOCOL = TProtocol("/p2p-flock/blobs/1")
DIGEST_BYTES = 32
ITEMS_MAX = 256  # of one question
WRITE_BYTES = 1 << 20
SMALL_WRITE_BYTES = 256 * 1024  # small answers are joined until they have this size
SERVED_STREAMS_PER_PEER_MAX = 4  # one more is reset; its opener asks elsewhere
# Most of them wait for the next question. Strangers never get the last half, which is the alliance's.
SERVED_STREAMS_MAX = 128
SERVED_STREAMS_OF_STRANGERS_MAX = 64
SERVE_SECONDS_MAX = 30.0  # per write, or waiting for a question; openers close after half of it

BlobSource = Callable[[bytes], "bytes | bytearray | memoryview | Path | None"]


class Status(Enum):
    """What a source says of one item."""

    FOUND = 0
    MISSING = 1
    TOO_LARGE = 2


class BlobServer:
    """Answers questions from ``source``, which is called in the event loop; a Path it returns is read in a thread."""

    def __init__(self, host: HardenedHost, source: BlobSource) -> None:
        self._source = source
        self._swarm = host.swarm
        self._streams: Counter[str] = Counter()
        self._items = Allowance(SERVED_ITEMS_TO_PREFERRED, SERVED_ITEMS_TO_STRANGER)
        self._bytes = Allowance(SERVED_BYTES_TO_PREFERRED, SERVED_BYTES_TO_STRANGER, SERVED_BYTES_TO_STRANGERS)
        host.set_stream_handler(BLOB_PROTOCOL, self._serve)

    async def _serve(self, stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id
        peer_id = peer.to_base58()
        streams_max = SERVED_STREAMS_MAX if self._swarm.prefers(peer) else SERVED_STREAMS_OF_STRANGERS_MAX
        if self._streams[peer_id] >= SERVED_STREAMS_PER_PEER_MAX or self._streams.total() >= streams_max:
            raise FrameError("too many blob streams")
        self._streams[peer_id] += 1
        reader = FrameReader(stream)
        has_asked = False
        try:
            while True:
                with trio.move_on_after(SERVE_SECONDS_MAX) as waiting:
                    question = await reader.read_frame(ITEMS_MAX * 48)
                if waiting.cancelled_caught:
                    if has_asked:
                        return  # an opener that may ask again need not
                    raise FrameError("the peer opened a stream and did not ask")
                has_asked = True
                if not question or len(question) % 48:
                    raise FrameError("not a question for blobs")
                count = len(question) // 48
                await trio.sleep(self._items.take(peer_id, count, is_preferred=self._swarm.prefers(peer)))
                writer = _Writer(stream, lambda size: self._wait_s(peer, size))
                for start in range(0, len(question), 48):
                    await self._answer(writer, question[start : start + 48])
                await writer.flush()
        except trio.TooSlowError as error:
            raise FrameError("the peer stopped asking or reading") from error
        except STREAM_FAILURES:
            pass  # the usual end
        finally:
            self._streams[peer_id] -= 1
            if not self._streams[peer_id]:
                del self._streams[peer_id]
            await end_stream(stream)

    def _wait_s(self, peer: ID, size: int) -> float:
        return self._bytes.take(peer.to_base58(), size, is_preferred=self._swarm.prefers(peer))

    async def _answer(self, writer: _Writer, item: bytes) -> None:
        digest = item[:DIGEST_BYTES]
        offset, bytes_max = int.from_bytes(item[32:40], "big"), int.from_bytes(item[40:48], "big")
        content = self._source(digest)
        if content is None:
            await writer.write(_encode_header(Status.MISSING, 0))
        elif isinstance(content, Path):
            await _answer_from_file(writer, content, offset, bytes_max)
        elif not offset <= len(content) <= bytes_max:
            await writer.write(_encode_header(Status.TOO_LARGE, len(content)))
        else:
            await writer.write(_encode_header(Status.FOUND, len(content)))
            view = memoryview(content)
            for start in range(offset, len(view), WRITE_BYTES):
                await writer.write(view[start : start + WRITE_BYTES])


async def _answer_from_file(writer: _Writer, path: Path, offset: int, bytes_max: int) -> None:
    """In as few visits to a thread as there are pieces: one for most contents."""
    try:
        size, piece = await trio.to_thread.run_sync(_read_first, path, offset, bytes_max)
    except OSError:
        log.warning("a blob that we should have cannot be read: %s", path)
        await writer.write(_encode_header(Status.MISSING, 0))
        return
    if not offset <= size <= bytes_max:
        await writer.write(_encode_header(Status.TOO_LARGE, size))
        return
    await writer.write(_encode_header(Status.FOUND, size))
    await writer.write(piece)
    offset += len(piece)
    if offset < size:
        file = await trio.to_thread.run_sync(partial(path.open, "rb", buffering=0))
        try:
            while offset < size:
                piece = await trio.to_thread.run_sync(_read_at, file, offset, size)
                offset += len(piece)
                await writer.write(piece)
        finally:
            file.close()


def _read_first(path: Path, offset: int, bytes_max: int) -> tuple[int, bytes]:
    """The file's size, and its first bytes from ``offset`` if it is to be sent."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        return size, _read_at(file, offset, size) if offset < size <= bytes_max else b""


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    piece = os.pread(file.fileno(), min(WRITE_BYTES, size - offset), offset)
    if not piece:
        raise FrameError("a blob shrank while it was served")
    return piece


class _Writer:
    """Joins small writes; each write to the stream has a deadline, and waits first while the peer has had too much."""

    def __init__(self, stream: INetStream, take: Callable[[int], float]) -> None:
        self._stream = stream
        self._take = take
        self._joined = bytearray()

    async def write(self, data: bytes | memoryview) -> None:
        if len(data) < SMALL_WRITE_BYTES:
            self._joined += data
            if len(self._joined) >= SMALL_WRITE_BYTES:
                await self.flush()
            return
        await self.flush()
        await trio.sleep(self._take(len(data)))
        with trio.fail_after(SERVE_SECONDS_MAX):
            await self._stream.write(data)  # type: ignore[arg-type]  # our muxer takes any buffer

    async def flush(self) -> None:
        joined, self._joined = bytes(self._joined), bytearray()
        if joined:
            await trio.sleep(self._take(len(joined)))
            with trio.fail_after(SERVE_SECONDS_MAX):
                await self._stream.write(joined)


def _encode_header(status: Status, size: int) -> bytes:
    return status.value.to_bytes(1, "big") + size.to_bytes(8, "big")
