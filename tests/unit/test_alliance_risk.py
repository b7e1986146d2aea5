"""What bad owners can do: figures that others computed, and every formula against enumeration."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product
from math import inf

import numpy as np
import pytest

from p2p_flock.alliance.risk import (
    FALSE_SUSPICION_MAX,
    SeatRates,
    choose_suspicion_bound,
    compute_blocking,
    compute_capture,
    compute_clean_share,
    compute_committee_chance,
    compute_ever,
    compute_risk,
    compute_rounds_to_suspicion,
    compute_seat_rates,
    compute_suspicion_chance,
    compute_tolerated,
)
from p2p_flock.alliance.solver import Population
from p2p_flock.alliance.suspicion import advance_run
from p2p_flock.types import CohortOutcome


@pytest.mark.parametrize(
    ("validators", "bad", "at_least", "percent"),
    [
        (7, 20, 5, "0.33"), (7, 30, 5, "2.42"), (7, 40, 5, "8.8"),
        (3, 30, 2, "21.3"), (5, 30, 3, "15.8"), (7, 30, 4, "11.8"), (9, 30, 5, "8.9"), (15, 30, 8, "3.7"),
        (21, 30, 11, "1.4"), (31, 30, 16, "0.2"),
    ],
)  # fmt: skip
def test_committee__published_figures(validators: int, bad: int, at_least: int, percent: str) -> None:
    """A creator would be told other chances than those known for N = 100: two thirds of 7, majorities of 3 to 31."""
    chance = compute_committee_chance(Population(100, validators, 1, 1), bad, at_least)
    digits = len(percent.partition(".")[2])
    assert f"{float(chance) * 100:.{digits}f}" == percent


def test_committee__captures_in_two_thousand_rounds() -> None:
    """The table of issue 6 (five captures at most with V = 15 and 21) would promise what the rule does not keep."""
    expected = [2000 * float(compute_capture(Population(100, v, 1, 2000), 30)) for v in (7, 15, 21)]
    assert [round(count, 1) for count in expected] == [48.4, 3.3, 0.2]


def test_committee__blocking_needs_fewer_than_capture() -> None:
    """A committee that cannot decide would be counted as sound."""
    population = Population(100, 7, 1, 1)
    assert compute_blocking(population, 30) == compute_committee_chance(population, 30, 3)
    assert compute_blocking(population, 30) > compute_capture(population, 30)


def test_ever__of_tiny_and_of_sure_chances() -> None:
    """A chance of 2⁻⁶⁰ a round would show as none, or a sure one as an error."""
    assert compute_ever(Fraction(1, 1 << 60), 1000) == pytest.approx(1000 / 2**60)
    assert (compute_ever(Fraction(1), 3), compute_ever(Fraction(0), 3)) == (1.0, 0.0)


SMALL = [(9, 3, 2, 3), (10, 4, 2, 2), (8, 3, 1, 3), (9, 3, 3, 4)]


def enumerate_rounds(
    count: int, validators: int, cohorts: int, bad_count: int, is_honest: bool
) -> list[tuple[str, int]]:
    """Every draw: what becomes of a seat's cohort (clean, poisoned, none), and how many validators are bad."""
    found = []
    trainers = count - validators
    for own in range(count):
        others = [position for position in range(count) if position != own]
        for places in combinations(others, bad_count - (not is_honest)):
            bad = {*places, *(() if is_honest else (own,))}
            bad_validators = sum(position < validators for position in bad)
            if own < validators:
                found.append(("none", bad_validators))
                continue
            cohort = next(k for k in range(cohorts) if own - validators < (k + 1) * trainers // cohorts)
            members = range(validators + cohort * trainers // cohorts, validators + (cohort + 1) * trainers // cohorts)
            found.append(("poisoned" if bad & set(members) else "clean", bad_validators))
    return found


@pytest.mark.parametrize("is_honest", [True, False])
@pytest.mark.parametrize(("count", "validators", "cohorts", "bad_count"), SMALL)
def test_seat_rates__as_enumerated(count: int, validators: int, cohorts: int, bad_count: int, is_honest: bool) -> None:
    """The bound would be chosen by other chances than the sortition's."""
    quorum, recognised = -(-2 * validators // 3), Fraction(7, 10)
    rejected = adopted = Fraction(0)
    draws = enumerate_rounds(count, validators, cohorts, bad_count, is_honest)
    for state, bad_validators in draws:
        if state == "none":
            continue
        for is_seen, chance in ((True, recognised), (False, 1 - recognised)):
            is_poison = state == "poisoned" and is_seen  # as the honest see it; the bad vote for their own only
            no = (validators if is_honest else validators - bad_validators) if is_poison else bad_validators * is_honest
            rejected += chance if no >= quorum else 0
            adopted += chance if validators - no >= quorum else 0
    rates = compute_seat_rates(Population(count, validators, cohorts, 1), bad_count, is_honest, 700)
    assert rates == SeatRates(rejected / len(draws), adopted / len(draws))


@pytest.mark.parametrize(("count", "validators", "cohorts", "bad_count"), SMALL)
def test_clean_share__as_enumerated(count: int, validators: int, cohorts: int, bad_count: int) -> None:
    """A creator would expect more sums worth adopting than there are."""
    trainers, clean, total = count - validators, 0, 0
    for bad in combinations(range(count), bad_count):
        for k in range(cohorts):
            start, end = validators + k * trainers // cohorts, validators + (k + 1) * trainers // cohorts
            clean, total = clean + (not set(bad) & set(range(start, end))), total + 1
    assert compute_clean_share(Population(count, validators, cohorts, 1), bad_count) == Fraction(clean, total)


@pytest.mark.parametrize("bound", [1, 2, 3])
def test_suspicion_chance__as_enumerated(bound: int) -> None:
    """The chain of runs would count other runs than the rule does."""
    rates, rounds, total = SeatRates(Fraction(3, 7), Fraction(2, 7)), 7, Fraction(0)
    chances = {
        CohortOutcome.REJECTED: rates.rejected,
        CohortOutcome.ADOPTED: rates.adopted,
        CohortOutcome.UNDECIDED: 1 - rates.rejected - rates.adopted,
    }
    for outcomes in product(chances, repeat=rounds):
        run, longest, chance = 0, 0, Fraction(1)
        for outcome in outcomes:
            run, chance = advance_run(run, outcome), chance * chances[outcome]
            longest = max(longest, run)
        total += chance if longest >= bound else 0
    assert compute_suspicion_chance(rates, bound, rounds) == pytest.approx(float(total), rel=1e-12)


@pytest.mark.parametrize(("rejected", "adopted"), [(0.3, 0.2), (0.05, 0.01), (0.4, 0.0), (0.02, 0.3)])
def test_suspicion_chance__of_a_long_alliance(rejected: float, adopted: float) -> None:
    """A chance extrapolated wrongly would sell a bound as safe: against the transition matrix's power."""
    rates = SeatRates(Fraction(rejected), Fraction(adopted))
    for bound in (1, 8, 24):
        step = np.zeros((bound + 1, bound + 1))
        for run in range(bound):
            step[run, 0] += adopted
            step[run, run] += 1 - rejected - adopted
            step[run, run + 1] += rejected
        step[bound, bound] = 1
        for rounds in (1, 100, 100_000):
            exact = float(np.linalg.matrix_power(step, rounds)[0, bound])
            assert compute_suspicion_chance(rates, bound, rounds) == pytest.approx(exact, rel=1e-6, abs=1e-12)


def test_rounds_to_suspicion__is_the_mean_of_the_chain() -> None:
    """An alliance would be told that poisoners stay for a shorter time than they do."""
    rates, bound = SeatRates(Fraction(3, 7), Fraction(2, 7)), 3
    mean = sum(1 - compute_suspicion_chance(rates, bound, rounds) for rounds in range(400))  # E[T] = Σ P[T > r]
    assert compute_rounds_to_suspicion(rates, bound) == pytest.approx(mean, rel=1e-9)
    assert compute_rounds_to_suspicion(SeatRates(Fraction(1, 2), Fraction(0)), 4) == 8
    assert compute_rounds_to_suspicion(SeatRates(Fraction(0), Fraction(1, 2)), 4) == inf


@pytest.mark.parametrize(
    ("seats", "validators", "cohorts", "rounds", "corrupt", "bound"),
    [(20, 5, 3, 100, 150, 15), (23, 7, 4, 101, 200, 12), (50, 21, 7, 200, 300, 30), (100, 15, 20, 200, 200, 15)],
)
def test_bound__is_the_smallest_safe_one(
    seats: int, validators: int, cohorts: int, rounds: int, corrupt: int, bound: int
) -> None:
    """Honest members would be suspended more often than said, or poisoners stay longer than they need."""
    population = Population(seats, validators, cohorts, rounds, corrupt)
    assert choose_suspicion_bound(population) == bound
    rates = compute_seat_rates(population, population.corrupt_count, True)
    chances = [compute_suspicion_chance(rates, one, rounds) for one in (bound - 1, bound)]
    assert chances[0] > FALSE_SUSPICION_MAX >= chances[1]


@pytest.mark.parametrize(
    ("population", "why"),
    [
        (Population(8, 3, 1, 100), "one cohort"),
        (Population(12, 3, 2, 11), "too short to find anybody by a safe bound"),
        (Population(1000, 31, 16, 500, 300), "no cohort is ever clean"),
    ],
    ids=["one-cohort", "too-short", "never-clean"],
)
def test_bound__none_where_none_serves(population: Population, why: str) -> None:
    """A rule that suspends everybody, or nobody, would be switched on."""
    assert choose_suspicion_bound(population) == 0, why


def test_bound__assumes_one_bad_owner_at_least() -> None:
    """With no bad owner in the model one rejection would do, and the first mistake of a committee suspend a cohort."""
    assert choose_suspicion_bound(Population(20, 5, 3, 100, 10)) == choose_suspicion_bound(
        Population(20, 5, 3, 100, 50)
    )


def test_risk__of_a_small_testnet() -> None:
    """A creator with V = 3 would not see that two validators decide."""
    population = Population(8, 3, 1, 11)
    risk = compute_risk(population, 2, 0)
    assert risk.capture == risk.blocking == pytest.approx(6 / 56)
    assert risk.life_capture == pytest.approx(1 - (50 / 56) ** 11)
    assert (risk.false_suspicion, risk.true_suspicion, risk.rounds_to_suspicion) == (0, 0, inf)
    assert compute_tolerated(population) == 1


def test_tolerated__is_the_last_that_holds() -> None:
    """The share that is shown as harmless would not be."""
    tolerated = [compute_tolerated(Population(100, v, 16, 200)) for v in (3, 7, 15, 21)]
    assert tolerated == sorted(tolerated)
    population = Population(100, 15, 16, 200)
    assert compute_ever(compute_capture(population, tolerated[2]), 200) <= 0.01
    assert compute_ever(compute_capture(population, tolerated[2] + 1), 200) > 0.01


def test_framed_seat__is_suspended_as_often_as_told() -> None:
    """A member would be told that framing is rarer than it is; figures of SPEC, "Framing"."""
    found = [compute_risk(Population(50, 21, 6, 200), bad, 24).false_suspicion for bad in (10, 15, 20)]
    assert [f"{chance:.4f}"[1:] for chance in found] == [".0002", ".1973", ".9982"]
