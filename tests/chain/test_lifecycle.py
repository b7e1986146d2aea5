"""One alliance from creation to the last withdrawal on a real chain, with a committee that signs locally."""

from __future__ import annotations

import dataclasses

import pytest
import trio

from p2p_flock.alliance.allowlist import compute_allowlist_root
from p2p_flock.alliance.earnings import compute_earning
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.chain.adapter import open_chain
from p2p_flock.chain.beacon import BeaconClient
from p2p_flock.chain.client import RpcClient
from p2p_flock.chain.devnet_deployment import FUND_FLOCK_WEI, Devnet
from p2p_flock.chain.records import RoundPhase, RoundState
from p2p_flock.chain_events import (
    BEFORE_ROUND_ZERO,
    BallotRevealed,
    BallotsCommitted,
    ChainEvent,
    KeyRegistered,
    RoundOpened,
    RoundSealed,
    RoundSettled,
    SeatJoined,
    SeatLeft,
    SeatRemoved,
    SettledRecord,
)
from p2p_flock.errors import ChainError, ParameterError, TransactionFailedError, UsageError
from p2p_flock.types import CohortOutcome, Vote
from tests.chain.committee import (
    AGGREGATE,
    BASE_MODEL,
    GRADE,
    MANIFEST_DIGEST,
    PEER_ID,
    SCORE_MICRO,
    Committee,
    mask_key,
    open_committee,
    small_params,
)


async def beacon_value_of(devnet: Devnet, state: RoundState):  # type: ignore[no-untyped-def]
    client = BeaconClient(devnet.beacon_network(), devnet.beacon_urls, devnet.beacon_chain_hash)
    value = await client.wait_for(state.beacon_round, state.opens_at_s + 30)
    client.close()
    return value


async def run_round(devnet: Devnet, committee: Committee) -> RoundState:
    """One full round, each transaction by another sender; the state it was settled from."""
    first, second, third = committee.handles[:3]
    state = await first.round_state()
    value = await beacon_value_of(devnet, state)
    arguments = await committee.seal_arguments(state, value)
    await seal_when_open(committee, arguments, state.opens_at_s)
    state = await first.round_state()
    assert state.phase is RoundPhase.SEALED
    commitments, signatures, ballots = await committee.ballots(state, value)
    positions, seal = tuple(range(len(ballots))), committee.seal_statement(state, value)
    await second.commit_round(seal=seal, positions=positions, commitments=commitments, signatures=signatures)
    await third.settle_round(seal=seal, order=bytes(positions), unopened=(), positions=positions, ballots=ballots)
    return state


async def seal_when_open(committee: Committee, arguments: dict[str, object], opens_at_s: int) -> None:
    """Seal as soon as the chain's clock reaches the opening."""
    while (await committee.handles[0].round_state()).timestamp_s < opens_at_s:
        await trio.sleep(0.1)
    await committee.handles[0].seal_round(**arguments)  # type: ignore[arg-type]


async def follow_until(committee: Committee, stop: type) -> list[ChainEvent]:
    """Everything a follower hands out from the creation on, until an event of this type came."""
    seen: list[ChainEvent] = []
    handle = committee.handles[-1]
    async for update in handle.follow(handle.terms.created_block):
        assert update.rewound_to is None
        assert update.state.timestamp_s >= update.timestamp_s
        seen.extend(update.events)
        if any(isinstance(event, stop) for event in update.events):
            return seen
    raise AssertionError("a follower never ends")


async def test_alliance__lives_from_creation_to_withdrawal(own_devnet: Devnet) -> None:
    """A call, log or view that is encoded wrongly would stop every alliance at that step."""
    params = small_params(round_count=1, unbonding_seconds=100_000, penalty_window_seconds=50_000)
    async with open_committee(own_devnet, params, 6) as committee:
        first = committee.handles[0]
        assert (await first.round_state()).phase is RoundPhase.WAITING
        assert (await first.round_state()).round == BEFORE_ROUND_ZERO
        await committee.join_all()
        seats = await first.seats()
        assert [seat.index for seat in seats] == list(range(6))
        assert {seat.peer_id for seat in seats} == {PEER_ID}
        assert {seat.mask_key for seat in seats} == {mask_key(index) for index in range(6)}
        # The seat that opened round 0 was still taken before it.
        assert {(seat.joined_round, seat.key_round, seat.key_generation) for seat in seats} == {
            (0, BEFORE_ROUND_ZERO, 1)
        }
        state = await run_round(own_devnet, committee)
        assert state.round == 0
        with trio.fail_after(10):
            events = await follow_until(committee, RoundSettled)
        check_events(events, state)
        assert await first.confirmed_model() == (0, BASE_MODEL)
        assert (await first.round_state()).phase is RoundPhase.CLOSED
        await check_money_out(own_devnet, committee, events)


