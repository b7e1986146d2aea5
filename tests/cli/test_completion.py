"""Shell completion, by a real bash where it splits words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import ALLIANCE, FakeDaemon

HEAVY = {"web3", "libp2p", "torch", "numpy", "trio", "nacl", "cryptography", "coincurve", "msgpack", "rich"}
# Loads the script that the command prints, types a line, and prints what bash is offered.
TYPE = """
source "$1"
COMP_LINE="$2"; COMP_POINT=${#COMP_LINE}
read -ra COMP_WORDS <<< "$COMP_LINE"
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_p2p_flock_completion
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def shell(run: RunCommand, tmp_path: Path) -> Path:
    """A folder with the script, and a ``p2p-flock`` on which it can call."""
    script = run("completion", "bash")
    assert script.code == 0
    (tmp_path / "completion.bash").write_text(script.out)
    program = tmp_path / "bin" / "p2p-flock"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m p2p_flock.cli.main "$@"\n')
    program.chmod(0o755)
    return tmp_path


def offered(shell: Path, line: str) -> list[str]:
    """What bash would show after this line and a tab."""
    path = f"{shell / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", TYPE, "bash", str(shell / "completion.bash"), line],
        env={**os.environ, "PATH": path, "P2P_FLOCK_HOME": str(shell / "home")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert not done.stderr, done.stderr
    return done.stdout.split()


def test_completion__bash_offers_commands_and_options(shell: Path) -> None:
    """The script would not fit the shell."""
    assert offered(shell, "p2p-flock do") == ["doctor"]
    assert {"join", "show", "list"} <= set(offered(shell, "p2p-flock alliance "))
    assert offered(shell, "p2p-flock doctor --no-") == ["--no-password"]


def test_completion__bash_offers_alliances_of_the_daemon(shell: Path, daemon: FakeDaemon) -> None:
    """IDs have colons, at which bash ends words: half of the ID would stand there twice."""
    assert offered(shell, "p2p-flock alliance show ") == [ALLIANCE]
    before, colon, after = ALLIANCE.rpartition(":0x")
    assert offered(shell, f"p2p-flock alliance show {before}:") == [f"{colon}{after}"[1:]]
    assert offered(shell, "p2p-flock alliance show other") == []


def test_completion__without_a_daemon_offers_nothing(shell: Path) -> None:
    """A tab would print an error into the line that is typed."""
    assert offered(shell, "p2p-flock alliance show ") == []


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_completion__other_shells_get_a_script(run: RunCommand, name: str) -> None:
    """The variable that asks must be the one that the program hears."""
    ran = run("completion", name)
    assert ran.code == 0 and f"_P2P_FLOCK_COMPLETE={name}_complete" in ran.out


@pytest.mark.parametrize("line", ["p2p-flock ", "p2p-flock gov ", "p2p-flock lock ", "p2p-flock alliance show "])
def test_completion__loads_nothing_heavy(line: str, tmp_path: Path) -> None:
    """Each tab would take seconds."""
    words = line.split()
    environment = {
        **os.environ,
        "_P2P_FLOCK_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words)),
        "P2P_FLOCK_HOME": str(tmp_path),
    }
    probe = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('LOADED', *{n.partition('.')[0] for n in sys.modules}, file=sys.stderr))\n"
        "from p2p_flock.cli.main import main\nmain([])\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=False)
    loaded = set(done.stderr.rpartition("LOADED")[2].split())
    assert "click" in loaded and not HEAVY & loaded
    assert "show" not in line or not done.stdout.strip()
