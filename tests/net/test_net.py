"""The network as the daemon uses it: messages, gossip, peers that come and go, the account of what was said."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from libp2p.network.stream.exceptions import StreamEOF, StreamReset
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2p_flock.errors import ConfigError, NetError
from p2p_flock.net.adapter import Net, NetConfig, open_net
from p2p_flock.net.discovery import PeerDown, PeerUp
from p2p_flock.net.muxer import Liveness
from p2p_flock.net.streams import INBOUND_STREAMS_PER_PEER_MAX, MESSAGE_PROTOCOL, OUTBOX_MESSAGES_MAX
from p2p_flock.types import Verdict
from tests.net.nodes import ask_echo, dial, make_config, open_hardened, open_pair, until

STRANGER = "12D3KooWSahP5pFRCEfaziPEba7urXGeif6T1y8jmodzdFUvzBHj"
QUICK = Liveness(interval_s=0.3, timeout_s=0.9)


def accept(_author: str, _data: bytes) -> Verdict:
    """Let everything pass."""
    return Verdict.ACCEPT


def host_of(net: Net) -> ID:
    """The libp2p form of a node's ID."""
    return ID.from_base58(net.peer_id)


# Messages.


async def test_messages__arrive_in_order_both_ways() -> None:
    """Two protocol messages would overtake each other or be torn."""
    async with open_pair() as (one, two):
        texts = [os.urandom(size) for size in (0, 1, 1000, 1 << 20, 5, 300_000)]
        for text in texts:
            assert await one.send(two.peer_id, text)
            assert await two.send(one.peer_id, text[::-1])
        with trio.fail_after(5.0):
            for text in texts:
                message = await two.messages.receive()
                assert (message.peer_id, message.data) == (one.peer_id, text)
                assert (await one.messages.receive()).data == text[::-1]


async def test_messages__cancelled_sender_tears_nothing() -> None:
    """A deadline around `send` would cut a message, or the connection, in two."""
    async with open_pair() as (one, two):
        for number in range(50):
            with trio.move_on_after(0):
                await one.send(two.peer_id, bytes([number]) * 50_000)
        await one.send(two.peer_id, b"last")
        with trio.fail_after(5.0):
            while (message := await two.messages.receive()).data != b"last":
                assert message.data == message.data[:1] * 50_000


async def test_messages__queue_to_an_absent_peer_is_bounded() -> None:
    """A peer that never comes would fill the memory."""
    async with open_net(make_config()) as net, open_hardened() as absent:
        peer_id = absent.get_id().to_base58()
        taken = [await net.send(peer_id, b"hello") for _ in range(OUTBOX_MESSAGES_MAX + 10)]
        assert taken == [True] * OUTBOX_MESSAGES_MAX + [False] * 10
        assert net.dropped_counts["messages"] == 10


async def test_messages__to_oneself_arrive() -> None:
    """Two seats of one owner could not talk."""
    async with open_net(make_config()) as net:
        assert await net.send(net.peer_id, b"hello")
        with trio.fail_after(1.0):
            message = await net.messages.receive()
        assert (message.peer_id, message.data) == (net.peer_id, b"hello")


async def test_messages__wait_for_the_connection() -> None:
    """What was said in the second before a peer came would be lost."""
    config = make_config()
    async with open_net(make_config()) as one:
        async with open_net(config) as gone:
            peer_id = gone.peer_id
        await one.send(peer_id, b"early")
        async with open_net(replace(config, bootstrap=one.addresses)) as two:
            with trio.fail_after(5.0):
                assert (await two.messages.receive()).data == b"early"


@pytest.mark.parametrize("bad", [("", b"x"), ("nonsense!", b"x"), ("12D3", b"x"), (None, bytes((1 << 20) + 1))])
async def test_messages__misuse_is_an_error(bad: tuple[str | None, bytes]) -> None:
    """A wrong peer ID or an oversize message would vanish silently."""
    async with open_net(make_config()) as net:
        with pytest.raises(NetError):
            await net.send(STRANGER if bad[0] is None else bad[0], bad[1])


