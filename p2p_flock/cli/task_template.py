"""The files that ``p2p-flock task new`` writes. Pure text; ``learning/TASKS.md`` shows the same module."""

from __future__ import annotations

import re
from typing import Final

from p2p_flock.errors import UsageError

NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
NAME_CHARACTERS_MAX: Final = 48
EXAMPLE_RECORDS: Final = 60

_MODULE = '''\
"""The task {name}: say here what is learned, from which data, and what you measured."""

from pathlib import Path

import numpy as np
import torch

from p2p_flock.learning.task import Arrays, Task, Training
from p2p_flock.learning.task_manifest import Column
from p2p_flock.learning.tasks.table import Schema, read_table
from p2p_flock.learning.vectorize import initialise

SCHEMA = Schema(
    numbers=(
        Column("width", "number", "mm", 0.0, 100.0, required=True),
        Column("height", "number", "mm", 0.0, 100.0, required=True),
    ),
    categories=(),
    outcome=Column("shape", "category", values=("flat", "tall"), required=True),
    targets=(0.0, 1.0),
)


class {kind}(Task):
    name, version, score_name = "{name}", "1", "accuracy"
    columns = SCHEMA.columns
    training = Training(learning_rate=0.5, batch_size=8, clip_norm=4.0, local_epochs=5)

    @classmethod
    def read(cls, data_path: Path) -> Arrays:
        records = read_table(data_path, SCHEMA)
        return records.numbers / 100, records.targets.astype(np.int64)

    def init(self) -> torch.nn.Module:
        network = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        return initialise(network, seed=0)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(outputs, targets)

    def score(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        return float(np.mean(outputs.argmax(axis=1) == targets))
'''

_TEST = '''\
"""The task keeps the rules that an alliance relies on, and it learns."""

from pathlib import Path

from {module} import {kind}

from p2p_flock.learning.check import check_task, train_together

EXAMPLE = Path(__file__).parent / "example.csv"


def test_task__keeps_the_rules() -> None:
    check_task({kind}, EXAMPLE)


def test_task__learns() -> None:
    scores = train_together({kind}, [EXAMPLE] * 4, rounds=10)
    assert scores[-1] >= 0.9
'''

_PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "p2p-flock-task-{name}"
version = "1"
description = "The task {name} for alliances of p2p_flock."
requires-python = ">=3.11"
dependencies = ["p2p-flock"]

[project.entry-points."p2p_flock.tasks"]
{name} = "{module}:{kind}"

[tool.setuptools]
py-modules = ["{module}"]
"""

_README = """\
# The task {name}

```sh
pip install -e .            # into the environment of p2p_flock; `p2p-flock task list` then shows it
pytest                      # the rules an alliance relies on, and that it learns
python -m p2p_flock.testnet --task {name} --data DIR --nodes 6   # a network on this machine; DIR: one file per member
```

`{module}.py` is the task, `example.csv` the form of a member's data. Every member of an alliance installs the same
version: any change of the model, the columns or the hyperparameters is another task to the alliance. Change `version`
whenever the code changes what is computed.
"""


def render_task(name: str) -> dict[str, str]:
    """File names and contents of a new task's package.

    Raises:
        UsageError: the name cannot be one of an entry point and a package.
    """
    if len(name) > NAME_CHARACTERS_MAX or NAME.fullmatch(name) is None:
        raise UsageError(
            f"{name!r} is no name for a task\n"
            f"use small letters, digits and single dashes, from a letter on, at most {NAME_CHARACTERS_MAX} characters"
        )
    module = name.replace("-", "_") + "_task"
    kind = "".join(part.capitalize() for part in name.split("-")) + "Task"
    texts = {
        f"{module}.py": _MODULE,
        f"test_{module}.py": _TEST,
        "pyproject.toml": _PROJECT,
        "README.md": _README,
    }
    files = {path: text.format(name=name, module=module, kind=kind) for path, text in texts.items()}
    return {**files, "example.csv": _example()}


def _example() -> str:
    lines = ["width,height,shape"]
    for index in range(EXAMPLE_RECORDS):
        width, height = index * 37 % 100, index * 61 % 100
        lines.append(f"{width},{height},{'tall' if height > width else 'flat'}")
    return "\n".join(lines) + "\n"
