"""Checks of a task before anybody stakes on it: called by the test that ``p2p-flock task new`` writes, and by ours.

The rules are those that an alliance relies on: equal manifests and initial bits, training that repeats, sums within
their bound, and updates within the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from p2p_flock.errors import TaskError
from p2p_flock.learning.baseline import ScheduledRound, run_fedavg, sum_statistics
from p2p_flock.learning.results import TrainResult
from p2p_flock.learning.task import Task, digest_arrays, digest_parameters, prepare_torch
from p2p_flock.learning.task_manifest import read_manifest

MEMBERS: int = 3  # the fewest owners whose sum may ever be opened


def check_task(kind: type[Task], data_path: Path, data_seed: int = 1) -> TrainResult:
    """Open a member's file with the task and check every rule; the first round's training.

    Raises:
        TaskError: naming the rule that is broken.
        DataSchemaError: the file does not fit the task.
    """
    prepare_torch()
    task, again = kind.open(data_path, data_seed), kind.open(data_path, data_seed)
    manifest = task.manifest()
    _require(read_manifest(manifest.to_bytes()) == manifest, "the manifest reads back as it was")
    _require((manifest.name, manifest.version) == (kind.name, kind.version), "the manifest names the task")
    start = task.initial_parameters()
    _require(start.shape == (manifest.parameter_count,), "the model has parameter_count parameters")
    _require(digest_parameters(again.initial_parameters()) == digest_parameters(start), "init always draws the same")
    public = task.holdout()
    expected = "" if public is None else digest_arrays(public)
    _require(manifest.holdout_sha256 == expected, "the holdout is the manifest's")
    report = task.check_data()
    _require(report.train_count > 0, "something is left to train on")
    _require(report.test_count > 0, "something is left to test on")

    sums = task.statistics()
    _require(sums.shape == (manifest.statistics_count,), "there are statistics_count statistics")
    _require(bool((np.abs(sums) <= manifest.statistics_clip).all()), "every statistic is within statistics_clip")
    statistics = sum_statistics([task] * MEMBERS)
    plausible, reason = task.judge_statistics(statistics)
    _require(plausible, f"the sum over members like oneself is plausible ({reason})")
    _require(
        not task.judge_statistics(np.full_like(statistics, np.nan))[0], "statistics that are no numbers are refused"
    )

    result, repeated = task.train(statistics, start, 7), again.train(statistics, start, 7)
    _require(result.update.tobytes() == repeated.update.tobytes(), "the same seed trains the same bits")
    norm = float(np.linalg.norm(result.update))
    _require(0 < norm <= manifest.clip_norm, f"the first update (norm {norm:.3g}) is not clipped at clip_norm")
    judged = task.evaluate(statistics, start, [start + result.update, np.full_like(start, np.nan)])
    _require(judged.losses_after[1] > judged.loss_before, "a model that is no number is worse than any")
    return result


def train_together(kind: type[Task], data_paths: Sequence[Path], rounds: int, data_seed: int = 1) -> list[float | None]:
    """The score after each of ``rounds`` rounds of plain federated averaging in which every member trains.

    Raises:
        TaskError, DataSchemaError: as the task.
    """
    prepare_torch()
    tasks = [kind.open(path, data_seed) for path in data_paths]
    statistics = sum_statistics(tasks)
    everybody = tuple(range(len(tasks)))
    schedule = [
        ScheduledRound(number, everybody, tuple(1000 * number + member for member in everybody))
        for number in range(1, rounds + 1)
    ]
    pooled = kind.pool(tasks)
    return [pooled.measure(statistics, parameters)[1] for parameters in run_fedavg(tasks, statistics, schedule)]


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise TaskError(f"the task breaks a rule: {rule}")
