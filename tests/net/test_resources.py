"""Floods against a live node on loopback: it stays within its bounds, bans who floods, and still serves its own peers.

Each attack is one of `p2p_flock.bench.attackers`, bounded in count and time; ``scripts/bench attacks`` measures the
same ones at length. In each test an honest member talks to the node before and after, over one connection.
"""

from __future__ import annotations

import hashlib
import logging
import os
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest
import trio
from libp2p.peer.id import ID

from p2p_flock.bench import attackers
from p2p_flock.bench.attackers import Attack, Target, open_hostile
from p2p_flock.net import admission, limits, muxer, streams
from p2p_flock.net.adapter import Net, open_net
from p2p_flock.net.framing import STREAM_FAILURES, encode_frame
from p2p_flock.net.limits import Rate
from p2p_flock.net.streams import MESSAGE_PROTOCOL
from p2p_flock.types import Verdict
from tests.net.nodes import make_config, until

CONTENT = bytes(range(256)) * 1024
DIGEST = hashlib.sha256(CONTENT).digest()
TOPIC = "t"
ATTACK_SECONDS = 2.0  # where nothing ends it sooner
BAN_PATIENCE_SECONDS = 60.0
MEMORY_BYTES_MAX = 64 << 20  # that one attacker may cost, with attacker and node in one process


@dataclass
class Scene:
    """A node, a member that it wants, and what an attacker needs to know."""

    node: Net
    member: Net
    target: Target

    def bans(self) -> list[str]:
        return [peer.to_base58() for peer in self.node._messenger._host.swarm.bans.until]

    async def serves_its_member(self) -> None:
        """A message there and back, and a pull, over a connection that the attack must not have cost."""
        assert self.node.peer_id in self.member.connected()
        word = os.urandom(16)
        with trio.fail_after(20.0):
            await self.member.send(self.node.peer_id, word)
            assert (await self.member.messages.receive()).data == word
        assert await self.member.fetch([DIGEST], [self.node.peer_id], len(CONTENT), 20.0) == {DIGEST: CONTENT}


@asynccontextmanager
async def open_scene() -> AsyncIterator[Scene]:
    """The node echoes its member's messages, and drops all others as the daemon does."""
    contents = {DIGEST: CONTENT}
    async with open_net(make_config(blob_source=contents.get)) as node, trio.open_nursery() as nursery:
        await node.subscribe(TOPIC, lambda _author, _data: Verdict.ACCEPT)
        async with open_net(make_config(bootstrap=(node.addresses[0],))) as member:
            node.add_peer(member.peer_id, [])

            async def echo() -> None:
                async for message in node.messages:
                    if message.peer_id == member.peer_id:
                        await node.send(member.peer_id, message.data)

            nursery.start_soon(echo)
            await until(lambda: member.peer_id in node.connected() and node.peer_id in member.connected())
            yield Scene(node, member, Target(node.addresses[0], topic=TOPIC, digests=(DIGEST,)))
        nursery.cancel_scope.cancel()


async def attack(scene: Scene, work: Attack, is_enough: Callable[[], bool] | None = None) -> str:
    """Let an attacker work for a while, or until it is enough; its peer ID."""
    async with open_hostile(scene.target) as hostile, trio.open_nursery() as nursery:
        with trio.move_on_after(ATTACK_SECONDS if is_enough is None else BAN_PATIENCE_SECONDS):
            nursery.start_soon(work, hostile, scene.target)
            while is_enough is None or not is_enough():
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
        return hostile.host.get_id().to_base58()


def memory_peak_bytes() -> int:
    """Of this process, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize(
    "work",
    [
        attackers.stream_flood,
        attackers.frame_flood,
        attackers.unread,
        attackers.gossip_valid,
        attackers.messages,
    ],
    ids=lambda work: str(work.__name__),
)
async def test_flood__is_banned_and_costs_no_one_else(work: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stranger could keep the node's processor busy, or fill its memory, for ever."""
    monkeypatch.setattr(muxer, "SMALL_FRAMES", Rate(200.0, 2000.0))  # attacker and node share one processor here
    async with open_scene() as scene:
        scene.target.seed = os.urandom(32)
        await scene.serves_its_member()
        before = memory_peak_bytes()
        flooder = await attack(scene, work, lambda: bool(scene.bans()))
        assert scene.bans() == [flooder]
        assert memory_peak_bytes() - before < MEMORY_BYTES_MAX
        await scene.serves_its_member()
        async with open_hostile(scene.target) as again:
            assert not await again.connect(), "a banned peer was let in again at once"


@pytest.mark.parametrize(
    "work",
    [
        attackers.half_open,
        attackers.garbage,
        attackers.slow_reader,
        attackers.slow_writer,
        attackers.oversize,
        attackers.same_content,
        attackers.unknown_contents,
        attackers.gossip_foreign,
        attackers.dht_questions,
        attackers.identify,
    ],
    ids=lambda work: str(work.__name__),
)
async def test_flood__within_its_limits_costs_no_one_else(work: Attack) -> None:
    """What no single rule forbids would still starve the alliance."""
    async with open_scene() as scene:
        await scene.serves_its_member()
        before = memory_peak_bytes()
        await attack(scene, work)
        assert scene.target.done.total() > 0
        assert memory_peak_bytes() - before < 2 * MEMORY_BYTES_MAX  # twice: the attacker's own is in it
        await scene.serves_its_member()