@pytest.mark.parametrize("frame", [b"\xff\xff\xff\xff", b"\x00\x10\x00\x01" + bytes(100)], ids=["4 GiB", "1 MiB + 1"])
async def test_messages__oversize_frame_costs_its_stream_only(frame: bytes) -> None:
    """A stranger could announce gigabytes, or lose us a connection with an innocent stream on it."""
    async with open_net(make_config()) as victim, open_hardened() as sender:
        address, _, _ = victim.addresses[0].partition("/p2p/")
        await sender.swarm.dial_addr(Multiaddr(address), host_of(victim))
        stream = await sender.new_stream(host_of(victim), [MESSAGE_PROTOCOL])
        await stream.write(frame)
        with trio.fail_after(3.0), pytest.raises((StreamReset, StreamEOF)):
            await stream.read(1)
        good = await sender.new_stream(host_of(victim), [MESSAGE_PROTOCOL])
        await good.write(b"\x00\x00\x00\x02ok")
        with trio.fail_after(3.0):
            assert (await victim.messages.receive()).data == b"ok"
        spare = [await sender.new_stream(host_of(victim), [MESSAGE_PROTOCOL]) for _ in range(4)]
        with trio.fail_after(3.0), pytest.raises((StreamReset, StreamEOF)):
            await spare[INBOUND_STREAMS_PER_PEER_MAX].read(1)


async def test_messages__loud_peer_does_not_crowd_out_the_others() -> None:
    """One member could silence the rest by talking."""
    async with open_pair() as (loud, listener), open_net(make_config(bootstrap=listener.addresses)) as quiet:
        await until(lambda: quiet.peer_id in listener.connected())
        for _ in range(250):
            await loud.send(listener.peer_id, bytes(30_000))
        await trio.testing.wait_all_tasks_blocked(0.05)
        await quiet.send(listener.peer_id, b"quiet")
        with trio.fail_after(5.0):
            before = 0
            while (await listener.messages.receive()).peer_id != quiet.peer_id:
                before += 1
        assert before < 200


# Gossip.


async def test_gossip__reaches_subscribers_and_not_the_author() -> None:
    """Hints would not spread."""
    async with open_pair() as (one, two), open_net(make_config(bootstrap=one.addresses)) as three:
        for net in (one, two, three):
            await net.subscribe("t", accept)
        await until(lambda: all(len(net.subscribers("t")) == 2 for net in (one, two, three)))
        await one.publish("t", b"hint")
        with trio.fail_after(5.0):
            for net in (two, three):
                hint = await net.gossip.receive()
                assert (hint.topic, hint.peer_id, hint.data) == ("t", one.peer_id, b"hint")
        with pytest.raises(trio.WouldBlock):
            one.gossip.receive_nowait()
        with pytest.raises(NetError):
            await one.publish("t", bytes(64 * 1024 + 1))


async def test_gossip__rejected_message_disconnects_its_sender() -> None:
    """A peer could send invalid messages for ever."""
    async with open_pair() as (liar, judge):
        await liar.subscribe("t", accept)
        await judge.subscribe("t", lambda _author, data: Verdict.REJECT if data == b"lie" else Verdict.IGNORE)
        await until(lambda: bool(liar.subscribers("t")))
        await liar.publish("t", b"not yet")
        await liar.publish("t", b"lie")
        await until(lambda: liar.peer_id not in judge.connected())
        with pytest.raises(trio.WouldBlock):
            judge.gossip.receive_nowait()


# Peers that come and go.


async def test_connections__three_hundred_in_a_row() -> None:
    """A node would refuse everybody after as many visitors as it has slots."""
    async with open_hardened() as host, open_hardened() as visitor:
        for _ in range(300):
            await dial(visitor, host)
            await visitor.swarm.get_connection(host.get_id()).muxed_conn.close()
        await until(lambda: not host.swarm.is_connected(visitor.get_id()))
        await dial(visitor, host)
        assert await ask_echo(visitor, host.get_id())
        assert host.swarm._inbound_limiter.borrowed_tokens == 1


async def test_connections__simultaneous_dial_leaves_a_usable_one() -> None:
    """Two members that dial each other at once could close each other's connection."""
    async with open_net(make_config()) as one, open_net(make_config()) as two:
        one.add_peer(two.peer_id, [two.addresses[0].partition("/p2p/")[0]])
        two.add_peer(one.peer_id, [one.addresses[0].partition("/p2p/")[0]])
        one._discovery.book.add(two.peer_id, [], 0.0)
        await until(lambda: bool(one.connected()) and bool(two.connected()))
        await one.send(two.peer_id, b"a")
        await two.send(one.peer_id, b"b")
        with trio.fail_after(3.0):
            assert (await two.messages.receive()).data == b"a"
            assert (await one.messages.receive()).data == b"b"


