"""P5: evidence convicts nobody honest, no honest member is slashed, and suspension follows real absence or rejections.

And nothing but a slash and the owner's own withdrawal takes from a stake: to be suspended or suspected costs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from p2p_flock.alliance.accusing import make_court
from p2p_flock.alliance.evidence import EVIDENCE_BYTES_MAX, EvidenceRecord, check_evidence, fault_of
from p2p_flock.chain_events import (
    BallotRevealed,
    RoundSealed,
    RoundSettled,
    SeatJoined,
    SeatSuspected,
    SeatSuspended,
    Slashed,
    StakeWithdrawn,
)
from p2p_flock.errors import EvidenceError, WireError
from p2p_flock.testing.checkers.base import Checker, Handler, Roster
from p2p_flock.testing.facts import Accused, BalanceTaken, Logged, Reorganised, RoundBegan, Started, Stopped
from p2p_flock.types import CohortOutcome
from p2p_flock.wire.codec import decode


@dataclass
class _Round:
    """Presence in one round as the chain has it: members sealed or revealed, and who was down while it ran."""

    sealed: RoundSealed | None = None
    revealed: dict[int, BallotRevealed] = field(default_factory=dict)
    settled: RoundSettled | None = None
    disturbed: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was decided in ``block`` about the cohort in which a member was a sealed trainer in ``round``."""

    round: int
    block: int
    outcome: CohortOutcome


VERDICTS_KEPT = 256  # of each member, the newest; no window that nodes show is longer


