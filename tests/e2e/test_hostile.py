"""A hostile libp2p peer throws everything it has at every node of a running network: the rounds settle all the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import trio
from libp2p.peer.id import ID

from p2p_flock.daemon.config_file import load_config
from tests.e2e.running import Testnet, running_testnet
from tests.e2e.test_testnet import RUN_SECONDS_MAX, assert_all_settled_and_agreed
from tests.net.hostile import FAMILIES, Victim, throw_everything

pytestmark = pytest.mark.slow
NODES = 6
ROUNDS = 12


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
        thrown: Counter[tuple[ID, str]] = Counter()
        names = [node["name"] for node in testnet.network()["nodes"]]
        processes = {name: testnet.daemon_of(name) for name in names}
        async with trio.open_nursery() as nursery:
            for victim in victims:
                count = lambda name, victim=victim: thrown.update([(victim.peer_id, name)])  # noqa: E731 - one per victim
                nursery.start_soon(throw_everything, [victim], count)
            await trio.to_thread.run_sync(
                testnet.wait_until, lambda: any(ROUNDS - 1 in node.closed for node in testnet.nodes()), RUN_SECONDS_MAX
            )
            assert {name: testnet.daemon_of(name) for name in names} == processes, "a node has ended\n" + testnet.text()
            nursery.cancel_scope.cancel()
        exit_code = await trio.to_thread.run_sync(testnet.wait, RUN_SECONDS_MAX)
        assert exit_code == 0, testnet.text()
        assert_all_settled_and_agreed(testnet, NODES, ROUNDS)
    everything = {(victim.peer_id, name) for victim in victims for family in FAMILIES.values() for name in family}
    assert set(thrown) == everything, "the network was done before everything had been thrown at everybody"
