"""The trainer's side of one cohort: contribute once, answer one seal once.

Driven by ``alliance/``. The machine has three phases, and each knows only what it may: before contributing, nothing but
the cohort; then the round's secrets; after answering, only what was said. It draws no randomness, keeps no deadline,
does no I/O. Whoever drives it persists secrets and answer before they leave the node, and restores the phase from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from p2p_flock.crypto import suite
from p2p_flock.crypto.key_agreement import agree, mask_public_key
from p2p_flock.crypto.masking import Lanes, lane_dtype, masks_into
from p2p_flock.errors import LocalProtocolError
from p2p_flock.secagg import keys
from p2p_flock.secagg.answer import Answered, Documents, Refusal, Refused, compute_answer
from p2p_flock.secagg.bundle import seal_bundle
from p2p_flock.secagg.context import CohortContext
from p2p_flock.secagg.dealing import Dealing, commit_shares, compute_dealing
from p2p_flock.secagg.document import compute_document_digest, compute_document_root
from p2p_flock.secagg.secrets import NeighborSecrets, RoundSecrets
from p2p_flock.wire.messages import (
    CHUNK_BYTES,
    Bundle,
    BundleDigest,
    BundleShare,
    ContributionDocument,
    Manifest,
    PairCommitment,
    Unmasking,
)

ENTROPY_BYTES = 32


@dataclass(frozen=True, slots=True)
class PreparedContribution:
    """All that a contribution consists of.

    Attributes:
        document: to be published under its sha-256; ``root`` and ``document_digest`` go to the validators.
        chunks: the masked update y_i, 1 MiB each, the last one shorter; little-endian lanes.
        bundles: per neighbor the sealed bundle for it.
        secrets: to be persisted, encrypted, before any of the others leaves the node.
    """

    document: ContributionDocument
    root: bytes
    document_digest: bytes
    chunks: tuple[bytes, ...]
    bundles: Mapping[int, bytes]
    secrets: RoundSecrets


def contribute(
    context: CohortContext, seat: int, mask_secret_key: bytes, lanes: Lanes, entropy: bytes
) -> PreparedContribution:
    """Run by the trainer at ``seat``, once per round number, ever.

    Pre-conditions:
        ``context.is_viable``; ``mask_secret_key`` belongs to the member's mask key.

    Args:
        lanes: the encoded, weighted update: ``lane_count`` lanes of uint16 or uint32. Not changed.
        entropy: 32 secret random bytes, used for nothing else; self mask and next mask key come from them.

    Raises:
        LocalProtocolError: a pre-condition does not hold, or an argument has the wrong form.
    """
    _check_arguments(context, seat, mask_secret_key, lanes, entropy)
    neighbors = context.neighbors(seat)
    # No CryptoError here: the context admits no mask key of low order.
    agreed = {other: agree(mask_secret_key, context.member(other).mask_key) for other in neighbors}
    pair_seeds = {other: keys.derive_pair_seed(context, agreed[other], seat, other) for other in neighbors}
    self_mask = keys.derive_self_mask(context, seat, entropy)
    next_mask_secret = keys.derive_next_mask_secret(context, seat, entropy)
    chunks = cut_chunks(mask_update(seat, lanes, self_mask, pair_seeds))
    dealing = compute_dealing(context, seat, self_mask, pair_seeds)
    bundles = {
        other: seal_bundle(
            context,
            keys.derive_bundle_key(context, agreed[other], seat, other),
            _make_bundle(context, seat, other, dealing),
        )
        for other in neighbors
    }
    document = ContributionDocument(
        round=context.round,
        cohort=context.cohort,
        seat=seat,
        lane_bits=context.lane_bits,
        lane_count=context.lane_count,
        chunk_digests=tuple(suite.sha256(chunk) for chunk in chunks),
        self_mask_commitment=keys.commit_self_mask(context, seat, self_mask),
        pair_commitments=tuple(
            PairCommitment(other, keys.commit_pair_seed(context, seat, other, pair_seeds[other])) for other in neighbors
        ),
        share_commitments=tuple(
            commit_shares(context, seat, secret_of, shares) for secret_of, shares in sorted(dealing.items())
        ),
        bundle_digests=tuple(BundleDigest(other, suite.sha256(bundles[other])) for other in neighbors),
        next_mask_key=mask_public_key(next_mask_secret),
    )
    root, document_digest = compute_document_root(context, document), compute_document_digest(document)
    secrets = RoundSecrets(
        round=context.round,
        cohort=context.cohort,
        seat=seat,
        context_digest=context.digest,
        root=root,
        document_digest=document_digest,
        self_mask=self_mask,
        next_mask_secret=next_mask_secret,
        next_mask_key=document.next_mask_key,
        neighbors=tuple(
            NeighborSecrets(other, pair_seeds[other], keys.derive_bundle_key(context, agreed[other], other, seat))
            for other in neighbors
        ),
    )
    return PreparedContribution(document, root, document_digest, chunks, bundles, secrets)


def mask_update(seat: int, lanes: Lanes, self_mask: bytes, pair_seeds: Mapping[int, bytes]) -> Lanes:
    """y_i = lanes + PRG(b_i) ± PRG(k_ij) for every neighbor j; a new array of little-endian lanes."""
    masked: Lanes = lanes.copy()
    signed_keys = [(keys.derive_stream_key(self_mask), 1)]
    for other in sorted(pair_seeds):
        signed_keys.append((keys.derive_stream_key(pair_seeds[other]), keys.compute_pair_sign(seat, other)))
    masks_into(masked, signed_keys)
    return masked


def cut_chunks(lanes: Lanes) -> tuple[bytes, ...]:
    """The vector's little-endian bytes in chunks of 1 MiB, the last one shorter."""
    data = lanes.astype(f"<u{lanes.dtype.itemsize}", copy=False).tobytes()
    return tuple(data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))


