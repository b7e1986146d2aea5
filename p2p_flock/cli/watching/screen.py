"""``alliance watch`` on a terminal: the alternate screen, redrawn in place, given back at the end. Imports rich."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.live import Live

from p2p_flock.cli.failures import describe
from p2p_flock.cli.watching.frame import View, build_frame
from p2p_flock.cli.watching.loop import Pause, ask, handling
from p2p_flock.daemon.watch_messages import CostResult, WatchResult
from p2p_flock.errors import P2PFlockError

SIGNAL_EXIT_BASE = 128


def make_console() -> Console:
    """A console that never fails on a mark that the terminal's encoding lacks; texts of others are never markup."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    return Console(highlight=False, markup=False, emoji=False)


def run_screen(home: Path, interval_s: float) -> None:
    """Refresh until interrupted.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        SystemExit: SIGTERM or SIGHUP, with 128 + its number; the terminal is given back first. The same as for SIGHUP,
            or an OSError, once the terminal is gone: not every program that closes one sends the signal.
    """
    console, pause = make_console(), Pause()

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(SIGNAL_EXIT_BASE + number)

    handlers = {
        signal.SIGWINCH: lambda _number, _frame: pause.wake(),
        signal.SIGTERM: end,
        signal.SIGHUP: end,
    }
    with handling(handlers), Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
        watch = _Watch(home, interval_s)
        next_at = time.monotonic()
        while True:
            if not sys.stdout.isatty():  # rich would then draw nothing, for ever
                raise SystemExit(SIGNAL_EXIT_BASE + signal.SIGHUP)
            if time.monotonic() >= next_at:
                next_at = max(next_at + interval_s, time.monotonic())
                watch.look()
            live.update(build_frame(watch.view(), console, console.height), refresh=True)
            pause.until(next_at)  # woken by a new size: the same frame, fitted anew


class _Watch:
    """The last answer, and what the next frame shows of it."""

    def __init__(self, home: Path, interval_s: float) -> None:
        self._home = home
        self._interval_s = interval_s
        self._result: WatchResult | None = None
        self._answered_at = ""
        self._trouble: tuple[str, str] | None = None
        self._before: tuple[CostResult, float] | None = None

    def look(self) -> None:
        """Ask the daemon. Where it does not answer the last answer stays, with its time."""
        try:
            result = ask(self._home)
        except P2PFlockError as error:
            self._trouble = describe(error)
            return
        former = self._result
        self._before = None
        if former is not None and former["uptime_s"] <= result["uptime_s"] and former["peer_id"] == result["peer_id"]:
            self._before = former["cost"], (result["now_ms"] - former["now_ms"]) / 1000
        self._result, self._trouble = result, None
        self._answered_at = time.strftime("%H:%M:%S")

    def view(self) -> View:
        note = "Ctrl-C ends this view; the node goes on."
        if self._trouble is not None:
            since = f" Below: as of {self._answered_at}." if self._result is not None else ""
            what, remedy = self._trouble
            trouble = what, f"{remedy}. Trying again every {self._interval_s:g} s.{since}"
            return View(self._result, trouble, self._before, note)
        return View(self._result, None, self._before, f"{self._answered_at} · {note}")
