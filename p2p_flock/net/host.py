"""One libp2p host: Noise on TCP, our yamux, and nothing that the library switches on by itself.

Called by `net/adapter.py`. It must never be built with `libp2p.new_host`, whose defaults accept impersonation (row 1 of
the table in `net/hardening.py`).
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from multiaddr import Multiaddr

from p2p_flock.errors import NetError, PortTakenError
from p2p_flock.net.fault_port import FaultPort
from p2p_flock.net.hardening import (
    HardenedHost,
    HardenedSwarm,
    HardenedUpgrader,
    patch_negotiation,
    quiet_library_logging,
    run_service,
)
from p2p_flock.net.muxer import Liveness
from p2p_flock.net.peer_book import Address
from p2p_flock.net.session import Traffic

SEED_BYTES = 32


async def open_listening_sockets(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on a TCP port that no other process shares; 0 takes a free one. Raises PortTakenError."""
    try:
        return list(await trio.open_tcp_listeners(port, host=host))  # without SO_REUSEPORT, unlike the library
    except OSError as error:
        raise PortTakenError(
            f"cannot listen on {host} port {port}: {error.strerror}\n"
            f"find who holds it with `ss -ltnp 'sport = :{port}'` and end that or choose another port (net.listen_port)"
        ) from error


@asynccontextmanager
async def open_host(
    private_key: bytes,
    listeners: list[trio.SocketListener],
    traffic: Traffic,
    liveness: Liveness,
    on_change: Callable[[ID], None],
    fault_port: FaultPort | None = None,
) -> AsyncIterator[HardenedHost]:
    """Run a host on sockets that already listen. ``private_key`` is the 32-byte seed of the Ed25519 identity."""
    if len(private_key) != SEED_BYTES:
        raise NetError(f"the libp2p key is a seed of {SEED_BYTES} bytes, not {len(private_key)}")
    quiet_library_logging()
    patch_negotiation()
    key_pair = create_new_key_pair(private_key)
    peer_id = ID.from_pubkey(key_pair.public_key)
    peerstore = PeerStore()
    peerstore.add_key_pair(peer_id, key_pair)
    upgrader = HardenedUpgrader(key_pair, traffic, liveness, fault_port)
    swarm = HardenedSwarm(peer_id, peerstore, upgrader, on_change)
    host = HardenedHost(swarm)
    addresses = [Multiaddr(str(address)) for address in reachable_addresses(listeners)]
    host.advertise(addresses)
    async with run_service(swarm), trio.open_nursery() as nursery:
        nursery.start_soon(swarm.serve, listeners)
        if fault_port is not None:
            nursery.start_soon(fault_port.run, peer_id.to_base58())
        try:
            yield host
        finally:
            nursery.cancel_scope.cancel()
            await _close_connections(swarm)


async def _close_connections(swarm: HardenedSwarm) -> None:
    """All at once, and for a second at most: the library closes them one after the other."""
    with trio.CancelScope(deadline=trio.current_time() + 1.0, shield=True):
        async with trio.open_nursery() as nursery:
            for conn in swarm.get_connections():
                nursery.start_soon(conn.close)


def reachable_addresses(listeners: Sequence[trio.SocketListener]) -> list[Address]:
    """Where others may reach the sockets: their addresses, or for a wildcard the host's main address and loopback."""
    addresses: dict[Address, None] = {}
    for listener in listeners:
        host, port = listener.socket.getsockname()[:2]
        kind = "ip6" if listener.socket.family == socket.AF_INET6 else "ip4"
        for one in _own_hosts(kind) if host in ("0.0.0.0", "::") else [host]:
            addresses[Address(kind, one, port)] = None
    return list(addresses)


def _own_hosts(kind: str) -> list[str]:
    family, elsewhere, loopback = (
        (socket.AF_INET6, "2001:db8::1", "::1") if kind == "ip6" else (socket.AF_INET, "192.0.2.1", "127.0.0.1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))  # sends nothing; the kernel only chooses a source address
        except OSError:
            return [loopback]
        return [probe.getsockname()[0], loopback]
