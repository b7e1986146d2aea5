"""The contribution document: its Merkle root, its digest, and whether it is what a member of this cohort must publish.

Called by contributor (to make one), by survivors and by validators (to check others'). Pure.
"""

from __future__ import annotations

from bisect import bisect_left

from p2p_flock.crypto import merkle, suite
from p2p_flock.crypto.key_agreement import is_usable_mask_key
from p2p_flock.errors import DropReason, RemoteProtocolError
from p2p_flock.secagg.context import CohortContext
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import CHUNK_BYTES, SHARE_BYTES, BundleDigest, ContributionDocument, PairCommitment

# First byte of a leaf's payload.
_HEADER, _CHUNK, _SELF_MASK, _PAIR, _SHARE, _BUNDLE, _NEXT_KEY = range(7)


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def compute_leaves(context: CohortContext, document: ContributionDocument) -> list[bytes]:
    """Payloads of the Merkle leaves in order: header, chunks, self mask, pairs, shares, bundles, next mask key.

    A pair's leaf names what its keys are bound to, a share's leaf its holder: with them a leaf says all that its
    commitment means, so that the contract can judge a share or a dealing that it never saw the document of.

    Args:
        document: of a member of the cohort, and of the form that :func:`validate_document` demands.

    Raises:
        ParameterError: it names seats that are no members.
    """
    d = document
    header = [_u32(d.round), bytes([d.cohort]), _u16(d.seat), bytes([d.lane_bits]), _u32(d.lane_count)]
    counts = [len(d.chunk_digests), len(d.pair_commitments), len(d.share_commitments), len(d.bundle_digests)]
    leaves = [bytes([_HEADER]) + b"".join(header) + _u32(CHUNK_BYTES) + b"".join(_u16(count) for count in counts)]
    leaves += [bytes([_CHUNK]) + _u32(index) + digest for index, digest in enumerate(d.chunk_digests)]
    leaves.append(self_mask_leaf(d.self_mask_commitment))
    leaves += [
        pair_leaf(pair.neighbor, context.pair_context(d.seat, pair.neighbor), pair.commitment)
        for pair in d.pair_commitments
    ]
    labels: tuple[int, ...] = ()
    places: list[bytes] = []
    for row in d.share_commitments:
        holders = context.holders(row.secret_of)
        if holders != labels:  # in a complete graph they are the same for every row
            labels, places = holders, [_u16(index) + _u16(holder) for index, holder in enumerate(holders)]
        head, commitments = bytes([_SHARE]) + _u16(row.secret_of), row.commitments  # as in share_leaf
        starts = range(0, len(commitments), SHARE_BYTES)
        leaves += [
            head + place + commitments[start : start + SHARE_BYTES]
            for place, start in zip(places, starts, strict=False)
        ]
    leaves += [bytes([_BUNDLE]) + _u16(bundle.partner) + bundle.digest for bundle in d.bundle_digests]
    leaves.append(bytes([_NEXT_KEY]) + d.next_mask_key)
    return leaves


def self_mask_leaf(commitment: bytes) -> bytes:
    """Payload of the leaf that holds H(b_i)."""
    return bytes([_SELF_MASK]) + commitment


def pair_leaf(neighbor: int, pair_context: bytes, commitment: bytes) -> bytes:
    """Payload of the leaf that holds H(k_ij); ``pair_context`` is ctx_ij, 32 bytes."""
    return bytes([_PAIR]) + _u16(neighbor) + pair_context + commitment


def share_leaf(secret_of: int, index: int, holder: int, commitment: bytes) -> bytes:
    """Payload of the leaf of one share; ``index`` is the holder's place (0-based) in the sharing."""
    return bytes([_SHARE]) + _u16(secret_of) + _u16(index) + _u16(holder) + commitment


def compute_document_root(context: CohortContext, document: ContributionDocument) -> bytes:
    """The contribution's 32-byte root: what the trainer signs and what is sealed. For a document of the right form.

    Raises:
        ParameterError: as :func:`compute_leaves`.
    """
    return merkle.compute_root(context.digest, compute_leaves(context, document))


