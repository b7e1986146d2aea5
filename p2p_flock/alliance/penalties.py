"""Strikes: who was absent in which settled rounds, and whose seat can be suspended now. Pure.

The contract's rule (``suspend`` in ``contracts/src/Members.sol``) in Python, over the folded log. Called by
``daemon/upkeep.py``, which posts, and by whoever shows an operator how it stands. A strike costs no stake.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.types import Assignment

STRIKES = 2  # in a row: one missed round happens to everybody


@dataclass(frozen=True, slots=True)
class Suspension:
    """An owner that was absent in ``first`` and ``second``, the two rounds settled last."""

    owner: bytes
    seat: int
    first: int
    second: int


def compute_absent(history: AllianceHistory, round_number: int) -> frozenset[bytes] | None:
    """Owners that were seated in a settled round and took no part: trainers not sealed, validators not revealed.

    ``None`` where the round did not settle: nobody is to blame for a void.
    """
    record = history.rounds[round_number]
    assignment = history.assignment(round_number)
    if record.settled is None or record.sealed is None or assignment is None:
        return None
    return frozenset(record.seats[seat].owner for seat in _absent_seats(record, assignment))


def _absent_seats(record: RoundRecord, assignment: Assignment) -> list[int]:
    assert record.sealed is not None
    bits = sum(word << 256 * index for index, word in enumerate(record.sealed.survivors))
    unsealed = [seat for index, seat in enumerate(assignment.trainers) if not bits >> index & 1]
    silent = [seat for position, seat in enumerate(assignment.validators) if position not in record.reveals]
    return unsealed + silent


def get_last_settled(history: AllianceHistory) -> tuple[int, int] | None:
    """The two rounds settled last, or ``None`` before there are two."""
    settled: list[int] = []
    for record in reversed(history.rounds):
        if record.settled is not None:
            settled.append(record.opened.round)
            if len(settled) == STRIKES:
                return settled[1], settled[0]
    return None


def compute_suspensions(history: AllianceHistory) -> tuple[Suspension, ...]:
    """Whom ``suspend`` takes now, by ascending seat, as long as enough seats remain for the next round.

    A silent member costs every round the train timeout, or a validator's turn: it is better gone. But below the
    structural minimum no round opens at all, and the alliance would wait for that very member.
    """
    rounds = get_last_settled(history)
    if rounds is None or history.closed:
        return ()
    first, second = rounds
    absent, before = compute_absent(history, second), compute_absent(history, first)
    if absent is None or before is None:
        return ()
    spare = sum(not entry.leaving for entry in history.seats) - history.params.seats_min
    found = [
        Suspension(entry.owner, seat, first, second)
        for seat, entry in enumerate(history.seats)
        if entry.owner in absent & before and not entry.leaving and entry.active_round <= first
    ]
    return tuple(found[: max(0, spare)])
