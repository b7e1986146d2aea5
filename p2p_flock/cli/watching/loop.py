"""The loop of ``alliance watch``: asks the daemon once per interval and shows the answer; no flicker, no busy waiting.

Called by ``cli/alliance_watch.py``. The terminal is given back whatever ends the loop. rich is imported only where
something is drawn.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import cast

import click

from p2p_flock.cli.failures import describe, error_class
from p2p_flock.cli.watching.words import summary_line
from p2p_flock.daemon.control_client import control_call
from p2p_flock.daemon.watch_messages import WATCH_FORMAT, WatchResult
from p2p_flock.errors import CommandRefusedError, ControlError, P2PFlockError

ANSWER_TIMEOUT_S = 5.0  # a daemon that is busy for longer than that should be seen to be


def ask(home: Path) -> WatchResult:
    """One answer of the daemon.

    Raises:
        P2PFlockError: none runs, it did not answer, or it is of another version.
    """
    result = cast(WatchResult, control_call(home, "alliance.watch", {}, ANSWER_TIMEOUT_S))
    if result.get("format") != WATCH_FORMAT:
        raise ControlError("the daemon's answer has another format\nrestart the daemon, so that both are one version")
    return result


def print_once(home: Path, as_json: bool) -> None:
    """One frame on standard output, as long as it is.

    Raises:
        P2PFlockError: as :func:`ask`.
    """
    result = ask(home)
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    from p2p_flock.cli.watching.frame import View, build_frame  # noqa: PLC0415  start-up cost
    from p2p_flock.cli.watching.screen import make_console  # noqa: PLC0415  start-up cost

    console = make_console()
    console.print(build_frame(View(result), console, None))


def run_json(home: Path, interval_s: float) -> None:
    """One JSON object a line and interval, for ever: the result, or ``{"error": {"kind", "message"}}``."""
    for result, error in _answers(home, interval_s):
        if error is None:
            click.echo(json.dumps(result, ensure_ascii=False))
        else:
            kind = error_class(error.kind) if isinstance(error, CommandRefusedError) else type(error)
            click.echo(json.dumps({"error": {"kind": kind.__name__, "message": str(error)}}, ensure_ascii=False))


def run_lines(home: Path, interval_s: float) -> None:
    """For pipes and logs: one line with the time whenever something changed."""
    last = ""
    for result, error in _answers(home, interval_s):
        line = summary_line(result) if result is not None else ": ".join(describe(cast(P2PFlockError, error)))
        if line != last:
            click.echo(f"{time.strftime('%H:%M:%S')} {line}")
            last = line


def _answers(home: Path, interval_s: float) -> Iterator[tuple[WatchResult | None, P2PFlockError | None]]:
    pause = Pause()
    next_at = time.monotonic()
    while True:
        try:
            yield ask(home), None
        except P2PFlockError as error:
            yield None, error
        next_at = max(next_at + interval_s, time.monotonic())
        pause.until(next_at)


class Pause:
    """Waiting that a signal's handler can cut short by :meth:`wake`."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def wake(self) -> None:
        """End the wait now; safe in a signal handler."""
        try:
            os.write(self._write, b".")
        except BlockingIOError:  # thousands of wakes wait already
            return

    def until(self, monotonic_s: float) -> bool:
        """Wait; True if woken before."""
        ready, _, _ = select.select([self._read], [], [], max(0.0, monotonic_s - time.monotonic()))
        if ready:
            os.read(self._read, 4096)
        return bool(ready)


@contextmanager
def handling(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    """These signal handlers while the block runs, and the former ones afterwards."""
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
