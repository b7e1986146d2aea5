"""The estimate of the chain's time."""

from __future__ import annotations

from p2p_flock.daemon.clock import LEADS_REMEMBERED, ChainClock


class HandClock:
    """A local clock that stands where the test puts it."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


def test_chain_clock__local_time_before_any_block() -> None:
    """A node that has seen no block would have no time at all."""
    assert ChainClock(HandClock()).now_ms() == 1_000_000


def test_chain_clock__follows_the_largest_lead() -> None:
    """A block seen late would put the machines' deadlines seconds behind the contract's."""
    local = HandClock()
    clock = ChainClock(local)
    clock.observe(1_005)  # 5 s ahead, seen at once
    local.ms += 3_000
    clock.observe(1_005)  # the same second, seen three seconds late
    assert clock.now_ms() == local.ms + 5_000
    assert clock.offset_ms == 5_000


def test_chain_clock__forgets_an_old_lead() -> None:
    """A local clock that was corrected would leave the estimate wrong for ever."""
    local = HandClock()
    clock = ChainClock(local)
    clock.observe(1_005)
    for _ in range(LEADS_REMEMBERED):
        clock.observe(999)
    assert clock.offset_ms == -1_000