def check_events(events: list[ChainEvent], state: RoundState) -> None:
    """The whole history, in chain order, each log once."""
    kinds = [type(event) for event in events]
    assert kinds.count(SeatJoined) == 6
    assert kinds[:6].count(SeatJoined) == 6
    assert kinds[6:12] == [RoundOpened, RoundSealed, BallotsCommitted, BallotRevealed, BallotRevealed, RoundSettled]
    positions = [(event.at.block, event.at.log_index) for event in events]
    assert positions == sorted(positions)
    assert len(positions) == len(set(positions)) + 2  # the settlement tells of its ballots too
    opened, sealed, committed = events[6:9]
    settled = next(event for event in events if isinstance(event, RoundSettled))
    assert isinstance(opened, RoundOpened)
    assert (opened.seat_count, opened.beacon_round, opened.opens_at_s) == (
        *(6, state.beacon_round),
        state.opens_at_s,
    )
    assert isinstance(sealed, RoundSealed)
    assert (sealed.seal, sealed.manifest_digest, sealed.survivors) == (state.seal, MANIFEST_DIGEST, (0b1111,))
    assert sealed.positions == (0, 1)
    assert sealed.at.timestamp_s == state.sealed_at_s
    assert [len(signature) for signature in sealed.signatures] == [65, 65]
    assert isinstance(committed, BallotsCommitted)
    assert committed.positions == (0, 1)
    assert settled.outcomes == (CohortOutcome.ADOPTED,)
    assert (settled.aggregate_digests, settled.votes_for, settled.votes_against) == ((AGGREGATE,), (2,), (0,))
    assert (settled.base_model_digest, settled.closed) == (BASE_MODEL, True)
    reveals = [event for event in events if isinstance(event, BallotRevealed)]
    told = (bytes([Vote.YES]), bytes([GRADE]), SCORE_MICRO, (AGGREGATE,), BASE_MODEL, b"")
    assert [(reveal.position, *dataclasses.astuple(reveal)[3:]) for reveal in reveals] == [(0, *told), (1, *told)]
    record = settled.record
    assert (record.round, record.seat_count, record.revealed, record.seed) == (0, 6, 0b11, sealed.seed)
    assert record.survivors == sealed.survivors


async def check_money_out(devnet: Devnet, committee: Committee, events: list[ChainEvent]) -> None:
    """Everybody claims, waits out the unbonding, withdraws; nothing stays behind but dust-free zeroes."""
    await check_claims(committee, events)
    last = committee.handles[-1]
    with pytest.raises(TransactionFailedError) as refused:
        await last.withdraw()
    assert refused.value.reason == "Unbonding"
    client = RpcClient([devnet.rpc_url])
    await client.call("evm_increaseTime", hex(100_001))
    await client.call("evm_mine")
    client.close()
    for handle in committee.handles:
        assert (await handle.stake()).stake_wei == handle.params.seat_stake
        await handle.withdraw()
    accounts = await last.accounts()
    assert (accounts.stakes_wei, accounts.pool_wei, accounts.owed_wei) == (0, 0, 0)
    total = sum([(await chain.balances())[1] for chain in committee.chains])
    assert total == len(committee.chains) * FUND_FLOCK_WEI


async def check_claims(committee: Committee, events: list[ChainEvent]) -> None:
    """What nodes compute from the log is what the contract owes, to the wei, in every role, and pays once."""
    history = AllianceHistory(committee.domain, committee.handles[0].params)
    for event in events:
        history.apply(event, True)
    earnings = {chain.address: compute_earning(history, 0, chain.address) for chain in committee.chains}
    # Of 1,000 wei 400 to four trainers, 400 to two validators, none for agreement over one cohort, 33 a transaction.
    paid = sorted((e.trainer_reward, e.validator_reward, e.refunds) for e in earnings.values() if e is not None)
    assert [trainer for trainer, _, _ in paid] == [0, 0, 100, 100, 100, 100]
    assert [validator for _, validator, _ in paid] == [200, 200, 0, 0, 0, 0]
    senders = [chain.address for chain in committee.chains[:3]]
    assert [owner for owner, e in earnings.items() if e is not None and e.refunds == 33] == senders
    for chain, handle in zip(committee.chains, committee.handles, strict=True):
        earning, before = earnings[chain.address], (await chain.balances())[1]
        assert earning is not None
        assert await handle.rewards_wei([earning.record]) == (earning.total,)
        credit = await handle.credit_wei()  # the creator's: what nobody earned
        await handle.claim([earning.record])
        assert (await chain.balances())[1] - before == earning.total + credit
        assert await handle.rewards_wei([earning.record]) == (0,)
        with pytest.raises(TransactionFailedError) as again:
            await handle.claim([earning.record])
        assert again.value.reason == "NothingToClaim"
    record = dataclasses.replace(record_of(events), refund=1_000)
    with pytest.raises(ChainError):
        await committee.handles[0].rewards_wei([record])


