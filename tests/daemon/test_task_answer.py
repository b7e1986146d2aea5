"""What ``alliance.show`` tells of the node's own task and data: asked of the worker once, a refusal again."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from p2p_flock.daemon.config import LearningSettings
from p2p_flock.daemon.task_answer import COLUMNS_SHOWN_MAX, PROBLEMS_MAX, OwnTaskAnswers, describe_task
from p2p_flock.errors import DataSchemaError, P2PFlockError, TaskError
from p2p_flock.learning.results import DataReport
from p2p_flock.learning.task_manifest import Column, TaskManifest
from p2p_flock.learning.worker_client import Worker

MANIFEST = TaskManifest(
    name="parts",
    version="1",
    model="linear",
    loss="log-loss",
    optimiser="SGD",
    preprocessing="none",
    statistics_count=1,
    parameter_count=3,
    statistics_clip=4096.0,
    clip_norm=1.0,
    local_epochs=2,
    batch_size=8,
    learning_rate=0.1,
    test_ratio=0.2,
    initial_parameters_sha256="ab" * 32,
    columns=tuple(Column(f"width{number}", "number", "mm", 0.0, 9.0) for number in range(300)),
)
REPORT = DataReport(80, 20, 0.5, 0.5, tuple(f"problem {number}" for number in range(150)))


class FakeWorker:
    """Answers, or refuses for as long as ``error`` is set; counts the questions."""

    def __init__(self, error: P2PFlockError | None = None) -> None:
        self.error, self.asked, self.score_name = error, 0, "accuracy"

    async def manifest(self) -> TaskManifest:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return MANIFEST

    async def check_data(self) -> DataReport:
        return REPORT


def answers_of(worker: FakeWorker | None) -> OwnTaskAnswers:
    settings = LearningSettings(task="parts", data_path=Path("/data/parts.csv"), data_seed=(1 << 63) - 1)
    return OwnTaskAnswers(cast("Worker | None", worker), settings)


async def test_look__asks_once() -> None:
    """Whoever looks at an alliance would wait for hours, until the worker's training is over."""
    worker = FakeWorker()
    answers = answers_of(worker)
    own = await answers.look()
    assert (await answers.look()) is own and worker.asked == 1
    assert own.manifest is not None and own.manifest.parameter_count == 3
    data = answers.describe_data(own)
    assert (data["task"], data["path"], data["seed"]) == ("parts", "/data/parts.csv", str((1 << 63) - 1))
    assert (data["train_count"], data["test_count"], len(data["problems"])) == (80, 20, PROBLEMS_MAX)
    assert (data["error"], data["error_is_of_data"]) == (None, False)


@pytest.mark.parametrize(("error", "is_of_data"), [(DataSchemaError("row 2: mend it"), True), (TaskError("no"), False)])
async def test_look__a_refusal_is_asked_again(error: P2PFlockError, is_of_data: bool) -> None:
    """A mended file would be seen after a restart only; a file that does not fit be told as a missing task."""
    worker = FakeWorker(error)
    answers = answers_of(worker)
    own = await answers.look()
    assert own.manifest is None and describe_task(own) is None
    data = answers.describe_data(own)
    assert (data["error"], data["error_is_of_data"], data["train_count"]) == (str(error), is_of_data, None)
    worker.error = None
    assert (await answers.look()).manifest is not None and worker.asked == 2


async def test_look__without_a_worker() -> None:
    """A node that only looks around could not show an alliance."""
    answers = answers_of(None)
    own = await answers.look()
    assert own.manifest is None and own.error is None and describe_task(own) is None


async def test_task__is_described_within_bounds() -> None:
    """A task with thousands of columns would make the answer longer than a reply may be."""
    found = describe_task(await answers_of(FakeWorker()).look())
    assert found is not None
    assert (found["column_count"], len(found["columns"])) == (300, COLUMNS_SHOWN_MAX)
    assert (found["score_name"], found["local_epochs"], found["has_holdout"]) == ("accuracy", 2, False)
    assert found["columns"][0]["unit"] == "mm"
