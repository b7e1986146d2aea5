"""Content by its SHA-256, pulled over `/p2p-flock/blobs/1`: many pieces or one large file, verified and resumable.

Called by `net/adapter.py`. Whoever has a piece serves it to any connected peer; who wants pieces names several sources,
asks each for a share of them, moves on to the next source where one lacks, stalls or lies, and goes on at the byte
where it stopped. Nothing is returned whose SHA-256 is not the one asked for. What may be served to strangers is the
caller's choice, in its ``source`` function.

Wire format. The opener sends a question, a frame after a 4-byte big-endian length of 1 to 256 items of 48 bytes: digest
(32), offset (8, big-endian), largest size it takes (8). For each item, in order, the answer is a status (1 byte) and
the whole size (8); after FOUND follow the bytes from the offset to the end. Then the opener may ask again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID

from p2p_flock.errors import NetError
from p2p_flock.net.framing import STREAM_FAILURES, FrameError, FrameReader, encode_frame, end_stream
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.yamux_stream import Stream

log = logging.getLogger(__name__)

BLOB_PROTOCOL = TProtocol("/p2p-flock/blobs/1")
DIGEST_BYTES = 32
ITEMS_MAX = 256  # of one question
# Expected bytes of one question, so that a slow source holds up no more than this.
QUESTION_EXPECTS_BYTES_MAX = 64 * 1024 * 1024
WRITE_BYTES = 1 << 20
SMALL_WRITE_BYTES = 256 * 1024  # small answers are joined until they have this size
WINDOW_BYTES = 4 * 1024 * 1024  # per stream; rate = window / round trip
STREAMS_MAX = 4  # that we pull on at once
SERVED_STREAMS_PER_PEER_MAX = 4  # one more is reset; its opener asks elsewhere
SERVED_STREAMS_MAX = 32
STALL_SECONDS_MAX = 10.0  # without a byte, while pulling
SERVE_SECONDS_MAX = 30.0  # per write, or waiting for the next question
FAILURES_MAX = 3  # of one source in one fetch, beyond which it is left out
RETRY_SECONDS = 0.2
HASH_IN_THREAD_BYTES = 1 << 20  # hashing 1 MiB takes half a millisecond

BlobSource = Callable[[bytes], "bytes | bytearray | memoryview | Path | None"]
Take = Callable[[bytes, bytes], Awaitable[None]]  # digest and verified content
_PULL_FAILURES = (*STREAM_FAILURES, StreamFailure, SwarmException, FrameError, trio.TooSlowError)


class Status(Enum):
    """What a source says of one item."""

    FOUND = 0
    MISSING = 1
    TOO_LARGE = 2


class BlobServer:
    """Answers questions from ``source``, which is called in the event loop; a Path it returns is read in a thread."""

    def __init__(self, host: HardenedHost, source: BlobSource) -> None:
        self._source = source
        self._streams: Counter[str] = Counter()
        host.set_stream_handler(BLOB_PROTOCOL, self._serve)

    async def _serve(self, stream: INetStream) -> None:
        peer_id = stream.muxed_conn.peer_id.to_base58()
        if self._streams[peer_id] >= SERVED_STREAMS_PER_PEER_MAX or self._streams.total() >= SERVED_STREAMS_MAX:
            raise FrameError("too many blob streams")
        self._streams[peer_id] += 1
        reader = FrameReader(stream)
        try:
            while True:
                with trio.fail_after(SERVE_SECONDS_MAX):
                    question = await reader.read_frame(ITEMS_MAX * 48)
                if not question or len(question) % 48:
                    raise FrameError("not a question for blobs")
                writer = _Writer(stream)
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

    async def _answer(self, writer: _Writer, item: bytes) -> None:
        digest = item[:DIGEST_BYTES]
        offset, bytes_max = int.from_bytes(item[32:40], "big"), int.from_bytes(item[40:48], "big")
        content = self._source(digest)
        size = 0
        status = Status.MISSING
        if content is not None:
            try:
                size = content.stat().st_size if isinstance(content, Path) else len(content)
                status = Status.FOUND if offset <= size <= bytes_max else Status.TOO_LARGE
            except OSError:
                log.warning("a blob that we should have cannot be read: %s", digest.hex())
        await writer.write(status.value.to_bytes(1, "big") + size.to_bytes(8, "big"))
        if status is not Status.FOUND or content is None:
            return
        if isinstance(content, Path):
            await _copy_file(writer, content, offset, size)
        else:
            view = memoryview(content)
            for start in range(offset, size, WRITE_BYTES):
                await writer.write(view[start : start + WRITE_BYTES])


async def _copy_file(writer: _Writer, path: Path, offset: int, size: int) -> None:
    async with await trio.open_file(path, "rb") as file:
        await file.seek(offset)
        while offset < size:
            piece = await file.read(min(WRITE_BYTES, size - offset))
            if not piece:
                raise FrameError("a blob shrank while it was served")
            offset += len(piece)
            await writer.write(piece)


class _Writer:
    """Joins small writes; each write to the stream has a deadline."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream
        self._joined = bytearray()

    async def write(self, data: bytes | memoryview) -> None:
        if len(data) < SMALL_WRITE_BYTES:
            self._joined += data
            if len(self._joined) >= SMALL_WRITE_BYTES:
                await self.flush()
            return
        await self.flush()
        with trio.fail_after(SERVE_SECONDS_MAX):
            await self._stream.write(data)  # type: ignore[arg-type]  # our muxer takes any buffer

    async def flush(self) -> None:
        joined, self._joined = bytes(self._joined), bytearray()
        if joined:
            with trio.fail_after(SERVE_SECONDS_MAX):
                await self._stream.write(joined)


