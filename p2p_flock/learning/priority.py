"""Lets others go first where processors are short. Called by the testnet's scorer at its start.

Not by the worker: on a machine that somebody else keeps busy it would miss its round's deadline.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def lower_priority(niceness: int) -> None:
    """Raise this process's niceness, and on Linux that of its session.

    A session of its own, as the scorer is, is scheduled as a group of its own, between which only the group's niceness
    counts (sched(7), "The autogroup feature"). Only tried: it makes nothing faster but other processes.
    """
    os.nice(niceness)
    with suppress(OSError):
        AUTOGROUP.write_text(str(niceness))
