"""Makes a failing simulation smaller while it still breaks the same property: fewer nodes and rounds, fewer faults.

Greedy: each step tries one simplification after the other and keeps the first that still fails; it ends when none
does, or after a bounded number of tries. What is left is one command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from p2p_flock.testing.faults import NONE, Faults, format_faults

TRIES_MAX = 120
NODES_MIN = 6  # three validators and a cohort of three
HEAL_MS_MIN = 4000


@dataclass(frozen=True, slots=True)
class Case:
    """All that a simulation is made from."""

    seed: int
    nodes: int
    rounds: int
    faults: Faults
    suite: str = "fast"
    parameter_count: int = 6

    @property
    def command(self) -> str:
        """The command that repeats it."""
        words = [f"scripts/simulate --seed {self.seed} --nodes {self.nodes} --rounds {self.rounds}"]
        words.append(f"--faults {format_faults(self.faults)}")
        if self.suite != "fast":
            words.append(f"--suite {self.suite}")
        if self.parameter_count != 6:
            words.append(f"--parameters {self.parameter_count}")
        return " ".join(words)


def property_of(problem: str) -> str:
    """What is broken: the text up to its first colon, ``P2`` of ``P2: members disagree``."""
    return problem.partition(":")[0]


def shrink(case: Case, run: Callable[[Case], str | None], tries_max: int = TRIES_MAX) -> tuple[Case, str]:
    """The smallest case found that breaks the same property, and how it does.

    Args:
        run: what is wrong with a case, ``None`` where nothing is.

    Raises:
        ValueError: the case does not fail at all.
    """
    problem = run(case)
    if problem is None:
        raise ValueError("there is nothing to shrink: the case does not fail")
    broken, tries = property_of(problem), 0
    while True:
        for candidate in _simpler(case):
            if tries >= tries_max:
                return case, problem
            tries += 1
            found = run(candidate)
            if found is not None and property_of(found) == broken:
                case, problem = candidate, found
                break
        else:
            return case, problem


def _simpler(case: Case) -> Iterator[Case]:
    """Candidates, the boldest first."""
    if case.rounds > 1:
        yield replace(case, rounds=1)
        yield replace(case, rounds=case.rounds - 1)
    for nodes in (8, case.nodes // 2, case.nodes * 3 // 4, case.nodes - 1):
        if NODES_MIN <= nodes < case.nodes:
            yield replace(case, nodes=nodes)
    for field in fields(Faults):
        value, default = getattr(case.faults, field.name), getattr(NONE, field.name)
        if field.name == "heal_ms":
            if value // 2 >= HEAL_MS_MIN:
                yield _with(case, heal_ms=value // 2)
        elif value != default:
            yield _with(case, **{field.name: default})
    for field in fields(Faults):
        value, default = getattr(case.faults, field.name), getattr(NONE, field.name)
        if isinstance(value, int) and field.name != "heal_ms" and value > default + 1:
            yield _with(case, **{field.name: (value + default) // 2})


def _with(case: Case, **changes: Any) -> Case:
    return replace(case, faults=replace(case.faults, **changes))
