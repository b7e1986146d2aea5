"""P8: persist first; no two contradicting messages in a member's life, across restarts and reorganisations; promises
are kept; who was restored from an old backup sits out. And a ballot is shown only when no commitment is taken any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from p2p_flock.alliance.sealing import read_have
from p2p_flock.crypto.suite import sha256
from p2p_flock.errors import WireError
from p2p_flock.ports import CommitPhaseEnded, Persist
from p2p_flock.testing.checkers.base import Checker, Handler, Roster
from p2p_flock.testing.facts import Acted, Persisted, RoundBegan, Said, Started
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import (
    Ballot,
    BallotCommitment,
    Contribution,
    Have,
    Message,
    SealProposal,
    SealSignature,
    Unmasking,
)

# What stands in the journal before the message leaves the node (alliance/SPEC.md, "Restart").
RECORD_OF: Mapping[type[Message], str] = {
    Contribution: "contribution",
    Unmasking: "unmasking",
    Have: "have",
    SealSignature: "seal-signature",
    SealProposal: "seal-signature",
    BallotCommitment: "ballot",
    Ballot: "ballot",
}
WHOLE_ENVELOPE = (Contribution, Unmasking)
AS_IT_IS = (Have, SealSignature, Ballot)
SAID_ONCE = (Contribution, Unmasking, BallotCommitment, Ballot)


@dataclass
class _Life:
    """One member's words of one round number.

    Attributes:
        claims: what was claimed under a name that may carry one claim only.
        kinds, bodies: journal records that are on disk; bodies as digests.
        may_reveal: the chain's commit phase was over, as this member was told.
    """

    claims: dict[tuple[object, ...], bytes] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    bodies: set[tuple[str, bytes]] = field(default_factory=set)
    may_reveal: bool = False


class Promises(Checker):
    """See the module. Byzantine members promise nothing."""

    name = "P8"

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._lives: dict[tuple[int, int], _Life] = {}  # (member, round)
        self._sits_out: dict[int, int] = {}  # member -> newest round when it was restored

    def handlers(self) -> Mapping[type, Handler]:
        return {
            RoundBegan: self._forget, Acted: self._acted, Persisted: self._persisted, Said: self._said,
            Started: self._started,
        }  # fmt: skip

    def _forget(self, fact: RoundBegan) -> None:
        if any(self.roster.is_past(number) for _, number in self._lives):
            self._lives = {key: life for key, life in self._lives.items() if not self.roster.is_past(key[1])}

    def _life(self, member: int, round_number: int) -> _Life:
        return self._lives.setdefault((member, round_number), _Life())

    def _started(self, fact: Started) -> None:
        if fact.restored:
            self._sits_out[fact.member] = self.roster.newest_round
            for (member, _), life in self._lives.items():
                if member == fact.member:  # what it finds again is told again as Persisted
                    life.kinds, life.bodies = set(), set()

    def _acted(self, fact: Acted) -> None:
        if isinstance(fact.event, CommitPhaseEnded):
            self._life(fact.member, fact.round).may_reveal = True
        is_other = False
        for effect in fact.effects:
            if not isinstance(effect, Persist):
                is_other = True
            elif is_other and self.roster.is_honest(fact.member):
                raise self.fail(f"round {fact.round}: member {fact.member} speaks before it persists")

    def _persisted(self, fact: Persisted) -> None:
        life, record = self._life(fact.member, fact.round), fact.record
        life.kinds.add(record.kind)
        life.bodies.add((record.kind, sha256(record.body)))

    # --- what is said ------------------------------------------------------------------------------------------

    def _said(self, fact: Said) -> None:
        message, member = fact.message, fact.member
        if message is None or not self.roster.is_honest(member):
            return
        if not self.roster.is_own_seat(member, fact.round, fact.envelope.seat):
            return  # somebody else's contribution, shown to whoever heard another one
        life, kind = self._life(member, fact.round), type(message).__name__
        for name, body in self._claims(fact, message):
            if life.claims.setdefault(name, body) != body:
                raise self.fail(f"round {fact.round}: member {member} said two different {kind}")
        if not self._is_kept(life, fact, message):
            raise self.fail(f"round {fact.round}: member {member} said a {kind} that is not in its journal")
        if isinstance(message, Ballot) and not life.may_reveal:
            raise self.fail(f"round {fact.round}: member {member} showed its ballot before the commit phase was over")
        if fact.round <= self._sits_out.get(member, -1):
            raise self.fail(f"round {fact.round}: member {member} was restored from an old backup and takes part")

    def _claims(self, fact: Said, message: Message) -> Iterator[tuple[tuple[object, ...], bytes]]:
        """(name, body): the same name never carries two bodies."""
        if isinstance(message, SAID_ONCE):
            yield (type(message),), sha256(fact.envelope.body)
        elif isinstance(message, SealSignature):
            yield (SealSignature, message.view), message.seal
        elif isinstance(message, SealProposal):
            yield (SealProposal, message.view), sha256(message.manifest)
        elif isinstance(message, Have):
            yield from self._roots(fact, message)

    def _roots(self, fact: Said, have: Have) -> Iterator[tuple[tuple[object, ...], bytes]]:
        """A validator never names two roots of one trainer. Bits are places in the order of one seed."""
        context = self.roster.context_of(fact.member, fact.round)
        if context is None:
            return
        try:
            roots = read_have(context, have)
        except WireError as error:
            raise self.fail(f"round {fact.round}: member {fact.member} said a Have that is none: {error}") from error
        for seat, root in roots.items():
            yield (Have, context.seed, context.seat(seat).owner), root

    def _is_kept(self, life: _Life, fact: Said, message: Message) -> bool:
        kind = RECORD_OF[type(message)]
        if isinstance(message, WHOLE_ENVELOPE):
            return (kind, sha256(encode(fact.envelope))) in life.bodies
        if isinstance(message, AS_IT_IS):
            return (kind, sha256(fact.envelope.body)) in life.bodies
        return kind in life.kinds
