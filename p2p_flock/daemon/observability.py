"""Structured logs: human or JSON lines, alliance and round in every line of theirs, secrets taken out of all of them.

Called by ``cli/node.py`` (to set up) and the daemon's tasks (``round_context``). Modules log through the standard
``logging.getLogger(__name__)``; structured values go in ``extra={"fields": {...}}``. Never logs to a peer or a server.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from p2p_flock.daemon.log_ring import LogRing
from p2p_flock.store.files import make_private_folder, translate_os_errors
from p2p_flock.types import describe_round_id

# Five files of 16 MiB hold weeks at level info; the oldest goes.
LOG_FILE_BYTES_MAX = 16 << 20
LOG_FILES_KEPT = 4
LOG_FILE_NAME = "node.log"
HIDDEN = "[hidden]"
SECRET_CHARACTERS_MIN = 6  # shorter ones would blank out ordinary words
API_KEY_CHARACTERS_MIN = 16

RoundNumber = int | Callable[[], int | None] | None

_round: ContextVar[tuple[str, RoundNumber] | None] = ContextVar("round", default=None)
_SECRET_FIELD = re.compile(
    r"(?i)(\b(?:password|passphrase|private_key|secret_key|secret|mnemonic|api_key|token_key|authorization)\b"
    r"""["']?\s*[:=]\s*["']?)([^\s"',}]+)"""
)
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# Chatty libraries; their warnings still come through.
_QUIET_LOGGERS = ("libp2p", "multiaddr", "web3", "urllib3", "httpx", "httpcore", "asyncio", "async_service")


class SecretsFilter:
    """Takes registered secrets, and values of fields that are named like one, out of finished log text."""

    def __init__(self) -> None:
        self._secrets: list[str] = []

    def register(self, secret: str | bytes) -> None:
        """Hide ``secret`` from now on; bytes are hidden in hex. Short ones are ignored, they would hide words."""
        text = secret.hex() if isinstance(secret, bytes) else secret
        for form in {text, json.dumps(text)[1:-1]}:
            if len(form) >= SECRET_CHARACTERS_MIN and form not in self._secrets:
                self._secrets.append(form)
        self._secrets.sort(key=len, reverse=True)  # a secret that contains another goes first

    def register_url(self, url: str) -> None:
        """Hide what is private in an RPC URL: the password, the query, and path parts as long as an API key."""
        parts = urlsplit(url)
        keys = [part for part in parts.path.split("/") if len(part) >= API_KEY_CHARACTERS_MIN]
        for secret in (parts.password, parts.query, *keys):
            if secret:
                self.register(secret)

    def clean(self, text: str) -> str:
        """``text`` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _SECRET_FIELD.sub(rf"\g<1>{HIDDEN}", text)


# The process's filter, like the process's logging: whoever meets a secret registers it here.
process_secrets = SecretsFilter()
# The last lines of this process, for whoever asks it.
process_log = LogRing(process_secrets.clean)


@contextlib.contextmanager
def round_context(alliance: str, round_number: RoundNumber) -> Iterator[None]:
    """Every line logged inside, also by tasks started inside, names this alliance and round.

    Args:
        round_number: a function is asked anew for each line, by tasks that outlive rounds.
    """
    token = _round.set((alliance, round_number))
    try:
        yield
    finally:
        _round.reset(token)


def current_round_id() -> str | None:
    """``a7-r12`` inside a :func:`round_context`; for what is written or asked elsewhere on the round's behalf."""
    context = _current_round()
    return None if context is None else round_id_of(*context)


def round_id_of(alliance: str, round_number: int | None) -> str:
    """The short name of a round, of the alliance's ID in text."""
    return describe_round_id(alliance.rpartition(":")[2], round_number)


