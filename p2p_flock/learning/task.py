"""The task interface: the one class a user writes to have a model trained by an alliance.

Called by the worker process and by ``baseline.py``. A task is a PyTorch model, the reading of the member's data, and
hyperparameters; what it says to the world is vectors. ``tasks/digits.py`` is an example to be read from top to bottom,
and ``p2p-flock task new`` writes a first version of yours. A task never opens a socket, never reads a peer's bytes
other than the vectors it is given, and never changes the data file.
"""

from __future__ import annotations

import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path
from typing import ClassVar, Final, Self, cast

import numpy as np
import numpy.typing as npt
import torch

from p2p_flock.errors import LocalProtocolError, TaskError
from p2p_flock.learning.privacy import DELTA
from p2p_flock.learning.results import LOSS_MAX, DataReport, EvaluateResult, Float32, Float64, TrainResult
from p2p_flock.learning.task_manifest import ENTRY_POINT_GROUP, Column, TaskManifest, Variant, read_variant
from p2p_flock.learning.tasks.table import split_rows
from p2p_flock.learning.vectorize import load_vector, subtract_vector, to_vector

COUNT_CLIP: Final = 4096.0  # of the default statistic; 2^18 levels are steps of 1/64 record, finer by weight_max
DIGESTED_AT_ONCE: Final = 1 << 20  # parameters; bounds the copy
Arrays = tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Training:
    """How a member trains in one round; all of it is in the manifest, so all members do the same.

    Attributes:
        clip_norm: an update longer than this (L2) is scaled down to it. A coordinate is encoded in steps of
            ``clip_norm`` / levels (2^18 in the testnet), so a few times the usual length is right: see the report.
        test_ratio: part of a member's records that is never trained on.
        examples_per_weight: example counts are declared in steps of this.
    """

    learning_rate: float
    batch_size: int
    clip_norm: float
    local_epochs: int = 1
    test_ratio: float = 0.2
    examples_per_weight: int = 8


