"""Children that heed signals, however the tests were started."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeded_signals() -> Iterator[None]:
    """Children started inside begin as from a terminal; under nohup, or in the background of a script, they would
    inherit that SIGHUP and SIGINT are ignored."""
    former = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
