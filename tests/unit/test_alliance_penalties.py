"""Strikes: who was absent, and whom ``suspend`` takes."""

from __future__ import annotations

from p2p_flock.alliance.evidence import describe_fault
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.penalties import Suspension, compute_absent, compute_suspensions
from p2p_flock.chain_events import ABSENCE_FAULT
from p2p_flock.testing.alliance import DOMAIN
from tests.unit.alliance_log import LogWriter, owner_of
from tests.unit.test_alliance_history import fold

MEMBERS = 8


def begun(members: int = MEMBERS) -> LogWriter:
    log = LogWriter()
    for name in range(members):
        log.join(name)
    log.open()
    return log


def settle_without(log: LogWriter, name: object) -> LogWriter:
    """A settled round in which ``name`` was absent, and so were the validators that the log writer never reveals."""
    log.seal(absent=(name,))
    log.settle()
    log.open()
    return log


def names_of(history: AllianceHistory, owners: frozenset[bytes] | None) -> set[int]:
    assert owners is not None
    return {name for name in range(MEMBERS) if owner_of(name) in owners}


def test_absent__trainers_not_sealed_and_validators_not_revealed() -> None:
    """A member would get a strike for a round in which it did its part, or none for one that it missed."""
    log = begun()
    roles = log.roles()
    missing = roles.trainers[2]
    settle_without(log, missing)
    silent = {seat for position, seat in enumerate(roles.validators) if position != 2}  # the writer reveals that one
    assert names_of(fold(log), compute_absent(fold(log), 0)) == {missing} | silent


def test_absent__void_rounds_blame_nobody() -> None:
    """A member would be suspended for a round that somebody else spoilt."""
    log = begun()
    log.void()
    log.open()
    assert compute_absent(fold(log), 0) is None


def find_log() -> tuple[LogWriter, int]:
    """A log in which exactly one trainer misses two rounds in a row."""
    log = begun()
    log.void()
    log.open()
    for _ in range(40):
        history = fold(log)
        found = compute_suspensions(history)
        if found:
            return log, found[0].seat
        roles = log.roles()
        settle_without(log, roles.trainers[0])
    raise AssertionError("nobody was absent twice in a row in forty rounds")


def test_suspensions__two_strikes_in_a_row() -> None:
    """A dead member would cost every round a timeout for ever."""
    log, seat = find_log()
    history = fold(log)
    first, second = log.round - 2, log.round - 1
    assert compute_suspensions(history)[0] == Suspension(history.seats[seat].owner, seat, first, second)
    log.suspend(log.names[seat], first, second)
    assert all(found.seat != seat for found in compute_suspensions(fold(log)))  # it is leaving


def test_suspensions__void_rounds_between_do_not_matter() -> None:
    """Two strikes with a void between them are two in a row of what was settled."""
    log, seat = find_log()
    log.void()
    log.open()
    history = fold(log)
    assert compute_suspensions(history)[0].second == log.round - 2
    assert compute_suspensions(history)[0].seat == seat


def test_suspensions__never_below_the_structural_minimum() -> None:
    """The alliance would wait for the very member that is away."""
    log, _ = find_log()
    spare = MEMBERS - log.params.seats_min
    assert spare == 2
    leaving = [name for name in log.names if name != log.names[compute_suspensions(fold(log))[0].seat]][:spare]
    for name in leaving:
        log.leave(name)
    assert compute_suspensions(fold(log)) == ()


def test_suspensions__strikes_before_the_seat_do_not_count() -> None:
    """A member that came back would be suspended at once for the rounds that it was away."""
    log, seat = find_log()
    name = log.names[seat]
    log.suspend(name, log.round - 2, log.round - 1)
    log.seal()
    log.settle()
    log.open()
    log.reactivate(name, 60)
    log.seal()
    log.settle()
    log.open()
    assert all(found.owner != owner_of(name) for found in compute_suspensions(fold(log)))


def test_suspensions__not_after_the_end() -> None:
    """Members would pay for transactions that the contract refuses."""
    log, _ = find_log()
    log.seal()
    log.settle(closed=True)
    assert compute_suspensions(fold(log)) == ()


def test_suspensions__not_before_two_rounds() -> None:
    """The first round alone would cost a seat."""
    assert compute_suspensions(AllianceHistory(DOMAIN, LogWriter().params)) == ()
    assert compute_suspensions(fold(settle_without(begun(), "nobody"))) == ()


def test_fault__has_words_for_every_number() -> None:
    """An operator would read a number where its stake was taken, or a later contract's fault would end the node."""
    assert [describe_fault(number) for number in (1, ABSENCE_FAULT, 99)] == ["equivocation", "absence", "fault 99"]
