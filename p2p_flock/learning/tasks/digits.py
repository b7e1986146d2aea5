"""Handwritten digits: a small network on 8x8 images, and two wide ones on the same images for measuring cost.

An example of a task that trains a network, to be read from top to bottom. Pixels are divided by their public maximum,
so round 0 has nothing to sum up but the number of images, and preprocessing costs no accuracy against plain federated
averaging. The 360 public images of ``digits_data.py`` are the holdout: members of a Dirichlet partition hold few of the
ten digits, and by their own images alone they would vote against most honest rounds.

Measured, 10 members, Dirichlet(.3), 7 trainers and 3 validators drawn per round, 20 rounds, ten seeds: the largest
difference of accuracy (on the 360 images) to plain FedAvg on the same schedule, at any round, by what a step of the
declared example counts is. Members hold 15 to 276 images, and a step of 8 misstates some weights by a fifth:

    examples_per_weight     8             4             2             1
    difference              .008 to .028  .006 to .022  .003 to .014  .000 to .003 (one image)
    rejected rounds         2 of 200; 104 of 200 if validators judged by their own images alone

Quantising costs nothing of it. A coordinate has steps of clip_norm / levels = 2 / 2^16, which the update of a narrow
network exceeds by far. That of the network of 50 million does not (norm .4, so .00006 a coordinate), but rounding is
stochastic: it adds noise of norm .07 to one member's update, at an angle of 9 degrees, in directions that the loss does
not see (2.58548 without, 2.58559 with it).

An alliance needs ``weight_max`` at the largest member's count: the testnet sets 512, and 2^16 levels for headroom.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from p2p_flock.learning.results import Float64
from p2p_flock.learning.task import Arrays, Task, Training
from p2p_flock.learning.task_manifest import Column
from p2p_flock.learning.tasks.digits_data import CLASSES, INK_MAX, PIXELS, SCHEMA, holdout_rows, load_images
from p2p_flock.learning.tasks.table import read_table
from p2p_flock.learning.vectorize import initialise

INITIAL_SEED = 0
# The clip is never reached: updates of members have norms of .1 to 1. Example counts are declared exactly, see above.
TRAINING = Training(learning_rate=0.1, batch_size=32, clip_norm=2.0, test_ratio=0.1, examples_per_weight=1)
WIDE_TRAINING = replace(TRAINING, learning_rate=0.05)  # at .1 the loss of a wide network rises in one round of ten


class DigitsTask(Task):
    """64-32-10: D = 2,410 parameters."""

    name: ClassVar[str] = "digits"
    version: ClassVar[str] = "1"
    score_name: ClassVar[str] = "accuracy"
    columns: ClassVar[tuple[Column, ...]] = SCHEMA.columns
    training: ClassVar[Training] = TRAINING
    widths: ClassVar[tuple[int, ...]] = (PIXELS, 32, CLASSES)

    @classmethod
    def read(cls, data_path: Path) -> Arrays:
        """See :meth:`Task.read`: pixels in 0..1 and the digit."""
        records = read_table(data_path, SCHEMA)
        return records.numbers / INK_MAX, records.targets.astype(np.int64)

    def holdout(self) -> Arrays:
        """See :meth:`Task.holdout`."""
        return _public_images()

    def init(self) -> torch.nn.Module:
        """See :meth:`Task.init`."""
        return initialise(self.blank(), INITIAL_SEED)

    def blank(self) -> torch.nn.Module:
        """See :meth:`Task.blank`: memory as it comes, because torch's own start takes seconds for wide layers."""
        with torch.device("meta"):
            layers = self.layers()
        return layers.to_empty(device="cpu")

    def layers(self) -> torch.nn.Module:
        """Linear layers of these widths with ReLU between them, as torch makes them."""
        layers: list[torch.nn.Module] = []
        for width, next_width in zip(self.widths[:-1], self.widths[1:], strict=True):
            layers += [torch.nn.Linear(width, next_width), torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1])

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the outputs (n, 10), which are logits."""
        return torch.nn.functional.cross_entropy(outputs, targets)

    def score(self, outputs: Float64, targets: Float64) -> float | None:
        """Accuracy."""
        return None if len(targets) == 0 else float(np.mean(outputs.argmax(axis=1) == targets))


class Digits1mTask(DigitsTask):
    """64-963-963-10: D = 1,000,567 parameters, 4 MB in float32."""

    name: ClassVar[str] = "digits-1m"
    training: ClassVar[Training] = WIDE_TRAINING
    widths: ClassVar[tuple[int, ...]] = (PIXELS, 963, 963, CLASSES)


class Digits50mTask(DigitsTask):
    """64-7033-7033-10: D = 49,997,607 parameters, 200 MB in float32."""

    name: ClassVar[str] = "digits-50m"
    training: ClassVar[Training] = WIDE_TRAINING
    widths: ClassVar[tuple[int, ...]] = (PIXELS, 7033, 7033, CLASSES)


@cache
def _public_images() -> Arrays:
    images = load_images()[holdout_rows()]
    return images[:, :PIXELS] / INK_MAX, images[:, PIXELS]
