"""Runs solver.json: the numbers that the solver must choose, found there by trying every one in turn."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import pytest

from p2p_flock.alliance.solver import InfeasibleError, Population, Security, compute_security, solve

CASES = json.loads((Path(__file__).parent / "solver.json").read_text(encoding="utf-8"))["cases"]


def population_of(case: dict) -> Population:
    return Population(*case["alliance"], *case["shares_permille"])


def describe(case: dict) -> str:
    return "-".join(map(str, (*case["alliance"], *case["shares_permille"])))


@pytest.mark.parametrize("case", [c for c in CASES if c["holders"] is not None], ids=describe)
def test_solver__finds_the_table(case: dict) -> None:
    """Creators would get numbers that are too weak, or dearer than need be."""
    found = solve(population_of(case))
    assert (found.holders, found.threshold, found.collusion_bound) == (
        case["holders"],
        case["threshold"],
        case["collusion_bound"],
    )
    for bits, floor in (
        (found.privacy_bits, case["privacy_bits_floor"]),
        (found.delivery_bits, case["delivery_bits_floor"]),
    ):
        assert (bits == inf) if floor is None else (floor <= bits + 1e-9 < floor + 1)


@pytest.mark.parametrize("case", [c for c in CASES if c["holders"] is None], ids=describe)
def test_solver__bad_numbers_are_refused_with_what_they_are_worth(case: dict) -> None:
    """A creator would believe in a security that is not there."""
    with pytest.raises(InfeasibleError) as caught:
        solve(population_of(case))
    best = caught.value.best
    assert isinstance(best, Security)
    assert best == compute_security(population_of(case), best.threshold, best.collusion_bound)
    assert best.privacy_bits < 40 or best.delivery_bits < 30
    assert f"collusion bound {best.collusion_bound} and threshold {best.threshold}" in str(caught.value)
