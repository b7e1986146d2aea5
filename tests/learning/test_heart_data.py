"""The heart schema: what a member's CSV may hold, and how the testnet deals out the packaged records."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from p2p_flock.errors import DataSchemaError, UsageError
from p2p_flock.learning.schema_report import LISTED_MAX, SchemaMismatchError, SchemaReport
from p2p_flock.learning.tasks.heart_data import (
    COLUMNS,
    HOSPITALS,
    NUMBERS,
    partition_of_node,
    read_records,
    write_partition,
)
from p2p_flock.learning.tasks.table import split_rows

HEADER = [column.name for column in COLUMNS]
HEALTHY = ["50", "130", "220", "150", "0.5", "0", "Male", "non-anginal", "FALSE", "normal", "FALSE", "flat", "normal"]


def rows_of(count: int) -> list[list[str]]:
    """A good file: the header and ``count`` rows, every other one sick."""
    return [HEADER, *([*HEALTHY, str(row % 2)] for row in range(count))]


def write_rows(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def with_cell(row: int, column: str, text: str) -> list[list[str]]:
    """A good file with one cell replaced; ``row`` counts as in a spreadsheet."""
    rows = rows_of(20)
    rows[row - 1][HEADER.index(column)] = text
    return rows


def test_partitions__are_disjoint_and_complete(data_paths: list[Path]) -> None:
    """A record in two members' files would put one's private test into the other's training."""
    dealt = Counter(line for path in data_paths for line in path.read_text().splitlines()[1:])
    whole: Counter[str] = Counter()
    for hospital in HOSPITALS:
        path = data_paths[0].with_name("whole.csv")
        write_partition(hospital, 0, 1, 7, path)
        whole += Counter(path.read_text().splitlines()[1:])
    assert dealt == whole
    assert dealt.total() == 920


def test_partition_of_node__gives_each_hospital_two_of_eight_nodes() -> None:
    """The issue's split: two nodes per hospital at eight nodes; uneven numbers leave no part out."""
    assert Counter(partition_of_node(node, 8)[0] for node in range(8)) == dict.fromkeys(HOSPITALS, 2)
    assert [partition_of_node(node, 6) for node in (0, 2, 4, 5)] == [
        ("Cleveland", 0, 2),
        ("Switzerland", 0, 1),
        ("Cleveland", 1, 2),
        ("Hungary", 1, 2),
    ]


