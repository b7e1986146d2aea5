"""The dry run and the whole report of mismatches, through a real worker on the heart data."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import trio

from p2p_flock.errors import DataSchemaError, WireError
from p2p_flock.learning.frames import Value
from p2p_flock.learning.results import WorkProgress
from p2p_flock.learning.schema_report import SchemaMismatchError
from p2p_flock.learning.tasks.heart import MANIFEST, HeartTask
from p2p_flock.learning.trial_frames import read_rehearsal, read_report
from p2p_flock.learning.worker_client import WorkerConfig, open_worker

DEADLINE_S = 60.0


def config_for(data_path: Path, folder: Path) -> WorkerConfig:
    return WorkerConfig(task_name="heart", data_path=data_path, log_path=folder / "worker.log", data_seed=1)


def plant(source: Path, path: Path) -> Path:
    """A member's file with a renamed column, a category in lower case, an empty required cell and decimal commas."""
    with source.open(newline="") as file:
        rows = list(csv.reader(file))
    header = rows[0]
    oldpeak = header.index("oldpeak")
    rows[1][header.index("sex")] = "male"
    rows[2][header.index("age")] = ""
    for row in rows[1:]:
        row[oldpeak] = "1,5"
    header[header.index("chol")] = "Cholesterol"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


async def test_worker__rehearses_one_epoch(data_paths: list[Path], tasks: list[HeartTask], tmp_path: Path) -> None:
    """A member would stake without knowing whether its machine keeps up and its data teaches anything."""
    progress = WorkProgress()
    with trio.fail_after(DEADLINE_S):
        async with open_worker(config_for(data_paths[0], tmp_path)) as worker:
            found = await worker.rehearse(progress)
            again = await worker.rehearse()
    data = tasks[0].check_data()
    assert (found.example_count, found.test_count) == (data.train_count, data.test_count)
    assert (found.local_epochs, found.score_name) == (MANIFEST.local_epochs, "AUC")
    assert 0 < found.seconds < DEADLINE_S and found.round_seconds == 5 * found.seconds
    assert found.cpu_seconds > 0 and found.memory_bytes > 50 << 20
    assert found.score_before == 0.5 and found.score_after is not None and found.score_after > 0.6
    assert found.loss_after < found.loss_before
    assert (found.loss_after, found.score_after) == (again.loss_after, again.score_after)
    assert progress.total and not (tmp_path / "update").exists()


async def test_worker__a_bad_file_is_reported_whole(data_paths: list[Path], tmp_path: Path) -> None:
    """A member would mend one mistake a start, or see one column's mistakes only."""
    path = plant(data_paths[0], tmp_path / "bad.csv")
    with trio.fail_after(DEADLINE_S):
        async with open_worker(config_for(path, tmp_path)) as worker:
            with pytest.raises(DataSchemaError, match="'chol' is missing") as caught:
                await worker.check_data()
    assert isinstance(caught.value, SchemaMismatchError)
    report = caught.value.report
    places = {(one.row, one.column) for one in report.listed}
    assert {(1, "chol"), (2, "sex"), (3, "age"), (2, "oldpeak")} <= places
    assert len(report.listed) == 50
    records = len(path.read_text().splitlines()) - 1
    assert report.count == records + 3 and sum(report.more.values()) == report.count - 50
    by_place = {(one.row, one.column): one for one in report.listed}
    assert by_place[1, "chol"].remedy.startswith("rename that column to 'chol' (mg/dl")
    assert by_place[2, "sex"].remedy == "write 'Male'"
    assert by_place[2, "oldpeak"].remedy == "write 1.5, with a point"


def test_frames__broken_answers_are_refused() -> None:
    """A task's broken process would end the command with a traceback."""
    answers: list[dict[str, Value]] = [
        {},
        {"mismatches": [], "count": 1},
        {"mismatches": [1], "count": 1, "more": {}},
        {"mismatches": [{}] * 51, "count": 51, "more": {}},
        {"mismatches": [], "count": 1, "more": {"age": "many"}},
    ]
    for answer in answers:
        with pytest.raises(WireError):
            read_report(answer)
    with pytest.raises(WireError):
        read_rehearsal({"warnings": ["x"] * 101})
