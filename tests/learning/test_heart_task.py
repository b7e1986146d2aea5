"""The heart task: sums equal pooling, training is repeatable, implausible statistics are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p2p_flock.errors import LocalProtocolError, TaskError
from p2p_flock.learning.baseline import sum_statistics
from p2p_flock.learning.results import LOSS_MAX, Float64
from p2p_flock.learning.scores import compute_auc
from p2p_flock.learning.task import digest_parameters, find_task, fit
from p2p_flock.learning.tasks.heart import (
    FEATURE_COUNT,
    MANIFEST,
    STATISTICS_CLIP,
    STATISTICS_COUNT,
    HeartTask,
)
from p2p_flock.learning.tasks.table import concatenate
from p2p_flock.learning.vectorize import count_parameters, load_vector, to_vector


@pytest.fixture(scope="module")
def statistics(tasks: list[HeartTask]) -> Float64:
    """The sum over five trainers of mixed hospitals."""
    return sum_statistics(tasks[:5])


def test_statistics__sum_equals_pooled(tasks: list[HeartTask]) -> None:
    """Preprocessing from the secure sum must be the preprocessing that pooling the records would give."""
    pooled = HeartTask.pool(tasks)
    np.testing.assert_allclose(sum_statistics(tasks), pooled.statistics(), rtol=1e-12, atol=1e-9)
    features, _ = pooled.tensors(sum_statistics(tasks), "train")
    assert float(features.mean(dim=0).abs().max()) < 0.05
    assert 0.9 < float(features[:, 0].std()) < 1.1


def test_statistics__large_hospital_is_scaled_to_the_clip(tasks: list[HeartTask]) -> None:
    """Sums beyond the clip would be cut one by one, which bends means and variances."""
    small = tasks[0]
    large = HeartTask(concatenate([small.records["train"]] * 40), small.records["test"])
    sums = large.statistics()
    assert float(np.abs(sums).max()) == pytest.approx(STATISTICS_CLIP)
    ratio = sums[0] / small.statistics()[0]
    np.testing.assert_allclose(sums, small.statistics() * ratio)


def test_judge_statistics__every_member_accepts_an_honest_sum(tasks: list[HeartTask]) -> None:
    """An honest round 0 must not fail because a hospital differs from the elected ones (P5)."""
    noise = np.random.default_rng(1).uniform(-5 / 128, 5 / 128, STATISTICS_COUNT)
    for cohort in ((0, 1, 4, 5, 2), (2, 6, 3, 7, 1), (0, 4, 2, 6, 3)):
        total = sum_statistics([tasks[node] for node in cohort])
        for task in tasks:
            assert task.judge_statistics(total + noise) == (True, "")


BAD_STATISTICS = {
    "not finite": (5, float("nan"), "finite"),
    "no records": (0, 0.0, "records"),
    "negative positives": (1, -50.0, "positives"),
    "more positives than records": (1, 1e6, "positives"),
    "negative count": (2, -50.0, "age"),
    "impossible mean": (3, 1e6, "mean"),
    "negative variance": (4, -50.0, "variance"),
    "impossible variance": (7, 1e9, "variance"),
    "negative category": (STATISTICS_COUNT - 1, -50.0, "thal"),
    "too many in a category": (20, 1e6, "sex"),
}


@pytest.mark.parametrize("case", BAD_STATISTICS)
def test_judge_statistics__poisoned(tasks: list[HeartTask], statistics: Float64, case: str) -> None:
    """One member that lies in round 0 would otherwise spoil every later round's preprocessing."""
    index, value, word = BAD_STATISTICS[case]
    poisoned = statistics.copy()
    poisoned[index] = value
    plausible, reason = tasks[3].judge_statistics(poisoned)
    assert not plausible
    assert word in reason


def test_judge_statistics__shrunk_variance_pushes_own_records_out(tasks: list[HeartTask], statistics: Float64) -> None:
    """Sums that are consistent in themselves but describe other patients must fail against the own data."""
    shrunk = statistics.copy()
    count = 1e6
    shrunk[0], shrunk[1] = count, count / 2
    shrunk[2:5] = count, count * 6, count * 36 + 1  # everybody is 110 years old
    plausible, reason = tasks[0].judge_statistics(shrunk)
    assert not plausible
    assert "deviations" in reason


def test_train__repeats_bit_for_bit(tasks: list[HeartTask], statistics: Float64) -> None:
    """A baseline replays the alliance's rounds; without equal bits the comparison means nothing."""
    start = tasks[0].initial_parameters()
    first = tasks[0].train(statistics, start, 11)
    torch.rand(3)  # whatever else draws random numbers must not matter
    again = tasks[0].train(statistics, start, 11)
    other = tasks[0].train(statistics, start, 12)
    assert first.update.tobytes() == again.update.tobytes()
    assert first.update.tobytes() != other.update.tobytes()
    assert first.update.dtype == np.float32
    assert first.loss_after < first.loss_before == pytest.approx(np.log(2))
    assert 0 < float(np.linalg.norm(first.update)) < MANIFEST.clip_norm


