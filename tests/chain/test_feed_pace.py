"""How often a feed polls; on trio's clock that jumps, with a follower that only notes when it is asked."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from p2p_flock.chain.follower import BACKOFF_FACTOR_MAX, CALM_FACTOR, OUTAGE_S_MAX, ChainFeed, Follower
from p2p_flock.chain.records import ChainUpdate, RoundPhase, RoundState
from p2p_flock.errors import ChainError

INTERVAL_S = 1.0
NOW_S = 1_000_000


def state_of(commit_deadline_s: int = 0) -> RoundState:
    return RoundState(
        *(1, RoundPhase.REVEALING, 8, 1, 0, 0, 0, 0, commit_deadline_s, 0),
        *(bytes(32), 0, 0, 0, 0, 0, NOW_S),
    )


class NotingFollower(Follower):
    """Notes the times of its polls; ``answer`` says what the poll of that number finds."""

    def __init__(self, answer: Callable[[int], ChainUpdate | None]) -> None:
        self.times: list[float] = []
        self._answer = answer

    async def poll(self) -> ChainUpdate | None:
        self.times.append(trio.current_time())
        return self._answer(len(self.times))


def block(number: int, commit_deadline_s: int = 0) -> ChainUpdate:
    return ChainUpdate(number, NOW_S, state_of(commit_deadline_s), (), None)


def pauses(times: list[float]) -> list[float]:
    return [round(later - earlier, 6) for earlier, later in itertools.pairwise(times)]


async def test_feed__asks_less_often_while_nothing_happens(autojump_clock: MockClock) -> None:
    """Eight nodes that ask ten times a second keep a core busy, most of it for nothing."""
    follower = NotingFollower(lambda number: block(number) if number == 6 else None)
    await anext(ChainFeed(follower, INTERVAL_S))
    assert pauses(follower.times) == [2.0, 4.0, CALM_FACTOR, CALM_FACTOR, CALM_FACTOR]


@pytest.mark.parametrize("reason", ["awaited block", "deadline"])
async def test_feed__stays_alert_while_something_is_due(autojump_clock: MockClock, reason: str) -> None:
    """A seal would be acted on seconds after its confirmations, a missing commit noticed long after its deadline."""
    follower = NotingFollower(lambda number: block(number, NOW_S + 5 if reason == "deadline" else 0))
    feed = ChainFeed(follower, INTERVAL_S)
    feed.await_block(99 if reason == "awaited block" else None)
    for _ in range(5):
        await anext(feed)
    assert pauses(follower.times) == [INTERVAL_S] * 4


async def test_feed__a_nudge_wakes_it(autojump_clock: MockClock) -> None:
    """What a peer has seen would be seen here only after the pause."""
    follower = NotingFollower(lambda number: block(number) if number in (5, 6) else None)
    feed = ChainFeed(follower, INTERVAL_S)
    await anext(feed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.__anext__)
        await trio.sleep(1.5)
        feed.nudge()
    assert pauses(follower.times)[-1] == 1.5


async def test_feed__awaiting_a_block_ends_a_long_pause(autojump_clock: MockClock) -> None:
    """A seal seen in a calm time would be confirmed for this node only after the pause it was in."""
    follower = NotingFollower(lambda number: block(number) if number in (5, 6) else None)
    feed = ChainFeed(follower, INTERVAL_S)
    await anext(feed)
    feed.await_block(7)
    await anext(feed)
    assert pauses(follower.times)[-1] == INTERVAL_S


async def test_feed__leaves_a_failing_endpoint_alone_for_longer(autojump_clock: MockClock) -> None:
    """An endpoint that is over its rate limit would be kept there by the node's own questions."""

    def fail(number: int) -> ChainUpdate | None:
        if number in range(2, 8):
            raise ChainError("over rate limit")
        return block(number)

    follower = NotingFollower(fail)
    feed = ChainFeed(follower, INTERVAL_S)
    await anext(feed)
    await anext(feed)
    await anext(feed)
    assert pauses(follower.times)[1:7] == [2.0, 4.0, *[BACKOFF_FACTOR_MAX] * 4]


async def test_feed__says_when_there_is_no_new_block(autojump_clock: MockClock) -> None:
    """A stale endpoint would look like a quiet chain, for hours."""
    follower = NotingFollower(lambda number: block(number) if number == 1 else None)
    feed = ChainFeed(follower, INTERVAL_S)
    await anext(feed)
    with pytest.raises(ChainError, match="no new block"):
        await anext(feed)
    assert follower.times[-1] - follower.times[0] <= OUTAGE_S_MAX + CALM_FACTOR
    with pytest.raises(ChainError, match="no new block"):  # and again, until there is one
        await anext(feed)


async def test_feed__shows_each_update_to_the_sender_first(autojump_clock: MockClock) -> None:
    """What a reorganisation took back would be sent again only after the node has acted on the new log."""
    shown: list[int] = []

    async def note(update: ChainUpdate) -> None:
        shown.append(update.block)

    feed = ChainFeed(NotingFollower(block), INTERVAL_S, note)
    for number in (1, 2, 3):
        assert (await anext(feed)).block == number
        assert shown[-1] == number
