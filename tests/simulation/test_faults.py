"""Alliances in which everything goes wrong at once, and one in which a node crashes before each of its effects in turn.

``scripts/simulate`` does the first with hundreds of seeds; a failure names the command that repeats it.
"""

from __future__ import annotations

import pytest

from p2p_flock.ports import Effect
from p2p_flock.testing.alliance import make_params
from p2p_flock.testing.faults import KINDS, draw_faults
from p2p_flock.testing.node import Node
from tests.simulation.running import run, run_struck


@pytest.mark.parametrize("seed", range(12))
def test_faulty_alliance__keeps_every_promise(seed: int) -> None:
    """Survivors, sum, outcome or model would depend on who crashed when, or a node would contradict itself."""
    seats = 8 if seed % 2 else 13
    params = make_params(cohort_count=1 if seed % 2 else 2, seat_count=seats, round_count=2, reward_per_round=10**18)
    faults = draw_faults(seed, seats, 2, [kind for kind in KINDS if kind != "byzantine"])
    _, result = run(seed, seats, 2, faults, params=params)
    assert result.is_complete


@pytest.mark.parametrize("position", [0, 1, 3])
def test_crash_between_any_two_effects__is_survived(position: int) -> None:
    """P8: some effect would leave a node that cannot come back, or that comes back and contradicts itself."""

    def crash_at(moment: int) -> int:
        """How many effects the victim came to, where it crashes instead of this one."""
        seen = 0

        def crash_once(node: Node, effect: Effect) -> int | None:
            nonlocal seen
            assert node.context is not None
            order = (*node.context.assignment.validators, *node.context.trainers)
            is_victim = node.seat == order[position]
            seen += is_victim
            return 800 if is_victim and seen == moment + 1 else None

        result, _ = run_struck(crash_once)
        assert (result.rounds_settled, result.rounds_voided) == (1, 0), moment
        return seen

    for moment in range(crash_at(10**6)):
        crash_at(moment)
