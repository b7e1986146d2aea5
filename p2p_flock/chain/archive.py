"""The part of an alliance's log that no longer changes, kept on disk: a restarted node reads only what is new.

Called by ``follower.py``. Kept are raw logs, all of the contract's, so that a version that knows more events reads the
same file. Each segment ends with a block and its hash, which commits to everything below it: whoever finds the hash at
the endpoints needs nothing else, and whoever does not drops the segment. Bound to one chain and contract. It must never
hand out a log under a block hash that the caller has not compared with the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from p2p_flock.errors import WireError
from p2p_flock.wire.codec import Length, Range, decode, encode
from p2p_flock.wire.messages import U32, U64, Digest

VERSION = 1
ARCHIVE_DEPTH_BLOCKS = (
    64  # below the newest block; OP chains have reorganised less, and a deeper one only costs reading
)
SEGMENT_BLOCKS_MIN = 64  # fewer are kept in memory: on Base one write in two minutes
SEGMENT_LOGS_MAX = 10_000  # one eth_getLogs answer
SEGMENT_BYTES_MAX = 64 << 20
HEAD_BYTES_MAX = 128
LOG_DATA_BYTES_MAX = 1 << 20  # a block's gas does not pay for more


class SegmentStore(Protocol):
    """``store.segments.SegmentFile``: checked pieces of bytes in order."""

    def read(self) -> list[bytes]: ...

    def append(self, piece: bytes) -> bool: ...

    def truncate(self, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class ArchiveHead:
    """The file's first piece: what the rest belongs to."""

    version: U32
    chain_id: U64
    contract: Annotated[bytes, Length(20, 20)]
    first_block: U64


@dataclass(frozen=True, slots=True)
class ArchivedLog:
    """A log as the chain holds it, and its block's time."""

    block: U64
    index: U32
    block_hash: Digest
    transaction: Digest
    topics: Annotated[tuple[Digest, ...], Length(1, 4)]
    data: Annotated[bytes, Length(0, LOG_DATA_BYTES_MAX)]
    timestamp_s: Annotated[int, Range(0, 2**40)]


@dataclass(frozen=True, slots=True)
class Segment:
    """All logs of the blocks from ``first_block`` to ``last_block``, whose hash is ``last_hash``."""

    first_block: U64
    last_block: U64
    last_hash: Digest
    logs: Annotated[tuple[ArchivedLog, ...], Length(0, SEGMENT_LOGS_MAX)]


class LogArchive:
    """Segments without a gap from the alliance's creation on. Blocks; called from a thread, one call at a time.

    Attributes:
        last_block: everything up to this block is kept.
    """

    def __init__(self, store: SegmentStore, chain_id: int, contract: bytes, first_block: int) -> None:
        self._store = store
        self._head = ArchiveHead(VERSION, chain_id, contract, first_block)
        self._ends: list[int] = []  # last block of each segment
        self._is_full = False

    @property
    def last_block(self) -> int:
        return self._ends[-1] if self._ends else self._head.first_block - 1

    def load(self) -> list[Segment]:
        """All segments; a file of another chain, contract or version, or one with a gap, counts as empty from there.

        Raises:
            StoreError: the disk refuses.
        """
        pieces = self._store.read()
        self._ends = []
        segments: list[Segment] = []
        try:
            if not pieces or decode(ArchiveHead, pieces[0], HEAD_BYTES_MAX) != self._head:
                pieces = []
            for piece in pieces[1:]:
                segment = decode(Segment, piece, SEGMENT_BYTES_MAX)
                if not self._fits(segment):
                    break
                segments.append(segment)
                self._ends.append(segment.last_block)
        except WireError:
            pass  # what was read before it is sound
        self._store.truncate(1 + len(segments) if segments else 0)
        return segments

    def append(self, last_block: int, last_hash: bytes, logs: Sequence[ArchivedLog]) -> None:
        """Keep the logs of the blocks after :attr:`last_block` up to this one. At the file's bound nothing is added.

        Raises:
            StoreError: the disk refuses.
        """
        segment = Segment(self.last_block + 1, last_block, last_hash, tuple(logs))
        assert self._fits(segment)
        if not self._ends and not self._is_full:
            self._is_full = not self._store.append(encode(self._head))
        self._is_full = self._is_full or not self._store.append(encode(segment))
        if not self._is_full:
            self._ends.append(last_block)

    def drop_after(self, block: int) -> None:
        """Forget every segment that reaches above ``block``.

        Raises:
            StoreError: the disk refuses.
        """
        count = sum(end <= block for end in self._ends)
        if count < len(self._ends):
            del self._ends[count:]
            self._store.truncate(1 + count if count else 0)

    def _fits(self, segment: Segment) -> bool:
        blocks = [log.block for log in segment.logs]
        return (
            segment.first_block == self.last_block + 1 <= segment.last_block
            and blocks == sorted(blocks)
            and (not blocks or segment.first_block <= blocks[0] <= blocks[-1] <= segment.last_block)
        )