def test_fit__first_step_is_the_textbook_gradient(tasks: list[HeartTask], statistics: Float64) -> None:
    """A wrong gradient or a forgotten mean over the batch still trains, only worse: nothing else would notice."""
    inputs, targets = tasks[0].tensors(statistics, "train")
    inputs, targets = inputs[: MANIFEST.batch_size], targets[: MANIFEST.batch_size]
    model = tasks[0].init()
    fit(model, inputs, targets, tasks[0], epochs=1, seed=0)
    error = 0.5 - targets.numpy()  # sigmoid(0) - y
    gradient = np.append((error[:, None] * inputs.numpy()).mean(axis=0), error.mean())
    np.testing.assert_allclose(to_vector(model), -MANIFEST.learning_rate * gradient, atol=1e-7)


def test_train__diverged(tasks: list[HeartTask], statistics: Float64) -> None:
    """Infinite updates must not reach the encoder, where they would wrap around."""
    with pytest.raises(TaskError, match="diverged"):
        tasks[0].train(statistics, np.full(FEATURE_COUNT + 1, 1e39), 1)


def test_evaluate__poisoned_candidates_get_a_finite_bad_loss(tasks: list[HeartTask], statistics: Float64) -> None:
    """A validator that crashes on a poisoned model cannot vote against it."""
    start = tasks[0].initial_parameters()
    better = start + tasks[0].train(statistics, start, 1).update
    poisoned = [np.full_like(start, value) for value in (np.nan, np.inf, 1e300, -1e6)]
    result = tasks[0].evaluate(statistics, start, [better, *poisoned])
    assert result.losses_after[0] < result.loss_before
    assert result.losses_after[1:4] == (LOSS_MAX,) * 3
    assert 1.0 < result.losses_after[4] <= LOSS_MAX
    assert result.scores_after[1] is None
    assert result.example_count == tasks[0].check_data().test_count


def test_evaluate__wrong_length(tasks: list[HeartTask], statistics: Float64) -> None:
    """Broadcasting a short vector over the model would judge another model than the one voted on."""
    with pytest.raises(LocalProtocolError, match="36 parameters"):
        tasks[0].evaluate(statistics, np.zeros(36), [np.zeros(35)])
    with pytest.raises(LocalProtocolError, match="39 statistics"):
        tasks[0].evaluate(statistics[1:], np.zeros(36), [])


def test_check_data__counts_and_warnings(tasks: list[HeartTask]) -> None:
    """The operator must learn which columns the hospital lacks before staking on it."""
    reports = [task.check_data() for task in tasks]
    assert sum(report.train_count + report.test_count for report in reports) == 920
    assert any("chol is never measured" in problem for problem in reports[2].problems)  # Switzerland
    assert reports[0].problems == ()  # Cleveland
    assert 0.4 < reports[0].train_positive_ratio < 0.5


def test_manifest__fits_the_task(tasks: list[HeartTask]) -> None:
    """Members compare manifests before they join; one that does not describe the code would let two codes mix."""
    model = tasks[0].init()
    assert count_parameters(model) == MANIFEST.parameter_count == 36
    assert tasks[0].statistics().shape == (MANIFEST.statistics_count,) == (39,)
    assert digest_parameters(tasks[0].initial_parameters()) == MANIFEST.initial_parameters_sha256
    assert find_task("heart") is HeartTask


def test_find_task__not_installed() -> None:
    """A mistyped or missing task must be named, with what is there."""
    with pytest.raises(TaskError, match=r"no task 'hart' is installed.*heart"):
        find_task("hart")


def test_vectorize__round_trip() -> None:
    """A vector written back in another order would average weights with biases."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GroupNorm(2, 4), torch.nn.Linear(4, 2))
    vector = to_vector(model)
    changed = vector.astype(np.float64) * 2 + 1
    load_vector(model, changed)
    np.testing.assert_array_equal(to_vector(model), changed.astype(np.float32))
    assert count_parameters(model) == len(vector) == 3 * 4 + 4 + 8 + 8 + 2
    vector[0] = 99  # a copy: the model must not change with it
    assert to_vector(model)[0] != 99


def test_vectorize__refuses_what_cannot_be_averaged() -> None:
    """BatchNorm's integer counter, averaged as a float, silently breaks the model."""
    with pytest.raises(TaskError, match="num_batches_tracked"):
        to_vector(torch.nn.BatchNorm1d(2))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_auc__equals_counting_pairs(items: list[tuple[int, bool]]) -> None:
    """The reported score is only worth something if ties and one-class splits are counted as in the literature."""
    scores = np.array([float(score) for score, _ in items])
    targets = np.array([float(positive) for _, positive in items])
    pairs = [(p, n) for p in scores[targets == 1] for n in scores[targets == 0]]
    if not pairs:
        assert compute_auc(scores, targets) is None
        return
    expected = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)
    assert compute_auc(scores, targets) == pytest.approx(expected)


def test_train__does_not_import_the_compiler(data_paths: list[Path]) -> None:
    """torch.optim and some switches import torch's compiler: 2 s and 80 MB in every node, for nothing."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from p2p_flock.learning.task import prepare_torch\n"
        "from p2p_flock.learning.tasks.heart import HeartTask\n"
        "prepare_torch()\n"
        "task = HeartTask.open(Path(sys.argv[1]), 1)\n"
        "task.train(task.statistics(), task.initial_parameters(), 1)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(data_paths[0])]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"
