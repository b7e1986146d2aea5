"""Where an alliance's numbers are weak, and which number to change to what. Pure; called by ``alliance create``.

A warning never stops anybody: whoever founds a test alliance of six knows why. Numbers of validators, members and the
suspicion bound were tried: with them, that warning is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from p2p_flock.alliance.risk import FALSE_SUSPICION_MAX, LIFE_CAPTURE_MAX, choose_suspicion_bound, compute_risk
from p2p_flock.alliance.solver import InfeasibleError, Population, population_of, solve
from p2p_flock.cli.alliance_risk import FEARED_PERCENT, OUTVOTE, describe_chance
from p2p_flock.cli.alliance_security import Assumptions, is_weak
from p2p_flock.cli.amounts import format_seconds
from p2p_flock.cli.creating.consequences import TaskSizes
from p2p_flock.cli.estimates import estimate_traffic
from p2p_flock.cli.watching.words import format_bytes
from p2p_flock.errors import ParameterError
from p2p_flock.params import COHORT_OWNERS_MIN, VALIDATORS_MAX, AllianceParams, validate_params

PHASE_SECONDS_SAFE = 10  # shorter ones were measured on one machine; lines and clocks of strangers need more
LINE_BYTES_PER_SECOND = 1_250_000  # 10 Mbit/s, a modest line
BLOCKING_MAX = 0.5
SEATS_FACTOR_MAX = 4  # how many times the members a suggestion may ask for


@dataclass(frozen=True, slots=True)
class Weakness:
    """What is weak, and what to do; sentences."""

    text: str
    remedy: str


def find_weaknesses(params: AllianceParams, assumptions: Assumptions, sizes: TaskSizes | None) -> list[Weakness]:
    """The worst first; empty where nothing is weak."""
    found = [
        _privacy(params, assumptions),
        _capture(params),
        _single_cohort(params),
        _suspicion(params, assumptions),
        _spare_seats(params),
        _phases(params),
        _line(params, sizes),
        _reward(params),
    ]
    return [weakness for weakness in found if weakness is not None]


def _keeps_rules(params: AllianceParams) -> bool:
    try:
        validate_params(params)
    except ParameterError:
        return False
    return True


def _population(params: AllianceParams, corrupt_permille: int = 0, dropout_permille: int = 0) -> Population:
    return population_of(params, params.seat_count_max, corrupt_permille, dropout_permille)


def _feared(params: AllianceParams) -> int:
    return -(-params.seat_count_max * FEARED_PERCENT // 100)


# --- privacy and delivery ----------------------------------------------------------------------------------------


def _privacy(params: AllianceParams, assumptions: Assumptions) -> Weakness | None:
    if not is_weak(params, assumptions):
        return None
    text = (
        f"The numbers miss what was asked for: a leak in all rounds by 2^-{assumptions.privacy_bits}, a void cohort in "
        f"a round by 2^-{assumptions.delivery_bits}, with {assumptions.corrupt_permille / 10:g} % of the members "
        f"colluding and {assumptions.dropout_permille / 10:g} % failing."
    )
    population = _population(params, assumptions.corrupt_permille, assumptions.dropout_permille)
    try:
        best = solve(population, assumptions.privacy_bits, assumptions.delivery_bits)
        return Weakness(text, f"Set threshold to {best.threshold} and collusion_bound to {best.collusion_bound}.")
    except InfeasibleError:
        seats = _find_seats(params, lambda grown: _is_private(grown, assumptions))
        if seats is None:
            return Weakness(text, "Take more members or fewer cohorts, or trust the members more (--corrupt-share).")
        return Weakness(text, f"Set seat_count_min and seat_count_max to {seats}, and let threshold be chosen.")


def _is_private(params: AllianceParams, assumptions: Assumptions) -> bool:
    try:
        population = _population(params, assumptions.corrupt_permille, assumptions.dropout_permille)
        solve(population, assumptions.privacy_bits, assumptions.delivery_bits)
    except ParameterError:
        return False
    return True


def _find_seats(params: AllianceParams, serves: Callable[[AllianceParams], bool]) -> int | None:
    """The smallest number of members tried that serves; a tenth more each time."""
    seats = params.seat_count_max + 1
    while seats <= SEATS_FACTOR_MAX * params.seat_count_max:
        if serves(replace(params, seat_count_min=seats, seat_count_max=seats)):
            return seats
        seats += max(1, seats // 10)
    return None


# --- bad members -------------------------------------------------------------------------------------------------


def _is_safe(params: AllianceParams) -> bool:
    risk = compute_risk(_population(params), _feared(params), 0)
    return risk.life_capture <= LIFE_CAPTURE_MAX and risk.blocking <= BLOCKING_MAX


def suggest_validators(params: AllianceParams) -> int | None:
    """The fewest validators, at least as many as now, that a fifth of bad members do not take or block."""
    for count in range(params.validator_count, VALIDATORS_MAX + 1):
        changed = replace(params, validator_count=count)
        if changed.cohort_owners_min(changed.seat_count_min) < max(COHORT_OWNERS_MIN, changed.survivors_min):
            return None
        if _keeps_rules(changed) and _is_safe(changed):
            return count
    return None


def _capture(params: AllianceParams) -> Weakness | None:
    risk = compute_risk(_population(params), _feared(params), 0)
    if risk.life_capture <= LIFE_CAPTURE_MAX and risk.blocking <= BLOCKING_MAX:
        return None
    text = (
        f"{params.validator_count} validators are few. If {_feared(params)} of {params.seat_count_max} members are "
        f"bad, {describe_chance(risk.life_capture, OUTVOTE)}, and "
        f"{describe_chance(risk.blocking, 'they can keep a given round from a verdict')}."
    )
    count = suggest_validators(params)
    if count is not None:
        return Weakness(text, f"Set validator_count to {count}.")
    for seats in range(params.seat_count_max + 1, SEATS_FACTOR_MAX * params.seat_count_max + 1):
        grown = replace(params, seat_count_min=seats, seat_count_max=seats)
        count = suggest_validators(_with_threshold(grown))
        if count is not None:
            return Weakness(
                text,
                f"With {params.seat_count_max} members no number does: set seat_count_min and seat_count_max to "
                f"{seats} and validator_count to {count}.",
            )
    return Weakness(text, "With so few members no number does: take more members, or fewer rounds.")


def _with_threshold(params: AllianceParams) -> AllianceParams:
    """The smallest threshold that serves more members' cohorts; the creator's is for its own number of them."""
    largest = params.cohort_owners_max(params.seat_count_max)
    return replace(params, threshold=max(params.threshold, (largest + params.collusion_bound) // 2 + 1))


def _single_cohort(params: AllianceParams) -> Weakness | None:
    if params.cohort_count > 1:
        return None
    text = (
        "There is one cohort. A bad trainer spoils every round in which it trains, and nobody can tell which one it "
        "was."
    )
    smallest = max(COHORT_OWNERS_MIN, params.survivors_min)
    if (params.seat_count_min - params.validator_count) // 2 >= smallest:
        return Weakness(text, "Set cohort_count to 2.")
    seats = params.validator_count + 2 * smallest
    return Weakness(text, f"Set cohort_count to 2, which takes {seats} members (seat_count_min).")


def _suspicion(params: AllianceParams, assumptions: Assumptions) -> Weakness | None:
    if params.cohort_count == 1:
        return None
    risk = compute_risk(_population(params), _feared(params), params.suspicion_bound)
    if not params.suspicion_bound:
        text = "The suspicion bound is 0: whoever poisons every round keeps its seat to the end."
    elif risk.false_suspicion > FALSE_SUSPICION_MAX:
        text = (
            f"The suspicion bound is low: if {_feared(params)} members are bad, "
            f"{describe_chance(risk.false_suspicion, 'an honest one is suspended')}."
        )
    else:
        return None
    shares = {max(assumptions.corrupt_permille, 10 * FEARED_PERCENT), assumptions.corrupt_permille}
    for permille in sorted(shares, reverse=True):
        bound = choose_suspicion_bound(_population(params, permille))
        if bound and bound != params.suspicion_bound:
            return Weakness(text, f"Set suspicion_bound to {bound}.")
    return Weakness(text, "No bound both finds poisoners and spares the honest here: take more cohorts, or members.")


# --- everyday ----------------------------------------------------------------------------------------------------


def _spare_seats(params: AllianceParams) -> Weakness | None:
    if params.seat_count_max > params.seats_min:
        return None
    return Weakness(
        f"Every member is needed: with fewer than {params.seats_min} no round opens, so one that leaves or is "
        "suspended stops the alliance.",
        f"Set seat_count_max to {params.seats_min + 2} or more, or take fewer validators.",
    )


def _phases(params: AllianceParams) -> Weakness | None:
    names = ("train", "seal", "unmask", "evaluate", "commit", "settle")
    short = [f"{name}_seconds" for name in names if getattr(params, f"{name}_seconds") < PHASE_SECONDS_SAFE]
    if not short:
        return None
    return Weakness(
        f"Steps of less than {PHASE_SECONDS_SAFE} s suit a test on one machine: {', '.join(short)}. Over real lines "
        "members miss them.",
        "Set them to 60 or more; a step ends early when all have done it.",
    )


def _line(params: AllianceParams, sizes: TaskSizes | None) -> Weakness | None:
    """A validator must have every update before training ends."""
    if sizes is None:
        return None
    traffic = estimate_traffic(params, sizes.parameter_count, sizes.statistics_count, params.seat_count_max)
    needed = -(-max(traffic.validator_down_bytes, traffic.trainer_up_bytes) // LINE_BYTES_PER_SECOND)
    if needed <= params.train_seconds:
        return None
    return Weakness(
        f"A validator receives {format_bytes(traffic.validator_down_bytes)} a round, a trainer sends "
        f"{format_bytes(traffic.trainer_up_bytes)}. On a line of 10 Mbit/s that takes {format_seconds(needed)}, and "
        f"training ends after {format_seconds(params.train_seconds)}.",
        f"Set train_seconds to {2 * needed} or more, or lane_bits to a smaller ring.",
    )


def _reward(params: AllianceParams) -> Weakness | None:
    if params.reward_per_round:
        return None
    return Weakness("Nobody is paid for a round.", "Set reward_per_round if members are to be paid for their work.")
