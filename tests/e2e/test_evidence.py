"""Faults, strikes and leaving on a real network: what the chain shows, and that the others go on as if nothing was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from p2p_flock.alliance.evidence import Fault
from p2p_flock.chain.client import RpcClient
from p2p_flock.chain.events import LogReader
from p2p_flock.chain_events import (
    AddressesRegistered,
    ChainEvent,
    RoundOpened,
    RoundSettled,
    SeatReactivated,
    SeatRemoved,
    SeatSuspended,
    Slashed,
)
from p2p_flock.testnet.options import alliance_params
from tests.e2e.running import Testnet, running_testnet

E = TypeVar("E", bound=ChainEvent)
FAULTS = {"equivocate": Fault.EQUIVOCATION, "bad-share": Fault.BAD_SHARE, "bad-dealing": Fault.BAD_DEALING}
FAULT_SECONDS_MAX = 200.0  # the cheat is elected trainer within a few rounds, and a bad dealing costs one a timeout


class Log:
    """The alliance's log, read again whenever it is asked."""

    def __init__(self, document: dict[str, Any], client: RpcClient) -> None:
        self._reader = LogReader(client, bytes.fromhex(document["contract"][2:]))
        self._client = client
        self.owner_of = {node["name"]: bytes.fromhex(node["address"][2:]) for node in document["nodes"]}

    async def read(self) -> tuple[ChainEvent, ...]:
        return await self._reader.read(0, (await self._client.head()).number)

    async def wait_for(self, kind: type[E], owner: bytes, seconds_max: float) -> E:
        """The first event of a kind about an owner."""
        with trio.fail_after(seconds_max):
            while True:
                for event in await self.read():
                    if isinstance(event, kind) and event.owner == owner:  # type: ignore[attr-defined]
                        return event
                await trio.sleep(0.2)

    async def wait_for_end(self, seconds_max: float = 300.0) -> tuple[ChainEvent, ...]:
        """Everything up to the last round's settlement; the chain ends soon after it."""
        with trio.fail_after(seconds_max):
            while True:
                events = await self.read()
                if any(isinstance(event, RoundSettled) and event.closed for event in events):
                    return events
                await trio.sleep(0.2)

    async def wait_for_round(self, number: int, seconds_max: float = 120.0) -> None:
        with trio.fail_after(seconds_max):
            while not any(isinstance(e, RoundOpened) and e.round >= number for e in await self.read()):
                await trio.sleep(0.2)


@contextmanager
def reading_log(testnet: Testnet) -> Iterator[Log]:
    document = testnet.network()
    client = RpcClient([document["rpc_url"]])
    try:
        yield Log(document, client)
    finally:
        client.close()


def assert_goes_on(testnet: Testnet) -> None:
    """The run ends with every round settled on one model, and at least one was adopted.

    The launcher misses the rounds of which a node that was away holds no model: it took up a later one.
    """
    testnet.wait(400)
    rounds = testnet.read_report()["rounds"]
    assert any(entry["cohorts"][0]["accepted"] for entry in rounds[1:]), testnet.text()
    for entry in rounds:
        assert entry["outcome"] == "settled"
        assert set(entry["model_digest_by_node"].values()) - {None} == {entry["model_digest"]}
    assert None not in rounds[-1]["model_digest_by_node"].values()


def assert_one_model(testnet: Testnet, but: str, round_number: int) -> None:
    """All nodes but one closed this round with the same model."""
    honest = [node.name for node in testnet.nodes() if node.name != but]
    testnet.wait_until(lambda: all(round_number in n.closed for n in testnet.nodes() if n.name in honest), 60)
    assert len({n.closed[round_number].model_digest for n in testnet.nodes() if n.name in honest}) == 1


async def check_misbehaving(testnet: Testnet, nodes: int, kind: str) -> None:
    """One node cheats: it is slashed, and nobody else."""
    (cheating,) = [node["name"] for node in testnet.network()["nodes"] if node["byzantine"] == kind]
    with reading_log(testnet) as log:
        cheat = log.owner_of[cheating]
        slashed = await log.wait_for(Slashed, cheat, FAULT_SECONDS_MAX)
        removed = await log.wait_for(SeatRemoved, cheat, 60)
        opened = next(e for e in await log.read() if isinstance(e, RoundOpened) and e.at.block >= removed.at.block)
        await log.wait_for_round(opened.round + 1)
        events = await log.read()
    await trio.to_thread.run_sync(assert_one_model, testnet, cheating, opened.round)
    params = alliance_params(nodes, 1)
    assert slashed.fault == FAULTS[kind]
    assert slashed.amount == params.seat_stake * params.provable_slash_bps // 10_000
    assert slashed.beneficiary in set(log.owner_of.values()) - {cheat}
    assert [event for event in events if isinstance(event, Slashed)] == [slashed]
    assert opened.at.transaction == removed.at.transaction  # gone at the next OPEN
    assert opened.seat_count == nodes - 1
    assert opened.round in {event.round for event in events if isinstance(event, RoundSettled)}
    published = {event.owner for event in events if isinstance(event, AddressesRegistered)}
    assert published == set(log.owner_of.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "nodes"), [("bad-share", 8), ("bad-dealing", 8), ("equivocate", 8), ("equivocate", 6)]
)
async def test_evidence__of_every_fault_is_posted(tmp_path: Path, kind: str, nodes: int) -> None:
    """A fault that signed messages prove would void cohorts for nothing, or would cost somebody else."""
    with running_testnet(tmp_path, "--nodes", str(nodes), "--rounds", "40", "--byzantine", kind) as testnet:
        await trio.to_thread.run_sync(testnet.network)
        await check_misbehaving(testnet, nodes, kind)


@pytest.mark.slow
async def test_strikes__absent_member_is_suspended_and_comes_back(tmp_path: Path) -> None:
    """A dead member would cost every round a timeout for ever, or could never come back."""
    with running_testnet(tmp_path, "--nodes", "8", "--rounds", "14") as testnet:
        await trio.to_thread.run_sync(testnet.network)
        with reading_log(testnet) as log:
            await log.wait_for_round(2)
            testnet.kill("node3")
            away = log.owner_of["node3"]
            suspended = await log.wait_for(SeatSuspended, away, 200)
            removed = await log.wait_for(SeatRemoved, away, 60)
            gone_from = next(
                e.round for e in await log.read() if isinstance(e, RoundOpened) and e.at.block >= removed.at.block
            )
            await log.wait_for_round(gone_from + 2)
            testnet.restart("node3")
            back = await log.wait_for(SeatReactivated, away, 60)
            events = await log.wait_for_end()
        await trio.to_thread.run_sync(assert_goes_on, testnet)
    assert suspended.second_round > suspended.first_round >= 2
    assert not [event for event in events if isinstance(event, Slashed)]
    opened = {event.round: event for event in events if isinstance(event, RoundOpened)}
    settled = {event.round: event for event in events if isinstance(event, RoundSettled)}
    assert opened[gone_from].seat_count == 7
    params = alliance_params(8, 1)
    for number in (gone_from, gone_from + 1):  # nobody waits for it any more
        seconds = settled[number].at.timestamp_s - opened[number].at.timestamp_s
        assert seconds < params.train_seconds, f"round {number} took {seconds} s"
    assert opened[back.round].seat_count == 8
    took_part = [
        entry
        for entry in testnet.read_report()["rounds"][back.round :]
        if "node3" in entry["validators"] or "node3" in entry["cohorts"][0]["survivors"]
    ]
    assert took_part, "it has its seat again and does nothing with it"
