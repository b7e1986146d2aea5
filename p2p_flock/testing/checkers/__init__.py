"""The properties of DESIGN §2 as checkers of a simulation's facts: one file each, raising :class:`Violation`.

A checker is only worth something if it can fail: tests/simulation/test_planted_bugs.py plants a bug for each.
"""

from __future__ import annotations

from collections.abc import Callable

from p2p_flock.testing.checkers.agreement import Agreement
from p2p_flock.testing.checkers.base import Checker, Panel, Roster, Violation
from p2p_flock.testing.checkers.dependence import Dependence
from p2p_flock.testing.checkers.hostility import Hostility
from p2p_flock.testing.checkers.money import Money
from p2p_flock.testing.checkers.privacy import Privacy
from p2p_flock.testing.checkers.promises import Promises
from p2p_flock.testing.checkers.slashing import Slashing
from p2p_flock.testing.checkers.stalls import Stalls

__all__ = ["CHECKERS", "Checker", "Panel", "Roster", "Violation", "make_panel"]

CHECKERS: dict[str, Callable[[Roster], Checker]] = {
    "P1": Privacy,
    "P2": Agreement,
    "P3": Stalls,
    "P4": Dependence,
    "P5": Slashing,
    "P6": Money,
    "P7": Hostility,
    "P8": Promises,
}


def make_panel(roster: Roster) -> Panel:
    """All eight properties."""
    return Panel(roster, tuple(make(roster) for make in CHECKERS.values()))
