"""Our own mistakes in the dashboard: loud in the log and to the operator, and never the node's end.

Called by ``server.py`` and ``events.py``. A node that holds a stake must not stop taking part because a page cannot be
drawn; so this is the one place in which a defect is contained instead of ending the process.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    is_defect: bool = False


@dataclass(slots=True)
class Defects:
    """Attributes: count: so many were met since the start; tests and ``status.warnings`` look at it."""

    count: int = 0

    @contextmanager
    def contained(self, where: str) -> Iterator[Outcome]:
        """Log whatever is raised inside with its traceback and count it; cancellation passes."""
        outcome = Outcome()
        try:
            yield outcome
        except* Exception:  # broad: any defect of ours; see the module
            self.count += 1
            outcome.is_defect = True
            logger.exception("a defect in %s; the node goes on, please report this", where)
