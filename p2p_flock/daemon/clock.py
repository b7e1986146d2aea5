"""The chain's time, estimated between blocks.

Deadlines are the contract's, in block time. A node's own clock may be off by seconds, so the machines are given this
estimate instead: local time plus the largest lead of a block's timestamp over it that was seen lately. Block
timestamps are whole seconds and arrive late, so every single lead is too small, and the largest is the best.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

LEADS_REMEMBERED = 64  # a few seconds to minutes of blocks: follows a clock that is being corrected


def read_clock_ms(offset_ms: int = 0) -> int:
    """This machine's clock, ms since 1970. ``offset_ms``: in a test, how far it is to be ahead."""
    return time.time_ns() // 1_000_000 + offset_ms


class ChainClock:
    """Chain time in ms since 1970, for one alliance."""

    def __init__(self, now_ms: Callable[[], int] = read_clock_ms) -> None:
        self._now_ms = now_ms
        self._leads_ms: deque[int] = deque(maxlen=LEADS_REMEMBERED)

    def observe(self, block_timestamp_s: int) -> None:
        """A new block with this timestamp was just seen."""
        self._leads_ms.append(block_timestamp_s * 1000 - self._now_ms())

    def now_ms(self) -> int:
        """Estimated chain time; local time before the first block was seen."""
        return self._now_ms() + max(self._leads_ms, default=0)

    @property
    def offset_ms(self) -> int:
        """How far the chain's clock is ahead of this machine's (negative: behind)."""
        return max(self._leads_ms, default=0)
