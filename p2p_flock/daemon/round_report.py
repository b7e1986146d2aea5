"""An ended round in plain values, for the metrics file and the control socket. See ``testnet/METRICS.md``."""

from __future__ import annotations

from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.types import Assignment


def describe_round(history: AllianceHistory, round_number: int) -> dict[str, object]:
    """Roles, survivors and outcome of an ended round, in plain values."""
    record = history.rounds[round_number]
    assignment = history.assignment(round_number)
    seed = history.seed(round_number)
    settled = record.settled
    return {
        "round": round_number,
        "outcome": "settled" if settled is not None else "voided",
        "cohort_outcomes": list(settled.outcomes) if settled is not None else [],
        "aggregate_digests": [_hex(digest) for digest in settled.aggregate_digests] if settled is not None else [],
        "trainers": [list(cohort) for cohort in assignment.cohorts] if assignment is not None else [],
        "survivors": _survivors(record, assignment),
        "validators": list(assignment.validators) if assignment is not None else [],
        "seed": _hex(seed) if seed is not None else None,
    }


def count_survivors(record: RoundRecord, assignment: Assignment | None) -> list[int]:
    """Trainers of each cohort whose updates the seal on chain names; empty where nothing was sealed."""
    if assignment is None or record.sealed is None:
        return []
    bits = sum(word << 256 * index for index, word in enumerate(record.sealed.survivors))
    sealed = {seat for position, seat in enumerate(assignment.trainers) if bits >> position & 1}
    return [len(sealed.intersection(cohort)) for cohort in assignment.cohorts]


def _survivors(record: RoundRecord, assignment: Assignment | None) -> list[list[int]]:
    if assignment is None or record.manifest is None:
        return []
    sealed = {entry.seat for entry in record.manifest.entries}
    return [sorted(seat for seat in cohort if seat in sealed) for cohort in assignment.cohorts]


def _hex(digest: bytes) -> str:
    return "0x" + digest.hex()
