"""Byzantine validators: honest machines that lie in one way each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.evidence import Equivocation, EvidenceRecord
from p2p_flock.alliance.proposing import SEAL_SIGNATURE
from p2p_flock.alliance.sealing import make_have, make_seal, read_have
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.alliance.voting import make_salt
from p2p_flock.crypto.signing import GRADE_MAX, commit_digest
from p2p_flock.crypto.suite import sha256
from p2p_flock.errors import ParameterError, WireError
from p2p_flock.params import SCORE_MICRO_MAX
from p2p_flock.ports import (
    Accuse,
    CohortOpened,
    CommitRound,
    Effect,
    Event,
    MessageReceived,
    Persist,
    SealRound,
    Send,
    SettleRound,
    Signer,
    StoreBlobs,
    TimePassed,
    Transact,
)
from p2p_flock.secagg.opening import Opened
from p2p_flock.testing.byzantine.mind import Mind
from p2p_flock.testing.byzantine.noise import Noise
from p2p_flock.types import Vote
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import (
    KIND_OF_MESSAGE,
    MANIFEST_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    Ballot,
    BallotCommitment,
    Contribution,
    Envelope,
    Have,
    Manifest,
    ManifestEntry,
    Message,
    SealProposal,
    SealSignature,
)


class CrookedValidator(ValidatorMachine):
    """An honest validator up to what becomes of its effects.

    Attributes:
        mind: what its member remembers of earlier rounds.
    """

    def __init__(self, context: RoundContext, seat: int, sign: Signer, mind: Mind | None = None) -> None:
        super().__init__(context, seat, sign)
        self.mind = mind or Mind()

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        return self._twist(super().start(records, now_ms))

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        return (*self._twist(super().handle(event, now_ms)), *self.also(event, now_ms))

    def _twist(self, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        return tuple(twisted for effect in effects for twisted in self.twist(effect))

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        """What becomes of one effect."""
        return (effect,)

    def also(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        """What it does besides."""
        return ()

    def says(self, effect: Effect, kind: type[Message]) -> bool:
        """Whether the effect sends a message of this kind."""
        return isinstance(effect, Send) and effect.envelope.kind == KIND_OF_MESSAGE[kind]

    def send(self, seats: tuple[int, ...], message: Message) -> Send:
        """A message of its own, well signed."""
        return Send(seats, self.context.seal_envelope(self.seat, message, self._ballots._sign))

    @property
    def others(self) -> tuple[int, ...]:
        """The other validators."""
        return tuple(seat for seat in self.context.assignment.validators if seat != self.seat)

    @property
    def position(self) -> int:
        """Its place among the validators."""
        return self.context.assignment.validators.index(self.seat)


# --- Have and seal -----------------------------------------------------------------------------------------------


class ClaimsAll(CrookedValidator):
    """Says that it holds whatever it has heard of."""

    def __init__(self, context: RoundContext, seat: int, sign: Signer, mind: Mind | None = None) -> None:
        super().__init__(context, seat, sign, mind)
        self._heard: dict[int, bytes] = {}

    def also(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if isinstance(event, MessageReceived) and isinstance(event.message, Contribution):
            self._heard.setdefault(event.envelope.seat, event.message.root)
            if len(self._heard) >= len(self.context.eligible_trainers):
                return (self.send(self.others, make_have(self.context, self._heard)),)
        return ()

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not self.says(effect, Have):
            return (effect,)
        assert isinstance(effect, Send)
        if effect.envelope.seat != self.seat:
            return (effect,)
        held = read_have(self.context, decode(Have, effect.envelope.body, MESSAGE_BYTES_MAX))
        return (self.send(effect.seats, make_have(self.context, {**self._heard, **held})),)


class ClaimsNothing(CrookedValidator):
    """Says that it holds nothing but one contribution, so that the others must do without it."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not self.says(effect, Have):
            return (effect,)
        assert isinstance(effect, Send)
        held = read_have(self.context, decode(Have, effect.envelope.body, MESSAGE_BYTES_MAX))
        return (self.send(effect.seats, make_have(self.context, dict(list(held.items())[:1]))),)