class BlobClient:
    """Pulls content from peers."""

    def __init__(self, host: HardenedHost) -> None:
        self._host = host
        self._streams = trio.Semaphore(STREAMS_MAX)
        self.liars: Counter[str] = Counter()  # peers that sent content of another digest, for the operator

    @asynccontextmanager
    async def _open(self, source: ID) -> AsyncIterator[tuple[INetStream, FrameReader]]:
        stream = await self._host.new_stream(source, [BLOB_PROTOCOL])
        is_broken = True
        try:
            muxed = getattr(stream, "muxed_stream", None)
            if isinstance(muxed, Stream):
                muxed.widen(WINDOW_BYTES)
            yield stream, FrameReader(stream)
            is_broken = False
        finally:
            await end_stream(stream, broken=is_broken)

    async def fetch(
        self, digests: Sequence[bytes], sources: Sequence[ID], bytes_max_each: int, timeout_s: float
    ) -> dict[bytes, bytes]:
        """The contents that could be had from ``sources`` in ``timeout_s``; those that could not are absent."""
        found: dict[bytes, bytes] = {}

        async def keep(digest: bytes, content: bytes) -> None:
            found[digest] = content

        await self.fetch_each(digests, sources, bytes_max_each, timeout_s, keep)
        return found

    async def fetch_each(
        self, digests: Sequence[bytes], sources: Sequence[ID], bytes_max_each: int, timeout_s: float, take: Take
    ) -> frozenset[bytes]:
        """As `fetch`, but each content goes to ``take`` and is not kept; the digests that were taken.

        We ourselves are left out as a source. At most STREAMS_MAX contents are in memory, and as many broken ones that
        wait for another source. An error of ``take`` ends the pull and comes out as it is.
        """
        for digest in digests:
            _check_digest(digest)
        sources = [source for source in dict.fromkeys(sources) if source != self._host.get_id()]
        job = _Job(list(dict.fromkeys(digests)), bytes_max_each, len(sources), take)
        try:
            with trio.move_on_after(timeout_s):
                async with trio.open_nursery() as nursery:
                    for source in sources:
                        nursery.start_soon(self._pull_from, source, job)
        except BaseExceptionGroup as group:
            raise _first_of(group) from None
        return frozenset(job.taken)

    async def _pull_from(self, source: ID, job: _Job) -> None:
        """Take shares of the job for one source until nothing is left that it could have."""
        failures = 0
        while failures < FAILURES_MAX and source not in job.liars:
            if not job.has_share(source):
                if not job.may_still_need(source):
                    return
                await job.changed.park()
                continue
            try:
                async with self._streams:  # before a share is taken, so that nothing is held by who waits
                    await self._pull_shares(source, job)
            except _PULL_FAILURES as error:
                failures += 1
                log.debug("pulling from %s failed: %s", source, error)
                await trio.sleep(RETRY_SECONDS * failures)

    async def _pull_shares(self, source: ID, job: _Job) -> None:
        share = job.take_share(source)
        try:
            if share:
                async with self._open(source) as (stream, reader):
                    while share and source not in job.liars:
                        await self._pull_share(source, job, share, stream, reader)
                        share = job.take_share(source)
        finally:
            job.give_back(share)

    async def _pull_share(
        self, source: ID, job: _Job, share: list[bytes], stream: INetStream, reader: FrameReader
    ) -> None:
        await stream.write(
            encode_frame(*(_encode_item(digest, job.partial(digest).size, job.bytes_max) for digest in share))
        )
        for digest in list(share):
            partial = job.partial(digest)
            is_whole = not partial.size
            size = await _read_size(reader, partial.size, job.bytes_max)
            if size is None:
                job.note_lacking(digest, source)
            else:
                await _read_body(reader, size - partial.size, partial.append)
                content = await partial.join()
                if await _is_digest_of(digest, content):
                    await job.take(digest, content)
                    job.note_taken(digest)
                else:
                    self._note_lie(source, digest, is_whole)
                    job.note_lie(digest, source, is_whole)
            share.remove(digest)

    def _note_lie(self, source: ID, digest: bytes, is_whole: bool) -> None:
        if is_whole:
            self.liars[source.to_base58()] += 1
            log.warning("%s sent other content than %s", source, digest.hex())

    async def fetch_to_path(
        self, digest: bytes, path: Path, sources: Sequence[ID], bytes_max: int, timeout_s: float
    ) -> bool:
        """Pull one large content to ``path``, through ``path`` + ".part", where a broken pull goes on another time.

        True if ``path`` now holds content with this digest. Raises OSError if the disk fails.
        """
        _check_digest(digest)
        part = path.with_name(path.name + ".part")
        is_resumed = part.exists()
        with trio.move_on_after(timeout_s):
            for attempt in range(FAILURES_MAX):
                for source in sources:
                    is_resumed |= part.exists()
                    try:
                        if not await self._pull_file(source, digest, part, bytes_max):
                            continue
                    except _PULL_FAILURES as error:
                        log.debug("pulling from %s failed: %s", source, error)
                        continue
                    if await trio.to_thread.run_sync(_hash_file, part) == digest:
                        await trio.to_thread.run_sync(os.replace, part, path)
                        return True
                    part.unlink()
                    self._note_lie(source, digest, not is_resumed)
                    is_resumed = False
                await trio.sleep(RETRY_SECONDS * (attempt + 1))
        return False

    async def _pull_file(self, source: ID, digest: bytes, part: Path, bytes_max: int) -> bool:
        async with (
            self._streams,
            self._open(source) as (stream, reader),
            await trio.open_file(part, "ab") as file,
        ):
            offset = await file.tell()
            await stream.write(encode_frame(_encode_item(digest, offset, bytes_max)))
            size = await _read_size(reader, offset, bytes_max)
            if size is None:
                return False

            async def append(piece: bytes) -> None:
                await file.write(piece)

            await _read_body(reader, size - offset, append)
            return True


