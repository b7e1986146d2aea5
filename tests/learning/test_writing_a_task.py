"""Writing a task: the documented example trains, and the checks see what a newcomer gets wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from p2p_flock.cli.task_template import render_task
from p2p_flock.errors import LocalProtocolError, TaskError
from p2p_flock.learning.check import check_task, train_together
from p2p_flock.learning.results import Float64
from p2p_flock.learning.task import Arrays, Task, Training
from p2p_flock.learning.task_manifest import manifest_from_plain
from p2p_flock.learning.tasks.heart import HeartTask
from p2p_flock.learning.vectorize import initialise
from tests.learning.loading import load_module

DOCUMENT = Path(__file__).resolve().parents[2] / "p2p_flock" / "learning" / "TASKS.md"


class LineTask(Task):
    """Fits a line; its targets are no classes."""

    name: ClassVar[str] = "line"
    version: ClassVar[str] = "1"
    training: ClassVar[Training] = Training(learning_rate=0.1, batch_size=4, clip_norm=2.0)

    @classmethod
    def read(cls, data_path: Path) -> Arrays:
        inputs = np.linspace(0, 1, 20).reshape(-1, 1)
        return inputs, 2 * inputs[:, 0]

    def init(self) -> torch.nn.Module:
        return initialise(torch.nn.Linear(1, 1), seed=3)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return ((outputs[:, 0] - targets) ** 2).mean()

    def score(self, outputs: Float64, targets: Float64) -> float | None:
        return -float(np.mean((outputs[:, 0] - targets) ** 2))


def test_example__of_the_document_is_what_the_command_writes_and_it_trains(tmp_path: Path) -> None:
    """A newcomer's first copy and paste would fail."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    files = render_task("parts")
    assert code == files["parts_task.py"]
    (tmp_path / "example.csv").write_text(files["example.csv"])
    (tmp_path / "parts_task.py").write_text(code)
    kind = load_module(tmp_path / "parts_task.py").PartsTask
    check_task(kind, tmp_path / "example.csv")
    scores = train_together(kind, [tmp_path / "example.csv"] * 4, rounds=10)
    assert scores[-1] is not None
    assert scores[-1] >= 0.9


def test_defaults__regression_is_split_and_learns(tmp_path: Path) -> None:
    """Targets that are no classes would each be a class of one record, and nothing would be left to test on."""
    task = LineTask.open(tmp_path, 1)
    assert (task.check_data().train_count, task.check_data().test_count) == (16, 4)
    check_task(LineTask, tmp_path)
    first, *_, last = train_together(LineTask, [tmp_path] * 3, rounds=20)
    assert first is not None and last is not None and last > first / 2
    assert task.manifest() == manifest_from_plain(task.manifest().to_plain())


def test_defaults__nothing_says_how_data_is_read(tmp_path: Path) -> None:
    """The newcomer would see a traceback from inside the worker."""

    class Unread(LineTask):
        name: ClassVar[str] = "unread"

        @classmethod
        def read(cls, data_path: Path) -> Arrays:
            return super(LineTask, cls).read(data_path)

    with pytest.raises(LocalProtocolError, match="'unread' defines neither read nor open"):
        Unread.open(tmp_path, 1)


def test_defaults__implausible_statistics_are_refused(tmp_path: Path) -> None:
    """Round 0 would adopt the sum of nobody."""
    task = LineTask.open(tmp_path, 1)
    assert task.statistics().tolist() == [16.0]
    assert task.judge_statistics(np.array([48.0])) == (True, "")
    for value in (0.0, -1.0, np.nan, np.inf):
        assert not task.judge_statistics(np.array([value]))[0]


class DrawnByTorch(LineTask):
    name: ClassVar[str] = "drawn"

    def init(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 1)


class Clipped(LineTask):
    name: ClassVar[str] = "clipped"
    training: ClassVar[Training] = Training(learning_rate=0.1, batch_size=4, clip_norm=0.01)


class Unbounded(LineTask):
    name: ClassVar[str] = "unbounded"

    def statistics(self) -> Float64:
        return np.array([1e9])


class Credulous(LineTask):
    name: ClassVar[str] = "credulous"

    def judge_statistics(self, statistics: Float64) -> tuple[bool, str]:
        return True, ""


class Forgetful(LineTask):
    name: ClassVar[str] = "forgetful"

    def statistics(self) -> Float64:
        return np.array([1.0, 2.0])


class Restless(LineTask):
    name: ClassVar[str] = "restless"
    draw: ClassVar[np.random.Generator] = np.random.default_rng(1)

    def tensors(self, statistics: Float64, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, targets = super().tensors(statistics, part)
        return inputs + float(self.draw.normal()), targets


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (DrawnByTorch, "differs on this machine"),
        (Clipped, "not clipped"),
        (Unbounded, "statistics_clip"),
        (Credulous, "no numbers are refused"),
        (Forgetful, "statistics_count"),
        (Restless, "same bits"),
    ],
)
def test_check__sees_a_broken_rule(tmp_path: Path, kind: type[Task], rule: str) -> None:
    """The rule would be broken in an alliance first, where it costs everybody a round."""
    with pytest.raises(TaskError, match=rule):
        check_task(kind, tmp_path)


def test_check__heart_keeps_the_rules(data_paths: list[Path]) -> None:
    """A rule that a task of ours breaks is no rule."""
    check_task(HeartTask, data_paths[0])


def test_initialise__bounds_and_bits() -> None:
    """Weights beyond 1/√fan-in do not train; other bits on another machine would split the alliance."""
    model = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 3))
    initialise(model, seed=5)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert float(np.abs(state["0.weight"]).max()) < 1 / 4
    assert float(np.abs(state["0.weight"]).mean()) == pytest.approx(1 / 8, rel=0.2)
    assert not state["0.bias"].any() and not state["1.bias"].any()
    assert (state["1.weight"] == 1).all()
    assert state["0.weight"][0, :2].tobytes().hex() == "94e3ae3d56291c3e"
