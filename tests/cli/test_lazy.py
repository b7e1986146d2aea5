"""Commands that are imported when they run."""

from __future__ import annotations

import pytest

from p2p_flock.cli.failures import describe
from p2p_flock.cli.gov import gov
from p2p_flock.cli.lazy import LazyGroup
from p2p_flock.cli.lock import lock
from p2p_flock.cli.model import model
from p2p_flock.errors import TransactionFailedError
from tests.cli.conftest import RunCommand

COMMANDS = [(group, name) for group in (gov, lock, model) for name in group.commands_known]


@pytest.mark.parametrize(("group", "name"), COMMANDS, ids=[f"{group.name}-{name}" for group, name in COMMANDS])
def test_lazy_group__every_command_is_there_under_its_name(run: RunCommand, group: LazyGroup, name: str) -> None:
    """A command that was renamed or moved would end in a traceback."""
    ran = run(str(group.name), name, "--help")
    assert ran.code == 0
    assert f" {group.name} {name} [OPTIONS]" in ran.out.splitlines()[0]
    assert name in run(str(group.name), "--help").out


def test_lazy_group__an_unknown_command_is_wrong_usage(run: RunCommand) -> None:
    """A mistyped command would look like a defect."""
    assert run("gov", "veto").code == 2


def test_failures__a_contracts_text_steers_no_terminal() -> None:
    """Any contract that a proposal calls may revert with any text, which is shown."""
    what, remedy = describe(TransactionFailedError("executing", "\x1b[2J\u202eall is well"))
    assert what.isprintable() and remedy.isprintable()
    assert "\\x1b[2J" in what
