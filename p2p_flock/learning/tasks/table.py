"""Private data as a CSV: the schema, strict reading, and splits that stay the same for ever.

Called by tasks whose data is a table, and by the testnet's partitions. Every error names row, column and remedy: the
member who sees it owns the file, and nobody else may look at it. Imports neither torch nor pandas.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO, TypeVar

import numpy as np
import numpy.typing as npt

from p2p_flock.learning.results import Float64
from p2p_flock.learning.schema_report import FOUND_CHARACTERS_MAX, Findings, Mismatch, SchemaMismatchError, shorten
from p2p_flock.learning.task_manifest import Column

T = TypeVar("T")

RECORDS_MAX: Final = 1_000_000
NUMBER: Final = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{1,12})?")  # float() would take "nan", "1_0" and "1e400" too
LINE_CHARACTERS_MAX: Final = 4096  # a schema row has some hundreds; beyond it the file is something else
LIKENESS_MIN: Final = 0.7  # of a name to the one that is probably meant
PAIRED_MAX: Final = 64  # names compared with each other; a file with more strange columns is another file
PUT_IT_THERE: Final = "put your CSV there, or set learning.data_path in config.toml to where it is"
NAME_A_FILE: Final = "learning.data_path in config.toml must name a file that the node may read"


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
    """Read a member's CSV, to its end also where something does not fit.

    Raises:
        SchemaMismatchError: not readable, a missing, repeated or unknown column, a ragged row, a value outside the
            schema, or too few or too many records. Rows count as lines in a spreadsheet: the header is row 1. Its text
            is the first mismatch, its report holds all that one reading can find.
    """
    findings = Findings()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # utf-8-sig: spreadsheets write a byte order mark
            return _parse(path, schema, csv.reader(_bounded_lines(file, findings), strict=True), findings)
    except FileNotFoundError:
        findings.add(Mismatch(None, "", "no such file", PUT_IT_THERE))
    except OSError as error:
        findings.add(Mismatch(None, "", f"cannot be read: {error.strerror}", NAME_A_FILE))
    except UnicodeDecodeError as error:
        findings.add(Mismatch(None, "", f"not UTF-8 (byte {error.start})", "save it as CSV UTF-8"))
    except csv.Error as error:
        findings.add(Mismatch(None, "", f"not CSV: {error}", "save it as comma-separated text"))
    except _UnusableError:
        pass  # and said why
    raise _refuse(path, findings)


class _UnusableError(Exception):
    """Nothing more can be read of this file; the finding says why."""


def _refuse(path: Path, findings: Findings) -> SchemaMismatchError:
    assert findings.first is not None
    return SchemaMismatchError(f"{path}: {findings.first.sentence}", findings.report())


def _bounded_lines(file: TextIO, findings: Findings) -> Iterator[str]:
    for row, line in enumerate(iter(lambda: file.readline(LINE_CHARACTERS_MAX + 1), ""), start=1):
        if len(line) > LINE_CHARACTERS_MAX:
            findings.add(Mismatch(row, "", f"more than {LINE_CHARACTERS_MAX} characters", "is this a CSV?"))
            raise _UnusableError
        yield line


def _parse(path: Path, schema: Schema, reader: Iterator[list[str]], findings: Findings) -> Records:
    header = [name.strip() for name in next(reader, [])]
    _check_header(schema, header, findings)
    cells = _Cells(schema, header, findings)
    numbers: list[list[float]] = []
    categories: list[list[int]] = []
    targets: list[float] = []
    row_count = 0
    for row, texts in enumerate(reader, start=2):
        if not texts:
            continue  # a blank line at the end of the file
        row_count += 1
        if row_count > RECORDS_MAX:
            findings.add(Mismatch(None, "", f"more than {RECORDS_MAX} records", "split the file"))
            raise _UnusableError
        if len(texts) != len(header):
            findings.add(Mismatch(row, "", f"{len(texts)} cells, the header has {len(header)}", "mend the row"))
            continue
        number, category, target = cells.read(row, texts)
        if not findings:  # what is read after a mismatch is only looked at
            numbers.append(number)
            categories.append(category)
            targets.append(target)
    if row_count < schema.records_min:
        needed = f"at least {schema.records_min} are needed to train and test"
        findings.add(Mismatch(None, "", f"{row_count} records", needed))
    if findings:
        raise _refuse(path, findings)
    return Records(
        np.array(numbers).reshape(len(targets), len(schema.numbers)),
        np.array(categories, dtype=np.int64).reshape(len(targets), len(schema.categories)),
        np.array(targets),
    )


class _Cells:
    """Reads the cells of the schema's columns that the header names once."""

    def __init__(self, schema: Schema, header: list[str], findings: Findings) -> None:
        self._schema, self._findings = schema, findings
        self._place = {name: header.index(name) for name in header if header.count(name) == 1}

    def read(self, row: int, texts: list[str]) -> tuple[list[float], list[int], float]:
        """Numbers, categories and target of one row; placeholders where a cell does not fit."""
        schema = self._schema
        numbers = [self._read(column, row, texts, _read_number, math.nan) for column in schema.numbers]
        categories = [self._read(column, row, texts, _read_category, -1) for column in schema.categories]
        outcome = self._read(schema.outcome, row, texts, _read_category, 0)
        return numbers, categories, schema.targets[outcome]

    def _read(self, column: Column, row: int, texts: list[str], read: Callable[[Column, str], T], placeholder: T) -> T:
        if column.name not in self._place:
            return placeholder  # the header's mismatch says so
        text = texts[self._place[column.name]].strip()
        if not text and not column.required:
            return placeholder
        try:
            if not text:
                raise _UnfitError("empty", "fill it in or remove the row")
            return read(column, text)
        except _UnfitError as unfit:
            self._findings.add(Mismatch(row, column.name, unfit.problem, unfit.remedy))
            return placeholder


