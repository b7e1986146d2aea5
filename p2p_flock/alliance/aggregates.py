"""Opened sums as content-addressed blobs: the digest that ballots name is the sha-256 of exactly these bytes.

A validator publishes the blob of every cohort it opened; whoever missed the opening pulls it by the digest that the
contract adopted, and gets the same integers.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from p2p_flock.crypto.fixed_point import lift
from p2p_flock.crypto.masking import Lanes, lane_dtype
from p2p_flock.crypto.suite import frame
from p2p_flock.errors import WireError
from p2p_flock.secagg.context import CohortContext


def encode_aggregate(context: CohortContext, ring_sum: Lanes) -> bytes:
    """The blob of a ring sum; its sha-256 is ``compute_aggregate_digest`` of the same sum."""
    return _preamble(context, ring_sum.astype(lane_dtype(context.lane_bits), copy=False).tobytes())


def decode_aggregate(context: CohortContext, blob: bytes) -> NDArray[np.int64]:
    """The signed integers of a blob whose digest was checked.

    Raises:
        WireError: not an aggregate of this cohort.
    """
    lanes = blob[-context.vector_bytes :]
    if len(lanes) != context.vector_bytes or _preamble(context, lanes) != blob:
        raise WireError("the blob is not an aggregate of this cohort")
    ring_sum = np.frombuffer(lanes, dtype=lane_dtype(context.lane_bits))
    return lift(cast(Lanes, ring_sum))


def _preamble(context: CohortContext, lanes: bytes) -> bytes:
    parts = (context.digest, bytes([context.lane_bits]), context.lane_count.to_bytes(4, "big"), lanes)
    return frame("p2p_flock aggregate v1", *parts)
