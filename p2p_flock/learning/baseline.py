"""References for a testnet's report: what the same data gives locally, pooled, and by plain federated averaging.

Run by the report, after the rounds, as ``python -m p2p_flock.learning.baseline``: one JSON object on stdin, one on
stdout. It opens all members' files at once, which only a testnet can do; a node never runs it. Plain federated
averaging (McMahan et al. 2017) repeats the alliance's schedule of trainers and seeds with the same statistics stage,
initial model and batches, but in floats, with exact example counts as weights, and without votes. So the difference to
the alliance's score is what quantising and weight buckets cost (rounds that adopted nothing are in neither).

Input::

    {"task": "heart",
     "nodes": [{"data_path": "…/data.csv", "data_seed": 1}, …],
     "schedule": [{"round": 0, "trainers": [0, 3, …], "seeds": []},       the first entry is the statistics stage
                  {"round": 1, "trainers": [2, 5, …], "seeds": [17, …]}, …],
     "models": [{"statistics": [S floats], "parameters": [D floats]}, …],    scored on the all-members test set
     "reference_seed": 1}

Output: see :class:`Baseline`. A score that is undefined is null.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from p2p_flock.errors import P2PFlockError, UsageError
from p2p_flock.learning.results import Float32, Float64
from p2p_flock.learning.task import Task, check_statistics_shape, find_task, prepare_torch

INPUT_BYTES_MAX: Final = 1 << 28


@dataclass(frozen=True, slots=True)
class ScheduledRound:
    """Who trained with which seed; ``trainers`` are indexes into the nodes."""

    round: int
    trainers: tuple[int, ...]
    seeds: tuple[int, ...]  # one per trainer; empty in the statistics stage


@dataclass(frozen=True, slots=True)
class Baseline:
    """Scores (heart: AUC) on the task's public holdout, or on the union of all members' private test parts."""

    local_only_score: float | None  # mean over members of the model each would train alone, for as many epochs
    local_only_scores: list[float | None]
    pooled_score: float | None  # one model on all training parts together, for as many epochs
    plain_fedavg_score: float | None  # after the last scheduled round
    plain_fedavg_scores: list[float | None]  # one per training round of the schedule
    plain_fedavg_losses: list[float]  # mean loss on the same test set, likewise
    initial_score: float | None
    model_scores: list[float | None]  # of the given models, in order
    model_losses: list[float]
    test_example_count: int
    train_example_counts: list[int]  # per member
    seconds: float


def compute_baseline(
    tasks: Sequence[Task],
    schedule: Sequence[ScheduledRound],
    models: Sequence[tuple[Float64, Float64]],
    reference_seed: int,
) -> Baseline:
    """All references and the scores of ``models``, each ``(statistics, parameters)``.

    Raises:
        UsageError: an empty schedule, or one that names an unknown node or lacks a seed.
    """
    started = time.perf_counter()
    _validate(schedule, len(tasks))
    pooled = tasks[0].pool(tasks)
    initial = pooled.initial_parameters()
    epochs = max(len(schedule) - 1, 1) * pooled.manifest().local_epochs

    def score(statistics: Float64, parameters: Float64) -> tuple[float | None, float]:
        loss, value = pooled.measure(statistics, parameters)
        return value, loss

    local_scores = [score(*_train_alone(task, initial, reference_seed, epochs))[0] for task in tasks]
    pooled_score, _ = score(*_train_alone(pooled, initial, reference_seed, epochs))
    statistics = sum_statistics([tasks[node] for node in schedule[0].trainers])
    fedavg = [score(statistics, parameters) for parameters in run_fedavg(tasks, statistics, schedule[1:])]
    initial_score, _ = score(statistics, initial)
    given = [score(*_checked(pooled, model)) for model in models]
    return Baseline(
        local_only_score=_mean(local_scores),
        local_only_scores=local_scores,
        pooled_score=pooled_score,
        plain_fedavg_score=fedavg[-1][0] if fedavg else initial_score,
        plain_fedavg_scores=[value for value, _ in fedavg],
        plain_fedavg_losses=[loss for _, loss in fedavg],
        initial_score=initial_score,
        model_scores=[value for value, _ in given],
        model_losses=[loss for _, loss in given],
        test_example_count=pooled.measured_count(),
        train_example_counts=[task.check_data().train_count for task in tasks],
        seconds=time.perf_counter() - started,
    )


def sum_statistics(tasks: Sequence[Task]) -> Float64:
    """What the secure sum of round 0 would be without quantising."""
    total: Float64 = np.sum([task.statistics() for task in tasks], axis=0, dtype=np.float64)
    return total


def run_fedavg(tasks: Sequence[Task], statistics: Float64, rounds: Sequence[ScheduledRound]) -> list[Float64]:
    """The global parameters after each round of plain federated averaging, float64 of shape (D,)."""
    parameters = tasks[0].initial_parameters()
    clip_norm = tasks[0].manifest().clip_norm
    history = []
    for scheduled in rounds:
        total, weight = np.zeros_like(parameters), 0
        for node, seed in zip(scheduled.trainers, scheduled.seeds, strict=True):
            result = tasks[node].train(statistics, parameters, seed)
            total += result.example_count * clip_update(result.update, clip_norm)
            weight += result.example_count
        parameters = parameters + total / weight
        history.append(parameters)
    return history


def clip_update(update: Float32 | Float64, clip_norm: float) -> Float64:
    """The update scaled down to the L2 norm ``clip_norm`` where it is longer, as the protocol does."""
    wide = update.astype(np.float64)
    norm = float(np.sqrt(np.sum(wide**2)))
    return wide * min(1.0, clip_norm / norm) if norm > 0 else wide


def _train_alone(task: Task, initial: Float64, seed: int, epochs: int) -> tuple[Float64, Float64]:
    statistics = task.statistics()
    return statistics, initial + task.train(statistics, initial, seed, epochs).update


def _checked(task: Task, model: tuple[Float64, Float64]) -> tuple[Float64, Float64]:
    check_statistics_shape(model[0], task.manifest().statistics_count)
    return model


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def _validate(schedule: Sequence[ScheduledRound], node_count: int) -> None:
    if not schedule or not schedule[0].trainers:
        raise UsageError("the schedule is empty: its first entry names the trainers of the statistics stage")
    for index, scheduled in enumerate(schedule):
        if not all(0 <= node < node_count for node in scheduled.trainers):
            raise UsageError(f"round {scheduled.round}: a trainer's index lies outside 0..{node_count - 1}")
        if index and not len(scheduled.seeds) == len(scheduled.trainers) > 0:
            raise UsageError(f"round {scheduled.round}: one seed per trainer is needed")


def answer_request(data: bytes) -> bytes:
    """JSON in, JSON out: see the module's docstring.

    Raises:
        UsageError: too long, not the expected JSON, or a schedule that names an unknown node.
        TaskError, DataSchemaError: the task or a member's data cannot be opened.
    """
    if len(data) > INPUT_BYTES_MAX:
        raise UsageError(f"the request has more than {INPUT_BYTES_MAX} bytes")
    try:
        request = json.loads(data)
        kind = find_task(request["task"])
        members = [(Path(node["data_path"]), int(node["data_seed"])) for node in request["nodes"]]
        schedule = [
            ScheduledRound(int(entry["round"]), tuple(entry["trainers"]), tuple(entry["seeds"]))
            for entry in request["schedule"]
        ]
        models = [
            (np.array(model["statistics"], np.float64), np.array(model["parameters"], np.float64))
            for model in request.get("models", [])
        ]
        reference_seed = int(request["reference_seed"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"the request is malformed: {error!r}; see the top of {__name__}") from error
    tasks = [kind.open(path, seed) for path, seed in members]
    return json.dumps(asdict(compute_baseline(tasks, schedule, models, reference_seed))).encode()


def main() -> None:
    """Read the request, print the answer; exit status 1 and one line on stderr where it cannot be done."""
    prepare_torch()
    try:
        answer = answer_request(sys.stdin.buffer.read(INPUT_BYTES_MAX + 1))
    except P2PFlockError as error:
        sys.exit(f"baseline: {error}")
    sys.stdout.buffer.write(answer + b"\n")


if __name__ == "__main__":
    main()
