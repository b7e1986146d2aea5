"""Training and judging for one alliance: the current model, the worker, and the rule that turns losses into votes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trio
from numpy.typing import NDArray

from p2p_flock.alliance.aggregates import open_aggregate
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.model import AdoptedCohort, Model, sum_statistics
from p2p_flock.alliance.voting import compute_grade, compute_score_micro, is_acceptable_change, is_possible_sum
from p2p_flock.crypto.vectors import SourceVector, Vector
from p2p_flock.daemon.model_files import apply_in_store, locate_parameters, make_initial_model
from p2p_flock.daemon.progress import Works
from p2p_flock.errors import StoreError, TaskError, WorkerCrashedError
from p2p_flock.learning.results import VectorFile
from p2p_flock.learning.worker_client import Worker
from p2p_flock.ports import Evaluate, EvaluationFinished
from p2p_flock.secagg.answer import get_sealed_entries
from p2p_flock.store.blobs import BlobStore
from p2p_flock.store.files import FileSource
from p2p_flock.store.models import ModelStore
from p2p_flock.types import Stage
from p2p_flock.wire.messages import Manifest

logger = logging.getLogger(__name__)
JUDGED_MAX = 64  # judgements shown to the operator; the log has the older ones
ATTEMPTS_MAX = (
    2  # a worker that crashed once (out of memory, say) is tried once more; then this node sits the round out
)


@dataclass(frozen=True, slots=True)
class Judged:
    """What this member's private test data said about a round.

    Nothing of it leaves the machine but what a ballot holds: a verdict and a grade of 4 bits for each cohort, and, in
    an alliance with a score target, ``score_before`` in millionths.

    ``losses_after``, ``scores_after``, ``accepted``: by cohort.
    """

    loss_before: float
    score_before: float | None
    losses_after: Mapping[int, float]
    scores_after: Mapping[int, float | None]
    accepted: Mapping[int, bool]


@dataclass(frozen=True, slots=True)
class Trained:
    """This member's last training: from which model, in which order of batches, how long it took in the worker."""

    model: Model
    seed: int
    seconds: float


class Judge:
    """The worker's side of a session. Models and updates go to and from the worker by file.

    Attributes:
        worker: the training process.
        works: how far a training or judgement is that runs.
        trained: the last training; ``None`` before the first.
        model: the model that the running round starts from; it is in the store.
        score_before, score_after: of the last judged round, on this member's private test data.
        judged: the last rounds that this member judged since the node started, by round number.
    """

    def __init__(self, worker: Worker, model: Model, models: ModelStore, scratch: Path) -> None:
        """``scratch``: a folder of ours for vectors on their way to and from the worker."""
        self.worker = worker
        self.works = Works()
        self.trained: Trained | None = None
        self._models = models
        self._scratch = scratch
        self._update_count = 0
        self.model = model
        self.score_before: float | None = None
        self.score_after: float | None = None
        self.judged: dict[int, Judged] = {}

    async def compute_update(self, stage: Stage, seed: int) -> Vector[np.floating]:
        """This member's local sums (float64) or its training update (float32, in a file that is gone with the vector).

        Raises:
            P2PFlockError: as :class:`learning.worker_client.Worker`; a crash is retried once.
        """
        for attempt in range(ATTEMPTS_MAX):
            try:
                if stage is Stage.STATISTICS:
                    return await self.worker.statistics()
                return await self._train(seed)
            except WorkerCrashedError:
                if attempt + 1 == ATTEMPTS_MAX:
                    raise
                logger.warning("the training worker crashed; trying once more")
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _train(self, seed: int) -> Vector[np.floating]:
        model = self.model
        parameters = await trio.to_thread.run_sync(locate_parameters, self._models, model)
        self._update_count += 1
        path = self._scratch / f"update-{self._update_count}"
        try:
            with self.works.doing("training", "batches") as progress:
                report = await self.worker.train(model.statistics, parameters, seed, path, progress)
            self.trained = Trained(model, seed, report.seconds)
            return SourceVector(FileSource(path), np.dtype("<f4"), report.parameter_count)
        finally:
            path.unlink(missing_ok=True)

    async def judge(
        self, context: RoundContext, effect: Evaluate, manifest: Manifest, blobs: BlobStore
    ) -> EvaluationFinished:
        """What this member's private test data says of each opened cohort's aggregate, and of the model before it.

        Statistics have no grades, and a model that only they made has no score.

        Raises:
            StoreError: an aggregate is gone from ``blobs``, or the disk refuses.
            P2PFlockError: as :class:`learning.worker_client.Worker`.
        """
        adopted = {
            cohort: open_adopted(context, cohort, digest, manifest, blobs)
            for cohort, digest in sorted(effect.aggregates.items())
        }
        levels = context.params.levels_in(effect.stage)
        if effect.stage is Stage.STATISTICS:
            return EvaluationFinished(
                {
                    cohort: await self._judge_statistics(sum_statistics(context.manifest, levels, [one]))
                    for cohort, one in adopted.items()
                }
            )
        too_long = await trio.to_thread.run_sync(find_impossible, context, manifest, adopted)
        files = [
            await trio.to_thread.run_sync(self._make_candidate, self.model, context, one) for one in adopted.values()
        ]
        before = await trio.to_thread.run_sync(locate_parameters, self._models, self.model)
        with self.works.doing("judging", "candidates") as progress:
            result = await self.worker.evaluate(self.model.statistics, before, files, progress)
        self.score_before, self.score_after = result.score_before, result.scores_after[0]
        tolerance = context.params.loss_tolerance_micro
        verdicts, grades = {}, {}
        for cohort, loss_after in zip(adopted, result.losses_after, strict=True):
            verdicts[cohort] = cohort not in too_long and is_acceptable_change(
                result.loss_before, loss_after, tolerance
            )
            grades[cohort] = 0 if cohort in too_long else compute_grade(result.loss_before, loss_after)
            logger.info("evaluate: cohort %d: loss %.4f to %.4f", cohort, result.loss_before, loss_after)
        self.judged[context.round] = Judged(
            loss_before=result.loss_before,
            score_before=result.score_before,
            losses_after=dict(zip(adopted, result.losses_after, strict=True)),
            scores_after=dict(zip(adopted, result.scores_after, strict=True)),
            accepted=verdicts,
        )
        if len(self.judged) > JUDGED_MAX:
            del self.judged[min(self.judged)]
        # A ballot is public, and nothing but the target asks for the score: without one it stays here.
        score = result.score_before if context.params.score_target_micro > 0 else None
        return EvaluationFinished(verdicts, grades, compute_score_micro(score))

    def _make_candidate(self, base: Model, context: RoundContext, adopted: AdoptedCohort) -> VectorFile:
        model = apply_in_store(self._models, base, context.manifest, context.params.levels_in(context.stage), [adopted])
        return locate_parameters(self._models, model)

    async def _judge_statistics(self, statistics: NDArray[np.float64]) -> bool:
        try:
            plausible, why_not = await self.worker.judge_statistics(statistics)
        except TaskError as error:
            plausible, why_not = False, str(error)
        if not plausible:
            logger.warning("evaluate: the statistics look wrong: %s", why_not)
        return plausible


