"""``p2p-flock alliance show ID``: an alliance's terms, seats and last rounds."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from p2p_flock.cli.options import alliance_argument, call, home_option, json_option, print_json
from p2p_flock.daemon.control_messages import AllianceShowResult

SHOW_TIMEOUT_S = 60.0  # an alliance not seen before is read from the chain


@click.command()
@alliance_argument
@home_option
@json_option
def show(alliance: str, home: Path, as_json: bool) -> None:
    """Show an alliance: what it trains, costs and reveals, who is in it, how its rounds went."""
    result = cast(AllianceShowResult, call(home, "alliance.show", {"alliance": alliance}, SHOW_TIMEOUT_S))
    if as_json:
        print_json(result)
        return
    from p2p_flock.cli.render import show_alliance  # noqa: PLC0415  start-up cost

    show_alliance(result)
