"""Whom a fault strikes: nodes by name, from a target, the round's roles and who lives. Pure; called by ``injector.py``.

Roles are those of the chain: the assignment that the round's beacon draws, the view that sealed it, the survivors in
the seal. Where there is a choice it is drawn from the fault's own generator, so a run repeats with its seed.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from p2p_flock.alliance.leading import rotate
from p2p_flock.testnet.faults.grammar import FaultPhase, Target, TargetKind
from p2p_flock.types import Assignment

NODE_PREFIX = "node"


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of one round by node name, as far as the chain shows them now.

    Attributes:
        validators: in leader order. trainers: in seat order of the cohorts.
        sealed_view: position of the validator that sealed the round; ``None`` before.
        survivors: trainers in the seal; empty before.
    """

    validators: tuple[str, ...]
    trainers: tuple[str, ...]
    sealed_view: int | None = None
    survivors: tuple[str, ...] = ()

    def leaders(self, phase: FaultPhase | None) -> tuple[str, ...]:
        """Who leads, then who takes over: from position 0 until the seal, afterwards from whoever sealed."""
        if self.sealed_view is None or phase in (None, FaultPhase.TRAIN, FaultPhase.SEAL):
            return self.validators
        order = rotate(range(len(self.validators)), self.sealed_view)
        return tuple(self.validators[position] for position in order)


def name_roles(
    assignment: Assignment,
    owners: Mapping[int, bytes],
    names: Mapping[bytes, str],
    sealed_view: int | None = None,
    survivors: Collection[int] = (),
) -> Roles:
    """The assignment by node name.

    Args:
        owners: account by seat, as frozen when the round opened. names: node by account.
        survivors: seats in the seal.
    """

    def name(seat: int) -> str:
        return names.get(owners[seat], "0x" + owners[seat].hex())

    return Roles(
        tuple(map(name, assignment.validators)),
        tuple(map(name, assignment.trainers)),
        sealed_view,
        tuple(name(seat) for seat in assignment.trainers if seat in survivors),
    )


def choose_targets(
    target: Target,
    phase: FaultPhase | None,
    roles: Roles | None,
    nodes: Sequence[str],
    living: Collection[str],
    generator: random.Random,
) -> tuple[str, ...]:
    """Names of those who are struck: living ones, as many as there are up to the number asked for.

    A validator is one that does not lead, while there is one; a trainer after the seal is a survivor of it.

    Args:
        roles: needed for a role only.
        nodes: all names, in order.
    """
    present = [name for name in nodes if name in living]
    match target.kind:
        case TargetKind.NODE:
            return tuple(name for name in present if name == f"{NODE_PREFIX}{target.number}")
        case TargetKind.ALL:
            return tuple(present)
        case TargetKind.HALF:
            chosen = set(generator.sample(present, len(present) // 2))
            return tuple(name for name in present if name in chosen)
    assert roles is not None, "roles are drawn before a role is struck"
    leaders = [name for name in roles.leaders(phase) if name in living]
    if target.kind is TargetKind.LEADER:
        return tuple(leaders[:1])
    if target.kind is TargetKind.VALIDATOR:
        others = leaders[1:]
        generator.shuffle(others)
        return tuple((others + leaders[:1])[: target.count])
    sealed = roles.survivors if phase not in (None, FaultPhase.TRAIN, FaultPhase.SEAL) else ()
    trainers = [name for name in sealed or roles.trainers if name in living]
    return tuple(generator.sample(trainers, min(target.count, len(trainers))))


def choose_groups(sizes: Sequence[int], nodes: Sequence[str], generator: random.Random) -> tuple[tuple[str, ...], ...]:
    """All nodes in groups of these sizes, drawn; each in the nodes' order. The sizes add up to the nodes."""
    assert sum(sizes) == len(nodes)
    order = generator.sample(nodes, len(nodes))
    groups = []
    for size in sizes:
        group, order = set(order[:size]), order[size:]
        groups.append(tuple(name for name in nodes if name in group))
    return tuple(groups)
