"""The journal: what this node has promised, written before it speaks.

Called by the driver, through ``trio.to_thread`` under one named limiter. It must never hold a round's secrets (those
are in ``store/secrets.py``) and never replace a record: a second body under the same key is a contradiction, and a node
that signs two contradicting messages is slashed. One sqlite file, owned by one thread; ``append`` returns after the
bytes are synced to disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from p2p_flock.errors import StoreError
from p2p_flock.store.files import PRIVATE_FILE_MODE, translate_os_errors

SCHEMA_VERSION = 1
# A record is an envelope (at most 1 MiB) or less; four leave room without letting a mistake fill the disk.
BODY_BYTES_MAX = 4 << 20
NAME_CHARACTERS_MAX = 256
BUSY_TIMEOUT_S = 5.0

Result = TypeVar("Result")

_SCHEMA = """
CREATE TABLE records (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    alliance TEXT NOT NULL, round INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL,
    UNIQUE (alliance, round, kind, key)
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One promise of one round: ``key`` tells records of a ``kind`` apart, ``body`` is the kind's own encoding."""

    alliance: str
    round: int
    kind: str
    key: str
    body: bytes = field(repr=False)


class Journal:
    """Append-only records of the rounds that still matter.

    Every method blocks until done and may be called from any thread; all of them run in the journal's own thread, one
    after the other.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            StoreError: the file cannot be opened, is damaged, or is of another version.
        """
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        try:
            self._connection = self._call(self._open)
        except StoreError:
            self._thread.shutdown()
            raise

    def append(self, records: Sequence[Record]) -> None:
        """Write all records or none, and sync. An identical record that is there already counts as written.

        Raises:
            StoreError: a record contradicts one that is there, is too long, or the disk refuses.
        """
        for record in records:
            _check_bounds(record)
        self._call(lambda: self._append(records))

    def records(self, alliance: str, round_number: int) -> tuple[Record, ...]:
        """The round's records in the order in which they were written.

        Raises:
            StoreError: the file cannot be read.
        """

        def read() -> tuple[Record, ...]:
            rows = self._connection.execute(
                "SELECT kind, key, body FROM records WHERE alliance = ? AND round = ? ORDER BY sequence",
                (alliance, round_number),
            )
            return tuple(Record(alliance, round_number, kind, key, body) for kind, key, body in rows)

        return self._call(read)

    def rounds(self, alliance: str) -> tuple[int, ...]:
        """Rounds with at least one record, ascending.

        Raises:
            StoreError: the file cannot be read.
        """

        def read() -> tuple[int, ...]:
            query = "SELECT DISTINCT round FROM records WHERE alliance = ? ORDER BY round"
            return tuple(number for (number,) in self._connection.execute(query, (alliance,)))

        return self._call(read)

    def prune(self, alliance: str, before_round: int) -> int:
        """Forget the rounds below ``before_round``, which must be final on chain; says how many records went.

        Raises:
            StoreError: the disk refuses.
        """

        def delete() -> int:
            with self._connection:
                cursor = self._connection.execute(
                    "DELETE FROM records WHERE alliance = ? AND round < ?", (alliance, before_round)
                )
            return cursor.rowcount

        return self._call(delete)

    def close(self) -> None:
        """Close the file and end the journal's thread. Calling it again does nothing; any other call then raises."""
        try:
            self._call(lambda: self._connection.close())
        except StoreError:
            return  # closed before
        self._thread.shutdown()

    def _call(self, work: Callable[[], Result]) -> Result:
        try:
            future = self._thread.submit(work)
        except RuntimeError as error:
            raise StoreError(f"the journal {self._path} is closed\nstart the node again") from error
        try:
            return future.result()
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"the journal {self._path} failed: {error}\n"
                "check free space and permissions; do not delete the file: without it the node could contradict itself"
            ) from error

    def _open(self) -> sqlite3.Connection:
        with translate_os_errors(f"open the journal {self._path}"):
            # Created here, so that sqlite's own default of 0644 never applies; the WAL inherits the mode.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE_MODE))
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level="IMMEDIATE")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # a commit is synced before append() returns
            connection.execute("PRAGMA secure_delete = ON")  # pruned ballots held salts
            (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"damaged: {verdict}")
            _ensure_schema(connection, self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _append(self, records: Sequence[Record]) -> None:
        with self._connection:
            for record in records:
                name = (record.alliance, record.round, record.kind, record.key)
                row = self._connection.execute(
                    "SELECT body FROM records WHERE alliance = ? AND round = ? AND kind = ? AND key = ?", name
                ).fetchone()
                if row is None:
                    self._connection.execute(
                        "INSERT INTO records (alliance, round, kind, key, body) VALUES (?, ?, ?, ?, ?)",
                        (*name, record.body),
                    )
                elif row[0] != record.body:
                    raise StoreError(
                        f"round {record.round}: the journal holds another {record.kind} {record.key!r} already\n"
                        "this node must not sign both; report it as a defect"
                    )


def _ensure_schema(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        with connection:
            connection.execute("BEGIN IMMEDIATE")  # table and version appear together or not at all
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    elif version != SCHEMA_VERSION:
        raise StoreError(f"the journal {path} has version {version}\nthis program reads version {SCHEMA_VERSION}")


def _check_bounds(record: Record) -> None:
    if len(record.body) > BODY_BYTES_MAX:
        raise StoreError(f"{record.kind}: {len(record.body)} bytes exceed the journal's {BODY_BYTES_MAX} a record")
    for name in (record.alliance, record.kind, record.key):
        if len(name) > NAME_CHARACTERS_MAX:
            raise StoreError(f"a name of {len(name)} characters exceeds the journal's {NAME_CHARACTERS_MAX}")
    if not 0 <= record.round < 1 << 32:
        raise StoreError(f"round {record.round} lies outside 32 bits")
