"""One test per defect of py-libp2p 0.8.1: the stock host falls, ours stands. See the table in `net/hardening.py`.

When an upgrade mends a defect, the assertion on the stock host fails: then remove the remedy with its test.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import libp2p.network.connection.swarm_connection as swarm_connection
import pytest
import trio
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import Ed25519PrivateKey, create_new_key_pair
from libp2p.crypto.keys import KeyPair, PublicKey
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.network.config import RetryConfig
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamReset
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_ID
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import background_trio_service
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr
from nacl.signing import SigningKey

from p2p_flock.errors import PortTakenError
from p2p_flock.net.adapter import open_net
from p2p_flock.net.framing import STREAM_FAILURES
from p2p_flock.net.gossip import open_gossip
from p2p_flock.net.hardened_gossip import SafeGossipSub, SafePubsub
from p2p_flock.net.hardening import HardenedHost, _read_bounded, quiet_library_logging
from p2p_flock.net.host import open_listening_sockets
from p2p_flock.types import Verdict
from tests.net.nodes import (
    ECHO,
    OpenHost,
    ask_echo,
    dial,
    make_config,
    open_hardened,
    open_stock,
    survives,
    until,
    wait_for_reaction,
)

STOCK_READ = MultiselectCommunicator.read
BAD = TProtocol("/test/bad/1")


# 1. Impersonation.


async def impersonate(victim: IHost) -> bool:
    """Whether somebody who knows only a public key is taken for its owner."""
    member = create_new_key_pair(os.urandom(32)).public_key

    class ForgedKey(Ed25519PrivateKey):
        def get_public_key(self) -> PublicKey:
            return member

    claimed = ID.from_pubkey(member)
    plaintext = InsecureTransport(KeyPair(ForgedKey(SigningKey.generate()), member))
    upgrader = TransportUpgrader({TProtocol(PLAINTEXT_PROTOCOL_ID): plaintext}, {TProtocol(YAMUX_ID): Yamux})
    swarm = Swarm(claimed, PeerStore(), upgrader, [TCP()], RetryConfig(max_retries=0))
    async with background_trio_service(swarm):
        try:
            await swarm.dial_addr(victim.get_addrs()[0], victim.get_id())
        except SwarmException:
            return False
        await until(lambda: claimed in victim.get_network().connections)
        return True


async def test_plaintext__impostor_is_refused() -> None:
    """Anyone who knows a member's peer ID could send messages in its name."""
    async with open_stock(noise_only=False) as stock:
        assert await impersonate(stock), "the stock host no longer accepts plaintext: row 1 of the table can go"
    async with open_hardened() as ours:
        assert not await impersonate(ours)


# 2. The leak of inbound slots.


async def count_accepted(victim: IHost, attempts: int) -> int:
    """How many connections in a row, each closed before the next, a host serves."""
    served = 0
    for _ in range(attempts):
        async with open_hardened() as visitor:
            try:
                with trio.move_on_after(1.0):
                    await dial(visitor, victim)
                    served += await ask_echo(visitor, victim.get_id())
            except SwarmException:
                pass
    return served


async def test_inbound_slots__are_freed() -> None:
    """A node that runs for weeks would one day refuse everybody."""
    async with open_stock(connections_max=4) as stock:
        assert await count_accepted(stock, 5) == 4, "the stock host frees its inbound slots: row 2 can go"
    async with open_hardened() as ours:
        ours.swarm._inbound_limiter = trio.CapacityLimiter(4)
        assert await count_accepted(ours, 8) == 8


# 3. Errors in stream handlers.


async def fail_by_value(_stream: INetStream) -> None:
    """A handler with a defect."""
    raise ValueError("a peer's bytes")


async def fail_by_reset(_stream: INetStream) -> None:
    """A handler that lets the end of its stream pass."""
    raise StreamReset


@pytest.mark.parametrize("handler", [fail_by_value, fail_by_reset])
async def test_stream_handler__error_costs_its_stream_only(handler: object) -> None:
    """One odd byte from a stranger would end the process, or deafen a connection for ever."""

    async def is_served_after(open_victim: OpenHost) -> bool:
        try:
            async with open_victim() as victim, open_hardened() as visitor:
                victim.set_stream_handler(BAD, handler)
                await dial(visitor, victim)
                stream = await visitor.new_stream(victim.get_id(), [BAD])
                await wait_for_reaction(stream)
                return await ask_echo(visitor, victim.get_id())
        except (BaseExceptionGroup, SwarmException, StreamReset):
            return False

    assert not await is_served_after(open_stock), "the stock host guards its handlers: row 3 can go"
    assert await is_served_after(open_hardened)


