"""Hostile libp2p clients: each floods or starves one node with one thing, as fast as it can.

Used by ``p2p_flock.bench.attacks`` and by the tests of `net/`. They never attack anything but the address that they are
given, which must be loopback; how long and how much is bounded by the caller's cancel scope and by COUNT_MAX.
An attacker keeps none of our own limits: it writes into its multiplexer's queue where the streams would hold it back.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr
from nacl.signing import SigningKey

from p2p_flock.net.blob_server import BLOB_PROTOCOL, ITEMS_MAX
from p2p_flock.net.dht import DHT_PROTOCOL
from p2p_flock.net.dht_messages import Kind, Question, encode_question
from p2p_flock.net.discovery import EXCHANGE_PROTOCOL
from p2p_flock.net.framing import STREAM_FAILURES, FrameReader, encode_frame, end_stream
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.host import open_host, open_listening_sockets
from p2p_flock.net.muxer import Liveness, Muxer
from p2p_flock.net.peer_book import parse_address, parse_addresses
from p2p_flock.net.session import Traffic
from p2p_flock.net.streams import MESSAGE_PROTOCOL
from p2p_flock.net.yamux_frames import Flag, FrameKind

COUNT_MAX = 200_000  # of anything that one attack does
FAILURES = (*STREAM_FAILURES, SwarmException, StreamFailure, MuxedStreamError, OSError)
IDENTIFY = TProtocol("/ipfs/id/1.0.0")


@dataclass
class Target:
    """The node under attack.

    Attributes:
        address: its multiaddr with peer ID; on loopback.
        seed: the attacker's identity, 32 bytes; None for a fresh one.
        topic: a gossip topic that it takes part in.
        digests: contents that it serves.
        make_message: the next message that the attacker has to say, if the attack is made of messages.
        done: how often the attacker did what, so far.
    """

    address: str
    seed: bytes | None = None
    topic: str = ""
    digests: tuple[bytes, ...] = ()
    make_message: Callable[[int], bytes] = lambda _number: b""
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if not parse_address(self.address)[0].is_loopback:
            raise ValueError("attacks are for nodes on this machine only")

    @property
    def peer(self) -> ID:
        """Its peer ID."""
        return ID.from_base58(self.address.rpartition("/")[2])

    @property
    def port(self) -> int:
        """Its TCP port on 127.0.0.1."""
        return parse_address(self.address)[0].port


Attack = Callable[["Hostile", Target], Awaitable[None]]


class Hostile:
    """One identity with at most one connection to the target."""

    def __init__(self, host: HardenedHost, target: Target) -> None:
        self.host = host
        self.target = target

    async def connect(self) -> bool:
        """Be connected; whether the target let us in. It closes what it refuses only after the handshake."""
        if self.is_connected:
            return True
        address = str(parse_address(self.target.address)[0])
        with suppress(*FAILURES):
            await self.host.swarm.dial_addr(Multiaddr(address), self.target.peer)
            await end_stream(await self.host.new_stream(self.target.peer, [IDENTIFY]), broken=True)
            return True
        return False

    @property
    def is_connected(self) -> bool:
        """Whether the target has not cut us off."""
        return self.host.swarm.is_connected(self.target.peer)

    @property
    def muxer(self) -> Muxer:
        """Of the connection."""
        muxer = self.host.swarm.get_connections(self.target.peer)[0].muxed_conn
        assert isinstance(muxer, Muxer)
        return muxer

    async def open(self, protocol: TProtocol) -> INetStream:
        """A negotiated stream."""
        self.target.done["streams"] += 1
        return await self.host.new_stream(self.target.peer, [protocol])


@asynccontextmanager
async def open_hostile(target: Target) -> AsyncIterator[Hostile]:
    """An attacker that is not connected yet."""
    sockets = await open_listening_sockets("127.0.0.1", 0)
    seed = target.seed or os.urandom(32)
    async with open_host(seed, sockets, Traffic(), Liveness(), lambda _peer: None) as host:
        yield Hostile(host, target)


async def again_and_again(hostile: Hostile, work: Callable[[], Awaitable[None]]) -> None:
    """Repeat ``work``, connecting again as often as the target lets us in."""
    for _ in range(COUNT_MAX):
        if not await hostile.connect():
            hostile.target.done["refused"] += 1
            await trio.sleep(0.2)
            continue
        with suppress(*FAILURES, IndexError):
            await work()
        await trio.sleep(0.01)


# Connections.


async def half_open(_hostile: Hostile, target: Target) -> None:
    """TCP connections that say nothing, a thousand at once."""
    await _raw_connections(target, b"", 1000)


async def garbage(_hostile: Hostile, target: Target) -> None:
    """TCP connections that send noise instead of a handshake."""
    await _raw_connections(target, b"\x13/multistream/1.0.0\n" + os.urandom(4096), 200)


async def _raw_connections(target: Target, data: bytes, at_once: int) -> None:
    async def hold() -> None:
        for _ in range(COUNT_MAX // at_once):
            with suppress(OSError, trio.BrokenResourceError):
                async with await trio.open_tcp_stream("127.0.0.1", target.port) as stream:
                    target.done["connections"] += 1
                    if data:
                        await stream.send_all(data)
                    while await stream.receive_some(4096):
                        pass
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(hold)


async def identities(_hostile: Hostile, target: Target) -> None:
    """Connections with ever new identities, each of which stays for a while."""

    async def be_somebody() -> None:
        async with open_hostile(Target(target.address)) as hostile:
            if await hostile.connect():
                target.done["connections"] += 1
                await trio.sleep(1.0)
            else:
                target.done["refused"] += 1

    async with trio.open_nursery() as nursery:
        limiter = trio.CapacityLimiter(32)

        async def somebody() -> None:
            async with limiter:
                await be_somebody()

        for _ in range(2000):
            nursery.start_soon(somebody)
            await trio.sleep(0.005)


# Streams and frames.


async def stream_flood(hostile: Hostile, target: Target) -> None:
    """Streams that negotiate nothing, opened and reset as fast as the connection takes them."""

    async def work() -> None:
        muxer = hostile.muxer
        for number in range(1, COUNT_MAX, 2):
            muxer.queue_control(FrameKind.WINDOW_UPDATE, Flag.SYN, number + (1 << 20), 0)
            target.done["streams"] += 1
            if number % 64 == 1:
                await _drained(hostile)

    await again_and_again(hostile, work)


async def frame_flood(hostile: Hostile, target: Target) -> None:
    """Pings of the multiplexer without pause."""

    async def work() -> None:
        for number in range(COUNT_MAX):
            hostile.muxer.queue_control(FrameKind.PING, Flag.SYN, 0, number)
            target.done["frames"] += 1
            if number % 1000 == 0:
                await _drained(hostile)

    await again_and_again(hostile, work)


async def unread(hostile: Hostile, target: Target) -> None:
    """Streams whose windows are filled with what nobody will read."""

    async def work() -> None:
        for _ in range(16):
            stream = await hostile.muxer.open_stream()
            await stream.write(bytes(200_000))
            target.done["bytes"] += 200_000
        await trio.sleep(1.0)

    await again_and_again(hostile, work)


async def _drained(hostile: Hostile) -> None:
    """Wait until what we queued has left; let others run in any case."""
    await trio.lowlevel.checkpoint()
    while hostile.is_connected and hostile.muxer._outbox:
        await trio.sleep(0.001)
    if not hostile.is_connected:
        raise SwarmException("cut off")


# Slow ones.


async def slow_reader(hostile: Hostile, target: Target) -> None:
    """Asks for all contents on many streams and reads nothing."""

    async def work() -> None:
        for _ in range(8):
            stream = await hostile.open(BLOB_PROTOCOL)
            await stream.write(_question(target.digests * (ITEMS_MAX // len(target.digests))))
        await trio.sleep(2.0)

    await again_and_again(hostile, work)


async def slow_writer(hostile: Hostile, target: Target) -> None:
    """Begins messages and gossip frames of the largest size, sends most of them at once and the rest byte by byte."""

    async def work() -> None:
        streams = []
        for protocol, size in ((MESSAGE_PROTOCOL, 1 << 20), (TProtocol(PROTOCOL_ID_V11), 256 * 1024)) * 4:
            stream = await hostile.open(protocol)
            prefix = size.to_bytes(4, "big") if protocol == MESSAGE_PROTOCOL else b"\x80\x80\x10"
            with trio.move_on_after(0.5):
                await stream.write(prefix + bytes(size - 1000))
            streams.append(stream)
            target.done["bytes"] += size
        for _ in range(60):
            for stream in streams:
                with suppress(*FAILURES):
                    await stream.write(b"\0")
            await trio.sleep(0.5)

    await again_and_again(hostile, work)


async def oversize(hostile: Hostile, target: Target) -> None:
    """Frames that announce a gigabyte, on every protocol."""

    async def work() -> None:
        for protocol in (MESSAGE_PROTOCOL, BLOB_PROTOCOL, EXCHANGE_PROTOCOL, DHT_PROTOCOL, TProtocol(PROTOCOL_ID_V11)):
            stream = await hostile.open(protocol)
            is_varint = protocol in (DHT_PROTOCOL, PROTOCOL_ID_V11)
            await stream.write(b"\x80\x80\x80\x80\x04" if is_varint else (1 << 30).to_bytes(4, "big"))
            target.done["frames"] += 1
            with trio.move_on_after(0.2), suppress(*STREAM_FAILURES):
                await stream.read(1)

    await again_and_again(hostile, work)


# Messages.


async def messages(hostile: Hostile, target: Target) -> None:
    """What ``make_message`` makes, without end."""

    async def work() -> None:
        stream = await hostile.open(MESSAGE_PROTOCOL)
        for number in range(COUNT_MAX):
            await stream.write(encode_frame(target.make_message(number)))
            target.done["messages"] += 1

    await again_and_again(hostile, work)


# Contents.


def _question(digests: tuple[bytes, ...]) -> bytes:
    return encode_frame(*(digest + bytes(8) + (1 << 30).to_bytes(8, "big") for digest in digests))


async def same_content(hostile: Hostile, target: Target) -> None:
    """One content 256 times a question, on as many streams as are served."""
    await _ask_without_end(hostile, target, target.digests[:1] * ITEMS_MAX)


async def all_contents(hostile: Hostile, target: Target) -> None:
    """All contents over and over."""
    await _ask_without_end(hostile, target, target.digests)


async def unknown_contents(hostile: Hostile, target: Target) -> None:
    """Contents that nobody has, as many as a question holds."""
    await _ask_without_end(hostile, target, tuple(os.urandom(32) for _ in range(ITEMS_MAX)))


async def _ask_without_end(hostile: Hostile, target: Target, digests: tuple[bytes, ...]) -> None:
    async def pull() -> None:
        with suppress(*FAILURES):
            stream = await hostile.open(BLOB_PROTOCOL)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain, stream)
                nursery.start_soon(ask, stream)

    async def ask(stream: INetStream) -> None:
        with suppress(*FAILURES):
            for _ in range(COUNT_MAX):
                await stream.write(_question(digests))
                target.done["items"] += len(digests)

    async def drain(stream: INetStream) -> None:
        """Apart from asking: small answers come joined, so nobody can tell how many reads they take."""
        with suppress(*FAILURES):
            for _ in range(COUNT_MAX):
                target.done["bytes"] += len(await stream.read(1 << 20))

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(pull)
        await trio.sleep(0.1)

    await again_and_again(hostile, work)


# Gossip, DHT, identify, peer exchange.


def make_gossip(key: SigningKey, topic: str, data: bytes, number: int) -> rpc_pb2.Message:
    """A signed gossip message (pubsub specification, "Message Signing")."""
    author = b"\x00\x24\x08\x01\x12\x20" + bytes(key.verify_key)  # an Ed25519 peer ID is its key
    message = rpc_pb2.Message(data=data, topicIDs=[topic], from_id=author, seqno=number.to_bytes(8, "big"))
    message.signature = key.sign(b"libp2p-pubsub:" + message.SerializeToString()).signature
    return message


async def gossip_valid(hostile: Hostile, target: Target) -> None:
    """Hints that pass every check, all different, without end."""
    key = SigningKey(target.seed or os.urandom(32))
    start = random.getrandbits(40)
    await _gossip(hostile, target, lambda n: [make_gossip(key, target.topic, target.make_message(n), start + n)])


async def gossip_foreign(hostile: Hostile, target: Target) -> None:
    """Frames full of messages of a topic that the target does not have."""
    key = SigningKey(os.urandom(32))
    batch = [make_gossip(key, "elsewhere", bytes(1000), number) for number in range(60)]
    await _gossip(hostile, target, lambda _number: batch)


async def _gossip(hostile: Hostile, target: Target, make: Callable[[int], list[rpc_pb2.Message]]) -> None:
    async def work() -> None:
        stream = await hostile.open(TProtocol(PROTOCOL_ID_V11))
        for number in range(COUNT_MAX):
            batch = make(number)
            await stream.write(encode_varint_prefixed(rpc_pb2.RPC(publish=batch).SerializeToString()))
            target.done["messages"] += len(batch)

    await again_and_again(hostile, work)


async def dht_questions(hostile: Hostile, target: Target) -> None:
    """Lookups and announcements of ever new keys, on ever new streams."""
    own = hostile.host.get_id().to_bytes()
    addresses = parse_addresses(f"/ip4/192.0.2.1/tcp/{port}" for port in range(1, 17))

    async def work() -> None:
        stream = await hostile.open(DHT_PROTOCOL)
        try:
            for _ in range(16):
                key = os.urandom(32)
                for question in (Question(Kind.ADD_PROVIDER, key, addresses), Question(Kind.FIND_NODE, key)):
                    await stream.write(encode_varint_prefixed(encode_question(question, own)))
                    target.done["questions"] += 1
                await FrameReader(stream).read_varint_frame(1 << 20)
        finally:
            await end_stream(stream)

    await again_and_again(hostile, work)


async def identify(hostile: Hostile, target: Target) -> None:
    """Asks who the target is, and for its peers, on ever new streams."""

    async def ask(protocol: TProtocol) -> None:
        with suppress(*FAILURES):
            stream = await hostile.open(protocol)
            try:
                if protocol == EXCHANGE_PROTOCOL:
                    await stream.write(encode_frame(b"\x90"))
                await stream.read(1 << 16)
                target.done["questions"] += 1
            finally:
                await end_stream(stream)

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(ask, IDENTIFY)
                nursery.start_soon(ask, EXCHANGE_PROTOCOL)

    await again_and_again(hostile, work)