async def make_judge(worker: Worker, models: ModelStore, scratch: Path) -> Judge:
    """A judge that starts from the task's initial model, which is put into the store.

    Raises:
        StoreError: the disk refuses.
        P2PFlockError: as :class:`learning.worker_client.Worker`.
    """
    path = scratch / "initial"
    path.unlink(missing_ok=True)
    try:
        await worker.initial_parameters(path)
        initial = await trio.to_thread.run_sync(lambda: make_initial_model(models, FileSource(path)))
    finally:
        path.unlink(missing_ok=True)
    return Judge(worker, initial, models, scratch)


def open_adopted(
    context: RoundContext, cohort: int, digest: bytes, manifest: Manifest, blobs: BlobStore
) -> AdoptedCohort:
    """A cohort's sum as it lies in the own store, with its weight. Reads no more than its first bytes.

    Raises:
        StoreError: it is not there.
        WireError: the blob is no aggregate of this cohort.
    """
    source = blobs.open_source(digest)
    if source is None:
        raise StoreError(f"the aggregate {digest.hex()} is gone from the store; raise store.blob_bytes_max")
    sealed = get_sealed_entries(context.cohorts[cohort], manifest)
    integers = open_aggregate(context.cohorts[cohort], source, context.sum_bound(cohort, sealed))
    return AdoptedCohort(integers, compute_weight_total(context, cohort, manifest), digest)


def find_impossible(context: RoundContext, manifest: Manifest, sums: Mapping[int, AdoptedCohort]) -> frozenset[int]:
    """The cohorts whose sum is longer than clipping members can make it: a vote of no, whatever the losses say.

    Reads every sum once, in blocks.
    """
    found = set()
    for cohort, one in sums.items():
        sealed = get_sealed_entries(context.cohorts[cohort], manifest)
        if not is_possible_sum(context, cohort, sealed, one.integer_sum):
            logger.warning(
                "evaluate: cohort %d: no: its sum is longer than that of honest members can be, so at least one of its "
                "%d trainers did not clip its update; which one cannot be told",
                cohort,
                len(sealed),
            )
            found.add(cohort)
    return frozenset(found)


def compute_weight_total(context: RoundContext, cohort: int, manifest: Manifest) -> int:
    """Σ of the public weights of the cohort's sealed trainers."""
    seats = context.assignment.cohorts[cohort]
    return sum(context.weight_of(entry.seat) for entry in manifest.entries if entry.seat in seats)
