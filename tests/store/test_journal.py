"""The journal: promises survive, contradictions do not get in."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p_flock.errors import StoreError
from p2p_flock.store.journal import BODY_BYTES_MAX, Journal, Record

ALLIANCE = "flock:84530:0x" + "ab" * 20 + ":0"


def record(key: str, body: bytes, round_number: int = 3, kind: str = "ballot", alliance: str = ALLIANCE) -> Record:
    return Record(alliance, round_number, kind, key, body)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


def test_journal__survives_reopening(path: Path) -> None:
    """A restarted node would not know what it promised."""
    journal = Journal(path)
    journal.append([record("a", b"1"), record("b", b"2", kind="unmasking")])
    journal.append([record("c", b"3", round_number=4)])
    journal.close()
    journal = Journal(path)
    assert journal.records(ALLIANCE, 3) == (record("a", b"1"), record("b", b"2", kind="unmasking"))
    assert journal.rounds(ALLIANCE) == (3, 4)
    assert journal.rounds("another") == ()
    journal.close()


def test_journal__identical_record_counts_as_written(journal: Journal) -> None:
    """A machine that is replayed after a crash persists again and would stop the node."""
    journal.append([record("a", b"1")])
    journal.append([record("a", b"1"), record("b", b"2")])
    assert journal.records(ALLIANCE, 3) == (record("a", b"1"), record("b", b"2"))


def test_journal__contradiction_is_refused_and_nothing_of_it_written(journal: Journal) -> None:
    """The node would sign two contradicting messages and be slashed."""
    journal.append([record("a", b"1")])
    with pytest.raises(StoreError, match="another ballot 'a'"):
        journal.append([record("b", b"2"), record("a", b"changed")])
    assert journal.records(ALLIANCE, 3) == (record("a", b"1"),)


def test_journal__contradiction_within_one_call_is_refused(journal: Journal) -> None:
    """Two bodies in one tuple of effects would slip past a check against the disk only."""
    with pytest.raises(StoreError, match="another"):
        journal.append([record("a", b"1"), record("a", b"2")])
    assert journal.records(ALLIANCE, 3) == ()


@pytest.mark.parametrize(
    "other",
    [
        record("a", b"2", round_number=4),
        record("a", b"2", kind="have"),
        record("a", b"2", alliance=ALLIANCE + "1"),
        record("A", b"2"),
    ],
)
def test_journal__other_names_do_not_contradict(journal: Journal, other: Record) -> None:
    """Rounds, kinds, keys or alliances would block one another."""
    journal.append([record("a", b"1"), other])
    assert other in journal.records(other.alliance, other.round)


def test_journal__prune_forgets_below_only(journal: Journal) -> None:
    """A running round's promises would be forgotten, or the file grow for ever."""
    journal.append([record("a", b"1", round_number=number) for number in range(5)])
    journal.append([record("a", b"1", round_number=0, alliance="another")])
    assert journal.prune(ALLIANCE, 3) == 3
    assert journal.rounds(ALLIANCE) == (3, 4)
    assert journal.rounds("another") == (0,)


@pytest.mark.parametrize(
    "bad",
    [
        record("a", bytes(BODY_BYTES_MAX + 1)),
        record("k" * 257, b""),
        record("a", b"", round_number=-1),
        record("a", b"", round_number=1 << 32),
    ],
)
def test_journal__refuses_what_breaks_a_bound(journal: Journal, bad: Record) -> None:
    """A mistake in a machine would fill the disk."""
    with pytest.raises(StoreError):
        journal.append([bad])


def test_journal__damaged_file_is_named(path: Path) -> None:
    """The operator would see a traceback, or the node start with an empty memory."""
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="do not delete"):
        Journal(path)


def test_journal__damaged_page_is_found_on_opening(path: Path) -> None:
    """A node would find out in the middle of a round that its promises are unreadable."""
    journal = Journal(path)
    journal.append([record(str(number), os.urandom(3000)) for number in range(20)])
    journal.close()
    data = bytearray(path.read_bytes())
    data[8192:12288] = bytes(4096)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged|malformed"):
        Journal(path)


def test_journal__other_version_is_refused(path: Path) -> None:
    """A newer program's file would be misread."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="version 99"):
        Journal(path)


def test_journal__is_private(journal: Journal, path: Path) -> None:
    """Other users could read unrevealed ballots."""
    journal.append([record("a", b"1")])
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_journal__may_be_called_from_any_thread(journal: Journal) -> None:
    """trio's worker threads change from call to call, which sqlite would refuse."""
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            journal.append([record(f"{number}-{step}", b"x") for step in range(5)])
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(journal.records(ALLIANCE, 3)) == 40


def test_journal__closed_says_so(journal: Journal) -> None:
    """A late call would hang or show a library's traceback."""
    journal.close()
    journal.close()
    with pytest.raises(StoreError, match="closed"):
        journal.records(ALLIANCE, 3)


WRITER = """
import sys
from pathlib import Path
from p2p_flock.store.journal import Journal, Record
journal = Journal(Path(sys.argv[1]))
for number in range(100_000):
    journal.append([Record("alliance", number, "kind", part, bytes(500)) for part in "ab"])
    print(number, flush=True)
"""


def test_journal__sigkill_loses_nothing_acknowledged(path: Path) -> None:
    """A node killed between two effects would have spoken without remembering it (P8)."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= 20:
            writer.send_signal(signal.SIGKILL)
            break
    rest = writer.stdout.read().split()
    writer.stdout.close()
    writer.wait()
    acknowledged = int(rest[-1]) if rest else 20
    journal = Journal(path)
    rounds = journal.rounds("alliance")
    assert set(rounds) >= set(range(acknowledged + 1))
    assert all(len(journal.records("alliance", number)) == 2 for number in rounds), "an append was written by half"
    journal.close()
