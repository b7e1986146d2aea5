"""Runs a real testnet beside a test, and lets the test look at its chain and its disks while it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2p_flock.testnet.metrics import NodeMetrics
from p2p_flock.testnet.processes import find_processes, marked_environment, stop_directory
from p2p_flock.testnet.readd import read_homes
from tests.heeded_signals import heeded_signals

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 240.0


NO_DAEMON_CODE = 3  # of the command line: nobody listens on the control socket


@dataclass(slots=True)
class Testnet:
    """A launcher that was started, and the folder of its run."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    directory: Path
    report: Path
    output: Path
    process: subprocess.Popen[bytes]
    restarted: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def text(self) -> str:
        """What the launcher printed, and what the daemons logged last: for a failed assertion."""
        logs = sorted((self.directory / "logs").glob("*.log"))
        tails = [f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]) for log in logs]
        return self.output.read_text(errors="replace") + "\n" + "\n".join(tails)

    def wait(self, seconds_max: float) -> int:
        """Wait for the launcher's end; its exit code."""
        return self.process.wait(seconds_max)

    def wait_until(self, condition: Callable[[], bool], seconds_max: float = START_SECONDS_MAX) -> None:
        """Poll other processes' files, as often as the machine allows."""
        deadline = time.monotonic() + seconds_max
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time\n" + self.text()
            os.sched_yield()

    def network(self) -> dict[str, Any]:
        """``network.json`` once the alliance exists."""
        path = self.directory / "network.json"
        self.wait_until(path.exists)
        document: dict[str, Any] = json.loads(path.read_text())
        return document

    def nodes(self) -> list[NodeMetrics]:
        """All nodes' metrics as of now."""
        self.network()
        return read_homes(self.directory)

    def read_report(self) -> dict[str, Any]:
        """The report."""
        report: dict[str, Any] = json.loads(self.report.read_text())
        return report

    def daemon_of(self, name: str) -> int:
        """Process ID of a node's daemon: its data directory's lock holds it."""
        home = next(Path(node["home"]) for node in self.network()["nodes"] if node["name"] == name)
        return int((home / "node.lock").read_text())

    def kill(self, name: str) -> None:
        """SIGKILL a node's daemon."""
        os.kill(self.daemon_of(name), signal.SIGKILL)

    def restart(self, name: str, **environment: str) -> None:
        """Start a killed node again, as its operator would; ``environment`` overrides settings."""
        entry = next(node for node in self.network()["nodes"] if node["name"] == name)
        with (self.directory / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                entry["command"],
                env=marked_environment(self.directory, {**entry["environment"], **environment}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.restarted.append(process)


@contextmanager
def running_testnet(folder: Path, *options: str) -> Iterator[Testnet]:
    """Start ``scripts/testnet`` in its own session; at the end nothing of it is left, whatever happened."""
    directory, report, output = folder / "run", folder / "report.json", folder / "output.txt"
    command = [str(ROOT / "scripts" / "testnet"), "--directory", str(directory), "--report", str(report), *options]
    with output.open("wb") as file, heeded_signals():
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    testnet = Testnet(directory, report, output, process)
    try:
        yield testnet
    finally:
        process.kill()
        stop_directory(directory)
        for child in (process, *testnet.restarted):
            child.wait()


def processes_of(testnet: Testnet) -> list[int]:
    """What still runs of a run."""
    return find_processes(testnet.directory)


def inspect(program: str, directory: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    """Run ``readd``, ``leakcheck`` or ``secretcheck`` on a run; the last one searches ``files`` too."""
    command = [sys.executable, "-m", f"p2p_flock.testnet.{program}", str(directory), *map(str, files)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


def watch(testnet: Testnet, name: str) -> dict[str, Any]:
    """What ``p2p-flock alliance watch`` says of a node, once; no alliance where its daemon does not answer yet."""
    home = next(node["home"] for node in testnet.network()["nodes"] if node["name"] == name)
    command = [sys.executable, "-m", "p2p_flock.cli.main", "alliance", "watch", "--once", "--json", "--home", home]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if result.returncode == NO_DAEMON_CODE:
        return {"alliance": None}
    assert result.returncode == 0, result.stdout + result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer
