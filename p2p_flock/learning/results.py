"""What the worker answers, as plain values and numpy arrays.

Used by the daemon, the worker and the tasks. Never holds a torch object, a record, or anything else of the private
data beyond the counts and losses that a node shows to its own operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

LOSS_MAX: Final = 1000.0
"""Every loss is cut to [0, LOSS_MAX]; a loss that is not a number counts as LOSS_MAX.

A poisoned candidate can push the loss to infinity or NaN. A validator must be able to quantise it and vote no.
"""


@dataclass(frozen=True, slots=True)
class VectorFile:
    """Where parameters lie between the daemon and its worker: ``count`` little-endian float64 from ``offset_bytes`` on.

    A file in the node's own directory that nobody changes; never a path that came from a peer.
    """

    path: Path
    offset_bytes: int
    count: int


@dataclass(slots=True)
class WorkProgress:
    """How far a request is, written by the worker's client while it runs; ``total`` is 0 until the worker said so.

    ``done`` and ``total``: batches of a training, models of a judgement.
    """

    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What the daemon hears of a training; the update itself is in the file that it named. As :class:`TrainResult`."""

    parameter_count: int
    example_count: int
    loss_before: float
    loss_after: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainResult:
    """One trainer's work of one round."""

    update: Float32  # shape (D,): parameters after minus before; neither clipped nor weighted
    example_count: int  # records in the training split
    loss_before: float  # mean loss on the training split with the parameters received
    loss_after: float  # the same with the update added
    seconds: float  # wall time inside the worker


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """A validator's judgement of some candidates on its private test split."""

    loss_before: float  # mean loss with the current parameters, in [0, LOSS_MAX]
    losses_after: tuple[float, ...]  # mean loss with each candidate, in the order asked
    score_before: float | None  # the task's score (heart: AUC); None where undefined, as with one class only
    scores_after: tuple[float | None, ...]
    example_count: int  # records in the test split
    seconds: float


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One epoch on the member's own data, from the initial model and with its own statistics.

    Attributes:
        seconds: wall time, with the two passes that measure the loss on the training part, as in a round.
        cpu_seconds: of the worker meanwhile.
        local_epochs: how many epochs a round has.
        loss_before, loss_after, score_before, score_after: on the private test part, with the public holdout.
        memory_bytes: the worker's peak, its libraries included.
        warnings: sentences for the operator.
    """

    seconds: float
    cpu_seconds: float
    local_epochs: int
    example_count: int
    test_count: int
    loss_before: float
    loss_after: float
    score_name: str
    score_before: float | None
    score_after: float | None
    memory_bytes: int
    warnings: tuple[str, ...]

    @property
    def round_seconds(self) -> float:
        """What one round's training takes at most: the passes that measure come once, and here once per epoch."""
        return self.seconds * self.local_epochs

    @property
    def round_cpu_seconds(self) -> float:
        """CPU seconds of one round's training, likewise."""
        return self.cpu_seconds * self.local_epochs


@dataclass(frozen=True, slots=True)
class DataReport:
    """What the task found in the member's data: counts, and sentences about what is odd."""

    train_count: int
    test_count: int
    train_positive_ratio: float
    test_positive_ratio: float
    problems: tuple[str, ...]  # warnings only: data that cannot be used raises DataSchemaError instead