def compute_document_digest(document: ContributionDocument) -> bytes:
    """sha-256 of the canonical bytes: the address under which the document is served."""
    return suite.sha256(encode(document))


def validate_document(context: CohortContext, seat: int, document: ContributionDocument) -> None:
    """Check a decoded document's form against the cohort. Says nothing about chunks, bundles or neighbors' documents.

    Raises:
        RemoteProtocolError: UNKNOWN_SENDER, WRONG_ROUND or BAD_DOCUMENT, with ``seat`` as culprit.
    """
    if seat not in context.seats:
        raise RemoteProtocolError(seat, DropReason.UNKNOWN_SENDER, f"no member of cohort {context.cohort}")
    d = document
    if d.round != context.round:
        raise RemoteProtocolError(seat, DropReason.WRONG_ROUND, f"document of round {d.round}")
    neighbors, holders, row_bytes = context.neighbors(seat), context.holders(seat), SHARE_BYTES * context.holder_count
    checks = {
        "names another cohort or seat": (d.cohort, d.seat) == (context.cohort, seat),
        "has other lanes": (d.lane_bits, d.lane_count) == (context.lane_bits, context.lane_count),
        "has a wrong number of chunks": len(d.chunk_digests) == context.chunk_count,
        "commits to pair seeds of other neighbors": tuple(p.neighbor for p in d.pair_commitments) == neighbors,
        "shares other secrets": tuple(row.secret_of for row in d.share_commitments) == holders,
        "shares with other holders": all(len(row.commitments) == row_bytes for row in d.share_commitments),
        "bundles for other partners": tuple(b.partner for b in d.bundle_digests) == context.partners(seat),
        # The spent key again would let one later disclosure open two rounds.
        "names no fresh next mask key": is_usable_mask_key(d.next_mask_key)
        and d.next_mask_key != context.member(seat).mask_key,
    }
    for fault, passed in checks.items():
        if not passed:
            raise RemoteProtocolError(seat, DropReason.BAD_DOCUMENT, f"the document {fault}")


def validate_root(
    context: CohortContext, seat: int, document: ContributionDocument, root: bytes, document_digest: bytes
) -> None:
    """Check that a document is the one announced, and well formed.

    Raises:
        RemoteProtocolError: as :func:`validate_document`; BAD_ROOT where digest or root do not belong to it.
    """
    validate_document(context, seat, document)
    if compute_document_digest(document) != document_digest:
        raise RemoteProtocolError(seat, DropReason.BAD_ROOT, "the document has another digest than announced")
    if compute_document_root(context, document) != root:
        raise RemoteProtocolError(seat, DropReason.BAD_ROOT)


def get_share_commitments(context: CohortContext, document: ContributionDocument, secret_of: int) -> bytes:
    """All commitments to the shares of one secret in a validated document, 32 bytes each, in the order of holders."""
    return document.share_commitments[context.place(document.seat, secret_of)].commitments


def get_share_commitment(context: CohortContext, document: ContributionDocument, secret_of: int, holder: int) -> bytes:
    """The commitment to ``holder``'s share of the secret ``secret_of`` in a validated document."""
    start = SHARE_BYTES * context.place(secret_of, holder)
    return get_share_commitments(context, document, secret_of)[start : start + SHARE_BYTES]


def get_pair_commitment(document: ContributionDocument, neighbor: int) -> bytes:
    """The commitment to the pair seed with ``neighbor`` in a validated document."""
    return document.pair_commitments[bisect_left(document.pair_commitments, neighbor, key=_neighbor_of)].commitment


def get_bundle_digest(document: ContributionDocument, partner: int) -> bytes:
    """The sha-256 of the sealed bundle for ``partner`` in a validated document."""
    return document.bundle_digests[bisect_left(document.bundle_digests, partner, key=_partner_of)].digest


def _neighbor_of(pair: PairCommitment) -> int:
    return pair.neighbor


def _partner_of(bundle: BundleDigest) -> int:
    return bundle.partner
