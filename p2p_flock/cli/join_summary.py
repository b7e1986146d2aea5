"""The last lines before the question of ``alliance join``: what matters, each in one line. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_flock.cli.alliance_terms import (
    expected_seats,
    format_about,
    format_cpu,
    format_priced,
    params_of,
    rounds_left,
)
from p2p_flock.cli.amounts import format_money, format_seconds
from p2p_flock.cli.estimates import Prices, estimate_gas, estimate_traffic
from p2p_flock.cli.watching.words import format_bytes
from p2p_flock.daemon.control_messages import AllianceShowResult
from p2p_flock.errors import ParameterError
from p2p_flock.params import AllianceParams

if TYPE_CHECKING:  # loads numpy
    from p2p_flock.learning.results import Rehearsal


def summarise(result: AllianceShowResult, prices: Prices, rehearsal: Rehearsal | None) -> list[tuple[str, str]]:
    """Pairs of a word and what it comes to."""
    params = params_of(result)
    seats, left = expected_seats(result, params), rounds_left(result, params)
    gas = estimate_gas(params, seats)
    share = params.reward_per_round // seats
    return [
        ("your data", _data(result, params, rehearsal)),
        ("others see", f"sums over {params.survivors_min} owners or more, round after round; {_noise(result)}"),
        ("you can lose", format_money(params.seat_stake, "FLOCK")),
        ("you can earn", f"up to about {format_about(share)} a round, {format_about(share * left)} in all"),
        ("gas", f"{format_priced(gas.join_gas + gas.member_gas * left, prices)} in all"),
        *_traffic(result, params, seats),
    ]


def _data(result: AllianceShowResult, params: AllianceParams, rehearsal: Rehearsal | None) -> str:
    if rehearsal is None:
        return f"fits; {result['data']['train_count'] or 0:,} records to train on; no dry run"
    return (
        f"fits; a round trains {rehearsal.example_count:,} records in about {format_cpu(rehearsal.round_seconds)} of "
        f"{format_seconds(params.train_seconds)}"
    )


def _noise(result: AllianceShowResult) -> str:
    privacy = result["privacy"]
    if privacy is None:
        return "no noise, no ε"
    return "ε not bounded" if privacy["epsilon"] is None else f"ε = {privacy['epsilon']:.2g} over all of them"


def _traffic(result: AllianceShowResult, params: AllianceParams, seats: int) -> list[tuple[str, str]]:
    about = result["about"]
    if about is None:
        return []
    try:
        traffic = estimate_traffic(params, about["parameter_count"], about["statistics_count"], seats)
    except ParameterError:
        return []
    whole = traffic.mean_bytes * rounds_left(result, params)
    return [("traffic", f"about {format_bytes(traffic.mean_bytes)} a round, {format_bytes(whole)} in all")]
