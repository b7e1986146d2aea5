"""Suspicion on a real chain: the records that a node chooses are those that the contract takes, and no others."""

from __future__ import annotations

import dataclasses

import pytest

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.suspicion import compute_runs, compute_suspects
from p2p_flock.chain.devnet_deployment import Devnet
from p2p_flock.chain_events import SeatSuspected, SettledRecord, pack_outcomes
from p2p_flock.daemon.posting import post_ballots, post_commitments
from p2p_flock.errors import TransactionFailedError
from p2p_flock.ports import CommitRound
from p2p_flock.types import CohortOutcome, Vote
from tests.chain.committee import Committee, mask_key, open_committee, small_params
from tests.chain.test_penalties import fold
from tests.chain.test_settling import seal

NO, YES = Vote.NO, Vote.YES
BOUND, SEATS = 2, 10  # two validators and two cohorts of four


async def play(devnet: Devnet, committee: Committee, votes: tuple[Vote, ...]) -> None:
    """A settled round in which everybody takes part, with one vote for each cohort."""
    handle = committee.handles[0]
    state, value = await seal(devnet, committee)
    commitments, signatures, ballots = await committee.ballots(state, value, votes)
    positions = tuple(range(len(ballots)))
    call = CommitRound(positions, tuple(commitments), tuple(signatures))
    await post_commitments(handle, await fold(committee), state.round, call)
    await post_ballots(handle, await fold(committee), state.round, dict(enumerate(ballots)))


def records_of(history: AllianceHistory) -> list[SettledRecord]:
    return [record.settled.record for record in history.rounds if record.settled is not None]


async def refusal(committee: Committee, owner: bytes, records: list[SettledRecord]) -> str:
    """Why the contract does not suspend."""
    with pytest.raises(TransactionFailedError) as refused:
        await committee.handles[5].suspend_suspected(owner, records)
    return refused.value.reason


async def test_suspicion__is_shown_by_all_records(devnet: Devnet) -> None:
    """A poisoner could not be removed, or an honest member could with a choice of records."""
    seats = {"seat_count_min": SEATS, "seat_count_max": SEATS, "weight_max": SEATS}
    phases = ("train", "seal", "unmask", "evaluate", "commit", "settle")
    patience = dict.fromkeys((f"{phase}_seconds" for phase in phases), 600)  # nothing here waits for a deadline
    params = small_params(cohort_count=2, suspicion_bound=BOUND, **seats, **patience)
    async with open_committee(devnet, params, SEATS) as committee:
        await committee.join_all()
        await play(devnet, committee, (NO, NO))
        assert compute_suspects(await fold(committee)) == ()
        await play(devnet, committee, (NO, YES))
        history = await fold(committee)
        first, second = records_of(history)
        outcomes = ((CohortOutcome.REJECTED,) * 2, (CohortOutcome.REJECTED, CohortOutcome.ADOPTED))
        assert [first.outcomes, second.outcomes] == [pack_outcomes(decided) for decided in outcomes]

        # At least two of the second round's rejected four were trainers in the first one, too; as many seats are spare.
        found, runs = compute_suspects(history), compute_runs(history)
        assert [suspect.rejections for suspect in found] == [BOUND, BOUND]
        suspect = found[0]
        assert suspect.rounds == (first.round, second.round)
        forged = dataclasses.replace(second, outcomes=pack_outcomes((CohortOutcome.REJECTED,) * 2))
        assert await refusal(committee, suspect.owner, [first, forged]) == "WrongRecord"
        assert await refusal(committee, suspect.owner, [first]) == "NotConsecutive"
        assert await refusal(committee, suspect.owner, [second]) == "NotSuspected"
        cleared = next(owner for owner, run in runs.items() if not run.rounds)
        assert await refusal(committee, cleared, [first, second]) == "NotSuspected"

        await committee.handles[5].suspend_suspected(suspect.owner, [first, second])
        assert await refusal(committee, suspect.owner, [first, second]) == "AlreadyLeaving"
        handle = committee.handles[0]
        head = (await committee.chains[0].client.head()).number
        events = await handle.events(handle.terms.created_block, head)
        (told,) = (event for event in events if isinstance(event, SeatSuspected))
        assert (told.seat, told.owner) == (suspect.seat, suspect.owner)
        assert (told.first_round, told.last_round) == (first.round, second.round)
        own = next(
            h for h, chain in zip(committee.handles, committee.chains, strict=True) if chain.address == told.owner
        )
        with pytest.raises(TransactionFailedError) as refused:
            await own.reactivate(mask_key(0, 1))
        assert refused.value.reason == "SeatIsSuspected"
        assert (await own.stake()).stake_wei == params.seat_stake
