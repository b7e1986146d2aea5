"""The solver's parts: exact chances, levels, and words; the table itself is tests/vectors/solver.json."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise
from math import ceil, comb, floor, inf

import pytest

from p2p_flock.alliance.solver import (
    InfeasibleError,
    Population,
    compute_security,
    compute_tail,
    describe_bits,
    describe_security,
    solve,
)
from p2p_flock.errors import ParameterError


@pytest.mark.parametrize(("population", "marked", "drawn"), [(7, 3, 4), (6, 6, 2), (5, 0, 3), (8, 5, 5)])
def test_tail__counts_every_subset(population: int, marked: int, drawn: int) -> None:
    """All levels would be wrong."""
    subsets = [sum(owner < marked for owner in subset) for subset in combinations(range(population), drawn)]
    for more_than in range(drawn + 1):
        numerator, denominator = compute_tail(population, marked, drawn, more_than)
        assert Fraction(numerator, denominator) == Fraction(sum(n > more_than for n in subsets), len(subsets))


def find_google_parameters(owners: int, corrupt_share: float, dropout_share: float) -> tuple[int, int]:
    """k and t, semi-malicious, by ``graph_parameter_finder.cc`` (σ = 40, η = 30), with this module's tails."""
    corrupt, dropouts = floor(corrupt_share * owners), floor(dropout_share * owners)
    bad, alive = corrupt + dropouts, ceil((1 - dropout_share) * owners)
    for k in range(2, owners, 2):
        apart = Fraction(owners * (owners - k - 1), 2) * Fraction(comb(bad, k), comb(owners, k))
        if apart >= Fraction(1, 2**41):
            continue
        most = next(t for t in range(k + 1) if exceeds(owners, corrupt, k, t) <= Fraction(1, 2**41 * owners))
        threshold = ceil((most + k - 1.25) / 2) + 1
        if 1 - exceeds(owners, alive, k, threshold - 1) < Fraction(1, 2**30 * owners):
            return k, threshold
    raise AssertionError("only the complete graph would do")


def exceeds(population: int, marked: int, drawn: int, more_than: int) -> Fraction:
    return Fraction(*compute_tail(population, marked, drawn, more_than))


@pytest.mark.parametrize(
    ("owners", "shares", "expected"),
    [
        (128, (0.1, 0.1), (38, 26)),
        (128, (0.2, 0.1), (50, 38)),
        (256, (0.2, 0.1), (92, 68)),
        (512, (0.05, 0.05), (52, 36)),
    ],
)
def test_tail__gives_the_published_parameters(
    owners: int, shares: tuple[float, float], expected: tuple[int, int]
) -> None:
    """Our chances would differ from those behind a deployed system's parameters."""
    assert find_google_parameters(owners, *shares) == expected


def test_security__grows_with_the_bound_and_pays_in_delivery() -> None:
    """The search for the smallest bound would stop at a wrong one."""
    population = Population(1000, 7, 1, 100, 200, 100)
    levels = [compute_security(population, -(-(171 + c + 3) // 2), c) for c in range(60, 90, 2)]
    assert [level.holders for level in levels] == [171] * len(levels)
    assert all(a.privacy_bits < b.privacy_bits for a, b in pairwise(levels))
    assert all(a.delivery_bits > b.delivery_bits for a, b in pairwise(levels))


def test_security__of_a_bound_that_one_cohort_breaks_is_none() -> None:
    """A creator would be told that a cohort of five hides from a colluder who is in most of them."""
    security = compute_security(Population(8, 3, 1, 11, 200, 100), 3, 0)
    assert security.privacy_bits == 0.0 and security.delivery_bits == inf
    assert "ever outnumber the bound is 100%" in describe_security(security)


def test_security__never_fails_where_colluders_are_too_few() -> None:
    """A small alliance would be called insecure although nobody can break it."""
    assert solve(Population(8, 3, 1, 11, 200, 100)).privacy_bits == inf


@pytest.mark.parametrize(("bits", "text"), [(inf, "never"), (40.9, "2^-40"), (1.0, "50%"), (0.0, "100%")])
def test_bits__in_words(bits: float, text: str) -> None:
    """An operator would misread a chance by orders of magnitude."""
    assert describe_bits(bits) == text


def test_infeasible__says_why_and_what_is_left() -> None:
    """A creator would be left alone with an impossible wish."""
    with pytest.raises(
        InfeasibleError, match=r"with 200 of 1000 owners colluding and 100 failing\. The best is"
    ) as caught:
        solve(Population(1000, 7, 16, 1, 200, 100))
    assert caught.value.best is not None and caught.value.best.privacy_bits >= 40 > caught.value.best.delivery_bits


@pytest.mark.parametrize("bad", [(7, 7, 1, 1), (8, 3, 0, 1), (8, 3, 1, 0), (8, 3, 1, 1, 1000), (8, 3, 1, 1, 0, -1)])
def test_population__bad_ones_are_refused(bad: tuple[int, ...]) -> None:
    """The solver would divide by zero, or solve for nobody."""
    with pytest.raises(ParameterError):
        Population(*bad)
