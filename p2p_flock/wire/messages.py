"""Every message of the protocol, with bounds. One dataclass each; WIRE.md says who sends it when.

Integers carry their range, bytes their length, tuples their count: the codec reads nothing beyond them. A privacy rule
is a type where it can be one: an :class:`Unmasking` holds a tuple of a union of shares, so a whole secret cannot be
written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from p2p_flock.params import COHORTS_MAX, SEATS_MAX, SHARING_HOLDERS_MAX, VALIDATORS_MAX
from p2p_flock.wire.codec import Length, Range

CHUNK_BYTES = 1 << 20  # one libp2p write, see facts on yamux; also the unit of Merkle leaves and of re-execution
VECTOR_BYTES_MAX = 1 << 32
CHUNKS_MAX = VECTOR_BYTES_MAX // CHUNK_BYTES
HOLDERS_MAX = SHARING_HOLDERS_MAX
NEIGHBORS_MAX = HOLDERS_MAX - 1
SHARE_BYTES = 32  # a share, and a commitment to one
PROOF_DIGESTS_MAX = 20  # of a tree of 2^20 leaves
PARTNERS_MAX = 2 * NEIGHBORS_MAX  # neighbors and theirs on the ring (secagg/SPEC.md §2)

U8 = Annotated[int, Range(0, 2**8 - 1)]
U16 = Annotated[int, Range(0, 2**16 - 1)]
U32 = Annotated[int, Range(0, 2**32 - 1)]
U64 = Annotated[int, Range(0, 2**64 - 1)]
SeatIndex = Annotated[int, Range(0, SEATS_MAX - 1)]
Digest = Annotated[bytes, Length(32, 32)]
Secret = Annotated[bytes, Length(32, 32)]
Signature = Annotated[bytes, Length(65, 65)]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What goes point to point: a body, who says so, for which round, and the owner's signature over all of it."""

    kind: U8
    round: U32
    seat: SeatIndex
    body: Annotated[bytes, Length(0, 1 << 20)]
    signature: Signature


# --- secure aggregation: what a trainer commits to -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContributionDocument:
    """What is under a contribution's Merkle root, but for the commitments to shares; a blob that the trainer publishes.

    Digests of 32 bytes stand one after the other, as many and in the order that the cohort's graph says: of
    ``pair_commitments``, H(k_ij) of each neighbor j; of ``bundle_digests``, the sealed bundle of each partner. Tuples
    of them would take most of the time that a survivor spends on its neighbors' documents.

    ``commitments_digest`` is the sha-256 of these, a blob of their own that validators pull: for each seat s of
    N[seat], ascending, H(ctx_seat,s ‖ holder ‖ share) of each holder of N[s], ascending, 32 bytes each. Survivors do
    without: their bundles prove the few that they need, up to a node from which ``columns_path``, 32 bytes for each
    sibling, goes on to the root.
    """

    round: U32
    cohort: U8
    seat: SeatIndex
    lane_bits: U8
    lane_count: U32
    chunk_digests: Annotated[tuple[Digest, ...], Length(1, CHUNKS_MAX)]
    self_mask_commitment: Digest
    pair_commitments: Annotated[bytes, Length(SHARE_BYTES, SHARE_BYTES * NEIGHBORS_MAX)]
    commitments_digest: Digest
    bundle_digests: Annotated[bytes, Length(SHARE_BYTES, SHARE_BYTES * PARTNERS_MAX)]
    next_mask_key: Digest
    columns_path: Annotated[bytes, Length(0, SHARE_BYTES * PROOF_DIGESTS_MAX)]


@dataclass(frozen=True, slots=True)
class Bundle:
    """Plaintext that a trainer seals for one partner: that partner's shares of the trainer's secrets.

    Attributes:
        shares: 32 bytes for each seat of ``CohortContext.secrets_held(dealer, holder)``, in that order.
        proof: 32 bytes for each sibling, from the leaf of one of these shares up to the node over all columns.
    """

    dealer: SeatIndex
    holder: SeatIndex
    shares: Annotated[bytes, Length(SHARE_BYTES, SHARE_BYTES * HOLDERS_MAX)]
    proof: Annotated[bytes, Length(0, SHARE_BYTES * PROOF_DIGESTS_MAX)]


# 4,096 chunk digests take 139,264 bytes, 508 bundles 16,256, 254 neighbors 8,128: 160 KiB.
DOCUMENT_BYTES_MAX = 1 << 18
COMMITMENTS_BYTES_MAX = SHARE_BYTES * HOLDERS_MAX * HOLDERS_MAX  # 2 MiB


