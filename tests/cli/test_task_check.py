"""``p2p-flock task check``: a real worker reads a member's file; no daemon runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2p_flock.cli.trial_words import describe_more, group_mismatches
from p2p_flock.learning.schema_report import Mismatch, SchemaReport
from p2p_flock.learning.tasks.heart_data import write_partition
from tests.cli.conftest import RunCommand


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    write_partition("Cleveland", 0, 2, 1, path)
    return path


def test_check__a_file_that_fits(run: RunCommand, data_path: Path) -> None:
    """A newcomer without a node could not try its data."""
    ran = run("task", "check", "--task", "heart", "--data-path", data_path)
    assert ran.code == 0, ran.err
    assert "The file fits: 114 records to train on, 39 to judge by" in ran.out
    assert "Dry run" not in ran.out


def test_check__every_mismatch_with_row_column_and_remedy(run: RunCommand, data_path: Path) -> None:
    """A member would mend one mistake a try."""
    lines = data_path.read_text().splitlines()
    header = lines[0].split(",")
    lines[0] = lines[0].replace("thalch", "Thalach").replace("chol", "serum")
    cells = lines[4].split(",")
    cells[header.index("age")], cells[header.index("sex")] = "5O", "m"
    lines[4] = ",".join(cells)
    lines[9] += ",more"
    data_path.write_text("\n".join(lines) + "\n")
    ran = run("task", "check", "--task", "heart", "--data-path", data_path, "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["fits"], found["train_count"]) == (2, False, None)
    places = {(one["row"], one["column"]): (one["problem"], one["remedy"]) for one in found["mismatches"]}
    assert found["mismatch_count"] == len(found["mismatches"]) == len(places) == 6
    assert places[1, "thalch"][1].startswith("rename that column to 'thalch' (maximum heart rate per minute, 30 to 250")
    assert places[1, "chol"] == (
        "'chol' is missing",
        "add it (mg/dl serum cholesterol, 50 to 1000); its cells may be empty",
    )
    assert places[1, "serum"] == ("'serum' is not in the schema", "remove it")
    assert places[5, "age"] == ("'5O' is not a number", "correct it")
    assert places[5, "sex"][0] == "'m' is not one of 'Female', 'Male'"
    assert places[10, ""] == ("15 cells, the header has 14", "mend the row")
    ran = run("task", "check", "--task", "heart", "--data-path", data_path)
    assert ran.code == 2 and "6 places do not fit the task heart" in ran.err
    assert "'5O' is not a number" in ran.out


def test_check__takes_task_and_data_from_the_node(run: RunCommand, data_path: Path, tmp_path: Path) -> None:
    """An operator would have to type again what its node is set to, split differently."""
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    settings = '[chain]\nrpc_urls = ["http://127.0.0.1:1"]\nchain_id = 84530\nfactory = "0x{}"\n'.format("12" * 20)
    (home / "config.toml").write_text(
        f'{settings}[learning]\ntask = "heart"\ndata_path = "{data_path}"\ndata_seed = 7\n'
    )
    ran = run("task", "check", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["task"], found["data_path"]) == ("heart", str(data_path))
    assert found["dry_run"]["score_name"] == "AUC" and found["dry_run"]["seconds"] > 0
    assert (home / "logs" / "check.log").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "problem", "remedy"),
    [
        ((), "no task is named", "--data-path"),
        (("--task", "heart"), "no data is named", "--data-path"),
        (("--task", "tarot", "--data-path", "x.csv"), "no task 'tarot' is installed", "pip install"),
        (("--task", "heart", "--data-path", "missing.csv"), "one place does not fit", "task check"),
    ],
)
def test_check__wrong_moves(run: RunCommand, arguments: tuple[str, ...], problem: str, remedy: str) -> None:
    """A newcomer would see a traceback."""
    ran = run("task", "check", *arguments)
    assert ran.code in (1, 2)
    assert problem in ran.err and remedy in ran.err and "Traceback" not in ran.err


def test_mismatches__same_ones_are_one_line() -> None:
    """A decimal comma in every row would fill the screen and hide the renamed column."""
    rows = [Mismatch(row, "oldpeak", "'2,3'", "write 2.3") for row in (4, 5, 6, 9, 11, 13, 15, 17, 19, 21)]
    report = SchemaReport((Mismatch(None, "", "too few", "get more"), *rows), 40, {"oldpeak": 20, "": 7})
    first, second = group_mismatches(report)
    assert (first.rows, first.problem) == ("", "too few")
    assert second.rows == "4-6, 9, 11, 13, 15, 17 and 2 more"
    assert describe_more(report) == [
        "… 20 more in column oldpeak",
        "… 7 more in whole rows",
        "… 2 more in other columns",
    ]
