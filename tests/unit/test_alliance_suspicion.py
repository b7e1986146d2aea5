"""Suspicion: how rejections in a row are counted, and whom ``suspendSuspected`` takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.penalties import compute_suspensions
from p2p_flock.alliance.suspicion import Run, advance_run, compute_records_max, compute_runs, compute_suspects
from p2p_flock.chain_events import AllianceClosed, SeatReactivated, SeatSuspected
from p2p_flock.errors import ChainError
from p2p_flock.testing.alliance import make_params
from p2p_flock.types import CohortOutcome
from tests.unit.alliance_log import LogWriter, key_of, owner_of
from tests.unit.test_alliance_history import fold

UNDECIDED, ADOPTED, REJECTED, VOID = CohortOutcome
SEATS, COHORTS, BOUND = 13, 2, 3
VICTIM = 5


def begun(**changes: int) -> LogWriter:
    """Three validators, two cohorts of five; nobody is absent, but for the validators that the writer never reveals."""
    log = LogWriter(make_params(3, COHORTS, SEATS, **{"suspicion_bound": BOUND, **changes}))
    for name in range(SEATS):
        log.join(name)
    log.open()
    return log


def is_trainer(log: LogWriter, name: object = VICTIM) -> bool:
    return log.names.index(name) in log.roles().trainers


def until(log: LogWriter, holds: Callable[[LogWriter], bool]) -> None:
    """Rounds become void until the roles are as wanted."""
    while not holds(log):
        log.void()
        log.open()


def settle(log: LogWriter, own: CohortOutcome, absent: tuple[object, ...] = (), others: CohortOutcome = VOID) -> int:
    """A settled round with this outcome of the victim's cohort; its number."""
    until(log, is_trainer)
    cohort = log.roles().cohort_of(log.names.index(VICTIM))
    log.seal(absent=absent)
    log.settle(tuple(own if index == cohort else others for index in range(COHORTS)))
    number = log.round
    log.open()
    return number


def serve(log: LogWriter) -> int:
    """A settled round in which the victim is the validator that reveals and every cohort is adopted; its number."""
    until(log, lambda log: log.roles().validators[2] == log.names.index(VICTIM))
    log.seal()
    log.settle()
    number = log.round
    log.open()
    return number


def run_of(history: AllianceHistory, name: object = VICTIM) -> Run:
    return compute_runs(history)[owner_of(name)]


# --- runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "after"), [(UNDECIDED, 2), (ADOPTED, 0), (REJECTED, 3), (VOID, 2)], ids=[o.name for o in CohortOutcome]
)
def test_advance__one_more_outcome(outcome: CohortOutcome, after: int) -> None:
    """A committee that cannot decide would clear a poisoner, or accuse the honest."""
    assert advance_run(2, outcome) == after


def test_runs__count_from_the_last_adoption() -> None:
    """A member would be suspected for rejections that an adopted cohort has cleared."""
    log = begun()
    settle(log, REJECTED)
    settle(log, ADOPTED)
    rejected = (settle(log, REJECTED), settle(log, REJECTED))
    run = run_of(fold(log))
    assert run == Run(rejected) and (run.rejections, run.first_round) == (2, rejected[0])
    settle(log, ADOPTED)
    assert run_of(fold(log)) == Run(()) and run_of(fold(log)).first_round is None


def test_runs__what_says_nothing() -> None:
    """Serving as a validator, not being sealed, or a cohort that is undecided or void would clear or accuse."""
    log = begun()
    first = settle(log, REJECTED)
    settle(log, UNDECIDED, others=ADOPTED)
    settle(log, VOID, others=REJECTED)
    settle(log, ADOPTED, absent=(VICTIM,))
    settle(log, REJECTED, absent=(VICTIM,))
    serve(log)
    last = settle(log, REJECTED, others=ADOPTED)
    assert run_of(fold(log)) == Run((first, last))


def test_runs__all_of_a_cohort_alike() -> None:
    """Somebody in a rejected cohort would be spared, or somebody outside of it accused."""
    log = begun()
    until(log, is_trainer)
    roles = log.roles()
    log.seal()
    log.settle((REJECTED, ADOPTED))
    runs = compute_runs(fold(log))
    accused = {name for name in range(SEATS) if runs[owner_of(name)].rejections}
    assert accused == set(roles.cohorts[0])


def test_runs__go_on_over_strikes_and_return() -> None:
    """A poisoner would clear itself by staying away for two rounds."""
    log = begun()
    rejected = [settle(log, REJECTED), settle(log, REJECTED)]
    log.suspend(VICTIM, *rejected)  # whatever for: the log says so
    log.void()
    log.open()
    assert run_of(fold(log)) == Run(tuple(rejected)), "unbonding"
    log.reactivate(VICTIM, 60)
    log.void()
    log.open()
    rejected.append(settle(log, REJECTED))
    assert run_of(fold(log)) == Run(tuple(rejected))
    (suspect,) = [s for s in compute_suspects(fold(log)) if s.owner == owner_of(VICTIM)]
    assert suspect.rounds == tuple(rejected)


def test_runs__begin_anew_with_a_tenure() -> None:
    """Whoever came back with a fresh stake would be suspected for what was settled with the old one."""
    log = begun()
    settle(log, REJECTED)
    settle(log, REJECTED)
    log.leave(VICTIM)
    log.void()
    log.open()
    log.withdraw(VICTIM)
    log.join(VICTIM)
    log.void()
    log.open()
    assert run_of(fold(log)) == Run(())
    last = settle(log, REJECTED)
    assert run_of(fold(log)) == Run((last,))