async def test_identities__a_crowd_leaves_room_for_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes with many identities could keep the alliance out."""
    monkeypatch.setattr(admission, "STRANGERS_PER_ADDRESS_MAX", 4)
    async with open_scene() as scene, AsyncExitStack() as crowd:
        let_in = [await (await crowd.enter_async_context(open_hostile(scene.target))).connect() for _ in range(7)]
        assert let_in == [True] * 4 + [False] * 3
        await scene.serves_its_member()
        async with open_net(make_config(bootstrap=(scene.node.addresses[0],))) as newcomer:
            scene.node.add_peer(newcomer.peer_id, [])  # it has joined
            await until(lambda: newcomer.peer_id in scene.node.connected(), 30.0)


async def test_messages__of_a_member_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member whose every word is valid could keep all others busy by talking without pause."""
    monkeypatch.setattr(limits, "MESSAGES_OF_PREFERRED", Rate(50.0, 100.0))
    monkeypatch.setattr(streams, "MESSAGES_OF_PREFERRED", Rate(50.0, 100.0))
    monkeypatch.setattr(streams, "MESSAGES_HELD_BACK", Rate(0.1, 1.0))
    async with open_scene() as scene:
        scene.target.seed = os.urandom(32)
        async with open_hostile(scene.target) as hostile:
            flooder = hostile.host.get_id().to_base58()
        scene.node.add_peer(flooder, [])
        await attack(scene, attackers.messages, lambda: bool(scene.bans()))
        assert scene.bans() == [flooder]
        await scene.serves_its_member()


async def test_messages__room_is_taken_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers that begin large messages and never end them would fill the memory together."""
    monkeypatch.setattr(streams, "INBOX_BYTES_OF_STRANGERS_MAX", 2_500_000)
    async with open_scene() as scene, open_hostile(scene.target) as one, open_hostile(scene.target) as other:
        begun = 0
        for hostile in (one, other):
            assert await hostile.connect()
            for _ in range(2):
                stream = await hostile.open(MESSAGE_PROTOCOL)
                await stream.write((1 << 20).to_bytes(4, "big") + bytes(100_000))
                begun += 1
        messenger = scene.node._messenger
        await until(lambda: messenger._reading_bytes.total() > 0)
        assert begun == 4
        assert messenger._reading_bytes.total() <= 2_500_000
        await scene.serves_its_member()


async def test_messages__without_room_are_skipped_and_later_ones_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was busy for a while would lose the stream, and with it all that was under way."""
    monkeypatch.setattr(streams, "INBOX_SECONDS_MAX", 0.1)
    async with open_scene() as scene, open_hostile(scene.target) as hostile:
        assert await hostile.connect()
        stream = await hostile.open(MESSAGE_PROTOCOL)
        monkeypatch.setattr(streams, "INBOX_BYTES_OF_STRANGERS_MAX", 1000)
        await stream.write(encode_frame(bytes(150_000)))
        messenger = scene.node._messenger
        await until(lambda: messenger.dropped_count == 1)
        taken = messenger._inbox_bytes.total()
        await stream.write(encode_frame(b"small"))
        with trio.move_on_after(0.2), suppress(*STREAM_FAILURES):
            await stream.read(1)
        assert hostile.is_connected
        assert (messenger.dropped_count, taken) == (1, 0)


async def test_cut_off__strangers_lose_the_connection_and_members_do_not() -> None:
    """An honest member of another version would lose its contents too, or a stranger would stay for ever."""
    async with open_scene() as scene, open_hostile(scene.target) as hostile:
        assert await hostile.connect()
        scene.node.cut_off(hostile.host.get_id().to_base58(), 60.0)
        scene.node.cut_off(scene.member.peer_id, 60.0)
        await until(lambda: not hostile.is_connected)
        assert scene.bans() == [hostile.host.get_id().to_base58()]
        assert await scene.member.fetch([DIGEST], [scene.node.peer_id], len(CONTENT), 20.0) == {DIGEST: CONTENT}


async def test_bans__of_many_identities_bar_the_address() -> None:
    """Identities are free: a banned attacker would come back at once under another name."""
    async with open_scene() as scene:
        refused = 0
        for _ in range(int(limits.BANS_PER_ADDRESS.burst) + 3):
            async with open_hostile(replace(scene.target, seed=os.urandom(32))) as hostile:
                if await hostile.connect():
                    scene.node.cut_off(hostile.host.get_id().to_base58(), 60.0)
                else:
                    refused += 1
        assert refused == 2
        await scene.serves_its_member()


async def test_peers__that_are_gone_leave_nothing_behind() -> None:
    """Every identity that ever knocked would stay in memory."""
    async with open_scene() as scene:
        swarm = scene.node._messenger._host.swarm
        for _ in range(5):
            async with open_hostile(replace(scene.target, seed=os.urandom(32))) as hostile:
                assert await hostile.connect()
        await until(lambda: scene.node.connected() == {scene.member.peer_id})
        known = {peer.to_base58() for peer in swarm.peerstore.peer_ids()}
        assert known <= {scene.node.peer_id, scene.member.peer_id}


async def test_log__a_flood_of_bans_is_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is banned again and again under new names would fill the disk."""
    async with open_scene() as scene:
        caplog.set_level(logging.INFO)
        swarm = scene.node._messenger._host.swarm
        for _ in range(100):
            swarm.ban(ID(os.urandom(34)), "test")
        assert len([line for line in caplog.records if "banning" in line.getMessage()]) <= 20
        assert len(swarm.bans.until) == 100
