"""``p2p-flock alliance show ID``: an alliance's terms, seats and last rounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import click

from p2p_flock.cli.estimates import ETH_USD, GAS_GWEI, Prices
from p2p_flock.cli.options import alliance_argument, call, home_option, json_option, print_json
from p2p_flock.daemon.control_messages import AllianceShowResult

SHOW_TIMEOUT_S = 60.0  # an alliance not seen before is read from the chain

Command = TypeVar("Command", bound=Callable[..., object])


def price_options(command: Command) -> Command:
    """``--eth-usd`` and ``--gas-gwei``: what the figures in USD and ETH are reckoned with; never fetched."""
    positive = click.FloatRange(min=0, min_open=True, max=1e6)
    gas = click.option(
        "--gas-gwei",
        type=positive,
        default=GAS_GWEI,
        show_default=True,
        callback=_require_number,
        help="Price of a unit of gas, gwei.",
    )
    eth = click.option(
        "--eth-usd",
        type=positive,
        default=ETH_USD,
        show_default=True,
        callback=_require_number,
        help="Price of an ETH, USD.",
    )
    return gas(eth(command))


def _require_number(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    if math.isnan(value):  # which click's range lets through
        raise click.BadParameter("nan is no price")
    return value


@click.command()
@alliance_argument
@home_option
@price_options
@json_option
def show(alliance: str, home: Path, gas_gwei: float, eth_usd: float, as_json: bool) -> None:
    """Show an alliance: what it trains, costs and reveals, who is in it, how its rounds went."""
    result = cast(AllianceShowResult, call(home, "alliance.show", {"alliance": alliance}, SHOW_TIMEOUT_S))
    if as_json:
        print_json(result)
        return
    from p2p_flock.cli.render import show_alliance  # noqa: PLC0415  start-up cost

    show_alliance(result, Prices(gas_gwei, eth_usd))
