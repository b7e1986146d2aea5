"""What a member spends of a private alliance's ε, round by round, and that it never spends more than was told.

Made per session and for ``alliance.show``. A round is spent when it is sealed with this member's update among the
survivors: its sum may be open from then on, whether or not the round is settled. The contract counts settled rounds
only, so validators that seal and never commit could open more sums than the alliance has rounds; a member therefore
trains in at most as many as its terms said, and stands aside afterwards.
"""

from __future__ import annotations

import math
from functools import cached_property

from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.alliance.privacy import validate_privacy
from p2p_flock.daemon.watch_messages import PrivacyResult
from p2p_flock.errors import ParameterError, UsageError
from p2p_flock.learning.privacy import PrivacyTerms
from p2p_flock.params import AllianceParams
from p2p_flock.types import CohortOutcome


class PrivacyBudget:
    """See the module; of an alliance without noise it says ``None`` and limits nothing."""

    def __init__(self, manifest: TaskManifest, params: AllianceParams, owner: bytes) -> None:
        self._manifest, self._params, self._owner = manifest, params, owner
        self._history: AllianceHistory | None = None
        self._is_training = False  # whether a round before the counted ones adopted the statistics
        self._spent: list[int] = []  # rounds spent up to and with each ended round

    @cached_property
    def terms(self) -> PrivacyTerms | None:
        """``None`` without noise. One round at least sums statistics, which are public constants and cost nothing."""
        manifest, params = self._manifest, self._params
        if manifest.noise_multiplier == 0:
            return None
        owners = params.cohort_owners_max(params.seat_count_max)
        return PrivacyTerms(
            manifest.noise_multiplier, manifest.privacy_delta, params.round_count - 1, owners * manifest.parameter_count
        )

    def is_spent(self, history: AllianceHistory) -> bool:
        """Whether one more round of training would cost more than the terms said."""
        return self.terms is not None and self.rounds_spent(history) >= self.terms.rounds

    def rounds_spent(self, history: AllianceHistory, through: int | None = None) -> int:
        """Training rounds sealed with this member's update, up to and with round ``through``, or all so far."""
        if history is not self._history:  # the log was folded anew after a reorganisation
            self._history, self._is_training, self._spent = history, False, []
        while len(self._spent) < len(history.rounds) and history.rounds[len(self._spent)].ended:
            record = history.rounds[len(self._spent)]
            so_far = self._spent[-1] if self._spent else 0
            self._spent.append(so_far + (self._is_training and self._is_in(history, record)))
            settled = record.settled
            self._is_training |= settled is not None and CohortOutcome.ADOPTED in settled.outcomes
        if through is not None and through < len(self._spent):
            return self._spent[through]
        so_far = self._spent[-1] if self._spent else 0
        running = history.rounds[len(self._spent) :]
        return so_far + sum(self._is_training and self._is_in(history, record) for record in running)

    def describe(self, history: AllianceHistory | None, through: int | None = None) -> PrivacyResult | None:
        """For the operator; without a history what the alliance as a whole would cost."""
        terms = self.terms
        if terms is None:
            return None
        spent = 0 if history is None else self.rounds_spent(history, through)
        return {
            "noise_multiplier": terms.noise_multiplier,
            "delta": terms.delta,
            "rounds": terms.rounds,
            "epsilon": _finite(terms.epsilon()),
            "rounds_spent": spent,
            "epsilon_spent": _finite(terms.epsilon(spent)),
        }

    def _is_in(self, history: AllianceHistory, record: RoundRecord) -> bool:
        assignment = history.assignment(record.opened.round)
        if record.sealed is None or assignment is None:
            return False
        words = record.sealed.survivors
        sealed = {seat for index, seat in enumerate(assignment.trainers) if words[index // 256] >> index % 256 & 1}
        return any(entry.owner == self._owner and seat in sealed for seat, entry in enumerate(record.seats))


def check_privacy(params: AllianceParams, manifest: TaskManifest) -> None:
    """The ring has room for the noise that the manifest asks for.

    Raises:
        UsageError: it has not; nobody could train in this alliance.
    """
    try:
        validate_privacy(params, manifest)
    except ParameterError as error:
        raise UsageError(f"{error}.\nDo not join such an alliance, nor create it.") from error


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
