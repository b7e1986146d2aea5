"""The network falls into groups that do not hear each other. Called by ``injector.py``; ``wiring.py`` knows how."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from p2p_flock.testnet.faults.scene import Scene
from p2p_flock.testnet.faults.wiring import Wiring


class Partition:
    """Groups of nodes; the chain stays in reach of all. With namespaces the bootstrap node stays with the first group,
    with the fault port it stays in reach of all, and passes nothing on but addresses."""

    def __init__(self, wiring: Wiring, scene: Scene, groups: Sequence[Sequence[str]]) -> None:
        self._wiring, self._groups = wiring, groups
        self._peer_ids = {node.name: node.peer_id for node in scene.network.nodes}
        self.names = tuple(name for group in groups for name in group)

    async def strike(self) -> None:
        """Cut."""
        await trio.to_thread.run_sync(self._wiring.cut, self._groups, self._peer_ids)

    async def mend(self) -> None:
        """Join them again."""
        await trio.to_thread.run_sync(self._wiring.heal)
