"""The simulated contract's ``suspendSuspected``: every rule, and that what nodes post is taken (see ``bench.py``)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from p2p_flock.alliance.suspicion import Run, compute_runs, compute_suspects
from p2p_flock.chain_events import SeatLeft, SeatSuspected, SettledRecord
from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.testing.alliance import digest_of
from p2p_flock.testing.contract_state import (
    CLOSED,
    RUNNING,
    WAITING,
    Leave,
    Reactivate,
    Suspend,
    SuspendSuspected,
    VoidRound,
    Withdraw,
)
from p2p_flock.types import CohortOutcome, Vote
from tests.simulation.bench import COHORTS, SEATS, STRANGER, VALIDATORS, Bench

BOUND = 2


def make_bench(**changes: int) -> Bench:
    return Bench(**{"suspicion_bound": BOUND, "round_count": 60, "void_count_max": 200, **changes})


def void(bench: Bench) -> None:
    bench.now_s += 200
    bench.send(STRANGER, VoidRound(bench.number))


def play(bench: Bench, owner: bytes, own: Vote, other: Vote = Vote.UNAVAILABLE, absent: tuple[bytes, ...] = ()) -> int:
    """A round in which the owner trains: all vote like this on its cohort, and like that on the other."""
    while bench.state.seats.index(owner) not in bench.roles.trainers:
        void(bench)
    cohort, number = bench.roles.cohort_of(bench.state.seats.index(owner)), bench.number
    bench.run_round(absent=absent, votes={cohort: own, 1 - cohort: other})
    return number


def records(bench: Bench, first: int) -> tuple[SettledRecord, ...]:
    """All settled rounds' from this one on."""
    settled = [record.settled for record in bench.history.rounds[first:]]
    return tuple(one.record for one in settled if one is not None)


def refusal(bench: Bench, owner: bytes, shown: tuple[SettledRecord, ...]) -> str:
    return bench.refusal(STRANGER, SuspendSuspected(owner, shown))


def suspected() -> tuple[Bench, bytes]:
    """A bench on which the second member's cohorts were rejected twice, the other cohort's never."""
    bench = make_bench()
    victim = bench.owners[1]
    for _ in range(BOUND):
        play(bench, victim, Vote.NO, Vote.YES)
    return bench, victim


# --- what is taken -------------------------------------------------------------------------------------------------


def test_suspected__seat_goes_and_no_stake() -> None:
    """Broken: a poisoner keeps its seat, or pays for what nobody can prove."""
    bench, victim = suspected()
    stakes, balances = bench.state.stakes, dict(bench.state.balances)
    events = bench.send(STRANGER, SuspendSuspected(victim, records(bench, 0)))
    assert [type(event) for event in events] == [SeatSuspected, SeatLeft]
    assert isinstance(events[0], SeatSuspected) and (events[0].owner, events[0].seat) == (victim, 1)
    assert events[0].last_round == bench.number - 1
    assert bench.state.members[victim].suspected and bench.state.members[victim].leaving
    assert (bench.state.stakes, bench.state.balances) == (stakes, balances)
    assert refusal(bench, victim, records(bench, 0)) == "AlreadyLeaving"
    void(bench)
    assert not bench.state.members[victim].seated
    assert refusal(bench, victim, records(bench, 0)) == "NotSeated"


def test_suspected__comes_back_only_with_a_new_stake() -> None:
    """Broken: a poisoner takes its seat again like somebody who was away, or never, whatever it stakes."""
    bench, victim = suspected()
    bench.send(STRANGER, SuspendSuspected(victim, records(bench, 0)))
    void(bench)
    key = Reactivate(mask_public_key(digest_of("fresh")))
    assert bench.refusal(victim, key) == "SeatIsSuspected"
    assert bench.refusal(victim, Withdraw()) == "Unbonding"
    join = replace(bench.join(1), mask_key=key.mask_key)
    assert bench.refusal(victim, join) == "StakeNotWithdrawn"
    bench.now_s += bench.params.unbonding_seconds
    before = bench.state.balances[victim]
    bench.send(victim, Withdraw())
    assert bench.state.balances[victim] - before == bench.params.seat_stake, "whole"
    assert bench.refusal(victim, key) == "NotSuspended"
    bench.send(victim, join)
    assert not bench.state.members[victim].suspected
    assert refusal(bench, victim, records(bench, 0)) == "RoundBeforeTenure"


