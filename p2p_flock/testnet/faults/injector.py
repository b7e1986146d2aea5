"""Sees to it that every fault strikes at its moment, once, and is mended when its time is over. Run by ``launcher.py``.

Each fault is a task; what it does is in ``signals.py``, ``endpoints.py`` and ``partition.py``. What happened is said in
a line and kept for the report.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, assert_never

import trio

from p2p_flock.testnet.faults.endpoints import ChainDown, Reorg, RpcDown
from p2p_flock.testnet.faults.grammar import Fault, FaultKind
from p2p_flock.testnet.faults.moments import Moment, Moments
from p2p_flock.testnet.faults.partition import Partition
from p2p_flock.testnet.faults.scene import Scene
from p2p_flock.testnet.faults.signals import BootstrapDown, Freeze, Kill, Restart
from p2p_flock.testnet.faults.targets import Roles, choose_groups, choose_targets
from p2p_flock.testnet.faults.wiring import Wiring

SECONDS_DIGITS = 3


class Effect(Protocol):
    """What a fault does."""

    @property
    def names(self) -> Sequence[str]:
        """The nodes that it strikes, or what it strikes instead."""

    async def strike(self) -> None:
        """Break it."""

    async def mend(self) -> None:
        """Undo it, once; where the network ends before the fault does, that may be early."""


@dataclass(slots=True)
class FaultRecord:
    """What became of a fault. Moments are Unix seconds; ``at`` is ``None`` where it never struck.

    Attributes:
        round: in which it struck. groups: of a partition. into_round: seconds from the round's opening to the strike.
        done: when it was over: at once for what cannot be mended, at the mending else.
    """

    fault: Fault
    round: int | None = None
    nodes: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    at: float | None = None
    into_round: float | None = None
    done: float | None = None

    def describe(self) -> dict[str, Any]:
        """For the report."""
        phase = self.fault.phase
        return {
            "fault": self.fault.text,
            "kind": self.fault.kind.value,
            "round": self.round if self.round is not None else self.fault.round,
            "phase": None if phase is None else phase.value,
            "nodes": list(self.nodes),
            "groups": [list(group) for group in self.groups],
            "at": _rounded(self.at),
            "into_round": _rounded(self.into_round),
            "done": _rounded(self.done),
        }


@dataclass(slots=True)
class Injector:
    """The faults of a run. ``run`` it beside the rounds, ``finish`` it when the alliance is closed."""

    scene: Scene
    wiring: Wiring
    faults: Sequence[Fault]
    records: list[FaultRecord] = field(default_factory=list)
    _in_force: dict[int, Effect] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.records = [FaultRecord(fault) for fault in self.faults]

    async def run(self) -> None:
        """Return when every fault has struck, or missed its moment, and is over."""
        moments = Moments(self.scene)
        try:
            async with trio.open_nursery() as nursery:
                for index in range(len(self.faults)):
                    nursery.start_soon(self._befall, index, moments)
        finally:
            moments.close()

    async def finish(self) -> None:
        """Mend what is still broken, so that the nodes can end. Call it when ``run`` is over or cancelled."""
        for index in list(self._in_force):
            await self._mend(index)

    def complaints(self) -> list[str]:
        """What must not be, in sentences."""
        missed = [record for record in self.records if record.at is None]
        return [f"the fault {record.fault.text!r} never struck" for record in missed] + self.scene.complaints

    def struck_in(self, round_number: int) -> list[str]:
        """The faults that struck in a round, as they were given."""
        return [record.fault.text for record in self.records if record.at is not None and record.round == round_number]

    # --- one fault ---------------------------------------------------------------------------------------------

    async def _befall(self, index: int, moments: Moments) -> None:
        fault, record = self.faults[index], self.records[index]
        if fault.kind is FaultKind.CLOCK:
            record.round, record.at = 0, time.time()
            record.nodes = tuple(name for name in self.scene.names if name in self.wiring.clocks)
            return

        def choose(roles: Roles | None) -> tuple[str, ...]:
            if fault.target is None:
                return ()
            scene, generator = self.scene, self._generator(index)
            return choose_targets(fault.target, fault.phase, roles, scene.names, scene.living(), generator)

        moment = await moments.wait(fault, choose)
        if moment is None:
            self.scene.say(f"fault {fault.text}: its moment passed unseen; nothing was struck")
            return
        if fault.parts:
            record.groups = choose_groups(fault.parts, self.scene.names, self._generator(index))
        effect = self._make(fault, choose(moment.roles), record.groups)
        with trio.CancelScope(shield=True):  # what is half broken could not be mended
            record.round, record.nodes, record.at = moment.round, tuple(effect.names), time.time()
            log = self.scene.view.rounds.get(moment.round)
            record.into_round = None if log is None else record.at - log.opened_seen_at
            self._say_struck(record)
            self._in_force[index] = effect
            await effect.strike()
        if not fault.ends:
            del self._in_force[index]
            record.done = record.at
            return
        await self._wait_until_over(fault, moment, moments)
        with trio.CancelScope(shield=True):
            await self._mend(index)

    def _generator(self, index: int) -> random.Random:
        return random.Random(f"{self.scene.seed} {index} {self.faults[index].text}")

    def _make(self, fault: Fault, names: Sequence[str], groups: Sequence[Sequence[str]]) -> Effect:
        match fault.kind:
            case FaultKind.KILL:
                return Kill(self.scene, names)
            case FaultKind.RESTART:
                return Restart(self.scene, names)
            case FaultKind.FREEZE:
                return Freeze(self.scene, names)
            case FaultKind.BOOTSTRAP_DOWN:
                return BootstrapDown(self.scene)
            case FaultKind.PARTITION:
                return Partition(self.wiring, self.scene, groups)
            case FaultKind.RPC_DOWN:
                return RpcDown(self.wiring, names)
            case FaultKind.CHAIN_DOWN:
                return ChainDown(self.scene)
            case FaultKind.REORG:
                assert fault.depth is not None
                return Reorg(self.scene, fault.depth)
            case FaultKind.CLOCK:
                raise AssertionError("a wrong clock is wrong from the start")
            case _:
                assert_never(fault.kind)

    async def _wait_until_over(self, fault: Fault, moment: Moment, moments: Moments) -> None:
        if fault.seconds is not None:
            await trio.sleep(fault.seconds)
        else:
            await moments.wait_for_end(moment.round)

    async def _mend(self, index: int) -> None:
        effect, record = self._in_force.pop(index), self.records[index]
        await effect.mend()
        record.done = time.time()
        lasted = record.done - (record.at or record.done)
        self.scene.say(f"fault {record.fault.text}: over after {lasted:.1f} s ({_named(record)})")

    def _say_struck(self, record: FaultRecord) -> None:
        phase = "" if record.fault.phase is None else f" {record.fault.phase.value}"
        into = "" if record.into_round is None else f", {record.into_round:.1f} s after it opened"
        self.scene.say(f"fault {record.fault.text}: strikes {_named(record)} in round {record.round}{phase}{into}")


def _named(record: FaultRecord) -> str:
    return " | ".join(" ".join(group) for group in record.groups or (record.nodes,)) or "nobody"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, SECONDS_DIGITS)
