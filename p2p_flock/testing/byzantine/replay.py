"""Byzantine members that say true things again where they are not true any more: old messages, old signatures, another
alliance's. Nothing of it may count: every signature binds chain, contract, alliance, round and kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from p2p_flock.alliance.context import RoundContext
from p2p_flock.crypto.signing import envelope_digest
from p2p_flock.ports import CommitRound, Effect, Event, MessageReceived, Send, SettleRound, Signer, Transact
from p2p_flock.testing.byzantine.mind import Mind
from p2p_flock.testing.byzantine.trainers import CrookedTrainer
from p2p_flock.testing.byzantine.validators import CrookedValidator
from p2p_flock.types import Domain
from p2p_flock.wire.messages import Envelope

BURST_MS = 2000
REPLAYED_AT_ONCE = 4


class Replay:
    """What one member says again in one round. Everybody's words, in the own name only what it once signed itself."""

    def __init__(self, context: RoundContext, seat: int, sign: Signer, mind: Mind) -> None:
        self._context, self._seat, self._sign, self._mind = context, seat, sign, mind
        self._next_ms, self._turn = 0, 0
        # What is here already was said before this machine was made: in earlier rounds, or before a restart.
        self._old = tuple(mind.heard)

    def hear(self, envelope: Envelope) -> None:
        """Keep what was said now for the rounds to come."""
        self._mind.heard.append(envelope)

    def note(self, effects: Sequence[Effect]) -> None:
        """Keep what the own machine says and posts."""
        for effect in effects:
            if isinstance(effect, Send):
                self._mind.heard.append(effect.envelope)
            elif isinstance(effect, Transact) and isinstance(effect.call, CommitRound | SettleRound):
                self._mind.posted.append(effect.call)

    def make(self, now_ms: int) -> tuple[Effect, ...]:
        """A few of them, now and then, to all other validators."""
        if now_ms < self._next_ms:
            return ()
        self._next_ms = now_ms + BURST_MS
        everyone = tuple(seat for seat in self._context.assignment.validators if seat != self._seat)
        known = self._old or tuple(self._mind.heard)
        chosen = [known[(self._turn + step) % len(known)] for step in range(min(REPLAYED_AT_ONCE, len(known)))]
        self._turn += REPLAYED_AT_ONCE
        return tuple(Send(everyone, envelope) for said in chosen for envelope in self._vary(said))

    def _vary(self, said: Envelope) -> tuple[Envelope, ...]:
        """As it was; as if it were of this round; and as a member of another alliance would have signed it."""
        context = self._context
        strange = Domain(context.domain.chain_id, context.domain.contract[::-1], context.domain.alliance + 1)
        digest = envelope_digest(strange, said.kind, context.round, self._seat, said.body)
        return (
            said,
            replace(said, round=context.round),
            Envelope(said.kind, context.round, self._seat, said.body, self._sign(digest)),
        )


class ReplayingTrainer(CrookedTrainer):
    """Contributes and answers in due form, and says old things besides."""

    _replay: Replay | None = None

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if self._replay is None:
            self._replay = Replay(self.context, self.seat, self._sign, self.mind)
        if isinstance(event, MessageReceived):
            self._replay.hear(event.envelope)
        effects = super().handle(event, now_ms)
        self._replay.note(effects)
        return (*effects, *self._replay.make(now_ms))


class ReplayingValidator(CrookedValidator):
    """Votes in due form, says old things besides, and posts the last rounds' commitments and ballots once more."""

    _replay: Replay | None = None
    _is_posted = False

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if self._replay is None:
            self._replay = Replay(self.context, self.seat, self._ballots._sign, self.mind)
            self._old_calls = tuple(self.mind.posted)[-REPLAYED_AT_ONCE:]
        if isinstance(event, MessageReceived):
            self._replay.hear(event.envelope)
        effects = super().handle(event, now_ms)
        self._replay.note(effects)
        posts: tuple[Effect, ...] = ()
        if not self._is_posted and self._ballots.has_voted:
            self._is_posted = True
            posts = tuple(Transact(call) for call in self._old_calls)
        return (*effects, *self._replay.make(now_ms), *posts)
