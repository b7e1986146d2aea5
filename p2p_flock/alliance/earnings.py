"""What a settled round owes to an account, by its record: as trainer, as validator, and back for gas. Pure.

Called by the daemon to know which rounds to claim. The contract computes the same from the same record in
``getReward``, which also knows what was claimed already; rounds that owe nothing need not be asked about.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.chain_events import SettledRecord


@dataclass(frozen=True, slots=True)
class Earning:
    """FLOCK wei of one account in one settled round. ``refunds``: for sealing, committing, settling; a third each."""

    record: SettledRecord
    trainer_reward: int
    validator_reward: int
    refunds: int

    @property
    def total(self) -> int:
        return self.trainer_reward + self.validator_reward + self.refunds


def compute_earning(history: AllianceHistory, round_number: int, owner: bytes) -> Earning | None:
    """What ``owner`` (20 bytes) earned in a round, claimed or not; ``None`` where it did not settle.

    A refund goes to whoever sent the transaction, with or without a seat.
    """
    round_record = history.rounds[round_number]
    assignment = history.assignment(round_number)
    if round_record.settled is None or assignment is None:
        return None
    record = round_record.settled.record
    refunds = record.refund * (record.sealer, record.committer, record.settler).count(owner)
    seat = next((index for index, entry in enumerate(round_record.seats) if entry.owner == owner), None)
    trainer_reward = validator_reward = 0
    if seat in assignment.validators:
        position = assignment.validators.index(seat)
        validator_reward = record.validator_rewards[position] if record.revealed >> position & 1 else 0
    elif seat is not None:
        index = assignment.trainers.index(seat)
        is_survivor = sum(word << 256 * at for at, word in enumerate(record.survivors)) >> index & 1
        trainer_reward = record.trainer_rewards[assignment.cohort_of(seat)] if is_survivor else 0
    return Earning(record, trainer_reward, validator_reward, refunds)


def compute_earnings(history: AllianceHistory, owner: bytes) -> tuple[Earning, ...]:
    """The rounds that owe ``owner`` something, or did before it claimed them, ascending."""
    earnings = (compute_earning(history, number, owner) for number in range(len(history.rounds)))
    return tuple(earning for earning in earnings if earning is not None and earning.total)
