"""``p2p-flock task check``: compares the member's file with a task's schema and lists all that does not fit.

Needs no daemon. Never sends anything; what it prints of the data are single short values, on the member's own terminal.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2p_flock.cli.alliance_refusals import data_mismatch
from p2p_flock.cli.failures import EXIT_OK, EXIT_USAGE
from p2p_flock.cli.options import home_option, json_option, print_json
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import UsageError

if TYPE_CHECKING:  # loads numpy and trio
    from p2p_flock.cli.rehearsal import Outcome, Trial


@click.command()
@click.option("--task", "task_name", metavar="NAME", help="The installed task [default: learning.task of the node].")
@click.option(
    "--data-path", type=click.Path(path_type=Path), help="The data to check [default: learning.data_path of the node]."
)
@click.option("--dry-run", is_flag=True, help="Train one epoch, too: says how long it takes here and what it teaches.")
@home_option
@json_option
def check(task_name: str | None, data_path: Path | None, dry_run: bool, home: Path, as_json: bool) -> int:
    """Compare your data with a task's schema: every mismatch with row, column and what to do.

    Needs no running node; task and data come from the node's config.toml unless named. Nothing leaves this machine.
    Ends with 0 where the data fits, with 2 where it does not.
    """
    directory = DataDirectory(home)
    trial = _find_trial(directory, task_name, data_path, dry_run)
    from p2p_flock.cli.rehearsal import run_trial  # noqa: PLC0415  start-up cost of other commands

    outcome = run_trial(trial, directory.logs)
    if as_json:
        print_json(outcome_to_json(trial.task, trial.data_path, outcome))
        return EXIT_USAGE if outcome.mismatches is not None else EXIT_OK
    from p2p_flock.cli.render import show_outcome  # noqa: PLC0415  start-up cost

    show_outcome(outcome)
    if outcome.mismatches is not None:
        raise data_mismatch(trial.task, os.fspath(trial.data_path), outcome.mismatches.count)
    return EXIT_OK


def _find_trial(directory: DataDirectory, task: str | None, data_path: Path | None, dry_run: bool) -> Trial:
    from p2p_flock.cli.rehearsal import Trial  # noqa: PLC0415  start-up cost of other commands
    from p2p_flock.daemon.config import LearningSettings  # noqa: PLC0415
    from p2p_flock.daemon.config_file import load_config  # noqa: PLC0415

    settings = LearningSettings()
    if directory.config.exists():
        settings = load_config(directory.config, os.environ).learning
    task, path = task or settings.task, data_path or settings.data_path
    if task is None or path is None:
        missing = "task is named" if task is None else "data is named"
        raise UsageError(
            f"no {missing}, and {directory.config} sets none\n"
            "give --task and --data-path, or set task and data_path under [learning]"
        )
    return Trial(task, path.expanduser().absolute(), settings.data_seed, settings.memory_bytes_max, dry_run)


def outcome_to_json(task: str, data_path: Path, outcome: Outcome) -> dict[str, object]:
    """The raw result for scripts; ``fits`` says whether the node could start with this data."""
    report, data = outcome.mismatches, outcome.data
    return {
        "task": task,
        "version": None if outcome.manifest is None else outcome.manifest.version,
        "manifest_digest": None if outcome.manifest_digest is None else "0x" + outcome.manifest_digest.hex(),
        "data_path": os.fspath(data_path),
        "fits": report is None,
        "mismatch_count": 0 if report is None else report.count,
        "mismatches": [] if report is None else [asdict(one) for one in report.listed],
        "more": {} if report is None else dict(report.more),
        "train_count": None if data is None else data.train_count,
        "test_count": None if data is None else data.test_count,
        "problems": [] if data is None else list(data.problems),
        "dry_run": None if outcome.rehearsal is None else asdict(outcome.rehearsal),
    }
