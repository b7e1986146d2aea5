"""Runs one testnet as a user would and reads its report; a run that fails is a result too. Called by bench/faults and
bench/soak."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STOP_SECONDS_MAX = 60.0  # for a launcher that was interrupted to end its processes
ROOT = Path(__file__).parents[2]

# Given the folder that the testnet will write; what happens beside the run ends with the block.
Beside = Callable[[Path], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Run:
    """How a testnet ended.

    Attributes:
        report: as ``p2p_flock.testnet`` writes it; ``None`` where it wrote none.
        is_late: it was interrupted because it took longer than its limit.
    """

    command: str
    exit_code: int
    seconds: float
    is_late: bool
    report: dict[str, Any] | None


def run_testnet(
    arguments: Sequence[str], limit_seconds: float, beside: Beside | None = None, kept: Path | None = None
) -> Run:
    """One testnet; its words go to standard error. Nothing of it runs when this returns.

    Args:
        kept: a folder in which the run's own folder and report stay, under the moment at which it began.
    """
    with tempfile.TemporaryDirectory(prefix="p2p_flock-faults-") as folder, contextlib.ExitStack() as stack:
        directory, path = Path(folder) / "testnet", Path(folder) / "report.json"
        where = ["--directory", str(directory), "--report", str(path)]
        words = ["-m", "p2p_flock.testnet", *arguments, "--no-references", "--no-local-only", *where]
        environment = {**os.environ, "FLOCK_TESTNET_STARTED_AT": str(time.time())}
        if beside is not None:
            stack.enter_context(beside(directory))
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, *words], stdout=sys.stderr, env=environment)
        is_late = False
        try:
            process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            is_late = True
        finally:
            _end(process, directory)
            if kept is not None:  # before a small disk that was mounted in it is gone
                shutil.copytree(folder, kept / f"{time.time():.0f}", ignore=_ignore_sockets)
        report = json.loads(path.read_text()) if path.exists() else None
    return Run(describe(arguments), process.returncode, time.monotonic() - began, is_late, report)


def _ignore_sockets(folder: str, names: list[str]) -> list[str]:
    paths = {name: Path(folder) / name for name in names}
    return [name for name, path in paths.items() if not path.is_dir() and not path.is_file()]


def _end(process: subprocess.Popen[bytes], directory: Path) -> None:
    """Interrupt the launcher if it still runs, and end what it left."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if directory.exists():
        stop = [sys.executable, "-m", "p2p_flock.testnet", "stop", str(directory)]
        subprocess.run(stop, check=False, stdout=sys.stderr)


def describe(arguments: Sequence[str]) -> str:
    """The command that a reader would type."""
    return " ".join(["scripts/testnet", *(f"'{word}'" if " " in word or "#" in word else word for word in arguments)])


def describe_command(name: str, words: Sequence[str]) -> str:
    """The command that took the figures, without where it wrote them: that is the reader's affair."""
    places = [place for index, word in enumerate(words) if word in ("--json", "--keep") for place in (index, index + 1)]
    return " ".join(["scripts/bench", name, *(word for index, word in enumerate(words) if index not in places)])


def today() -> str:
    """The date in UTC, for the head of a table."""
    return time.strftime("%Y-%m-%d", time.gmtime())


def describe_machine() -> str:
    """For the head of a table."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def read_commit() -> str:
    """The commit that runs, with a plus where files differ from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude", "*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