class TwoHaves(CrookedValidator):
    """Names to each validator another root of one trainer."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not self.says(effect, Have):
            return (effect,)
        assert isinstance(effect, Send)
        held = read_have(self.context, decode(Have, effect.envelope.body, MESSAGE_BYTES_MAX))
        victim = min(held)
        twisted = {**held, victim: sha256(held[victim])}
        return (
            Send(effect.seats[::2], effect.envelope),
            self.send(effect.seats[1::2], make_have(self.context, twisted)),
        )


class TwoSeals(CrookedValidator):
    """As a leader proposes two seals in its view; as another validator signs every seal that anybody proposes."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if isinstance(effect, Persist) and effect.kind == SEAL_SIGNATURE:
            return ()  # it promises nothing
        if not self.says(effect, SealProposal):
            return (effect,)
        assert isinstance(effect, Send)
        proposal = decode(SealProposal, effect.envelope.body, MESSAGE_BYTES_MAX)
        manifest = decode(Manifest, proposal.manifest, MANIFEST_BYTES_MAX)
        fewer = encode(Manifest(manifest.round, manifest.entries[1:] or manifest.entries))
        return (
            Send(effect.seats[::2], effect.envelope),
            StoreBlobs((fewer,)),
            self.send(effect.seats[1::2], replace(proposal, manifest=fewer)),
        )

    def also(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if not (isinstance(event, MessageReceived) and isinstance(event.message, SealProposal)):
            return ()
        proposal, leader = event.message, event.envelope.seat
        try:
            manifest = decode(Manifest, proposal.manifest, MANIFEST_BYTES_MAX)
            seal = make_seal(self.context, proposal.view, manifest)
        except (WireError, ParameterError, KeyError):
            return ()
        signature = SealSignature(seal.view, seal.digest, self._ballots._sign(seal.signing_digest))
        return StoreBlobs((encode(manifest),)), self.send((leader,), signature)


class NamesStranger(CrookedValidator):
    """As a leader proposes a seal that names a trainer whom nobody holds, with a root that nobody knows."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not self.says(effect, SealProposal):
            return (effect,)
        assert isinstance(effect, Send)
        proposal = decode(SealProposal, effect.envelope.body, MESSAGE_BYTES_MAX)
        manifest = decode(Manifest, proposal.manifest, MANIFEST_BYTES_MAX)
        sealed = {entry.seat for entry in manifest.entries}
        absent = [seat for seat in self.context.trainers if seat not in sealed]
        stranger = absent[0] if absent else self.seat
        entries = (*manifest.entries, ManifestEntry(stranger, sha256(b"root"), sha256(b"document"), sha256(b"key")))
        return (self.send(effect.seats, replace(proposal, manifest=encode(Manifest(manifest.round, entries)))),)


class InstallsOwnKeys(CrookedValidator):
    """As a leader proposes a seal that installs mask keys of its own making."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not self.says(effect, SealProposal):
            return (effect,)
        assert isinstance(effect, Send)
        proposal = decode(SealProposal, effect.envelope.body, MESSAGE_BYTES_MAX)
        manifest = decode(Manifest, proposal.manifest, MANIFEST_BYTES_MAX)
        entries = tuple(replace(entry, next_mask_key=sha256(entry.next_mask_key)) for entry in manifest.entries)
        return (self.send(effect.seats, replace(proposal, manifest=encode(Manifest(manifest.round, entries)))),)


class WithholdsManifest(CrookedValidator):
    """Serves nothing: what it sealed, others must have."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        return () if isinstance(effect, StoreBlobs) else (effect,)


class NeverSigns(CrookedValidator):
    """Does everything but sign other leaders' seals."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        return () if self.says(effect, SealSignature) else (effect,)


# --- votes -------------------------------------------------------------------------------------------------------


class TwoBallots(CrookedValidator):
    """Commits to two ballots, and reveals one to each half."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if self.says(effect, BallotCommitment):
            assert isinstance(effect, Send)
            said = decode(BallotCommitment, effect.envelope.body, MESSAGE_BYTES_MAX)
            other = sha256(said.commitment)
            digest = commit_digest(self.context.domain, self.context.round, said.seal, self.position, other)
            second = BallotCommitment(said.seal, other, self._ballots._sign(digest))
            return Send(effect.seats[::2], effect.envelope), self.send(effect.seats[1::2], second)
        if self.says(effect, Ballot):
            assert isinstance(effect, Send)
            ballot = decode(Ballot, effect.envelope.body, MESSAGE_BYTES_MAX)
            flipped = replace(ballot, verdicts=bytes(Vote.NO for _ in ballot.verdicts))
            return Send(effect.seats[::2], effect.envelope), self.send(effect.seats[1::2], flipped)
        return (effect,)


class CopiesVotes(CrookedValidator):
    """Commits to what another validator committed to, and hopes to reveal the same."""

    _is_done = False

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        return () if self.says(effect, BallotCommitment) or self.says(effect, Ballot) else (effect,)

    def also(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if not isinstance(event, MessageReceived) or event.envelope.seat == self.seat:
            return ()
        if isinstance(event.message, Ballot):
            return (self.send(self.others, event.message),)
        if self._is_done or not isinstance(event.message, BallotCommitment):
            return ()
        self._is_done = True
        said = event.message
        digest = commit_digest(self.context.domain, self.context.round, said.seal, self.position, said.commitment)
        copied = BallotCommitment(said.seal, said.commitment, self._ballots._sign(digest))
        return self.send(self.others, copied), Transact(
            CommitRound((self.position,), (copied.commitment,), (copied.signature,))
        )


class RevealsEarly(CrookedValidator):
    """Shows its ballot as soon as it has one."""

    _is_done = False

    def also(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        ballot = self._ballots._ballot
        if self._is_done or ballot is None:
            return ()
        self._is_done = True
        return self.send(self.others, ballot), Transact(SettleRound((self.position,), (ballot,)))


class NeverReveals(CrookedValidator):
    """Commits, and shows no ballot."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        is_settling = isinstance(effect, Transact) and isinstance(effect.call, SettleRound)
        return () if is_settling or self.says(effect, Ballot) else (effect,)


class OmitsBallots(CrookedValidator):
    """Settles with its own ballot alone as soon as that ends the round: no other vote would count."""

    _is_done = False

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        return () if isinstance(effect, Transact) and isinstance(effect.call, SettleRound) else (effect,)

    def also(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        desk, ballot = self._ballots, self._ballots._ballot
        if self._is_done or ballot is None or not desk.is_commit_phase_over or now_ms < desk._reveal_deadline_ms:
            return ()
        self._is_done = True
        return (Transact(SettleRound((self.position,), (ballot,))),)


class WrongSum(CrookedValidator):
    """Swears to another sum than it opened."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if isinstance(event, CohortOpened) and isinstance(event.result, Opened):
            wrong = b"no sum at all"
            effects = super().handle(CohortOpened(event.cohort, Opened(sha256(wrong))), now_ms)
            return (*effects, StoreBlobs((wrong,)))
        return super().handle(event, now_ms)


class VotesGarbage(CrookedValidator):
    """Votes yes to sums that do not exist, and no to nothing in particular."""

    def _vote(
        self, votes: Mapping[int, Vote], grades: Mapping[int, int] | None = None, score_micro: int = 0
    ) -> list[Effect]:
        cohorts = range(self.context.params.cohort_count)
        self.aggregates = {cohort: sha256(bytes([cohort])) for cohort in cohorts}
        votes = {cohort: Vote.NO if cohort % 2 else Vote.YES for cohort in cohorts}
        return super()._vote(votes, dict.fromkeys(cohorts, GRADE_MAX), SCORE_MICRO_MAX)


class BadBallot(CrookedValidator):
    """Reveals what it did not commit to, with a verdict that is none."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not self.says(effect, Ballot):
            return (effect,)
        assert isinstance(effect, Send)
        ballot = decode(Ballot, effect.envelope.body, MESSAGE_BYTES_MAX)
        salt = sha256(make_salt(self.context, self.position, ballot.seal, self._ballots._sign))
        return (self.send(effect.seats, replace(ballot, verdicts=bytes([255] * len(ballot.verdicts)), salt=salt)),)


# --- the chain, silence, noise -----------------------------------------------------------------------------------


class PostsNonsense(CrookedValidator):
    """Sends transactions that the contract refuses."""

    _next_ms = 0

    def also(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if not isinstance(event, TimePassed) or now_ms < self._next_ms:
            return ()
        self._next_ms = now_ms + 4000
        words = (0,) * -(-len(self.context.trainers) // 256)
        quorum = tuple(range(self.context.params.seal_quorum))
        return (
            Transact(SealRound(0, bytes(32), words, quorum, tuple(bytes(65) for _ in quorum))),
            Transact(CommitRound((self.position,), (sha256(b""),), (bytes(65),))),
            Transact(SettleRound((), ())),
        )


class AccusesFalsely(CrookedValidator):
    """Posts evidence that proves nothing, against whoever speaks."""

    _is_done = False

    def also(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if self._is_done or not isinstance(event, MessageReceived):
            return ()
        self._is_done = True
        said = event.envelope
        twisted = Envelope(said.kind, said.round, said.seat, said.body + b"\0", said.signature)
        return (
            Accuse(encode(EvidenceRecord((Equivocation(said, twisted),)))),
            Accuse(encode(EvidenceRecord((Equivocation(said, said),)))),
        )


class HangingValidator(CrookedValidator):
    """Keeps its connections, and neither says nor posts anything."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        return () if isinstance(effect, Send | Transact) else (effect,)


class NeverPosts(CrookedValidator):
    """Leads, gathers, and never posts a transaction."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        return () if isinstance(effect, Transact) else (effect,)


class NoisyValidator(CrookedValidator):
    """Does its work and throws garbage besides."""

    _noise: Noise | None = None

    def also(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if self._noise is None:
            self._noise = Noise(self.context, self.seat, self._ballots._sign)
        if isinstance(event, MessageReceived):
            self._noise.hear(event.envelope)
        return self._noise.make(now_ms)


KINDS: tuple[type[CrookedValidator], ...] = (
    AccusesFalsely, BadBallot, ClaimsAll, ClaimsNothing, CopiesVotes, HangingValidator, InstallsOwnKeys, NamesStranger,
    NeverPosts, NeverReveals, NeverSigns, NoisyValidator, OmitsBallots, PostsNonsense, RevealsEarly, TwoBallots,
    TwoHaves, TwoSeals, VotesGarbage, WithholdsManifest, WrongSum,
)  # fmt: skip
