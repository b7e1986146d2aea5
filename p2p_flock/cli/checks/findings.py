"""What a check of ``p2p-flock doctor`` says: a level, what was found, and what to do about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is; each value is ``(word for scripts, mark for people)``."""

    FINE = ("fine", "✓")
    WARNING = ("warning", "!")  # a node runs, but worse than it could, or somebody should look at it
    BROKEN = ("broken", "✗")  # a node does not start, or cannot take part
    SKIPPED = ("skipped", "–")  # could not be looked at; another line says why

    @property
    def word(self) -> str:
        """For ``--json``."""
        return self.value[0]

    @property
    def mark(self) -> str:
        """For a terminal, one column wide."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``remedy`` is empty exactly where there is nothing to do."""

    level: Level
    found: str
    remedy: str = ""


def fine(found: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.FINE, found)


def warning(found: str, remedy: str) -> Finding:
    """Worth a look."""
    assert remedy
    return Finding(Level.WARNING, found, remedy)


def broken(found: str, remedy: str) -> Finding:
    """To be mended."""
    assert remedy
    return Finding(Level.BROKEN, found, remedy)


def skipped(reason: str) -> Finding:
    """Could not be looked at."""
    return Finding(Level.SKIPPED, reason)
