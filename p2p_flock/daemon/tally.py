"""Counts what a round costs this node; written with every ``closed`` line, see ``testnet/METRICS.md``.

One per daemon, in ``world.py``. The places that speak, sign, verify and ask add to it; the session takes the difference
at a round's end. It decides nothing and nothing reads it back.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import trio

from p2p_flock.ports import Recoverer, Signer
from p2p_flock.wire.messages import MESSAGE_KINDS

CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Places of utime and stime in /proc/PID/stat, counted from behind the parenthesised name (proc_pid_stat(5)).
STAT_UTIME, STAT_STIME = 11, 12


class Tally:
    """See the module.

    Attributes:
        counts: running totals by name; :meth:`take` says by how much each grew.
        groups: the same for what is counted by kind: ``messages_sent``, ``messages_received``, ``rpc_calls``.
        worker_pid: process ID of the training worker now, if there is one.
        read_totals: totals that somebody else keeps (the network's, the chain's), read when a round ends.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.groups: dict[str, Counter[str]] = {"messages_sent": Counter(), "messages_received": Counter()}
        self.worker_pid: Callable[[], int | None] = lambda: None
        self.read_totals: Callable[[], Mapping[str, int]] = dict
        self._taken: dict[str, float] = {}
        self._taken_groups: dict[str, Counter[str]] = {}
        self._worker_seconds: dict[int, float] = {}  # by process ID: a worker that ended keeps what it had used

    def signing(self, sign: Signer) -> Signer:
        """``sign``, counted as ``signatures_made``."""

        def counted(digest: bytes) -> bytes:
            self.counts["signatures_made"] += 1
            return sign(digest)

        return counted

    def verifying(self, recover: Recoverer) -> Recoverer:
        """``recover``, counted as ``signatures_verified``."""

        def counted(digest: bytes, signature: bytes) -> bytes:
            self.counts["signatures_verified"] += 1
            return recover(digest, signature)

        return counted

    def note_sent(self, kind: int, copies: int, length: int) -> None:
        """``copies`` of one point-to-point message of ``length`` bytes went out."""
        self.groups["messages_sent"][_kind_name(kind)] += copies
        self.counts["message_bytes_sent"] += copies * length

    def note_received(self, kind: int, length: int) -> None:
        """One point-to-point message came in and is an envelope."""
        self.groups["messages_received"][_kind_name(kind)] += 1
        self.counts["message_bytes_received"] += length

    def take(self) -> dict[str, object]:
        """What was added since the last call: whole numbers, seconds of CPU time, and what the processes hold.

        A peak is the largest resident set of the process since it started, in bytes; ``None`` without ``/proc``. Levels
        are those of :func:`read_levels`.
        """
        pid = self.worker_pid()
        totals: dict[str, float] = {**self.counts, **self.read_totals()}
        totals["daemon_cpu_seconds"] = time.process_time()
        totals["worker_cpu_seconds"] = self._worker_cpu_seconds(pid)
        grown = {name: round(total - self._taken.get(name, 0), 3) for name, total in sorted(totals.items())}
        self._taken = totals
        groups = {name: dict(counts - self._taken_groups.get(name, Counter())) for name, counts in self.groups.items()}
        self._taken_groups = {name: counts.copy() for name, counts in self.groups.items()}
        return {
            **grown,
            **groups,
            "daemon_memory_peak_bytes": read_memory_peak(os.getpid()),
            "worker_memory_peak_bytes": None if pid is None else read_memory_peak(pid),
            **read_levels(os.getpid(), pid),
        }

    def _worker_cpu_seconds(self, pid: int | None) -> float:
        if pid is not None:
            self._worker_seconds[pid] = read_cpu_seconds(pid) or self._worker_seconds.get(pid, 0.0)
        return sum(self._worker_seconds.values())


def read_cpu_seconds(pid: int) -> float | None:
    """CPU time of a process in all its threads, in user and kernel mode; ``None`` if it ended or there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[STAT_UTIME]) + int(fields[STAT_STIME])) / CLOCK_TICKS_PER_SECOND


def read_memory_peak(pid: int) -> int | None:
    """Largest resident set of a process since it started (VmHWM), in bytes; ``None`` as in :func:`read_cpu_seconds`."""
    return _read_memory(pid, "VmHWM:")


def read_levels(daemon_pid: int, worker_pid: int | None) -> dict[str, int | None]:
    """What the processes hold at this moment, which must not grow from round to round; ``None`` where unknown.

    Resident sets in bytes, the daemon's open file descriptors, its threads, and the tasks that trio runs in it.
    """
    try:
        tasks = trio.lowlevel.current_statistics().tasks_living
    except RuntimeError:  # not called from inside trio
        tasks = None
    return {
        "daemon_memory_bytes": _read_memory(daemon_pid, "VmRSS:"),
        "daemon_descriptors": _count_entries(f"/proc/{daemon_pid}/fd"),
        "daemon_threads": _count_entries(f"/proc/{daemon_pid}/task"),
        "daemon_tasks": tasks,
        "worker_memory_bytes": None if worker_pid is None else _read_memory(worker_pid, "VmRSS:"),
    }


def _read_memory(pid: int, name: str) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def _count_entries(folder: str) -> int | None:
    try:
        return len(os.listdir(folder))
    except OSError:
        return None


def _kind_name(kind: int) -> str:
    message = MESSAGE_KINDS.get(kind)
    return "unknown" if message is None else message.__name__
