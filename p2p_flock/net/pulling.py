"""What a pull of many contents still wants, who is asked for what, and who has stalled. Called by `net/blobs.py` only.

A digest is wanted (`todo`), or one pull has it (`pulled`), or it was taken. A pull that stalls is disowned: what it has
is wanted again, others begin where it stopped, and what it still brings counts if it comes first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio
from libp2p.peer.id import ID

from p2p_flock.net.blob_server import ITEMS_MAX

# Expected bytes of one question, so that a slow source holds up no more than this.
QUESTION_EXPECTS_BYTES_MAX = 64 * 1024 * 1024
SHARE_EXPECTS_BYTES_MIN = 4 * 1024 * 1024  # asked of one source: spreading less costs more than it saves
BROKEN_KEPT_MAX = 4  # broken contents that wait for another source; the oldest start anew
HASH_IN_THREAD_BYTES = 1 << 20  # hashing 1 MiB takes half a millisecond

Buffer = bytes | memoryview
Take = Callable[[bytes, bytes], Awaitable[None]]  # digest and verified content


class Partial:
    """The pieces of one content in order; joined once, since a growing buffer copies a large content several times."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[Buffer] = []

    def fork(self) -> Partial:
        """The same beginning, to go on with beside the one that stalled."""
        twin = Partial()
        twin.size, twin._pieces = self.size, list(self._pieces)
        return twin

    async def append(self, piece: Buffer) -> None:
        self.size += len(piece)
        self._pieces.append(piece)

    async def join(self) -> tuple[bytes, bytes]:
        """The content and its digest."""
        if self.size < HASH_IN_THREAD_BYTES:
            return _join_and_hash(self._pieces)
        return await trio.to_thread.run_sync(_join_and_hash, self._pieces)


class Slot:
    """One of the streams that may be pulled on at once. A pull that stalls lets go of it before it ends."""

    def __init__(self, streams: trio.Semaphore) -> None:
        self._streams = streams
        self._is_held = False

    async def __aenter__(self) -> Slot:
        await self._streams.acquire()
        self._is_held = True
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.release()

    def release(self) -> None:
        """Somebody else may pull."""
        if self._is_held:
            self._is_held = False
            self._streams.release()


@dataclass(eq=False)
class Pull:
    """What one source is being asked for.

    Attributes:
        begun: what had come of each content when it was asked for, and what came since.
        heard_at: when its last byte came, trio's clock; the pull's begin before that. Infinite while we are at work.
        is_disowned: it stalled, and others may have what it is asked for.
    """

    source: ID
    share: list[bytes]
    begun: dict[bytes, Partial]
    slot: Slot
    heard_at: float = field(default_factory=trio.current_time)
    is_disowned: bool = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """While we hash and store nobody can blame the source."""
        self.heard_at = float("inf")
        try:
            yield
        finally:
            self.heard_at = trio.current_time()


