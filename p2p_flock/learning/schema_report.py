"""What in a member's data does not fit the task's schema: every mismatch, with row, column and remedy.

Made while a table is read (``tasks/table.py``), carried from the worker to ``p2p-flock task check`` and ``alliance
join``, which show it to the one person who may see it. Holds single short values, never a record. Imports no numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from p2p_flock.errors import DataSchemaError

LISTED_MAX: Final = 50  # what somebody can work through; the rest is counted, and the check is run again
FOUND_CHARACTERS_MAX: Final = 40  # of a value: enough to find it, too little to hold a record


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One place where the data is not as the schema says.

    Attributes:
        row: as in a spreadsheet, the header is row 1; ``None`` where it is about the whole file.
        column: the schema's or the header's name; empty where it is about a row or the file.
        problem: what was found.
        remedy: what to do about it.
    """

    row: int | None
    column: str
    problem: str
    remedy: str

    @property
    def sentence(self) -> str:
        """``row 5, column age: 'old' is not a number; correct it``."""
        row = "" if self.row is None else f"row {self.row}"
        column = f"column {self.column}" if self.column else ""
        where = ", ".join(filter(None, (row, column)))
        return f"{where}: {self.problem}; {self.remedy}" if where else f"{self.problem}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """All that does not fit.

    Attributes:
        listed: at most LISTED_MAX, by row; of each column its first ones, so that one bad column hides no other.
        count: how many there are.
        more: by column, how many are not listed; under "" those of whole rows.
    """

    listed: tuple[Mismatch, ...]
    count: int
    more: Mapping[str, int] = field(default_factory=dict)


class SchemaMismatchError(DataSchemaError):
    """A member's data does not fit the schema; the text is the first mismatch, ``report`` holds all of them."""

    def __init__(self, text: str, report: SchemaReport) -> None:
        super().__init__(text)
        self.report = report


class Findings:
    """Collects mismatches while a table is read, in bounded memory."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Mismatch]] = {}
        self._counts: dict[str, int] = {}
        self.first: Mismatch | None = None

    def add(self, mismatch: Mismatch) -> None:
        """Keep it, or only count it where its column has LISTED_MAX already."""
        self.first = self.first or mismatch
        kept = self._kept.setdefault(mismatch.column, [])
        self._counts[mismatch.column] = self._counts.get(mismatch.column, 0) + 1
        if len(kept) < LISTED_MAX:
            kept.append(mismatch)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def report(self) -> SchemaReport:
        """What was found so far."""
        listed = _share_out(self._kept.values())
        more = dict(self._counts)
        for mismatch in listed:
            more[mismatch.column] -= 1
        return SchemaReport(
            tuple(listed), sum(self._counts.values()), {name: count for name, count in more.items() if count}
        )


def _share_out(columns: Iterable[list[Mismatch]]) -> list[Mismatch]:
    """At most LISTED_MAX by turns of the columns, in the order of rows; a file's own mismatches come first."""
    turns = list(columns)
    listed = [mismatches[turn] for turn in range(LISTED_MAX) for mismatches in turns if turn < len(mismatches)][
        :LISTED_MAX
    ]
    return sorted(listed, key=lambda mismatch: mismatch.row or 0)


def single(problem: str) -> SchemaReport:
    """The report of a task that can name one problem only: its error's text, ``what; what to do``."""
    what, _, remedy = problem.partition("; ")
    return SchemaReport((Mismatch(None, "", what, remedy or "correct the data"),), 1)


def shorten(value: str) -> str:
    """A value as it may be shown: quoted, one line, at most FOUND_CHARACTERS_MAX characters of it."""
    return repr(value if len(value) <= FOUND_CHARACTERS_MAX else value[: FOUND_CHARACTERS_MAX - 1] + "…")
