"""What an alliance's numbers come to, in plain words, before anything is sent. Pure; called by ``alliance create``.

Everything here is computed from the parameters; figures that were measured (gas, bytes, honest cohorts rejected) name
where. What is weak is said by ``weaknesses.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from p2p_flock.cli.alliance_risk import describe_risk
from p2p_flock.cli.alliance_security import Assumptions, describe_bounds
from p2p_flock.cli.alliance_terms import round_seconds_max
from p2p_flock.cli.amounts import format_money, format_seconds
from p2p_flock.cli.estimates import GasCost, Prices, estimate_gas, estimate_traffic
from p2p_flock.cli.watching.words import format_bytes
from p2p_flock.params import SCORE_MICRO_MAX, AllianceParams, compute_holder_count

LABEL_WIDTH, COLUMN_WIDTH = 34, 14  # as the table of bad members
# Of cohorts without a bad owner, when nobody attacks: bench/POISON.md, rows 1, 3 and 4.
HONEST_REJECTED_PERCENT = (8, 14)


@dataclass(frozen=True, slots=True)
class TaskSizes:
    """Of the task to be trained: D, lanes of an update, and S, lanes of round 0."""

    parameter_count: int
    statistics_count: int


def describe_consequences(
    params: AllianceParams, pool: int, sizes: TaskSizes | None, assumptions: Assumptions, prices: Prices
) -> Mapping[str, list[str]]:
    """Lines by heading, for as many members as the alliance may have.

    Args:
        pool: escrowed rewards, FLOCK wei.
        sizes: ``None`` where no daemon could say them; traffic is then left out, and the text says so.
    """
    return {
        "A round": describe_round(params),
        "Privacy": describe_bounds(params, assumptions),
        "Bad members": [*describe_risk(params, with_warnings=False), describe_false_rejects(params)],
        "Time": describe_time(params),
        "Gas": describe_gas(params, prices),
        "Traffic": describe_traffic(params, sizes),
        "FLOCK": describe_money(params, pool),
    }


def describe_round(params: AllianceParams) -> list[str]:
    """Who does what, and k, t and c."""
    seats, validators = params.seat_count_max, params.validator_count
    owners = params.cohort_owners_max(seats)
    holders = compute_holder_count(owners, params.threshold, params.collusion_bound)
    starts = "" if params.seat_count_min == seats else f" (it starts with {params.seat_count_min})"
    return [
        f"{seats} members{starts}. In every round {validators} of them, drawn anew, are validators: they add up and "
        f"judge. The other {seats - validators} train, in {_cohorts(params)}.",
        f"Each trainer exchanges masks with {holders - 1} neighbors (k) of its cohort. {params.threshold} of these "
        f"{holders} owners (t) are needed to open the cohort's sum, and it takes {params.survivors_min} trainers "
        f"that finish. {_collusion(params)}",
    ]


def _cohorts(params: AllianceParams) -> str:
    least, most = params.cohort_owners_min(params.seat_count_max), params.cohort_owners_max(params.seat_count_max)
    sizes = f"{least}" if least == most else f"{least} to {most}"
    return f"one cohort of {sizes}" if params.cohort_count == 1 else f"{params.cohort_count} cohorts of {sizes}"


def _collusion(params: AllianceParams) -> str:
    bound = params.collusion_bound
    if not bound:
        return "It holds against no collusion (c is 0): owners that share what they know learn more than they should."
    return f"Up to {bound} owners of a cohort (c) may share what they know and learn nobody's update."


def describe_false_rejects(params: AllianceParams) -> str:
    """How often an honest cohort is rejected, as measured."""
    low, high = HONEST_REJECTED_PERCENT
    tolerance = params.loss_tolerance_micro / SCORE_MICRO_MAX
    return (
        f"False rejects: with nobody cheating, {low} to {high} % of the cohorts were rejected in our measurements, "
        f"late in the training, where small steps meet the tolerance of the loss (here {tolerance:g}). A rejected "
        "round costs time, no stake."
    )


def describe_time(params: AllianceParams) -> list[str]:
    """Longest times; a step ends when all have done theirs."""
    longest = round_seconds_max(params)
    return [
        f"Training may take {format_seconds(params.train_seconds)}; a round at most {format_seconds(longest)}, all "
        f"{params.round_count} rounds at most {format_seconds(longest * params.round_count)}. A step ends as soon as "
        "everybody has done it, so it is usually much less.",
        f"Round 0 sums the statistics of the data; {params.round_count - 1} rounds train.",
    ]


def describe_money(params: AllianceParams, pool: int) -> list[str]:
    """Stake and rewards; what nobody can say is what a FLOCK is worth."""
    seats = params.seat_count_max
    share = params.reward_per_round // seats
    return [
        f"You escrow {format_money(pool, 'FLOCK')} now as rewards: {format_money(params.reward_per_round, 'FLOCK')} a "
        f"round, {format_money(share, 'FLOCK')} for each member on average. What is not earned stays in the pool.",
        f"Each member stakes {format_money(params.seat_stake, 'FLOCK')}, all together "
        f"{format_money(params.seat_stake * seats, 'FLOCK')}. A proven offence takes "
        f"{params.provable_slash_bps / 100:g} % of it, a bad model none. It comes back "
        f"{format_seconds(params.unbonding_seconds)} after the last round.",
    ]


def describe_gas(params: AllianceParams, prices: Prices) -> list[str]:
    """A table by role in gas, ETH and USD."""
    seats = params.seat_count_max
    cost = estimate_gas(params, seats)
    rows = [_row("", ("gas", "ETH", "USD"))]
    rows += [_row(label, _cells(gas, prices)) for label, gas in _gas_rows(cost, seats, params.round_count)]
    return [*rows, prices.describe()]


def _gas_rows(cost: GasCost, seats: int, rounds: int) -> list[tuple[str, int]]:
    return [
        ("a round, three transactions", cost.round_gas),
        ("  a validator's share of it", cost.validator_gas),
        ("  a trainer's", cost.trainer_gas),
        ("  a member's, on average", cost.member_gas),
        ("creating, once: you", cost.create_gas),
        ("joining, once: each member", cost.join_gas),
        (f"all: {seats} members, {rounds} rounds", cost.alliance_gas),
    ]


def _cells(gas: int, prices: Prices) -> tuple[str, str, str]:
    return f"{gas:,}", f"{prices.eth(gas):.7f}" if gas else "0", f"{prices.usd(gas):,.4f}" if gas else "0"


def describe_traffic(params: AllianceParams, sizes: TaskSizes | None) -> list[str]:
    """A table by role, between members; what nodes ask the chain is not in it."""
    if sizes is None:
        return ["Not known: no daemon of this home could say how large the task's model is (--parameters NUMBER)."]
    traffic = estimate_traffic(params, sizes.parameter_count, sizes.statistics_count, params.seat_count_max)
    rows = [
        ("a trainer, a round", traffic.trainer_up_bytes, traffic.trainer_down_bytes),
        ("a validator, a round", traffic.validator_up_bytes, traffic.validator_down_bytes),
    ]
    whole = traffic.mean_bytes * (params.round_count - 1) + traffic.first_round_bytes
    return [
        f"The model has {sizes.parameter_count:,} numbers.",
        _row("", ("sent", "received", "together")),
        *(_row(label, [format_bytes(size) for size in (up, down, up + down)]) for label, up, down in rows),
        _row("a member, a round, on average", ("", "", format_bytes(traffic.mean_bytes))),
        _row("a member, all rounds", ("", "", format_bytes(whole))),
        "Between members only: what a node asks its chain endpoint comes on top, kilobytes a second during a round.",
    ]


def _row(label: str, cells: list[str] | tuple[str, ...]) -> str:
    return f"{label:<{LABEL_WIDTH}}" + "".join(f"{cell:>{COLUMN_WIDTH}}" for cell in cells).rstrip()
