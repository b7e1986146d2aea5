"""The references of the report: they reach the published level, and the command gives the function's numbers."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from p2p_flock.errors import LocalProtocolError, UsageError
from p2p_flock.learning.baseline import (
    ScheduledRound,
    answer_request,
    clip_update,
    compute_baseline,
    run_fedavg,
    sum_statistics,
)
from p2p_flock.learning.tasks.heart import HeartTask


def draw_schedule(round_count: int, seed: int) -> list[ScheduledRound]:
    """Five of eight trainers drawn anew each round, as the sortition does."""
    draw = random.Random(seed)
    schedule = []
    for number in range(round_count + 1):
        trainers = tuple(draw.sample(range(8), 5))
        schedule.append(ScheduledRound(number, trainers, tuple(draw.getrandbits(63) for _ in trainers)))
    return schedule


def test_fedavg__reaches_the_reference_and_validators_rarely_object(tasks: list[HeartTask]) -> None:
    """A change of model or hyperparameters that trains worse, or makes honest rounds be rejected, shows here."""
    schedule = draw_schedule(20, seed=1)
    statistics = sum_statistics([tasks[node] for node in schedule[0].trainers])
    history = [tasks[0].initial_parameters(), *run_fedavg(tasks, statistics, schedule[1:])]
    final = HeartTask.pool(tasks).evaluate(statistics, history[-1], ()).score_before
    assert final is not None
    assert final >= 0.865
    losses = np.array([[task.evaluate(statistics, model, ()).loss_before for task in tasks] for model in history])
    rises = np.diff(losses, axis=0) > 0.01  # the testnet's tolerance on loss change
    assert rises.mean() < 0.05
    rejected = [
        entry.round
        for entry, rise in zip(schedule[1:], rises, strict=True)
        if sum(rise[node] for node in range(8) if node not in entry.trainers) >= 2
    ]
    assert rejected == []


def test_baseline__command_equals_function(tasks: list[HeartTask], data_paths: list[Path]) -> None:
    """The report reads the command's JSON; a model passed through it must keep every bit."""
    schedule = draw_schedule(2, seed=3)
    statistics = sum_statistics([tasks[node] for node in schedule[0].trainers])
    model = run_fedavg(tasks, statistics, schedule[1:])[-1]
    request = {
        "task": "heart",
        "nodes": [{"data_path": str(path), "data_seed": 1} for path in data_paths],
        "schedule": [asdict(entry) for entry in schedule],
        "models": [{"statistics": statistics.tolist(), "parameters": model.tolist()}],
        "reference_seed": 1,
    }
    command = [sys.executable, "-m", "p2p_flock.learning.baseline"]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    here = compute_baseline(tasks, schedule, [(statistics, model)], 1)
    assert {**answer, "seconds": 0} == {**asdict(here), "seconds": 0}
    assert answer["model_scores"] == [answer["plain_fedavg_score"]]
    assert answer["model_losses"] == [answer["plain_fedavg_losses"][-1]]
    assert answer["local_only_score"] < answer["pooled_score"]
    assert answer["initial_score"] == 0.5
    assert answer["test_example_count"] + sum(answer["train_example_counts"]) == 920


@pytest.mark.parametrize("request_bytes", [b"", b"[]", b'{"task": "heart"}', b'{"task": "heart", "nodes": 3}'])
def test_baseline__malformed_request(request_bytes: bytes) -> None:
    """A mistake in the report's request is a sentence, not a traceback."""
    with pytest.raises(UsageError, match="malformed"):
        answer_request(request_bytes)


def test_baseline__bad_schedule(tasks: list[HeartTask]) -> None:
    """A reference over a wrong schedule would be believed."""
    good = draw_schedule(1, seed=1)
    for bad in (
        [],
        [replace(good[0], trainers=())],
        [replace(good[0], trainers=(8,))],
        [good[0], replace(good[1], seeds=(1,))],
        [good[0], replace(good[1], trainers=(), seeds=())],
    ):
        with pytest.raises(UsageError):
            compute_baseline(tasks, bad, [], 1)
    with pytest.raises(LocalProtocolError):
        compute_baseline(tasks[:1], [ScheduledRound(0, (0,), ())], [(np.zeros(38), np.zeros(36))], 1)


def test_clip_update__keeps_direction_and_bounds_length() -> None:
    """The reference must clip as the protocol does, or a clipped round would count as a quantising error."""
    update = np.array([3.0, 4.0], np.float32)
    np.testing.assert_allclose(clip_update(update, 1.0), [0.6, 0.8], rtol=1e-12)
    np.testing.assert_array_equal(clip_update(update, 10.0), [3.0, 4.0])
    np.testing.assert_array_equal(clip_update(update * 0, 1.0), [0.0, 0.0])