# 4. Gossip.


def sign_nothing(data: bytes = b"x", **fields: object) -> rpc_pb2.RPC:
    """A gossip frame with one message."""
    message = rpc_pb2.Message(data=data, topicIDs=["t"], from_id=b"\x12\x20" + b"f" * 32, seqno=b"12345678")
    for name, value in fields.items():
        setattr(message, name, value)
    return rpc_pb2.RPC(publish=[message])


GARBAGE = {
    "not protobuf": encode_varint_prefixed(b"\xff" * 20),
    "garbage key": encode_varint_prefixed(sign_nothing(key=b"garbage", signature=b"s").SerializeToString()),
}


@asynccontextmanager
async def open_stock_gossip() -> AsyncIterator[IHost]:
    """The library's gossip on its host."""
    async with open_stock() as host:
        router = GossipSub([PROTOCOL_ID_V11], 6, 4, 12, heartbeat_interval=1)
        pubsub = Pubsub(host, router)
        async with background_trio_service(pubsub), background_trio_service(router):
            await pubsub.wait_until_ready()
            await pubsub.subscribe("t")
            yield host


@asynccontextmanager
async def open_our_gossip() -> AsyncIterator[HardenedHost]:
    """Our gossip on our host."""
    async with open_hardened() as host, open_gossip(host) as gossip:
        await gossip.subscribe("t", lambda _author, _data: Verdict.ACCEPT)
        yield host


@pytest.mark.parametrize("frame", GARBAGE.values(), ids=GARBAGE.keys())
async def test_gossip__malformed_frame_costs_its_sender_only(frame: bytes) -> None:
    """One frame from any stranger would end every node it reaches."""

    async def attack(attacker: IHost, victim: IHost) -> None:
        stream = await attacker.new_stream(victim.get_id(), [PROTOCOL_ID_V11])
        await stream.write(frame)
        await wait_for_reaction(stream)

    assert not await survives(open_stock_gossip, attack), "stock gossip stands malformed frames: row 4 can go"
    assert await survives(open_our_gossip, attack)


async def test_gossip__sender_of_garbage_is_banned() -> None:
    """A peer that sends garbage could go on for ever, at a signature check per message."""
    async with open_our_gossip() as victim, open_hardened() as attacker:
        await dial(attacker, victim)
        stream = await attacker.new_stream(victim.get_id(), [PROTOCOL_ID_V11])
        await stream.write(GARBAGE["not protobuf"])
        await until(lambda: not victim.swarm.is_connected(attacker.get_id()))
        await dial(attacker, victim)
        await until(lambda: not attacker.swarm.is_connected(victim.get_id()))
        assert not victim.swarm.is_connected(attacker.get_id())


async def test_gossip__raising_check_costs_one_message() -> None:
    """A defect in a message check would let a stranger end the node."""

    def fail(*_arguments: object) -> Verdict:
        raise ValueError("a defect")

    async with open_stock_gossip() as speaker:
        with pytest.raises(BaseExceptionGroup):  # noqa: PT012 - the stock host fails while the block runs
            async with open_stock() as stock:
                router = GossipSub([PROTOCOL_ID_V11], 6, 4, 12, heartbeat_interval=1)
                pubsub = Pubsub(stock, router)
                async with background_trio_service(pubsub), background_trio_service(router):
                    await pubsub.wait_until_ready()
                    pubsub.set_topic_validator("t", fail, is_async_validator=False)
                    await publish_when_connected(speaker, stock, pubsub)
                    await trio.sleep(2.0)
    async with open_our_gossip() as speaker, open_hardened() as ours, open_gossip(ours) as gossip:
        await gossip.subscribe("t", fail)
        await dial(speaker, ours)
        await until(lambda: bool(gossip.subscribers("t")))
        assert gossip._check("t", "author", b"data") is Verdict.IGNORE


async def publish_when_connected(speaker: IHost, listener: IHost, pubsub: Pubsub) -> None:
    """Send a validly signed message straight into the listener's check."""
    await dial(speaker, listener)
    await pubsub.subscribe("t")
    keys = create_new_key_pair(os.urandom(32))
    message = rpc_pb2.Message(
        data=b"x", topicIDs=["t"], from_id=ID.from_pubkey(keys.public_key).to_bytes(), seqno=b"12345678"
    )
    message.signature = keys.private_key.sign(b"libp2p-pubsub:" + message.SerializeToString())
    stream = await speaker.new_stream(listener.get_id(), [PROTOCOL_ID_V11])
    await stream.write(encode_varint_prefixed(rpc_pb2.RPC(publish=[message]).SerializeToString()))


# 5. Cancelled writes.


