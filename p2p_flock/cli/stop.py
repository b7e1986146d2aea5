"""``p2p-flock stop``: end the daemon of a data directory."""

from __future__ import annotations

from pathlib import Path

import click

from p2p_flock.cli.options import STATUS_TIMEOUT_S, call, home_option


@click.command()
@home_option
def stop(home: Path) -> None:
    """End the running daemon; it keeps its promises of the running round when it is started again in time."""
    call(home, "stop", {}, STATUS_TIMEOUT_S)
    click.echo(f"The daemon in {home} is ending.")
