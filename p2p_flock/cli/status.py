"""``p2p-flock status``: is the daemon up, what is it doing, is something wrong."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from p2p_flock.cli.options import STATUS_TIMEOUT_S, call, home_option, json_option, print_json
from p2p_flock.daemon.control_messages import StatusResult


@click.command()
@home_option
@json_option
def status(home: Path, as_json: bool) -> None:
    """Show what the running node is doing."""
    result = cast(StatusResult, call(home, "status", {}, STATUS_TIMEOUT_S))
    if as_json:
        print_json(result)
        return
    from p2p_flock.cli.render import show_status  # noqa: PLC0415  start-up cost

    show_status(result)
