"""Stake, rewards and balances of this node's account, kept in memory while somebody watches.

Asked by the control handlers, refreshed by the session's upkeep task: an answer never waits for the chain, and a node
that nobody watches asks the chain for none of this. Decides nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p_flock.alliance.earnings import compute_earnings
from p2p_flock.chain_events import SettledRecord
from p2p_flock.daemon.income import NO_INCOME, Income, compute_income
from p2p_flock.daemon.world import World
from p2p_flock.errors import ChainError

if TYPE_CHECKING:
    from p2p_flock.daemon.session import AllianceSession

logger = logging.getLogger(__name__)

WATCHED_S = 30.0  # after the last question it rests
AGE_MAX_S = 60.0  # without a round's end nothing changes but by the operator's own hand
PAUSE_S = 5.0  # between two refreshes, however short the rounds are


@dataclass(frozen=True, slots=True)
class Holdings:
    """FLOCK and ETH in wei.

    Attributes:
        release_at_s: from when the stake can be withdrawn, Unix seconds of chain time; 0 while it is seated.
        claimable: rewards that ``wallet claim`` would pay now.
        as_of_s: when it was read, Unix seconds.
        income: in this alliance so far.
    """

    stake: int
    release_at_s: int
    claimable: int
    eth: int
    flock: int
    as_of_s: int
    income: Income = NO_INCOME


class Purse:
    """See the module. One per session.

    Attributes:
        holdings: what was read last; ``None`` before.
        unclaimed: FLOCK wei by settled round that this account was owed then; ``None`` before.
    """

    def __init__(self, world: World, session: AllianceSession, clock: Callable[[], float] = time.monotonic) -> None:
        self._world = world
        self._session = session
        self._clock = clock
        self._asked_at = self._tried_at = -WATCHED_S - AGE_MAX_S
        self._settled_rounds: int | None = None
        self._read_rounds = 0  # how many rounds the log had then
        self.holdings: Holdings | None = None
        self.unclaimed: dict[int, int] | None = None

    def ask(self) -> Holdings | None:
        """What is known now; makes the next :meth:`refresh` look at the chain if that is old."""
        self._asked_at = self._clock()
        return self.holdings

    async def refresh(self) -> None:
        """Read anew if somebody watches and something may have changed. An endpoint that fails changes nothing."""
        now, state = self._clock(), self._session.state
        settled = None if state is None else state.settled_round_count
        is_old = now - self._tried_at >= AGE_MAX_S or self.holdings is None or settled != self._settled_rounds
        if now - self._asked_at > WATCHED_S or now - self._tried_at < PAUSE_S or not is_old:
            return
        self._tried_at = now
        try:
            stake, credit = await self._session.handle.stake(), await self._session.handle.credit_wei()
            history, address = self._session.history, self._world.chain.address
            round_count, earnings = len(history.rounds), compute_earnings(history, address)
            rewards = await self._session.handle.rewards_wei([one.record for one in earnings], address)
            eth, flock = await self._world.chain.balances()
        except ChainError as error:
            logger.debug("the account cannot be read for whoever watches: %s", error)
            return
        self._settled_rounds, self._read_rounds = settled, round_count
        owed = zip((one.record.round for one in earnings), rewards, strict=True)
        self.unclaimed = {number: reward for number, reward in owed if reward}
        claimable = credit + sum(self.unclaimed.values())
        income = compute_income(history, address, earnings, self.unclaimed, credit)
        self.holdings = Holdings(stake.stake_wei, stake.release_at_s, claimable, eth, flock, int(time.time()), income)

    def is_claimed(self, round_number: int) -> bool | None:
        """Whether what a settled round owed this account was claimed; ``None`` while that was not read since its end.

        A round that was running at the last look counts as not claimed only where the look found its reward.
        """
        if self.unclaimed is None or round_number >= self._read_rounds - 1:
            return False if self.unclaimed is not None and round_number in self.unclaimed else None
        return round_number not in self.unclaimed


async def read_rewards(session: AllianceSession, address: bytes) -> tuple[tuple[SettledRecord, int], ...]:
    """What the log owes this account as trainer, validator and sender of transactions, and did not pay yet.

    FLOCK wei by the record of the round, only rounds that still owe something.

    Raises:
        ChainError: the endpoints failed or disagree.
    """
    records = [earning.record for earning in compute_earnings(session.history, address)]
    rewards = await session.handle.rewards_wei(records, address)
    return tuple((record, reward) for record, reward in zip(records, rewards, strict=True) if reward)
