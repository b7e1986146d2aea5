"""A line that moves while a command waits: what it waits for, and for how long already. Standard library and click.

Used by ``options.call``, which asks the daemon, and by the commands that reach the chain themselves. On terminals only:
in a pipe, with ``--json`` and where the terminal cannot move its cursor nothing is written. It goes to standard error
and is gone before anything else is said.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TextIO

import click

SHOWN_AFTER_S: Final = 0.7  # most answers are there before it, and a line that flashes is worse than none
TURN_S: Final = 0.1
MARKS: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
PLAIN_MARKS: Final = "|/-\\"  # where the terminal's encoding has no others
CLEAR_LINE: Final = "\r\x1b[K"

# Command of the control socket: what a user is told that it waits for.
COMMANDS: Final[Mapping[str, str]] = {
    "alliance.create": "the chain: the new alliance and its reward pool get into a block",
    "alliance.join": "the chain: stake and seat get into a block",
    "alliance.leave": "the chain: the seat is given up in a block",
    "alliance.withdraw": "the chain: the stake comes back in a block",
    "alliance.reactivate": "the chain: the seat is taken again in a block",
    "alliance.list": "the chain: alliances are being read",
    "alliance.show": "the chain: the alliance is being read",
    "wallet.show": "the chain: balances and rewards are being read",
    "wallet.claim": "the chain: rewards are collected, 32 rounds a block",
}


class Waiting:
    """The moving line of one wait; made by :func:`waiting`."""

    def __init__(self, what: str, stream: TextIO) -> None:
        self._what, self._stream = what, stream
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._is_drawn = False
        self._marks = MARKS if _can_write(stream, MARKS) else PLAIN_MARKS
        self._thread = threading.Thread(target=self._run, name="waiting", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take the line away; returns once nothing of it comes any more."""
        self._stopped.set()
        self._thread.join()

    def say(self, text: str) -> None:
        """Print a line on standard output; the moving one stays below it."""
        with self._lock:
            self._clear()
            click.echo(text)

    def _run(self) -> None:
        turn = 0
        pause_s = SHOWN_AFTER_S
        while not self._stopped.wait(pause_s):
            with self._lock:
                self._draw(turn)
            turn, pause_s = turn + 1, TURN_S
        with self._lock:
            self._clear()

    def _draw(self, turn: int) -> None:
        seconds = int(time.monotonic() - self._began)
        columns = shutil.get_terminal_size().columns
        text = f"{self._marks[turn % len(self._marks)]} {seconds} s · waiting for {self._what}"
        self._write(CLEAR_LINE + text[: max(1, columns - 1)])  # a line that wraps could not be taken away
        self._is_drawn = True

    def _clear(self) -> None:
        if self._is_drawn:
            self._write(CLEAR_LINE)
            self._is_drawn = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError, UnicodeEncodeError):  # the terminal went away: nobody looks any more
            self._stopped.set()


@contextmanager
def waiting(what: str) -> Iterator[Callable[[str], None]]:
    """While the block runs a line says what is waited for; yields a function that prints a line in between.

    Args:
        what: goes on after "waiting for".
    """
    if not is_shown():
        yield click.echo
        return
    line = Waiting(what, sys.stderr)
    line.start()
    try:
        yield line.say
    finally:
        line.stop()


def is_shown() -> bool:
    """Whether somebody sits before this command: both streams are a terminal's, and no JSON was asked for."""
    context = click.get_current_context(silent=True)
    as_json = context is not None and bool(context.params.get("as_json"))
    return not as_json and sys.stderr.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _can_write(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
