"""Evidence, addresses and leaving on a real chain: what nodes send is what the contract takes, and says."""

from __future__ import annotations

import pytest

from p2p_flock.alliance.evidence import Court, Equivocation, Fault, check_evidence
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.chain.client import RpcClient
from p2p_flock.chain.devnet_deployment import Devnet
from p2p_flock.chain.records import RoundPhase
from p2p_flock.chain_events import AddressesRegistered, SeatLeft, SeatRemoved, Slashed, StakeWithdrawn
from p2p_flock.crypto.signing import envelope_digest, recover_address, sign
from p2p_flock.daemon.evidence_calls import encode_evidence
from p2p_flock.errors import TransactionFailedError
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import Contribution, Envelope
from tests.chain.committee import Committee, open_committee, small_params


async def fold(committee: Committee) -> AllianceHistory:
    """The log, folded as nodes do."""
    handle = committee.handles[0]
    history = AllianceHistory(handle.domain, handle.params)
    head = (await committee.chains[0].client.head()).number
    for event in await handle.events(handle.terms.created_block, head):
        history.apply(event, True)
    return history


def say(committee: Committee, index: int, seat: int, body: bytes) -> Envelope:
    digest = envelope_digest(committee.domain, 1, 0, seat, body)
    return Envelope(1, 0, seat, body, sign(bytes(committee.accounts[index].key), digest))


async def test_evidence__is_taken_and_told(devnet: Devnet) -> None:
    """Nodes and contract would mean different things by the same evidence; the money would go astray."""
    async with open_committee(devnet, small_params(), 6) as committee:
        await committee.join_all()
        cheat, poster = committee.chains[2].address, committee.chains[4].address
        seat = (await committee.owners()).index(cheat)
        bodies = [encode(Contribution(bytes([n]) * 32, bytes(32))) for n in (1, 2)]
        evidence = Equivocation(*(say(committee, 2, seat, body) for body in bodies))
        court = Court(committee.domain, 3, lambda _: None, recover_address)
        assert check_evidence(court, evidence) == (cheat,)
        await committee.handles[4].slash(*encode_evidence(evidence))
        with pytest.raises(TransactionFailedError) as refused:
            await committee.handles[3].slash(*encode_evidence(evidence))
        assert refused.value.reason == "AlreadySlashed"
        history = await fold(committee)
        slashed = history.slashed[cheat]
        assert (slashed.fault, slashed.round, slashed.beneficiary) == (Fault.EQUIVOCATION, 0, poster)
        stake = committee.handles[0].params.seat_stake
        assert slashed.amount == stake // 10
        assert await committee.handles[4].credit_wei() == slashed.amount // 10
        assert (await committee.handles[2].stake()).stake_wei == stake - slashed.amount
        assert history.standing(cheat).state == "leaving"


async def test_addresses__are_told_to_all(devnet: Devnet) -> None:
    """Nodes could find each other through bootstrap nodes only."""
    async with open_committee(devnet, small_params(), 6) as committee:
        await committee.join_all()
        data = b"/ip4/198.51.100.7/tcp/4101\n/dns4/node.example/tcp/4101"
        await committee.handles[1].register_addresses(data)
        history = await fold(committee)
        assert history.addresses == {committee.chains[1].address: data}
        with pytest.raises(TransactionFailedError) as refused:
            await committee.handles[1].register_addresses(bytes(513))
        assert refused.value.reason == "AddressesTooLong"


async def test_leaving__needs_nobody_else(own_devnet: Devnet) -> None:
    """A member's stake would be lost with the other members: all of them are gone, only the chain is there."""
    params = small_params(unbonding_seconds=100_000, penalty_window_seconds=50_000)
    async with open_committee(own_devnet, params, 6) as committee:
        await committee.join_all()
        alone = committee.handles[5]
        owner = committee.chains[5].address
        await alone.leave()
        assert (await fold(committee)).standing(owner).state == "leaving"
        with pytest.raises(TransactionFailedError):
            await alone.withdraw()
        client = RpcClient([own_devnet.rpc_url])
        await client.call("evm_increaseTime", hex(1_000))
        await client.call("evm_mine")
        state = await alone.round_state()
        assert state.phase is RoundPhase.OPEN
        await alone.void_round(state.round)  # what upkeep does with a round that is stuck; its end removes the seat
        standing = (await fold(committee)).standing(owner)
        stake = await alone.stake()
        assert (standing.state, standing.release_at_s) == ("unbonding", stake.release_at_s)
        await client.call("evm_increaseTime", hex(100_001))
        await client.call("evm_mine")
        client.close()
        before = (await committee.chains[5].balances())[1]
        await alone.withdraw()
        assert (await committee.chains[5].balances())[1] - before == params.seat_stake
        history = await fold(committee)
        assert history.standing(owner).state == "withdrawn"
        assert history.joined_round(owner) is None
        head = (await committee.chains[0].client.head()).number
        about = [
            type(event)
            for event in await alone.events(alone.terms.created_block, head)
            if isinstance(event, SeatLeft | SeatRemoved | StakeWithdrawn | Slashed | AddressesRegistered)
        ]
        assert about == [SeatLeft, SeatRemoved, StakeWithdrawn]