def test_suspected__run_goes_on_over_strikes_and_return() -> None:
    """Broken: two missed rounds wipe a poisoner's slate."""
    bench = make_bench()
    victim = bench.owners[1]
    play(bench, victim, Vote.NO, Vote.YES)
    strikes = [play(bench, victim, Vote.YES, absent=(victim,)) for _ in range(2)]
    shown = {record.round: record for record in records(bench, 0)}
    bench.send(STRANGER, Suspend(victim, shown[strikes[0]], shown[strikes[1]]))
    void(bench)
    bench.send(victim, Reactivate(mask_public_key(digest_of("fresh"))))
    void(bench)
    play(bench, victim, Vote.NO, Vote.YES)
    (found,) = [suspect for suspect in compute_suspects(bench.history) if suspect.owner == victim]
    assert refusal(bench, victim, records(bench, found.rounds[0])) == ""


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "why"),
    [
        ((Vote.YES, Vote.NO), "NotSuspected"),
        ((Vote.UNAVAILABLE, Vote.YES), ""),
        ((Vote.NO, Vote.YES), ""),
    ],
    ids=["adopted", "undecided", "rejected"],
)
def test_suspected__what_one_more_round_says(then: tuple[Vote, Vote], why: str) -> None:
    """Broken: an adopted cohort does not clear, or an undecided one does."""
    bench, victim = suspected()
    play(bench, victim, *then)
    assert refusal(bench, victim, records(bench, 0)) == why


def test_suspected__absence_neither_adds_nor_clears() -> None:
    """Broken: who was not sealed is accused of a sum that it is not in, or cleared by one."""
    bench = make_bench()
    victim = bench.owners[1]
    play(bench, victim, Vote.NO, Vote.YES)
    play(bench, victim, Vote.NO, absent=(victim,))
    assert refusal(bench, victim, records(bench, 0)) == "NotSuspected"
    play(bench, victim, Vote.YES, absent=(victim,))
    play(bench, victim, Vote.NO, Vote.YES)
    assert refusal(bench, victim, records(bench, 0)) == ""


def test_suspected__records_in_order_and_none_left_out() -> None:
    """Broken: whoever leaves out the round that clears a member has it suspended."""
    bench = make_bench()
    victim = bench.owners[1]
    for vote in (Vote.NO, Vote.YES, Vote.NO):
        play(bench, victim, vote)
    whole = records(bench, 0)
    assert len(whole) == 3
    assert refusal(bench, victim, whole) == "NotSuspected"
    assert refusal(bench, victim, (whole[0], whole[2])) == "NotConsecutive", "the adoption is left out"
    assert refusal(bench, victim, (whole[2], whole[2])) == "NotConsecutive", "one twice"
    assert refusal(bench, victim, ()) == "NotConsecutive"
    play(bench, victim, Vote.NO)
    assert refusal(bench, victim, whole) == "NotConsecutive", "not up to the last one"
    assert refusal(bench, victim, records(bench, 0)[::-1]) == "NotConsecutive"
    assert refusal(bench, victim, records(bench, 0)) == ""


def test_suspected__false_records_are_refused() -> None:
    """Broken: whoever shows outcomes of its own making has anybody suspended."""
    bench, _ = suspected()
    for owner in bench.owners:
        for changed in (
            replace(records(bench, 0)[-1], outcomes=0b1010),
            replace(records(bench, 0)[-1], survivors=((1 << SEATS - VALIDATORS) - 1,), seed=digest_of("seed")),
        ):
            assert refusal(bench, owner, (*records(bench, 0)[:-1], changed)) == "WrongRecord"


def test_suspected__switched_off_or_over() -> None:
    """Broken: an alliance without the rule has it, or members pay for calls after the end."""
    bench = make_bench(suspicion_bound=0)
    victim = bench.owners[1]
    for _ in range(3):
        play(bench, victim, Vote.NO)
    assert refusal(bench, victim, records(bench, 0)) == "SuspicionIsOff"
    closing = make_bench(round_count=BOUND)
    for _ in range(BOUND):
        play(closing, victim, Vote.NO)
    assert closing.state.phase == CLOSED
    assert refusal(closing, victim, records(closing, 0)) == "AllianceIsClosed"
    assert refusal(make_bench(), STRANGER, records(bench, 0)) == "NotSeated"


# --- any history ---------------------------------------------------------------------------------------------------


