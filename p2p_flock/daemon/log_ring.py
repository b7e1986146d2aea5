"""The last log lines in memory, for ``node.log`` and the dashboard: cleaned of secrets, bounded in number and length.

Installed by ``observability.configure_logging``; read by ``daemon/handlers.py``. What is older is in ``logs/node.log``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

from p2p_flock.daemon.node_messages import LogLine, LogResult
from p2p_flock.errors import UsageError
from p2p_flock.types import describe_round_id

LINES_KEPT = 2_000  # an hour at level info; about 1 MB
LINES_ASKED_MAX = 500  # of one answer: below the control socket's 4 MiB also where every line is full
MESSAGE_CHARACTERS_MAX = 2_000
FIELD_CHARACTERS_MAX = 500
FIELDS_MAX = 32
TRACEBACK_CHARACTERS_MAX = 4_000

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class LogRing(logging.Handler):
    """Keeps the last records as :class:`LogLine`. ``clean`` takes secrets out of a text."""

    def __init__(self, clean: Callable[[str], str], kept: int = LINES_KEPT) -> None:
        super().__init__()
        self.clean = clean
        self._lines: deque[tuple[int, LogLine]] = deque(maxlen=kept)
        self._next = 1
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Called by ``logging`` with this handler's lock held, from any thread."""
        context = getattr(record, "flock_round", None)
        alliance, round_number = context if isinstance(context, tuple) else (None, None)
        fields = getattr(record, "fields", None)
        named = list(fields.items())[:FIELDS_MAX] if isinstance(fields, dict) else []
        shown = {str(name): self._clean_field(str(name), value) for name, value in named}
        if record.exc_info:
            text = self.clean(self._formatter.formatException(record.exc_info))
            shown["traceback"] = text[-TRACEBACK_CHARACTERS_MAX:]
        line: LogLine = {
            "sequence": self._next,
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _printable(self.clean(record.getMessage())[:MESSAGE_CHARACTERS_MAX]),
            "alliance": alliance,
            "round": round_number,
            "round_id": _round_id(alliance, round_number),
            "fields": shown,
        }
        self._lines.append((record.levelno, line))
        self._next += 1

    def _clean_field(self, name: str, value: object) -> str | int | float | bool | None:
        # With its name, since a field that is named like a secret is hidden whatever it holds.
        text = self.clean(f"{name}={value}").removeprefix(f"{name}=")
        if text == str(value) and (value is None or isinstance(value, bool | int)):
            return value
        if text == str(value) and isinstance(value, float) and value - value == 0:  # JSON has no infinity
            return value
        return _printable(text[:FIELD_CHARACTERS_MAX])

    def lines(self, after: int, level_number: int, count_max: int) -> tuple[list[LogLine], int]:
        """The newest lines beyond sequence ``after``, oldest first, and the newest sequence there is."""
        self.acquire()
        try:
            kept: Sequence[tuple[int, LogLine]] = tuple(self._lines)
            newest = self._next - 1
        finally:
            self.release()
        start = after if after <= newest else 0  # beyond the newest: of an earlier run of the node
        found = [line for number, line in kept if line["sequence"] > start and number >= level_number]
        return found[-count_max:], newest


def answer_log(ring: LogRing, after: object, level: object, limit: object) -> LogResult:
    """The answer to ``node.log``.

    Raises:
        UsageError: no such level, or a number out of range.
    """
    if level not in LEVELS:
        raise UsageError(f"there is no log level {level!r}\nuse one of {', '.join(LEVELS)}")
    if not isinstance(after, int) or after < 0 or not isinstance(limit, int) or not 1 <= limit <= LINES_ASKED_MAX:
        raise UsageError(f"after must be 0 or more and limit 1 to {LINES_ASKED_MAX}\ncorrect them")
    lines, newest = ring.lines(after, LEVELS[str(level)], limit)
    return {"lines": lines, "next": newest}


def _round_id(alliance: str | None, round_number: int | None) -> str | None:
    """``a7-r12``, as in the other logs (``observability.round_id_of``, which imports this module)."""
    return None if alliance is None else describe_round_id(alliance.rpartition(":")[2], round_number)


def _printable(text: str) -> str:
    """A lone surrogate, which no UTF-8 can hold, would break the answer; what a page does with the rest is its own."""
    return text.encode("utf-8", "backslashreplace").decode()
