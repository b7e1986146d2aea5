"""A home with a fake daemon, and a way to run commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2p_flock.cli.main import main
from tests.cli.fake_daemon import FakeDaemon


@dataclass(frozen=True)
class Ran:
    """What a command printed and returned."""

    code: int
    out: str
    err: str


RunCommand = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunCommand:
    """Run a command line in this process, with a wide terminal and a home of the test's own."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("P2P_FLOCK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("P2P_FLOCK_PASSWORD", raising=False)

    def run_command(*arguments: str | Path) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run_command


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A running fake daemon in the default home of ``run``."""
    home = tmp_path / "home"
    home.mkdir()
    fake = FakeDaemon(home)
    with fake.running():
        yield fake
