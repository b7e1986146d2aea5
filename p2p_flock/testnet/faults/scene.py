"""What the faults of one run act on and what they leave behind. Made by ``launcher.py``, passed to every fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from p2p_flock.params import AllianceParams
from p2p_flock.testnet.network import Network, Node
from p2p_flock.testnet.processes import Processes
from p2p_flock.testnet.watch import AllianceView


@dataclass(slots=True)
class Scene:
    """The running network.

    Attributes:
        view: the alliance as the launcher's watch sees it.
        say: one line to the operator.
        seed: of every draw that a fault needs.
        dead: nodes whose daemon was killed and is not started again yet, or never. frozen: stopped for now.
        complaints: what a fault showed that must not be, such as a worker that outlives its daemon.
    """

    network: Network
    params: AllianceParams
    processes: Processes
    view: AllianceView
    say: Callable[[str], None]
    seed: int
    dead: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """All members' nodes, in order."""
        return tuple(node.name for node in self.network.nodes)

    @property
    def names_by_owner(self) -> dict[bytes, str]:
        return {node.address: node.name for node in self.network.nodes}

    def node(self, name: str) -> Node:
        return next(node for node in self.network.nodes if node.name == name)

    def home(self, name: str) -> Path:
        return self.node(name).home

    def living(self) -> frozenset[str]:
        """Nodes whose daemon runs and is not stopped."""
        children = self.processes.children
        running = {name for name in self.names if name in children and children[name].exit_code is None}
        return frozenset(running - self.dead - self.frozen)
