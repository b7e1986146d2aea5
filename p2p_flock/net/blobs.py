"""Pulling content by its SHA-256 over `/p2p-flock/blobs/1`: many pieces or one large file, verified and resumable.

Called by `net/adapter.py`. Who wants pieces names several sources, asks each for a share of them (`net/pulling.py`),
moves on to the next source where one lacks, stalls or lies, and goes on at the byte where it stopped. What a source
gives nothing of for a second others are asked for too: the process behind it may have been stopped, and its connection
stands. Nothing is returned whose SHA-256 is not the one asked for. The wire format is in `net/blob_server.py`.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from libp2p.abc import INetStream
from libp2p.host.exceptions import StreamFailure
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID

from p2p_flock.errors import NetError
from p2p_flock.net.blob_server import BLOB_PROTOCOL, DIGEST_BYTES, WRITE_BYTES, Status
from p2p_flock.net.framing import STREAM_FAILURES, FrameError, FrameReader, encode_frame, end_stream
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.part_file import PartFile
from p2p_flock.net.pulling import Buffer, Job, Partial, Pull, Slot, Take
from p2p_flock.net.yamux_stream import Stream

log = logging.getLogger(__name__)

WINDOW_BYTES = 4 * 1024 * 1024  # per stream; rate = window / round trip
STREAMS_MAX = 4  # that we pull on at once
# A stream that served well stays open for the next question: opening one costs both ends four messages and some
# milliseconds, and a round asks the same few peers a dozen times. The server waits longer than this.
IDLE_SECONDS_MAX = 15.0
IDLE_STREAMS_MAX = 64  # one per peer; beyond it the one that waits longest is closed
STALL_SECONDS_MAX = 10.0  # without a byte, while pulling; for as long a source that stalled comes after the others
# Without a byte after which others are asked for the same. An answer takes milliseconds, so a second is no accident of
# a good network; and a source that is merely slow is not given up: what comes first counts.
HEDGE_SECONDS = 1.0
LOOK_SECONDS = 0.25  # between looks for stalled sources
FAILURES_MAX = 3  # of one source in one fetch, beyond which it is left out
RETRY_SECONDS = 0.2
_PULL_FAILURES = (*STREAM_FAILURES, StreamFailure, SwarmException, FrameError, trio.TooSlowError)


class BlobClient:
    """Pulls content from peers."""

    def __init__(self, host: HardenedHost) -> None:
        self._host = host
        self._streams = trio.Semaphore(STREAMS_MAX)
        self._idle: dict[ID, _IdleStream] = {}  # in the order in which they became idle
        self._stalled_until: dict[ID, float] = {}  # sources that gave nothing for a while, and until when that counts
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

        We ourselves are left out as a source. At most STREAMS_MAX contents are in memory, as many broken ones that wait
        for another source, and what has come of one from each source that stalled. An error of ``take`` ends the pull
        and comes out as it is.
        """
        for digest in digests:
            _check_digest(digest)
        sources = [source for source in dict.fromkeys(sources) if source != self._host.get_id()]
        sources.sort(key=self._is_stalled)
        job = Job(list(dict.fromkeys(digests)), bytes_max_each, sources, take)
        try:
            with trio.move_on_after(timeout_s):
                async with trio.open_nursery() as nursery:
                    for source in sources:
                        nursery.start_soon(self._pull_from, source, job)
                    await self._watch(job)
                    nursery.cancel_scope.cancel()  # who still owes an answer is not waited for
        except BaseExceptionGroup as group:
            raise _first_of(group) from None
        return frozenset(job.taken)

    async def _watch(self, job: Job) -> None:
        """Until the job is over let others have what a source gives nothing of."""
        while not job.is_over:
            with trio.move_on_after(LOOK_SECONDS):
                await job.changed.park()
            for source in job.disown_stalled(trio.current_time() - HEDGE_SECONDS):
                log.debug("%s gives nothing for %s s; others are asked too", source, HEDGE_SECONDS)
                self._note_stalled(source)

    def _note_stalled(self, source: ID) -> None:
        now = trio.current_time()
        self._stalled_until = {peer: until for peer, until in self._stalled_until.items() if until > now}
        self._stalled_until[source] = now + STALL_SECONDS_MAX

    def _is_stalled(self, source: ID) -> bool:
        return self._stalled_until.get(source, 0.0) > trio.current_time()

    async def _pull_from(self, source: ID, job: Job) -> None:
        """Take shares of the job for one source until nothing is left that it could have."""
        try:
            if self._is_stalled(source) and job.source_count > 1:
                await trio.sleep(HEDGE_SECONDS)  # by then the others have usually given all
            await self._pull_while_needed(source, job)
        finally:
            job.note_source_ended(source)

    async def _pull_while_needed(self, source: ID, job: Job) -> None:
        failures = 0
        while failures < FAILURES_MAX and source not in job.liars:
            if not job.has_share(source):
                if not job.may_still_need(source):
                    return
                await job.changed.park()
                continue
            is_left_over = source in self._idle
            try:
                async with Slot(self._streams) as slot:  # before a share is taken: who waits holds nothing
                    await self._pull_shares(source, job, slot)
            except _PULL_FAILURES as error:
                log.debug("pulling from %s failed: %s", source, error)
                if is_left_over:
                    continue  # the peer may have restarted since; now a fresh stream is opened
                failures += 1
                await trio.sleep(RETRY_SECONDS * failures)

    async def _pull_shares(self, source: ID, job: Job, slot: Slot) -> None:
        pull = job.take_share(source, slot)
        try:
            if pull.share:
                async with self._open(source) as (stream, reader):
                    while pull.share and source not in job.liars and not pull.is_disowned:
                        await self._pull_share(job, pull, stream, reader)
                        job.give_back(pull)
                        pull = job.take_share(source, slot)
        finally:
            job.give_back(pull)

    async def _pull_share(self, job: Job, pull: Pull, stream: INetStream, reader: FrameReader) -> None:
        await stream.write(
            encode_frame(*(_encode_item(digest, pull.begun[digest].size, job.bytes_max) for digest in pull.share))
        )
        for digest in list(pull.share):
            begun = pull.begun[digest]
            is_whole = not begun.size
            size = await _read_size(reader, begun.size, job.bytes_max)
            self._note_heard(pull)
            if size is None:
                job.note_lacking(digest, pull)
                continue

            async def keep(piece: Buffer, begun: Partial = begun) -> None:
                self._note_heard(pull)
                await begun.append(piece)

            await _read_body(reader, size - begun.size, keep)
            with pull.working():
                content, found = await begun.join()
                if found == digest:
                    await job.give(digest, content)
                else:
                    self._note_lie(pull.source, digest, is_whole)
                    job.note_lie(digest, pull, is_whole)

    def _note_heard(self, pull: Pull) -> None:
        pull.heard_at = trio.current_time()
        self._stalled_until.pop(pull.source, None)

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
                # In the first pass a source that gives nothing is left for the next one: the part file goes on there.
                patience_s = STALL_SECONDS_MAX if attempt or len(sources) == 1 else HEDGE_SECONDS
                for source in sorted(sources, key=self._is_stalled):
                    is_resumed |= part.exists()
                    try:
                        found = await self._pull_file(source, digest, part, bytes_max, patience_s)
                        if found is None:
                            continue
                    except _PULL_FAILURES as error:
                        if isinstance(error, trio.TooSlowError):
                            self._note_stalled(source)
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

    async def _pull_file(
        self, source: ID, digest: bytes, part: Path, bytes_max: int, patience_s: float
    ) -> bytes | None:
        """The digest of all that is now in ``part``; None if the source lacks it."""
        async with self._streams, AsyncExitStack() as stack:
            with trio.fail_after(patience_s):
                stream, reader = await stack.enter_async_context(self._open(source))
            async with PartFile(part) as file:
                await stream.write(encode_frame(_encode_item(digest, file.size, bytes_max)))
                size = await _read_size(reader, file.size, bytes_max, patience_s)
                if size is None:
                    return None
                await _read_body(reader, size - file.size, file.append, patience_s)
            return file.digest


