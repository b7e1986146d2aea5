"""The multiplexer: it speaks with the library's, keeps its bounds, and no owner of a stream can harm the others."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamEOF, StreamReset

from p2p_flock.net.framing import FrameReader
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.links import describe_links
from p2p_flock.net.muxer import INBOUND_STREAMS_MAX, Muxer
from p2p_flock.net.session import PLAINTEXT_BYTES_MAX, split_messages
from p2p_flock.net.yamux_frames import (
    FRAME_BYTES_MAX,
    INITIAL_WINDOW_BYTES,
    Flag,
    FrameKind,
    Header,
    MuxerProtocolError,
)
from p2p_flock.net.yamux_stream import KEPT_BYTES_MIN, Stream
from tests.net.nodes import ask_echo, dial, open_hardened, open_stock, until

MIRROR = TProtocol("/test/mirror/1")
DEAF = TProtocol("/test/deaf/1")


async def mirror(stream: INetStream) -> None:
    """Send back 3 MB as they come."""
    reader = FrameReader(stream)
    left = 3_000_000
    while left:
        piece = await reader.read_at_most(min(left, 1 << 20))
        left -= len(piece)
        await stream.write(piece)
    await stream.close()


async def be_deaf(_stream: INetStream) -> None:
    """Never read."""
    await trio.sleep_forever()


async def send_through_mirror(host: HardenedHost, other: HardenedHost) -> None:
    """3 MB out and back at once; fails if a byte changed."""
    data = os.urandom(3_000_000)
    stream = await host.new_stream(other.get_id(), [MIRROR])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.write, data)
        assert await FrameReader(stream).read_exactly(len(data)) == data
    with pytest.raises(StreamEOF):
        await stream.read(1)
    await stream.close()


@asynccontextmanager
async def open_couple() -> AsyncIterator[tuple[HardenedHost, HardenedHost]]:
    """Two connected hosts, the second of which mirrors and is deaf on request."""
    async with open_hardened() as one, open_hardened() as two:
        two.set_stream_handler(MIRROR, mirror)
        two.set_stream_handler(DEAF, be_deaf)
        await dial(one, two)
        await until(lambda: two.swarm.is_connected(one.get_id()))
        yield one, two


def muxed(stream: INetStream) -> tuple[Muxer, Stream]:
    """The connection and the stream below the library's wrapper."""
    inner = stream.muxed_stream  # type: ignore[attr-defined]
    assert isinstance(inner, Stream)
    assert isinstance(inner.muxed_conn, Muxer)
    return inner.muxed_conn, inner


@pytest.mark.parametrize("we_dial", [True, False])
async def test_muxer__speaks_with_the_librarys(we_dial: bool) -> None:
    """We could not talk to any other libp2p implementation."""
    async with open_hardened() as ours, open_stock() as stock:
        for host in (ours, stock):
            host.set_stream_handler(MIRROR, mirror)
        await (dial(ours, stock) if we_dial else dial(stock, ours))
        with trio.fail_after(10.0):
            await send_through_mirror(ours, stock)
            await send_through_mirror(stock, ours)


async def test_muxer__bulk_in_both_directions_and_new_streams() -> None:
    """Two peers that send in bulk to each other could block each other for ever."""
    async with open_couple() as (one, two):
        one.set_stream_handler(MIRROR, mirror)
        with trio.fail_after(20.0):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(send_through_mirror, one, two)
                    nursery.start_soon(send_through_mirror, two, one)
                assert await ask_echo(one, two.get_id())
                assert await ask_echo(two, one.get_id())


async def test_muxer__window_is_enforced() -> None:
    """A peer that ignores the receive window could fill our memory."""
    async with open_couple() as (flooder, victim):
        stream = await flooder.new_stream(victim.get_id(), [DEAF])
        _, inner = muxed(stream)
        inner.take_credit(1 << 30)
        await stream.write(bytes(2 * INITIAL_WINDOW_BYTES))
        await until(lambda: not victim.swarm.is_connected(flooder.get_id()))


async def test_muxer__inbound_streams_are_bounded() -> None:
    """A peer could start a task in our process for every 12 bytes it sends."""
    async with open_couple() as (flooder, victim):
        connection, _ = muxed(await flooder.new_stream(victim.get_id(), [DEAF]))
        streams = [await connection.open_stream() for _ in range(INBOUND_STREAMS_MAX + 40)]
        await until(lambda: sum(stream.is_over for stream in streams) >= 40)
        assert len(victim.swarm.get_connections(flooder.get_id())[0].get_streams()) <= INBOUND_STREAMS_MAX
        for stream in streams:
            await stream.reset()
        await until(lambda: len(victim.swarm.get_connections(flooder.get_id())[0].get_streams()) < 3)
        assert await ask_echo(flooder, victim.get_id())


@pytest.mark.parametrize(
    "frame",
    [
        b"\x01" + bytes(11),
        Header(FrameKind.DATA, Flag.SYN, 2, 0).encode(),
        Header(FrameKind.DATA, Flag(0), 1, FRAME_BYTES_MAX + 1).encode(),
        b"\xff" * 12,
    ],
    ids=["version", "stream number of the other side", "length", "garbage"],
)
async def test_muxer__broken_frame_ends_the_connection(frame: bytes) -> None:
    """A peer that lost its count would be misread for ever."""
    async with open_couple() as (one, two):
        connection, _ = muxed(await one.new_stream(two.get_id(), [DEAF]))
        connection._put(frame)
        await until(lambda: not two.swarm.is_connected(one.get_id()))


