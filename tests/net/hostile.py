"""What a hostile libp2p peer can throw at a node: every crash and hang that py-libp2p 0.8.1 was seen to have, and more.

Each attack opens its own connections, with an identity of its own, and ends them. The first lists need no key, the
last ones speak our protocols. Used against one live node by `test_libp2p_crashes.py`, and against all nodes of a
running network by `tests/e2e/test_hostile.py`. Bounded in count and time; loopback only.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import msgpack
import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11
from libp2p.pubsub.pb import rpc_pb2
from libp2p.transport.tcp.tcp import TCP
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr

from p2p_flock.net.blob_server import BLOB_PROTOCOL
from p2p_flock.net.dht import DHT_PROTOCOL
from p2p_flock.net.discovery import EXCHANGE_PROTOCOL
from p2p_flock.net.framing import STREAM_FAILURES, encode_frame
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.muxer import Muxer
from p2p_flock.net.streams import MESSAGE_PROTOCOL
from p2p_flock.net.yamux_frames import Flag, FrameKind, Header
from tests.net.nodes import open_hardened, wait_for_reaction

OUR_PROTOCOLS = (EXCHANGE_PROTOCOL, MESSAGE_PROTOCOL, BLOB_PROTOCOL, DHT_PROTOCOL, PROTOCOL_ID_V11)
IDENTIFY = TProtocol("/ipfs/id/1.0.0")
ATTACK_SECONDS_MAX = 10.0
HOLD_SECONDS = 0.2
# What ends an attack early: the victim has had enough of it, which is its good right.
ENDED = (*STREAM_FAILURES, SwarmException, StreamFailure, OSError, trio.BrokenResourceError, trio.ClosedResourceError)
HELLO = encode_varint_prefixed(b"/multistream/1.0.0\n")
IS_LINUX = sys.platform == "linux"
GIGABYTE = b"\x80\x80\x80\x80\x04"


@dataclass(frozen=True)
class Victim:
    """Where a node listens, and who it is."""

    host: str
    port: int
    peer_id: ID


Attack = Callable[[Victim], Awaitable[None]]


def choose_source() -> str | None:
    """Another loopback address each time, so that no ban of an address spares a node the rest; Linux has them all."""
    return f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}" if IS_LINUX else None


async def carry_out(attack: Attack, victim: Victim) -> None:
    """Run one attack to its end, for ATTACK_SECONDS_MAX at most."""
    with trio.move_on_after(ATTACK_SECONDS_MAX):
        try:
            await attack(victim)
        except ENDED:
            return
        except BaseExceptionGroup as group:
            _, rest = group.split(ENDED)
            if rest is not None:
                raise


# --- before any key ----------------------------------------------------------------------------------------------


def say_first(*parts: bytes, count: int = 1, reset: bool = False) -> Attack:
    """Connect ``count`` times, say this, wait a moment; go with a RST instead of a FIN if ``reset``."""

    async def attack(victim: Victim) -> None:
        source, streams = choose_source(), []
        try:
            for _ in range(count):
                streams.append(await trio.open_tcp_stream(victim.host, victim.port, local_address=source))
            for stream in streams:
                with suppress(*ENDED):
                    for part in parts:
                        await stream.send_all(part)
            with trio.move_on_after(HOLD_SECONDS), suppress(*ENDED):
                while await streams[0].receive_some(65536):
                    pass
        finally:
            for stream in streams:
                if reset:
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stream.socket.close()

    return attack


def propose(protocol: bytes) -> bytes:
    """The first words of a multistream negotiation."""
    return HELLO + encode_varint_prefixed(protocol + b"\n")


KEYLESS: dict[str, Attack] = {
    "random bytes": say_first(os.urandom(65536)),
    "connections that are reset": say_first(count=20, reset=True),
    "connections that say nothing": say_first(count=20),
    "half a greeting": say_first(HELLO[:7], count=5),
    "a greeting of a gigabyte": say_first(GIGABYTE, bytes(65536)),
    "a length that never ends": say_first(b"\xff" * 4096),
    "plaintext instead of a key": say_first(propose(b"/plaintext/2.0.0"), bytes(256)),
    "secio instead of noise": say_first(propose(b"/secio/1.0.0"), bytes(256)),
    "a thousand protocols that are none": say_first(HELLO, encode_varint_prefixed(b"/x/1\n") * 1000),
    "garbage for a handshake": say_first(propose(b"/noise"), b"\xff\xff" + os.urandom(65535)),
    "an empty handshake": say_first(propose(b"/noise"), bytes(2), count=5),
    "half a handshake": say_first(propose(b"/noise"), b"\x00\x20" + os.urandom(7), count=5, reset=True),
    "web requests": say_first(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", count=3),
}


# --- below the streams ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(victim: Victim) -> AsyncIterator[tuple[HardenedHost, Muxer]]:
    """A stranger's host with one connection to the victim."""
    async with open_hardened() as host:
        (transport,) = host.swarm.transport_manager.get_transports()
        source = choose_source()
        if source is not None:
            assert isinstance(transport, TCP)
            transport.dial = partial(transport.dial_with_source, source=(source, 0))  # type: ignore[method-assign]
        await host.swarm.dial_addr(Multiaddr(f"/ip4/{victim.host}/tcp/{victim.port}"), victim.peer_id)
        muxer = host.swarm.get_connection(victim.peer_id).muxed_conn
        assert isinstance(muxer, Muxer)
        yield host, muxer


