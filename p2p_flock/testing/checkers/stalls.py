"""P3: nobody's death costs more than a phase timeout, and when everything is well again every honest member settles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from p2p_flock.alliance.lost_trainers import compute_lost_after_ms
from p2p_flock.chain_events import AllianceClosed, RoundSealed, RoundSettled, RoundVoided
from p2p_flock.params import AllianceParams
from p2p_flock.testing.checkers.base import Checker, Handler, Roster
from p2p_flock.testing.facts import (
    Ended,
    Healed,
    Logged,
    ModelApplied,
    Reorganised,
    RoundBegan,
    Started,
    Stopped,
)
from p2p_flock.types import Role

# A broken connection is noticed in 0.1 s and forgiven for 1 s; the chain counts whole seconds and a block takes one.
GRACE_MS = 3500
UPKEEP_GRACE_MS = 2000  # daemon/upkeep.py: before a member ends a stuck round
UPKEEP_TURN_MS = 1000  # and for every member whose turn is before it
TURNS_LOST = 8  # members in a row that may be down, or ask a dead endpoint, when their turn comes
SETTLE_MS = 30_000  # from the chain's settlement to the next model, pulls and retries included


def compute_round_max_ms(params: AllianceParams) -> int:
    """What a round takes when every single phase lasts until its deadline, and the upkeep must end it."""
    validators = params.validator_count
    phases_s = params.train_seconds + validators * params.seal_seconds
    phases_s += params.unmask_seconds + params.evaluate_seconds + validators * params.commit_seconds
    phases_s += params.settle_seconds
    return phases_s * 1000 + UPKEEP_GRACE_MS + TURNS_LOST * UPKEEP_TURN_MS + 2 * GRACE_MS


@dataclass
class _Round:
    """Attributes: lost: (member, its role) for each time that one stopped while the round ran, or was down already."""

    opens_at_ms: int
    lost: list[tuple[int, Role]] = field(default_factory=list)
    sealed_at_ms: int | None = None
    ended: RoundSettled | RoundVoided | None = None
    ended_at_ms: int | None = None


class Stalls(Checker):
    """See the module."""

    name = "P3"

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._rounds: dict[int, _Round] = {}
        self._down: set[int] = set()
        # In a calm run only silence is tested: who may say nothing at all costs what the dead may cost.
        self._byzantine = set(roster.byzantine) if roster.is_calm else set()
        self._applied: dict[int, set[int]] = {}  # round -> members
        self._healed_at_ms: int | None = None
        self._ended_at_ms: int | None = None
        self._up_since_ms: dict[int, int] = {}
        self._is_closed = False

    def handlers(self) -> Mapping[type, Handler]:
        return {
            RoundBegan: self._began, Logged: self._logged, Reorganised: self._reorganised, Stopped: self._stopped,
            Started: self._started, ModelApplied: self._model_applied, Healed: self._healed, Ended: self._ended,
        }  # fmt: skip

    def _began(self, fact: RoundBegan) -> None:
        number = fact.context.round
        self._rounds = {known: entry for known, entry in self._rounds.items() if not self.roster.is_past(known)}
        self._applied = {known: who for known, who in self._applied.items() if not self.roster.is_past(known)}
        self._rounds[number] = _Round(fact.context.snapshot.opens_at_s * 1000)
        for member in self._down | (self._byzantine & set(fact.members)):
            self._lose(member)

    def _running(self) -> _Round | None:
        known = self._rounds.get(self.roster.newest_round)
        return known if known is not None and known.ended is None else None

    def _lose(self, member: int) -> None:
        known, began = self._running(), self.roster.canonical.get(self.roster.newest_round)
        if known is not None and began is not None and member in began.members:
            known.lost.append((member, began.context.role_of(began.members.index(member))))

    def _stopped(self, fact: Stopped) -> None:
        self._down.add(fact.member)
        self._lose(fact.member)

    def _started(self, fact: Started) -> None:
        self._down.discard(fact.member)
        self._up_since_ms[fact.member] = fact.at_ms

    def _healed(self, fact: Healed) -> None:
        self._healed_at_ms = fact.at_ms

    def _ended(self, fact: Ended) -> None:
        self._ended_at_ms = fact.at_ms

    def _model_applied(self, fact: ModelApplied) -> None:
        self._applied.setdefault(fact.round, set()).add(fact.member)

    # --- the chain -----------------------------------------------------------------------------------------------

    def _logged(self, fact: Logged) -> None:
        event = fact.event
        if isinstance(event, AllianceClosed):
            self._is_closed = True
        if not isinstance(event, RoundSealed | RoundSettled | RoundVoided):
            return
        known = self._rounds.get(event.round)
        if known is None:
            return
        if isinstance(event, RoundSealed):
            known.sealed_at_ms = fact.at_ms
            return
        known.ended, known.ended_at_ms = event, fact.at_ms
        self._is_closed = self._is_closed or (isinstance(event, RoundSettled) and event.closed)
        self._judge(event.round, known, fact.at_ms)

    def _reorganised(self, fact: Reorganised) -> None:
        for known in self._rounds.values():
            if known.ended is not None and known.ended.at.block >= fact.first_block:
                known.ended = known.ended_at_ms = None
                self._is_closed = False

    def _judge(self, number: int, known: _Round, now_ms: int) -> None:
        """The round's length against what its dead may cost: trainers a share of TRAIN, a validator one timeout."""
        params, taken_ms = self.roster.params, now_ms - known.opens_at_ms
        self._check_limit(number, known, now_ms)
        if not self.roster.is_calm or self.roster.quiet_round_ms is None:
            return
        trainers = sum(role is Role.TRAINER for _, role in known.lost)
        validators = len(known.lost) - trainers
        timeout_s = max(params.seal_seconds, params.unmask_seconds, params.commit_seconds, params.settle_seconds)
        allowed_ms = self.roster.quiet_round_ms + validators * (timeout_s * 1000 + GRACE_MS)
        if known.lost:
            allowed_ms += self._compute_train_wait_ms(number, known, validators) if trainers else 0
            allowed_ms += GRACE_MS
        if taken_ms > allowed_ms:
            lost = ", ".join(f"{role.value} {member}" for member, role in known.lost)
            raise self.fail(f"round {number} took {taken_ms} ms where {allowed_ms} are due (lost: {lost or 'nobody'})")
        if isinstance(known.ended, RoundVoided) and len(known.lost) <= 1:
            raise self.fail(f"round {number} is void because of a single member")

    def _compute_train_wait_ms(self, number: int, known: _Round, validators: int) -> int:
        """How long the round may wait for its lost trainers: for the dead a share of the train phase.

        Who came back is waited for again, who is silent keeps its connections, and without whom no cohort can be sealed
        is waited for too: the whole phase. A validator that was started again counts the share anew.
        """
        params, began = self.roster.params, self.roster.canonical[number]
        members = [member for member, role in known.lost if role is Role.TRAINER]
        lost = {began.members.index(member) for member in members}
        left = began.context.eligible_trainers - lost
        largest = max(len(left & set(cohort)) for cohort in began.context.assignment.cohorts)
        if self._down >= set(members) and len(lost) == len(members) and largest >= params.survivors_min:
            return min(params.train_seconds * 1000, (1 + validators) * compute_lost_after_ms(params.train_seconds))
        return params.train_seconds * 1000

    def _check_limit(self, number: int, known: _Round, now_ms: int) -> None:
        """After healing no round outlasts all its deadlines and the members' patience."""
        if self._healed_at_ms is None:
            return
        limit_ms = max(known.opens_at_ms, self._healed_at_ms) + compute_round_max_ms(self.roster.params)
        if now_ms > limit_ms:
            raise self.fail(f"round {number} did not end within its deadlines, though everything is well again")

    def finish(self) -> None:
        """Nothing hangs, and every honest member that is up has what the chain settled."""
        ended_at_ms, healed_at_ms = self._ended_at_ms, self._healed_at_ms
        if ended_at_ms is None or healed_at_ms is None:
            return
        running = self._running()
        if running is not None and not self._is_closed:
            self._check_limit(self.roster.newest_round, running, ended_at_ms)
        for number, known in sorted(self._rounds.items()):
            began = self.roster.canonical.get(number)
            if not isinstance(known.ended, RoundSettled) or known.ended_at_ms is None or began is None:
                continue
            for member in began.members:
                is_due = self.roster.is_honest(member) and member not in self._down
                since_ms = max(known.ended_at_ms, healed_at_ms, self._up_since_ms.get(member, 0))
                late = ended_at_ms - since_ms > SETTLE_MS
                if is_due and late and member not in self._applied.get(number, ()):
                    raise self.fail(f"member {member} never settled round {number}")
