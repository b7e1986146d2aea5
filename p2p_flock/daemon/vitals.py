"""What nobody else measures about the daemon: how late its event loop is, and what its home takes on disk.

One per node; a task of it runs as long as the node. Costs a wake-up a second, and a walk through the home each minute
in a thread.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from pathlib import Path

import trio

BEAT_S = 1.0
BEATS_KEPT = 60
DISK_LOOK_S = 60.0  # between two walks through the home
ENTRIES_MAX = 100_000  # of a part; a home that holds more is reported with what was counted by then
PARTS = ("blobs", "models", "logs", "journal", "other")


class Vitals:
    """See the module.

    Attributes:
        disk_free_bytes: on the home's disk; ``None`` before the first look, or where it cannot be read.
        disk_used_bytes: by :data:`PARTS`.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lags_s: deque[float] = deque(maxlen=BEATS_KEPT)
        self.disk_free_bytes: int | None = None
        self.disk_used_bytes: dict[str, int] = {}

    @property
    def loop_lag_s(self) -> float | None:
        """Longest delay within the last minute, seconds; ``None`` before the first beat."""
        return max(self._lags_s, default=None)

    async def run(self) -> None:
        """Measure until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat)
            nursery.start_soon(self._look_at_disk)

    async def _look_at_disk(self) -> None:
        while True:
            self.disk_free_bytes, self.disk_used_bytes = await trio.to_thread.run_sync(read_disk, self._home)
            await trio.sleep(DISK_LOOK_S)

    async def _beat(self) -> None:
        while True:
            due = trio.current_time() + BEAT_S
            await trio.sleep_until(due)
            self._lags_s.append(max(0.0, trio.current_time() - due))


def read_disk(home: Path) -> tuple[int | None, dict[str, int]]:
    """Free bytes on the home's disk, and bytes taken in the home by :data:`PARTS`. Runs in a thread; raises nothing."""
    try:
        free: int | None = shutil.disk_usage(home).free
    except OSError:
        free = None
    used = dict.fromkeys(PARTS, 0)
    counted = 0
    for folder, _, names in os.walk(home):  # an error in a folder leaves it out
        top = Path(folder).relative_to(home).parts[:1]
        for name in names:
            counted += 1
            if counted > ENTRIES_MAX:
                return free, used
            label = (top or (name,))[0].partition(".")[0]
            try:
                size = os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:  # removed meanwhile
                continue
            used[label if label in PARTS else "other"] += size
    return free, used