def record_of(events: list[ChainEvent]) -> SettledRecord:
    """Of the only settled round."""
    (settled,) = [event for event in events if isinstance(event, RoundSettled)]
    return settled.record


async def test_round__refuses_losers_of_a_race_by_name(devnet: Devnet) -> None:
    """A node that cannot tell "somebody was faster" from a failure would retry for ever, or pay for nothing."""
    async with open_committee(devnet, small_params(), 6) as committee:
        await committee.join_all()
        first = committee.handles[0]
        state = await first.round_state()
        value = await beacon_value_of(devnet, state)
        arguments = await committee.seal_arguments(state, value)
        await seal_when_open(committee, arguments, state.opens_at_s)
        before = await committee.chains[1].balances()
        with pytest.raises(TransactionFailedError) as late:
            await committee.handles[1].seal_round(**arguments)  # type: ignore[arg-type]
        assert late.value.reason == "AlreadySealed"
        with pytest.raises(TransactionFailedError) as early:
            await committee.handles[1].void_round(state.round)
        assert early.value.reason == "DeadlineNotPassed"
        with pytest.raises(TransactionFailedError) as unknown:
            await committee.handles[1].void_round(state.round + 1)
        assert unknown.value.reason == "WrongRound"
        assert await committee.chains[1].balances() == before


async def test_race__costs_the_loser_a_name_even_when_both_are_under_way(devnet: Devnet) -> None:
    """Two leaders who pass the simulation at once: the loser's reverted transaction must be named as well."""
    async with open_committee(devnet, small_params(), 6) as committee:
        await committee.join_all()
        state = await committee.handles[0].round_state()
        value = await beacon_value_of(devnet, state)
        while (await committee.handles[0].round_state()).timestamp_s < state.opens_at_s:
            await trio.sleep(0.1)
        arguments = await committee.seal_arguments(state, value)
        reasons: list[str] = []

        async def seal(index: int) -> None:
            try:
                receipt = await committee.handles[index].seal_round(**arguments)  # type: ignore[arg-type]
                assert receipt.status == 1
                reasons.append("")
            except TransactionFailedError as error:
                reasons.append(error.reason)

        async with trio.open_nursery() as nursery:
            for index in range(4):
                nursery.start_soon(seal, index)
        assert sorted(reasons) == ["", *["AlreadySealed"] * 3]


async def test_members__leave_and_change_keys(devnet: Devnet) -> None:
    """A seat that cannot be left, or a key that cannot be replaced, holds a member's stake or secrets hostage."""
    async with open_committee(devnet, small_params(), 6) as committee:
        for index in range(5):
            await committee.join(index)
        leaver = committee.handles[4]
        await leaver.leave()  # no round runs: the seat is free at once
        await committee.join(5)
        assert len(await leaver.seats()) == 5
        keeper = committee.handles[0]
        with pytest.raises(TransactionFailedError) as refused:
            await keeper.register_key(mask_key(0, generation=1))
        assert refused.value.reason == "KeyAlreadyRegistered"
        events = await keeper.events(keeper.terms.created_block, (await committee.chains[0].client.head()).number)
        kinds = [type(event) for event in events]
        assert kinds == [*[SeatJoined] * 5, SeatRemoved, SeatJoined]


async def test_allowlist__admits_those_on_it_alone(devnet: Devnet) -> None:
    """A stranger could join with no proof or with a member's, or a member could not join at all."""
    async with open_committee(devnet, small_params(), 4, listed=3) as committee:
        assert committee.handles[3].terms.allowlist == tuple(sorted(chain.address for chain in committee.chains[:3]))
        for index in range(3):
            await committee.join(index)
        stranger = committee.handles[3]
        with pytest.raises(TransactionFailedError) as refused:
            await committee.join(3)
        assert refused.value.reason == "NotOnAllowlist"
        assert len(await stranger.seats()) == 3


async def test_create__refuses_another_list_than_its_root(devnet: Devnet) -> None:
    """An alliance would be created for owners that can never join it."""
    async with open_committee(devnet, small_params(), 1) as committee:
        chain = committee.chains[0]
        params = small_params(allowlist_root=compute_allowlist_root([chain.address]))
        with pytest.raises(TransactionFailedError) as refused:
            await chain.create_alliance(params, 3_000, "digits", [bytes([1]) * 20])
        assert refused.value.reason == "WrongAllowlist"


