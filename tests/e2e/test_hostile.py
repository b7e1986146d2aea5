"""A hostile libp2p peer throws everything it has at every node of a running network: the rounds settle all the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import trio
from libp2p.peer.id import ID

from p2p_flock.daemon.config_file import load_config
from tests.e2e.running import Testnet, running_testnet
from tests.e2e.test_testnet import assert_all_settled_and_agreed
from tests.net.hostile import FAMILIES, Victim, throw_everything

pytestmark = pytest.mark.slow
NODES = 6
ROUNDS = 24  # some minutes: once everything, at everybody
RUN_SECONDS_MAX = 900


def victims_of(testnet: Testnet) -> list[Victim]:
    """Where the network's nodes listen."""
    victims = []
    for node in testnet.network()["nodes"]:
        settings = load_config(Path(node["home"]) / "config.toml", node["environment"]).net
        victims.append(Victim(settings.listen_host, settings.listen_port, ID.from_base58(node["peer_id"])))
    return victims


async def test_testnet__settles_under_everything_that_is_thrown(tmp_path: Path) -> None:
    """One stranger could stop an alliance: end its nodes, or cost them so much that no phase ends in time."""
    with running_testnet(tmp_path, "--nodes", str(NODES), "--rounds", str(ROUNDS)) as testnet:
        victims = await trio.to_thread.run_sync(victims_of, testnet)
        thrown: dict[str, Counter[str]] = {}
        names = [node["name"] for node in testnet.network()["nodes"]]
        processes = {name: testnet.daemon_of(name) for name in names}
        is_over = trio.Event()
        async with trio.open_nursery() as nursery:
            for name, victim in zip(names, victims, strict=True):
                thrown[name] = Counter()
                nursery.start_soon(throw_everything, victim, thrown[name], is_over.is_set)
            await trio.to_thread.run_sync(
                testnet.wait_until, lambda: any(ROUNDS - 1 in node.closed for node in testnet.nodes()), RUN_SECONDS_MAX
            )
            assert {name: testnet.daemon_of(name) for name in names} == processes, "a node has ended\n" + testnet.text()
            is_over.set()
        exit_code = await trio.to_thread.run_sync(testnet.wait, RUN_SECONDS_MAX)
        assert exit_code == 0, testnet.text()
        assert_all_settled_and_agreed(testnet, NODES, ROUNDS)
    everything = {name for family in FAMILIES.values() for name in family}
    left = {name: sorted(everything - counts.keys()) for name, counts in thrown.items()}
    assert not any(left.values()), f"the network was done before this had been thrown: {left}"
