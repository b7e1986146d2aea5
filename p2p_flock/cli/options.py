"""Options that several commands share, and the call to the daemon. Imports nothing heavy."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from p2p_flock.cli.waiting import COMMANDS, waiting
from p2p_flock.daemon.control_client import control_call
from p2p_flock.daemon.control_protocol import JsonObject
from p2p_flock.daemon.data_directory import default_home
from p2p_flock.errors import UsageError
from p2p_flock.types import AllianceId

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Command = TypeVar("Command", bound=Callable[..., object])

STATUS_TIMEOUT_S = 15.0


def home_option(command: Command) -> Command:
    """``--home DIR``: the node's data directory."""
    return click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        default=lambda: default_home(os.environ),
        help="The node's data directory [default: $P2P_FLOCK_HOME, or ~/.local/share/p2p-flock].",
        callback=lambda _context, _parameter, home: home.expanduser().absolute(),
    )(command)


def json_option(command: Command) -> Command:
    """``--json``: the raw result on standard output, for scripts."""
    return click.option("--json", "as_json", is_flag=True, help="Print the raw result as JSON.")(command)


def alliance_argument(command: Command) -> Command:
    """``ID``: an alliance ID, in its canonical text."""
    return click.argument(
        "alliance",
        metavar="ID",
        callback=lambda _context, _parameter, text: str(AllianceId.parse(text)),
        shell_complete=_complete_alliance,
    )(command)


def _complete_alliance(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from p2p_flock.cli.completion import complete_alliance  # noqa: PLC0415  only where a shell asks

    return complete_alliance(context, parameter, incomplete)


def call(home: Path, command: str, arguments: Mapping[str, object], timeout_s: float | None = None) -> JsonObject:
    """Ask the daemon; as ``control_call``. On a terminal a line says what is waited for, if it takes long.

    Raises:
        ControlError: as ``control_call``.
    """
    with waiting(COMMANDS.get(command, "the daemon's answer")):
        if timeout_s is None:
            return control_call(home, command, arguments)
        return control_call(home, command, arguments, timeout_s)


def print_json(result: Mapping[str, object]) -> None:
    """The result as one indented JSON object on standard output."""
    click.echo(json.dumps(result, indent=2, ensure_ascii=False))


def require_answerable(what: str, option: str) -> None:
    """Check that a question can be asked.

    Raises:
        UsageError: standard input is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{what} needs a yes, and there is no terminal to ask on\npass {option} if you mean it")
