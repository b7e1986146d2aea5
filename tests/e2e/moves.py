"""The table of ``docs/wrong-moves.md``: each wrong move, what it shows and its exit code, as the tests saw them.

A test hands over what it saw; the page must say the same. ``WRITE_WRONG_MOVES=1`` writes the page instead.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.mistakes import Bench, Ran

PAGE = Path(__file__).resolve().parents[2] / "docs" / "wrong-moves.md"
WRITE_VARIABLE = "WRITE_WRONG_MOVES"
HEAD = """\
# Wrong moves

What the commands say when something is wrong: each row was made by running the command
(`tests/e2e/test_wrong_moves.py`, which compares them with this page and writes it with `WRITE_WRONG_MOVES=1`).
`~` stands for a folder, capitals for what differs from machine to machine. Exit codes: 0 done; 1 failed, or `doctor`
found something to mend; 2 wrong usage, setting or password; 3 no daemon runs; 4 the chain refused or cannot be reached.

| wrong move | command | what is shown | exit code |
|---|---|---|---:|
"""


@dataclass(slots=True)
class Moves:
    """Rows by their first column, in the order of the tests."""

    bench: Bench
    rows: dict[str, str] = field(default_factory=dict)

    def note(self, move: str, ran: Ran, shown: str | None = None) -> None:
        """One row: what a command showed (its errors, or ``shown``) must be what the page says."""
        words = " ".join(f'"{word}"' if " " in word else word for word in ran.words)
        text = self.bench.normalise(ran.err if shown is None else shown)
        lines = [re.sub(r"\s+", " ", line).strip() for line in text.strip().splitlines() if not line.endswith(" …")]
        cells = (move, f"`p2p-flock {self.bench.normalise(words)}`", "<br>".join(filter(None, lines)), str(ran.code))
        row = "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        self.rows[move] = row
        if not os.environ.get(WRITE_VARIABLE):
            told = next((line for line in PAGE.read_text().splitlines() if line.startswith(f"| {move} |")), None)
            assert row == told, f"write {PAGE.name} anew: {WRITE_VARIABLE}=1"

    def write(self) -> None:
        """The page, where that is asked for."""
        if os.environ.get(WRITE_VARIABLE):
            former = (
                dict(row for line in PAGE.read_text().splitlines() if (row := _row_of(line))) if PAGE.exists() else {}
            )
            PAGE.write_text(HEAD + "\n".join({**former, **self.rows}.values()) + "\n")


def _row_of(line: str) -> tuple[str, str] | None:
    """First column and the whole of a row; ``None`` for the page's other lines."""
    cells = line.split(" | ")
    return (cells[0].removeprefix("| "), line) if len(cells) >= 4 and "`p2p-flock " in line else None


def mended(ran: Ran) -> str:
    """What ``doctor`` says must be mended: the marked lines and their remedies."""
    found: list[str] = []
    takes_remedy = False
    for line in ran.out.splitlines():
        if line.startswith("✗"):
            found.append(line)
            takes_remedy = True
        elif takes_remedy and line.lstrip().startswith("→"):
            found.append(line)
        else:
            takes_remedy = False
    return "\n".join(found)