def test_write_partition__same_seed_same_bytes(tmp_path: Path) -> None:
    """Each node writes its own part in its own process: the parts fit together only if the deal is repeatable."""
    paths = [tmp_path / name for name in "abc"]
    for path, seed in zip(paths, (5, 5, 6), strict=True):
        write_partition("Hungary", 1, 2, seed, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes() != paths[2].read_bytes()


@pytest.mark.parametrize(("hospital", "part", "parts"), [("Berlin", 0, 1), ("Hungary", 2, 2), ("Hungary", -1, 2)])
def test_write_partition__bad_arguments(tmp_path: Path, hospital: str, part: int, parts: int) -> None:
    """A typing mistake must not write an empty or a wrong file."""
    with pytest.raises(UsageError):
        write_partition(hospital, part, parts, 1, tmp_path / "x.csv")


def test_split_rows__parts_are_disjoint_and_keep_each_class() -> None:
    """A test record that is also trained on makes a validator's loss worthless."""
    targets = np.array([1.0] * 90 + [0.0] * 3)
    train, test = split_rows(targets, 0.25, "unit", 3)
    assert sorted([*train, *test]) == list(range(93))
    assert (targets[test] == 1.0).sum() == 22  # round half to even
    assert (targets[test] == 0.0).sum() == 1


def test_read_records__zero_pressure_and_cholesterol_are_missing(tmp_path: Path) -> None:
    """All Swiss rows record cholesterol 0; read as a number it would say which hospital, not how sick."""
    rows = with_cell(2, "chol", "0")
    rows[1][HEADER.index("trestbps")] = "0"
    rows[1][HEADER.index("oldpeak")] = "0"
    numbers = read_records(write_rows(tmp_path / "x.csv", rows)).numbers[0]
    missing = {column.name for column, value in zip(NUMBERS, numbers, strict=True) if np.isnan(value)}
    assert missing == {"chol", "trestbps"}


def test_read_records__other_column_order_and_byte_order_mark(tmp_path: Path) -> None:
    """A spreadsheet writes both; the member should not have to care."""
    rows = [row[::-1] for row in rows_of(20)]
    path = write_rows(tmp_path / "x.csv", rows)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_records(path).targets.tolist() == [0.0, 1.0] * 10


BAD_FILES = {
    "empty": ([], ["row 1", "'age' is missing"]),
    "column missing": ([row[1:] for row in rows_of(20)], ["row 1", "'age' is missing"]),
    "column twice": ([[*row, row[0]] for row in rows_of(20)], ["row 1", "'age' occurs twice"]),
    "column unknown": ([[*row, "name"] for row in rows_of(20)], ["row 1", "'name'", "remove it"]),
    "row too short": ([*rows_of(20), HEALTHY], ["row 22", "13 cells", "14"]),
    "too few": (rows_of(11), ["11 records", "at least 12"]),
    "word for a number": (with_cell(5, "age", "old"), ["row 5", "column age", "'old'", "not a number"]),
    "decimal comma": (with_cell(5, "oldpeak", "2,3"), ["row 5", "column oldpeak", "not a number"]),
    "nan": (with_cell(5, "chol", "nan"), ["row 5", "column chol", "not a number"]),
    "out of range": (with_cell(6, "chol", "5000"), ["row 6", "column chol", "50..1000", "mg/dl"]),
    "required number": (with_cell(7, "age", ""), ["row 7", "column age", "empty"]),
    "required outcome": (with_cell(7, "num", " "), ["row 7", "column num", "empty"]),
    "unknown category": (with_cell(8, "sex", "male"), ["row 8", "column sex", "'male'", "'Female', 'Male'"]),
    "huge line": (with_cell(9, "sex", "x" * 5000), ["row 9", "4096 characters"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_read_records__bad_file(tmp_path: Path, case: str) -> None:
    """Every error names row, column and what to do; a silent guess would train on wrong numbers."""
    rows, words = BAD_FILES[case]
    with pytest.raises(DataSchemaError) as caught:
        read_records(write_rows(tmp_path / "x.csv", rows))
    for word in words:
        assert word in str(caught.value)


def test_read_records__unreadable(tmp_path: Path) -> None:
    """A wrong path, a folder, another encoding or broken quotes get a sentence, not a traceback."""
    latin, quotes = tmp_path / "latin.csv", tmp_path / "quotes.csv"
    latin.write_bytes(b"age,\xe9\n")
    quotes.write_text('age,"num"x\n')
    for path, word in ((tmp_path / "none.csv", "no such"), (tmp_path, "read"), (latin, "UTF-8"), (quotes, "not CSV")):
        with pytest.raises(DataSchemaError, match=word):
            read_records(path)


def test_imports__daemon_side_loads_neither_torch_nor_pandas(tmp_path: Path) -> None:
    """The daemon imports these modules: torch would cost each node 220 MB and 2 s beside its keys."""
    program = (
        "import sys\n"
        "sys.argv = ['', '--node', '7', '--nodes', '8', '--seed', '1', '--path', sys.argv[1]]\n"
        "import p2p_flock.learning.worker_client, p2p_flock.learning.task_manifest\n"
        "from p2p_flock.learning.tasks.heart_data import main\n"
        "main()\n"
        "print({'torch', 'pandas'} & sys.modules.keys())"
    )
    path = tmp_path / "out" / "data.csv"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert len(read_records(path).targets) == 99  # VA Long Beach deals out 101 and 99


def report_of(path: Path) -> SchemaReport:
    with pytest.raises(SchemaMismatchError) as caught:
        read_records(path)
    return caught.value.report


def test_report__one_reading_finds_everything(tmp_path: Path) -> None:
    """A member would start its node once for each mistake."""
    rows = rows_of(20)
    rows[3][HEADER.index("age")] = "old"
    rows[3][HEADER.index("sex")] = "FEMALE"
    rows[7] = rows[7][:9]
    rows[9][HEADER.index("chol")] = "220,5"
    rows[0] = [*rows[0][:-1], "Num "]
    report = report_of(write_rows(tmp_path / "x.csv", rows))
    assert [(one.row, one.column, one.remedy) for one in report.listed] == [
        (1, "num", "rename that column to 'num' (one of '0', '1', '2', '3', '4')"),
        (4, "age", "correct it"),
        (4, "sex", "write 'Female'"),
        (8, "", "mend the row"),
        (10, "chol", "write 220.5, with a point"),
    ]
    assert (report.count, report.more) == (5, {})


def test_report__one_bad_column_hides_no_other(tmp_path: Path) -> None:
    """Fifty decimal commas would push the one missing age off the list."""
    rows = rows_of(200)
    for row in rows[1:]:
        row[HEADER.index("oldpeak")] = "0,5"
    rows[190][HEADER.index("age")] = ""
    report = report_of(write_rows(tmp_path / "x.csv", rows))
    assert len(report.listed) == LISTED_MAX
    assert (191, "age") in {(one.row, one.column) for one in report.listed}
    assert (report.count, report.more) == (201, {"oldpeak": 151})


def test_report__never_shows_a_long_value(tmp_path: Path) -> None:
    """A cell that holds a letter about a patient would be printed, and logged."""
    report = report_of(write_rows(tmp_path / "x.csv", with_cell(5, "age", "x" * 30 + "secret" * 50)))
    (one,) = report.listed
    assert len(one.problem) < 80 and one.problem.count("secret") <= 2


@pytest.mark.parametrize(
    ("header", "renamed"),
    [
        ({"chol": "Cholesterol"}, {"chol": "Cholesterol"}),
        ({"trestbps": "trestbp", "thalch": "THALACH"}, {"trestbps": "trestbp", "thalch": "THALACH"}),
        ({"thal": "thal_", "thalch": "thalach"}, {"thal": "thal_", "thalch": "thalach"}),
        ({"ca": "colour"}, {}),
        ({"sex": "gender"}, {}),
    ],
)
def test_report__renamed_columns_are_recognised(
    tmp_path: Path, header: dict[str, str], renamed: dict[str, str]
) -> None:
    """A member would be told to add a column that is there, or to rename one that means something else."""
    rows = [[header.get(name, name) for name in HEADER], *rows_of(20)[1:]]
    report = report_of(write_rows(tmp_path / "x.csv", rows))
    found = {one.column: one.problem for one in report.listed if "the file has" in one.problem}
    assert found.keys() == renamed.keys()
    assert all(repr(have) in found[want] for want, have in renamed.items())


@pytest.mark.parametrize(("separator", "named"), [(";", "';'"), ("\t", "tabs"), ("|", "'|'")])
def test_report__another_separator_is_named(tmp_path: Path, separator: str, named: str) -> None:
    """A spreadsheet of another country would be told fourteen times that a column is missing."""
    path = tmp_path / "x.csv"
    path.write_text("\n".join(separator.join(row) for row in rows_of(20)))
    (one,) = report_of(path).listed
    assert (one.row, one.remedy) == (1, "save it with commas between them") and named in one.problem
