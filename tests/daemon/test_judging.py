"""From the worker's losses and score to a vote: what a validator's ballot is made of."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from p2p_flock.alliance.aggregates import encode_aggregate
from p2p_flock.crypto.suite import sha256
from p2p_flock.crypto.vectors import MemorySink
from p2p_flock.daemon.judging import Judge
from p2p_flock.daemon.model_files import keep_model
from p2p_flock.learning.results import EvaluateResult
from p2p_flock.learning.worker_client import Worker
from p2p_flock.ports import Evaluate, EvaluationFinished, OpenCohort
from p2p_flock.secagg.opening import Opened, open_sum
from p2p_flock.store.blobs import BlobStore
from p2p_flock.store.models import ModelStore
from p2p_flock.testing.alliance import make_task
from p2p_flock.types import Stage
from tests.unit.alliance_round import effects_of
from tests.unit.test_alliance_validator import ROUND, SEAL, Phase, tell_answers, validator_in


class SettledWorker:
    """Says the same of every model."""

    def __init__(self, before: float, after: float, score: float | None) -> None:
        self.result = EvaluateResult(before, (after,), score, (score,), 50, 0.1)

    async def evaluate(self, *_: object) -> EvaluateResult:
        return self.result

    async def judge_statistics(self, *_: object) -> tuple[bool, str]:
        return True, ""


def open_round() -> bytes:
    """The aggregate that the round's own contributions open to."""
    (asked,) = effects_of(OpenCohort, tell_answers(validator_in(Phase.OPENING), ROUND.trainers[:3]))
    assert isinstance(asked, OpenCohort)
    sink = MemorySink()
    opened = open_sum(asked.opening, ROUND.blobs_of().__getitem__, sink)
    assert isinstance(opened, Opened) and opened.aggregate_digest == sha256(bytes(sink.data))
    return bytes(sink.data)


async def judge(
    tmp_path: Path,
    worker: SettledWorker,
    stage: Stage = Stage.TRAINING,
    target: int = 900_000,
    lanes: tuple[int, ...] = (),
) -> EvaluationFinished:
    """A round's opened sum, or one with these lanes, judged by this worker."""
    blob = encode_aggregate(ROUND.context.cohorts[0], np.array(lanes, dtype=np.uint32)) if lanes else open_round()
    blobs, models = BlobStore(tmp_path / "blobs", 1 << 20), ModelStore(tmp_path / "models")
    blobs.put(blob)
    found = Judge(cast(Worker, worker), keep_model(models, ROUND.setting.model), models, tmp_path)
    effect = Evaluate(stage, {0: sha256(blob)})
    task = make_task(statistics_count=6)  # either stage has as many lanes
    context = replace(ROUND.context, manifest=task, params=replace(ROUND.context.params, score_target_micro=target))
    return await found.judge(context, effect, SEAL.manifest, blobs)


@pytest.mark.parametrize(
    ("before", "after", "score", "expected"),
    [
        (0.8, 0.4, 0.8125, EvaluationFinished({0: True}, {0: 8}, 812_500)),
        (0.8, 0.8, None, EvaluationFinished({0: True}, {0: 0}, 0)),
        (0.8, 0.9, 0.5, EvaluationFinished({0: False}, {0: 0}, 500_000)),
        (0.8, 0.0, 17.0, EvaluationFinished({0: True}, {0: 15}, 0)),
    ],
)
async def test_judge__grades_and_scores(
    tmp_path: Path, before: float, after: float, score: float | None, expected: EvaluationFinished
) -> None:
    """Trainers would be paid, or the alliance closed, by other numbers than the validator measured."""
    assert await judge(tmp_path, SettledWorker(before, after, score)) == expected


async def test_judge__statistics_have_no_grade_and_no_score(tmp_path: Path) -> None:
    """A model that nobody trained yet would count for the score target."""
    found = await judge(tmp_path, SettledWorker(0.5, 0.1, 0.9), Stage.STATISTICS)
    assert found == EvaluationFinished({0: True}, {}, 0)


async def test_judge__without_a_target_no_score_is_published(tmp_path: Path) -> None:
    """Everybody could count a hospital's test records from what its ballots say, and nobody needs to know."""
    found = await judge(tmp_path, SettledWorker(0.8, 0.4, 0.8125), target=0)
    assert found == EvaluationFinished({0: True}, {0: 8}, 0)


async def test_judge__a_sum_too_long_for_clipped_updates_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever does not clip would drown its cohort, and be adopted where that shows in no loss."""
    weight_total = sum(ROUND.context.weight_of(seat) for seat in ROUND.trainers)
    # Six lanes of at most W · levels, as in any sum that opens; W · (levels + ⌈√6⌉ + 1) is the longest norm.
    longest = weight_total * (ROUND.context.params.levels + 3 + 1)
    lane = int(longest / 6**0.5)
    better = SettledWorker(0.8, 0.4, 0.5)
    caplog.set_level(logging.WARNING)
    assert await judge(tmp_path / "a", better, lanes=(lane,) * 6) == EvaluationFinished({0: True}, {0: 8}, 500_000)
    assert not caplog.records
    refused = await judge(tmp_path / "b", better, lanes=(lane + 1,) * 6)
    assert refused == EvaluationFinished({0: False}, {0: 0}, 500_000)
    assert "cohort 0" in caplog.text and "did not clip" in caplog.text