async def test_join__ends_at_its_deadline(own_devnet: Devnet) -> None:
    """Who was told that the circle is closed would find newcomers in it; the pool of an empty one would be locked."""
    client = RpcClient([own_devnet.rpc_url])
    deadline_s = (await client.head()).timestamp_s + 30
    async with open_committee(own_devnet, small_params(join_deadline_s=deadline_s), 2) as committee:
        await committee.join(0)
        await client.call("evm_increaseTime", hex(60))
        await client.call("evm_mine")
        client.close()
        with pytest.raises(TransactionFailedError) as refused:
            await committee.join(1)
        assert refused.value.reason == "JoinDeadlinePassed"
        await committee.handles[1].close()
        assert (await committee.handles[0].round_state()).phase is RoundPhase.CLOSED


async def test_running_round__queues_leavers_and_takes_keys(devnet: Devnet) -> None:
    """A fresh key during a round is what a dropped-out trainer needs before it can be elected again."""
    async with open_committee(devnet, small_params(), 6) as committee:
        await committee.join_all()
        handle = committee.handles[2]
        await handle.register_key(mask_key(2, generation=1))
        await handle.leave()
        seat = next(seat for seat in await handle.seats() if seat.owner == committee.chains[2].address)
        assert (seat.mask_key, seat.key_round, seat.previous_key) == (mask_key(2, 1), 0, mask_key(2))
        assert (seat.previous_key_round, seat.key_generation, seat.leaving) == (BEFORE_ROUND_ZERO, 2, True)
        head = await committee.chains[2].client.head()
        events = await handle.events(handle.terms.created_block, head.number)
        registered, left = events[-2:]
        assert isinstance(registered, KeyRegistered)
        assert (registered.seat, registered.round, registered.generation) == (seat.index, 0, 2)
        assert isinstance(left, SeatLeft)


async def test_create__refuses_broken_parameters_before_it_pays(devnet: Devnet) -> None:
    """Gas or escrow spent on an alliance that cannot run would be lost."""
    async with open_committee(devnet, small_params(), 1) as committee:
        chain = committee.chains[0]
        before = await chain.balances()
        with pytest.raises(ParameterError):
            await chain.create_alliance(small_params(threshold=2), 3_000, "digits")
        with pytest.raises(UsageError, match="reward pool"):
            await chain.create_alliance(small_params(), 2_999, "digits")
        with pytest.raises(UsageError, match="task name"):
            await chain.create_alliance(small_params(), 3_000, "")
        assert await chain.balances() == before


async def test_join__refuses_terms_that_were_not_agreed_to(devnet: Devnet) -> None:
    """A member must never stake more, or for other rules, than it said."""
    async with open_committee(devnet, small_params(), 1) as committee:
        handle = committee.handles[0]
        terms = {"peer_id": PEER_ID, "mask_key": mask_key(0), "weight": 1, "peer_signature": bytes(64)}
        with pytest.raises(UsageError, match="maximum loss"):
            await handle.join(**terms, params_hash=bytes(32), maximum_loss=1)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="parameters"):
            await handle.join(**terms, params_hash=bytes(32), maximum_loss=10**30)  # type: ignore[arg-type]


async def test_chain__resolves_and_lists_alliances(devnet: Devnet) -> None:
    """An ID must lead every newcomer to the same contract and terms, and a wrong one to a remedy."""
    async with open_committee(devnet, small_params(), 2) as committee:
        made, chain = committee.handles[0], committee.chains[1]
        resolved = await chain.alliance(made.domain.alliance)
        assert resolved.params == small_params()
        assert resolved.terms == made.terms
        assert (resolved.terms.task_name, resolved.terms.creator) == ("digits", committee.chains[0].address)
        assert made.terms in await chain.list_alliances()
        with pytest.raises(UsageError, match="no alliance"):
            await chain.alliance(10**6)
        assert await chain.beacon_network() == devnet.beacon_network()


async def test_open_chain__refuses_the_wrong_chain_or_factory(devnet: Devnet) -> None:
    """Transactions on the wrong chain cost money; reads from it cost privacy."""
    config = devnet.chain_config()
    async with open_committee(devnet, small_params(), 1) as committee:
        account = committee.accounts[0]
        with pytest.raises(UsageError, match="is on chain 84530"):
            async with open_chain(dataclasses.replace(config, chain_id=8453), account):
                pass
        with pytest.raises(UsageError, match="no contract at the factory"):
            async with open_chain(dataclasses.replace(config, factory=bytes(20)), account):
                pass