def frame(kind: FrameKind, flags: int, stream: int, length: int, body: bytes = b"") -> bytes:
    """One yamux frame, honest or not."""
    return Header(kind, Flag(flags), stream, length).encode() + body


def say_below(*parts: bytes) -> Attack:
    """Send these bytes on a fresh connection, under the multiplexer."""

    async def attack(victim: Victim) -> None:
        async with connected(victim) as (_, muxer):
            for part in parts:
                await muxer._session.write_all([part])
            with trio.move_on_after(HOLD_SECONDS):
                await muxer.event_closed.wait()

    return attack


async def cut_a_message_short(victim: Victim) -> None:
    """What a cancelled write of the stock library leaves: half a Noise message, and then others in its place."""
    async with connected(victim) as (_, muxer):
        await muxer._session._raw.write(b"\x40\x00" + os.urandom(100))
        await muxer._session.write_all([frame(FrameKind.PING, 1, 0, 1)] * 20)
        with trio.move_on_after(HOLD_SECONDS):
            await muxer.event_closed.wait()


DATA, UPDATE, PING, LEAVE = FrameKind.DATA, FrameKind.WINDOW_UPDATE, FrameKind.PING, FrameKind.GO_AWAY
BELOW: dict[str, Attack] = {
    "frames that are none": say_below(os.urandom(4096)),
    "a frame of four gigabytes": say_below(frame(DATA, 1, 101, 2**32 - 1, bytes(65536))),
    "more than the window": say_below(frame(DATA, 1, 101, 1 << 20, bytes(1 << 20))),
    "a stream under the victim's number": say_below(frame(UPDATE, 1, 100, 0)),
    "a stream twice": say_below(frame(UPDATE, 1, 101, 0) * 2),
    "a thousand streams": say_below(*(frame(UPDATE, 1, 101 + 2 * n, 0) for n in range(1000))),
    "a thousand streams, each reset": say_below(
        b"".join(frame(UPDATE, 1, 101 + 2 * n, 0) + frame(UPDATE, 8, 101 + 2 * n, 0) for n in range(1000))
    ),
    "twenty thousand pings": say_below(frame(PING, 1, 0, 7) * 20_000),
    "empty frames": say_below(frame(UPDATE, 1, 101, 0), frame(DATA, 0, 101, 0) * 20_000),
    "credit without end": say_below(frame(UPDATE, 1, 101, 0), frame(UPDATE, 0, 101, 2**32 - 1) * 100),
    "half a frame": say_below(frame(PING, 1, 0, 7)[:5]),
    "goodbye and more": say_below(frame(LEAVE, 0, 0, 0), frame(UPDATE, 1, 101, 0)),
    "half a message": cut_a_message_short,
}


