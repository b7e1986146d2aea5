"""P6: money is conserved after every block and paid by the stated rules to the wei; a slash is taken once in a tenure.

The rules are worked out here in their plain form, pair by pair and with fractions, from what the chain's log says of
each round: no code is shared with ``alliance/pay.py``, which contract and reference are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from p2p_flock.chain_events import (
    BallotRevealed,
    BallotsCommitted,
    RoundSealed,
    RoundSettled,
    SettledRecord,
    Slashed,
    StakeWithdrawn,
)
from p2p_flock.testing.checkers.base import Checker, Handler, Roster
from p2p_flock.testing.facts import AllClaimed, BalanceTaken, Logged, Reorganised, RoundBegan
from p2p_flock.types import CohortOutcome, Vote


@dataclass
class _Round:
    """What the chain holds of one round now."""

    sealed: RoundSealed | None = None
    commitments: dict[int, BallotsCommitted] = field(default_factory=dict)
    reveals: dict[int, BallotRevealed] = field(default_factory=dict)


class Money(Checker):
    """See the module."""

    name = "P6"

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._minted: int | None = None
        self._tenure_ends: dict[bytes, Slashed | StakeWithdrawn] = {}  # owner -> newest of the two kinds of logs
        self._earlier: list[tuple[bytes, Slashed | StakeWithdrawn]] = []  # all of them, for what a reorg leaves
        self._rounds: dict[int, _Round] = {}

    def handlers(self) -> Mapping[type, Handler]:
        return {
            BalanceTaken: self._taken, Logged: self._logged, Reorganised: self._reorganised, RoundBegan: self._forget,
            AllClaimed: self._claimed,
        }  # fmt: skip

    def _forget(self, fact: RoundBegan) -> None:
        self._rounds = {number: known for number, known in self._rounds.items() if not self.roster.is_past(number)}

    def _taken(self, fact: BalanceTaken) -> None:
        parts = (fact.balances, fact.stakes, fact.pool, fact.unclaimed)
        if min(parts) < 0:
            raise self.fail(f"something is owed that is not there: {fact}")
        if sum(parts) != fact.minted:
            raise self.fail(f"{fact.minted} wei were minted, {sum(parts)} are there: {fact}")
        if self._minted is not None and fact.minted != self._minted:
            raise self.fail(f"FLOCK came from nowhere: {self._minted} wei before, {fact.minted} now")
        self._minted = fact.minted

    def _claimed(self, fact: AllClaimed) -> None:
        if fact.unclaimed != 0:
            raise self.fail(f"everybody claimed everything, and {fact.unclaimed} wei are still owed to nobody")

    def _logged(self, fact: Logged) -> None:
        match fact.event:
            case Slashed() | StakeWithdrawn() as event:
                self._end_tenure(event)
            case RoundSealed() as event:
                self._rounds.setdefault(event.round, _Round()).sealed = event
            case BallotsCommitted() as event:
                self._rounds.setdefault(event.round, _Round()).commitments.update(dict.fromkeys(event.positions, event))
            case BallotRevealed() as event:
                self._rounds.setdefault(event.round, _Round()).reveals[event.position] = event
            case RoundSettled() as event:
                self._settled(event)

    def _end_tenure(self, event: Slashed | StakeWithdrawn) -> None:
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
        for known in self._rounds.values():
            if known.sealed is not None and known.sealed.at.block >= fact.first_block:
                known.sealed = None
            known.commitments = {p: e for p, e in known.commitments.items() if e.at.block < fact.first_block}
            known.reveals = {p: e for p, e in known.reveals.items() if e.at.block < fact.first_block}

    # --- what a round pays ---------------------------------------------------------------------------------------

    def _settled(self, event: RoundSettled) -> None:
        known, began, record = self._rounds.get(event.round), self.roster.canonical.get(event.round), event.record
        if known is None or known.sealed is None or began is None:
            return  # P2 complains
        params, budget = self.roster.params, self.roster.params.reward_per_round
        bits = sum(word << 256 * index for index, word in enumerate(known.sealed.survivors))
        sizes = _count_survivors(bits, tuple(map(len, began.context.assignment.cohorts)))
        if record.trainer_rewards != _pay_trainers(budget, event, known.reveals, sizes):
            raise self.fail(f"round {event.round}: trainers are paid {record.trainer_rewards}")
        if record.validator_rewards != _pay_validators(budget, params.validator_count, known.reveals, len(sizes)):
            raise self.fail(f"round {event.round}: validators are paid {record.validator_rewards}")
        quorum = params.verdict_quorum
        is_whole = (bool(any(record.sealer)), bool(any(record.committer)), bool(any(record.settler)))
        committed, revealed = len(known.commitments) >= quorum, len(known.reveals) >= quorum
        if record.refund != budget // 10 // 3 or is_whole != (committed, committed, revealed):
            raise self.fail(f"round {event.round}: senders are paid back {record.refund} each, {is_whole}")
        stated = (record.round, record.seat_count, record.revealed, record.seed, record.survivors)
        seats, shown = len(began.members), sum(1 << position for position in known.reveals)
        outcomes = tuple(record.outcomes >> 2 * cohort & 3 for cohort in range(len(event.outcomes)))
        if outcomes != event.outcomes or record.outcomes >> 2 * len(outcomes):
            raise self.fail(f"round {event.round}: the record tells other outcomes than the log")
        if stated != (event.round, seats, shown, known.sealed.seed, known.sealed.survivors):
            raise self.fail(f"round {event.round}: the record tells another round than the log")
        if _sum_up(record, sizes) > budget:
            raise self.fail(f"round {event.round} pays {_sum_up(record, sizes)} wei of {budget}")


def _count_survivors(bits: int, cohort_sizes: tuple[int, ...]) -> list[int]:
    """Trainers stand in the bitmap cohort by cohort."""
    found, start = [], 0
    for size in cohort_sizes:
        found.append((bits >> start & (1 << size) - 1).bit_count())
        start += size
    return found


def _sum_up(record: SettledRecord, sizes: list[int]) -> int:
    trainers = sum(reward * size for reward, size in zip(record.trainer_rewards, sizes, strict=True))
    return (
        trainers
        + sum(record.validator_rewards)
        + record.refund * sum(any(sender) for sender in (record.sealer, record.committer, record.settler))
    )


def _pay_trainers(
    budget: int, event: RoundSettled, reveals: Mapping[int, BallotRevealed], sizes: list[int]
) -> tuple[int, ...]:
    """A survivor's part of 40 % by weight, 1 + the mean grade of whoever voted for the adopted sum."""
    weights = []
    for cohort, outcome in enumerate(event.outcomes):
        grades = [
            ballot.grades[cohort]
            for ballot in reveals.values()
            if ballot.verdicts[cohort] == Vote.YES
            and ballot.aggregate_digests[cohort] == event.aggregate_digests[cohort]
        ]
        weights.append(1 + int(Fraction(sum(grades), len(grades))) if outcome == CohortOutcome.ADOPTED else 0)
    total = sum(weight * size for weight, size in zip(weights, sizes, strict=True))
    return tuple(int(Fraction(budget * 4 // 10 * weight, total)) if weight else 0 for weight in weights)


def _pay_validators(
    budget: int, validator_count: int, reveals: Mapping[int, BallotRevealed], cohort_count: int
) -> tuple[int, ...]:
    """40 % in equal parts, and of 10 % in equal parts as much as a validator agrees with the others beyond its habits.

    Pair by pair: agreements in the same cohort, K times, against agreements in all K · K pairs of cohorts (bonus and
    penalty tasks of Dasgupta and Ghosh, summed over all).
    """
    rewards = [0] * validator_count
    most = (validator_count - 1) * (cohort_count * cohort_count // 2)
    for position, own in reveals.items():
        score = 0
        for other_position, other in reveals.items():
            if other_position == position:
                continue
            for cohort in range(cohort_count):
                score += cohort_count * _agree(own.verdicts[cohort], other.verdicts[cohort])
                score -= sum(_agree(own.verdicts[cohort], verdict) for verdict in other.verdicts)
        bonus = int(Fraction(budget // 10 // validator_count * max(0, score), most)) if most else 0
        rewards[position] = budget * 4 // 10 // validator_count + bonus
    return tuple(rewards)


def _agree(first: int, second: int) -> bool:
    return first == second != Vote.UNAVAILABLE
