"""Commands as processes: what they load, how they ask."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.fake_daemon import ALLIANCE, FakeDaemon

# A command must start in a fraction of a second; each of these takes from 50 ms (trio) to seconds (torch).
HEAVY = (
    "web3",
    "eth_account",
    "libp2p",
    "torch",
    "numpy",
    "trio",
    "nacl",
    "httpx",
    "cryptography",
    "coincurve",
    "msgpack",
)

PROBE = """
import sys
from p2p_flock.cli.main import main
code = main(sys.argv[1:])
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("alliance", "join", ALLIANCE, "--no-dry-run", "--yes"),
        ("alliance", "create", "--preset", "testnet", "--task", "heart", "--yes"),
        ("status", "--json"),
        ("alliance", "watch", "--once"),
        ("alliance", "watch", "--once", "--json"),
    ],
)
def test_command__loads_nothing_heavy(daemon: FakeDaemon, arguments: tuple[str, ...]) -> None:
    """Every command would take seconds to start."""
    environment = {**os.environ, "P2P_FLOCK_HOME": str(daemon.home)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stderr.rpartition("LOADED")[2].split()
    assert "click" in loaded
    assert not set(HEAVY) & set(loaded)


def ask(home: Path, answer: str) -> tuple[int, str]:
    """Run ``alliance join`` on a terminal and type ``answer``."""
    terminal, inside = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "p2p_flock.cli.main", "alliance", "join", ALLIANCE, "--no-dry-run"],
            env={**os.environ, "P2P_FLOCK_HOME": str(home)},
            stdin=inside,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.write(terminal, answer.encode())
        out, err = process.communicate(timeout=20)
    finally:
        os.close(terminal)
        os.close(inside)
    return process.returncode, out + err


def test_join__asks_on_a_terminal(daemon: FakeDaemon) -> None:
    """A member would stake without having said yes."""
    code, text = ask(daemon.home, "n\n")
    assert code == 5, text
    assert "Join and stake 1,000 FLOCK?" in text
    assert "Nothing was sent." in text
    assert [command for command, _ in daemon.requests] == ["alliance.show"]
    code, text = ask(daemon.home, "y\n")
    assert code == 0, text
    assert daemon.requests[-1][0] == "alliance.join"


def test_join__end_of_input_is_no_yes(daemon: FakeDaemon) -> None:
    """Closing the terminal would stake."""
    code, text = ask(daemon.home, "\x04")
    assert code == 130, text
    assert [command for command, _ in daemon.requests] == ["alliance.show"]
