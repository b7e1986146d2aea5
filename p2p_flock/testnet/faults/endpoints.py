"""Faults of the chain and of the way to it: rpc-down, chain-down, reorg. Called by ``injector.py``."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from p2p_flock.chain.client import RpcClient
from p2p_flock.errors import UsageError
from p2p_flock.testnet.faults.scene import Scene
from p2p_flock.testnet.faults.wiring import Wiring
from p2p_flock.testnet.processes import find_descendants


class RpcDown:
    """The nodes' RPC endpoints refuse: every connection is reset, old ones and new ones. The chain itself goes on."""

    def __init__(self, wiring: Wiring, names: Sequence[str]) -> None:
        self._wiring, self.names = wiring, tuple(names)

    async def strike(self) -> None:
        """Close their doors."""
        self._wiring.close_doors(self.names)

    async def mend(self) -> None:
        """Open them again."""
        self._wiring.open_doors(self.names)


class ChainDown:
    """SIGSTOP of anvil: connections stay open and nothing answers, no block comes. SIGCONT later; time went on."""

    names = ("chain",)

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._anvil = 0

    async def strike(self) -> None:
        """Stop it.

        Raises:
            UsageError: anvil is not where it should be.
        """
        self._anvil = find_anvil_below(self._scene.network.devnet.pid)
        os.kill(self._anvil, signal.SIGSTOP)

    async def mend(self) -> None:
        """Let it go on."""
        with suppress(ProcessLookupError):  # it has ended, which the launcher's watch notices
            os.kill(self._anvil, signal.SIGCONT)


class Reorg:
    """anvil takes the newest blocks back, with their transactions: whoever sent them must send them again."""

    names = ("chain",)

    def __init__(self, scene: Scene, depth: int) -> None:
        self._scene, self._depth = scene, depth

    async def strike(self) -> None:
        """Take them back.

        Raises:
            ChainError: anvil refuses, or does not answer.
        """
        client = RpcClient([self._scene.network.devnet.rpc_url])
        try:
            await client.call("anvil_reorg", self._depth, [])
        finally:
            client.close()

    async def mend(self) -> None:
        """The chain goes on by itself."""


def find_anvil_below(devnet: int) -> int:
    """The process ID of the supervised anvil.

    Raises:
        UsageError: it is not there.
    """
    for process in find_descendants(devnet):
        if Path(f"/proc/{process}/comm").read_text().strip() == "anvil":
            return process
    raise UsageError(f"no anvil runs below the local chain's process {devnet}; see logs/chain.log")