class Slashing(Checker):
    """See the module."""

    name = "P5"

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._rounds: dict[int, _Round] = {}
        self._down: set[int] = set()
        self._judged: set[bytes] = set()
        self._verdicts: dict[bytes, list[_Verdict]] = {}  # by owner
        self._staked: list[tuple[int, int]] = []  # (block, wei that came to the stakes or left them)

    def handlers(self) -> Mapping[type, Handler]:
        return {
            RoundBegan: self._began, Accused: self._accused, Logged: self._logged, Reorganised: self._reorganised,
            Stopped: self._stopped, Started: self._started, BalanceTaken: self._taken,
        }  # fmt: skip

    def _of(self, number: int) -> _Round:
        return self._rounds.setdefault(number, _Round(disturbed=set(self._down)))

    def _began(self, fact: RoundBegan) -> None:
        self._rounds = {number: known for number, known in self._rounds.items() if not self.roster.is_past(number)}
        self._of(fact.context.round).disturbed |= self._down
        self._judged.clear()

    def _stopped(self, fact: Stopped) -> None:
        self._down.add(fact.member)
        if self.roster.newest_round >= 0:
            self._of(self.roster.newest_round).disturbed.add(fact.member)

    def _started(self, fact: Started) -> None:
        self._down.discard(fact.member)

    # --- evidence ------------------------------------------------------------------------------------------------

    def _accused(self, fact: Accused) -> None:
        """Anybody may lie, but nothing that anybody posts may convict the honest; nor do the honest post nonsense."""
        context = self.roster.context_of(fact.member, fact.round)
        is_honest = self.roster.is_honest(fact.member)
        if context is None or fact.evidence in self._judged:
            return
        self._judged.add(fact.evidence)
        try:
            (evidence,) = decode(EvidenceRecord, fact.evidence, EVIDENCE_BYTES_MAX).evidence
            owners = check_evidence(make_court(context), evidence)
        except (EvidenceError, WireError) as error:
            if is_honest:
                raise self.fail(f"member {fact.member} would post what the contract refuses: {error}") from error
            return
        convicted = [self.roster.member_of(owner) for owner in owners]
        innocent = [member for member in convicted if member is not None and self.roster.is_honest(member)]
        if innocent:
            words = fault_of(evidence).words
            raise self.fail(f"member {fact.member} would have the honest member {innocent[0]} slashed for {words}")

    # --- the chain -----------------------------------------------------------------------------------------------

    def _logged(self, fact: Logged) -> None:
        match fact.event:
            case RoundSealed() as event:
                self._of(event.round).sealed = event
            case BallotRevealed() as event:
                self._of(event.round).revealed[event.position] = event
            case RoundSettled() as event:
                self._of(event.round).settled = event
                self._note_verdicts(event)
            case SeatJoined() as event:
                self._verdicts[event.owner] = []
                self._staked.append((event.at.block, self.roster.params.seat_stake))
            case StakeWithdrawn() as event:
                self._staked.append((event.at.block, -event.amount))
            case Slashed() as event:
                self._staked.append((event.at.block, -event.amount))
                member = self.roster.member_of(event.owner)
                if member is not None and self.roster.is_honest(member):
                    raise self.fail(f"the honest member {member} was slashed for fault {event.fault}")
            case SeatSuspended() as event:
                self._suspended(event)
            case SeatSuspected() as event:
                self._suspected(event)

    def _reorganised(self, fact: Reorganised) -> None:
        for known in self._rounds.values():
            if known.sealed is not None and known.sealed.at.block >= fact.first_block:
                known.sealed = None
            known.revealed = {p: event for p, event in known.revealed.items() if event.at.block < fact.first_block}
            if known.settled is not None and known.settled.at.block >= fact.first_block:
                known.settled = None
        for owner, verdicts in self._verdicts.items():
            self._verdicts[owner] = [verdict for verdict in verdicts if verdict.block < fact.first_block]
        self._staked = [(block, wei) for block, wei in self._staked if block < fact.first_block]

    def _taken(self, fact: BalanceTaken) -> None:
        expected = sum(wei for _, wei in self._staked)
        if self._staked and fact.stakes != expected:
            raise self.fail(f"stakes are {fact.stakes} wei; joins, slashes and withdrawals leave {expected}")

    # --- suspicion -----------------------------------------------------------------------------------------------

    def _note_verdicts(self, event: RoundSettled) -> None:
        known, began = self._rounds[event.round], self.roster.canonical.get(event.round)
        if began is None or known.sealed is None:
            return  # P2 complains
        bits = sum(word << 256 * place for place, word in enumerate(known.sealed.survivors))
        for index, seat in enumerate(began.context.trainers):
            if bits >> index & 1:
                outcome = CohortOutcome(event.outcomes[began.context.assignment.cohort_of(seat)])
                verdicts = self._verdicts.setdefault(began.context.seat(seat).owner, [])
                verdicts.append(_Verdict(event.round, event.at.block, outcome))
                del verdicts[:-VERDICTS_KEPT]

    def _suspected(self, event: SeatSuspected) -> None:
        """Counted back from the newest verdict, where the contract counts forward from the oldest."""
        member, bound, rejections = self.roster.member_of(event.owner), self.roster.params.suspicion_bound, 0
        if not bound:
            raise self.fail(f"member {member} was suspended as suspected in an alliance without such a rule")
        for verdict in reversed(self._verdicts.get(event.owner, [])):
            if verdict.outcome is CohortOutcome.ADOPTED or verdict.round < event.first_round:
                break
            rejections += verdict.outcome is CohortOutcome.REJECTED
        if rejections < bound:
            raise self.fail(f"member {member} was suspected after {rejections} rejections in a row, not {bound}")

    def _suspended(self, event: SeatSuspended) -> None:
        member = self.roster.member_of(event.owner)
        if member is None:
            return
        if event.first_round >= event.second_round:
            raise self.fail(f"member {member} was suspended for one round counted twice")
        for number in range(event.first_round, event.second_round + 1):
            known = self._rounds.get(number)
            if known is None or self.roster.is_past(number):
                continue
            is_named = number in (event.first_round, event.second_round)
            if is_named and (known.settled is None or self._was_present(number, event.owner)):
                raise self.fail(f"member {member} was suspended for round {number}, in which it took part")
            if not is_named and known.settled is not None and self._was_present(number, event.owner):
                raise self.fail(f"member {member} was suspended, though present between its two absences")
            is_blameless = self.roster.is_calm and self.roster.is_honest(member) and member not in known.disturbed
            if is_named and is_blameless:
                raise self.fail(f"the honest member {member} was up all through round {number} and suspended for it")

    def _was_present(self, number: int, owner: bytes) -> bool:
        """Sealed as a trainer or revealed as a validator, by the chain; whoever had no seat is not absent."""
        known, began = self._rounds[number], self.roster.canonical.get(number)
        if began is None or known.sealed is None:
            return False
        context = began.context
        seat = next((seat.index for seat in context.snapshot.seats if seat.owner == owner), None)
        if seat is None:
            return True
        if seat in context.assignment.validators:
            return context.assignment.validators.index(seat) in known.revealed
        index = context.trainers.index(seat)
        bits = sum(word << 256 * place for place, word in enumerate(known.sealed.survivors))
        return bool(bits >> index & 1)
