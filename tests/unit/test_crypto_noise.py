"""Noise for differential privacy: drawn exactly as said, at any place, and never beyond its bound."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from p2p_flock.crypto.noise import (
    _TABLE_VARIANCE_MAX,
    DISTANCE_PER_COORDINATE,
    VARIANCE_MAX,
    Noise,
    _build_table,
    _table_variance,
    compute_layers,
    compute_noise_bound,
    compute_weights,
)
from p2p_flock.errors import ParameterError

KEY = bytes(range(32))
VARIANCES = (1, 16, 1000, 160_000, 160_001, 10**7, 10**9, 32 * 10**8, 32 * 10**8 + 1, 6 * 10**9, 10**12, VARIANCE_MAX)


@pytest.mark.parametrize("variance", [Fraction(1), Fraction(20), Fraction(160_000), Fraction(10**9, 6401)])
def test_table__is_exactly_its_weights(variance: Fraction) -> None:
    """If this failed, some integer would be drawn more or less often than its 64-bit probability says."""
    table, half = _build_table(variance), compute_weights(variance)
    capacity, counts = 1 << table.shift, Counter[int]()
    for column, last in enumerate(table.last.tolist()):
        first = last - column * capacity + 1
        counts[int(table.values[2 * column])] += first
        counts[int(table.values[2 * column + 1])] += capacity - first
    radius = len(half) - 1
    assert {value: count for value, count in counts.items() if count} == {
        value: half[abs(value)] for value in range(-radius, radius + 1) if half[abs(value)]
    }
    assert counts.total() == 1 << 64


@pytest.mark.parametrize("variance", VARIANCES)
def test_noise__is_as_close_to_a_discrete_gaussian_as_promised(variance: int) -> None:
    """If this failed, δ would lack what the sampler adds to it: rounding, cut tails, sums instead of one draw."""
    layers, of_table = compute_layers(variance), _table_variance(variance)
    assert of_table * sum(scale * scale for scale in layers) == variance
    with localcontext() as context:
        context.prec = 60
        doubled = 2 * Decimal(of_table.numerator) / Decimal(of_table.denominator)
        half = compute_weights(of_table)
        # As many terms again as the table holds: what lies beyond them is below 2⁻²⁰⁰.
        masses = [(-(Decimal(x * x) / doubled)).exp() for x in range(2 * len(half))]
        total = 2 * sum(masses) - masses[0]
        weights = [Decimal(weight) / (1 << 64) for weight in half] + [Decimal(0)] * len(half)
        gaps = [abs(mass / total - weight) for mass, weight in zip(masses, weights, strict=True)]
        of_draw = float(2 * sum(gaps) - gaps[0]) / 2
    # Micciancio and Walter 2017: the smoothing condition of every sum of two.
    so_far, of_sums = of_table, 0.0
    for scale in layers[1:]:
        tau_squared = so_far * of_table / (so_far + scale**2 * of_table)
        so_far += scale**2 * of_table
        assert tau_squared >= 4
        of_sums += 4 * math.exp(-2 * math.pi**2 * float(tau_squared))
    assert len(layers) * of_draw + of_sums <= DISTANCE_PER_COORDINATE


@pytest.mark.parametrize("variance", [20, 160_000, 10**9, 10**12])
def test_noise__has_its_variance_and_mean(variance: int) -> None:
    """If this failed, a layer would be drawn with the wrong scale, or two layers with the same stream."""
    count = 200_000
    drawn = Noise(KEY, variance)(0, count).astype(np.float64) / math.sqrt(variance)
    assert abs(float(drawn.mean())) < 5 / math.sqrt(count)
    assert abs(float((drawn**2).mean()) - 1) < 5 * math.sqrt(2 / count)
    assert abs(float((drawn**4).mean()) - 3) < 5 * math.sqrt(96 / count)


def test_noise__at_any_place() -> None:
    """If this failed, the blocks of a long vector would not get the noise of the whole."""
    noise = Noise(KEY, 10**12)
    whole = noise(0, 40_000)
    for start, end in pairwise((0, 1, 17, 16_384, 16_385, 40_000)):
        assert np.array_equal(noise(start, end - start), whole[start:end])
    assert noise(5, 0).shape == (0,)


def test_noise__keys_are_independent() -> None:
    """If this failed, two trainers' or two rounds' noise could be subtracted from each other."""
    one, other = Noise(KEY, 10**6)(0, 50_000), Noise(KEY[::-1], 10**6)(0, 50_000)
    assert abs(float(np.corrcoef(one, other)[0, 1])) < 5 / math.sqrt(50_000)


@pytest.mark.parametrize("variance", VARIANCES)
def test_noise__stays_within_its_bound(variance: int) -> None:
    """If this failed, an honest sum could leave its range and void the round."""
    noise = Noise(KEY, variance)
    drawn = noise(0, 20_000)
    assert noise.bound == compute_noise_bound(variance)
    assert int(np.abs(drawn).max()) <= noise.bound
    table = _build_table(_table_variance(variance))
    assert int(np.abs(table.values).max()) * sum(compute_layers(variance)) <= noise.bound
    assert noise.bound <= 14 * math.sqrt(variance) + 1


@pytest.mark.parametrize("variance", [0, -1, VARIANCE_MAX + 1])
def test_noise__bad_variance(variance: int) -> None:
    """If this failed, noise of another law than the accounting assumes would be drawn."""
    with pytest.raises(ParameterError):
        Noise(KEY, variance)


def test_noise__key_is_not_shown() -> None:
    """If this failed, a log line would hold what takes the noise off."""
    assert KEY.hex() not in repr(Noise(KEY, 16)) and "key" not in repr(Noise(KEY, 16))


def test_layers__every_magnitude_is_covered() -> None:
    """If this failed, some variance between the tested ones would break the smoothing condition."""
    for step in range(0, 46 * 16):
        variance = int(2 ** (step / 16))
        layers, of_table = compute_layers(variance), _table_variance(variance)
        assert of_table <= _TABLE_VARIANCE_MAX
        so_far = of_table
        for scale in layers[1:]:
            assert so_far * of_table / (so_far + scale**2 * of_table) >= 4
            so_far += scale**2 * of_table
