"""The line that moves while a command waits: on a terminal, and nowhere else."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys

import pytest

from p2p_flock.cli.waiting import CLEAR_LINE, COMMANDS, MARKS, PLAIN_MARKS, Waiting, is_shown
from p2p_flock.daemon.control_messages import COMMANDS as CONTROL_COMMANDS
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import FakeDaemon

PROGRAM = """
import sys
from p2p_flock.cli.waiting import waiting
with waiting("the chain: stake and seat get into a block") as say:
    for line in sys.stdin:
        say("said " + line.strip())
        if line.strip() == "end":
            break
print("done")
"""


def read_until(master: int, part: str, text: str = "") -> str:
    """What the terminal shows, until ``part`` is among it."""
    while part not in text:
        assert select.select([master], [], [], 30)[0], f"{part!r} does not come: {text!r}"
        text += os.read(master, 65_536).decode()
    return text


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_waiting__on_a_terminal_a_line_moves_and_goes(term: str) -> None:
    """A join that takes a minute looks frozen; what it leaves behind would stand in the answer."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": term, "PYTHONUTF8": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=slave, stderr=slave, env=environment
    ) as process:
        os.close(slave)
        assert process.stdin is not None
        if term == "xterm":
            read_until(master, f"{MARKS[1]} 0 s · waiting for the chain: stake and seat get into a block")
        process.stdin.write(b"one\nend\n")
        process.stdin.flush()
        text = read_until(master, "done")
        assert process.wait(30) == 0
    os.close(master)
    drawn, _, rest = text.rpartition("said end")
    assert "said one" in drawn
    if term == "dumb":
        assert "waiting" not in text and "\x1b" not in text
    else:
        shown = rest.split(CLEAR_LINE)[-1]
        assert "waiting" not in shown and shown.strip().startswith("done")


def test_waiting__nothing_in_pipes(run: RunCommand, daemon: FakeDaemon) -> None:
    """A script would read marks and escapes among what it asked for."""
    ran = run("status", "--json")
    assert "\x1b" not in ran.out + ran.err and json.loads(ran.out)
    assert not is_shown()


def test_waiting__says_what_each_slow_command_waits_for() -> None:
    """A new command would wait for something without a name, or an old name stay behind."""
    assert set(COMMANDS) <= set(CONTROL_COMMANDS)
    slow = {name for name in CONTROL_COMMANDS if name.startswith(("alliance.", "wallet."))}
    assert slow - set(COMMANDS) <= {"alliance.watch", "alliance.history"}  # from memory, in milliseconds


def test_waiting__terminals_without_the_marks_get_plain_ones() -> None:
    """The command would end with an encoding error while its transaction is on its way."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert Waiting("x", stream)._marks == PLAIN_MARKS
