"""What bad owners can do to an alliance: captured committees, poisoned cohorts, honest seats suspected. Pure.

Run by whoever creates an alliance and by whoever is about to join one, next to ``solver.py``, whose population it
takes. Chances of one round are exact ratios; only over many rounds they are floats. All draws are without replacement,
as the sortition's: the bad ones in a committee of V out of N owners are hypergeometric.

The model of one round, worst case for the honest. An honest validator recognises a poisoned sum with chance q, all of
them alike. With A = ⌈2V/3⌉ and k bad validators, k ≥ A decide what they like and V − k ≥ A honest ones what they see;
else nothing is decided but what both want. What a bad owner gains by depends on whom the question is about:

- a bad seat always poisons, and the bad vote yes to what it trained: it goes as late as it can;
- an honest seat is framed: every bad owner poisons beside it, and votes no to whatever cohort it is in. So its poisoned
  sums are rejected whoever validates, and clean ones are adopted only where the honest have a committee. Whatever else
  the bad do, it is rejected less often, or cleared more often.

Nobody leaves, although every suspected seat makes the next rounds safer.

A seat is suspected when its cohorts were rejected b times in a row (``suspicion.py``). Rounds are independent, for each
draws anew, so the run is a Markov chain with states 0 to b (runs of successes: Feller, An Introduction to Probability
Theory and Its Applications I, chapter XIII.7).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, comb, expm1, inf, log1p

from p2p_flock.alliance.solver import Population, compute_tail
from p2p_flock.params import SUSPICION_BOUND_MAX

FALSE_SUSPICION_MAX = 0.01  # for each honest seat, over the alliance's life
LIFE_CAPTURE_MAX = 0.01
CLEAN_COHORTS_MIN = Fraction(1, 4)  # in one round, in the mean
SETTLED_RUNS = 8  # after as many times what a whole run takes, the chance of a round no longer changes
TRUE_SUSPICION_MIN = 0.5  # a bound by which a poisoner is rather missed than found serves nobody
SURE_PERMILLE = 1000


@dataclass(frozen=True, slots=True)
class SeatRates:
    """Chances that one round's verdict counts for or against a seat: its cohort is rejected, or adopted."""

    rejected: Fraction
    adopted: Fraction


@dataclass(frozen=True, slots=True)
class Risk:
    """What a share of bad owners means for an alliance.

    Attributes:
        bad_count: of how many owners this is about.
        capture: chance that in one round the bad have ⌈2V/3⌉ validators and adopt what they like; ``life_capture``:
            that they ever have, in all rounds.
        blocking: chance that in one round the honest have fewer than ⌈2V/3⌉, so that the bad can prevent any verdict.
        clean_share: of the cohorts, those without a bad owner, in the mean.
        false_suspicion: chance that an honest seat is ever suspected; 0 where the rule is off.
        true_suspicion: that a seat which always poisons is; ``rounds_to_suspicion``: after how many rounds in the mean,
            were there no end (``inf`` where never, or where the rule is off).
    """

    bad_count: int
    capture: float
    life_capture: float
    blocking: float
    clean_share: float
    false_suspicion: float
    true_suspicion: float
    rounds_to_suspicion: float


