"""How the network's processes are wired where faults need more than processes: doors to the chain, namespaces, cuts.

Made by ``launcher.py`` before anything starts; ``bring_up.py`` asks it where each process lives. A run without such
faults is wired as ever: everything on 127.0.0.1, nothing in between.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from p2p_flock.chain.devnet_deployment import Devnet
from p2p_flock.errors import UsageError
from p2p_flock.store.files import write_atomic
from p2p_flock.testnet.faults.forwarder import FOLDER, READY_FILE, Door, write_closed, write_doors
from p2p_flock.testnet.faults.grammar import CutBy, Fault, FaultKind
from p2p_flock.testnet.faults.namespaces import Namespaces, explain_unusable, remove_namespaces
from p2p_flock.testnet.faults.targets import choose_targets
from p2p_flock.testnet.network import wait_until
from p2p_flock.testnet.place import LOOPBACK, Place
from p2p_flock.testnet.ports import choose_ports
from p2p_flock.testnet.processes import Child, Processes

BOOTSTRAP = "bootstrap"
CUT_FILE = "cut.json"


@dataclass(slots=True)
class Wiring:
    """The wiring of one run.

    Attributes:
        names: of the members' nodes, in order.
        network_faults_by: what partitions the network: "namespaces", "fault port", or ``None`` where nothing does.
        remark: why it is the fault port, for the operator.
    """

    processes: Processes
    names: tuple[str, ...]
    faults: Sequence[Fault]
    seed: int = 0
    network_faults_by: str | None = None
    remark: str | None = None
    _namespaces: Namespaces | None = None
    _door_ports: dict[str, int] = field(default_factory=dict)
    _clocks: dict[str, int] = field(default_factory=dict)
    _closed: list[str] = field(default_factory=list)

    def prepare(self, cut_by: CutBy) -> None:
        """Make what must be there before the first process. Undone by :meth:`close`.

        Raises:
            UsageError: namespaces were demanded and cannot be had.
        """
        (self.processes.directory / FOLDER).mkdir(parents=True, exist_ok=True)
        for index, fault in enumerate(self.faults):
            if fault.kind is FaultKind.CLOCK:
                assert fault.target is not None and fault.offset_ms is not None
                generator = random.Random(f"{self.seed} {index} {fault.text}")
                for name in choose_targets(fault.target, None, None, self.names, self.names, generator):
                    self._clocks[name] = fault.offset_ms
        if any(fault.kind is FaultKind.PARTITION for fault in self.faults):
            self._choose_cutter(cut_by)

    def _choose_cutter(self, cut_by: CutBy) -> None:
        reason = None if cut_by is CutBy.FAULT_PORT else explain_unusable()
        if cut_by is not CutBy.FAULT_PORT and reason is None:
            self._namespaces = Namespaces(self.processes.directory)
            try:
                self._namespaces.build((*self.names, BOOTSTRAP))
            except UsageError as error:
                self._namespaces, reason = None, str(error)
        if self._namespaces is not None:
            self.network_faults_by = "namespaces"
            return
        if cut_by is CutBy.NAMESPACES:
            raise UsageError(f"--cut-by namespaces: {reason}. Use --cut-by fault-port, or auto.")
        self.network_faults_by, self.remark = "fault port", reason
        self._write_cuts({})

    async def connect(self, devnet: Devnet) -> None:
        """Start the doors to the chain, once that runs.

        Raises:
            UsageError: the forwarder did not start.
        """
        rpc_port, beacon_port = (int(url.rpartition(":")[2]) for url in (devnet.rpc_url, devnet.beacon_urls[0]))
        doors: list[Door] = []
        if self._namespaces is not None:  # nothing of the machine's loopback is there: the same ports, inside
            for name in self.names:
                inside = self._namespaces.name(name)
                doors.append(Door(name, inside, rpc_port, rpc_port))
                doors.append(Door(name, inside, beacon_port, beacon_port, is_rpc=False))
        elif any(fault.kind is FaultKind.RPC_DOWN for fault in self.faults):
            self._door_ports = dict(zip(self.names, choose_ports(len(self.names)), strict=True))
            doors = [Door(name, None, port, rpc_port) for name, port in self._door_ports.items()]
        if doors:
            await self._start_forwarder(doors)

    async def _start_forwarder(self, doors: Sequence[Door]) -> None:
        folder = self.processes.directory / FOLDER
        write_doors(folder, doors)
        command = [sys.executable, "-m", "p2p_flock.testnet.faults.forwarder", str(self.processes.directory)]
        child: Child = self.processes.start("forwarder", command)
        await wait_until(child, (folder / READY_FILE).exists, "the forwarder to the chain")

    def place(self, name: str) -> Place:
        """Where a member's node, or the bootstrap node, lives."""
        settings: tuple[str, ...] = ()
        if name in self._clocks:
            settings += (f"test.clock_offset_ms={self._clocks[name]}",)
        if self.network_faults_by == "fault port" and name != BOOTSTRAP:
            settings += (f"test.fault_port_path={self.processes.directory / FOLDER / CUT_FILE}",)
        rpc_url = f"http://{LOOPBACK}:{self._door_ports[name]}" if name in self._door_ports else None
        if self._namespaces is None:
            return Place(rpc_url=rpc_url, settings=settings)
        namespaces = self._namespaces
        return Place(namespaces.host(name), namespaces.command_prefix(name), rpc_url, (*settings, "net.mdns=false"))

    def close(self) -> None:
        """Leave nothing behind. The processes must have ended."""
        remove_namespaces(self.processes.directory)

    @property
    def clocks(self) -> Mapping[str, int]:
        """Nodes whose clock is wrong, and by how many milliseconds it is ahead."""
        return self._clocks

    # --- while it runs -----------------------------------------------------------------------------------------

    def close_doors(self, names: Sequence[str]) -> None:
        """From now on these nodes' RPC endpoint resets every connection."""
        self._closed += names  # a list, not a set: two faults may close one door
        write_closed(self.processes.directory / FOLDER, self._closed)

    def open_doors(self, names: Sequence[str]) -> None:
        """Undo one :meth:`close_doors`."""
        for name in names:
            self._closed.remove(name)
        write_closed(self.processes.directory / FOLDER, self._closed)

    def cut(self, groups: Sequence[Sequence[str]], peer_ids: Mapping[str, str]) -> None:
        """Cut the groups off from each other, without a word to anybody. ``peer_ids``: by name.

        Raises:
            UsageError: a command failed.
        """
        if self._namespaces is not None:
            self._namespaces.cut(groups)
            return
        cuts = {}
        for group in groups:
            others = [peer_ids[name] for other in groups if other is not group for name in other]
            cuts.update({peer_ids[name]: others for name in group})
        self._write_cuts(cuts)

    def heal(self) -> None:
        """Join all groups again.

        Raises:
            UsageError: a command failed.
        """
        if self._namespaces is not None:
            self._namespaces.cut([self.names])
        else:
            self._write_cuts({})

    def _write_cuts(self, cuts: Mapping[str, Sequence[str]]) -> None:
        """``FaultPort`` in ``net/fault_port.py`` reads it: the peers that each node, by peer ID, must not hear."""
        write_atomic(self.processes.directory / FOLDER / CUT_FILE, json.dumps(cuts).encode())
