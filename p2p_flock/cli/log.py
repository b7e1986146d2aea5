"""``p2p-flock log``: the node's log, for people. Reads the files that the daemon writes; needs no daemon.

What a line says may come from a peer, so control characters are escaped. Lines that are no JSON object of the daemon's
(a line cut off by a full disk) are passed over.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from p2p_flock.cli.options import home_option
from p2p_flock.errors import UsageError

LEVELS = ("debug", "info", "warning", "error")
COLOURS = {"warning": "yellow", "error": "red", "critical": "red"}
FILE_NAME = "node.log"
FILES_MAX = 5  # as the daemon keeps them: node.log.4 is the oldest
LINE_BYTES_MAX = 1 << 20
LINES_DEFAULT, LINES_MAX = 200, 1_000_000
POLL_S = 0.5
STANDARD = frozenset(("time", "level", "logger", "message", "alliance", "round", "round_id", "exception"))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines are shown."""

    round_number: int | None = None
    level: str = "debug"

    def takes(self, entry: dict[str, object]) -> bool:
        """Whether a line of the log is one of them; levels that are not ours count as error."""
        if self.round_number is not None and entry.get("round") != self.round_number:
            return False
        level = entry.get("level")
        rank = LEVELS.index(level) if isinstance(level, str) and level in LEVELS else len(LEVELS) - 1
        return rank >= LEVELS.index(self.level)


@click.command("log")
@home_option
@click.option("--follow", "-f", is_flag=True, help="Show what comes until Ctrl-C.")
@click.option("--round", "round_number", type=click.IntRange(0), metavar="NUMBER", help="Lines of this round only.")
@click.option("--level", type=click.Choice(LEVELS), default="info", show_default=True, help="Lines from this level on.")
@click.option(
    "--lines", type=click.IntRange(0, LINES_MAX), default=LINES_DEFAULT, show_default=True, help="How many of the last."
)
@click.option("--json", "as_json", is_flag=True, help="The lines as the daemon wrote them: one JSON object each.")
def log(home: Path, follow: bool, round_number: int | None, level: str, lines: int, as_json: bool) -> None:
    """Show the node's log: time, level, round (a7-r12: round 12 of alliance 7), what happened."""
    folder, chosen = home / "logs", Filter(round_number, level)
    files = [folder / f"{FILE_NAME}.{number}" for number in range(FILES_MAX - 1, 0, -1)] + [folder / FILE_NAME]
    found = [path for path in files if path.exists()]
    if not found and not follow:
        raise UsageError(f"there is no log in {folder}\nname the node's folder with --home, or start the node")
    with closing(_Follower(folder / FILE_NAME)) as follower:
        kept = deque((entry for path in found for entry in _read(path, follower) if chosen.takes(entry)), maxlen=lines)
        for entry in kept:
            _show(entry, as_json)
        while follow:
            for entry in follower.read():
                if chosen.takes(entry):
                    _show(entry, as_json)
            sys.stdout.flush()
            time.sleep(POLL_S)


def _read(path: Path, follower: _Follower) -> Iterator[dict[str, object]]:
    """Lines of one file; the newest one by the follower, which then knows how far it has read."""
    if path == follower.path:
        yield from follower.read()
        return
    try:
        with path.open("rb") as file:
            while line := file.readline(LINE_BYTES_MAX):
                entry = parse_line(line)
                if entry is not None:
                    yield entry
    except FileNotFoundError:  # rotated away meanwhile
        return
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot read {path}: {error.strerror}\nrun the command as the node's user")


class _Follower:
    """Reads a file on, also when the daemon began a new one under the name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def read(self) -> Iterator[dict[str, object]]:
        """Whole lines that came since the last call."""
        try:
            yield from self._read_open()
            if self._is_replaced():
                self.close()
                self._file, self._rest = self.path.open("rb"), b""
                yield from self._read_open()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _read_open(self) -> Iterator[dict[str, object]]:
        if self._file is None:
            return
        while part := self._file.readline(LINE_BYTES_MAX):
            line = self._rest + part
            if not part.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
                self._rest = line  # the daemon is still writing it
                return
            self._rest = b""
            entry = parse_line(line)
            if entry is not None:
                yield entry

    def _is_replaced(self) -> bool:
        if self._file is None:
            return True
        now, open_one = os.stat(self.path), os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (open_one.st_dev, open_one.st_ino) or now.st_size < self._file.tell()


def parse_line(line: bytes) -> dict[str, object] | None:
    """One line of the log; ``None`` where it is not one of the daemon's."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("message"), str) else None


def format_line(entry: dict[str, object]) -> str:
    """``2026-12-01 12:30:05  warning  a7-r12  text  key=value``, in local time; a traceback on lines of its own."""
    moment, level = entry.get("time"), str(entry.get("level", ""))
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) if isinstance(moment, int | float) else "?"
    parts = [f"{when}  {level:7}", *([str(entry["round_id"])] if entry.get("round_id") else [])]
    fields = [f"{name}={value}" for name, value in entry.items() if name not in STANDARD]
    text = "  ".join(_printable(part) for part in (*parts, str(entry["message"]), *fields))
    trace = entry.get("exception")
    traced = [] if not isinstance(trace, str) else [f"    {_printable(line)}" for line in trace.splitlines()]
    return "\n".join([text, *traced])


def _show(entry: dict[str, object], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(entry, ensure_ascii=False))
        return
    text = format_line(entry)
    colour = COLOURS.get(str(entry.get("level")))
    click.echo(click.style(text, fg=colour) if colour else text)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
