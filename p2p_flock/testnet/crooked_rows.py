"""Spoils a member's training data as a data attack does: reads its CSV, writes another. For ``crooked_node.py``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from p2p_flock.errors import UsageError
from p2p_flock.learning.task_manifest import Column, base_of
from p2p_flock.learning.tasks import digits_data, heart_data, lending_data
from p2p_flock.learning.tasks.table import Records, Schema, read_table, write_rows
from p2p_flock.testing.byzantine.updates import DATA_ATTACKS

DECIMALS: Final = 6
SCHEMAS: Final[Mapping[str, Schema]] = {
    "heart": heart_data.SCHEMA,
    "lending": lending_data.SCHEMA,
    "digits": digits_data.SCHEMA,
    "digits-1m": digits_data.SCHEMA,
    "digits-50m": digits_data.SCHEMA,
}


def spoil_rows(attack: str, task: str, source: Path, target: Path, seed: int) -> int:
    """Write what the attack makes of the records in ``source``; their number.

    Args:
        attack: of ``DATA_ATTACKS``; it sees the numbers and the classes, categories stay.

    Raises:
        UsageError: nothing is known of this task's columns.
        DataSchemaError: ``source`` is not such a table.
    """
    schema = SCHEMAS.get(base_of(task))
    if schema is None:
        raise UsageError(f"{attack} knows the columns of {', '.join(SCHEMAS)}, not of {task}.")
    records = read_table(source, schema)
    classes = sorted(set(schema.targets))
    labels = np.searchsorted(classes, records.targets).astype(np.int64)
    present = np.nan_to_num(records.numbers)
    rows, flipped = DATA_ATTACKS[attack](present, labels, len(classes), np.random.default_rng(seed))
    numbers = np.where(rows == present, records.numbers, rows)  # what was missing and is untouched stays missing
    for index, column in enumerate(schema.numbers):
        numbers[:, index] = np.clip(numbers[:, index], column.low, column.high)
    targets = np.array(classes)[flipped]
    return write_rows(
        target,
        [column.name for column in schema.columns],
        [_row(schema, Records(numbers, records.categories, targets), place) for place in range(len(targets))],
    )


def _row(schema: Schema, records: Records, place: int) -> dict[str, str]:
    numbers = {c.name: _text(value) for c, value in zip(schema.numbers, records.numbers[place], strict=True)}
    categories = {c.name: _value(c, int(k)) for c, k in zip(schema.categories, records.categories[place], strict=True)}
    outcome = schema.outcome.values[schema.targets.index(float(records.targets[place]))]
    return {**numbers, **categories, schema.outcome.name: outcome}


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")


def _value(column: Column, index: int) -> str:
    return "" if index < 0 else column.values[index]
