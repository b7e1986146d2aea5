"""P6: money is conserved after every block; a slash is taken once in a tenure."""

from __future__ import annotations

from collections.abc import Mapping

from p2p_flock.chain_events import Slashed, StakeWithdrawn
from p2p_flock.testing.checkers.base import Checker, Handler, Roster
from p2p_flock.testing.facts import BalanceTaken, Logged, Reorganised


class Money(Checker):
    """See the module."""

    name = "P6"

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._minted: int | None = None
        self._tenure_ends: dict[bytes, Slashed | StakeWithdrawn] = {}  # owner -> newest of the two kinds of logs
        self._earlier: list[tuple[bytes, Slashed | StakeWithdrawn]] = []  # all of them, for what a reorg leaves

    def handlers(self) -> Mapping[type, Handler]:
        return {BalanceTaken: self._taken, Logged: self._logged, Reorganised: self._reorganised}

    def _taken(self, fact: BalanceTaken) -> None:
        parts = (fact.balances, fact.stakes, fact.pool, fact.unclaimed)
        if min(parts) < 0:
            raise self.fail(f"something is owed that is not there: {fact}")
        if sum(parts) != fact.minted:
            raise self.fail(f"{fact.minted} wei were minted, {sum(parts)} are there: {fact}")
        if self._minted is not None and fact.minted != self._minted:
            raise self.fail(f"FLOCK came from nowhere: {self._minted} wei before, {fact.minted} now")
        self._minted = fact.minted

    def _logged(self, fact: Logged) -> None:
        event = fact.event
        if not isinstance(event, Slashed | StakeWithdrawn):
            return
        if isinstance(event, Slashed):
            if isinstance(self._tenure_ends.get(event.owner), Slashed):
                raise self.fail(f"member {self.roster.member_of(event.owner)} is slashed twice in one tenure")
            if event.amount <= 0:
                raise self.fail("a slash that takes nothing")
        self._tenure_ends[event.owner] = event
        self._earlier.append((event.owner, event))

    def _reorganised(self, fact: Reorganised) -> None:
        self._earlier = [(owner, event) for owner, event in self._earlier if event.at.block < fact.first_block]
        self._tenure_ends = dict(self._earlier)