def compute_verdict_quorum(validator_count: int) -> int:
    """A = ⌈2V/3⌉, as ``AllianceParams.verdict_quorum``."""
    return -(-2 * validator_count // 3)


def compute_committee_chance(population: Population, bad_count: int, at_least: int) -> Fraction:
    """P[at least so many of the V validators are bad], for ``bad_count`` bad among N owners: hypergeometric."""
    return Fraction(*compute_tail(population.seat_count, bad_count, population.validator_count, at_least - 1))


def compute_capture(population: Population, bad_count: int) -> Fraction:
    """Chance that the bad alone reach the verdict quorum in one round."""
    return compute_committee_chance(population, bad_count, compute_verdict_quorum(population.validator_count))


def compute_blocking(population: Population, bad_count: int) -> Fraction:
    """Chance that the honest alone do not reach the verdict quorum in one round."""
    validators = population.validator_count
    return compute_committee_chance(population, bad_count, validators - compute_verdict_quorum(validators) + 1)


def compute_ever(chance: Fraction, round_count: int) -> float:
    """1 − (1 − chance)^rounds, precise also where the chance is tiny."""
    return 1.0 if chance >= 1 else -expm1(round_count * log1p(-float(chance)))


def compute_clean_share(population: Population, bad_count: int) -> Fraction:
    """Mean share of the cohorts that hold no bad owner: C(N − M, n) / C(N, n), the mean over the sizes n."""
    sizes = _cohort_sizes(population)
    count = population.seat_count
    chances = [Fraction(comb(count - bad_count, size), comb(count, size)) for size in sizes]
    return sum(chances, Fraction(0)) / len(sizes)


def compute_tolerated(population: Population) -> int:
    """The most bad owners with which all of this holds, whatever they do; 0 where one is too many.

    They capture a committee in any round of the alliance's life with a chance of one percent at most; a committee that
    they cannot block is likelier than not; and in four rounds one cohort at least is clean in the mean, so that the
    alliance learns, if slowly.
    """

    def holds(bad_count: int) -> bool:
        return (
            compute_ever(compute_capture(population, bad_count), population.round_count) <= LIFE_CAPTURE_MAX
            and compute_blocking(population, bad_count) <= Fraction(1, 2)
            and compute_clean_share(population, bad_count) * population.cohort_count >= CLEAN_COHORTS_MIN
        )

    return _find_first(0, population.seat_count, lambda bad_count: not holds(bad_count + 1))


def compute_seat_rates(
    population: Population, bad_count: int, is_honest: bool, detection_permille: int = SURE_PERMILLE
) -> SeatRates:
    """How one round counts for a given seat at worst, in the model of the module: a bad one, or a framed honest one.

    Args:
        bad_count: M, bad owners among all N; the seat itself is one of them unless it is honest.
        detection_permille: q, the chance that a poisoned sum is recognised.
    """
    validators, trainers, others = population.validator_count, population.trainer_count, population.seat_count - 1
    quorum, bad = compute_verdict_quorum(validators), bad_count - (not is_honest)
    recognised, rejected, adopted = Fraction(detection_permille, SURE_PERMILLE), Fraction(0), Fraction(0)
    for size in _cohort_sizes(population):
        in_cohort = Fraction(size, population.seat_count)  # a trainer, and in this one: (N − V)/N · n/(N − V)
        for bad_validators in range(max(0, validators - (others - bad)), min(validators, bad) + 1):
            drawn = Fraction(
                comb(bad, bad_validators) * comb(others - bad, validators - bad_validators), comb(others, validators)
            )
            honest_left = others - bad - (validators - bad_validators)
            clean = Fraction(comb(honest_left, size - 1), comb(trainers - 1, size - 1)) if is_honest else Fraction(0)
            poisoned = 1 - clean
            chance, seen = in_cohort * drawn, poisoned * recognised
            if is_honest:
                rejected += chance * (seen if bad_validators < quorum else 1)
                adopted += chance * (1 - seen) if validators - bad_validators >= quorum else 0
            elif validators - bad_validators >= quorum:
                rejected += chance * seen
                adopted += chance * (1 - seen)
            else:
                adopted += chance * (1 if bad_validators >= quorum else 1 - seen)
    return SeatRates(rejected, adopted)


def compute_suspicion_chance(rates: SeatRates, bound: int, round_count: int) -> float:
    """P[a run of ``bound`` rejections without an adoption between, at some time in so many rounds].

    State r of the chain is a run of r. Round by round until its distribution among the seats not yet suspected has
    settled, from then on at the rate that it has then (its Perron eigenvalue): long alliances cost no more than short.
    """
    rejected, adopted = float(rates.rejected), float(rates.adopted)
    if rejected == 0:
        return 0.0
    stays = 1 - rejected - adopted
    exact_rounds = min(round_count, ceil(SETTLED_RUNS * bound / (rejected + adopted)))
    runs = [1.0] + [0.0] * (bound - 1)
    suspected, rate = 0.0, 0.0
    for _ in range(exact_rounds):
        arriving = runs[-1] * rejected
        rate = arriving / sum(runs)
        suspected += arriving
        cleared = adopted * sum(runs)
        runs = [stays * runs[0] + cleared] + [stays * runs[i] + rejected * runs[i - 1] for i in range(1, bound)]
    later = -expm1((round_count - exact_rounds) * log1p(-rate)) if rate < 1 else 1.0
    return min(1.0, suspected + (1 - suspected) * later)


def compute_rounds_to_suspicion(rates: SeatRates, bound: int) -> float:
    """Rounds in the mean until the run is complete, ``inf`` if it never is.

    (1 − p^b) / (p^b · (1 − p)) verdicts on the seat, p the chance that one is a rejection (Feller XIII.7), each of
    which takes 1 / (rejected + adopted) rounds.
    """
    decided = rates.rejected + rates.adopted
    if rates.rejected == 0:
        return inf
    chance = float(rates.rejected / decided)
    if rates.adopted == 0:
        return bound / float(decided)
    complete = chance**bound
    return (1 - complete) / (complete * (1 - chance)) / float(decided) if complete else inf


def choose_suspicion_bound(population: Population, detection_permille: int = SURE_PERMILLE) -> int:
    """The smallest bound with which an honest seat is suspected by one percent at most over the alliance's life.

    For the population's share γ of bad owners, one at least. 0, the rule off, where there is one cohort (its rejection
    singles nobody out), where no bound is safe, or where a poisoner would rather be missed than found by it.
    """
    if population.cohort_count < 2:
        return 0
    bad_count = max(1, population.corrupt_count)
    honest = compute_seat_rates(population, bad_count, True, detection_permille)
    bad = compute_seat_rates(population, bad_count, False, detection_permille)
    rounds = population.round_count

    def is_safe(bound: int) -> bool:
        return compute_suspicion_chance(honest, bound, rounds) <= FALSE_SUSPICION_MAX

    bound = _find_first(1, SUSPICION_BOUND_MAX + 1, is_safe)
    serves = bound <= SUSPICION_BOUND_MAX and compute_suspicion_chance(bad, bound, rounds) >= TRUE_SUSPICION_MIN
    return bound if serves else 0


def compute_risk(
    population: Population, bad_count: int, suspicion_bound: int, detection_permille: int = SURE_PERMILLE
) -> Risk:
    """Everything at once; ``suspicion_bound`` 0: the rule is off."""
    rounds = population.round_count
    capture = compute_capture(population, bad_count)
    false_suspicion = true_suspicion = 0.0
    rounds_to_suspicion = inf
    if suspicion_bound:
        honest = compute_seat_rates(population, bad_count, True, detection_permille)
        bad = compute_seat_rates(population, max(1, bad_count), False, detection_permille)
        false_suspicion = compute_suspicion_chance(honest, suspicion_bound, rounds)
        true_suspicion = compute_suspicion_chance(bad, suspicion_bound, rounds)
        rounds_to_suspicion = compute_rounds_to_suspicion(bad, suspicion_bound)
    return Risk(
        bad_count,
        float(capture),
        compute_ever(capture, rounds),
        float(compute_blocking(population, bad_count)),
        float(compute_clean_share(population, bad_count)),
        false_suspicion,
        true_suspicion,
        rounds_to_suspicion,
    )


def _cohort_sizes(population: Population) -> list[int]:
    """Trainers of each cohort, split as ``sortition.py`` splits them."""
    trainers, cohorts = population.trainer_count, population.cohort_count
    return [(cohort + 1) * trainers // cohorts - cohort * trainers // cohorts for cohort in range(cohorts)]


def _find_first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The smallest number from ``low`` on for which it holds, and for all above; ``high`` where for none below that."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
