"""Opened sums as content-addressed blobs: the digest that ballots name is the sha-256 of exactly these bytes.

A validator publishes the blob of every cohort it opened (``secagg/opening.py`` writes it while it sums); whoever missed
the opening pulls it by the digest that the contract adopted, and gets the same integers.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from p2p_flock.crypto.fixed_point import lift
from p2p_flock.crypto.masking import Lanes, lane_dtype
from p2p_flock.crypto.vectors import ByteSource, MemorySource, SourceVector, view_bytes
from p2p_flock.errors import WireError
from p2p_flock.secagg.context import CohortContext, aggregate_preamble

LaneVector = SourceVector[np.uint16 | np.uint32]


class IntegerSum:
    """The signed integers of an aggregate, lifted slice by slice as they are read. A ``Vector`` of int64."""

    def __init__(self, lanes: LaneVector) -> None:
        self.lanes = lanes

    @property
    def size(self) -> int:
        return self.lanes.size

    def __getitem__(self, part: slice, /) -> NDArray[np.int64]:
        return lift(cast(Lanes, self.lanes[part]))


def encode_aggregate(context: CohortContext, ring_sum: Lanes) -> bytes:
    """The blob of a ring sum in memory; its sha-256 is ``compute_aggregate_digest`` of the same sum."""
    return aggregate_preamble(context) + bytes(view_bytes(ring_sum.astype(lane_dtype(context.lane_bits), copy=False)))


def open_aggregate(context: CohortContext, source: ByteSource) -> IntegerSum:
    """The integers of a blob whose digest was checked, to be read in blocks.

    Raises:
        WireError: not an aggregate of this cohort.
    """
    preamble = aggregate_preamble(context)
    is_sized = source.size == len(preamble) + context.vector_bytes
    if not is_sized or source.read(0, len(preamble)) != preamble:
        raise WireError("the blob is not an aggregate of this cohort")
    dtype = lane_dtype(context.lane_bits)
    return IntegerSum(LaneVector(source, dtype, context.lane_count, len(preamble)))


def decode_aggregate(context: CohortContext, blob: bytes) -> NDArray[np.int64]:
    """The signed integers of a blob in memory whose digest was checked.

    Raises:
        WireError: not an aggregate of this cohort.
    """
    return open_aggregate(context, MemorySource(blob))[:]
