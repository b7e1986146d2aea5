"""From the answers of ``questions.py`` to parameters, and the defaults of what is asked. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from p2p_flock.alliance.risk import LIFE_CAPTURE_MAX, compute_blocking, compute_capture, compute_ever
from p2p_flock.alliance.solver import InfeasibleError, Population, solve
from p2p_flock.cli.alliance_security import Assumptions
from p2p_flock.cli.creating.sources import OPTIONAL, PRESETS
from p2p_flock.errors import ParameterError
from p2p_flock.params import COHORTS_MAX, VALIDATORS_MAX, compute_sum_bound_max

BLOCKING_MAX = 0.5
COHORT_OWNERS_WANTED = 5  # a default leaves each cohort one owner more than the least


@dataclass(frozen=True, slots=True)
class Answers:
    """What was answered; money in FLOCK wei, ``rounds`` with the one that sums statistics."""

    members: int
    rounds: int
    validators: int
    cohorts: int
    train_seconds: int
    seat_stake: int
    reward_per_round: int
    join_deadline_s: int


def choose_validators(members: int, rounds: int, bad: int) -> int:
    """The fewest that ``bad`` members neither take (in all rounds by 1 %) nor block (in one by a half).

    Where none are, or too few would be left to train, as many as still leave the smallest cohort: 3 at least.
    """
    most = min(VALIDATORS_MAX, members - COHORT_OWNERS_WANTED)
    for count in range(3, most + 1):
        population = Population(members, count, 1, rounds)
        captured = compute_ever(compute_capture(population, bad), rounds)
        if captured <= LIFE_CAPTURE_MAX and compute_blocking(population, bad) <= BLOCKING_MAX:
            return min(count, max(3, members // 2))
    return max(1, min(most, max(3, members // 3)))


def choose_cohorts(population: Population, assumptions: Assumptions) -> int:
    """The most cohorts that still reach the levels asked for; 1 where none does.

    Args:
        population: with one cohort.
    """
    for count in range(min(COHORTS_MAX, population.trainer_count // COHORT_OWNERS_WANTED), 1, -1):
        shares = (population.corrupt_permille, population.dropout_permille)
        try:
            smaller = Population(
                population.seat_count, population.validator_count, count, population.round_count, *shares
            )
            solve(smaller, assumptions.privacy_bits, assumptions.delivery_bits)
        except (InfeasibleError, ParameterError):
            continue
        return count
    return 1


def fit(answers: Answers) -> dict[str, object]:
    """Parameters by name, but for threshold, collusion bound and suspicion bound.

    Steps after the training take what they took with us, and more for slow trainings: judging is a few evaluations.
    """
    default = PRESETS["default"]
    largest = -(-(answers.members - answers.validators) // answers.cohorts)
    weight_max, levels = int(str(default["weight_max"])), int(str(default["levels"]))
    while largest * levels * weight_max > compute_sum_bound_max(int(str(default["lane_bits"]))):
        levels //= 2
    return {
        **OPTIONAL,
        **default,
        "seat_count_min": answers.members,
        "seat_count_max": answers.members,
        "round_count": answers.rounds,
        "validator_count": answers.validators,
        "cohort_count": answers.cohorts,
        "levels": levels,
        "train_seconds": answers.train_seconds,
        "evaluate_seconds": max(60, answers.train_seconds // 6),
        "seat_stake": answers.seat_stake,
        "reward_per_round": answers.reward_per_round,
        "join_deadline_s": answers.join_deadline_s,
    }