class Task(ABC):
    """A model and a member's data, split into a training part and a private test part that is never trained on.

    A subclass gives ``name``, ``version``, ``training`` and the three abstract methods, and says how its data is read:
    either :meth:`read`, and everything else has a default, or its own :meth:`open` with whatever that one keeps.
    ``statistics`` below always means the decoded secure sum of round 0, float64 of shape (S,), from which every node
    derives the same preprocessing.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    score_name: ClassVar[str] = "score"  # what :meth:`score` is called, for tables and reports
    training: ClassVar[Training]
    columns: ClassVar[tuple[Column, ...]] = ()
    # Set by the worker: told (done, total), in batches while it trains, in models while it judges. Changes nothing.
    on_progress: Callable[[int, int], None] | None = None
    base_name: ClassVar[str] = ""  # of a private variant: the task it was made of, whose split of the data it keeps

    def __init__(self, parts: Mapping[str, Arrays]) -> None:
        """Keep inputs and targets of "train" and "test"; only the defaults of this class look at them."""
        self.parts = dict(parts)

    @classmethod
    def open(cls, data_path: Path, data_seed: int) -> Self:
        """Read the member's data and split it; ``data_seed`` decides the split and must stay the same for ever.

        Default: :meth:`read`, of which ``training.test_ratio`` of each class (of all records, where the targets are
        not whole numbers) become the test part.

        Raises:
            DataSchemaError: the data does not fit; names row, column and remedy.
        """
        inputs, targets = cls.read(data_path)
        classes = targets.astype(np.float64) if np.issubdtype(targets.dtype, np.integer) else np.zeros(len(targets))
        train, test = split_rows(classes, cls.training.test_ratio, f"{cls.base_name or cls.name} test", data_seed)
        return cls({"train": (inputs[train], targets[train]), "test": (inputs[test], targets[test])})

    @classmethod
    def read(cls, data_path: Path) -> Arrays:
        """Inputs (n, …) and targets (n, …) of the member's file; whole-numbered targets are classes.

        Raises:
            DataSchemaError: as :meth:`open`.
        """
        raise LocalProtocolError(f"the task {cls.name!r} defines neither read nor open")

    @classmethod
    def pool(cls, tasks: Sequence[Self]) -> Self:
        """All members' training parts and all test parts together: for references in a report, never in a node."""
        pairs = {part: [task.parts[part] for task in tasks] for part in ("train", "test")}
        return cls(
            {part: (np.concatenate([x for x, _ in p]), np.concatenate([y for _, y in p])) for part, p in pairs.items()}
        )

    def holdout(self) -> Arrays | None:
        """Public inputs and targets by which every validator judges beside its own; ``None`` without any.

        They ship with the task, are in no member's data, and the manifest holds their digest. A task wants them where
        a member's own records say little about the whole, as with two classes of ten.
        """
        return None

    def manifest(self) -> TaskManifest:
        """The public description; must not depend on the data."""
        return describe(self)

    def check_data(self) -> DataReport:
        """Counts and warnings about the member's data."""
        counts = {part: len(self.tensors(np.zeros(self.manifest().statistics_count), part)[1]) for part in self.parts}
        problems = [f"the {part} part is empty" for part, count in counts.items() if not count]
        return DataReport(counts["train"], counts["test"], 0.0, 0.0, tuple(problems))

    @abstractmethod
    def init(self) -> torch.nn.Module:
        """The untrained model, with the same bits on every machine: see :func:`vectorize.initialise`."""

    def blank(self) -> torch.nn.Module:
        """A model of the same shape whose weights are about to be overwritten; for tasks whose ``init`` is slow."""
        return self.init()

    def statistics(self) -> Float64:
        """Local sums over the training part, shape (S,), each at most ``manifest().statistics_clip`` in size.

        Default: the number of records, S = 1. What preprocessing does not need is better not collected.
        """
        return np.array([min(float(len(self.parts["train"][1])), COUNT_CLIP)])

    def public_statistics(self) -> Float64:
        """What a member of a private alliance gives in place of :meth:`statistics`, shape (S,): the same for everybody.

        Public constants, from which preprocessing follows as it would from sums. Noise that hides a member in a handful
        of sums would leave nothing of them, so in a private alliance round 0 tells nothing about anybody's data.
        Default: one record, which fits the default of :meth:`statistics`.

        Raises:
            TaskError: the task collects statistics of its own and names no constants in their place.
        """
        if self.manifest().statistics_count != 1:
            raise TaskError(f"the task {self.name!r} has no public_statistics: no private alliance can train it")
        return np.ones(1)

    def judge_statistics(self, statistics: Float64) -> tuple[bool, str]:
        """Whether a cohort's opened sum is plausible beside the own data, and the reason when it is not."""
        if not (bool(np.isfinite(statistics).all()) and float(statistics[0]) >= 1):
            return False, f"the cohort claims {statistics[0]:g} training records"
        return True, ""

    def tensors(self, statistics: Float64, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs (n, …) and targets (n, …) of the part "train", "test" or "holdout", preprocessed by ``statistics``.

        Default: float32 as they are; targets int64 if they are whole numbers.
        """
        check_statistics_shape(statistics, self.manifest().statistics_count)
        public = self.holdout() if part == "holdout" else None
        inputs, targets = public or self.parts[part]
        kind = np.int64 if np.issubdtype(targets.dtype, np.integer) else np.float32
        return torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(targets.astype(kind))

    @abstractmethod
    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss as a scalar tensor, differentiable."""

    @abstractmethod
    def score(self, outputs: Float64, targets: Float64) -> float | None:
        """A score that people know (higher is better), or None where it is undefined on this data."""

    def initial_parameters(self) -> Float64:
        """The vector of :meth:`init`, float64 of shape (D,).

        Raises:
            TaskError: other bits than the manifest promises; this node would train another model than the rest.
        """
        parameters = to_vector(self.init()).astype(np.float64)
        if digest_parameters(parameters) != self.manifest().initial_parameters_sha256:
            raise TaskError(
                f"the initial model of {self.name!r} differs on this machine: it must not be drawn by torch"
            )
        return parameters

    def train(self, statistics: Float64, parameters: Float64, seed: int, epochs: int | None = None) -> TrainResult:
        """Run ``manifest().local_epochs`` (or ``epochs``) passes over the training part.

        The same arguments and data give the same bits on the same machine: one thread, and ``seed`` decides the order
        of the batches and everything the model draws at random.

        Raises:
            TaskError: the training diverged.
        """
        started = time.perf_counter()
        inputs, targets = self.tensors(statistics, "train")
        model = self.blank()
        load_vector(model, parameters)
        loss_before = self._loss_of(model, inputs, targets)
        fit(model, inputs, targets, self, epochs or self.manifest().local_epochs, seed)
        update = to_vector(model)
        subtract_vector(update, parameters)
        if not bool(np.isfinite(update).all()):
            raise TaskError(f"training with seed {seed} diverged: lower the task's learning rate or check the data")
        loss_after = self._loss_of(model, inputs, targets)
        return TrainResult(update, len(inputs), loss_before, loss_after, time.perf_counter() - started)

    def evaluate(self, statistics: Float64, before: Float64, candidates: Sequence[Float64]) -> EvaluateResult:
        """Judge the current parameters and each candidate on the private test part and the public holdout together.

        Never raises on their values.
        """
        started = time.perf_counter()
        inputs, targets = self.tensors(statistics, "test")
        if self.manifest().holdout_sha256:
            public = self.tensors(statistics, "holdout")
            inputs, targets = torch.cat([inputs, public[0]]), torch.cat([targets, public[1]])
        results = []
        for parameters in chain((before,), candidates):
            results.append(self._judge(parameters, inputs, targets))
            if self.on_progress is not None:
                self.on_progress(len(results), 1 + len(candidates))
        losses, scores = [loss for loss, _ in results], [score for _, score in results]
        seconds = time.perf_counter() - started
        return EvaluateResult(losses[0], tuple(losses[1:]), scores[0], tuple(scores[1:]), len(inputs), seconds)

    def measure(self, statistics: Float64, parameters: Float64) -> tuple[float, float | None]:
        """Loss and score that a report shows: on the public holdout where there is one, else on the test part.

        Asked of the pool of all members, whose test part is that of all of them.
        """
        part = "holdout" if self.manifest().holdout_sha256 else "test"
        return self._judge(parameters, *self.tensors(statistics, part))

    def measured_count(self) -> int:
        """Records that :meth:`measure` looks at."""
        public = self.holdout()
        return self.check_data().test_count if public is None else len(public[1])

    def _judge(self, parameters: Float64, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[float, float | None]:
        model = self.blank()
        load_vector(model, parameters)
        loss = self._loss_of(model, inputs, targets)
        return loss, self.score(outputs_of(model, inputs), targets.double().numpy())

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
    done, total = 0, epochs * math.ceil(len(inputs) / manifest.batch_size)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(inputs), generator=order), manifest.batch_size):
            loss = task.loss(model(inputs[batch]), targets[batch])
            parameters = [p for p in model.parameters() if p.requires_grad]
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(gradient.mul_(manifest.learning_rate))  # in place: a large layer's copy is large
            del gradients, gradient  # before the next ones are made, for the same reason
            done += 1
            if task.on_progress is not None:
                task.on_progress(done, total)


