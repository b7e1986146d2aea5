"""Reorganisations of three blocks at every phase of real nodes' rounds: ``scripts/test slow``, or ``-m slow`` here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from p2p_flock.alliance.watching import EVIDENCE
from p2p_flock.chain.client import RpcClient
from p2p_flock.chain.events import LogReader
from p2p_flock.chain_events import RoundSettled, Slashed
from p2p_flock.store.journal import Journal
from p2p_flock.testnet.watch import RoundLog, Watch
from tests.e2e.running import Testnet, running_testnet
from tests.e2e.test_slow_testnet import assert_one_model, follow

pytestmark = pytest.mark.slow

NODES, ROUNDS, DEPTH = 6, 6, 3
RUN_SECONDS_MAX = 400
PHASES: tuple[tuple[str, Callable[[RoundLog], bool]], ...] = (
    ("opened", lambda _: True),
    ("sealed", lambda log: log.sealed is not None),
    ("committed", lambda log: bool(log.commits)),
    ("settled", lambda log: log.ended),
)


async def test_testnet__three_blocks_are_taken_back_at_every_phase(tmp_path: Path) -> None:
    """A round would hang or be settled on two models, or an honest node would sign two things and lose its stake."""
    with running_testnet(tmp_path, "--nodes", str(NODES), "--rounds", str(ROUNDS)) as testnet:
        document = await trio.to_thread.run_sync(testnet.network)
        client = RpcClient([document["rpc_url"]])
        contract = bytes.fromhex(document["contract"][2:])
        for number, (_, is_reached) in enumerate(PHASES, 1):
            watch = Watch(client, contract, from_block=0)  # one that knows nothing of what was taken back
            await follow(watch, lambda log: log.opened.round >= number and is_reached(log), RUN_SECONDS_MAX)  # noqa: B023
            await client.call("anvil_reorg", DEPTH, [])
        await trio.to_thread.run_sync(testnet.wait_until, lambda: is_done(testnet), RUN_SECONDS_MAX)
        assert_one_model(testnet, ROUNDS)
        events = await LogReader(client, contract).read(0, (await client.head()).number)
        assert sum(isinstance(event, RoundSettled) for event in events) == ROUNDS + 1
        assert not any(isinstance(event, Slashed) for event in events)
        client.close()
    assert_no_evidence(document)


def is_done(testnet: Testnet) -> bool:
    return all(ROUNDS in node.closed for node in testnet.nodes())


def assert_no_evidence(document: dict) -> None:  # type: ignore[type-arg]
    """Nobody saw two statements of one kind and round by one owner: whoever does journals the evidence."""
    for node in document["nodes"]:
        journal = Journal(Path(node["home"]) / "journal.sqlite")
        alliance = document["contract"][2:].lower()
        kinds = {record.kind for number in journal.rounds(alliance) for record in journal.records(alliance, number)}
        assert kinds
        assert EVIDENCE not in kinds
        journal.close()
