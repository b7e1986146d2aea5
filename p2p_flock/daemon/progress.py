"""What this node is at work on right now, and how far it is, so that its operator never looks at a silent wait.

Written by the judge (training, judging), the driver (pulls), ``sync.py`` and ``lineage.py`` (catching up); read by
``status`` and ``alliance.watch``. It decides nothing, and what is quick or of unknown length it does not tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from p2p_flock.learning.results import WorkProgress

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work with a known end: ``done`` of ``total`` (at least 1), begun at ``started_s`` (Unix)."""

    what: str  # training, fetching, unmasking, judging
    unit: str  # batches, bytes, shares, candidates
    done: int
    total: int
    started_s: float


@dataclass(slots=True, eq=False)
class _Running:
    what: str
    unit: str
    progress: WorkProgress = field(default_factory=WorkProgress)
    started_s: float = field(default_factory=time.time)

    def look(self) -> Work | None:
        total = max(self.progress.total, self.progress.done)
        return Work(self.what, self.unit, self.progress.done, total, self.started_s) if total else None


class Works:
    """Everything that runs now, of one session."""

    def __init__(self) -> None:
        self._running: list[_Running] = []
        self._pull: _Running | None = None
        self._pull_count = 0

    def current(self) -> tuple[Work, ...]:
        """What runs and has told how long it is."""
        return tuple(work for running in self._running if (work := running.look()) is not None)

    @contextmanager
    def doing(self, what: str, unit: str) -> Iterator[WorkProgress]:
        """While the block runs; it fills in what it is given."""
        running = _Running(what, unit)
        self._running.append(running)
        try:
            yield running.progress
        finally:
            self._running.remove(running)

    @contextmanager
    def fetching(self, expected_bytes: int) -> Iterator[Callable[[int], None]]:
        """While a pull runs; it calls what it is given with the bytes that came.

        Pulls that run at the same time are one piece of work, which ends with the last of them: a validator pulls from
        all trainers at once, and whoever looks on wants to know when it has everything.
        """
        if self._pull is None:
            self._pull = _Running("fetching", "bytes")
            self._running.append(self._pull)
        progress, came = self._pull.progress, 0
        progress.total += expected_bytes
        self._pull_count += 1

        def note(size: int) -> None:
            nonlocal came
            came += size
            progress.done += size

        try:
            yield note
        finally:
            progress.total += came - expected_bytes  # what was not needed, or could not be had, is not waited for
            self._pull_count -= 1
            if not self._pull_count:
                self._running.remove(self._pull)
                self._pull = None


class Progress:
    """Catching up.

    Attributes:
        what: a few words, empty while nothing is being fetched.
        fetched_bytes: what came over the network for catching up since the start.
    """

    def __init__(self) -> None:
        self.what = ""
        self.fetched_bytes = 0
        self._part: Path | None = None
        self._bytes_max = 0
        self._started_s = 0.0

    @contextmanager
    def doing(self, what: str, part: Path | None = None, bytes_max: int = 0) -> Iterator[None]:
        """While the block runs, ``what`` is what goes on; ``part`` grows to at most ``bytes_max``."""
        self.what, self._part, self._bytes_max, self._started_s = what, part, bytes_max, time.time()
        try:
            yield
        finally:
            self.what, self._part = "", None

    def describe(self) -> str:
        """``what``, with how much of a long pull is here. Looks at one file's size."""
        work = self.look()
        if work is None:
            return self.what
        return f"{self.what}: {work.done / MEBIBYTE:.1f} of {work.total / MEBIBYTE:.1f} MiB"

    def look(self) -> Work | None:
        """A long pull that runs, as a piece of work; ``None`` where none does, or it has not begun."""
        if self._part is None or not self._bytes_max:
            return None
        try:
            size = self._part.stat().st_size
        except OSError:  # not begun, or complete this moment
            return None
        return Work("fetching", "bytes", min(size, self._bytes_max), self._bytes_max, self._started_s)
