"""The lending task: its schema, and loans that are converted before a node sees them."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from p2p_flock.errors import DataSchemaError, UsageError
from p2p_flock.learning.check import check_task, train_together
from p2p_flock.learning.tasks.lending import LendingTask
from p2p_flock.learning.tasks.lending_data import SCHEMA, write_partition

NAMES = [column.name for column in SCHEMA.columns]


def write_loans(path: Path, seed: int, count: int = 200) -> Path:
    """Made-up loans: the dearer, the worse."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)
        for _ in range(count):
            rate = draw.uniform(5, 25)
            is_bad = draw.random() < (rate / 25) ** 4
            values = {
                column.name: round(max(0, draw.gauss(column.center, column.scale)), 2) for column in SCHEMA.numbers
            }
            values["int_rate"] = round(rate, 2)
            categories = [draw.choice(column.values) for column in SCHEMA.categories]
            writer.writerow([*values.values(), *categories, "bad" if is_bad else "good"])
    return path


def test_lending__keeps_the_rules_and_learns(tmp_path: Path) -> None:
    """The task would break a round of an alliance, or learn nothing from what is known to matter."""
    paths = [write_loans(tmp_path / f"{member}.csv", member) for member in range(4)]
    check_task(LendingTask, paths[0])
    scores = train_together(LendingTask, paths, rounds=5)
    assert scores[-1] is not None
    assert scores[-1] > 0.75


def test_lending__names_row_column_and_remedy(tmp_path: Path) -> None:
    """A bank's clerk mends the file only if told where."""
    path = write_loans(tmp_path / "loans.csv", 1)
    lines = path.read_text().splitlines()
    lines[4] = lines[4].replace("term_", "months_")
    path.write_text("\n".join(lines))
    with pytest.raises(DataSchemaError, match=r"row 5, column term: 'months_\d\d' is not one of 'term_36', 'term_60'"):
        LendingTask.open(path, 1)


def test_partition__needs_the_converted_loans(tmp_path: Path) -> None:
    """Whoever asks for lending first must be told what to run, and a damaged file must not be dealt out."""
    source = tmp_path / "source.csv"
    with pytest.raises(UsageError, match="run scripts/convert_lending once"):
        write_partition(0, tmp_path / "x.csv", source)
    source.write_text("addr_state\nCA\n")
    with pytest.raises(DataSchemaError, match="not the expected data; remove it"):
        write_partition(0, tmp_path / "x.csv", source)
