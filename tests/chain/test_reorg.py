"""A reorganisation of three blocks after each step of a round, on a real chain that gives nothing back by itself.

Six members, each with its own connection, sender and feed, as six nodes have them; anvil drops what it takes back.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from eth_utils.crypto import keccak

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.chain.client import RpcClient, as_bytes, as_object
from p2p_flock.chain.devnet_deployment import Devnet
from p2p_flock.chain.records import ChainUpdate, RoundState
from p2p_flock.chain_events import (
    BallotsCommitted,
    ChainEvent,
    KeyRegistered,
    RoundOpened,
    RoundSealed,
    RoundSettled,
    SeatJoined,
)
from tests.chain.committee import Committee, mask_key, open_committee, small_params
from tests.chain.test_lifecycle import beacon_value_of, seal_when_open

DEPTH = 3
MEMBERS = 6


class Reader:
    """What a node keeps of its feed: the log, cut where the chain was rewound."""

    def __init__(self) -> None:
        self.log: list[ChainEvent] = []
        self.block = self.rewinds = 0

    def take(self, update: ChainUpdate) -> None:
        if update.rewound_to is not None:
            self.log = [event for event in self.log if event.at.block <= update.rewound_to]
            self.rewinds += 1
        self.log += update.events
        self.block = update.block

    def count(self, kind: type[ChainEvent]) -> int:
        return sum(isinstance(event, kind) for event in self.log)


class Net:
    """The committee, what its nodes read, and every raw transaction that left them."""

    def __init__(self, committee: Committee, control: RpcClient) -> None:
        self.committee, self.control = committee, control
        self.readers = [Reader() for _ in committee.handles]
        self.raws: list[str] = []

    def note(self, body: bytes) -> None:
        request = json.loads(body)
        calls = request if isinstance(request, list) else [request]
        self.raws += [call["params"][0] for call in calls if call["method"] == "eth_sendRawTransaction"]

    async def follow(self, index: int) -> None:
        handle = self.committee.handles[index]
        async for update in handle.follow(handle.terms.created_block):
            self.readers[index].take(update)

    async def until(self, done: Callable[[Reader], bool]) -> None:
        """Until every node has read what makes ``done`` true."""
        with trio.fail_after(30):
            while not all(done(reader) for reader in self.readers):
                await trio.sleep(0.02)

    async def strike(self, kind: type[ChainEvent], count: int = 1) -> None:
        """Take back three blocks, those with the newest logs of this kind among them; wait until they are there again,
        for every node."""
        await self.until(lambda reader: reader.count(kind) == count)
        newest = max(event.at.block for event in self.readers[0].log if isinstance(event, kind))
        rewinds = [reader.rewinds for reader in self.readers]
        head = await self.control.head()
        await self.control.call("anvil_reorg", head.number - newest + DEPTH, [])  # blocks go on coming
        with trio.fail_after(30):
            while any(reader.rewinds == before for reader, before in zip(self.readers, rewinds, strict=True)):
                await trio.sleep(0.02)
        await self.until(lambda reader: reader.count(kind) == count)
        safe = max(reader.log[-1].at.block for reader in self.readers) + 2 * DEPTH
        await self.until(lambda reader: reader.block >= safe)  # the next strike takes back the next step alone


@asynccontextmanager
async def open_net(devnet: Devnet) -> AsyncIterator[Net]:
    """Members that follow the chain, on which nothing is theirs yet."""
    params = small_params(round_count=2, train_seconds=60)
    async with open_committee(devnet, params, MEMBERS) as committee, trio.open_nursery() as nursery:
        control = RpcClient([devnet.rpc_url])
        net = Net(committee, control)
        for index, chain in enumerate(committee.chains):
            chain.client._record_sent = net.note
            nursery.start_soon(net.follow, index)
        created = committee.handles[0].terms.created_block
        await net.until(lambda reader: reader.block > created + 2 * DEPTH)  # no strike takes the alliance itself
        yield net
        nursery.cancel_scope.cancel()
        control.close()


async def run_struck_round(devnet: Devnet, net: Net) -> RoundState:
    """A round with a strike after each of its transactions; the state from which it was settled."""
    first, second, third = net.committee.handles[:3]
    value = await beacon_value_of(devnet, await first.round_state())
    state = await first.round_state()
    await seal_when_open(net.committee, await net.committee.seal_arguments(state, value), state.opens_at_s)
    await net.strike(RoundSealed)
    state = await first.round_state()
    commitments, signatures, ballots = await net.committee.ballots(state, value)
    positions, seal = tuple(range(len(ballots))), net.committee.seal_statement(state, value)
    await second.commit_round(seal=seal, positions=positions, commitments=commitments, signatures=signatures)
    await net.strike(BallotsCommitted)
    await third.settle_round(seal=seal, order=bytes(positions), unopened=(), positions=positions, ballots=ballots)
    await net.strike(RoundSettled)
    return state


async def test_reorg__at_every_step_loses_nothing_and_signs_nothing_twice(own_devnet: Devnet) -> None:
    """Joins, seals, commits, settlements would be gone with three blocks, or nodes would end with different books."""
    async with open_net(own_devnet) as net:
        await net.committee.join_all()
        await net.strike(SeatJoined, MEMBERS)
        await net.until(lambda reader: reader.count(RoundOpened) == 1)
        await net.committee.handles[5].register_key(mask_key(5, 1))
        await net.strike(KeyRegistered)
        await run_struck_round(own_devnet, net)
        await net.until(lambda reader: reader.count(RoundOpened) == 2)
        await check_books(net)
        await check_transactions(net)


async def check_books(net: Net) -> None:
    """Every node's log and fold are those of one that reads the chain for the first time."""
    handle = net.committee.handles[0]
    head = await net.control.head()
    fresh = await handle.events(handle.terms.created_block, head.number)
    kinds = (SeatJoined, KeyRegistered, RoundSealed, BallotsCommitted, RoundSettled)
    assert [sum(isinstance(event, kind) for event in fresh) for kind in kinds] == [MEMBERS, 1, 1, 1, 1]
    for reader in net.readers:
        assert [event for event in reader.log if event.at.block <= head.number] == list(fresh)
    expected, found = (fold(handle.domain, handle.params, log) for log in (fresh, net.readers[-1].log))
    assert found.seats == expected.seats
    assert [record.settled for record in found.rounds] == [record.settled for record in expected.rounds]


def fold(domain, params, log) -> AllianceHistory:  # type: ignore[no-untyped-def]
    history = AllianceHistory(domain, params)
    for event in log:
        history.apply(event, True)
    return history


async def check_transactions(net: Net) -> None:
    """No node signed two calls of one function to the alliance, whatever the chain did; what was sent again is the
    same transaction, byte for byte, or costs more and says the same."""
    said: dict[tuple[str, bytes], set[bytes]] = defaultdict(set)
    sent_again = 0
    contract = net.committee.handles[0].contract
    for raw in set(net.raws):
        sent_again += net.raws.count(raw) > 1
        answer = await net.control.call("eth_getTransactionByHash", "0x" + keccak(bytes.fromhex(raw[2:])).hex())
        if answer is None or as_bytes(as_object(answer)["to"]) != contract:
            continue  # a version that another one replaced, or FLOCK's approval
        data = as_bytes(as_object(answer)["input"])
        said[str(as_object(answer)["from"]), data[:4]].add(data)
    assert sent_again >= 5  # joins, the key, the seal, the commits, the settlement
    assert len(said) == MEMBERS + 4
    assert all(len(calls) == 1 for calls in said.values())
