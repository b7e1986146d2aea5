"""Private data as a CSV: the schema, strict reading, and splits that stay the same for ever.

Called by tasks whose data is a table, and by the testnet's partitions. Every error names row, column and remedy: the
member who sees it owns the file, and nobody else may look at it. Imports neither torch nor pandas.
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import numpy as np
import numpy.typing as npt

from p2p_flock.errors import DataSchemaError
from p2p_flock.learning.results import Float64
from p2p_flock.learning.task_manifest import Column

RECORDS_MAX: Final = 1_000_000
NUMBER: Final = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{1,12})?")  # float() would take "nan", "1_0" and "1e400" too
LINE_CHARACTERS_MAX: Final = 4096  # a schema row has some hundreds; beyond it the file is something else


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a member's file, and what the outcome's values count as.

    Attributes:
        numbers, categories: in the order of :class:`Records`.
        outcome: a required category; its k-th value becomes the target ``targets[k]``.
        records_min: below it a file cannot be split into parts that both mean something.
    """

    numbers: tuple[Column, ...]
    categories: tuple[Column, ...]
    outcome: Column
    targets: tuple[float, ...]
    records_min: int = 12

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns; numbers first, the outcome last."""
        return (*self.numbers, *self.categories, self.outcome)


@dataclass(frozen=True, slots=True)
class Records:
    """Records as arrays; row k of each array is the same record."""

    numbers: Float64  # (n, number columns); NaN where missing
    categories: npt.NDArray[np.int64]  # (n, category columns); index into Column.values, -1 where missing
    targets: Float64  # (n,)

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


def read_table(path: Path, schema: Schema) -> Records:
    """Read a member's CSV.

    Raises:
        DataSchemaError: not readable, a missing, repeated or unknown column, a ragged row, a value outside the
            schema, or too few or too many records. Rows count as lines in a spreadsheet: the header is row 1.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # utf-8-sig: spreadsheets write a byte order mark
            return _parse(path, schema, csv.reader(_bounded_lines(file, path), strict=True))
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


def _parse(path: Path, schema: Schema, reader: Iterator[list[str]]) -> Records:
    header = [name.strip() for name in next(reader, [])]
    _check_header(path, schema, header)
    number_cells = [(column, header.index(column.name)) for column in schema.numbers]
    category_cells = [(column, header.index(column.name)) for column in schema.categories]
    outcome = header.index(schema.outcome.name)
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
        numbers.append([_read_number(column, cells[position], where) for column, position in number_cells])
        categories.append([_read_category(column, cells[position], where) for column, position in category_cells])
        targets.append(schema.targets[_read_category(schema.outcome, cells[outcome], where)])
    if len(targets) < schema.records_min:
        raise DataSchemaError(
            f"{path}: {len(targets)} records; at least {schema.records_min} are needed to train and test"
        )
    return Records(
        np.array(numbers).reshape(len(targets), len(schema.numbers)),
        np.array(categories, dtype=np.int64).reshape(len(targets), len(schema.categories)),
        np.array(targets),
    )


def _check_header(path: Path, schema: Schema, header: list[str]) -> None:
    names = [column.name for column in schema.columns]
    for name in names:
        if header.count(name) != 1:
            problem = "is missing" if name not in header else "occurs twice"
            raise DataSchemaError(f"{path}: row 1: column {name!r} {problem}; the header must name {', '.join(names)}")
    for name in header:
        if name not in names:
            raise DataSchemaError(f"{path}: row 1: column {name!r} is not in the schema; remove it")


def _read_number(column: Column, cell: str, where: str) -> float:
    text = cell.strip()
    if not text:
        return _missing(column, where, math.nan)
    if not NUMBER.fullmatch(text):
        raise DataSchemaError(f"{where}, column {column.name}: {text!r} is not a number; {_remedy(column)}")
    value = float(text)
    if value == 0 and column.zero_is_missing:
        return math.nan
    if not column.low <= value <= column.high:
        raise DataSchemaError(
            f"{where}, column {column.name}: {text} lies outside {column.low:g}..{column.high:g}"
            f" {column.unit}; {_remedy(column)}"
        )
    return value


def _remedy(column: Column) -> str:
    return "correct it" if column.required else "correct it or leave it empty"


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
    for label in np.unique(targets).tolist():
        rows = shuffle_rows(np.flatnonzero(targets == label).tolist(), f"{domain}/{label:g}", seed)
        count = round(len(rows) * ratio)
        taken += rows[: max(count, 1) if len(rows) >= 2 else count]
    return sorted(set(range(len(targets))) - set(taken)), sorted(taken)


def shuffle_rows(rows: list[int], domain: str, seed: int) -> list[int]:
    """The rows in the order of sha-256 over domain, seed and row."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{domain}/{seed}/{row}".encode()).digest())


def write_rows(path: Path, names: Sequence[str], rows: Sequence[dict[str, str]]) -> int:
    """Write a member's CSV with these columns, its folder made; returns the number of records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)