def test_runs__of_the_newest_rounds_only() -> None:
    """The work of every node would grow with the age of the alliance, and a proof beyond what a block takes."""
    log = begun(round_count=1000)
    old = settle(log, REJECTED)
    for _ in range(compute_records_max(log.params) - 1):
        settle(log, UNDECIDED)
    assert run_of(fold(log)) == Run((old,))
    settle(log, UNDECIDED)
    assert run_of(fold(log)) == Run(())


def test_records_max__fits_a_transaction() -> None:
    """A window that no node of the chain takes would suspend nobody: large committees have long records."""
    assert compute_records_max(make_params(3, 2, 13)) == 170
    assert compute_records_max(make_params(64, 2, 80)) == 45


# --- suspects ----------------------------------------------------------------------------------------------------


def rejected_often(log: LogWriter, times: int = BOUND) -> list[int]:
    """The victim's cohorts are rejected, all others' verdicts adopted, so that it stands alone sooner or later."""
    numbers = [settle(log, REJECTED, others=ADOPTED) for _ in range(times)]
    clear(log)
    return numbers


def clear(log: LogWriter) -> None:
    """Everybody but the victim sits in an adopted cohort once; it is a validator meanwhile."""
    while any(run.rejections for owner, run in compute_runs(fold(log)).items() if owner != owner_of(VICTIM)):
        serve(log)


def test_suspects__shortest_window_that_shows_it() -> None:
    """The contract would refuse the proof, or members pay for records that it does not need."""
    log = begun(round_count=1000)
    settle(log, REJECTED)
    numbers = rejected_often(log)
    history = fold(log)
    (suspect,) = compute_suspects(history)
    settled = [record.opened.round for record in history.rounds if record.settled is not None]
    assert (suspect.owner, suspect.seat) == (owner_of(VICTIM), log.names.index(VICTIM))
    assert suspect.rejections == BOUND + 1
    assert suspect.rounds == tuple(number for number in settled if number >= numbers[0])


def test_suspects__not_below_the_bound_nor_without_one() -> None:
    """A seat would go that the alliance's terms keep."""
    log = begun(round_count=1000)
    rejected_often(log, BOUND - 1)
    assert compute_suspects(fold(log)) == ()
    without = begun(suspicion_bound=0)
    for _ in range(5):
        settle(without, REJECTED)
    assert compute_suspects(fold(without)) == () and run_of(fold(without)).rejections == 5


def test_suspects__most_rejected_first_as_long_as_seats_are_spare() -> None:
    """The alliance would wait for the very members that it suspended, or lose the least suspect first."""
    log = begun(round_count=1000)
    for _ in range(12):
        settle(log, REJECTED, others=REJECTED)
    history = fold(log)
    found, runs = compute_suspects(history), compute_runs(history)
    spare = SEATS - log.params.seats_min - len(compute_suspensions(history))
    assert 0 < len(found) == spare < SEATS
    counts = [suspect.rejections for suspect in found]
    assert counts == sorted(counts, reverse=True)
    absent = {suspension.owner for suspension in compute_suspensions(history)}
    left = [runs[entry.owner].rejections for entry in history.seats if entry.owner not in absent]
    assert counts == sorted(left, reverse=True)[:spare]


def test_suspects__not_who_leaves_nor_after_the_end() -> None:
    """Members would pay for transactions that the contract refuses."""
    log = begun(round_count=1000)
    rejected_often(log)
    assert compute_suspects(fold(log))
    log.leave(VICTIM)
    assert compute_suspects(fold(log)) == ()
    closed = begun(round_count=1000)
    rejected_often(closed)
    closed.write(AllianceClosed(closed.at(), closed.round))
    assert compute_suspects(fold(closed)) == ()


# --- the fold ----------------------------------------------------------------------------------------------------


def suspected() -> LogWriter:
    log = begun(round_count=1000)
    numbers = rejected_often(log)
    log.suspect(VICTIM, numbers[0], log.round - 1)
    return log


def test_history__a_suspected_seat_goes_and_its_stake_is_free() -> None:
    """An operator would not learn why its seat is gone, nor when it has its stake back."""
    log = suspected()
    history = fold(log)
    event = history.suspected[owner_of(VICTIM)]
    assert isinstance(event, SeatSuspected) and event.last_round == log.round - 1
    assert history.standing(owner_of(VICTIM)).state == "leaving"
    log.void()
    log.open()
    standing = fold(log).standing(owner_of(VICTIM))
    assert standing.state == "suspected" and standing.release_at_s is not None


def test_history__withdrawal_ends_suspicion() -> None:
    """Whoever joined anew would stay marked for ever."""
    log = suspected()
    log.void()
    log.open()
    log.withdraw(VICTIM)
    assert fold(log).suspected == {} and fold(log).standing(owner_of(VICTIM)).state == "withdrawn"
    log.join(VICTIM)
    history = fold(log)
    assert history.standing(owner_of(VICTIM)).state == "joined"
    assert run_of(history) == Run(())


def test_history__a_suspected_seat_is_not_reactivated() -> None:
    """A lying endpoint could bring a poisoner back."""
    log = suspected()
    log.void()
    log.open()
    events = [
        *log.events, SeatReactivated(log.at(), len(log.names), owner_of(VICTIM), key_of(VICTIM, 9), 9, log.round + 1),
    ]  # fmt: skip
    with pytest.raises(ChainError, match="not suspended"):
        fold(log, events=events)


def test_history__names_the_seat_that_it_has() -> None:
    """A lying endpoint could have another seat marked."""
    log = begun()
    with pytest.raises(ChainError, match="an owner it does not have"):
        fold(log, events=[*log.events, SeatSuspected(log.at(), 0, owner_of(VICTIM), 0, 0)])