# --- on streams ----------------------------------------------------------------------------------------------------


def say_on(protocol: TProtocol, *parts: bytes, count: int = 1, reset: bool = False) -> Attack:
    """Open ``count`` streams of a protocol, say this on each, wait a moment; end each with a reset if ``reset``."""

    async def attack(victim: Victim) -> None:
        async with connected(victim) as (host, _):
            streams: list[INetStream] = []
            for _ in range(count):
                streams.append(await host.new_stream(victim.peer_id, [protocol]))
                for part in parts:
                    await streams[-1].write(part)
                if reset:
                    await streams[-1].reset()
            await wait_for_reaction(streams[-1])

    return attack


async def open_and_never_say_what(victim: Victim) -> None:
    """Streams without a protocol, more than anybody may have."""
    async with connected(victim) as (_, muxer):
        for _ in range(200):
            await muxer.open_stream()
        await trio.sleep(HOLD_SECONDS)


async def reset_everywhere(victim: Victim) -> None:
    """A reset under every handler deafened the stock connection for ever: here it must go on serving."""
    async with connected(victim) as (host, _):
        for protocol in (*OUR_PROTOCOLS, IDENTIFY):
            for said in (b"", b"\0", b"\0\0\0\x05hal"):
                stream = await host.new_stream(victim.peer_id, [protocol])
                await stream.write(said)
                await stream.reset()
        await ask_peers(host, victim.peer_id)


async def ask_peers(host: HardenedHost, peer_id: ID) -> bytes:
    """The victim's answer to an honest question; fails if it does not serve this connection any more."""
    stream = await host.new_stream(peer_id, [EXCHANGE_PROTOCOL])
    await stream.write(encode_frame(msgpack.packb([])))
    with trio.fail_after(5.0):
        return await stream.read(65536)


async def go_without_a_word(victim: Victim) -> None:
    """The process dies in the middle of a stream."""
    async with connected(victim) as (host, muxer):
        stream = await host.new_stream(victim.peer_id, [MESSAGE_PROTOCOL])
        await stream.write(b"\0\x10\0\0" + bytes(1000))
        await muxer._session.close()


async def never_read(victim: Victim) -> None:
    """Ask for the same again and again and read nothing: the slow reader."""
    async with connected(victim) as (host, _):
        question = encode_frame(*(os.urandom(32) + bytes(8) + b"\x7f" * 8 for _ in range(256)))
        for _ in range(4):
            stream = await host.new_stream(victim.peer_id, [BLOB_PROTOCOL])
            with trio.move_on_after(HOLD_SECONDS):
                for _ in range(100):
                    await stream.write(question)


def rpc(**fields: object) -> bytes:
    """A gossip frame with one message, signed by nobody."""
    values = {"data": b"x", "topicIDs": ["t"], "from_id": b"\x12\x20" + b"f" * 32, "seqno": b"12345678", **fields}
    return encode_varint_prefixed(rpc_pb2.RPC(publish=[rpc_pb2.Message(**values)]).SerializeToString())


def junk_control() -> bytes:
    """Control entries of every kind about nothing, with peers to exchange."""
    control = rpc_pb2.ControlMessage(
        ihave=[rpc_pb2.ControlIHave(topicID="t", messageIDs=[os.urandom(20)] * 500)],
        iwant=[rpc_pb2.ControlIWant(messageIDs=[os.urandom(20)] * 500)],
        graft=[rpc_pb2.ControlGraft(topicID="nobody's")] * 100,
        prune=[
            rpc_pb2.ControlPrune(
                topicID="t", peers=[rpc_pb2.PeerInfo(peerID=b"\xff", signedPeerRecord=b"\xff" * 40)] * 20, backoff=2**40
            )
        ],
    )
    return encode_varint_prefixed(rpc_pb2.RPC(control=control).SerializeToString())