@dataclass(frozen=True)
class _IdleStream:
    """A stream of ours that waits for its next question since ``since`` (trio's clock, seconds)."""

    stream: INetStream
    reader: FrameReader
    since: float

    def is_expired(self) -> bool:
        return trio.current_time() - self.since > IDLE_SECONDS_MAX


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _check_digest(digest: bytes) -> None:
    if len(digest) != DIGEST_BYTES:
        raise NetError(f"a SHA-256 digest has {DIGEST_BYTES} bytes, not {len(digest)}")


def _encode_item(digest: bytes, offset: int, bytes_max: int) -> bytes:
    return digest + offset.to_bytes(8, "big") + bytes_max.to_bytes(8, "big")


async def _read_size(reader: FrameReader, offset: int, bytes_max: int, patience_s: float | None = None) -> int | None:
    """The whole size of the item whose body follows, or None if there is no body."""
    with trio.fail_after(STALL_SECONDS_MAX if patience_s is None else patience_s):
        header = await reader.read_exactly(9)
    size = int.from_bytes(header[1:], "big")
    if header[0] == Status.FOUND.value:
        if not offset <= size <= bytes_max:
            raise FrameError("the source sends more than was asked for")
        return size
    if header[0] not in (Status.MISSING.value, Status.TOO_LARGE.value):
        raise FrameError("not an answer for blobs")
    return None


async def _read_body(
    reader: FrameReader, size: int, append: Callable[[Buffer], Awaitable[None]], patience_s: float | None = None
) -> None:
    while size:
        with trio.fail_after(STALL_SECONDS_MAX if patience_s is None else patience_s):
            pieces = await reader.read_pieces(min(size, WRITE_BYTES))
        for piece in pieces:
            size -= len(piece)
            await append(piece)
