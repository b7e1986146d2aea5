"""``p2p-flock watch``, also ``alliance watch``: the running round live in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from p2p_flock.cli.options import home_option
from p2p_flock.cli.watching.loop import print_once, run_json, run_lines

INTERVAL_MIN_S, INTERVAL_MAX_S = 0.2, 3600.0


@click.command()
@home_option
@click.option("--once", is_flag=True, help="Print one frame and end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and refresh, as CONTROL.md says.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(INTERVAL_MIN_S, INTERVAL_MAX_S),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two refreshes.",
)
def watch(home: Path, once: bool, as_json: bool, interval_s: float) -> None:
    """Show live what the alliance and this node are doing: phases, who is late, votes, stake, cost.

    Ends with Ctrl-C (exit code 130); the node goes on. A daemon that stops is waited for, except with --once. Where
    standard output is no terminal, prints a line whenever something changes.
    """
    if once:
        print_once(home, as_json)
    elif as_json:
        run_json(home, interval_s)
    elif sys.stdout.isatty():
        from p2p_flock.cli.watching.screen import run_screen  # noqa: PLC0415  start-up cost

        run_screen(home, interval_s)
    else:
        run_lines(home, interval_s)