WHOLE = rpc()
GOSSIP_FRAMES: dict[str, bytes] = {
    "no protobuf": encode_varint_prefixed(b"\xff" * 20),
    "a garbage key": rpc(key=b"garbage", signature=b"s"),
    "a key of another kind": rpc(key=b"\x08\x00\x12\x03abc", signature=b"s" * 64),
    "no author": rpc(from_id=b""),
    "an author that is no peer": rpc(from_id=b"\xff" * 64),
    "half a message": WHOLE[: len(WHOLE) // 2],
    "a length that never ends": b"\xff" * 20,
    "a gigabyte": GIGABYTE + bytes(65536),
    "a message of a mebibyte": rpc(data=bytes(1 << 20)),
    "junk in every control field": junk_control(),
    "a bad sender record": encode_varint_prefixed(rpc_pb2.RPC(senderRecord=b"\xff" * 100).SerializeToString()),
    "a topic that is no text": encode_varint_prefixed(b"\x0a\x06\x08\x01\x12\x02\xff\xfe"),
    "ten thousand subscriptions": encode_varint_prefixed(
        rpc_pb2.RPC(
            subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"t{n}") for n in range(10_000)]
        ).SerializeToString()
    ),
}
GOSSIP: dict[str, Attack] = {name: say_on(PROTOCOL_ID_V11, data) for name, data in GOSSIP_FRAMES.items()}

STREAMS: dict[str, Attack] = {
    "streams without a protocol": open_and_never_say_what,
    "resets under every handler": reset_everywhere,
    "a death in the middle": go_without_a_word,
    "a slow reader": never_read,
    "an unknown protocol": say_on(TProtocol("/nobody/speaks/this/1")),
    "garbage pushed as identity": say_on(ID_PUSH, os.urandom(4096)),
    "identity asked for and not read": say_on(IDENTIFY, count=50, reset=True),
    "addresses that cannot be dialed": say_on(
        EXCHANGE_PROTOCOL,
        encode_frame(msgpack.packb(["/dns/xn--a/tcp/1", "/ip6/2001:db8::1%0/tcp/1", "/ip4/127.0.0.1/tcp/1"])),
    ),
    "garbage for peers": say_on(EXCHANGE_PROTOCOL, encode_frame(os.urandom(4096)), count=5),
    "a message of four gigabytes": say_on(MESSAGE_PROTOCOL, b"\xff\xff\xff\xff", bytes(4096)),
    "a message that never ends": say_on(MESSAGE_PROTOCOL, b"\0\x0f\xff\xff", bytes(4096)),
    "messages that are none": say_on(MESSAGE_PROTOCOL, *(encode_frame(os.urandom(200)) for _ in range(50))),
    "questions to the DHT that are none": say_on(DHT_PROTOCOL, encode_varint_prefixed(os.urandom(300)), count=5),
    "questions for contents that are none": say_on(BLOB_PROTOCOL, encode_frame(os.urandom(47)), count=3),
    "a question for contents of a gigabyte": say_on(BLOB_PROTOCOL, b"\x40\0\0\0", bytes(4096)),
}

FAMILIES: dict[str, dict[str, Attack]] = {"keyless": KEYLESS, "below": BELOW, "streams": STREAMS, "gossip": GOSSIP}


async def throw_everything(victim: Victim, thrown: Counter[str], is_over: Callable[[], bool]) -> None:
    """Every attack, one after the other and over again, until it is over; counts each that was carried out."""
    while not is_over():
        for family in FAMILIES.values():
            for name, attack in family.items():
                if not is_over():
                    await carry_out(attack, victim)
                    thrown[name] += 1
