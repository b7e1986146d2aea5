"""The leak over rounds: the measurement finds what theory says, and noise stops it."""

from __future__ import annotations

import math

import pytest

from p2p_flock.bench.leak import Alliance, measure, measure_all, render


def test_leak__anchor() -> None:
    """If this failed, the curve in the SPEC would not show that fifty re-drawn rounds give a member of five away."""
    ten, fifty = measure(Alliance(5, 1), (10, 50), coordinates=500)
    assert ten < 0.75 and 0.88 < fifty < 0.94


@pytest.mark.parametrize("size", [5, 16])
def test_leak__cohorts_that_stay_hide_in_their_sum(size: int) -> None:
    """If this failed, the attack would know more than the sums, or fail to use what they say: 1/√n of each member."""
    late = measure(Alliance(size, None), (300,), coordinates=1000)[0]
    assert late == pytest.approx(1 / math.sqrt(size), abs=0.05)


def test_leak__larger_cohorts_and_longer_periods_leak_slower() -> None:
    """If this failed, the parameters that an operator can choose would seem not to matter."""
    by_size = [measure(Alliance(size, 1), (50,), coordinates=500)[0] for size in (5, 8, 16)]
    by_period = [measure(Alliance(5, redraw), (30,), coordinates=500)[0] for redraw in (1, 10, None)]
    assert by_size == sorted(by_size, reverse=True) and by_period == sorted(by_period, reverse=True)


def test_leak__noise_stops_it() -> None:
    """If this failed, the noise would not do what it is added for."""
    assert abs(measure(Alliance(5, 1, noise_multiplier=4.0), (100,), coordinates=500)[0]) < 0.1


def test_table__has_every_alliance() -> None:
    """If this failed, the SPEC's table would lack a row."""
    text = render(measure_all((5,), (2, 4), 8.0))
    assert [line.split("|")[3].strip() for line in text.splitlines()[2:]] == [
        "every round", "every round", "every 10", "never", "every round",
    ]  # fmt: skip
