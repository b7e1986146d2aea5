"""Starts the network's processes so that they outlive the launcher, and finds and ends them again.

Called by ``launcher.py`` and by ``scripts/testnet stop``. Each child leads its own session, reads nothing and writes to
its own log, so nothing ties it to the launcher's terminal or pipes. Every child carries the run's directory in its
environment, which its own children (training workers, anvil) inherit: that mark, not a list of process IDs, says what
belongs to a run, so neither a crashed launcher nor a reused process ID can make us miss one or end a stranger's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from p2p_flock.errors import UsageError

MARK = "FLOCK_TESTNET_DIRECTORY"
STOP_SECONDS = 5.0  # between SIGTERM and SIGKILL; a daemon closes its journal well within
POLL_SECONDS = 0.05
LOG_TAIL_BYTES = 4096


@dataclass(slots=True)
class Child:
    """One process of the network."""

    name: str
    command: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs."""
        return self.process.poll()

    def log_tail(self) -> str:
        """The last lines it wrote, for the operator."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-12:])


@dataclass(slots=True)
class Processes:
    """The processes of one run; ``directory`` is the run's."""

    directory: Path
    children: dict[str, Child] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """Start a process in its own session with its own log, ``logs/<name>.log`` (appended to).

        Raises:
            OSError: the program is not there, or the machine refuses.
        """
        log = self.directory / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=marked_environment(self.directory, environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(name, tuple(command), log, process, dict(environment or {}))
        self.children[name] = child
        return child

    def restart(self, name: str) -> Child:
        """Start a process that has ended again, with the same command and environment.

        Raises:
            OSError: as :meth:`start`.
        """
        ended = self.children[name]
        ended.process.wait()
        return self.start(name, ended.command, ended.environment)

    def ended(self) -> list[Child]:
        """Children that do not run any more."""
        return [child for child in self.children.values() if child.exit_code is not None]

    def stop(self) -> list[int]:
        """End everything that carries this run's mark; the process IDs that were still there."""
        found = stop_directory(self.directory)
        for child in self.children.values():
            child.process.wait()
        return found


def read_parent(pid: int) -> int | None:
    """The parent's process ID; ``None`` if the process ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def find_descendants(pid: int) -> list[int]:
    """IDs of the living processes below this one: a daemon's worker carries no mark and leads its own session."""
    parents = {
        int(entry.name): read_parent(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()
    }
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {pid})


def marked_environment(directory: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with the run's mark, for a child."""
    return {**os.environ, **(extra or {}), MARK: str(directory.resolve())}


def find_processes(directory: Path) -> list[int]:
    """IDs of the living processes that carry the run's mark (of those this user may look at), without the caller."""
    mark = f"{MARK}={directory.resolve()}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _is_marked(entry, mark):
            found.append(int(entry.name))
    return sorted(found)


def stop_directory(directory: Path) -> list[int]:
    """Ask the run's processes to end, then end those that did not; the IDs that were there at first.

    Raises:
        UsageError: this platform has no ``/proc``, so the processes cannot be told.
    """
    if not Path("/proc/self/environ").exists():
        raise UsageError("There is no /proc here, so the run's processes cannot be found; end them by hand.")
    first = find_processes(directory)
    _signal_each(directory, first, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while (left := find_processes(directory)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    while left:  # a process that was just being made may have missed the first signal
        _signal_each(directory, left, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
        left = find_processes(directory)
    return first


def _is_marked(entry: Path, mark: bytes) -> bool:
    try:
        return mark in (entry / "environ").read_bytes().split(b"\0")
    except OSError:  # it ended, is a zombie, or is another user's
        return False


def _signal_each(directory: Path, processes: Sequence[int], number: signal.Signals) -> None:
    """Signal through a handle that was checked after it was opened, so that a reused ID is never hit."""
    mark = f"{MARK}={directory.resolve()}".encode()
    for process in processes:
        try:
            handle = os.pidfd_open(process)
        except OSError:  # it ended meanwhile
            continue
        try:
            if _is_marked(Path("/proc") / str(process), mark):
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)