@dataclass(frozen=True, slots=True)
class Contribution:
    """Trainer to every validator: "my masked update is ready under this root". One per round number, ever."""

    root: Digest
    document_digest: Digest


@dataclass(frozen=True, slots=True)
class SelfMaskShare:
    """The answering survivor's share of b_owner, for a sealed owner (its own included)."""

    owner: SeatIndex
    share: Secret


@dataclass(frozen=True, slots=True)
class PairSeedShare:
    """The answering survivor's share of k_(owner, dropout): a sealed owner, itself included, and an unsealed neighbor.

    There is no item for a whole pair seed: three seals together would open a trainer with them (secagg/SPEC.md §7).
    """

    owner: SeatIndex
    dropout: SeatIndex
    share: Secret


UnmaskingItem = SelfMaskShare | PairSeedShare

# h = 255 needs t ≥ 129 in a sparse graph, so at most 126 of N[j] are not sealed. The most items there are when these
# are the 63 farthest on either side, out of each other's sight: 129 self masks, and for each of the 126 the shares of
# 254 − 62 sealed neighbors. Encoded these are 40 and 43 bytes each, 1,045,456 with the seal: it fits
# MESSAGE_BYTES_MAX. The complete graph of 255 has fewer (127 + 1 for each of 128).
UNMASKING_ITEMS_MAX = 129 + 126 * (254 - 62)


@dataclass(frozen=True, slots=True)
class Unmasking:
    """Survivor to every validator, once per round number ever, under whatever seal."""

    seal: Digest
    items: Annotated[tuple[UnmaskingItem, ...], Length(1, UNMASKING_ITEMS_MAX)]


# --- validators ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Have:
    """Validator to validators: bitmap over trainer indexes of contributions held and verified, little-endian bits.

    ``roots`` names the contribution root held for each set bit, ascending trainer index: two validators that hold
    different roots of one trainer must not count as both holding it.
    """

    held: Annotated[bytes, Length(1, SEATS_MAX // 8)]
    roots: Annotated[tuple[Digest, ...], Length(0, SEATS_MAX)]


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One sealed trainer."""

    seat: SeatIndex
    root: Digest
    document_digest: Digest
    next_mask_key: Digest


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a seal: the survivors in position order. Its sha-256 goes on chain; it alone installs next
    keys."""

    round: U32
    entries: Annotated[tuple[ManifestEntry, ...], Length(1, SEATS_MAX)]


MANIFEST_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class SealProposal:
    """Leader of a view to validators: the manifest, and the Have envelopes that it follows from."""

    view: U32
    manifest: Annotated[bytes, Length(1, MANIFEST_BYTES_MAX)]
    haves: Annotated[tuple[Envelope, ...], Length(1, VALIDATORS_MAX)]


@dataclass(frozen=True, slots=True)
class SealSignature:
    """Validator to the view's leader: its EIP-712 signature over the seal."""

    view: U32
    seal: Digest
    signature: Signature


@dataclass(frozen=True, slots=True)
class BallotCommitment:
    """Validator to validators: keccak commitment to its ballot, with the EIP-712 signature the contract checks."""

    seal: Digest
    commitment: Digest
    signature: Signature


@dataclass(frozen=True, slots=True)
class Ballot:
    """Validator to validators, after the commit phase: votes per cohort, what they were formed on, and the salt.

    Its commitment was signed, so it carries no signature of its own.

    Attributes:
        verdicts, grades: one byte a cohort; a grade, 0..15, says how much better a good sum makes the model.
        score_micro: the base model's score on the validator's private data, in millionths; 0 = not measured.
    """

    seal: Digest
    base_model_digest: Digest
    verdicts: Annotated[bytes, Length(1, COHORTS_MAX)]
    grades: Annotated[bytes, Length(1, COHORTS_MAX)]
    score_micro: U32
    aggregate_digests: Annotated[tuple[Digest, ...], Length(1, COHORTS_MAX)]
    salt: Secret


Message = Contribution | Unmasking | Have | SealProposal | SealSignature | BallotCommitment | Ballot

# The byte in Envelope.kind. Never reused, never renumbered.
MESSAGE_KINDS: dict[int, type[Message]] = {
    1: Contribution,
    2: Unmasking,
    3: Have,
    4: SealProposal,
    5: SealSignature,
    6: BallotCommitment,
    7: Ballot,
}
KIND_OF_MESSAGE: dict[type[Message], int] = {message: kind for kind, message in MESSAGE_KINDS.items()}
MESSAGE_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Hint:
    """Gossip to all: "look at the chain, something happened in this round". Carries no authority."""

    alliance: U64
    round: U32
    what: Annotated[str, Length(1, 16)]