async def test_write__cancelled_leaves_the_connection_whole() -> None:
    """Any deadline around a write would hang every later stream to that peer."""

    async def never_read(_stream: INetStream) -> None:
        await trio.sleep_forever()

    async def is_served_after(open_end: OpenHost) -> bool:
        async with open_end() as writer, open_end() as reader:
            reader.set_stream_handler(BAD, never_read)
            await dial(writer, reader)
            with trio.move_on_after(5.0), suppress(SwarmException, StreamFailure, *STREAM_FAILURES):
                for _ in range(20):  # each is cut at another point of the write
                    stream = await writer.new_stream(reader.get_id(), [BAD])
                    with trio.move_on_after(0.002):
                        await stream.write(bytes(1 << 20))
                    await stream.reset()  # what lies unread in many streams would be a flood
                return await ask_echo(writer, reader.get_id())
            return False

    assert not await is_served_after(open_stock), "stock writes may be cancelled: row 5 can go"
    assert await is_served_after(open_hardened)


# 6. The port.


async def test_port__taken_is_an_error() -> None:
    """Two daemons on one port would each get half of the connections, silently."""
    async with open_stock() as stock:
        port = int(stock.get_addrs()[0].value_for_protocol("tcp"))
        probe = socket.socket()
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("127.0.0.1", port))  # succeeds: the stock listener shares its port. If not, row 6 can go
        probe.close()
        with pytest.raises(PortTakenError):
            await open_listening_sockets("127.0.0.1", port)
    async with open_hardened() as ours:
        port = int(ours.get_addrs()[0].value_for_protocol("tcp"))
        probe = socket.socket()
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            probe.bind(("127.0.0.1", port))
        probe.close()


# 7. Unbounded negotiation.


class Announcer:
    """A stream whose peer announces a frame of 1 GiB, and that remembers how much was asked of it."""

    def __init__(self) -> None:
        self.asked_bytes_max = 0
        self._prefix = bytearray(b"\x80\x80\x80\x80\x04")

    async def read(self, n: int | None = None) -> bytes:
        """The prefix, then the end."""
        self.asked_bytes_max = max(self.asked_bytes_max, n or 0)
        taken = bytes(self._prefix[:n])
        del self._prefix[:n]
        if not taken:
            raise StreamReset
        return taken


async def test_negotiation__long_frame_is_refused_unread() -> None:
    """A stranger could make us allocate a gigabyte before he has shown a key."""
    announcer = Announcer()
    with pytest.raises(MultiselectCommunicatorError):
        await STOCK_READ(MultiselectCommunicator(announcer))  # type: ignore[arg-type]
    assert announcer.asked_bytes_max == 1 << 30, "the stock negotiation has a bound: row 7 can go"
    announcer = Announcer()
    with pytest.raises(MultiselectCommunicatorError):
        await _read_bounded(MultiselectCommunicator(announcer))  # type: ignore[arg-type]
    assert announcer.asked_bytes_max == 1


# 8 and 9. Dialing and identify on its own.


async def test_swarm__does_not_dial_on_its_own() -> None:
    """A stream to a lost peer would dial one stale address and then refuse the peer for a minute."""
    async with open_hardened() as ours:
        stranger = ID.from_pubkey(create_new_key_pair(os.urandom(32)).public_key)
        ours.get_peerstore().add_addrs(stranger, [Multiaddr("/ip4/127.0.0.1/tcp/1")], 3600)
        with pytest.raises(SwarmException, match="no connection"):
            await ours.new_stream(stranger, [ECHO])
        assert not ours.swarm._negative_peer_cache.is_blocked(str(stranger))


async def test_host__keeps_nothing_of_strangers() -> None:
    """Every stranger's identify answer would stay in memory for ever."""
    async with open_hardened() as visitor, open_stock() as stock:
        await dial(visitor, stock)
        await until(lambda: bool(stock.get_peerstore().supports_protocols(visitor.get_id(), [str(ECHO)])))
    async with open_hardened() as visitor, open_hardened() as ours:
        await dial(visitor, ours)
        assert await ask_echo(ours, visitor.get_id())
        assert visitor.get_id() not in ours.get_peerstore().peer_ids()


# 10, 11 and 12. What gossip remembers.


