"""Rounds that end in pieces on a real chain: ballots recorded before the end, deadlines, strikes shown by records."""

from __future__ import annotations

import dataclasses

import pytest

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.penalties import Suspension, compute_suspensions
from p2p_flock.alliance.settling import make_settlement
from p2p_flock.chain.beacon import BeaconValue
from p2p_flock.chain.client import RpcClient
from p2p_flock.chain.devnet_deployment import Devnet
from p2p_flock.chain.records import RoundState
from p2p_flock.daemon.evidence_calls import encode_seal
from p2p_flock.daemon.posting import post_ballots, post_commitments
from p2p_flock.errors import TransactionFailedError
from p2p_flock.ports import CommitRound
from tests.chain.committee import Committee, open_committee, small_params
from tests.chain.test_lifecycle import beacon_value_of, seal_when_open
from tests.chain.test_penalties import fold

ROUNDS_MAX = 12  # the chance that nobody can be absent twice in a row in so many is 10⁻¹⁵


async def seal(devnet: Devnet, committee: Committee) -> tuple[RoundState, BeaconValue]:
    """The running round with its seal, and the beacon that elected."""
    handle = committee.handles[0]
    state = await handle.round_state()
    value = await beacon_value_of(devnet, state)
    await seal_when_open(committee, await committee.seal_arguments(state, value), state.opens_at_s)
    return await handle.round_state(), value


async def turn_clock(devnet: Devnet, to_s: int) -> None:
    client = RpcClient([devnet.rpc_url])
    now_s = (await client.head()).timestamp_s
    await client.call("evm_increaseTime", hex(to_s - now_s))
    await client.call("evm_mine")
    client.close()


async def test_round__ends_after_its_deadline_with_what_was_recorded(own_devnet: Devnet) -> None:
    """One silent validator would cost the round, or whoever ends it could drop a vote that stands on the chain."""
    params = small_params(validator_count=3, seat_count_min=7)
    async with open_committee(own_devnet, params, 7) as committee:
        await committee.join_all()
        state, value = await seal(own_devnet, committee)
        commitments, signatures, ballots = await committee.ballots(state, value)
        first, second = committee.handles[:2]
        # Two batches, not in the order of positions: the settlement must keep the order of the chain.
        for positions in ((2,), (0, 1)):
            batch = ([commitments[p] for p in positions], [signatures[p] for p in positions])
            call = CommitRound(positions, *map(tuple, batch))  # type: ignore[arg-type]  # map forgets the two types
            await post_commitments(first, await fold(committee), 0, call)
        history = await fold(committee)
        assert list(history.rounds[0].commitments) == [2, 0, 1]
        await post_ballots(first, history, 0, {1: ballots[1]})
        history = await fold(committee)
        recorded = history.rounds[0].reveals
        assert {p: (e.salt, e.grades, e.aggregate_digests) for p, e in recorded.items()} == {
            1: (ballots[1].salt, ballots[1].grades, ballots[1].aggregate_digests)
        }
        with pytest.raises(TransactionFailedError) as repeated:
            await post_ballots(first, history, 0, {1: ballots[1]})
        assert repeated.value.reason == "DeadlineNotPassed"
        await post_ballots(second, history, 0, {0: ballots[0]})
        state = await first.round_state()
        assert state.revealed_positions == 0b011
        await turn_clock(own_devnet, state.reveal_deadline_s + 2)
        await check_nothing_is_dropped(committee, history)
        await post_ballots(second, await fold(committee), 0, {})  # upkeep's way: nothing but what the chain holds
        history = await fold(committee)
        settled = history.rounds[0].settled
        assert settled is not None
        assert (settled.votes_for, settled.record.revealed) == ((2,), 0b011)
        assert settled.record.settler == committee.chains[1].address
        assert [bool(event.salt) for event in history.rounds[0].reveals.values()] == [True, True]


async def check_nothing_is_dropped(committee: Committee, behind: AllianceHistory) -> None:
    """A node whose log lacks the newest record cannot end the round without it."""
    settlement = make_settlement(behind.rounds[0], {})
    assert settlement.positions == (1,)
    with pytest.raises(TransactionFailedError) as missing:
        await committee.handles[0].settle_round(
            seal=encode_seal(settlement.seal),
            order=bytes(settlement.order),
            unopened=settlement.unopened,
            positions=settlement.positions,
            ballots=settlement.ballots,
        )
    assert missing.value.reason == "MissingBallot"


async def play_without(devnet: Devnet, committee: Committee, absent: frozenset[bytes]) -> frozenset[bytes]:
    """A settled round in which two trainers are not sealed: if possible those that were not in the last one.

    Nobody turns the clock: the beacon goes by the real one.
    """
    handle, owners = committee.handles[0], await committee.owners()
    state = await handle.round_state()
    value = await beacon_value_of(devnet, state)
    _, assignment = committee.assignment(state, value)
    trainers = sorted((owners[seat] for seat in assignment.trainers), key=lambda owner: owner not in absent)
    missing = frozenset(trainers[:2])
    arguments = await committee.seal_arguments(state, value, absent=missing)
    await seal_when_open(committee, arguments, state.opens_at_s)
    commitments, signatures, ballots = await committee.ballots(await handle.round_state(), value)
    positions = tuple(range(len(ballots)))
    call = CommitRound(positions, tuple(commitments), tuple(signatures))
    await post_commitments(handle, await fold(committee), state.round, call)
    await post_ballots(handle, await fold(committee), state.round, dict(enumerate(ballots)))
    return missing


async def test_suspension__is_shown_by_two_records(devnet: Devnet) -> None:
    """A silent member could not be removed, or a present one could with a record of one's own making."""
    async with open_committee(devnet, small_params(seat_count_min=7, round_count=ROUNDS_MAX), 7) as committee:
        await committee.join_all()
        absent: frozenset[bytes] = frozenset()
        found: tuple[Suspension, ...] = ()
        while not found:  # in one of twenty rounds both of the last one's absent are drawn as validators
            absent = await play_without(devnet, committee, absent)
            history = await fold(committee)
            found = compute_suspensions(history)
        assert {suspension.owner for suspension in found} <= absent
        first, second = (history.rounds[number].settled for number in (found[0].first, found[0].second))
        assert first is not None and second is not None
        handle, owner = committee.handles[5], found[0].owner
        forged = dataclasses.replace(second.record, survivors=(0,))
        with pytest.raises(TransactionFailedError) as refused:
            await handle.suspend(owner, first.record, forged)
        assert refused.value.reason == "WrongRecord"
        present = next(chain.address for chain in committee.chains if chain.address not in absent)
        with pytest.raises(TransactionFailedError) as not_absent:
            await handle.suspend(present, first.record, second.record)
        assert not_absent.value.reason == "NotAbsent"
        await handle.suspend(owner, first.record, second.record)
        suspended = (await fold(committee)).suspended[owner]
        assert (suspended.first_round, suspended.second_round) == (found[0].first, found[0].second)
