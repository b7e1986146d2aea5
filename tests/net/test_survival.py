"""A mesh that has met needs no bootstrap node: all of them are killed, and nodes restart and newcomers join without."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from p2p_flock.errors import ConfigError
from p2p_flock.net.adapter import DhtTimes, Net, NetConfig, open_net
from p2p_flock.net.bootstrap_file import read_bootstrap_file
from tests.net.nodes import make_config, until
from tests.net.test_dht import silence_exchange
from tests.net.test_net import open_child

REPOSITORY = Path(__file__).parents[2]
QUICK = DhtTimes(poor_s=0.1, first_s=0.2, retry_s=0.3, again_s=900.0, check_s=0.2)
PATIENT_SECONDS = 30.0
ALLIANCE = "an alliance"
DEAD = (
    "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWSahP5pFRCEfaziPEba7urXGeif6T1y8jmodzdFUvzBHj",
    "/ip4/127.0.0.1/tcp/2/p2p/12D3KooWFbPuRiujiuSW77o6AWqzsw46udiBtzDgb3tsbQMFNhGR",
)


@asynccontextmanager
async def open_mesh(count: int) -> AsyncIterator[tuple[list[NetConfig], list[Net], AsyncExitStack]]:
    """Members that met through two bootstrap nodes, half of them through each, which are gone by now."""
    configs, members = [], []
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        first, end_first = await nursery.start(serve, make_config())
        second, end_second = await nursery.start(serve, make_config(bootstrap=first.addresses))
        for number in range(count):
            bootstrap = ((second if number % 2 else first).addresses[0], *DEAD)
            configs.append(make_config(bootstrap=bootstrap, dht_times=QUICK))
            members.append(await stack.enter_async_context(open_net(configs[-1])))
            members[-1].seek(ALLIANCE)
        both = {first.peer_id, second.peer_id}
        await until(lambda: all(others(members, net) | both <= net.connected() for net in members), PATIENT_SECONDS)
        end_first.cancel()
        end_second.cancel()
        await until(lambda: all(net.connected() == others(members, net) for net in members))
        yield configs, members, stack


async def serve(
    config: NetConfig, task_status: trio.TaskStatus[tuple[Net, trio.CancelScope]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Be a bootstrap node until the scope is cancelled."""
    with trio.CancelScope() as scope:
        async with open_net(config) as net:
            task_status.started((net, scope))
            await trio.sleep_forever()


def others(members: list[Net], net: Net) -> frozenset[str]:
    """All but one."""
    return frozenset(one.peer_id for one in members) - {net.peer_id}


async def test_survival__all_bootstrap_nodes_are_killed() -> None:
    """A mesh would fall apart with the nodes through which it met, if they die without a word."""
    async with (
        open_child() as (first, address),
        open_child(address) as (second, other),
        open_net(make_config(bootstrap=(address, other))) as one,
        open_net(make_config(bootstrap=(other,))) as two,
        open_net(make_config(bootstrap=(address,))) as three,
    ):
        members = [one, two, three]
        await until(lambda: all(len(net.connected()) == 4 for net in members), PATIENT_SECONDS)
        for process_id in (first, second):
            os.kill(process_id, signal.SIGKILL)
        await until(lambda: all(net.connected() == others(members, net) for net in members), PATIENT_SECONDS)


async def test_survival__newcomer_knows_one_member() -> None:
    """Whoever comes after the bootstrap nodes are gone could not join."""
    async with open_mesh(6) as (_, members, stack):
        config = make_config(bootstrap=members[3].addresses, dht_times=QUICK)
        newcomer = await stack.enter_async_context(open_net(config))
        await until(lambda: newcomer.connected() == others(members, newcomer), PATIENT_SECONDS)


async def test_survival__newcomer_has_a_contact_of_the_dht_only() -> None:
    """The same where the contact tells nobody whom it is connected with."""
    async with open_mesh(6) as (_, members, stack):
        contact = await stack.enter_async_context(
            open_net(make_config(bootstrap=members[0].addresses, dht_times=QUICK))
        )
        silence_exchange(contact)
        await until(lambda: contact.connected() == others(members, contact), PATIENT_SECONDS)
        newcomer = await stack.enter_async_context(open_net(make_config(bootstrap=contact.addresses, dht_times=QUICK)))
        newcomer.seek(ALLIANCE)
        await until(lambda: others(members, newcomer) <= newcomer.connected(), PATIENT_SECONDS)


async def test_survival__member_restarts_from_its_peer_book() -> None:
    """After the bootstrap nodes are gone each restart would lose a member."""
    async with open_mesh(4) as (configs, members, _):
        # Connected peers have not told their addresses yet; a node that dies before that has nobody in its book.
        await until(lambda: others(members, members[0]) <= members[0].peer_book_snapshot().keys())
        config = replace(make_config(), bootstrap=configs[0].bootstrap, peer_book=members[0].peer_book_snapshot())
        async with open_net(config) as back:
            await until(lambda: others(members, back) <= back.connected(), PATIENT_SECONDS)


async def test_survival__member_joins_by_what_the_chain_says() -> None:
    """Addresses on chain would be of no use."""
    async with open_mesh(4) as (_, members, stack):
        newcomer = await stack.enter_async_context(open_net(make_config(bootstrap=DEAD, dht_times=QUICK)))
        stale = "/ip4/127.0.0.1/tcp/3"
        newcomer.add_peer(members[0].peer_id, [stale])
        await until(lambda: newcomer._discovery.book._entries[members[0].peer_id].failure_count > 0)
        newcomer.add_peer(members[0].peer_id, ["nonsense", *members[0].dialable_addresses, stale])
        await until(lambda: newcomer.connected() == others(members, newcomer), PATIENT_SECONDS)


async def test_survival__member_joins_by_multicast() -> None:
    """Nodes of one network whose bootstrap nodes are all dead would not find each other."""
    async with (
        open_net(make_config(bootstrap=DEAD, mdns=True)) as one,
        open_net(make_config(bootstrap=DEAD, mdns=True)) as two,
    ):
        await until(lambda: one.peer_id in two.connected())


# The list of bootstrap nodes.


def test_bootstrap_file__the_one_that_we_ship_is_read() -> None:
    """Whoever copies our example would not get a node started."""
    addresses = read_bootstrap_file(REPOSITORY / "bootstrap" / "peers.toml")
    assert len(addresses) == 2 and all("/p2p/" in address for address in addresses)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bootstrap = 1",
        "bootstrap = [1]",
        "bootstrap = ['/ip4/127.0.0.1/tcp/1']",
        "bootstrap = ['/ip4/127.0.0.1/tcp/1/p2p/nonsense']",
        "bootstrap = []\nbotstrap = []",
        "bootstrap = [",
        "#" * 70_000,
        f"bootstrap = {['x'] * 65}",
        "\udc80",
    ],
)
def test_bootstrap_file__bad_ones_are_named(text: str, tmp_path: Path) -> None:
    """A mistyped list would leave a node alone without a word."""
    path = tmp_path / "peers.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=r"peers\.toml"):
        read_bootstrap_file(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_bootstrap_file(tmp_path / "missing")
