"""Suspicion: whose cohorts were rejected so often in a row that the seat is suspended. Pure; never costs stake.

Nobody sees a single update, so a rejected cohort accuses all of its trainers alike. Cohorts are drawn anew in every
round: an honest trainer soon sits in one that is adopted, and one that always poisons never does. That is adaptive
group testing in its simplest form (each round's cohorts are the pools), and a rule short enough to be checked on chain
from the records of the rounds.

The contract's rule (``suspendSuspected`` in ``contracts/src/Members.sol``) in Python, over the folded log. Called by
``daemon/standing.py``, which posts, and by whoever shows an operator how it stands. How far a bound can be trusted:
``risk.py``; the rule's reasons: SPEC, "Suspicion".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.penalties import compute_suspensions
from p2p_flock.params import AllianceParams
from p2p_flock.types import CohortOutcome

# Settled rounds that are looked at, from the last one back, and records that one call shows at most. Rejections before
# them do not count, which spares seats that come to fewer than b verdicts in so many rounds.
RECORDS_MAX = 200  # a record of 64 validators takes 70,000 gas to show and check, and a transaction has 2^24
CALLDATA_BYTES_MAX = 120_000  # geth and its kin refuse transactions above 128 KiB


@dataclass(frozen=True, slots=True)
class Run:
    """How often in a row an owner's cohorts were rejected, up to the last settled round.

    ``rounds``: of these rejections, ascending; none of the owner's cohorts was adopted since the first of them.
    """

    rounds: tuple[int, ...]

    @property
    def rejections(self) -> int:
        return len(self.rounds)

    @property
    def first_round(self) -> int | None:
        return self.rounds[0] if self.rounds else None


@dataclass(frozen=True, slots=True)
class Suspect:
    """An owner that ``suspendSuspected`` takes now.

    Attributes:
        seat: its index in the seat table of now.
        rejections: in a row, up to the last settled round; the bound at least.
        rounds: settled rounds whose records show it, ascending: all from the first rejection that is needed to the last
            settled round.
    """

    owner: bytes
    seat: int
    rejections: int
    rounds: tuple[int, ...]


def advance_run(run: int, outcome: CohortOutcome) -> int:
    """How often in a row a sealed trainer's cohorts were rejected, after one more of them.

    An adopted cohort clears; one that is undecided or void says nothing about its trainers.
    """
    if outcome is CohortOutcome.ADOPTED:
        return 0
    return run + (outcome is CohortOutcome.REJECTED)


def compute_records_max(params: AllianceParams) -> int:
    """How many settled rounds' records one call can show: 170 of three validators, 45 of 64.

    A record is ABI-encoded in words of 32 bytes: an offset, twelve heads, three lengths, and the arrays' entries.
    """
    survivor_words = -(-params.seat_count_max // 256)
    record_bytes = 32 * (16 + survivor_words + params.cohort_count + params.validator_count)
    return min(RECORDS_MAX, CALLDATA_BYTES_MAX // record_bytes)


def compute_runs(history: AllianceHistory) -> Mapping[bytes, Run]:
    """The run of every owner that has a seat, or lost it to a suspension, over its present tenure.

    Of the last settled rounds that one call can show (:func:`compute_records_max`). A suspension for absence and the
    return from it do not end a run: a poisoner would clear itself by staying away.
    """
    tenures = {entry.owner: entry.joined_round for entry in history.seats}
    for owner in (*history.suspended, *history.suspected):
        joined_round = history.joined_round(owner)
        if joined_round is not None:
            tenures[owner] = joined_round
    rejected: dict[bytes, tuple[int, ...]] = dict.fromkeys(tenures, ())
    for number in _last_settled(history):
        for owner, outcome in _outcomes_of(history, number).items():
            if owner not in tenures or number < tenures[owner]:
                continue
            run = advance_run(len(rejected[owner]), outcome)
            if run == 0:
                rejected[owner] = ()
            elif run > len(rejected[owner]):
                rejected[owner] += (number,)
    return {owner: Run(rounds) for owner, rounds in rejected.items()}


def compute_rejected_rounds(history: AllianceHistory, owner: bytes) -> tuple[int, ...]:
    """Of a suspected owner the rounds that it was suspected by, ascending; nothing for anybody else."""
    event = history.suspected.get(owner)
    if event is None:
        return ()
    shown = [
        record for record in history.rounds[event.first_round : event.last_round + 1] if record.settled is not None
    ]
    outcomes = ((record.opened.round, _outcomes_of(history, record.opened.round).get(owner)) for record in shown)
    return tuple(number for number, outcome in outcomes if outcome is CohortOutcome.REJECTED)


def compute_suspects(history: AllianceHistory) -> tuple[Suspect, ...]:
    """Whom ``suspendSuspected`` takes now, most rejected first, as long as enough seats remain for the next round.

    As with strikes: below the structural minimum no round opens at all. A poisoner that stays costs its cohort's work,
    a standstill everybody's. Whoever goes for strikes (``penalties.py``) is counted first.
    """
    bound = history.params.suspicion_bound
    if not bound or history.closed:
        return ()
    settled = _last_settled(history)
    absent = {found.owner for found in compute_suspensions(history)}
    spare = sum(not entry.leaving for entry in history.seats) - history.params.seats_min - len(absent)
    runs = compute_runs(history)
    found = []
    for seat, entry in enumerate(history.seats):
        rejected = runs[entry.owner].rounds
        if len(rejected) < bound or entry.leaving or entry.owner in absent:
            continue
        window = tuple(number for number in settled if number >= rejected[-bound])
        found.append(Suspect(entry.owner, seat, len(rejected), window))
    found.sort(key=lambda suspect: (-suspect.rejections, suspect.seat))
    return tuple(found[: max(0, spare)])


def _last_settled(history: AllianceHistory) -> list[int]:
    settled = (record.opened.round for record in reversed(history.rounds) if record.settled is not None)
    return list(islice(settled, compute_records_max(history.params)))[::-1]


def _outcomes_of(history: AllianceHistory, number: int) -> dict[bytes, CohortOutcome]:
    """By owner, what was decided about the cohort in which it was a sealed trainer."""
    record, assignment = history.rounds[number], history.assignment(number)
    assert record.settled is not None and record.sealed is not None and assignment is not None  # settled: all are known
    bits = sum(word << 256 * index for index, word in enumerate(record.sealed.survivors))
    return {
        record.seats[seat].owner: CohortOutcome(record.settled.outcomes[assignment.cohort_of(seat)])
        for index, seat in enumerate(assignment.trainers)
        if bits >> index & 1
    }