def outputs_of(model: torch.nn.Module, inputs: torch.Tensor) -> Float64:
    """The model's outputs in evaluation mode, float64."""
    model.eval()
    with torch.no_grad():
        return cast(Float64, model(inputs).double().numpy())


def describe(task: Task) -> TaskManifest:
    """The manifest that follows from a task's class attributes and initial model; computed once per class."""
    kind = type(task)
    if kind not in _MANIFESTS:
        model = task.init()
        vector = to_vector(model)
        shapes = ", ".join(f"{name} {'x'.join(map(str, tensor.shape))}" for name, tensor in model.state_dict().items())
        public = task.holdout()
        _MANIFESTS[kind] = TaskManifest(
            name=kind.name,
            version=kind.version,
            model=shapes,
            loss=f"as in {kind.__qualname__} of this version",
            optimiser="SGD without momentum, fresh each round",
            preprocessing=f"as in {kind.__qualname__} of this version",
            statistics_count=1,
            parameter_count=len(vector),
            statistics_clip=COUNT_CLIP,
            clip_norm=kind.training.clip_norm,
            local_epochs=kind.training.local_epochs,
            batch_size=kind.training.batch_size,
            learning_rate=kind.training.learning_rate,
            test_ratio=kind.training.test_ratio,
            initial_parameters_sha256=digest_parameters(vector),
            columns=kind.columns,
            examples_per_weight=kind.training.examples_per_weight,
            holdout_sha256="" if public is None else digest_arrays(public),
        )
    return _MANIFESTS[kind]


