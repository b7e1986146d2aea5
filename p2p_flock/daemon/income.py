"""What an account earned in an alliance, and what of it was claimed: exact to the wei, from the folded log. Pure.

Earned is what the records of settled rounds owe the account (as trainer, as validator, back for gas) and its tenth of
each slash that it was named for as beneficiary. Not counted: what its creator gets back of the pool when the alliance
closes, and bonds that were returned; neither was earned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from p2p_flock.alliance.earnings import Earning
from p2p_flock.alliance.history import AllianceHistory

BPS, BENEFICIARY_BPS = 10_000, 1_000  # of a slash, as the contract pays it


@dataclass(frozen=True, slots=True)
class Income:
    """FLOCK wei in this alliance so far; ``claimed`` is part of ``earned``."""

    earned: int
    claimed: int


NO_INCOME = Income(0, 0)


def compute_evidence_reward(history: AllianceHistory, owner: bytes) -> int:
    """FLOCK wei that the contract credited ``owner`` for evidence that it posted."""
    amounts = (one.amount for one in history.happenings if one.what == "slashed" and one.beneficiary == owner)
    return sum((amount or 0) * BENEFICIARY_BPS // BPS for amount in amounts)


def compute_income(
    history: AllianceHistory, owner: bytes, earnings: Iterable[Earning], unclaimed: Mapping[int, int], credit: int
) -> Income:
    """Earned and claimed.

    Args:
        earnings: of ``owner``, as ``alliance.earnings.compute_earnings`` gives them.
        unclaimed: FLOCK wei by round that the chain still owes of them.
        credit: FLOCK wei that the chain owes the account without naming rounds. Of a creator's, a part may be the
            pool's rest: no more of it counts as unclaimed than was earned by evidence.
    """
    evidence = compute_evidence_reward(history, owner)
    earned = sum(earning.total for earning in earnings) + evidence
    return Income(earned, max(0, earned - sum(unclaimed.values()) - min(credit, evidence)))
