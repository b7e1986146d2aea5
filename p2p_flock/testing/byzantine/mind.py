"""What a byzantine member keeps from round to round, and what a coalition keeps together. All of it is lost by a crash.

Made by ``Villain``, one for each member, and handed to each of its machines. A mind learns what the chain says, as any
member can, and what its own machines hear; a coalition's members tell each other who they are.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.model import Model
from p2p_flock.ports import CommitRound, SettleRound
from p2p_flock.testing.byzantine.updates import AttackMemory
from p2p_flock.types import CohortOutcome
from p2p_flock.wire.messages import Envelope

HEARD_MAX = 64
MODEL_VALUES_MAX = 1 << 20  # beyond it a mind does not remember the model's last change


@dataclass(slots=True)
class Coalition:
    """Members of one hand: colluding ones, or the Sybil seats of a single one, which is the same to everybody else.

    Attributes:
        owners: accounts of all that took part in a round so far.
    """

    owners: set[bytes] = field(default_factory=set)

    def join(self, owner: bytes) -> None:
        """One more of us; known to the others from then on."""
        self.owners.add(owner)


@dataclass(slots=True)
class Mind:
    """See the module.

    Attributes:
        attack: of ``updates.UPDATE_ATTACKS``, what becomes of its updates where its kind poisons them.
        memory: of that attack.
        heard: what anybody said in earlier rounds and in this one, the newest last.
        posted: commitments and ballots that it sent to the contract in earlier rounds.
    """

    attack: str = "signflip5"
    coalition: Coalition = field(default_factory=Coalition)
    memory: AttackMemory = field(default_factory=AttackMemory)
    heard: deque[Envelope] = field(default_factory=lambda: deque(maxlen=HEARD_MAX))
    posted: deque[CommitRound | SettleRound] = field(default_factory=lambda: deque(maxlen=HEARD_MAX))
    _next_round: int = 0
    _parameters: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None

    def learn(self, history: AllianceHistory, owner: bytes, model: Model) -> None:
        """What happened since the last round: its own cohorts' verdicts, and how far the model moved."""
        self.coalition.join(owner)
        self._next_round = min(self._next_round, len(history.rounds))  # a reorganisation may have taken some back
        while self._next_round < len(history.rounds) and history.rounds[self._next_round].ended:
            outcome = get_own_outcome(history, self._next_round, owner)
            if outcome in (CohortOutcome.ADOPTED, CohortOutcome.REJECTED):
                self.memory.hear(outcome is CohortOutcome.ADOPTED)
            self._next_round += 1
        if model.parameters.size > MODEL_VALUES_MAX:
            return
        parameters = np.array(model.parameters[:], dtype=np.float64)
        if self._parameters is not None and not np.array_equal(parameters, self._parameters):
            self.memory.last_step = parameters - self._parameters
        self._parameters = parameters


def get_own_outcome(history: AllianceHistory, number: int, owner: bytes) -> CohortOutcome | None:
    """The outcome of the cohort in which the owner was a sealed trainer; ``None`` where it was in none."""
    record, assignment = history.rounds[number], history.assignment(number)
    seat = next((seat for seat, entry in enumerate(record.seats) if entry.owner == owner), None)
    if record.settled is None or record.sealed is None or assignment is None or seat not in assignment.trainers:
        return None
    bits = sum(word << 256 * place for place, word in enumerate(record.sealed.survivors))
    if not bits >> assignment.trainers.index(seat) & 1:
        return None
    return CohortOutcome(record.settled.outcomes[assignment.cohort_of(seat)])
