"""Byzantine trainers: honest machines that lie in one way each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.trainer import SECRETS, Phase, TrainerMachine
from p2p_flock.crypto import suite
from p2p_flock.crypto.fixed_point import Encoder
from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.crypto.ring import Words
from p2p_flock.ports import (
    Effect,
    Event,
    MaskUpdate,
    MessageReceived,
    Persist,
    SealObserved,
    Send,
    Signer,
    StoreBlobs,
    UpdateMasked,
)
from p2p_flock.secagg import keys
from p2p_flock.secagg.bundle import make_bundle, seal_bundle
from p2p_flock.secagg.contributor import (
    Contributed,
    Masking,
    PreparedContribution,
    assemble,
    commit_bundles,
    finish_contribution,
)
from p2p_flock.secagg.dealing import compute_dealing
from p2p_flock.secagg.document import build_columns
from p2p_flock.testing.byzantine.mind import Mind
from p2p_flock.testing.byzantine.noise import Noise
from p2p_flock.types import DIGEST_BYTES
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import (
    DOCUMENT_BYTES_MAX,
    KIND_OF_MESSAGE,
    MESSAGE_BYTES_MAX,
    Contribution,
    ContributionDocument,
    PairSeedShare,
    SelfMaskShare,
    Unmasking,
    UnmaskingItem,
)

APART_MIN = 3  # validators


class CrookedTrainer(TrainerMachine):
    """An honest trainer up to what becomes of its effects.

    Attributes:
        mind: what its member remembers of earlier rounds.
    """

    def __init__(
        self, context: RoundContext, seat: int, sign: Signer, mask_secret_key: bytes, mind: Mind | None = None
    ) -> None:
        super().__init__(context, seat, sign, mask_secret_key)
        self.mind = mind or Mind()

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        return self._twist(super().start(records, now_ms))

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        return self._twist(super().handle(event, now_ms))

    def _twist(self, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        return tuple(twisted for effect in effects for twisted in self.twist(effect))

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        """What becomes of one effect."""
        return (effect,)

    def serves(self, seat: int) -> bool:
        """Whether it gives its blobs to the member with this seat; only a simulation asks."""
        return True

    def says(self, effect: Effect, kind: type[Contribution] | type[Unmasking]) -> bool:
        """Whether the effect sends a message of this kind."""
        return isinstance(effect, Send) and effect.envelope.kind == KIND_OF_MESSAGE[kind]


class ForgingTrainer(CrookedTrainer):
    """Publishes another document or other bundles than an honest dealer would, under a root that fits them."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        masking = self._masking
        effects = super().handle(event, now_ms)
        if isinstance(event, UpdateMasked) and masking is not None and self.phase is Phase.PREPARED:
            effects = self._publish_forgery(masking, effects)
        return effects

    def _publish_forgery(self, masking: Masking, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        stored = next(effect for effect in effects if isinstance(effect, StoreBlobs))
        document = decode(ContributionDocument, stored.blobs[0], DOCUMENT_BYTES_MAX)
        forged = self.forge(masking, finish_contribution(masking, document.chunk_digests))
        self._secrets = forged.secrets
        self._contributor.phase = Contributed(self._secrets)
        contribution = Contribution(forged.root, forged.document_digest)
        self._contribution = self.context.seal_envelope(self.seat, contribution, self._sign)
        kept = Persist(SECRETS, forged.root.hex(), encode(self._secrets), secret=True)
        return (kept, StoreBlobs((encode(forged.document), forged.commitments, *forged.bundles.values())))

    def forge(self, masking: Masking, made: PreparedContribution) -> PreparedContribution:
        """What it publishes instead of ``made``."""
        raise NotImplementedError


def with_bundles(masking: Masking, made: PreparedContribution, bundles: Sequence[bytes]) -> PreparedContribution:
    """The contribution whose document commits to these bundles; paths to the columns' node do not change."""
    sealed = dict(zip(made.bundles, bundles, strict=True))
    columns = build_columns(masking.context, masking.seat, made.commitments)
    return commit_bundles(masking, made.document, made.commitments, columns, sealed)


def with_document(masking: Masking, made: PreparedContribution, document: ContributionDocument) -> PreparedContribution:
    """The contribution with another document, all else as it was and under the root that fits."""
    dealing = compute_dealing(masking.context, masking.seat, masking.self_mask, masking.pair_seeds)
    return assemble(masking, document, dealing, made.commitments)


class BadBundle(ForgingTrainer):
    """Seals nothing for half of its partners: bytes that no key opens."""

    def forge(self, masking: Masking, made: PreparedContribution) -> PreparedContribution:
        return with_bundles(
            masking, made, [bytes(len(data)) if place % 2 else data for place, data in enumerate(made.bundles.values())]
        )


class BadShareInBundle(ForgingTrainer):
    """Seals shares for one partner that it did not commit to."""

    def forge(self, masking: Masking, made: PreparedContribution) -> PreparedContribution:
        cohort, victim = masking.context, min(made.bundles)
        dealing = compute_dealing(cohort, self.seat, suite.sha256(masking.self_mask), masking.pair_seeds)
        key = keys.derive_bundle_key(cohort, masking.agreed[victim], self.seat, victim)
        columns = build_columns(cohort, self.seat, made.commitments)
        wrong = seal_bundle(cohort, key, make_bundle(cohort, dealing, columns, self.seat, victim))
        return with_bundles(
            masking, made, [wrong if partner == victim else data for partner, data in made.bundles.items()]
        )


class BadDealing(ForgingTrainer):
    """Shares another self mask than it masks with and commits to, so that nobody can open its cohort."""

    def forge(self, masking: Masking, made: PreparedContribution) -> PreparedContribution:
        other = replace(masking, self_mask=suite.sha256(masking.self_mask))
        wrong = finish_contribution(other, made.document.chunk_digests)
        mixed = replace(wrong.document, self_mask_commitment=made.document.self_mask_commitment)
        return with_document(other, wrong, mixed)


class WrongMask(ForgingTrainer):
    """Commits to and shares, all in order, another self mask than it masked with: the sum is garbage."""

    def forge(self, masking: Masking, made: PreparedContribution) -> PreparedContribution:
        other = replace(masking, self_mask=suite.sha256(masking.self_mask))
        return finish_contribution(other, made.document.chunk_digests)


class Quarreller(ForgingTrainer):
    """Commits to other pair seeds than its neighbors, as one would whose keys were substituted."""

    def forge(self, masking: Masking, made: PreparedContribution) -> PreparedContribution:
        other = bytes(byte ^ 1 for byte in made.document.pair_commitments)
        return with_document(masking, made, replace(made.document, pair_commitments=other))


class QuarrelsWithOne(ForgingTrainer):
    """Quarrels with a single neighbor: both are left out, and it costs the honest one a round at most."""

    def forge(self, masking: Masking, made: PreparedContribution) -> PreparedContribution:
        other = bytes(DIGEST_BYTES) + made.document.pair_commitments[DIGEST_BYTES:]
        return with_document(masking, made, replace(made.document, pair_commitments=other))


class MisshapenDocument(ForgingTrainer):
    """A document that is canonical and not of this cohort's form."""

    def forge(self, masking: Masking, made: PreparedContribution) -> PreparedContribution:
        wrong = replace(made.document, cohort=made.document.cohort ^ 1, lane_count=made.document.lane_count + 1)
        return with_document(masking, made, wrong)


class SpentKey(ForgingTrainer):
    """Installs a mask key of low order as its next one."""

    def forge(self, masking: Masking, made: PreparedContribution) -> PreparedContribution:
        return with_document(masking, made, replace(made.document, next_mask_key=bytes(32)))


class TwoContributions(CrookedTrainer):
    """Two whole contributions, both servable, each announced to half of the validators."""

    _second: Contribution | None = None

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        masking = self._masking
        effects = super().handle(event, now_ms)
        if isinstance(event, UpdateMasked) and masking is not None and self.phase is Phase.PREPARED:
            stored = next(effect for effect in effects if isinstance(effect, StoreBlobs))
            document = decode(ContributionDocument, stored.blobs[0], DOCUMENT_BYTES_MAX)
            changed = replace(document, next_mask_key=mask_public_key(suite.sha256(document.next_mask_key)))
            other = with_document(masking, finish_contribution(masking, document.chunk_digests), changed)
            self._second = Contribution(other.root, other.document_digest)
            effects = (*effects, StoreBlobs((encode(other.document), *other.bundles.values())))
        return effects

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not self.says(effect, Contribution) or self._second is None:
            return (effect,)
        assert isinstance(effect, Send)
        half = len(effect.seats) // 2
        other = self.context.seal_envelope(self.seat, self._second, self._sign)
        return Send(effect.seats[:half], effect.envelope), Send(effect.seats[half:], other)


class PhantomContribution(CrookedTrainer):
    """Announces one contribution to the last validator, which nobody can have, and the real one to all others.

    Of two validators each is told the real one, for apart they would have no quorum for either.
    """

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not self.says(effect, Contribution):
            return (effect,)
        assert isinstance(effect, Send)
        said = decode(Contribution, effect.envelope.body, MESSAGE_BYTES_MAX)
        other = Contribution(suite.sha256(said.root), suite.sha256(said.document_digest))
        told = effect.seats if len(effect.seats) < APART_MIN else effect.seats[:-1]
        envelope = self.context.seal_envelope(self.seat, other, self._sign)
        return Send(told, effect.envelope), Send(effect.seats[-1:], envelope)


class GarbageDocument(CrookedTrainer):
    """Announces bytes that are no document, as long as one may be."""

    _bytes = 100_000

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if isinstance(effect, StoreBlobs):
            return effect, StoreBlobs((bytes(self._bytes),))
        if not self.says(effect, Contribution):
            return (effect,)
        assert isinstance(effect, Send)
        message = Contribution(suite.sha256(b"root"), suite.sha256(bytes(self._bytes)))
        return (Send(effect.seats, self.context.seal_envelope(self.seat, message, self._sign)),)


class HugeDocument(GarbageDocument):
    """The same, longer than a document may be: nobody reads it to its end."""

    _bytes = DOCUMENT_BYTES_MAX + 1


@dataclass(frozen=True, slots=True)
class _GarbageEncoder(Encoder):
    """Lanes all over the ring."""

    def encode(self, block_bytes: int) -> Iterator[Words]:
        chance = np.random.default_rng(1)
        for block in Encoder.encode(self, block_bytes):
            data = block.view(np.uint8)
            data[:] = chance.integers(0, 256, data.size, dtype=np.uint8)
            yield block


class GarbageVector(CrookedTrainer):
    """Contributes lanes that no update has: the sum is out of range, or nonsense within it."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not isinstance(effect, MaskUpdate):
            return (effect,)
        known = effect.encoder
        fields = {name: getattr(known, name) for name in Encoder.__dataclass_fields__}
        return (MaskUpdate(effect.masking, _GarbageEncoder(**fields)),)


class ServesOne(CrookedTrainer):
    """Tells all validators of its contribution and gives it to the first of them only; the others must ask that one."""

    def serves(self, seat: int) -> bool:
        return seat == self.context.assignment.validators[0]


class WithheldBlobs(CrookedTrainer):
    """Announces what it serves to nobody."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        return () if isinstance(effect, StoreBlobs) else (effect,)


# --- answers -----------------------------------------------------------------------------------------------------


class CrookedHolder(CrookedTrainer):
    """Says other shares than it should."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not self.says(effect, Unmasking):
            return (effect,)
        assert isinstance(effect, Send)
        said = decode(Unmasking, effect.envelope.body, MESSAGE_BYTES_MAX)
        return tuple(
            Send(effect.seats, self.context.seal_envelope(self.seat, message, self._sign))
            for message in self.answer(said)
        )

    def answer(self, said: Unmasking) -> tuple[Unmasking, ...]:
        """What it says instead."""
        raise NotImplementedError


class BadShareInAnswer(CrookedHolder):
    """Says a share that nobody dealt."""

    def answer(self, said: Unmasking) -> tuple[Unmasking, ...]:
        forged = replace(said.items[0], share=suite.sha256(said.items[0].share))
        return (Unmasking(said.seal, (forged, *said.items[1:])),)


class ForbiddenItems(CrookedHolder):
    """Says its shares of what this seal keeps closed."""

    def answer(self, said: Unmasking) -> tuple[Unmasking, ...]:
        items: list[UnmaskingItem] = []
        for owner in self._cohort.seats:
            items.append(SelfMaskShare(owner, suite.sha256(bytes([owner % 256]))))
            items += [PairSeedShare(owner, other, bytes(32)) for other in self._cohort.neighbors(owner)][:4]
        return (Unmasking(said.seal, tuple(items[:200])),)


class TwoAnswers(CrookedHolder):
    """Answers the seal, and another one."""

    def answer(self, said: Unmasking) -> tuple[Unmasking, ...]:
        return said, Unmasking(suite.sha256(said.seal), said.items)


class DisorderlyAnswer(CrookedHolder):
    """Says each share twice, in no order."""

    def answer(self, said: Unmasking) -> tuple[Unmasking, ...]:
        return (Unmasking(said.seal, (*said.items[::-1], *said.items)),)


class AnswersEverySeal(CrookedTrainer):
    """Answers every seal that it is shown, whatever it answered before."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if isinstance(event, SealObserved) and self.phase is Phase.ANSWERED and self._secrets is not None:
            self.phase, self._manifest, self._unmasking = Phase.CONTRIBUTED, None, None
            self._contributor.phase = Contributed(self._secrets)
        effects = super().handle(event, now_ms)
        return tuple(e for e in effects if not (isinstance(e, Persist) and e.kind == "unmasking"))


# --- silence and noise -------------------------------------------------------------------------------------------


class NeverSpeaks(CrookedTrainer):
    """Keeps its connections and says nothing."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        return () if isinstance(effect, Send) else (effect,)


class NeverAnswers(CrookedTrainer):
    """Contributes, and is silent when it is sealed."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        return () if self.says(effect, Unmasking) else (effect,)


class TellsOne(CrookedTrainer):
    """Tells everything to one validator only."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        return (Send(effect.seats[:1], effect.envelope),) if isinstance(effect, Send) else (effect,)


class NoisyTrainer(CrookedTrainer):
    """Does its work and throws garbage besides."""

    _noise: Noise | None = None

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if self._noise is None:
            self._noise = Noise(self.context, self.seat, self._sign)
        if isinstance(event, MessageReceived):
            self._noise.hear(event.envelope)
        return (*super().handle(event, now_ms), *self._noise.make(now_ms))


KINDS: tuple[type[CrookedTrainer], ...] = (
    AnswersEverySeal, BadBundle, BadDealing, BadShareInAnswer, BadShareInBundle, DisorderlyAnswer, ForbiddenItems,
    GarbageDocument, GarbageVector, HugeDocument, MisshapenDocument, NeverAnswers, NeverSpeaks, NoisyTrainer,
    PhantomContribution, Quarreller, QuarrelsWithOne, ServesOne, SpentKey, TellsOne, TwoAnswers, TwoContributions,
    WithheldBlobs, WrongMask,
)  # fmt: skip
