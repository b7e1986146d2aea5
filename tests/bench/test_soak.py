"""Whether a growing node is told from a flat one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from p2p_flock.bench.faults_table import render_soak
from p2p_flock.bench.soak import GROWTH_MAX, WARM_UP_ROUNDS, compute_slope, summarise
from p2p_flock.testnet.metrics import LEVEL_KEYS


def report_of(rounds: int, level: Callable[[int], float | None]) -> dict[str, Any]:
    """Every level of node1 is ``level(round)``; node0 is flat."""

    def cost(value: float | None) -> dict[str, float | None]:
        return dict.fromkeys(LEVEL_KEYS, value)

    entries = [
        {
            "outcome": "settled",
            "seconds": {"total": 4.0},
            "cost_by_node": {"node0": cost(50.0), "node1": cost(level(number))},
        }
        for number in range(rounds)
    ]
    return {"nodes": 2, "rounds": entries}


def test_soak__a_leak_of_one_in_each_round_shows() -> None:
    """A node that runs for months would end on its limit of descriptors."""
    found = summarise(report_of(110, lambda number: 50.0 + number))
    descriptors = found["figures"]["daemon_descriptors"]
    assert (
        not descriptors["is_flat"] and descriptors["growth_max"] == 75.0 and descriptors["slope"] == pytest.approx(0.5)
    )
    assert not found["figures"]["daemon_tasks"]["is_flat"]
    assert "**no**" in render_soak({**found, "command": "c", "date": "d", "commit": "a", "machine": "m"})


def test_soak__the_first_rounds_and_what_comes_and_goes_are_no_leak() -> None:
    """Caches that fill and streams that idle would make every measurement fail."""
    found = summarise(report_of(110, lambda number: 10.0 if number < WARM_UP_ROUNDS else 50.0 + number % 3))
    assert all(figure["is_flat"] for figure in found["figures"].values())


def test_soak__a_node_without_figures_shows() -> None:
    """Nothing measured would look like nothing grown."""
    report = report_of(110, lambda number: None)
    for each in report["rounds"]:
        del each["cost_by_node"]["node0"]
    assert not any(figure["is_flat"] for figure in summarise(report)["figures"].values())


def test_soak__bounds_name_every_level() -> None:
    """A new level would end the soak after its last round."""
    assert set(GROWTH_MAX) == set(LEVEL_KEYS)
    with pytest.raises(ValueError, match="too few"):
        summarise(report_of(WARM_UP_ROUNDS + 3, lambda number: 1.0))


def test_slope__is_that_of_the_line() -> None:
    """A leak would be told with another size."""
    assert compute_slope([0, 1, 2, 3], [1.0, 3.0, 5.0, 7.0]) == pytest.approx(2.0)
    assert compute_slope([5, 5], [1.0, 9.0]) == 0.0