def draw_step(bench: Bench, chance: random.Random) -> None:
    """One round with random votes and absences, or one of the other things that happen to members."""
    owners = [owner for owner, member in bench.state.members.items() if member.seated and not member.leaving]
    away = [owner for owner, member in bench.state.members.items() if not member.seated]
    kind = chance.random()
    if bench.state.phase == WAITING:
        come_back(bench, chance.choice(away), chance)
    elif kind < 0.08:
        void(bench)
    elif kind < 0.12 and len(owners) > 10:
        bench.send(chance.choice(owners), Leave())
    elif kind < 0.3 and away:
        come_back(bench, chance.choice(away), chance)
    else:
        weights = [1, 2, 5]
        votes = {k: chance.choices([Vote.UNAVAILABLE, Vote.YES, Vote.NO], weights)[0] for k in range(COHORTS)}
        absent = [owner for owner in bench.state.seats if chance.random() < 0.04]
        bench.run_round(absent=absent, votes=votes)
        chance.shuffle(owners)
        for owner in owners[:3] if len(owners) > 11 and chance.random() < 0.3 else ():
            strike(bench, owner)


def come_back(bench: Bench, owner: bytes, chance: random.Random) -> None:
    """Reactivates where the contract takes it, else withdraws, else joins anew."""
    key = mask_public_key(digest_of("key", chance.random()))
    member = bench.owners.index(owner)
    join = replace(bench.join(member), mask_key=key)
    bench.now_s += 200
    for call in (Reactivate(key), Withdraw(), join):
        if not bench.refusal(owner, call):
            bench.send(owner, call)
            break
    if bench.state.phase == RUNNING:
        void(bench)


def strike(bench: Bench, owner: bytes) -> None:
    """Suspends for absence where the last two records show it."""
    shown = records(bench, 0)
    if len(shown) >= 2 and not bench.refusal(STRANGER, call := Suspend(owner, shown[-2], shown[-1])):
        bench.send(STRANGER, call)


def check(bench: Bench) -> int:
    """Contract and reference agree on every seat, window by window; how many could be suspended."""
    runs, found = compute_runs(bench.history), 0
    for owner, member in bench.state.members.items():
        if not member.seated or member.leaving:
            continue
        run = runs[owner]
        whole = records(bench, member.tenure_round)
        assert refusal(bench, owner, whole) == ("" if run.rejections >= BOUND else refusal_of(whole))
        if member.tenure_round and (before := records(bench, 0)) != whole:
            assert refusal(bench, owner, before) == "RoundBeforeTenure"
        if run.rejections >= BOUND:
            found += 1
            shown = records(bench, run.rounds[-BOUND])
            assert refusal(bench, owner, shown) == ""
            assert refusal(bench, owner, shown[1:]) == refusal_of(shown[1:]), "nothing shorter shows it"
    for suspect in compute_suspects(bench.history):
        assert refusal(bench, suspect.owner, records(bench, suspect.rounds[0])) == ""
        assert suspect.rounds == tuple(record.round for record in records(bench, suspect.rounds[0]))
        assert suspect.rejections == runs[suspect.owner].rejections >= BOUND
    return found


def refusal_of(shown: tuple[SettledRecord, ...]) -> str:
    return "NotSuspected" if shown else "NotConsecutive"


@pytest.mark.parametrize("seed", range(4))
def test_suspected__windows_of_any_history_are_taken(seed: int) -> None:
    """Broken: nodes pay for proofs that the contract refuses, or it takes one that shows less than the bound."""
    chance = random.Random(seed)
    bench = make_bench(round_count=1000, void_count_max=1000, seat_count_max=SEATS + 2)
    found = posted = 0
    for _ in range(60):
        draw_step(bench, chance)
        found += check(bench)
        suspects = compute_suspects(bench.history)
        if suspects and chance.random() < 0.3:
            stakes = bench.state.stakes
            bench.send(STRANGER, SuspendSuspected(suspects[0].owner, records(bench, suspects[0].rounds[0])))
            assert bench.state.stakes == stakes, "suspicion costs nothing"
            posted += 1
    assert found > 20 and posted, (seed, found, posted)
    assert {CohortOutcome.REJECTED, CohortOutcome.ADOPTED, CohortOutcome.UNDECIDED} <= {
        CohortOutcome(record.outcomes >> 2 * cohort & 3) for record in records(bench, 0) for cohort in range(COHORTS)
    }
    assert all(isinstance(run, Run) for run in compute_runs(bench.history).values())
