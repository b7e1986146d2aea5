"""``p2p-flock alliance list``: the alliances of the configured factory."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from p2p_flock.cli.options import call, home_option, json_option, print_json
from p2p_flock.daemon.control_messages import AllianceListResult


@click.command("list")
@home_option
@json_option
def list_alliances(home: Path, as_json: bool) -> None:
    """List the alliances of the factory that config.toml names, newest first."""
    result = cast(AllianceListResult, call(home, "alliance.list", {}))
    if as_json:
        print_json(result)
        return
    from p2p_flock.cli.render import show_alliances  # noqa: PLC0415  start-up cost

    show_alliances(result)
