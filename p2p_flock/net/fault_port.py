"""Test mode only: lets a file say which peers this node does not hear, as if the cable between them were cut.

Made by `daemon/node.py` where `test.fault_port_path` is set, which a devnet alone allows; used by `net/hardening.py`
and `net/host.py`. For machines on which a testnet may not make network namespaces. Like a cut cable it is silent:
nothing is closed or refused, bytes are neither read nor written, and what waits goes on its way when the cable is whole
again. Every node must follow the same file. It must never be on in a node that somebody relies on.

The file is a JSON object: peer ID to the list of peer IDs that it must not hear.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.security.secure_session import SecureSession

from p2p_flock.errors import NetError
from p2p_flock.net.session import Buffer, BulkSession, Traffic

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
FILE_BYTES_MAX = 1 << 20  # thousands of peers; a longer file is none of the testnet's


class FaultPort:
    """Who is not heard now. `run` it in a nursery."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen_ns = -1
        self._cut: frozenset[str] = frozenset()

    async def run(self, own_peer_id: str) -> None:
        """Follow the file for ever. Raises NetError if it is not what it must be."""
        log.warning("test mode: %s says whom this node hears", self._path)
        while True:
            self.look(own_peer_id)
            await trio.sleep(LOOK_SECONDS)

    def look(self, own_peer_id: str) -> None:
        """Read the file where it has changed; a missing one cuts nothing. Raises NetError as `run`."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns == self._seen_ns:
                return
            with self._path.open("rb") as file:
                cuts = json.loads(file.read(FILE_BYTES_MAX))
            self._cut = frozenset(str(peer) for peer in cuts.get(own_peer_id, ()))
        except FileNotFoundError:
            self._cut = frozenset()
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise NetError(f"{self._path} does not say whom this node hears: {error}") from error
        else:
            self._seen_ns = changed_ns
            log.warning("test mode: %d peers are not heard", len(self._cut))

    def is_cut(self, peer_id: str) -> bool:
        """Whether nothing passes between this node and the peer."""
        return peer_id in self._cut

    async def wait_until_heard(self, peer_id: str, is_closed: Callable[[], bool] = lambda: False) -> None:
        """Return when the peer can be heard. Raises ConnectionClosedError once ``is_closed``."""
        while self.is_cut(peer_id):
            if is_closed():
                raise ConnectionClosedError("we closed the connection")
            await trio.sleep(LOOK_SECONDS)

    async def open_session(self, secured: SecureSession, traffic: Traffic) -> BulkSession:
        """The session over a connection that was just made, once its peer can be heard."""
        await self.wait_until_heard(secured.remote_peer.to_base58())
        return CuttableSession(secured, traffic, self)


class CuttableSession(BulkSession):
    """A session through a fault port."""

    def __init__(self, secured: SecureSession, traffic: Traffic, port: FaultPort) -> None:
        super().__init__(secured, traffic)
        self._port = port
        self._peer_id = secured.remote_peer.to_base58()

    def _is_closed(self) -> bool:
        return self._socket.fileno() < 0

    def _receive_now(self) -> bool | None:
        return None if self._port.is_cut(self._peer_id) else super()._receive_now()

    async def _wait(self, wait: Callable[..., Awaitable[None]]) -> None:
        if self._port.is_cut(self._peer_id):
            await self._port.wait_until_heard(self._peer_id, self._is_closed)
        else:
            await super()._wait(wait)

    async def _send(self, buffers: list[Buffer]) -> None:
        await self._port.wait_until_heard(self._peer_id, self._is_closed)
        await super()._send(buffers)