class _Partial:
    """The pieces of one content in order; joined once, since a growing buffer copies a large content several times."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes] = []

    async def append(self, piece: bytes) -> None:
        self.size += len(piece)
        self._pieces.append(piece)

    async def join(self) -> bytes:
        if self.size < HASH_IN_THREAD_BYTES:
            return b"".join(self._pieces)
        return await trio.to_thread.run_sync(b"".join, self._pieces)


class _Job:
    """What one `BlobClient.fetch` still wants, and who need not be asked for it."""

    def __init__(self, digests: list[bytes], bytes_max: int, source_count: int, take: Take) -> None:
        self.bytes_max = bytes_max
        self.take = take
        self.taken: set[bytes] = set()
        self.liars: set[ID] = set()
        self.changed = trio.lowlevel.ParkingLot()
        self._todo = digests  # neither found nor being pulled
        self._pulled: set[bytes] = set()
        self._partial: dict[bytes, _Partial] = {}
        self._lacking: dict[bytes, set[ID]] = {digest: set() for digest in digests}
        self._source_count = max(1, source_count)

    def partial(self, digest: bytes) -> _Partial:
        """What has arrived of a content so far."""
        return self._partial.setdefault(digest, _Partial())

    def has_share(self, source: ID) -> bool:
        """Whether there is something to ask ``source`` for."""
        return any(source not in self._lacking[digest] for digest in self._todo)

    def take_share(self, source: ID) -> list[bytes]:
        """What to ask ``source`` for next: half an equal share of what is left, so that fast sources get more."""
        eligible = [digest for digest in self._todo if source not in self._lacking[digest]]
        count = -(-len(eligible) // (2 * self._source_count)) if self._source_count > 1 else len(eligible)
        count = min(count, ITEMS_MAX, max(1, QUESTION_EXPECTS_BYTES_MAX // max(1, self.bytes_max)))
        share = eligible[:count]
        taken = set(share)
        self._todo = [digest for digest in self._todo if digest not in taken]
        self._pulled |= taken
        return share

    def give_back(self, share: list[bytes]) -> None:
        """These could not be pulled; others may."""
        self._pulled.difference_update(share)
        self._todo += share
        broken = [digest for digest in self._partial if digest not in self._pulled]
        for digest in broken[:-STREAMS_MAX]:
            del self._partial[digest]
        self.changed.unpark_all()

    def may_still_need(self, source: ID) -> bool:
        """Whether something that another source is sending might yet be asked of this one."""
        return any(source not in self._lacking[digest] for digest in self._pulled)

    def note_taken(self, digest: bytes) -> None:
        """The content is complete and verified, and ``take`` has it."""
        self._partial.pop(digest)
        self.taken.add(digest)
        self._end(digest)

    def note_lacking(self, digest: bytes, source: ID) -> None:
        """The source does not have it, or more of it than we take."""
        self._lacking[digest].add(source)
        self._end(digest)
        self._todo.append(digest)

    def note_lie(self, digest: bytes, source: ID, is_whole: bool) -> None:
        """The content was another. If several sources sent it, nobody can be blamed and it starts anew."""
        self._partial.pop(digest, None)
        if is_whole:
            self.liars.add(source)
            self._lacking[digest].add(source)
        self._end(digest)
        self._todo.append(digest)

    def _end(self, digest: bytes) -> None:
        self._pulled.discard(digest)
        self.changed.unpark_all()


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _check_digest(digest: bytes) -> None:
    if len(digest) != DIGEST_BYTES:
        raise NetError(f"a SHA-256 digest has {DIGEST_BYTES} bytes, not {len(digest)}")


def _encode_item(digest: bytes, offset: int, bytes_max: int) -> bytes:
    return digest + offset.to_bytes(8, "big") + bytes_max.to_bytes(8, "big")


async def _read_size(reader: FrameReader, offset: int, bytes_max: int) -> int | None:
    """The whole size of the item whose body follows, or None if there is no body."""
    with trio.fail_after(STALL_SECONDS_MAX):
        header = await reader.read_exactly(9)
    size = int.from_bytes(header[1:], "big")
    if header[0] == Status.FOUND.value:
        if not offset <= size <= bytes_max:
            raise FrameError("the source sends more than was asked for")
        return size
    if header[0] not in (Status.MISSING.value, Status.TOO_LARGE.value):
        raise FrameError("not an answer for blobs")
    return None


async def _read_body(reader: FrameReader, size: int, append: Callable[[bytes], Awaitable[None]]) -> None:
    while size:
        with trio.fail_after(STALL_SECONDS_MAX):
            piece = await reader.read_at_most(min(size, WRITE_BYTES))
        size -= len(piece)
        await append(piece)


async def _is_digest_of(digest: bytes, content: bytes) -> bool:
    if len(content) < HASH_IN_THREAD_BYTES:
        return hashlib.sha256(content).digest() == digest
    return await trio.to_thread.run_sync(lambda: hashlib.sha256(content).digest()) == digest


def _hash_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
