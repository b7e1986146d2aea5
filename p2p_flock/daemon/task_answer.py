"""What this node's own task says about itself and found in the member's data, for ``alliance.show``.

Called by the control handlers. Asks the worker, once: what it says stays true for as long as it holds the data; only a
refusal is asked again, because the operator mends the file. Never passes on a record.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from p2p_flock.alliance.manifest import TaskManifest, decode_manifest
from p2p_flock.daemon.config import LearningSettings
from p2p_flock.daemon.control_messages import ColumnResult, OwnDataResult, TaskResult
from p2p_flock.errors import DataSchemaError, P2PFlockError
from p2p_flock.learning.results import DataReport
from p2p_flock.learning.task_manifest import Column
from p2p_flock.learning.task_manifest import TaskManifest as Description
from p2p_flock.learning.worker_client import Worker

COLUMNS_SHOWN_MAX = 200  # a table with more is described by its first ones
VALUES_SHOWN_MAX = 50
PROBLEMS_MAX = 100


@dataclass(frozen=True, slots=True)
class OwnTask:
    """The worker's answers; ``error`` is why it gave none. ``manifest`` is the description as the protocol reads it."""

    description: Description | None = None
    manifest: TaskManifest | None = None
    score_name: str | None = None
    report: DataReport | None = None
    error: P2PFlockError | None = None


class OwnTaskAnswers:
    """Asks the worker; see the module."""

    def __init__(self, worker: Worker | None, settings: LearningSettings) -> None:
        self._worker, self._settings = worker, settings
        self._known: OwnTask | None = None

    async def look(self) -> OwnTask:
        """What the worker says, or why it says nothing; empty where this node has no task and data."""
        if self._known is not None:
            return self._known
        worker = self._worker
        if worker is None:
            return OwnTask()
        try:
            description = await worker.manifest()
            manifest = decode_manifest(description.to_bytes())
            self._known = OwnTask(description, manifest, worker.score_name, await worker.check_data())
        except P2PFlockError as error:
            return OwnTask(error=error)
        return self._known

    def describe_data(self, own: OwnTask) -> OwnDataResult:
        """For the operator."""
        settings, report = self._settings, own.report
        return {
            "task": settings.task,
            "path": None if settings.data_path is None else os.fspath(settings.data_path),
            "seed": str(settings.data_seed),
            "memory_bytes_max": settings.memory_bytes_max,
            "train_count": None if report is None else report.train_count,
            "test_count": None if report is None else report.test_count,
            "problems": [] if report is None else list(report.problems[:PROBLEMS_MAX]),
            "error": None if own.error is None else str(own.error),
            "error_is_of_data": isinstance(own.error, DataSchemaError),
        }


def describe_task(own: OwnTask) -> TaskResult | None:
    """The installed task's own words and numbers; ``None`` where the worker gave none."""
    found = own.description
    if found is None:
        return None
    return {
        "name": found.name,
        "version": found.version,
        "model": found.model,
        "loss": found.loss,
        "optimiser": found.optimiser,
        "preprocessing": found.preprocessing,
        "score_name": own.score_name,
        "parameter_count": found.parameter_count,
        "statistics_count": found.statistics_count,
        "local_epochs": found.local_epochs,
        "batch_size": found.batch_size,
        "learning_rate": found.learning_rate,
        "test_ratio": found.test_ratio,
        "examples_per_weight": found.examples_per_weight,
        "has_holdout": bool(found.holdout_sha256),
        "column_count": len(found.columns),
        "columns": [_describe_column(column) for column in found.columns[:COLUMNS_SHOWN_MAX]],
    }


def _describe_column(column: Column) -> ColumnResult:
    return {
        "name": column.name,
        "kind": column.kind,
        "unit": column.unit,
        "low": column.low,
        "high": column.high,
        "values": list(column.values[:VALUES_SHOWN_MAX]),
        "value_count": len(column.values),
        "required": column.required,
    }
