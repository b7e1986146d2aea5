"""Runs of the simulator with every checker watching; shared by the tests of checkers, bugs and byzantine members."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.params import AllianceParams
from p2p_flock.ports import Effect, Machine
from p2p_flock.testing.checkers import CHECKERS, Panel, Roster, make_panel
from p2p_flock.testing.configuration import Config, Result
from p2p_flock.testing.facts import Fact, Make, Post
from p2p_flock.testing.faults import NONE, Faults
from p2p_flock.testing.node import Node, make_honest
from p2p_flock.testing.simulator import Simulation
from p2p_flock.types import Role

QUIET_ROUND_MS = 12_000  # with the simulator's training and judging times; twice what is measured


class Recorder:
    """A checker that remembers every fact."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def observe(self, fact: Fact) -> None:
        self.facts.append(fact)

    def finish(self) -> None:
        pass


def watch(simulation: Simulation, is_calm: bool = False, only: str | None = None) -> Simulation:
    """Let every checker, or one only, watch a simulation; ``is_calm``: nothing goes wrong but stops and starts."""
    roster = Roster(
        simulation.params, simulation.world.initial_model, simulation.byzantine, simulation.world.blobs.get, is_calm,
        QUIET_ROUND_MS if is_calm else None,
    )  # fmt: skip
    simulation.watch(make_panel(roster) if only is None else Panel(roster, (CHECKERS[only](roster),)))
    return simulation


def run(
    seed: int = 0,
    nodes: int = 8,
    rounds: int = 1,
    faults: Faults = NONE,
    makes: Mapping[int, Make] | None = None,
    are_all_honest: bool = False,
    is_calm: bool = False,
    plan: Callable[[Simulation], object] = lambda simulation: None,
    kind: type[Simulation] = Simulation,
    limit_ms: int | None = None,
    only: str | None = None,
    params: AllianceParams | None = None,
    task: TaskManifest | None = None,
) -> tuple[Simulation, Result]:
    """One watched simulation; raises Violation. ``plan`` may plan what happens before it starts."""
    config = Config(
        seed=seed, nodes=nodes, rounds=rounds, faults=faults, makes=makes or {}, are_all_honest=are_all_honest,
        limit_ms=limit_ms, params=params, task=task,
    )  # fmt: skip
    simulation = watch(kind(config), is_calm, only)
    plan(simulation)
    return simulation, simulation.run()


FOREVER = -1
Fate = Callable[[Node, Effect], int | None]
"""Asked before each effect of each node: how long it is down instead, in ms; ``None``: it is spared."""


class Struck(Simulation):
    """Nodes are struck by ``fate``, besides what the faults do."""

    fate: Fate = staticmethod(lambda node, effect: None)

    def strikes(self, node: Node, effect: Effect) -> bool:
        downtime_ms = self.fate(node, effect)
        if downtime_ms is None:
            return super().strikes(node, effect)
        node.stop(f"struck before {type(effect).__name__}", downtime_ms == FOREVER)
        if downtime_ms != FOREVER:
            self.at(downtime_ms, node.start)
        return True


def run_struck(fate: Fate, is_calm: bool = True, rounds: int = 1) -> tuple[Result, Recorder]:
    """An alliance of eight without other faults, under every checker."""
    recorder = Recorder()

    def plan(simulation: Simulation) -> None:
        assert isinstance(simulation, Struck)
        simulation.fate = fate
        simulation.watch(recorder)

    return run(rounds=rounds, is_calm=is_calm, plan=plan, kind=Struck)[1], recorder


def plant(bug: Callable[[Post], Machine], role: Role, nodes: int = 8, position: int | None = None) -> dict[int, Make]:
    """Everybody's machine in this role is the bug's; with ``position`` only that validator's or that trainer's."""

    def make(post: Post) -> Machine:
        context = post.context
        order = context.assignment.validators if role is Role.VALIDATOR else context.trainers
        is_meant = position is None or order.index(post.seat) == position if post.seat in order else False
        return bug(post) if is_meant else make_honest(post)

    return dict.fromkeys(range(nodes), make)
