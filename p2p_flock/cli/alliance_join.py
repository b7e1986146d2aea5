"""``p2p-flock alliance join ID``: stake and take part, after seeing the terms and trying one's data and machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from p2p_flock.cli.alliance_refusals import check_joinable, data_mismatch, find_warnings
from p2p_flock.cli.alliance_show import SHOW_TIMEOUT_S, price_options
from p2p_flock.cli.alliance_terms import describe_terms, params_of
from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.estimates import Prices
from p2p_flock.cli.failures import EXIT_DECLINED, EXIT_OK
from p2p_flock.cli.join_summary import summarise
from p2p_flock.cli.options import alliance_argument, call, home_option, json_option, print_json, require_answerable
from p2p_flock.cli.trial_words import check_deadline
from p2p_flock.daemon.control_messages import AllianceShowResult, JoinResult
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import UsageError

if TYPE_CHECKING:  # loads numpy and trio
    from p2p_flock.cli.rehearsal import Outcome


@click.command()
@alliance_argument
@home_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-dry-run", is_flag=True, help="Do not train one epoch first.")
@click.option(
    "--weight",
    default="auto",
    show_default=True,
    metavar="auto|NUMBER",
    help="Public weight of your data; auto takes it from the number of examples.",
)
@price_options
@json_option
def join(
    alliance: str,
    home: Path,
    yes: bool,
    no_dry_run: bool,
    weight: str,
    gas_gwei: float,
    eth_usd: float,
    as_json: bool,
) -> int:
    """Join an alliance with the daemon's account: shows the terms, tries your data and machine, asks, stakes.

    First every place where your data does not fit is listed, and one epoch is trained to see how long it takes; nothing
    leaves this machine for that. What is sent binds the parameters that were shown and the stake as the most that can
    be lost. With --json, time and scores of the dry run are under "dry_run".
    """
    declared, prices = _parse_weight(weight), Prices(gas_gwei, eth_usd)
    result = cast(AllianceShowResult, call(home, "alliance.show", {"alliance": alliance}, SHOW_TIMEOUT_S))
    check_joinable(result, prices)
    if not yes:
        require_answerable("joining", "--yes")
    screen = _Screen(result, prices, is_quiet=as_json and yes, to_stderr=as_json)
    screen.show_task()
    outcome = _try_out(result, home, screen, is_dry_run=not no_dry_run)
    screen.show_rest(outcome)
    if not yes:
        stake = format_money(result["params"]["seat_stake"], "FLOCK")
        if not click.confirm(f"Join and stake {stake}?", err=as_json):
            click.echo("Nothing was sent.", err=True)
            return EXIT_DECLINED
    arguments = {
        "alliance": alliance,
        "weight": declared,
        "params_hash": result["params_hash"],
        "maximum_loss": str(result["params"]["seat_stake"]),
    }
    if not as_json and sys.stdout.isatty():
        click.echo("Waiting for the chain (two transactions) …")
    joined = cast(JoinResult, call(home, "alliance.join", arguments))
    if as_json:
        print_json(joined if outcome is None or outcome.rehearsal is None else _with_dry_run(joined, outcome))
    else:
        click.echo(f"Joined {alliance} with seat {joined['seat']}, weight {joined['weight']}.")
        click.echo(
            "Your seat counts from the next round on. Keep the node running: `p2p-flock status` shows how it goes."
        )
    return EXIT_OK


def _with_dry_run(joined: JoinResult, outcome: Outcome) -> dict[str, object]:
    assert outcome.rehearsal is not None
    return {**joined, "dry_run": asdict(outcome.rehearsal)}


def _try_out(result: AllianceShowResult, home: Path, screen: _Screen, is_dry_run: bool) -> Outcome | None:
    """Check the data, and train one epoch if wanted; ``None`` where the node's own check is enough.

    Raises:
        DataSchemaError: something does not fit; all of it was listed.
        UsageError: this machine is too slow, or the command's environment holds another task than the node's.
        TaskError, WorkerCrashedError: the task cannot train.
    """
    data = result["data"]
    if not (is_dry_run or data["error_is_of_data"]):
        screen.show_own_data()
        return None
    from p2p_flock.cli.rehearsal import Trial, run_trial  # noqa: PLC0415  loads trio and numpy

    assert data["task"] is not None and data["path"] is not None  # check_joinable has looked
    path, wanted = Path(data["path"]), bytes.fromhex(result["manifest_digest"].removeprefix("0x"))
    trial = Trial(data["task"], path, int(data["seed"]), data["memory_bytes_max"], is_dry_run, wanted)
    outcome = run_trial(trial, DataDirectory(home).logs)
    screen.show_outcome(outcome)
    if outcome.mismatches is not None:
        raise data_mismatch(data["task"], os.fspath(path), outcome.mismatches.count)
    if data["error_is_of_data"]:
        raise UsageError(
            f"the data fits now, but the node has read it before: {data['error']}\ntry again: it reads the file anew"
        )
    if outcome.manifest_digest != wanted:
        raise UsageError(
            f"this command's environment has another version of the task {data['task']} than the node's\n"
            "run the command in the environment in which the node runs, or leave the dry run out with --no-dry-run"
        )
    return outcome


class _Screen:
    """What the member sees, in the order of its decision; nothing where a script asked for the result only."""

    def __init__(self, result: AllianceShowResult, prices: Prices, is_quiet: bool, to_stderr: bool) -> None:
        self._result, self._prices = result, prices
        self._is_quiet, self._to_stderr = is_quiet, to_stderr

    def show_task(self) -> None:
        """Model, rounds, and what the file must hold."""
        if self._is_quiet:
            return
        from p2p_flock.cli.render import show_columns, show_heading  # noqa: PLC0415  start-up cost

        show_heading(self._result, self._to_stderr)
        self._show_sections(0, 1, None)
        show_columns(self._result, self._to_stderr)

    def show_own_data(self) -> None:
        """What the node itself found when it read the file."""
        data = self._result["data"]
        counts = f"{data['train_count'] or 0:,} records to train on, {data['test_count'] or 0:,} to judge by"
        notes = [f"Note: {problem}." for problem in data["problems"]]
        self._show("Your data", [f"The node has read it, and it fits: {counts}. No dry run was made.", *notes])

    def show_outcome(self, outcome: Outcome) -> None:
        """The check of the data and the dry run; mismatches are shown also to scripts, on standard error."""
        if self._is_quiet and outcome.mismatches is None:
            return
        from p2p_flock.cli.render import show_outcome  # noqa: PLC0415  start-up cost

        show_outcome(outcome, params_of(self._result).train_seconds, self._to_stderr)

    def show_rest(self, outcome: Outcome | None) -> None:
        """Privacy, cheats, money, traffic, and what to think of before staking.

        Raises:
            UsageError: training one round takes longer here than the alliance gives.
        """
        rehearsal = None if outcome is None else outcome.rehearsal
        warnings = find_warnings(self._result, self._prices)
        if rehearsal is not None:
            slow = check_deadline(rehearsal, params_of(self._result).train_seconds)
            warnings += [slow] if slow is not None else []
        self._show_sections(1, None, None if rehearsal is None else rehearsal.round_cpu_seconds)
        if warnings:
            self._show("Before you stake", [f"Warning: {warning}" for warning in warnings])
        if not self._is_quiet:
            from p2p_flock.cli.render import show_summary  # noqa: PLC0415  start-up cost

            show_summary(summarise(self._result, self._prices, rehearsal), self._to_stderr)

    def _show_sections(self, first: int, last: int | None, cpu_seconds: float | None) -> None:
        for heading, lines in list(describe_terms(self._result, self._prices, cpu_seconds).items())[first:last]:
            self._show(heading, lines)

    def _show(self, heading: str, lines: Sequence[str]) -> None:
        if self._is_quiet or not lines:
            return
        from p2p_flock.cli.render import show_section  # noqa: PLC0415  start-up cost

        show_section(heading, lines, self._to_stderr)


def _parse_weight(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 32:
        raise UsageError(f"--weight {text!r} is neither auto nor a positive whole number\nleave it out to take auto")
    return int(text)
