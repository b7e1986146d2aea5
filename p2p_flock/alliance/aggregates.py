"""Opened sums as content-addressed blobs: the digest that ballots name is the sha-256 of exactly these bytes.

A validator publishes the blob of every cohort it opened (``secagg/opening.py`` writes it while it sums); whoever missed
the opening pulls it by the digest that the contract adopted, and gets the same integers.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from p2p_flock.crypto.ring import Ring, Words
from p2p_flock.crypto.vectors import ByteSource, MemorySource, SourceVector, view_bytes
from p2p_flock.errors import WireError
from p2p_flock.secagg.context import CohortContext, aggregate_preamble

WordVector = SourceVector[np.uint16 | np.uint32 | np.uint64]


class IntegerSum:
    """The signed integers of an aggregate, lifted slice by slice as they are read. A ``Vector`` of int64.

    Attributes:
        words: the ring sum as it lies in the blob.
    """

    def __init__(self, ring: Ring, words: WordVector, lane_count: int, sum_bound: int) -> None:
        self.words = words
        self._ring, self._lane_count, self._sum_bound = ring, lane_count, sum_bound

    @property
    def size(self) -> int:
        return self._lane_count

    def __getitem__(self, part: slice, /) -> NDArray[np.int64]:
        start, stop, _ = part.indices(self._lane_count)
        first, last = start // self._ring.lanes_per_word, self._ring.word_count(max(start, stop))
        before = first * self._ring.lanes_per_word
        lane_count = min(last * self._ring.lanes_per_word, self._lane_count) - before
        words = cast(Words, self.words[first:last])
        return self._ring.lift(words, lane_count, self._sum_bound)[start - before : max(start, stop) - before]


def encode_aggregate(context: CohortContext, ring_sum: Words) -> bytes:
    """The blob of a ring sum in memory; its sha-256 is ``compute_aggregate_digest`` of the same sum."""
    return aggregate_preamble(context) + bytes(view_bytes(ring_sum.astype(context.ring.dtype, copy=False)))


def open_aggregate(context: CohortContext, source: ByteSource, sum_bound: int) -> IntegerSum:
    """The integers of a blob whose digest was checked, to be read in blocks.

    Args:
        sum_bound: of the sealed members (``RoundContext.sum_bound``); in packed words it is also their biases' sum.

    Raises:
        WireError: not an aggregate of this cohort.
    """
    preamble = aggregate_preamble(context)
    is_sized = source.size == len(preamble) + context.vector_bytes
    if not is_sized or source.read(0, len(preamble)) != preamble:
        raise WireError("the blob is not an aggregate of this cohort")
    words = WordVector(source, context.ring.dtype, context.ring.word_count(context.lane_count), len(preamble))
    return IntegerSum(context.ring, words, context.lane_count, sum_bound)


def decode_aggregate(context: CohortContext, blob: bytes, sum_bound: int) -> NDArray[np.int64]:
    """The signed integers of a blob in memory whose digest was checked.

    Args:
        sum_bound: as of :func:`open_aggregate`.

    Raises:
        WireError: not an aggregate of this cohort.
    """
    return open_aggregate(context, MemorySource(blob), sum_bound)[:]