def configure_logging(
    log_format: str, log_level: str, secrets: SecretsFilter, folder: Path | None, stream: TextIO | None = None
) -> None:
    """Send all logs to ``stream`` (standard error) in ``log_format``, and as JSON lines to ``folder/node.log``.

    Replaces what was configured before, and must come after the import of libp2p, which configures its own loggers.
    Library loggers are held at warning unless the level is debug.

    Raises:
        StoreError: the log file cannot be opened.
    """
    assert log_format in ("human", "json"), log_format
    to_stream = logging.StreamHandler(stream or sys.stderr)
    to_stream.setFormatter(JsonFormatter(secrets) if log_format == "json" else HumanFormatter(secrets))
    process_log.clean = secrets.clean
    handlers: list[logging.Handler] = [to_stream, process_log]
    if folder is not None:
        handlers.append(_open_log_file(folder, secrets))
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
        former.close()
    for handler in handlers:
        handler.addFilter(_add_context)
        root.addHandler(handler)
    root.setLevel(_LEVELS[log_level])
    for name in _QUIET_LOGGERS:
        library = logging.getLogger(name)
        library.setLevel(logging.NOTSET if log_level == "debug" else logging.WARNING)
        library.propagate = True  # libp2p sets it to False when it is imported, and its warnings would be lost


class JsonFormatter(logging.Formatter):
    """One object a line: ``time`` (Unix seconds), ``level, logger, message, alliance, round, round_id``, the fields."""

    def __init__(self, secrets: SecretsFilter) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        alliance, round_number = _context_of(record)
        entry: dict[str, object] = {
            **_fields_of(record),
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "alliance": alliance,
            "round": round_number,
            "round_id": None if alliance is None else round_id_of(alliance, round_number),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return self._secrets.clean(json.dumps(entry, default=str, ensure_ascii=False))


class HumanFormatter(logging.Formatter):
    """``12:30:05 info  a0-r7  text  key=value``, for a terminal."""

    def __init__(self, secrets: SecretsFilter) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        alliance, round_number = _context_of(record)
        parts = [time.strftime("%H:%M:%S", time.localtime(record.created)), f"{record.levelname.lower():7}"]
        if alliance is not None:
            parts.append(round_id_of(alliance, round_number))
        parts.append(record.getMessage())
        parts += [f"{name}={value}" for name, value in _fields_of(record).items()]
        text = _printable("  ".join(parts))
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return self._secrets.clean(text)


class _LogFile(RotatingFileHandler):
    """A full disk costs lines of the log, and is told once on standard error: no traceback for each line."""

    _is_told = False

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what is not written by now was told already
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._is_told and sys.stderr is not None:
            self._is_told = True
            with contextlib.suppress(OSError):
                sys.stderr.write(f"cannot write the log {self.baseFilename}: {error.strerror}; make room on the disk\n")


def _open_log_file(folder: Path, secrets: SecretsFilter) -> logging.Handler:
    make_private_folder(folder)
    path = folder / LOG_FILE_NAME
    with translate_os_errors(f"open the log {path}"):
        path.touch(mode=0o600)
        handler = _LogFile(
            path, maxBytes=LOG_FILE_BYTES_MAX, backupCount=LOG_FILES_KEPT, encoding="utf-8", errors="backslashreplace"
        )
    handler.setFormatter(JsonFormatter(secrets))
    return handler


def _add_context(record: logging.LogRecord) -> bool:
    """Attach the round while still in the logging task's context."""
    if not hasattr(record, "flock_round"):
        record.flock_round = _current_round()
    return True


def _current_round() -> tuple[str, int | None] | None:
    context = _round.get()
    if context is None:
        return None
    alliance, round_number = context
    return alliance, round_number() if callable(round_number) else round_number


def _context_of(record: logging.LogRecord) -> tuple[str | None, int | None]:
    context = getattr(record, "flock_round", None)
    return context if isinstance(context, tuple) else (None, None)


def _printable(text: str) -> str:
    """Escape control characters: a peer's text must neither forge a line nor steer the terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", None)
    return dict(fields) if isinstance(fields, dict) else {}
