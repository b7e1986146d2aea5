"""Training and judging for one alliance: the current model, the worker, and the rule that turns losses into votes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2p_flock.alliance.aggregates import decode_aggregate
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.model import AdoptedCohort, Model, apply_cohorts
from p2p_flock.alliance.voting import is_acceptable_change
from p2p_flock.errors import TaskError, WorkerCrashedError
from p2p_flock.learning.worker_client import Worker
from p2p_flock.ports import Evaluate
from p2p_flock.store.blobs import BlobStore
from p2p_flock.types import Stage
from p2p_flock.wire.messages import Manifest

logger = logging.getLogger(__name__)
JUDGED_MAX = 64  # judgements shown to the operator; the log has the older ones
ATTEMPTS_MAX = (
    2  # a worker that crashed once (out of memory, say) is tried once more; then this node sits the round out
)


@dataclass(frozen=True, slots=True)
class Judged:
    """What this member's private test data said about a round; it never leaves the machine.

    ``losses_after``, ``scores_after``, ``accepted``: by cohort.
    """

    loss_before: float
    score_before: float | None
    losses_after: Mapping[int, float]
    scores_after: Mapping[int, float | None]
    accepted: Mapping[int, bool]


class Judge:
    """The worker's side of a session.

    Attributes:
        model: the model that the running round starts from.
        score_before, score_after: of the last judged round, on this member's private test data.
        judged: the last rounds that this member judged since the node started, by round number.
    """

    def __init__(self, worker: Worker, model: Model) -> None:
        self._worker = worker
        self.model = model
        self.score_before: float | None = None
        self.score_after: float | None = None
        self.judged: dict[int, Judged] = {}

    async def compute_update(self, stage: Stage, seed: int) -> NDArray[np.float64]:
        """This member's local sums or its training update; float64.

        Raises:
            P2PFlockError: as :class:`learning.worker_client.Worker`; a crash is retried once.
        """
        for attempt in range(ATTEMPTS_MAX):
            try:
                if stage is Stage.STATISTICS:
                    return await self._worker.statistics()
                result = await self._worker.train(self.model.statistics, self.model.parameters, seed)
            except WorkerCrashedError:
                if attempt + 1 == ATTEMPTS_MAX:
                    raise
                logger.warning("the training worker crashed; trying once more")
            else:
                return result.update.astype(np.float64)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def judge(
        self, context: RoundContext, effect: Evaluate, manifest: Manifest, blobs: BlobStore
    ) -> Mapping[int, bool]:
        """Whether each opened cohort's aggregate is good by this member's private test data.

        Raises:
            P2PFlockError: as :class:`learning.worker_client.Worker`.
        """
        candidates = {
            cohort: apply_cohorts(
                self.model,
                context.manifest,
                context.params.levels,
                [
                    AdoptedCohort(
                        decode_aggregate(context.cohorts[cohort], blobs.get(digest) or b""),
                        compute_weight_total(context, cohort, manifest),
                    )
                ],
            )
            for cohort, digest in sorted(effect.aggregates.items())
        }
        if effect.stage is Stage.STATISTICS:
            return {cohort: await self._judge_statistics(model) for cohort, model in candidates.items()}
        result = await self._worker.evaluate(
            self.model.statistics, self.model.parameters, [model.parameters for model in candidates.values()]
        )
        self.score_before, self.score_after = result.score_before, result.scores_after[0]
        tolerance = context.params.loss_tolerance_micro
        verdicts = {}
        for cohort, loss_after in zip(candidates, result.losses_after, strict=True):
            verdicts[cohort] = is_acceptable_change(result.loss_before, loss_after, tolerance)
            logger.info("evaluate: cohort %d: loss %.4f to %.4f", cohort, result.loss_before, loss_after)
        self.judged[context.round] = Judged(
            loss_before=result.loss_before,
            score_before=result.score_before,
            losses_after=dict(zip(candidates, result.losses_after, strict=True)),
            scores_after=dict(zip(candidates, result.scores_after, strict=True)),
            accepted=verdicts,
        )
        if len(self.judged) > JUDGED_MAX:
            del self.judged[min(self.judged)]
        return verdicts

    async def _judge_statistics(self, candidate: Model) -> bool:
        try:
            plausible, why_not = await self._worker.judge_statistics(candidate.statistics)
        except TaskError as error:
            plausible, why_not = False, str(error)
        if not plausible:
            logger.warning("evaluate: the statistics look wrong: %s", why_not)
        return plausible


def compute_weight_total(context: RoundContext, cohort: int, manifest: Manifest) -> int:
    """Σ of the public weights of the cohort's sealed trainers."""
    seats = context.assignment.cohorts[cohort]
    return sum(context.weight_of(entry.seat) for entry in manifest.entries if entry.seat in seats)
