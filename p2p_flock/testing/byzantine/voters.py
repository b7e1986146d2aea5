"""Byzantine validators that follow the protocol and vote otherwise than they measured, or let a trainer go missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from p2p_flock.alliance.sealing import make_have, make_seal, read_have
from p2p_flock.crypto.signing import GRADE_MAX
from p2p_flock.ports import Effect, EvaluationFinished, Event, Send, StoreBlobs
from p2p_flock.testing.byzantine.validators import CrookedValidator
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import MANIFEST_BYTES_MAX, MESSAGE_BYTES_MAX, Envelope, Have, Manifest, SealProposal


class CrookedVoter(CrookedValidator):
    """Votes what it likes about cohorts that it opened."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if isinstance(event, EvaluationFinished):
            accepted = self.choose({cohort: event.accepted.get(cohort, False) for cohort in self.aggregates})
            grades = {cohort: GRADE_MAX if is_good else 0 for cohort, is_good in accepted.items()}
            event = EvaluationFinished(accepted, grades, event.score_micro)
        return super().handle(event, now_ms)

    def choose(self, measured: Mapping[int, bool]) -> Mapping[int, bool]:
        """Its votes by cohort, for what it measured."""
        raise NotImplementedError


class AlwaysYes(CrookedVoter):
    """Finds everything good, without looking."""

    def choose(self, measured: Mapping[int, bool]) -> Mapping[int, bool]:
        return dict.fromkeys(measured, True)


class AlwaysNo(CrookedVoter):
    """Finds everything bad: whatever it has a part in stands still if it can."""

    def choose(self, measured: Mapping[int, bool]) -> Mapping[int, bool]:
        return dict.fromkeys(measured, False)


class VotesOpposite(CrookedVoter):
    """Says the contrary of what it measured."""

    def choose(self, measured: Mapping[int, bool]) -> Mapping[int, bool]:
        return {cohort: not is_good for cohort, is_good in measured.items()}


class ColludingValidator(CrookedVoter):
    """Votes for cohorts with an accomplice in them and against all others: theirs pass, and the honest look bad."""

    def choose(self, measured: Mapping[int, bool]) -> Mapping[int, bool]:
        ours = self.mind.coalition.owners
        return {
            cohort: any(self.context.seat(seat).owner in ours for seat in self.context.assignment.cohorts[cohort])
            for cohort in measured
        }


class OmitsSurvivor(CrookedValidator):
    """Never holds one trainer's contribution, and as a leader carries just the Have messages that leave it out."""

    _own_have: Envelope | None = None

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if self.says(effect, Have):
            assert isinstance(effect, Send)
            held = read_have(self.context, decode(Have, effect.envelope.body, MESSAGE_BYTES_MAX))
            held.pop(self.victim, None)
            sent = self.send(effect.seats, make_have(self.context, held))
            self._own_have = sent.envelope
            return (sent,)
        if self.says(effect, SealProposal) and self._own_have is not None:
            assert isinstance(effect, Send)
            proposal = decode(SealProposal, effect.envelope.body, MESSAGE_BYTES_MAX)
            whole = decode(Manifest, proposal.manifest, MANIFEST_BYTES_MAX)
            manifest = Manifest(whole.round, tuple(entry for entry in whole.entries if entry.seat != self.victim))
            seal = make_seal(self.context, proposal.view, manifest)
            self._seals._proposed = seal  # what it gathers signatures for, and posts
            self._seals._signatures = {self.position: self._ballots._sign(seal.signing_digest)}
            others = [have for have in proposal.haves if have.seat != self.seat]
            haves = (self._own_have, *others[: self.context.params.seal_quorum - 1])
            fewer = replace(
                proposal,
                manifest=encode(manifest),
                haves=tuple(sorted(haves, key=lambda have: have.seat)),
            )
            return StoreBlobs((fewer.manifest,)), self.send(effect.seats, fewer)
        return (effect,)

    @property
    def victim(self) -> int:
        """The first of the round's trainers."""
        return self.context.trainers[0]


KINDS: tuple[type[CrookedValidator], ...] = (AlwaysNo, AlwaysYes, ColludingValidator, OmitsSurvivor, VotesOpposite)
