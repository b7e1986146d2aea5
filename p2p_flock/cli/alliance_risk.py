"""What bad members can do to an alliance, for its creator and for whoever may join: ``alliance/risk.py`` in words.

Pure. Shown next to the privacy levels of ``alliance_security.py``, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, inf, log10

from p2p_flock.alliance.risk import (
    FALSE_SUSPICION_MAX,
    LIFE_CAPTURE_MAX,
    Risk,
    choose_suspicion_bound,
    compute_risk,
    compute_tolerated,
)
from p2p_flock.alliance.solver import Population, population_of
from p2p_flock.cli.alliance_security import SIZES, Assumptions
from p2p_flock.params import AllianceParams

SHARES_PERCENT = (10, 20, 30)
FEARED_PERCENT = 20  # warnings are about this share; the solver's privacy levels assume it too
OUTVOTE = "they outvote the honest validators in at least one round"
LABEL_WIDTH, COLUMN_WIDTH = 34, 14  # 76 columns in all


def choose_bound(values: Mapping[str, object], assumptions: Assumptions) -> int:
    """The suspicion bound where the creator names none: the smallest safe one for the share that it fears, or 0.

    0 as well where a size is missing or none: whoever builds the parameters says so.
    """
    texts = [str(values.get(name, "")) for name in SIZES]
    if not all(text.isascii() and text.isdigit() and len(text) <= 10 for text in texts):
        return 0
    try:
        seats, validators, cohorts, rounds = map(int, texts)
        return choose_suspicion_bound(Population(seats, validators, cohorts, rounds, assumptions.corrupt_permille))
    except ValueError:  # no such population: the parameters break another rule
        return 0


def describe_risk(params: AllianceParams, with_warnings: bool = True) -> list[str]:
    """A small table by share of bad owners, at most 76 characters wide, then sentences, warnings last.

    Args:
        with_warnings: not where ``creating/weaknesses.py`` says them, with what to change.
    """
    population = population_of(params, params.seat_count_max, 0, 0)
    counts = sorted({-(-population.seat_count * percent // 100) for percent in SHARES_PERCENT})
    risks = [compute_risk(population, count, params.suspicion_bound) for count in counts]
    lines = ["Bad members poison what they train, and as validators vote against what they see."]
    lines += _table(params, population, risks)
    tolerated = compute_tolerated(population)
    if tolerated:
        lines.append(
            f"It holds against {tolerated} bad of {population.seat_count} owners: with so many it still learns, and "
            f"the chance that they outvote the honest validators in any round is {LIFE_CAPTURE_MAX:.0%} at most."
        )
    else:
        lines.append(f"It holds against no bad owner at all: one of {population.seat_count} is too many.")
    return [*lines, *_rule(params), *(_warnings(params, population) if with_warnings else [])]


def _table(params: AllianceParams, population: Population, risks: list[Risk]) -> list[str]:
    quorum, validators = params.verdict_quorum, params.validator_count
    rows = [
        ("bad owners", [f"{risk.bad_count} of {population.seat_count}" for risk in risks]),
        (f"have {quorum} of {validators} votes in a round", [format_chance(risk.capture) for risk in risks]),
        (f"ever, in {params.round_count} rounds", [format_chance(risk.life_capture) for risk in risks]),
        ("can block a round's verdicts", [format_chance(risk.blocking) for risk in risks]),
        ("cohorts with none of them", [format_chance(risk.clean_share) for risk in risks]),
    ]
    if params.suspicion_bound:
        rows += [
            ("honest seat ever suspended", [format_chance(risk.false_suspicion) for risk in risks]),
            ("poisoner ever suspended", [format_chance(risk.true_suspicion) for risk in risks]),
            ("after rounds, on average", [_format_rounds(risk.rounds_to_suspicion) for risk in risks]),
        ]
    return [
        f"{label:<{LABEL_WIDTH}}" + "".join(f"{cell:>{COLUMN_WIDTH}}" for cell in cells).rstrip()
        for label, cells in rows
    ]


def _rule(params: AllianceParams) -> list[str]:
    if not params.suspicion_bound:
        return []
    spare = max(0, params.seat_count_max - params.seats_min)
    return [
        f"Whose cohorts are rejected {params.suspicion_bound} times in a row, none adopted between, loses the seat, "
        f"never any stake. Of {params.seat_count_max} seats {spare} can go before too few are left for a round. The "
        "rows on suspension assume that a poisoned sum is always recognised, that nobody else goes meanwhile, and that "
        "all bad owners do their worst to have that one honest seat suspended."
    ]


def _warnings(params: AllianceParams, population: Population) -> list[str]:
    feared = -(-population.seat_count * FEARED_PERCENT // 100)
    risk = compute_risk(population, feared, params.suspicion_bound)
    found = []
    if risk.life_capture > LIFE_CAPTURE_MAX:
        found.append(
            f"Warning: {params.validator_count} validators are few. If {feared} of {population.seat_count} owners are "
            f"bad, {describe_chance(risk.life_capture, OUTVOTE)}: then they alone decide what becomes of the model in "
            "it. More validators make that rarer, and only the creator can set them; join this one if you trust that "
            f"fewer than {feared} of its owners are bad."
        )
    if params.cohort_count == 1:
        found.append(
            "Warning: there is one cohort. Every bad trainer spoils the round, and nobody can tell which one it was: "
            "with two cohorts or more it can be found."
        )
    elif not params.suspicion_bound:
        found.append("Warning: the suspicion bound is 0. Whoever poisons every round keeps its seat to the end.")
    if risk.false_suspicion > FALSE_SUSPICION_MAX:
        found.append(
            f"Warning: the suspicion bound is low. If {feared} owners are bad, "
            f"{describe_chance(risk.false_suspicion, 'an honest one is suspended')}."
        )
    return found


def describe_chance(chance: float, what: str) -> str:
    """``the chance that … is 31 %``, ``it is certain that …``: a clause that goes on after a comma."""
    if chance >= 1:
        return f"it is certain that {what}"
    if chance <= 0:
        return f"it cannot happen that {what}"
    return f"the chance that {what} is {format_chance(chance)}"


def format_chance(chance: float) -> str:
    """``never``, ``1 in 660,000`` below a thousandth, ``0.25 %``, ``31 %``, ``> 99 %``, ``always``."""
    if chance <= 0:
        return "never"
    if chance >= 1:
        return "always"
    if chance < 1e-9:
        return "< 1 in 10^9"
    if chance < 0.001:
        odds = 1 / chance
        unit = 10 ** (floor(log10(odds)) - 1)  # two digits
        return f"1 in {round(odds / unit) * unit:,}"
    return f"{chance * 100:.2g} %" if chance < 0.99 else "> 99 %"


def _format_rounds(rounds: float) -> str:
    if rounds == inf:
        return "never"
    return f"{rounds:,.0f}" if rounds < 1e6 else "> 1,000,000"
