"""What a simulation is made from and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.params import AllianceParams
from p2p_flock.testing.alliance import make_scaled_params, make_task
from p2p_flock.testing.facts import Fact, Make
from p2p_flock.testing.faults import NONE, Faults


class Checker(Protocol):
    """What ``checkers/`` provides: told every fact as it happens; raises Violation."""

    def observe(self, fact: Fact) -> None:
        """Something happened."""

    def finish(self) -> None:
        """Nothing more will."""


@dataclass(frozen=True)
class Config:
    """A simulation.

    Attributes:
        params: the alliance's; by default scaled to ``nodes``.
        makes: machines that are not the honest ones, by member; those members count as byzantine, unless
            ``are_all_honest``: then these are honest members with a (planted) bug.
        limit_ms: virtual time after which it ends whatever the state; by default from faults and rounds.
        endpoint_count: RPC endpoints of each member.
        parameter_count: width D of the model; ``task``: another one than a task of so many parameters.
        is_sharing: whether nodes share what is pure (``sharing.py``); the digest is the same without.
    """

    seed: int = 0
    nodes: int = 8
    rounds: int = 2
    faults: Faults = NONE
    suite: str = "fast"
    params: AllianceParams | None = None
    makes: Mapping[int, Make] = field(default_factory=dict)
    are_all_honest: bool = False
    limit_ms: int | None = None
    endpoint_count: int = 1
    parameter_count: int = 6
    is_sharing: bool = True
    task: TaskManifest | None = None


@dataclass(frozen=True)
class Result:
    """How a simulation ended.

    Attributes:
        is_complete: the alliance closed by itself and every honest running node holds the last model.
        events: actions taken from the heap; facts: told to the checkers.
    """

    digest: str
    rounds_settled: int
    rounds_voided: int
    is_complete: bool
    virtual_ms: int
    events: int
    facts: int
    counts: Mapping[str, int]


def make_default_params(nodes: int, rounds: int, parameter_count: int) -> AllianceParams:
    """Scaled to ``nodes``.

    Raises:
        ParameterError: no alliance of this size is possible.
    """
    return make_scaled_params(nodes, rounds, make_task(parameter_count=parameter_count))
