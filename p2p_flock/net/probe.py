"""Asks once whether a peer can be reached and is who it should be, without taking part in the network.

Called by ``p2p-flock doctor``. A probe connects, lets the other side prove its peer ID in the Noise handshake, and
leaves; it does so under an identity that is thrown away, so that no book keeps it and our own node may be asked too. It
never opens a stream and answers none.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum

import trio
from libp2p.network.exceptions import SwarmException
from multiaddr import Multiaddr

from p2p_flock.errors import NetError
from p2p_flock.net.discovery import parse_peer_id
from p2p_flock.net.framing import FrameError
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.host import SEED_BYTES, open_host, open_listening_sockets
from p2p_flock.net.muxer import Liveness
from p2p_flock.net.peer_book import parse_address
from p2p_flock.net.session import Traffic


class Outcome(Enum):
    """What a probe met."""

    REACHED = "reached"  # the peer answers and has proved its ID
    NO_NAME = "no name"  # the host's name cannot be resolved
    NO_CONNECTION = "no connection"  # refused, or no answer in time
    NOT_THE_PEER = "not the peer"  # something answers, but does not prove that ID


@dataclass(frozen=True, slots=True)
class Probed:
    """Outcome, the system's or library's words for it (not to be trusted), and how long it took."""

    outcome: Outcome
    detail: str
    milliseconds: int


class Prober:
    """Get one from :func:`open_prober`."""

    def __init__(self, host: HardenedHost) -> None:
        self._host = host

    async def probe(self, multiaddr: str, timeout_s: float) -> Probed:
        """Try one address that ends in ``/p2p/ID``.

        Raises:
            NetError: it is no such address.
        """
        try:
            address, peer_id = parse_address(multiaddr)
            if peer_id is None:
                raise ValueError("it lacks /p2p/ID")
            peer = parse_peer_id(peer_id)
        except (ValueError, FrameError) as error:
            raise NetError(f"{multiaddr!r} is no address of a peer: {error}") from error
        started = time.monotonic()

        def probed(outcome: Outcome, detail: str = "") -> Probed:
            return Probed(outcome, detail, int((time.monotonic() - started) * 1000))

        try:
            with trio.fail_after(timeout_s):
                await (await trio.open_tcp_stream(address.host, address.port)).aclose()
        except trio.TooSlowError:
            return probed(Outcome.NO_CONNECTION, f"no answer within {timeout_s:.0f} s")
        except OSError as error:
            outcome = Outcome.NO_NAME if isinstance(error, socket.gaierror) else Outcome.NO_CONNECTION
            return probed(outcome, error.strerror or str(error))
        try:
            with trio.fail_after(timeout_s):
                await self._host.swarm.dial_addr(Multiaddr(str(address)), peer)
        except (SwarmException, trio.TooSlowError, ValueError) as error:
            return probed(Outcome.NOT_THE_PEER, str(error))
        milliseconds = probed(Outcome.REACHED)
        for conn in self._host.swarm.get_connections(peer):
            await conn.close()
        return milliseconds


@asynccontextmanager
async def open_prober() -> AsyncIterator[Prober]:
    """A host under a fresh identity, that nobody is told of."""
    async with _open_host(os.urandom(SEED_BYTES), "127.0.0.1", 0) as host:
        yield Prober(host)


@asynccontextmanager
async def answer_probes(identity: bytes, listen_host: str, listen_port: int) -> AsyncIterator[None]:
    """Listen as the node would, while the block runs, so that its own addresses can be tried before it runs.

    Args:
        identity: 32-byte Ed25519 seed of the node.

    Raises:
        PortTakenError: another process listens there.
    """
    async with _open_host(identity, listen_host, listen_port):
        yield


@asynccontextmanager
async def _open_host(identity: bytes, listen_host: str, listen_port: int) -> AsyncIterator[HardenedHost]:
    listeners = await open_listening_sockets(listen_host, listen_port)
    try:
        async with open_host(identity, listeners, Traffic(), Liveness(), lambda _peer: None) as host:
            yield host
    finally:
        for listener in listeners:
            await listener.aclose()
