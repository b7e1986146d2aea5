"""Hosts and small helpers that the tests of net share. No mocks: every host listens on a real socket of 127.0.0.1."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from multiaddr import Multiaddr

from p2p_flock.net.adapter import Net, NetConfig, open_net
from p2p_flock.net.framing import STREAM_FAILURES
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.host import open_host, open_listening_sockets
from p2p_flock.net.muxer import Liveness
from p2p_flock.net.session import Traffic

ECHO = TProtocol("/test/echo/1")
PATIENCE_SECONDS = 10.0

stock_hosts_opened: list[IHost] = []  # by the running test, see conftest.py

OpenHost = Callable[[], AbstractAsyncContextManager[IHost]]


@asynccontextmanager
async def open_stock(connections_max: int = 300, *, noise_only: bool = True) -> AsyncIterator[IHost]:
    """A host of the library as it comes, with Noise only unless its default is what is tested."""
    keys = create_new_key_pair(os.urandom(32))
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE_ID: NoiseTransport(keys, noise_privkey=create_noise_key_pair().private_key)}
        if noise_only
        else None,
        muxer_preference="YAMUX",
        connection_config=ConnectionConfig(
            max_connections=connections_max,
            min_connections=0,
            low_watermark=0,
            high_watermark=connections_max,
            auto_connect_interval=3600.0,
        ),
    )
    stock_hosts_opened.append(host)
    host.set_stream_handler(ECHO, echo)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield host


@asynccontextmanager
async def open_hardened(liveness: Liveness | None = None) -> AsyncIterator[HardenedHost]:
    """A host of ours, without the protocols above it."""
    sockets = await open_listening_sockets("127.0.0.1", 0)
    try:
        async with open_host(os.urandom(32), sockets, Traffic(), liveness or Liveness(), lambda _peer: None) as host:
            host.set_stream_handler(ECHO, echo)
            yield host
    finally:
        for listener in sockets:  # where it was cancelled before it served
            listener.socket.close()


async def echo(stream: INetStream) -> None:
    """Answer with what was asked."""
    await stream.write(await stream.read(1024))
    await stream.close()


async def dial(host: IHost, other: IHost) -> None:
    """Connect two hosts."""
    swarm = host.get_network()
    address = other.get_addrs()[0]
    await swarm.dial_addr(address.decapsulate(Multiaddr("/p2p/" + address.value_for_protocol("p2p"))), other.get_id())


async def ask_echo(host: IHost, peer: ID) -> bool:
    """Whether the peer still serves streams on the connection we have."""
    with trio.move_on_after(3.0):
        stream = await host.new_stream(peer, [ECHO])
        await stream.write(b"hello")
        return bool(await stream.read(5) == b"hello")
    return False


async def wait_for_reaction(stream: INetStream) -> None:
    """Give the other end a moment to handle what it got; it may end the stream or keep silent."""
    with trio.move_on_after(0.2), suppress(*STREAM_FAILURES):
        await stream.read(1)


async def survives(open_victim: OpenHost, attack: Callable[[IHost, IHost], Awaitable[None]]) -> bool:
    """Whether a host still serves a newcomer, and the attacker's own connection, after an attack."""
    try:
        async with open_victim() as victim, open_hardened() as attacker:
            await dial(attacker, victim)
            await attack(attacker, victim)
            async with open_hardened() as newcomer:
                await dial(newcomer, victim)
                return await ask_echo(newcomer, victim.get_id())
    except BaseExceptionGroup:
        return False


def make_config(**changes: object) -> NetConfig:
    """A node on a free port with a fresh key."""
    config = NetConfig(
        private_key=os.urandom(32),
        listen_host="127.0.0.1",
        listen_port=0,
        bootstrap=(),
        blob_source=lambda _digest: None,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def open_pair(first: NetConfig | None = None, second: NetConfig | None = None) -> AsyncIterator[tuple[Net, Net]]:
    """Two connected nodes."""
    async with open_net(first or make_config()) as one:
        config = replace(second or make_config(), bootstrap=(one.addresses[0],))
        async with open_net(config) as two:
            await until(lambda: two.peer_id in one.connected() and one.peer_id in two.connected())
            yield one, two


async def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_SECONDS) -> None:
    """Wait for something that happens on another task or machine. Raises TooSlowError."""
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.sleep(0.01)
