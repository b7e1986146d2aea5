"""How private an alliance's cohorts are, for its creator and for whoever may join: the solver in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from p2p_flock.alliance.solver import (
    SHARE_DENOMINATOR,
    Population,
    Security,
    compute_security,
    describe_bits,
    population_of,
    solve,
)
from p2p_flock.errors import ParameterError, UsageError
from p2p_flock.params import AllianceParams

SIZES = ("seat_count_max", "validator_count", "cohort_count", "round_count")


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a creator fears and asks for; shares of the owners in permille, levels in bits."""

    corrupt_permille: int = 200
    dropout_permille: int = 100
    privacy_bits: int = 40
    delivery_bits: int = 30

    @classmethod
    def from_shares(cls, corrupt: float, dropout: float, privacy_bits: int, delivery_bits: int) -> Assumptions:
        """Shares between 0 and 1, to a thousandth."""
        corrupt_permille, dropout_permille = round(corrupt * SHARE_DENOMINATOR), round(dropout * SHARE_DENOMINATOR)
        return cls(corrupt_permille, dropout_permille, privacy_bits, delivery_bits)


DEFAULT_ASSUMPTIONS = Assumptions()


def choose_bounds(values: Mapping[str, object], assumptions: Assumptions) -> dict[str, object]:
    """``threshold`` and ``collusion_bound`` from the solver, where the creator named neither.

    Raises:
        UsageError: one is named and the other is not, a size is no number, or no numbers reach the levels; the text
            says what the best are worth.
    """
    named = [name for name in ("threshold", "collusion_bound") if name in values]
    if len(named) == 1:
        raise UsageError(f"{named[0]} is set alone\nset threshold and collusion_bound, or neither to have both chosen")
    if named or any(name not in values for name in SIZES):
        return {}
    try:
        seats, validators, cohorts, rounds = (int(str(values[name])) for name in SIZES)
        shares = (assumptions.corrupt_permille, assumptions.dropout_permille)
        population = Population(seats, validators, cohorts, rounds, *shares)
        found = solve(population, assumptions.privacy_bits, assumptions.delivery_bits)
    except ValueError as error:  # ParameterError is one, and so is a number that is none
        raise UsageError(
            f"{error}\nor name threshold and collusion_bound yourself; --dry-run shows what they are worth"
        ) from error
    return {"threshold": found.threshold, "collusion_bound": found.collusion_bound}


def describe_bounds(params: AllianceParams, assumptions: Assumptions = DEFAULT_ASSUMPTIONS) -> list[str]:
    """Sentences on what c and t are worth with as many seats as the alliance may have."""
    corrupt, dropout = assumptions.corrupt_permille, assumptions.dropout_permille
    population = population_of(params, params.seat_count_max, corrupt, dropout)
    try:
        security = compute_security(population, params.threshold, params.collusion_bound)
    except ParameterError as error:
        return [str(error)]
    return [_describe_privacy(population, security), _describe_delivery(population, security)]


def is_weak(params: AllianceParams, assumptions: Assumptions) -> bool:
    """Whether the creator's own numbers miss a level that it asked for."""
    corrupt, dropout = assumptions.corrupt_permille, assumptions.dropout_permille
    population = population_of(params, params.seat_count_max, corrupt, dropout)
    try:
        security = compute_security(population, params.threshold, params.collusion_bound)
    except ParameterError:
        return True
    return security.privacy_bits < assumptions.privacy_bits or security.delivery_bits < assumptions.delivery_bits


def _describe_privacy(population: Population, security: Security) -> str:
    p, bound = population, security.collusion_bound
    harmless = f"up to {bound} of them may collude" if bound else "none of them may collude"
    claim = f"A trainer's secrets are shared among {security.holders} owners; {harmless}."
    if p.corrupt_count == 0:
        share = f"{p.corrupt_permille / 10:g} % of {p.seat_count} owners"
        return f"{claim} {share} is nobody: with nobody colluding, that is never exceeded."
    if security.privacy_bits == inf:
        return f"{claim} If {p.corrupt_count} of {p.seat_count} owners collude, they are too few: it is never exceeded."
    return (
        f"{claim} If {p.corrupt_count} of {p.seat_count} owners collude, the chance that this is exceeded for anybody "
        f"in any of {p.round_count} rounds is {describe_bits(security.privacy_bits)}."
    )


def _describe_delivery(population: Population, security: Security) -> str:
    p = population
    spare = p.cohort_owners_min - security.threshold
    cohort = (
        f"The smallest cohort has {p.cohort_owners_min} trainers, and {security.threshold} of them open its sum: "
        f"where more than {max(0, spare)} fail in a round, that cohort's work in it is lost."
    )
    if p.dropout_count == 0:
        return cohort
    if security.delivery_bits == inf:
        return f"{cohort} If {p.dropout_count} of {p.seat_count} owners fail in a round, every cohort can be opened."
    return (
        f"{cohort} If {p.dropout_count} of {p.seat_count} owners fail in a round, the chance that this befalls a "
        f"cohort is {describe_bits(security.delivery_bits)}."
    )
