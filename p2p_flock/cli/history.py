"""``p2p-flock history``: every round that ended, why it ended so, and what this node earned in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from p2p_flock.cli.options import call, home_option, json_option, print_json
from p2p_flock.errors import UsageError

if TYPE_CHECKING:
    from p2p_flock.daemon.history_messages import HistoryResult

ROUNDS_PER_CALL = 200  # what the daemon gives at a time
ROUNDS_SHOWN = 20


@click.command()
@home_option
@click.option("--limit", metavar="N", type=click.IntRange(1, 1_000_000), default=ROUNDS_SHOWN, show_default=True,
              help="How many rounds, from the newest back.")  # fmt: skip
@click.option("--round", "number", metavar="N", type=click.IntRange(0, 2**32 - 1),
              help="One round in full: transactions, reasons, strikes and slashes.")  # fmt: skip
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, for a spreadsheet.")
@json_option
def history(home: Path, limit: int, number: int | None, as_csv: bool, as_json: bool) -> None:
    """Show the rounds that ended, newest first. Money is FLOCK; scores are of this node's private test data."""
    if as_csv and as_json:
        raise UsageError("--csv and --json are two ways to print one answer\nname one of them")
    result = fetch_history(home, 1 if number is not None else limit, None if number is None else number + 1)
    if number is not None and [entry["round"] for entry in result["rounds"]] != [number]:
        raise UsageError(f"round {number} has not ended, or never began\nsee `p2p-flock history` for those that did")
    if as_json:
        print_json(result)
        return
    from p2p_flock.cli.history_view import show_csv, show_history, show_round  # noqa: PLC0415  start-up cost

    if as_csv:
        show_csv(result)
    elif number is not None:
        show_round(result["rounds"][0])
    else:
        show_history(result)


def fetch_history(home: Path, limit: int, before: int | None = None) -> HistoryResult:
    """The newest ``limit`` ended rounds below ``before``, in as many calls as that takes.

    Raises:
        ControlError: as ``control_call``.
    """
    result: HistoryResult | None = None
    while True:
        count = limit - (0 if result is None else len(result["rounds"]))
        arguments = {"before": before, "limit": min(count, ROUNDS_PER_CALL)}
        page = cast("HistoryResult", call(home, "alliance.history", arguments))
        rounds = page["rounds"]
        result = page if result is None else {**result, "rounds": [*result["rounds"], *rounds]}
        if not rounds or len(result["rounds"]) >= limit or rounds[-1]["round"] <= page["earliest"]:
            return result
        before = rounds[-1]["round"]
