"""Pulling content by its SHA-256 over `/p2p-flock/blobs/1`: many pieces or one large file, verified and resumable.

Called by `net/adapter.py`. Who wants pieces names several sources, asks each for a share of them, moves on to the next
source where one lacks, stalls or lies, and goes on at the byte where it stopped. Nothing is returned whose SHA-256 is
not the one asked for. The wire format is in `net/blob_server.py`.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import trio
from libp2p.abc import INetStream
from libp2p.host.exceptions import StreamFailure
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID

from p2p_flock.errors import NetError
from p2p_flock.net.blob_server import BLOB_PROTOCOL, DIGEST_BYTES, ITEMS_MAX, WRITE_BYTES, Status
from p2p_flock.net.framing import STREAM_FAILURES, FrameError, FrameReader, encode_frame, end_stream
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.yamux_stream import Stream

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

log = logging.getLogger(__name__)

# Expected bytes of one question, so that a slow source holds up no more than this.
QUESTION_EXPECTS_BYTES_MAX = 64 * 1024 * 1024
FILE_WRITE_BYTES = 1 << 20  # written and hashed in one visit to a thread
WINDOW_BYTES = 4 * 1024 * 1024  # per stream; rate = window / round trip
STREAMS_MAX = 4  # that we pull on at once
# A stream that served well stays open for the next question: opening one costs both ends four messages and some
# milliseconds, and a round asks the same few peers a dozen times. The server waits longer than this.
IDLE_SECONDS_MAX = 15.0
IDLE_STREAMS_MAX = 64  # one per peer; beyond it the one that waits longest is closed
SHARE_EXPECTS_BYTES_MIN = 4 * 1024 * 1024  # asked of one source: spreading less costs more than it saves
STALL_SECONDS_MAX = 10.0  # without a byte, while pulling
FAILURES_MAX = 3  # of one source in one fetch, beyond which it is left out
RETRY_SECONDS = 0.2
HASH_IN_THREAD_BYTES = 1 << 20  # hashing 1 MiB takes half a millisecond

Buffer = bytes | memoryview
Take = Callable[[bytes, bytes], Awaitable[None]]  # digest and verified content
_PULL_FAILURES = (*STREAM_FAILURES, StreamFailure, SwarmException, FrameError, trio.TooSlowError)


class BlobClient:
    """Pulls content from peers."""

    def __init__(self, host: HardenedHost) -> None:
        self._host = host
        self._streams = trio.Semaphore(STREAMS_MAX)
        self._idle: dict[ID, _IdleStream] = {}  # in the order in which they became idle
        self.liars: Counter[str] = Counter()  # peers that sent content of another digest, for the operator

    @asynccontextmanager
    async def _open(self, source: ID) -> AsyncIterator[tuple[INetStream, FrameReader]]:
        """A stream to ask on, fresh or left over from an earlier pull, whose peer may have gone since."""
        idle = self._idle.pop(source, None)
        if idle is not None and idle.is_expired():
            await end_stream(idle.stream)
            idle = None
        if idle is None:
            stream = await self._host.new_stream(source, [BLOB_PROTOCOL])
            muxed = getattr(stream, "muxed_stream", None)
            if isinstance(muxed, Stream):
                muxed.widen(WINDOW_BYTES)
            idle = _IdleStream(stream, FrameReader(stream), 0.0)
        is_broken = True
        try:
            yield idle.stream, idle.reader
            is_broken = False
        finally:
            if is_broken:
                await end_stream(idle.stream, broken=True)
        await self._keep(source, idle)

    async def _keep(self, source: ID, used: _IdleStream) -> None:
        """Hold a stream for the next pull; one for each peer."""
        ended = [self._idle.pop(source)] if source in self._idle else []
        self._idle[source] = _IdleStream(used.stream, used.reader, trio.current_time())
        for peer in list(self._idle):
            if self._idle[peer].is_expired() or len(self._idle) > IDLE_STREAMS_MAX:
                ended.append(self._idle.pop(peer))
        for idle in ended:
            await end_stream(idle.stream)

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
        job = _Job(list(dict.fromkeys(digests)), bytes_max_each, sources, take)
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
        try:
            await self._pull_while_needed(source, job)
        finally:
            job.let_others_choose(source)

    async def _pull_while_needed(self, source: ID, job: _Job) -> None:
        failures = 0
        while failures < FAILURES_MAX and source not in job.liars:
            if not job.has_share(source):
                if not job.may_still_need(source):
                    return
                await job.changed.park()
                continue
            is_left_over = source in self._idle
            try:
                async with self._streams:  # before a share is taken, so that nothing is held by who waits
                    await self._pull_shares(source, job)
            except _PULL_FAILURES as error:
                log.debug("pulling from %s failed: %s", source, error)
                if is_left_over:
                    continue  # the peer may have restarted since; now a fresh stream is opened
                failures += 1
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
            begun = job.partial(digest)
            is_whole = not begun.size
            size = await _read_size(reader, begun.size, job.bytes_max)
            if size is None:
                job.note_lacking(digest, source)
            else:
                await _read_body(reader, size - begun.size, begun.append)
                content, found = await begun.join()
                if found == digest:
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
                        found = await self._pull_file(source, digest, part, bytes_max)
                        if found is None:
                            continue
                    except _PULL_FAILURES as error:
                        log.debug("pulling from %s failed: %s", source, error)
                        continue
                    if found == digest:
                        await trio.to_thread.run_sync(os.replace, part, path)
                        return True
                    part.unlink()
                    self._note_lie(source, digest, not is_resumed)
                    is_resumed = False
                await trio.sleep(RETRY_SECONDS * (attempt + 1))
        return False

    async def _pull_file(self, source: ID, digest: bytes, part: Path, bytes_max: int) -> bytes | None:
        """The digest of all that is now in ``part``; None if the source lacks it."""
        async with self._streams, self._open(source) as (stream, reader):
            async with _PartFile(part) as file:
                await stream.write(encode_frame(_encode_item(digest, file.size, bytes_max)))
                size = await _read_size(reader, file.size, bytes_max)
                if size is None:
                    return None
                await _read_body(reader, size - file.size, file.append)
            return file.digest


@dataclass(frozen=True)
class _IdleStream:
    """A stream of ours that waits for its next question since ``since`` (trio's clock, seconds)."""

    stream: INetStream
    reader: FrameReader
    since: float

    def is_expired(self) -> bool:
        return trio.current_time() - self.since > IDLE_SECONDS_MAX


class _Partial:
    """The pieces of one content in order; joined once, since a growing buffer copies a large content several times."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[Buffer] = []

    async def append(self, piece: Buffer) -> None:
        self.size += len(piece)
        self._pieces.append(piece)

    async def join(self) -> tuple[bytes, bytes]:
        """The content and its digest."""
        if self.size < HASH_IN_THREAD_BYTES:
            return _join_and_hash(self._pieces)
        return await trio.to_thread.run_sync(_join_and_hash, self._pieces)


class _PartFile:
    """A file that grows at its end and is hashed on the way, some pieces at a time in a thread.

    Attributes:
        size: bytes in the file or about to be.
        digest: of the whole file, once it is closed without an error.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces: list[Buffer] = []
        self._waiting_bytes = 0
        self.size = 0
        self.digest = b""

    async def __aenter__(self) -> _PartFile:
        self._file, self._hash, self.size = await trio.to_thread.run_sync(_open_part, self._path)
        return self

    async def append(self, piece: Buffer) -> None:
        self._pieces.append(piece)
        self.size += len(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes >= FILE_WRITE_BYTES:
            pieces, self._pieces, self._waiting_bytes = self._pieces, [], 0
            await trio.to_thread.run_sync(_append_to_part, self._file, self._hash, pieces)

    async def __aexit__(self, *_error: object) -> None:
        with trio.CancelScope(shield=True):  # what came is kept for the next pull
            try:
                await trio.to_thread.run_sync(_append_to_part, self._file, self._hash, self._pieces)
            finally:
                await trio.to_thread.run_sync(self._file.close)
        self.digest = self._hash.digest()


def _open_part(path: Path) -> tuple[BinaryIO, Hash, int]:
    file = path.open("a+b", buffering=0)
    file.seek(0)
    found = hashlib.sha256()
    while piece := file.read(WRITE_BYTES):
        found.update(piece)
    return file, found, file.tell()


def _append_to_part(file: BinaryIO, found: Hash, pieces: Sequence[Buffer]) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[file.write(view) :]
        found.update(piece)


def _join_and_hash(pieces: Sequence[Buffer]) -> tuple[bytes, bytes]:
    content = bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
    return content, hashlib.sha256(content).digest()


class _Job:
    """What one `BlobClient.fetch` still wants, and who need not be asked for it."""

    def __init__(self, digests: list[bytes], bytes_max: int, sources: Sequence[ID], take: Take) -> None:
        self.bytes_max = bytes_max
        self.take = take
        self.taken: set[bytes] = set()
        self.liars: set[ID] = set()
        self.changed = trio.lowlevel.ParkingLot()
        self._todo = digests  # neither found nor being pulled
        self._pulled: set[bytes] = set()
        self._partial: dict[bytes, _Partial] = {}
        self._lacking: dict[bytes, set[ID]] = {digest: set() for digest in digests}
        self._source_count = max(1, len(sources))
        self._chooses_first = sources[0] if sources else None  # the caller's preference, until it has a share

    def partial(self, digest: bytes) -> _Partial:
        """What has arrived of a content so far."""
        return self._partial.setdefault(digest, _Partial())

    def has_share(self, source: ID) -> bool:
        """Whether there is something to ask ``source`` for."""
        if self._chooses_first not in (None, source):
            return False
        return any(source not in self._lacking[digest] for digest in self._todo)

    def let_others_choose(self, source: ID) -> None:
        """``source`` has its first share, or none to come."""
        if self._chooses_first == source:
            self._chooses_first = None
            self.changed.unpark_all()

    def take_share(self, source: ID) -> list[bytes]:
        """What to ask ``source`` for next: half an equal share of what is left, so that fast sources get more."""
        eligible = [digest for digest in self._todo if source not in self._lacking[digest]]
        count = -(-len(eligible) // (2 * self._source_count)) if self._source_count > 1 else len(eligible)
        affordable = max(1, QUESTION_EXPECTS_BYTES_MAX // max(1, self.bytes_max))
        worthwhile = SHARE_EXPECTS_BYTES_MIN // max(1, self.bytes_max)
        count = min(max(count, worthwhile), ITEMS_MAX, affordable)
        share = eligible[:count]
        taken = set(share)
        self._todo = [digest for digest in self._todo if digest not in taken]
        self._pulled |= taken
        self.let_others_choose(source)
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
        if self._chooses_first is not None:
            return bool(self._todo)
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


async def _read_body(reader: FrameReader, size: int, append: Callable[[Buffer], Awaitable[None]]) -> None:
    while size:
        with trio.fail_after(STALL_SECONDS_MAX):
            pieces = await reader.read_pieces(min(size, WRITE_BYTES))
        for piece in pieces:
            size -= len(piece)
            await append(piece)
