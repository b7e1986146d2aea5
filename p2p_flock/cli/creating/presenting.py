"""What ``alliance create`` shows, saves and asks before it sends anything. The only file here that meets the daemon."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import cast

import click

from p2p_flock.cli.alliance_security import Assumptions
from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.creating.consequences import LABEL_WIDTH, TaskSizes, describe_consequences
from p2p_flock.cli.creating.weaknesses import find_weaknesses
from p2p_flock.cli.estimates import Prices
from p2p_flock.cli.options import call, require_answerable
from p2p_flock.daemon.control_messages import TaskResult
from p2p_flock.errors import CommandRefusedError, NoDaemonError, UsageError
from p2p_flock.params import AllianceParams

WIDTH = 100


def read_sizes(home: Path, task: str, parameters: int | None, is_needed: bool) -> TaskSizes | None:
    """How large the task's vectors are, as the daemon's installed task says, or as the user does.

    Args:
        parameters: named by the user, ``None`` to ask.
        is_needed: a daemon must run; where not, ``None`` is returned without one.

    Raises:
        NoDaemonError: none runs, and one is needed.
    """
    try:
        told = cast(TaskResult, call(home, "task.show", {}))  # a worker that loads torch may take a minute
    except NoDaemonError:
        if is_needed:
            raise
        told = None
    except CommandRefusedError:  # the node has no task, or its worker did not start: creating says so
        told = None
    if parameters is not None:
        return TaskSizes(parameters, 0)
    if told is None or told["name"] != task:
        return None
    return TaskSizes(told["parameter_count"], told["statistics_count"])


def show_consequences(
    params: AllianceParams,
    pool: int,
    sizes: TaskSizes | None,
    assumptions: Assumptions,
    prices: Prices,
    to_stderr: bool,
) -> None:
    """To stderr where ``--from`` or a program reads what is printed."""
    for heading, lines in describe_consequences(params, pool, sizes, assumptions, prices).items():
        click.secho(f"\n{heading}", bold=True, err=to_stderr)
        for line in lines:
            # A table's row stays as it is; a sentence is wrapped.
            is_row = "  " in line[:LABEL_WIDTH] or line.startswith(" ")
            for part in [line] if is_row else textwrap.wrap(line, WIDTH):
                click.echo(f"  {part}", err=to_stderr)
    weaknesses = find_weaknesses(params, assumptions, sizes)
    if weaknesses:
        click.secho("\nWeak, and what would help", bold=True, fg="yellow", err=to_stderr)
    for weakness in weaknesses:
        for index, part in enumerate(textwrap.wrap(f"Warning: {weakness.text}", WIDTH)):
            click.echo(f"  {'  ' if index else ''}{part}", err=to_stderr)
        for part in textwrap.wrap(f"→ {weakness.remedy}", WIDTH):
            click.echo(f"    {part}", err=to_stderr)


def choose_file() -> Path | None:
    """Where to write what the questions came to; nowhere if the user says so."""
    given = click.prompt('\nSave these answers as TOML? A file, or "no"', default="alliance.toml", err=True)
    return None if str(given).strip().lower() in ("no", "n", "") else Path(str(given).strip()).expanduser()


def save(path: Path, toml: str) -> None:
    """Write a new file.

    Raises:
        UsageError: it exists, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(toml)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already\nname a new file with --save; nothing is overwritten") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}\nname another file with --save") from error
    click.echo(f"Saved {path}: `p2p-flock alliance create --from {path}` reads it.", err=True)


def confirm(pool: int, is_asked: bool, to_stderr: bool) -> bool:
    """Whether the user means it; says that nothing was sent where not.

    Args:
        is_asked: the questions were answered on whatever standard input is, so this one can be, too.

    Raises:
        UsageError: there is nobody to ask.
    """
    if not is_asked:
        require_answerable("creating an alliance", "--yes")
    question = f"\nCreate it and escrow {format_money(pool, 'FLOCK')}? These numbers are fixed for ever."
    if click.confirm(question, err=to_stderr):
        return True
    click.echo("Nothing was sent.", err=True)
    return False
