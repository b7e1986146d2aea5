"""ε over an alliance's rounds, held against dp-accounting and against the exact Gaussian mechanism."""

from __future__ import annotations

import math

import pytest

from p2p_flock.errors import ParameterError
from p2p_flock.learning.privacy import PrivacyTerms, compute_epsilon, compute_noise_multiplier

GRID = [(1.0, 1, 1e-5), (5.0, 20, 1e-5), (20.0, 20, 1e-5), (12.3, 100, 1e-6), (0.5, 3, 1e-5), (100.0, 10, 1e-8)]


@pytest.mark.parametrize(("noise_multiplier", "rounds", "delta"), GRID)
def test_epsilon__is_that_of_dp_accounting(noise_multiplier: float, rounds: int, delta: float) -> None:
    """If this failed, the operator would be shown another ε than the reference library computes."""
    import dp_accounting  # noqa: PLC0415  seconds
    from dp_accounting import rdp  # noqa: PLC0415  likewise

    own = compute_epsilon(noise_multiplier, rounds, delta)
    orders = [1 + 10 ** (step / 50 - 2) for step in range(350)]  # by default they end at 1024
    gaussian, zcdp = rdp.RdpAccountant(orders), rdp.RdpAccountant(orders)
    gaussian.compose(dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(noise_multiplier), rounds))
    zcdp.compose(dp_accounting.ZCDpEvent(rounds / (2 * noise_multiplier**2)))
    assert own == pytest.approx(gaussian.get_epsilon(delta), rel=0.002)
    assert own == pytest.approx(zcdp.get_epsilon(delta), rel=0.002)


@pytest.mark.parametrize(("noise_multiplier", "rounds", "delta"), GRID)
def test_epsilon__is_an_upper_bound_of_the_exact_gaussian(noise_multiplier: float, rounds: int, delta: float) -> None:
    """If this failed, ε would promise more than even continuous noise keeps (Balle and Wang 2018, theorem 8)."""
    epsilon = compute_epsilon(noise_multiplier, rounds, delta)
    mu = math.sqrt(rounds) / noise_multiplier
    exact = _phi(mu / 2 - epsilon / mu) - math.exp(epsilon) * _phi(-mu / 2 - epsilon / mu)
    assert delta / 50 < exact <= delta


def test_epsilon__grows_with_rounds_and_falls_with_noise() -> None:
    """If this failed, some alliance would look more private for adding rounds or taking noise away."""
    over_rounds = [compute_epsilon(4.0, rounds, 1e-5) for rounds in (0, 1, 2, 10, 100)]
    over_noise = [compute_epsilon(z, 10, 1e-5) for z in (32.0, 8.0, 2.0, 0.5)]
    assert over_rounds[0] == 0 and over_rounds == sorted(over_rounds) and over_noise == sorted(over_noise)


def test_epsilon__pays_for_the_sampler() -> None:
    """If this failed, a long vector's noise would be taken for exact."""
    exact = compute_epsilon(5.0, 20, 1e-5)
    assert exact < compute_epsilon(5.0, 20, 1e-5, 1e-8) < 1.01 * exact
    assert compute_epsilon(5.0, 20, 1e-5, 1e-5) == math.inf
    assert PrivacyTerms(5.0, 1e-5, 20, 5 * 1_000_000).epsilon() == pytest.approx(exact, rel=0.02)
    assert PrivacyTerms(5.0, 1e-5, 20, 32 * 50_000_000).epsilon() == math.inf


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 2.0, 8.0, 50.0])
@pytest.mark.parametrize("rounds", [1, 20, 1000])
def test_noise_multiplier__is_the_least_of_three_digits(epsilon: float, rounds: int) -> None:
    """If this failed, a wanted ε would be missed, or paid for with more noise than it needs."""
    z = compute_noise_multiplier(epsilon, rounds, 1e-5)
    assert compute_epsilon(z, rounds, 1e-5) <= epsilon
    assert compute_epsilon(z * 0.989, rounds, 1e-5) > epsilon
    assert float(f"{z:.3g}") == z


@pytest.mark.parametrize(("z", "rounds", "delta"), [(0.0, 1, 1e-5), (1.0, -1, 1e-5), (1.0, 1, 0.0), (1.0, 1, 1.0)])
def test_epsilon__bad_numbers(z: float, rounds: int, delta: float) -> None:
    """If this failed, nonsense in a manifest would be shown as an ε."""
    with pytest.raises(ParameterError):
        compute_epsilon(z, rounds, delta)


def _phi(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2