class _UnfitError(Exception):
    """A cell that does not fit its column."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


def _check_header(schema: Schema, header: list[str], findings: Findings) -> None:
    names = [column.name for column in schema.columns]
    if len(header) == 1 and (separator := next((mark for mark in ";\t|" if mark in header[0]), "")):
        separated = "tabs" if separator == "\t" else repr(separator)
        findings.add(Mismatch(1, "", f"the cells are separated by {separated}", "save it with commas between them"))
        raise _UnusableError
    unknown = [name for name in dict.fromkeys(header) if name not in names]
    renamed = _find_renamed([name for name in names if name not in header], unknown)
    for column in schema.columns:
        if column.name in renamed:
            there = f"{column.name!r} is missing; the file has {shorten(renamed[column.name])}"
            findings.add(Mismatch(1, column.name, there, f"rename that column to {column.name!r}{_meaning(column)}"))
        elif column.name not in header:
            remedy = f"add it{_meaning(column)}" + ("" if column.required else "; its cells may be empty")
            findings.add(Mismatch(1, column.name, f"{column.name!r} is missing", remedy))
        elif header.count(column.name) > 1:
            findings.add(Mismatch(1, column.name, f"{column.name!r} occurs twice", "remove one of them"))
    for name in unknown:
        if name not in renamed.values():
            short = shorten(name)
            findings.add(Mismatch(1, short.strip("'\""), f"{short} is not in the schema", "remove it"))


def _find_renamed(missing: list[str], unknown: list[str]) -> dict[str, str]:
    """For each missing column the unknown one that is probably meant; nearest pairs first, each name once."""
    pairs = sorted(
        ((_likeness(want, have), want, have) for want in missing[:PAIRED_MAX] for have in unknown[:PAIRED_MAX]),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    found: dict[str, str] = {}
    for likeness, want, have in pairs:
        if likeness >= LIKENESS_MIN and want not in found and have not in found.values():
            found[want] = have
    return found


def _likeness(want: str, have: str) -> float:
    """0..1; spelling, case and punctuation aside, and a name that begins with the other is like it."""
    want, have = (re.sub(r"[\W_]+", "", name.casefold())[:FOUND_CHARACTERS_MAX] for name in (want, have))
    shorter, longer = sorted((want, have), key=len)
    if len(shorter) >= 2 and longer.startswith(shorter):
        return 1.0 if shorter == longer else 0.9
    return difflib.SequenceMatcher(None, want, have).ratio()


def _meaning(column: Column) -> str:
    """`` (years, 18 to 120)``; what the schema says about the column."""
    if column.kind == "category":
        return f" (one of {', '.join(map(repr, column.values))})"
    return f" ({f'{column.unit}, ' if column.unit else ''}{column.low:g} to {column.high:g})"


def _read_number(column: Column, text: str) -> float:
    if not NUMBER.fullmatch(text):
        raise _UnfitError(f"{shorten(text)} is not a number", _number_remedy(column, text))
    value = float(text)
    if value == 0 and column.zero_is_missing:
        return math.nan
    if not column.low <= value <= column.high:
        raise _UnfitError(
            f"{text} lies outside {column.low:g}..{column.high:g} {column.unit}".rstrip(), _remedy(column)
        )
    return value


def _number_remedy(column: Column, text: str) -> str:
    pointed = text.replace(",", ".")
    if pointed != text and NUMBER.fullmatch(pointed):
        return f"write {pointed}, with a point"
    return _remedy(column)


def _remedy(column: Column) -> str:
    return "correct it" if column.required else "correct it or leave it empty"


def _read_category(column: Column, text: str) -> int:
    if text in column.values:
        return column.values.index(text)
    nearest = max(column.values, key=lambda value: _likeness(value, text), default="")
    is_near = nearest and _likeness(nearest, text) >= LIKENESS_MIN
    raise _UnfitError(
        f"{shorten(text)} is not one of {', '.join(map(repr, column.values))}",
        f"write {nearest!r}" if is_near else _remedy(column),
    )


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
