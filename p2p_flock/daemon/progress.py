"""What a node that is behind is doing right now, so that its operator never looks at a silent wait.

Written by ``daemon/sync.py`` and ``daemon/lineage.py``, read by the status command. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEBIBYTE = 1 << 20


class Progress:
    """See the module.

    Attributes:
        what: a few words, empty while nothing is being fetched.
        fetched_bytes: what came over the network for catching up since the start.
    """

    def __init__(self) -> None:
        self.what = ""
        self.fetched_bytes = 0
        self._part: Path | None = None
        self._bytes_max = 0

    @contextmanager
    def doing(self, what: str, part: Path | None = None, bytes_max: int = 0) -> Iterator[None]:
        """While the block runs, ``what`` is what goes on; ``part`` grows to at most ``bytes_max``."""
        self.what, self._part, self._bytes_max = what, part, bytes_max
        try:
            yield
        finally:
            self.what, self._part = "", None

    def describe(self) -> str:
        """``what``, with how much of a long pull is here. Looks at one file's size."""
        if self._part is None:
            return self.what
        try:
            size = self._part.stat().st_size
        except OSError:  # not begun, or complete this moment
            return self.what
        return f"{self.what}: {size / MEBIBYTE:.1f} of {self._bytes_max / MEBIBYTE:.1f} MiB"