async def test_connections__both_ways_at_once_are_both_kept() -> None:
    """The same without the courtesy of the peer book: the dials really cross."""
    async with open_hardened() as one, open_hardened() as two:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial, one, two)
            nursery.start_soon(dial, two, one)
        await until(lambda: len(one.swarm.get_connections()) == len(two.swarm.get_connections()) == 2)
        await dial(one, two)  # a third, from a side that has one already, replaces it
        await until(lambda: len(one.swarm.get_connections()) == len(two.swarm.get_connections()) == 2)


async def test_bootstrap__address_without_peer_id_is_an_error() -> None:
    """Anyone who answers at the address would be taken for the bootstrap node."""
    with pytest.raises(ConfigError, match="/p2p/"):
        async with open_net(make_config(bootstrap=("/ip4/127.0.0.1/tcp/1",))):
            pass


@asynccontextmanager
async def open_child(bootstrap: str = "", content_bytes: int = 0, byte: int = 0) -> AsyncIterator[tuple[int, str]]:
    """A node in another process: its process ID and multiaddr. It must be silent on standard error."""
    command = [sys.executable, "-m", "tests.net.child", bootstrap, str(content_bytes), str(byte)]
    errors, write_end = os.pipe()
    process = await trio.lowlevel.open_process(
        command, stdout=-1, stderr=write_end, cwd=Path(__file__).parents[2], stdin=None
    )
    os.close(write_end)
    assert process.stdout is not None
    try:
        with trio.fail_after(20.0):
            line = b""
            while b"\n" not in line:
                line += await process.stdout.receive_some()
        yield process.pid, line.split(b"\n")[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await process.stdout.aclose()
        with os.fdopen(errors, "rb") as file:
            assert file.read() == b""


async def next_event(net: Net, kind: type[PeerUp] | type[PeerDown], timeout_s: float) -> float:
    """Seconds until the event; others are skipped."""
    began = trio.current_time()
    with trio.fail_after(timeout_s):
        while not isinstance(await net.peer_events.receive(), kind):
            pass
    return trio.current_time() - began


async def test_liveness__killed_and_stopped_peers_are_noticed() -> None:
    """A round would wait its whole deadline for a peer that is gone; a stopped one was never noticed at all."""
    async with open_net(make_config(liveness=QUICK)) as net, open_child(net.addresses[0]) as (process_id, _):
        await next_event(net, PeerUp, 5.0)
        os.kill(process_id, signal.SIGSTOP)
        assert await next_event(net, PeerDown, 3.0) > 0.5
        os.kill(process_id, signal.SIGCONT)
        await next_event(net, PeerUp, 5.0)
        os.kill(process_id, signal.SIGKILL)
        assert await next_event(net, PeerDown, 1.0) < 1.0


async def test_liveness__blocked_loop_does_not_blame_its_peers() -> None:
    """A node that was itself stopped would drop all its peers."""
    config = make_config(liveness=Liveness(interval_s=0.15, timeout_s=0.45))
    async with open_pair(config, make_config(liveness=config.liveness)) as (one, two):
        time.sleep(0.8)  # blocks both loops, longer than the timeout
        with pytest.raises(trio.TooSlowError):
            await next_event(one, PeerDown, 0.5)
        assert two.peer_id in one.connected()


# The account.


async def test_record__holds_all_that_is_said() -> None:
    """The privacy tests would search a recording in which something is missing.

    A frame header stands in it after every 262,064 bytes of a stream.
    """
    said = bytearray()
    content = os.urandom(200_000)
    digest = hashlib.sha256(content).digest()
    config: NetConfig = make_config(record_sent=said.extend, blob_source={digest: content}.get)
    async with open_pair(config) as (speaker, listener):
        for net in (speaker, listener):
            await net.subscribe("t", accept)
        await until(lambda: bool(speaker.subscribers("t")) and bool(listener.subscribers("t")))
        await speaker.send(listener.peer_id, b"the message")
        await speaker.publish("t", b"the hint")
        with trio.fail_after(5.0):
            await listener.messages.receive()
            await listener.gossip.receive()
            assert await listener.fetch([digest], [speaker.peer_id], 1 << 20, 3.0) == {digest: content}
        assert speaker.bytes_sent == len(said)
        assert listener.bytes_received <= speaker.bytes_sent
    for expected in (b"the message", b"the hint", b"/multistream/1.0.0", content[:60_000], content[-3_000:]):
        assert expected in bytes(said)
