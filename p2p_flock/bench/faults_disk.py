"""A disk that fills up under one member of a testnet: its home is a small file system of its own, in memory.

Linux and root only (``mount``); called by ``bench/faults_scenarios.py``. The kernel then refuses every write with
ENOSPC, in the journal's SQLite file as in a log line, as it would on a real disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MEMBER = "node3"
SIZE_MIB = 16  # a home of the heart task takes one or two
FULL_AFTER_ROUND = 1
LOOK_SECONDS = 0.1
PIECE_BYTES = 1 << 16


def can_mount() -> bool:
    """Whether this process may make file systems."""
    return os.geteuid() == 0


@contextmanager
def full_disk(directory: Path) -> Iterator[None]:
    """Beside a testnet that is about to write ``directory``: :data:`MEMBER`'s disk is full after a round.

    Raises:
        PermissionError: not root.
    """
    if not can_mount():
        raise PermissionError("mounting a small file system needs root")
    over = threading.Event()
    thread = threading.Thread(target=_meddle, args=(directory, over), name="full disk")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        home = directory / MEMBER
        if home.is_mount():
            subprocess.run(["umount", "--lazy", str(home)], check=True)


def _meddle(directory: Path, over: threading.Event) -> None:
    while not (directory / "logs").exists():  # the launcher refuses a folder that is not empty, and made its first
        if over.wait(LOOK_SECONDS / 10):
            return
    home = directory / MEMBER
    home.mkdir(mode=0o700)
    options = f"size={SIZE_MIB}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "p2p-flock-full-disk", str(home)], check=True)
    while not over.wait(LOOK_SECONDS):
        if _rounds_closed(home) > FULL_AFTER_ROUND:
            _fill(home / "ballast")


def _rounds_closed(home: Path) -> int:
    try:
        lines = (home / "rounds.jsonl").read_bytes().splitlines()
    except OSError:
        return 0
    count = 0
    for line in lines:
        with suppress(ValueError):
            count += json.loads(line).get("event") == "closed"
    return count


def _fill(path: Path) -> None:
    """Take what is left, to the last byte; what the node gives back is taken the next time."""
    with path.open("ab", buffering=0) as file:
        for piece in (bytes(PIECE_BYTES), b"\0"):
            with suppress(OSError):
                while file.write(piece):
                    pass
