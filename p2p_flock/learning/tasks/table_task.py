"""A task over a table: what its members sum up in round 0, and how that sum becomes everybody's preprocessing.

Subclassed by ``heart.py`` and ``lending.py``, which say the columns and the hyperparameters. A number column is
standardised by the sums' mean and variance, a missing one stands at the mean; categories become indicators, centered by
their frequency; "missing" is an indicator of its own, because which member measures what says a lot.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Self

import numpy as np
import torch

from p2p_flock.learning.results import DataReport, Float64
from p2p_flock.learning.scores import compute_auc
from p2p_flock.learning.task import Task, check_statistics_shape, digest_parameters
from p2p_flock.learning.task_manifest import Column, TaskManifest
from p2p_flock.learning.tasks.table import Records, Schema, concatenate, read_table, split_rows

# The sums are shrunk towards the schema's public constants as if this many further records had shown them. So a
# column that no elected trainer measured still has a mean and a positive variance, without a special case.
PRIOR_RECORDS: Final = 10.0
PUBLIC_RECORDS: Final = 100.0  # that each member of a private alliance claims; its sums say nothing about it


class Layout:
    """Where everything stands in the statistics and in the features of a schema.

    Statistics: [records, positives], then per number column [observed, Σz, Σz²] with the schema's public
    z = (value - center) / scale, then the count of each category value.
    """

    def __init__(self, schema: Schema) -> None:
        self.numbers, self.categories = schema.numbers, schema.categories
        self.one_hot_count = sum(len(column.values) for column in self.categories)
        self.optional_numbers = [k for k, column in enumerate(self.numbers) if not column.required]
        self.optional_categories = [k for k, column in enumerate(self.categories) if not column.required]
        self.statistics_count = 2 + 3 * len(self.numbers) + self.one_hot_count
        self.feature_count = (
            len(self.numbers) + self.one_hot_count + len(self.optional_numbers) + len(self.optional_categories)
        )

    def scale(self, numbers: Float64) -> Float64:
        """z of each number; NaN where missing."""
        center = np.array([column.center for column in self.numbers])
        scale = np.array([column.scale for column in self.numbers])
        scaled: Float64 = (numbers - center) / scale
        return scaled

    def one_hot(self, records: Records) -> Float64:
        """(n, one_hot_count) of zeros and ones; a missing category is all zeros."""
        columns = [
            records.categories[:, k] == value
            for k, column in enumerate(self.categories)
            for value in range(len(column.values))
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    def sums(self, records: Records) -> Float64:
        """The statistics of some records."""
        scaled = self.scale(records.numbers)
        observed = ~np.isnan(scaled)
        filled = np.where(observed, scaled, 0.0)
        per_number = np.stack([observed.sum(axis=0), filled.sum(axis=0), (filled**2).sum(axis=0)], axis=1)
        head = [float(len(records.targets)), float(records.targets.sum())]
        return np.concatenate([head, per_number.reshape(-1), self.one_hot(records).sum(axis=0)])

    def per_number(self, statistics: Float64) -> Float64:
        """(number columns, 3) of the statistics."""
        per_number: Float64 = statistics[2 : 2 + 3 * len(self.numbers)].reshape(-1, 3)
        return per_number

    def per_category(self, statistics: Float64) -> list[Float64]:
        """One array of counts per category column."""
        ends = np.cumsum([len(column.values) for column in self.categories])
        return np.split(statistics[2 + 3 * len(self.numbers) :], ends[:-1])

    def features(self, statistics: Float64, records: Records) -> Float64:
        """(n, feature_count): standardised numbers with missing ones at the mean, then centered indicators.

        Element-wise float64 in fixed order, so that all nodes with the same statistics see the same features.
        """
        observed, total, squares = self.per_number(statistics).T
        # PRIOR_RECORDS with mean 0 and variance 1, the schema's public constants, join every column.
        mean = total / (observed + PRIOR_RECORDS)
        variance = (squares + PRIOR_RECORDS) / (observed + PRIOR_RECORDS) - mean**2
        scaled = self.scale(records.numbers)
        # A hostile sum can make the variance zero or negative; judge_statistics refuses it, this keeps us from NaN.
        standardised = (scaled - mean) / np.sqrt(np.maximum(variance, 1e-6))
        numbers = np.where(np.isnan(scaled), 0.0, standardised)

        record_count = statistics[0]
        one_hot_counts = statistics[2 + 3 * len(self.numbers) :]
        known = np.array([counts.sum() for counts in self.per_category(statistics)])
        indicators = np.concatenate(
            [
                self.one_hot(records),
                np.isnan(records.numbers[:, self.optional_numbers]),
                records.categories[:, self.optional_categories] < 0,
            ],
            axis=1,
        )
        counts = np.concatenate(
            [
                one_hot_counts,
                record_count - observed[self.optional_numbers],
                record_count - known[self.optional_categories],
            ]
        )
        # Centering matters: it keeps the bias the cohort's base rate, and halves how often a hospital's loss rises
        # because a round's cohort came from hospitals with another share of sick patients.
        frequency = (counts + 0.1 * PRIOR_RECORDS) / (record_count + PRIOR_RECORDS)
        return np.concatenate([numbers, indicators - frequency], axis=1)

    def find_fault(self, statistics: Float64) -> str:
        """Why no honest cohort can have these sums; empty if one can.

        Encoding rounds each trainer's sums to steps of clip / (levels · weight_max), in narrow rings to a good part of
        a record, hence the slack of one record.
        """
        if not bool(np.isfinite(statistics).all()):
            return "a statistic is not finite"
        record_count, positive_count = float(statistics[0]), float(statistics[1])
        if record_count < 1:
            return f"the cohort claims {record_count:g} training records"
        if not -1 <= positive_count <= record_count + 1:
            return f"{positive_count:g} positives among {record_count:g} records"
        for column, sums in zip(self.numbers, self.per_number(statistics), strict=True):
            if fault := _find_number_fault(column, sums, record_count):
                return f"column {column.name}: {fault}"
        for column, counts in zip(self.categories, self.per_category(statistics), strict=True):
            if bool((counts < -1).any()) or float(counts.sum()) > record_count + 1:
                return f"column {column.name}: the counts do not fit {record_count:g} records"
        return ""


def _find_number_fault(column: Column, sums: Float64, record_count: float) -> str:
    observed, total, squares = sums.tolist()
    low, high = (column.low - column.center) / column.scale, (column.high - column.center) / column.scale
    if not -1 <= observed <= record_count + 1:
        return f"{observed:g} values among {record_count:g} records"
    if not low * (observed + 1) - 1 <= total <= high * (observed + 1) + 1:
        return "the mean lies outside the schema's range"
    if not total**2 / max(observed, 1.0) - 1 <= squares <= max(low**2, high**2) * (observed + 1) + 1:
        return "the variance is negative or beyond the schema's range"
    return ""


class TableTask(Task):
    """Logistic regression over a table with a yes-or-no outcome. A subclass gives ``schema`` and ``described``."""

    score_name: ClassVar[str] = "AUC"
    schema: ClassVar[Schema]
    described: ClassVar[TaskManifest]
    deviations_max: ClassVar[float] = 20.0  # own records further out make the offered statistics implausible

    def __init__(self, train: Records, test: Records) -> None:
        self.records = {"train": train, "test": test}
        self.layout = Layout(self.schema)

    @classmethod
    def open(cls, data_path: Path, data_seed: int) -> Self:
        """See :meth:`Task.open`; ``test_ratio`` of each class goes to the private test part."""
        records = read_table(data_path, cls.schema)
        name = cls.base_name or cls.name
        train, test = split_rows(records.targets, cls.described.test_ratio, f"{name} test", data_seed)
        return cls(records.take(train), records.take(test))

    @classmethod
    def pool(cls, tasks: Sequence[Self]) -> Self:
        """See :meth:`Task.pool`."""
        return cls(*(concatenate([task.records[part] for task in tasks]) for part in ("train", "test")))

    def manifest(self) -> TaskManifest:
        """See :meth:`Task.manifest`."""
        return self.described

    def check_data(self) -> DataReport:
        """See :meth:`Task.check_data`."""
        train, test = self.records["train"], self.records["test"]
        problems = []
        if len(train.targets) < 20:
            problems.append(f"only {len(train.targets)} training records: the update will be mostly noise")
        for part, records in self.records.items():
            if len(np.unique(records.targets)) < 2:
                problems.append(f"the {part} part holds one class only: its AUC is undefined, the loss still counts")
        numbers, categories = self.schema.numbers, self.schema.categories
        unmeasured = [c.name for k, c in enumerate(numbers) if bool(np.isnan(train.numbers[:, k]).all())]
        unmeasured += [c.name for k, c in enumerate(categories) if bool((train.categories[:, k] < 0).all())]
        problems += [f"column {name} is never measured: its weight will come from other members" for name in unmeasured]
        return DataReport(
            len(train.targets),
            len(test.targets),
            float(train.targets.mean()),
            float(test.targets.mean()),
            tuple(problems),
        )

    def init(self) -> torch.nn.Module:
        """A linear layer of zeros: the loss is convex, so no random start is needed."""
        model = torch.nn.Linear(self.layout.feature_count, 1)
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        return model

    def initial_parameters(self) -> Float64:
        """See :meth:`Task.initial_parameters`: the zeros of :meth:`init`, without loading torch for them."""
        zeros = np.zeros(self.layout.feature_count + 1)
        is_promised = digest_parameters(zeros) == self.described.initial_parameters_sha256
        return zeros if is_promised else super().initial_parameters()

    def statistics(self) -> Float64:
        """See :meth:`Task.statistics`.

        A member with sums beyond ``statistics_clip`` scales all of them down together: it then counts as one of that
        size, and its means and variances stay right.
        """
        sums = self.layout.sums(self.records["train"])
        return sums * min(1.0, self.described.statistics_clip / float(np.abs(sums).max()))

    def public_statistics(self) -> Float64:
        """See :meth:`Task.public_statistics`: records with the schema's public mean and deviation in every column."""
        records = PUBLIC_RECORDS
        per_number = np.tile([records, 0.0, records], len(self.layout.numbers))
        counts = [np.full(len(column.values), records / len(column.values)) for column in self.layout.categories]
        return np.concatenate([[records, records / 2], per_number, *counts])

    def judge_statistics(self, statistics: Float64) -> tuple[bool, str]:
        """Refuse sums that no honest cohort can have, or that do not fit the own records."""
        check_statistics_shape(statistics, self.layout.statistics_count)
        if fault := self.layout.find_fault(statistics):
            return False, fault
        furthest = float(np.abs(self.layout.features(statistics, self.records["train"])).max())
        if furthest > self.deviations_max:
            return False, (
                f"own records would lie {furthest:.0f} deviations out; at most {self.deviations_max:g} are believed"
            )
        return True, ""

    def tensors(self, statistics: Float64, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`Task.tensors`: float32 of shape (n, feature_count) and (n,)."""
        check_statistics_shape(statistics, self.layout.statistics_count)
        records = self.records[part]
        features = self.layout.features(statistics, records).astype(np.float32)
        return torch.from_numpy(features), torch.from_numpy(records.targets.astype(np.float32))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean log-loss of the outputs (n, 1), which are log-odds."""
        return torch.nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], targets)

    def score(self, outputs: Float64, targets: Float64) -> float | None:
        """AUC."""
        return compute_auc(outputs[:, 0], targets)
