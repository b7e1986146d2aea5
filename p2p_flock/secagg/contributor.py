"""The trainer's side of one cohort: contribute once, answer one seal once.

A contribution is made in three steps, so that an update of any length is masked in the memory of one chunk, and off the
event loop: :func:`plan_masking` derives every secret, :func:`mask_blocks` masks block by block and hands each chunk on,
:func:`finish_contribution` deals and commits. :func:`contribute` is all three for an update in memory.

Driven by ``alliance/``. The machine has three phases, and each knows only what it may: before contributing, nothing but
the cohort; then the round's secrets; after answering, only what was said. It draws no randomness, keeps no deadline,
does no I/O. Whoever drives it persists secrets and answer before they leave the node, and restores the phase from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from p2p_flock.crypto import merkle, suite
from p2p_flock.crypto.key_agreement import agree, mask_public_key
from p2p_flock.crypto.masking import Masks, masks_into
from p2p_flock.crypto.ring import Words
from p2p_flock.crypto.vectors import view_bytes
from p2p_flock.errors import LocalProtocolError
from p2p_flock.secagg import keys
from p2p_flock.secagg.answer import Answered, Documents, Refusal, Refused, compute_answer
from p2p_flock.secagg.bundle import make_bundle, seal_bundle
from p2p_flock.secagg.context import CohortContext
from p2p_flock.secagg.dealing import Dealing, commit_dealing, compute_dealing
from p2p_flock.secagg.document import ReceivedDocument, build_columns, build_tree, compute_document_digest
from p2p_flock.secagg.secrets import NeighborSecrets, PartnerSecrets, RoundSecrets
from p2p_flock.wire.messages import (
    CHUNK_BYTES,
    ContributionDocument,
    Manifest,
    Unmasking,
)

ENTROPY_BYTES = 32

PutChunk = Callable[[memoryview], bytes]
"""Keeps a chunk, which may be overwritten afterwards; returns its sha-256."""


@dataclass(frozen=True, slots=True)
class Masking:
    """All secrets of one contribution; they leave the trainer only as :func:`finish_contribution` says.

    Attributes:
        agreed: X25519 result per partner; pair_seeds: k_ij per neighbor; self_mask: b_i.
    """

    context: CohortContext
    seat: int
    self_mask: bytes = field(repr=False)
    next_mask_secret: bytes = field(repr=False)
    agreed: Mapping[int, bytes] = field(repr=False)
    pair_seeds: Mapping[int, bytes] = field(repr=False)

    def derive_signed_keys(self) -> tuple[tuple[bytes, int], ...]:
        """(stream key, sign) of PRG(b_i) and of ±PRG(k_ij) for every neighbor j."""
        pairs = [
            (keys.derive_stream_key(self.pair_seeds[other]), keys.compute_pair_sign(self.seat, other))
            for other in sorted(self.pair_seeds)
        ]
        return ((keys.derive_stream_key(self.self_mask), 1), *pairs)


@dataclass(frozen=True, slots=True)
class PreparedContribution:
    """All that a contribution consists of.

    Attributes:
        document: to be published under its sha-256; ``root`` and ``document_digest`` go to the validators.
        commitments: to all shares, to be published under its sha-256.
        bundles: per partner the sealed bundle for it.
        secrets: to be persisted, encrypted, before any of the others leaves the node.
        chunks: the masked update y_i, 1 MiB each, the last one shorter, where it was made in memory
            (:func:`contribute`); else empty, and they lie where ``put`` of :func:`mask_blocks` kept them.
    """

    document: ContributionDocument
    root: bytes
    document_digest: bytes
    commitments: bytes
    bundles: Mapping[int, bytes]
    secrets: RoundSecrets
    chunks: tuple[bytes, ...] = ()

    @property
    def received(self) -> ReceivedDocument:
        """What a validator has of it before chunks and bundles."""
        return ReceivedDocument(self.root, self.document_digest, self.document, self.commitments)


def plan_masking(context: CohortContext, seat: int, mask_secret_key: bytes, entropy: bytes) -> Masking:
    """Derive every secret of the contribution of the trainer at ``seat``.

    Pre-conditions:
        ``context.is_viable``; ``mask_secret_key`` belongs to the member's mask key.

    Args:
        entropy: 32 secret random bytes, used for nothing else; self mask and next mask key come from them.

    Raises:
        LocalProtocolError: a pre-condition does not hold, or an argument has the wrong form.
    """
    if not context.is_viable:
        raise LocalProtocolError("the cohort has too few members with a mask key to be opened; do not contribute")
    if seat not in context.seats or mask_public_key(mask_secret_key) != context.member(seat).mask_key:
        raise LocalProtocolError(f"the mask secret is not that of seat {seat} in this cohort")
    if len(entropy) != ENTROPY_BYTES:
        raise LocalProtocolError(f"a contribution needs {ENTROPY_BYTES} bytes of entropy")
    # No CryptoError here: the context admits no mask key of low order.
    agreed = {other: agree(mask_secret_key, context.member(other).mask_key) for other in context.partners(seat)}
    return Masking(
        context,
        seat,
        self_mask=keys.derive_self_mask(context, seat, entropy),
        next_mask_secret=keys.derive_next_mask_secret(context, seat, entropy),
        agreed=agreed,
        pair_seeds={
            other: keys.derive_pair_seed(context, agreed[other], seat, other) for other in context.neighbors(seat)
        },
    )


def mask_blocks(masking: Masking, blocks: Iterable[Words], put: PutChunk) -> tuple[bytes, ...]:
    """y_i = words + PRG(b_i) ± PRG(k_ij) for every neighbor j, chunk by chunk; the chunks' digests in order.

    Memory: what ``blocks`` and ``put`` need, and one block of keystream. A chunk that ``put`` keeps is known to nobody
    by its digest until the document is; so it may be served from a store that strangers ask, and waits there.

    Args:
        blocks: the encoded, weighted update in arrays of one chunk each (:meth:`CohortContext.chunk_bytes`), which are
            overwritten with the masked words. Errors of the iterator pass through.

    Raises:
        LocalProtocolError: the blocks are not the words of ``lane_count`` lanes in this cohort's ring.
    """
    context = masking.context
    masks, dtype = Masks(masking.derive_signed_keys()), context.ring.dtype
    chunk_words = CHUNK_BYTES // dtype.itemsize
    digests: list[bytes] = []
    for words in blocks:
        index = len(digests)
        if index >= context.chunk_count or words.dtype != dtype or words.nbytes != context.chunk_bytes(index):
            raise LocalProtocolError(f"the cohort adds {context.lane_count} lanes of {context.lane_bits} bits")
        masks_into(words, masks, index * chunk_words)
        digests.append(put(view_bytes(words)))
    if len(digests) != context.chunk_count:
        raise LocalProtocolError(f"the cohort adds {context.lane_count} lanes of {context.lane_bits} bits")
    return tuple(digests)


def finish_contribution(masking: Masking, chunk_digests: tuple[bytes, ...]) -> PreparedContribution:
    """Deal the secrets and commit to everything. Run once per round number, ever, for one ``masking``."""
    context, seat = masking.context, masking.seat
    neighbors, pair_seeds = context.neighbors(seat), masking.pair_seeds
    dealing = compute_dealing(context, seat, masking.self_mask, pair_seeds)
    commitments = commit_dealing(context, dealing, seat)
    plain = ContributionDocument(
        round=context.round,
        cohort=context.cohort,
        seat=seat,
        lane_bits=context.lane_bits,
        lane_count=context.lane_count,
        chunk_digests=chunk_digests,
        self_mask_commitment=keys.commit_self_mask(context, seat, masking.self_mask),
        pair_commitments=b"".join([keys.commit_pair_seed(context, seat, o, pair_seeds[o]) for o in neighbors]),
        commitments_digest=suite.sha256(commitments),
        bundle_digests=b"",
        next_mask_key=mask_public_key(masking.next_mask_secret),
        columns_path=b"",
    )
    return assemble(masking, plain, dealing, commitments)


def assemble(
    masking: Masking, plain: ContributionDocument, dealing: Dealing, commitments: bytes
) -> PreparedContribution:
    """Seal the bundles, and put everything under one root.

    Args:
        plain: the document; its bundle digests and its path are not looked at.
    """
    context, seat = masking.context, masking.seat
    columns = build_columns(context, seat, commitments)
    bundles = {
        other: seal_bundle(
            context,
            keys.derive_bundle_key(context, masking.agreed[other], seat, other),
            make_bundle(context, dealing, columns, seat, other),
        )
        for other in context.partners(seat)
    }
    return commit_bundles(masking, plain, commitments, columns, bundles)


def commit_bundles(
    masking: Masking,
    plain: ContributionDocument,
    commitments: bytes,
    columns: merkle.Columns,
    bundles: Mapping[int, bytes],
) -> PreparedContribution:
    """The second half of :func:`assemble`: ``columns`` of the commitments are built, bundles sealed already."""
    named = replace(plain, bundle_digests=b"".join(map(suite.sha256, bundles.values())))
    tree = build_tree(masking.context, named, columns)
    document = replace(named, columns_path=b"".join(tree.columns_path))
    secrets = _make_secrets(masking, document, tree.root, compute_document_digest(document))
    return PreparedContribution(document, secrets.root, secrets.document_digest, commitments, bundles, secrets)


def contribute(
    context: CohortContext, seat: int, mask_secret_key: bytes, words: Words, entropy: bytes
) -> PreparedContribution:
    """All three steps at once, in memory.

    Args:
        words: the encoded, weighted update: ``lane_count`` lanes in the words of the ring. Not changed.

    Raises:
        LocalProtocolError: as :func:`plan_masking` and :func:`mask_blocks`.
    """
    masking = plan_masking(context, seat, mask_secret_key, entropy)
    chunks: list[bytes] = []

    def keep(chunk: memoryview) -> bytes:
        chunks.append(bytes(chunk))
        return suite.sha256(chunk)

    chunk_words = CHUNK_BYTES // words.itemsize
    blocks = (words[start : start + chunk_words].copy() for start in range(0, words.size, chunk_words))
    return replace(finish_contribution(masking, mask_blocks(masking, blocks, keep)), chunks=tuple(chunks))


def _make_secrets(
    masking: Masking, document: ContributionDocument, root: bytes, document_digest: bytes
) -> RoundSecrets:
    context, seat = masking.context, masking.seat
    return RoundSecrets(
        round=context.round,
        cohort=context.cohort,
        seat=seat,
        context_digest=context.digest,
        root=root,
        document_digest=document_digest,
        self_mask=masking.self_mask,
        next_mask_secret=masking.next_mask_secret,
        next_mask_key=document.next_mask_key,
        neighbors=tuple(NeighborSecrets(other, masking.pair_seeds[other]) for other in context.neighbors(seat)),
        partners=tuple(
            PartnerSecrets(other, keys.derive_bundle_key(context, masking.agreed[other], other, seat))
            for other in context.partners(seat)
        ),
    )


# --- the machine -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Elected:
    """The seat is a trainer of this cohort and has published nothing."""


@dataclass(frozen=True, slots=True)
class Contributed:
    """One contribution exists, whether or not it reached anybody."""

    secrets: RoundSecrets


@dataclass(frozen=True, slots=True)
class Unmasked:
    """One seal was answered. Terminal; the secrets are out of reach."""

    unmasking: Unmasking


Phase = Elected | Contributed | Unmasked


@dataclass(frozen=True, slots=True)
class UpdateMasked:
    """The update is trained, clipped, quantised, weighted and masked; its chunks are kept."""

    masking: Masking
    chunk_digests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SealConfirmed:
    """The chain holds this seal of the round; arguments as of :func:`answer.compute_answer`."""

    seal: bytes
    manifest: Manifest
    documents: Documents
    bundles: Mapping[int, bytes]


Event = UpdateMasked | SealConfirmed
Output = PreparedContribution | Answered | Refused

# (phase, event) → phases that may follow. A pair that is not here is our caller's mistake.
TRANSITIONS: dict[tuple[type[Phase], type[Event]], tuple[type[Phase], ...]] = {
    (Elected, UpdateMasked): (Contributed,),
    (Contributed, SealConfirmed): (Contributed, Unmasked),  # stays where it refuses: nothing was said
    (Unmasked, SealConfirmed): (Unmasked,),
}


class Contributor:
    """One trainer in one cohort of one round number."""

    def __init__(self, context: CohortContext, seat: int, phase: Phase | None = None) -> None:
        """Start as elected, or where a restart found us: ``Contributed(secrets)`` or ``Unmasked(unmasking)``.

        Raises:
            LocalProtocolError: the secrets belong to another cohort, seat or fork.
        """
        self.context = context
        self.seat = seat
        self.phase: Phase = Elected() if phase is None else phase
        if isinstance(self.phase, Contributed):
            secrets = self.phase.secrets
            if (secrets.context_digest, secrets.seat) != (context.digest, seat):
                raise LocalProtocolError("these round secrets belong to another cohort, seat or fork of the chain")

    def handle(self, event: Event) -> Output:
        """Take one event. The caller persists ``secrets`` or ``unmasking`` of the output before anything is sent.

        Raises:
            LocalProtocolError: the event does not belong in this phase.
        """
        allowed = TRANSITIONS.get((type(self.phase), type(event)))
        if allowed is None:
            raise LocalProtocolError(f"{type(event).__name__} does not belong in {type(self.phase).__name__}")
        phase, output = self._transition(event)
        assert type(phase) in allowed
        self.phase = phase
        return output

    def _transition(self, event: Event) -> tuple[Phase, Output]:
        match self.phase, event:
            case Elected(), UpdateMasked(masking, chunk_digests):
                if (masking.context.digest, masking.seat) != (self.context.digest, self.seat):
                    raise LocalProtocolError("this update was masked for another cohort, seat or fork of the chain")
                prepared = finish_contribution(masking, chunk_digests)
                return Contributed(prepared.secrets), prepared
            case Contributed(secrets) as phase, SealConfirmed(seal, manifest, documents, bundles):
                output = compute_answer(self.context, secrets, seal, manifest, documents, bundles)
                return (Unmasked(output.unmasking), output) if isinstance(output, Answered) else (phase, output)
            case Unmasked(unmasking) as phase, SealConfirmed(seal=seal):
                if seal == unmasking.seal:
                    return phase, Answered(unmasking, ())  # the same bytes again
                return phase, Refused(Refusal.ALREADY_ANSWERED, ())
            case phase, _:
                raise LocalProtocolError(f"{type(event).__name__} does not belong in {type(phase).__name__}")