async def test_muxer__ping_flood_is_answered_within_bounds() -> None:
    """A peer could make us queue answers without end."""
    async with open_couple() as (one, two):
        connection, _ = muxed(await one.new_stream(two.get_id(), [DEAF]))
        for number in range(2000):
            connection.queue_control(FrameKind.PING, Flag.SYN, 0, number)
        assert await ask_echo(one, two.get_id())


async def test_stream__death_of_the_connection_is_no_clean_end() -> None:
    """A truncated content would look complete."""
    async with open_couple() as (one, two):
        stream = await one.new_stream(two.get_id(), [DEAF])
        for connection in two.swarm.get_connections():
            await connection.muxed_conn.secured_conn.close()
        with trio.fail_after(3.0), pytest.raises(StreamReset):
            await stream.read(1)
        await until(lambda: not one.swarm.is_connected(two.get_id()))
        with pytest.raises(SwarmException):
            await one.new_stream(two.get_id(), [DEAF])


async def test_stream__half_close_lets_the_other_side_answer() -> None:
    """A question that ends with a close would never be answered."""

    async def answer_after_end(stream: INetStream) -> None:
        heard = b""
        try:
            while True:
                heard += await stream.read(100)
        except StreamEOF:
            await stream.write(heard.upper())
            await stream.close()

    async with open_couple() as (one, two):
        two.set_stream_handler(MIRROR, answer_after_end)
        stream = await one.new_stream(two.get_id(), [MIRROR])
        await stream.write(b"question")
        await muxed(stream)[1].close()
        with trio.fail_after(3.0):
            assert await stream.read(100) == b"QUESTION"


async def test_stream__buffer_may_be_used_again_after_the_write() -> None:
    """A caller who fills the same buffer again would change what is still on its way."""
    async with open_couple() as (one, two):
        stream = await one.new_stream(two.get_id(), [MIRROR])
        buffer = bytearray(b"a" * 200_000)
        await stream.write(buffer)
        buffer[:] = bytes(200_000)
        assert await FrameReader(stream).read_exactly(200_000) == b"a" * 200_000


async def test_stream__single_bytes_cost_no_more_than_bytes() -> None:
    """A peer that sends single bytes could make each of them hold a message of 64 KiB in our memory."""
    async with open_couple() as (one, two):
        _, stream = muxed(await one.new_stream(two.get_id(), [DEAF]))
        message = memoryview(bytes(range(256)) * 256)
        for position in range(20_000):
            stream.take_data(message[position % 256 : position % 256 + 1])
        stream.take_data(message[:KEPT_BYTES_MIN])
        stream.take_data(message[:1])
        assert len(stream._received) == 3
        assert await stream.read(3) == b"\x00\x01\x02"
        pieces = await stream.read_pieces()
        assert b"".join(pieces) == (bytes(message) * 2)[3:20_000] + bytes(message[:KEPT_BYTES_MIN]) + b"\x00"


@pytest.mark.parametrize("sizes", [[], [0], [1], [12, 262_064], [12, 12, 262_064, 5], [65_519], [65_520], [1, 200_000]])
def test_split_messages__keeps_all_bytes_in_few_messages(sizes: list[int]) -> None:
    """Bytes would be lost between frames and Noise messages, or each frame cost a message more."""
    parts = [os.urandom(size) for size in sizes]
    messages = [bytes(message) for message in split_messages(parts)]
    assert b"".join(messages) == b"".join(parts)
    assert all(len(message) == PLAINTEXT_BYTES_MAX for message in messages[:-1])
    assert len(messages) == -(-sum(sizes) // PLAINTEXT_BYTES_MAX)


def test_header__unknown_kind_is_refused() -> None:
    """A frame of the future would be read as one of today."""
    with pytest.raises(MuxerProtocolError):
        Header.decode(b"\x00\x04" + bytes(10))
    header = Header(FrameKind.DATA, Flag.SYN | Flag.FIN, 7, 123)
    assert Header.decode(header.encode()) == header


async def test_links__tell_direction_age_and_round_trip() -> None:
    """The operator could not see who dialed whom or which peer is far away, or peers would be pinged for nobody."""
    async with open_couple() as (one, two):
        to_two, to_one = two.get_id().to_base58(), one.get_id().to_base58()
        assert describe_links(one.swarm)[to_two].round_trip_s is None  # this asks for the first ping
        await until(lambda: describe_links(one.swarm)[to_two].round_trip_s is not None)
        link, seen = describe_links(one.swarm)[to_two], describe_links(two.swarm)[to_one]
        assert link.round_trip_s is not None and 0.0 <= link.round_trip_s <= link.connected_seconds
        assert link.is_outbound and not seen.is_outbound
        listening = two.get_addrs()[0]
        assert link.address == f"{listening.value_for_protocol('ip4')}:{listening.value_for_protocol('tcp')}"
        connection, _ = muxed(await one.new_stream(two.get_id(), [DEAF]))
        assert connection._ping_count == 1  # asked again and again, pinged once
        connection._take_header(Header(FrameKind.PING, Flag.ACK, 0, 1))  # an answer to no ping, which would count twice
        assert describe_links(one.swarm)[to_two].round_trip_s == link.round_trip_s
