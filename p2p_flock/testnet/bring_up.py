"""Brings the members up: each makes its home, starts its daemon and joins, as soon as it can and beside the others.

Called by ``launcher.py``. On a small machine the start is bound by CPU time, most of it imports, so nothing waits that
need not: daemons start while other homes are made, the first one that answers creates the alliance, and every other
joins when it answers. Daemons start a few at a time, in order, so that the first of them can get on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import trio

from p2p_flock.chain.devnet_deployment import Devnet, fund
from p2p_flock.params import AllianceParams
from p2p_flock.testnet import network as building
from p2p_flock.testnet.network import Network, Node
from p2p_flock.testnet.options import Options
from p2p_flock.testnet.place import HERE, Place
from p2p_flock.testnet.ports import choose_ports
from p2p_flock.testnet.processes import Processes
from p2p_flock.types import AllianceId

STARTS_AT_ONCE = (os.cpu_count() or 1) + 1  # of commands, and of daemons: one more than can compute at a time


class Members:
    """All members of a network on their way; ``run`` it in a nursery.

    ``reach`` is told the stages: "homes made", "accounts funded", "daemons answer", "alliance created", "all joined",
    the first three when the last member has got there.
    """

    def __init__(
        self,
        processes: Processes,
        options: Options,
        params: AllianceParams,
        foundations: tuple[Devnet, Sequence[str]],
        reach: Callable[[str], None],
        place_of: Callable[[str], Place] = lambda _: HERE,
    ) -> None:
        self._processes, self._options, self._params, self._reach = processes, options, params, reach
        self._devnet, self._bootstrap = foundations
        self._place_of = place_of
        self._making, self._starting = trio.CapacityLimiter(STARTS_AT_ONCE), trio.CapacityLimiter(STARTS_AT_ONCE)
        self._creating = trio.Lock()
        self._alliance: tuple[AllianceId, bytes] | None = None
        self._nodes: dict[int, Node] = {}
        self._answering = self._joined = 0
        self._made, self._funded, self._created = trio.Event(), trio.Event(), trio.Event()

    async def run(self) -> None:
        """Return when all have joined; the last to join opens round 0.

        Raises:
            UsageError: a command failed, or a process did not start.
            ChainError: the accounts could not be funded.
        """
        (self._processes.directory / "passwords").mkdir(mode=0o700)
        ports = choose_ports(self._options.nodes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fund)
            for index, port in enumerate(ports):
                nursery.start_soon(self._bring_up, index, port)

    async def network(self) -> Network:
        """The network once all homes are made and the alliance exists; members may still be joining."""
        await self._made.wait()
        await self._created.wait()
        assert self._alliance is not None
        alliance, contract = self._alliance
        return Network(self._devnet, alliance, contract, tuple(self._nodes[index] for index in sorted(self._nodes)))

    async def _fund(self) -> None:
        await self._made.wait()
        await fund(self._devnet, [node.address for node in self._nodes.values()])
        self._reach("accounts funded")
        self._funded.set()

    async def _bring_up(self, index: int, port: int) -> None:
        processes, options = self._processes, self._options
        async with self._making:
            place = self._place_of(building.node_name(index))
            node = await building.make_node(processes, options, self._devnet, self._bootstrap, index, port, place)
        self._nodes[index] = node
        if len(self._nodes) == options.nodes:
            self._reach("homes made")
            self._made.set()
        async with self._starting:
            await building.start_node(processes, options, node)
        self._answering += 1
        if self._answering == options.nodes:
            self._reach("daemons answer")
        await self._funded.wait()
        alliance = await self._create_once(node)
        await building.join(processes, alliance, node)
        self._joined += 1
        if self._joined == options.nodes:
            self._reach("all joined")

    async def _create_once(self, node: Node) -> AllianceId:
        """The alliance's ID; whoever comes first creates it."""
        async with self._creating:
            if self._alliance is None:
                self._alliance = await building.create_alliance(self._processes, self._options, self._params, node)
                self._reach("alliance created")
                self._created.set()
        return self._alliance[0]