class Job:
    """What one `BlobClient.fetch` still wants, and who need not be asked for it.

    Attributes:
        changed: parked tasks go on when something did.
        liars: sources that sent other contents.
    """

    def __init__(self, digests: list[bytes], bytes_max: int, sources: Sequence[ID], take: Take) -> None:
        self.bytes_max = bytes_max
        self.taken: set[bytes] = set()
        self.liars: set[ID] = set()
        self.changed = trio.lowlevel.ParkingLot()
        self.source_count = len(sources)
        self._sources_left = len(sources)
        self._take = take
        self._digests = frozenset(digests)
        self._todo = digests  # neither taken nor being pulled
        self._pulled: set[bytes] = set()
        self._given: set[bytes] = set()  # taken, or being handed to ``take``
        self._pulls: set[Pull] = set()
        self._partial: dict[bytes, Partial] = {}
        self._lacking: dict[bytes, set[ID]] = {digest: set() for digest in digests}
        self._chooses_first = sources[0] if sources else None  # the caller's preference, until it has a share

    @property
    def is_over(self) -> bool:
        """Whether all is taken, or no source has anything more to give."""
        return not self._sources_left or self.taken == self._digests

    def has_share(self, source: ID) -> bool:
        """Whether there is something to ask ``source`` for."""
        if self._chooses_first not in (None, source):
            return False
        return any(source not in self._lacking[digest] for digest in self._todo)

    def note_source_ended(self, source: ID) -> None:
        """Nothing more comes from ``source``."""
        self._sources_left -= 1
        self._let_others_choose(source)
        self.changed.unpark_all()

    def _let_others_choose(self, source: ID) -> None:
        """``source`` has its first share, or none to come."""
        if self._chooses_first == source:
            self._chooses_first = None
            self.changed.unpark_all()

    def take_share(self, source: ID, slot: Slot) -> Pull:
        """What to ask ``source`` for next: half an equal share of what is left, so that fast sources get more."""
        eligible = [digest for digest in self._todo if source not in self._lacking[digest]]
        count = -(-len(eligible) // (2 * self.source_count)) if self.source_count > 1 else len(eligible)
        affordable = max(1, QUESTION_EXPECTS_BYTES_MAX // max(1, self.bytes_max))
        worthwhile = SHARE_EXPECTS_BYTES_MIN // max(1, self.bytes_max)
        count = min(max(count, worthwhile), ITEMS_MAX, affordable)
        share = eligible[:count]
        taken = set(share)
        self._todo = [digest for digest in self._todo if digest not in taken]
        self._pulled |= taken
        self._let_others_choose(source)
        begun = {digest: self._partial.setdefault(digest, Partial()) for digest in share}
        pull = Pull(source, share, begun, slot)
        self._pulls.add(pull)
        return pull

    def give_back(self, pull: Pull) -> None:
        """The pull has ended; what it could not bring others may."""
        self._pulls.discard(pull)
        if not pull.is_disowned:
            self._want_again(pull.share)
        broken = [digest for digest in self._partial if digest not in self._pulled]
        for digest in broken[:-BROKEN_KEPT_MAX]:
            del self._partial[digest]

    def disown_stalled(self, heard_before: float) -> list[ID]:
        """Sources that gave nothing since then: what they are asked for is wanted again, from where they stopped."""
        stalled = [pull for pull in self._pulls if pull.heard_at < heard_before and not pull.is_disowned]
        for pull in stalled:
            pull.is_disowned = True
            pull.slot.release()
            for digest in pull.share:
                self._partial[digest] = pull.begun[digest].fork()
            self._want_again(pull.share)
        return [pull.source for pull in stalled]

    def _want_again(self, digests: Sequence[bytes]) -> None:
        self._pulled.difference_update(digests)
        self._todo += [digest for digest in digests if digest not in self._given]
        self.changed.unpark_all()

    def may_still_need(self, source: ID) -> bool:
        """Whether something that another source is sending might yet be asked of this one."""
        if self._chooses_first is not None:
            return bool(self._todo)
        return any(source not in self._lacking[digest] for digest in self._pulled)

    async def give(self, digest: bytes, content: bytes) -> None:
        """Hand verified content to the caller, once, whoever brought it first."""
        if digest in self._given:
            return
        self._given.add(digest)
        await self._take(digest, content)
        self.taken.add(digest)
        self._partial.pop(digest, None)
        self._pulled.discard(digest)
        self._todo = [other for other in self._todo if other != digest]
        for pull in self._pulls:
            if digest in pull.share:
                pull.share.remove(digest)
        self.changed.unpark_all()

    def note_lacking(self, digest: bytes, pull: Pull) -> None:
        """The source does not have it, or more of it than we take."""
        self._lacking[digest].add(pull.source)
        self._let_go(digest, pull)

    def note_lie(self, digest: bytes, pull: Pull, is_whole: bool) -> None:
        """The content was another. If several sources sent it, nobody can be blamed and it starts anew."""
        if is_whole:
            self.liars.add(pull.source)
            self._lacking[digest].add(pull.source)
        if not pull.is_disowned:
            self._partial.pop(digest, None)
        self._let_go(digest, pull)

    def _let_go(self, digest: bytes, pull: Pull) -> None:
        if digest in pull.share:
            pull.share.remove(digest)
        if not pull.is_disowned:
            self._want_again([digest])
        self.changed.unpark_all()


def _join_and_hash(pieces: Sequence[Buffer]) -> tuple[bytes, bytes]:
    content = bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
    return content, hashlib.sha256(content).digest()
