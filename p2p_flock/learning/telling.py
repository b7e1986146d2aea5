"""Tells the daemon how far a long request is: a frame now and then, between the request and its answer.

Used by ``worker.py``, which hands :meth:`Telling.note` to the task. A request that is answered sooner than the first
frame is due sends none, so what is quick costs nothing. It never says anything but two counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import BinaryIO, Final

from p2p_flock.learning.frames import encode_progress

TELL_SECONDS: Final = 0.25  # four a second; the client takes no more than a few times as many


class Telling:
    """See the module. ``get_seconds``: a clock that never goes back."""

    def __init__(self, answers: BinaryIO, get_seconds: Callable[[], float] = time.monotonic) -> None:
        self._answers = answers
        self._get_seconds = get_seconds
        self._request = 0
        self._next_at = 0.0

    def begin(self, request: int) -> None:
        """What is noted from now on belongs to ``request``."""
        self._request = request
        self._next_at = self._get_seconds() + TELL_SECONDS

    def note(self, done: int, total: int) -> None:
        """``done`` of ``total`` pieces are done; told if the last word was long ago. Costs under 1 µs otherwise."""
        now = self._get_seconds()
        if now < self._next_at:
            return
        self._next_at = now + TELL_SECONDS
        try:
            self._answers.write(encode_progress(self._request, done, total))
            self._answers.flush()
        except BrokenPipeError:
            os._exit(0)  # the daemon's end: nobody wants this training any more
