"""What members of a simulation learn, and how they judge: a model is as good as it is near an optimum nobody is told.

An honest update is a step from the model towards the optimum, with noise; a member's loss is the distance of a model to
the optimum as its own data shows it, a little beside the true one. So verdicts follow from vectors: a cohort whose mean
leads away is rejected by honest validators, whoever spoilt it and by whatever attack. Statistics are random numbers
that everybody finds plausible. Same configuration, same values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2p_flock.alliance.aggregates import decode_aggregate
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.model import AdoptedCohort, Model, apply_cohorts
from p2p_flock.alliance.voting import is_possible_sum
from p2p_flock.errors import WireError
from p2p_flock.secagg.answer import get_sealed_entries
from p2p_flock.types import Stage
from p2p_flock.wire.messages import Manifest

DISTANCE = 4.0  # of the optimum from the first model
PACE = 0.1  # of the way in one step: far below the clipping norm, and far above the tolerance
UPDATE_NOISE = 0.1  # length of an update's noise, times its own
DATA_NOISE = 0.2  # distance of a member's own optimum from the true one


class Learning:
    """See the module. One for each simulation; members' data follow from the seed."""

    def __init__(self, seed: int, model: Model) -> None:
        self._seed = seed
        first = np.asarray(model.parameters[:], dtype=np.float64)
        self._optimum = first + DISTANCE * _direction(seed, first.size)
        self._optimum_of: dict[int, NDArray[np.float64]] = {}
        self._candidates: dict[tuple[bytes, bytes, int], NDArray[np.float64] | None] = {}

    def compute_update(self, member: int, context: RoundContext, model: Model) -> NDArray[np.float64]:
        """What the member's worker computes in this round, float64[S] or float64[D]."""
        chance = np.random.default_rng([self._seed, member, context.round])
        noise = chance.normal(0, 1, context.manifest.width(context.stage))
        if context.stage is Stage.STATISTICS:
            return 0.5 * noise
        step = PACE * (self._optimum - model.parameters[:])
        length = float(np.sqrt(np.square(step).sum()))
        update: NDArray[np.float64] = step + UPDATE_NOISE * length / np.sqrt(step.size) * noise
        return update

    def compute_loss(self, member: int, parameters: NDArray[np.float64]) -> float:
        """Of a model, on the member's private data: ≥ 0, about DISTANCE for the first model."""
        optimum = self._optimum_of.get(member)
        if optimum is None:
            beside = _direction(self._seed + member + 1, self._optimum.size)
            optimum = self._optimum_of[member] = self._optimum + DATA_NOISE * beside
        return float(np.sqrt(np.square(parameters - optimum).sum()))

    def apply_one(
        self, context: RoundContext, model: Model, cohort: int, digest: bytes, blob: bytes | None, manifest: Manifest
    ) -> NDArray[np.float64] | None:
        """The parameters that this sum alone would lead to; ``None`` for bytes that are no sum of honest members."""
        key = (model.digest, digest, cohort)
        if key not in self._candidates:
            self._candidates[key] = _apply(context, model, cohort, digest, blob, manifest)
        return self._candidates[key]


def _apply(
    context: RoundContext, model: Model, cohort: int, digest: bytes, blob: bytes | None, manifest: Manifest
) -> NDArray[np.float64] | None:
    if blob is None:
        return None
    sealed = sorted(get_sealed_entries(context.cohorts[cohort], manifest))
    try:
        integers = decode_aggregate(context.cohorts[cohort], blob, context.sum_bound(cohort, sealed))
    except WireError:
        return None  # a liar's, who says that it opened this
    if not is_possible_sum(context, cohort, sealed, integers):
        return None
    one = AdoptedCohort(integers, sum(map(context.weight_of, sealed)), digest)
    candidate = apply_cohorts(model, context.manifest, context.params.levels_in(context.stage), [one])
    return np.asarray(candidate.parameters[:], dtype=np.float64)


def _direction(seed: int, size: int) -> NDArray[np.float64]:
    """A random vector of length 1."""
    drawn = np.random.default_rng([seed, size]).normal(0, 1, size)
    direction: NDArray[np.float64] = drawn / np.sqrt(np.square(drawn).sum())
    return direction
