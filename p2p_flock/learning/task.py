"""The task interface: the one class a user writes to have a model trained by an alliance.

Called by the worker process and by ``baseline.py``. A task is a PyTorch model, the reading of the member's data, and
hyperparameters; what it says to the world is vectors. Read ``tasks/heart.py`` for an example from top to bottom. A task
never opens a socket, never reads a peer's bytes other than the vectors it is given, and never changes the data file.
"""

from __future__ import annotations

import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar, Self, cast

import numpy as np
import torch

from p2p_flock.errors import LocalProtocolError, TaskError
from p2p_flock.learning.results import LOSS_MAX, DataReport, EvaluateResult, Float32, Float64, TrainResult
from p2p_flock.learning.task_manifest import TaskManifest
from p2p_flock.learning.vectorize import load_vector, to_vector

ENTRY_POINT_GROUP = "p2p_flock.tasks"


class Task(ABC):
    """A model and a member's data, split into a training part and a private test part that is never trained on.

    A subclass gives the abstract methods; training and evaluation follow from them. ``statistics`` below always means
    the decoded secure sum of round 0, float64 of shape (S,), from which every node derives the same preprocessing.
    """

    name: ClassVar[str]
    version: ClassVar[str]

    @classmethod
    @abstractmethod
    def open(cls, data_path: Path, data_seed: int) -> Self:
        """Read the member's data and split it; ``data_seed`` decides the split and must stay the same for ever.

        Raises:
            DataSchemaError: the data does not fit; names row, column and remedy.
        """

    @classmethod
    @abstractmethod
    def pool(cls, tasks: Sequence[Self]) -> Self:
        """All members' training parts and all test parts together: for references in a report, never in a node."""

    @abstractmethod
    def manifest(self) -> TaskManifest:
        """The public description; must not depend on the data."""

    @abstractmethod
    def check_data(self) -> DataReport:
        """Counts and warnings about the member's data."""

    @abstractmethod
    def init(self) -> torch.nn.Module:
        """The untrained model, with the same bits on every machine."""

    @abstractmethod
    def statistics(self) -> Float64:
        """Local sums over the training part, shape (S,), each at most ``manifest().statistics_clip`` in size."""

    @abstractmethod
    def judge_statistics(self, statistics: Float64) -> tuple[bool, str]:
        """Whether a cohort's opened sum is plausible beside the own data, and the reason when it is not."""

    @abstractmethod
    def tensors(self, statistics: Float64, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs (n, …) and targets (n, …) of the part ``"train"`` or ``"test"``, preprocessed by ``statistics``."""

    @abstractmethod
    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss as a scalar tensor, differentiable."""

    @abstractmethod
    def score(self, outputs: Float64, targets: Float64) -> float | None:
        """A score that people know (higher is better), or None where it is undefined on this data."""

    def initial_parameters(self) -> Float64:
        """The vector of :meth:`init`, float64 of shape (D,)."""
        return to_vector(self.init()).astype(np.float64)

    def train(self, statistics: Float64, parameters: Float64, seed: int, epochs: int | None = None) -> TrainResult:
        """Run ``manifest().local_epochs`` (or ``epochs``) passes over the training part.

        The same arguments and data give the same bits on the same machine: one thread, and ``seed`` decides the order
        of the batches and everything the model draws at random.

        Raises:
            TaskError: the training diverged.
        """
        started = time.perf_counter()
        inputs, targets = self.tensors(statistics, "train")
        model = self.init()
        load_vector(model, parameters)
        before = to_vector(model)
        loss_before = self._loss_of(model, inputs, targets)
        fit(model, inputs, targets, self, epochs or self.manifest().local_epochs, seed)
        update = to_vector(model) - before
        if not bool(np.isfinite(update).all()):
            raise TaskError(f"training with seed {seed} diverged: lower the task's learning rate or check the data")
        loss_after = self._loss_of(model, inputs, targets)
        return TrainResult(update, len(inputs), loss_before, loss_after, time.perf_counter() - started)

    def evaluate(self, statistics: Float64, before: Float64, candidates: Sequence[Float64]) -> EvaluateResult:
        """Judge the current parameters and each candidate on the private test part; never raises on their values."""
        started = time.perf_counter()
        inputs, targets = self.tensors(statistics, "test")
        model = self.init()
        losses, scores = [], []
        for parameters in (before, *candidates):
            load_vector(model, parameters)
            losses.append(self._loss_of(model, inputs, targets))
            scores.append(self.score(outputs_of(model, inputs), targets.double().numpy()))
        seconds = time.perf_counter() - started
        return EvaluateResult(losses[0], tuple(losses[1:]), scores[0], tuple(scores[1:]), len(inputs), seconds)

    def predict(self, statistics: Float64, parameters: Float64) -> tuple[Float64, Float64]:
        """Model outputs and targets on the private test part, for scores over several members in a report."""
        inputs, targets = self.tensors(statistics, "test")
        model = self.init()
        load_vector(model, parameters)
        return outputs_of(model, inputs), targets.double().numpy()

    def _loss_of(self, model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        model.eval()
        with torch.no_grad():
            loss = float(self.loss(model(inputs), targets))
        return LOSS_MAX if math.isnan(loss) else min(max(loss, 0.0), LOSS_MAX)


def fit(
    model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor, task: Task, epochs: int, seed: int
) -> None:
    """Plain SGD over shuffled mini-batches, in place.

    The step is written out because the first use of ``torch.optim`` imports torch's compiler: 1.6 s and 84 MB in
    every node, measured with torch 2.13.
    """
    manifest = task.manifest()
    torch.manual_seed(seed)  # what the model itself draws, such as dropout
    order = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(inputs), generator=order), manifest.batch_size):
            loss = task.loss(model(inputs[batch]), targets[batch])
            parameters = [p for p in model.parameters() if p.requires_grad]
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(manifest.learning_rate * gradient)


def outputs_of(model: torch.nn.Module, inputs: torch.Tensor) -> Float64:
    """The model's outputs in evaluation mode, float64."""
    model.eval()
    with torch.no_grad():
        return cast(Float64, model(inputs).double().numpy())


def digest_parameters(parameters: Float64 | Float32) -> str:
    """Hex sha-256 over the float64 little-endian bytes."""
    return hashlib.sha256(parameters.astype("<f8").tobytes()).hexdigest()


def check_statistics_shape(statistics: Float64, count: int) -> None:
    """Raises LocalProtocolError unless the shape is (count,): lengths are checked before a vector gets here."""
    if statistics.shape != (count,):
        raise LocalProtocolError(f"the task has {count} statistics, the vector has shape {statistics.shape}")


def find_task(name: str) -> type[Task]:
    """The installed task of that name.

    Raises:
        TaskError: none is installed under the name, or what is installed is no task.
    """
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        raise TaskError(f"no task {name!r} is installed (found: {', '.join(sorted(found)) or 'none'}); pip install it")
    kind = found[name].load()
    if not (isinstance(kind, type) and issubclass(kind, Task) and kind.name == name):
        raise TaskError(f"the entry point {name!r} does not name a Task whose name is {name!r}: update that package")
    return kind


def prepare_torch() -> None:
    """One thread and deterministic kernels, so that a run can be repeated bit for bit. Call once per process."""
    torch.set_num_threads(1)
    # On one CPU thread the kernels are deterministic as they are, and this call imports torch's compiler: 1.9 s and
    # 72 MB in every node, measured with torch 2.13.
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