async def test_gossip__topics_outlive_one_of_two_connections() -> None:
    """After a simultaneous dial, the end of the spare connection would cut a peer off from gossip for good."""
    async with open_our_gossip() as one, open_hardened() as two, open_gossip(two) as gossip:
        await gossip.subscribe("t", lambda _author, _data: Verdict.ACCEPT)
        await dial(two, one)
        await dial(one, two)
        await until(lambda: bool(gossip.subscribers("t")) and one.get_id() in gossip.pubsub.peers)
        Pubsub._handle_dead_peer(gossip.pubsub, one.get_id())
        assert not gossip.subscribers("t"), "stock gossip keeps the topics: row 10 can go"
        gossip.pubsub.handle_subscription(one.get_id(), rpc_pb2.RPC.SubOpts(subscribe=True, topicid="t"))
        gossip.pubsub._handle_dead_peer(one.get_id())
        assert gossip.subscribers("t") == {one.get_id().to_base58()}


async def test_gossip__keeps_no_bodies_and_repeats_no_number() -> None:
    """64 KiB messages would fill the memory; a node that restarts at once would be taken for an echo of itself."""
    async with open_hardened() as host:
        stock = Pubsub(host, GossipSub([PROTOCOL_ID_V11], 6, 4, 12))
        ours = [SafePubsub(host, SafeGossipSub(), reject, ignore) for _ in range(2)]
        assert stock.counter < 1 << 40, "stock numbers are finer than seconds: part of row 11 can go"
        assert ours[0].counter < ours[1].counter
        message = sign_nothing().publish[0]
        stock.router._check_equivocation(message)
        assert stock.router.equivocation_detection, "stock gossip keeps no bodies: part of row 11 can go"
        ours[0].router._check_equivocation(message)
        assert not ours[0].router.equivocation_detection


def reject(_topic: str, _author: str, _data: bytes) -> Verdict:
    """Refuse everything."""
    return Verdict.REJECT


def ignore(_topic: str, _author: str, _data: bytes) -> None:
    """Deliver to nobody."""


async def test_gossip__not_yet_is_not_never() -> None:
    """A message that comes a moment before the event it refers to would be lost for five minutes."""
    verdicts = [Verdict.IGNORE, Verdict.ACCEPT]
    async with open_hardened() as host, open_gossip(host) as gossip:
        await gossip.subscribe("t", lambda _author, _data: verdicts.pop(0))
        keys = create_new_key_pair(os.urandom(32))
        author = ID.from_pubkey(keys.public_key)
        message = rpc_pb2.Message(data=b"x", topicIDs=["t"], from_id=author.to_bytes(), seqno=b"12345678")
        message.signature = keys.private_key.sign(b"libp2p-pubsub:" + message.SerializeToString())
        await gossip.pubsub.push_msg(author, message)
        await gossip.pubsub.push_msg(author, message)
        assert (await gossip.messages.receive()).data == b"x"


# 13. The greeting.


async def test_gossip__topic_subscribed_during_the_greeting_is_announced() -> None:
    """Two members that subscribe in the moment they connect would never hear each other's hints."""

    async def is_announced(host: HardenedHost, pubsub: Pubsub) -> bool:
        open_stream = host.new_stream

        async def open_slow_stream(peer: ID, protocols: Sequence[TProtocol]) -> INetStream:
            stream = await open_stream(peer, protocols)
            write = stream.write

            async def subscribe_first(data: bytes) -> None:
                stream.write = write
                await pubsub.subscribe("t")
                await write(data)

            stream.write = subscribe_first
            return stream

        host.new_stream = open_slow_stream
        async with open_hardened() as other, open_gossip(other) as listener:
            await dial(other, host)
            await until(lambda: host.get_id() in listener.pubsub.peers and other.get_id() in pubsub.peers)
            with trio.move_on_after(0.5):
                await until(lambda: bool(listener.subscribers("t")))
                return True
        return False

    async with open_hardened() as host:
        router = GossipSub([PROTOCOL_ID_V11], 6, 4, 12, heartbeat_interval=1)
        pubsub = Pubsub(host, router)
        async with background_trio_service(pubsub), background_trio_service(router):
            await pubsub.wait_until_ready()
            assert not await is_announced(host, pubsub), "stock gossip announces late topics: row 13 can go"
    async with open_hardened() as host, open_gossip(host) as gossip:
        assert await is_announced(host, gossip.pubsub)


# 14. Logging.


def test_library__is_quiet() -> None:
    """Users would see the library's errors, with payloads, and its first message would install a root log handler."""
    quiet_library_logging()
    assert swarm_connection.logging is not logging  # type: ignore[attr-defined]
    assert not logging.getLogger("libp2p.network.connection.swarm_connection").isEnabledFor(logging.CRITICAL)


async def test_open_net__two_on_one_port() -> None:
    """A second daemon on the same port would not be told."""
    async with open_hardened() as ours:
        port = int(ours.get_addrs()[0].value_for_protocol("tcp"))
        with pytest.raises(PortTakenError, match="choose another"):
            async with open_net(make_config(listen_port=port)):
                pass