def _check_arguments(context: CohortContext, seat: int, mask_secret_key: bytes, lanes: Lanes, entropy: bytes) -> None:
    if not context.is_viable:
        raise LocalProtocolError("the cohort has too few members with a mask key to be opened; do not contribute")
    if seat not in context.seats or mask_public_key(mask_secret_key) != context.member(seat).mask_key:
        raise LocalProtocolError(f"the mask secret is not that of seat {seat} in this cohort")
    if lanes.shape != (context.lane_count,) or lanes.dtype != lane_dtype(context.lane_bits):
        raise LocalProtocolError(f"the cohort adds {context.lane_count} lanes of {context.lane_bits} bits")
    if len(entropy) != ENTROPY_BYTES:
        raise LocalProtocolError(f"a contribution needs {ENTROPY_BYTES} bytes of entropy")


def _make_bundle(context: CohortContext, dealer: int, holder: int, dealing: Dealing) -> Bundle:
    position = context.holders(dealer).index(holder)
    shares = tuple(BundleShare(secret_of, dealing[secret_of][position]) for secret_of in context.holders(dealer))
    return Bundle(dealer, holder, shares)


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
class LanesEncoded:
    """The update is trained, clipped, quantised and weighted."""

    mask_secret_key: bytes
    lanes: Lanes
    entropy: bytes


@dataclass(frozen=True, slots=True)
class SealConfirmed:
    """The chain holds this seal of the round; arguments as of :func:`answer.compute_answer`."""

    seal: bytes
    manifest: Manifest
    documents: Documents
    bundles: Mapping[int, bytes]


Event = LanesEncoded | SealConfirmed
Output = PreparedContribution | Answered | Refused

# (phase, event) → phases that may follow. A pair that is not here is our caller's mistake.
TRANSITIONS: dict[tuple[type[Phase], type[Event]], tuple[type[Phase], ...]] = {
    (Elected, LanesEncoded): (Contributed,),
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
            case Elected(), LanesEncoded(mask_secret_key, lanes, entropy):
                prepared = contribute(self.context, self.seat, mask_secret_key, lanes, entropy)
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