_MANIFESTS: Final[dict[type[Task], TaskManifest]] = {}


def digest_arrays(arrays: Arrays) -> str:
    """Hex sha-256 over shapes and float64 little-endian bytes of inputs and targets."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode() + array.astype("<f8").tobytes())
    return digest.hexdigest()


def digest_parameters(parameters: Float64 | Float32) -> str:
    """Hex sha-256 over the float64 little-endian bytes."""
    digest = hashlib.sha256()
    for start in range(0, parameters.size, DIGESTED_AT_ONCE):
        digest.update(parameters[start : start + DIGESTED_AT_ONCE].astype("<f8").tobytes())
    return digest.hexdigest()


def check_statistics_shape(statistics: Float64, count: int) -> None:
    """Raises LocalProtocolError unless the shape is (count,): lengths are checked before a vector gets here."""
    if statistics.shape != (count,):
        raise LocalProtocolError(f"the task has {count} statistics, the vector has shape {statistics.shape}")


def find_task(name: str) -> type[Task]:
    """The installed task of that name, or its private variant where the name ends in ``+noiseZ`` or ``+noiseZclipC``.

    Raises:
        TaskError: none is installed under the name, what is installed is no task, or a number of the variant is off.
    """
    variant = read_variant(name)
    if variant is not None:
        return make_private(find_task(variant.base), variant)
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        raise TaskError(f"no task {name!r} is installed (found: {', '.join(sorted(found)) or 'none'}); pip install it")
    kind = found[name].load()
    if not (isinstance(kind, type) and issubclass(kind, Task) and kind.name == name):
        raise TaskError(f"the entry point {name!r} does not name a Task whose name is {name!r}: update that package")
    return kind


def make_private(kind: type[Task], variant: Variant) -> type[Task]:
    """The same task with noise: another name and manifest, public statistics, everything else as it is."""

    def manifest(self: Task) -> TaskManifest:
        plain = kind.manifest(self)
        return replace(
            plain,
            name=variant.name,
            noise_multiplier=variant.noise_multiplier,
            privacy_delta=DELTA,
            clip_norm=plain.clip_norm if variant.clip_norm is None else variant.clip_norm,
        )

    def statistics(self: Task) -> Float64:
        return kind.public_statistics(self)

    members = {
        "name": variant.name,
        "base_name": kind.name,
        "manifest": manifest,
        "statistics": statistics,
        "__module__": kind.__module__,
    }
    return type(f"Private{kind.__name__}", (kind,), members)


def prepare_torch() -> None:
    """One thread and deterministic kernels, so that a run can be repeated bit for bit. Call once per process."""
    torch.set_num_threads(1)
    # On one CPU thread the kernels are deterministic as they are, and this call imports torch's compiler: 1.9 s and
    # 72 MB in every node, measured with torch 2.13.
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
