"""What the run itself costs: when the start's stages were reached, and whose CPU time went where.

Called by ``launcher.py``. The nodes count their own costs (METRICS.md); this sees processes from outside, also those
that count nothing: the local chain, the bootstrap node, the commands of the start.
"""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from p2p_flock.daemon.tally import read_cpu_seconds
from p2p_flock.testnet.processes import find_processes, read_parent
from p2p_flock.testnet.watch import AllianceView

# What stands in a process's command line, and what the report calls it.
KINDS = (
    ("p2p_flock.testnet.scorer", "scorer"),
    ("p2p_flock.learning.worker", "workers"),
    ("p2p_flock.net.bootstrap", "bootstrap"),
    ("p2p_flock.chain.devnet", "devnet"),
    ("anvil", "anvil"),
    ("--exit-when-closed", "daemons"),
)


@dataclass(slots=True)
class RunCosts:
    """Filled while the run goes on.

    Attributes:
        stages: Unix seconds at which the start's stages were reached, by name, in order.
        start_cpu_seconds: CPU time until the first settlement by kind of process; ``None`` before it.
        round_cpu_seconds: the same for each later round, from the end of the one before to its own.
    """

    directory: Path
    stages: dict[str, float] = field(default_factory=dict)
    start_cpu_seconds: dict[str, float] | None = None
    round_cpu_seconds: dict[int, dict[str, float]] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)

    def reach(self, stage: str) -> None:
        """The start has come this far, now."""
        self.stages.setdefault(stage, time.time())

    def note(self, view: AllianceView) -> None:
        """Take the stages of round 0 from the chain, and look at the processes where a round has ended."""
        for number, log in sorted(view.rounds.items()):
            if number == 0:
                seen = {
                    "round 0 opened": log.opened_seen_at,
                    "beacon": log.beacon_seen_at,
                    "sealed": log.sealed_seen_at,
                    "committed": log.committed_seen_at,
                    "settled": log.ended_seen_at,
                }
                self.stages.update({stage: at for stage, at in seen.items() if at is not None})
            if log.ended and number not in self.round_cpu_seconds:
                self._sample(number)

    def _sample(self, round_number: int) -> None:
        now = measure_cpu_seconds(self.directory)
        # A process that ended takes its seconds along: no growth is shown for it rather than a negative one.
        grown = {kind: round(max(0.0, seconds - self._last.get(kind, 0.0)), 2) for kind, seconds in now.items()}
        self._last = now
        self.round_cpu_seconds[round_number] = grown
        if self.start_cpu_seconds is None:
            self.start_cpu_seconds = grown


def measure_cpu_seconds(directory: Path) -> dict[str, float]:
    """CPU time so far of the run's living processes by kind, of this process, and of the commands that it has run."""
    found: defaultdict[str, float] = defaultdict(float)
    for pid in _with_children(find_processes(directory)):
        seconds = read_cpu_seconds(pid)
        if seconds is not None:
            found[_kind_of(pid)] += seconds
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["commands"] += ended.ru_utime + ended.ru_stime
    found["launcher"] += time.process_time()
    return found


def _with_children(processes: list[int]) -> set[int]:
    """A worker's environment holds no mark of the run: it is known by its parent, the daemon."""
    known = set(processes)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and read_parent(int(entry.name)) in known:
            known.add(int(entry.name))
    return known


def _kind_of(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it ended this moment
        return "other"
    return next((kind for word, kind in KINDS if word in command), "other")
