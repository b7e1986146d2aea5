"""The simulated contract's records, claims and settlements: what it refuses, and what it pays (see ``bench.py``)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p_flock.alliance.allowlist import compute_allowlist_root, make_allowlist_proof
from p2p_flock.alliance.evidence import SealStatement
from p2p_flock.alliance.pay import NOBODY
from p2p_flock.alliance.settling import make_settlement
from p2p_flock.chain_events import AllianceClosed, BallotRevealed, RoundSettled, SeatJoined, SettledRecord
from p2p_flock.testing.contract_state import CLOSED, Claim, Close, RoundCall, Suspend
from tests.simulation.bench import BUDGET, CREATOR, MODEL, SEATS, STRANGER, SUMS, VALIDATORS, Bench

LATE = 60  # seconds after which every phase of a sealed round is over


def committed(*positions: int, **changes: int) -> Bench:
    """A round with these positions' ballots committed to, in this order, one transaction each."""
    bench = Bench(**changes)
    bench.seal()
    for position in positions:
        bench.commit({position: bench.ballot(position)})
    return bench


# --- records and claims --------------------------------------------------------------------------------------------


def test_settled_round__pays_everybody_to_the_wei() -> None:
    """Broken: what a record says is not what its owners can claim, or somebody claims twice."""
    bench = Bench()
    number, roles = bench.number, bench.roles
    record = bench.run_round()
    trainers = [bench.owners[seat] for seat in roles.cohorts[0]]
    rewards = {owner: BUDGET * 4 // 10 // len(trainers) for owner in trainers}
    rewards |= {
        bench.owners[seat]: record.validator_rewards[position] for position, seat in enumerate(roles.validators)
    }
    rewards[STRANGER] = 3 * (BUDGET // 10 // 3)
    assert record.validator_rewards == (BUDGET * 4 // 10 // 3 + BUDGET // 10 // 3,) * VALIDATORS, "they all agreed"
    for owner in [*bench.owners, STRANGER]:
        before = bench.state.balances.get(owner, 0)
        if owner in rewards:
            bench.send(owner, Claim((record,)))
        assert bench.refusal(owner, Claim((record,))) == "NothingToClaim"
        assert bench.state.balances.get(owner, 0) - before == rewards.get(owner, 0)
    assert bench.state.owed == 0 and bench.state.claimed == {(owner, number) for owner in rewards}


def test_claim__a_false_record_is_refused() -> None:
    """Broken: whoever shows a record of its own making is paid by it."""
    bench = Bench()
    record = bench.run_round()
    cheats: list[SettledRecord] = [
        replace(record, trainer_rewards=(BUDGET, 0)),
        replace(record, validator_rewards=(BUDGET, 0, 0)),
        replace(record, refund=BUDGET),
        replace(record, sealer=bench.owners[0]),
        replace(record, seed=bytes(32)),
        replace(record, survivors=(0,)),
        replace(record, round=record.round + 1),
        replace(record, seat_count=SEATS - 1),
    ]
    for owner in (*bench.owners, STRANGER):
        assert {bench.refusal(owner, Claim((cheat,))) for cheat in cheats} == {"WrongRecord"}
        assert {bench.refusal(owner, Claim((record, cheat))) for cheat in cheats} == {"WrongRecord"}


def test_refunds__only_for_a_quorum() -> None:
    """Broken: senders are paid for rounds that decide nothing, or the settler for ballots that were not there."""
    bench = committed(0, 1)
    bench.now_s += LATE
    bench.settle({0: bench.ballot(0)})
    record = bench.settled(0)
    assert (record.sealer, record.committer, record.settler) == (STRANGER, STRANGER, NOBODY)
    bench.seal()
    bench.commit({2: bench.ballot(2)})
    bench.now_s += LATE
    bench.settle({2: bench.ballot(2)})
    record = bench.settled(1)
    assert (record.sealer, record.committer, record.settler) == (NOBODY,) * 3


def test_suspend__by_two_records() -> None:
    """Broken: nobody can be suspended any more, or whoever shows false records suspends the present."""
    bench = Bench()
    victim = bench.owners[bench.roles.trainers[0]]
    records = []
    for _ in range(2):
        roles, seats = bench.roles, bench.state.seats
        silent = [p for p, seat in enumerate(roles.validators) if seats[seat] == victim]
        records.append(bench.run_round(absent=[victim], silent=silent))
    first, second = records
    empty = replace(first, survivors=(0,), revealed=0)
    assert bench.refusal(STRANGER, Suspend(bench.owners[1], empty, second)) == "WrongRecord"
    assert bench.refusal(STRANGER, Suspend(victim, second, first)) == "NotConsecutive"
    assert bench.refusal(STRANGER, Suspend(bench.state.seats[0], first, second)) in ("NotAbsent", "")
    bench.send(STRANGER, Suspend(victim, first, second))
    assert bench.state.members[victim].suspended


# --- settling --------------------------------------------------------------------------------------------------------


def test_settle__shows_the_round_its_own_hashes() -> None:
    """Broken: votes are counted under another seal, in another order, or without what was committed."""
    bench = committed(1, 0, 2)
    ballots = {position: bench.ballot(position) for position in range(VALIDATORS)}
    right = bench.settlement(ballots)
    assert right.order == (1, 0, 2) and right.unopened == () and right.positions == (0, 1, 2)
    others: dict[str, list[SealStatement]] = {
        "WrongSeal": [replace(right.seal, view=1), replace(right.seal, survivors=bytes(32))]
    }
    for reason, seals in others.items():
        assert {bench.refusal(STRANGER, RoundCall(0, replace(right, seal=seal))) for seal in seals} == {reason}
    wrong = [
        replace(right, order=(0, 1, 2)),
        replace(right, order=(1, 0)),
        replace(right, order=(1, 0, 2, 2)),
        replace(right, unopened=(bytes(32),)),
        replace(right, positions=(0, 1), ballots=right.ballots[:2]),
        replace(right, ballots=(replace(ballots[0], salt=bytes(32)), *right.ballots[1:])),
        replace(right, ballots=(replace(ballots[0], score_micro=1), *right.ballots[1:])),
    ]
    assert {bench.refusal(STRANGER, RoundCall(0, call)) for call in wrong} == {"WrongCommitments"}
    malformed = replace(ballots[0], verdicts=b"\x02\x02", grades=b"\x01\x00")
    assert bench.refusal(STRANGER, RoundCall(0, replace(right, ballots=(malformed, *right.ballots[1:])))) == (
        "MalformedBallot"
    )
    bench.send(STRANGER, RoundCall(0, right))


def test_settle__whoever_ends_the_round_brings_what_was_recorded() -> None:
    """Broken: a leader that omits recorded ballots decides the round with the rest."""
    bench = committed(0, 1, 2)
    bench.settle({0: bench.ballot(0), 2: bench.ballot(2)})
    assert bench.number == 0 and bench.refusal(STRANGER, RoundCall(0, bench.settlement({}))) == "DeadlineNotPassed"
    alone = make_settlement(replace(bench.record, reveals={}), {1: bench.ballot(1)})
    assert bench.refusal(STRANGER, RoundCall(0, alone)) == "MissingBallot"
    bench.now_s += LATE
    nobody = make_settlement(replace(bench.record, reveals={}), {})
    assert {bench.refusal(STRANGER, RoundCall(0, call)) for call in (alone, nobody)} == {"MissingBallot"}
    bench.settle({})  # upkeep, with nothing of its own
    settled = bench.history.rounds[0].settled
    assert settled is not None and settled.votes_for[0] == 2 and settled.record.revealed == 0b101


def test_settle__reveals_are_told_in_full_before_the_end() -> None:
    """Broken: nobody but the recorder could settle, or a restarted node cannot show what was recorded."""
    bench = committed(0, 1, 2)
    bench.settle({1: bench.ballot(1)})
    bench.settle({position: bench.ballot(position) for position in range(VALIDATORS)})
    told = [event for event in bench.events if isinstance(event, BallotRevealed)]
    assert [event.position for event in told] == [1, 0, 1, 2]
    assert [bool(event.salt) for event in told] == [True, False, False, False]
    assert {event.aggregate_digests for event in told[1:]} == {(SUMS[0], bytes(32))}, "a no names no leading sum"
    assert {event.base_model_digest for event in told} == {MODEL}


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "target", "closes"),
    [
        ((900_000, 900_000, 0), 900_000, True),
        ((900_000, 899_999, 0), 900_000, False),
        ((1, 1, 1), 0, False),
    ],
)
def test_score_target__closes_with_a_quorum(scores: tuple[int, ...], target: int, closes: bool) -> None:
    """Broken: one validator ends the alliance for all, or a quorum cannot."""
    bench = Bench(score_target_micro=target)
    bench.seal()
    ballots = {position: bench.ballot(position, score=score) for position, score in enumerate(scores)}
    bench.commit(ballots)
    bench.settle(ballots)
    (settled,) = [event for event in bench.events if isinstance(event, RoundSettled)]
    assert settled.closed is closes and (bench.state.phase == CLOSED) is closes
    assert any(isinstance(event, AllianceClosed) for event in bench.events) is closes
    if closes:
        assert bench.state.credits[CREATOR] > 0 and bench.state.pool == 0
    assert settled.record.trainer_rewards[0] > 0, "the round itself is paid"


def test_score_target__another_model_does_not_count() -> None:
    """Broken: scores of different models are added up."""
    bench = Bench(score_target_micro=500_000)
    bench.seal()
    ballots = {position: bench.ballot(position, score=800_000) for position in range(VALIDATORS)}
    ballots[1] = replace(ballots[1], base_model_digest=bytes(32))
    ballots[2] = replace(ballots[2], score_micro=0)
    bench.commit(ballots)
    bench.settle(ballots)
    assert bench.state.phase != CLOSED


def test_join__deadline_and_allowlist() -> None:
    """Broken: somebody joins after the deadline, or without being on the list."""
    listed = sorted(Bench(0).owners[:SEATS])
    bench = Bench(0, allowlist_root=compute_allowlist_root(listed), join_deadline_s=1_700_000_010)
    member = bench.owners.index(listed[0])
    proof = make_allowlist_proof(listed, listed[0])
    assert bench.refusal(listed[0], bench.join(member)) == "NotOnAllowlist"
    assert bench.refusal(STRANGER, bench.join(member, proof)) == "NotOnAllowlist"
    assert bench.refusal(STRANGER, Close()) == "DeadlineNotPassed"
    (joined,) = bench.send(listed[0], bench.join(member, proof))
    assert isinstance(joined, SeatJoined)
    bench.now_s = 1_700_000_010
    assert bench.refusal(listed[1], bench.join(member, make_allowlist_proof(listed, listed[1]))) == ""
    bench.now_s += 1
    assert bench.refusal(listed[1], bench.join(member, make_allowlist_proof(listed, listed[1]))) == "JoinDeadlinePassed"
    bench.send(STRANGER, Close())
    assert bench.state.phase == CLOSED and bench.state.credits[CREATOR] == BUDGET * bench.params.round_count


def test_close__not_while_a_round_runs() -> None:
    """Broken: anybody stops an alliance."""
    assert Bench().refusal(STRANGER, Close()) == "RoundIsRunning"
    waiting = Bench(SEATS - 1)
    assert waiting.refusal(STRANGER, Close()) == "DeadlineNotPassed"
    waiting.now_s += 30 * 24 * 3600 + 1
    assert waiting.refusal(STRANGER, Close()) == ""
