"""The utility table's one-process alliance: it is the alliance's arithmetic, and noise shows in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from p2p_flock.bench.privacy import Run, Scenario, render
from p2p_flock.learning.baseline import clip_update, sum_statistics
from p2p_flock.learning.task import prepare_torch

SCENARIO = Scenario("heart", 8, 0.3, rounds=2)


def test_run__without_noise_is_weighted_averaging(tmp_path: Path) -> None:
    """If this failed, the table would compare noise with another algorithm than federated averaging."""
    prepare_torch()
    run = Run(SCENARIO, 1, 0.0, tmp_path)
    trainers = run.roles(1).trainers
    sums, start = sum_statistics([run.tasks[m] for m in trainers]), run.tasks[0].initial_parameters()
    updates = [run.tasks[m].train(sums, start, run.training_seed(1, m)).update for m in trainers]
    weights = [run.weights[m] for m in trainers]
    expected = np.average([clip_update(u, run.manifest.clip_norm) for u in updates], axis=0, weights=weights)
    np.testing.assert_allclose(run.aggregate(1, trainers, sums, start), expected, atol=1e-4)


def test_run__noise_has_the_deviation_that_epsilon_needs(tmp_path: Path) -> None:
    """If this failed, the table's ε would belong to other noise than the runs had."""
    prepare_torch()
    quiet, noisy = (
        Run(replace(SCENARIO, clip_norm=1.0), 1, 0.0, tmp_path),
        Run(replace(SCENARIO, clip_norm=1.0), 1, 0.05, tmp_path),
    )
    trainers = quiet.roles(1).trainers
    sums, start = noisy.tasks[0].statistics() * len(trainers), quiet.tasks[0].initial_parameters()
    largest, total = max(quiet.weights[m] for m in trainers), sum(quiet.weights[m] for m in trainers)
    found = [
        noisy.aggregate(number, trainers, sums, start) - quiet.aggregate(number, trainers, sums, start)
        for number in range(1, 16)
    ]
    # Nobody drops out: five shares, of which two must suffice (three sealed, one of them curious).
    expected = 0.05 * largest / total * np.sqrt(5 / 2)
    assert abs(float(np.std(found)) / expected - 1) < 0.1


def test_table__of_one_scenario() -> None:
    """If this failed, a score that is undefined would end the measurement at its last line."""
    row = {"scores": [0.5, 0.7, None], "adopted": [1, 2, 2], "noise_multiplier": 2.86}
    found = {
        "task": "heart", "members": 8, "rounds": 2, "clip_norm": 0.3, "trainers": 5, "sharers": 3, "score_name": "AUC",
        "delta": 1e-5, "rows": {"alone": {"scores": [], "adopted": []}, "8": row},
    }  # fmt: skip
    assert "| 8 | 2.86 | .600 (.500 to .700) | 2 of 2 |" in render([found])
