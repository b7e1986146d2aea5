"""The contribution document: its Merkle root, its digest, and whether it is what a member of this cohort must publish.

Called by contributor (to make one), by survivors and by validators (to check others'). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p_flock.crypto import merkle, suite
from p2p_flock.crypto.key_agreement import is_usable_mask_key
from p2p_flock.errors import DropReason, RemoteProtocolError
from p2p_flock.secagg.context import CohortContext
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import CHUNK_BYTES, SHARE_BYTES, ContributionDocument

# First byte of a leaf's payload.
_HEADER, _CHUNK, _SELF_MASK, _PAIR, _SHARE, _BUNDLES, _NEXT_KEY = range(7)


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class ReceivedDocument:
    """A document with all commitments to shares, as one trainer announced or a seal names it.

    Attributes:
        commitments: the blob under ``document.commitments_digest``.
    """

    root: bytes
    document_digest: bytes
    document: ContributionDocument
    commitments: bytes


def compute_column_height(context: CohortContext) -> int:
    """A holder's column of the tree has 2^height places: as many as there are holders of one secret, or more."""
    return (context.holder_count - 1).bit_length()


def count_other_leaves(context: CohortContext) -> int:
    """Leaves of a contribution's tree after the columns: :func:`compute_other_leaves`."""
    return 4 + context.chunk_count + context.holder_count - 1


def count_leaves(context: CohortContext, dealer: int) -> int:
    """Leaves of a contribution's tree, blanks included."""
    return (1 << compute_columns_height(context, dealer)) + count_other_leaves(context)


def compute_columns_height(context: CohortContext, dealer: int) -> int:
    """Siblings on the path from a share's leaf to the node over all columns."""
    return compute_column_height(context) + (len(context.columns(dealer)) - 1).bit_length()


def compute_other_leaves(context: CohortContext, document: ContributionDocument) -> list[bytes]:
    """Payloads of the leaves after the columns, in order: header, chunks, self mask, pairs, bundles, next mask key.

    A pair's leaf names what its keys are bound to, a share's leaf its holder: with them a leaf says all that its
    commitment means, so that the contract can judge a share or a dealing that it never saw the document of.
    """
    d = document
    header = [_u32(d.round), bytes([d.cohort]), _u16(d.seat), bytes([d.lane_bits]), _u32(d.lane_count)]
    neighbors, partners = context.neighbors(d.seat), context.partners(d.seat)
    counts = [len(d.chunk_digests), len(neighbors), context.holder_count, len(partners)]
    leaves = [bytes([_HEADER]) + b"".join(header) + _u32(CHUNK_BYTES) + b"".join(_u16(count) for count in counts)]
    leaves += [bytes([_CHUNK]) + _u32(index) + digest for index, digest in enumerate(d.chunk_digests)]
    leaves.append(self_mask_leaf(d.self_mask_commitment))
    leaves += [
        pair_leaf(other, context.pair_context(d.seat, other), get_pair_commitment(context, d, other))
        for other in neighbors
    ]
    leaves += [bytes([_BUNDLES]) + d.bundle_digests, bytes([_NEXT_KEY]) + d.next_mask_key]
    return leaves


def compute_share_leaves(context: CohortContext, dealer: int, commitments: bytes) -> dict[int, list[bytes]]:
    """Payloads of each column's leaves: holder → its shares' leaves by ascending ``secret_of``.

    Args:
        commitments: the whole blob, of the right size.
    """
    columns: dict[int, list[bytes]] = {holder: [] for holder in context.columns(dealer)}
    labels: tuple[int, ...] = ()
    places: list[bytes] = []
    start = 0
    for secret_of in context.holders(dealer):
        holders = context.holders(secret_of)
        if holders != labels:  # in a complete graph they are the same for every secret
            labels, places = holders, [_u16(index) + _u16(holder) for index, holder in enumerate(holders)]
        head = bytes([_SHARE]) + _u16(secret_of)  # as in share_leaf
        for holder, place in zip(holders, places, strict=True):
            columns[holder].append(head + place + commitments[start : start + SHARE_BYTES])
            start += SHARE_BYTES
    return columns


def build_columns(context: CohortContext, dealer: int, commitments: bytes) -> merkle.Columns:
    """The part of a contribution's tree that commits to shares; ``commitments`` of the right size."""
    columns = list(compute_share_leaves(context, dealer, commitments).values())
    return merkle.Columns(context.digest, count_other_leaves(context), compute_column_height(context), columns)


def build_tree(context: CohortContext, document: ContributionDocument, columns: merkle.Columns) -> merkle.ColumnTree:
    """The whole tree, for a document of the right form; its ``columns_path`` is not looked at.

    Raises:
        CryptoError: the document has another number of chunks or neighbors than the cohort.
        ParameterError: it names seats that are no members.
    """
    return merkle.ColumnTree(columns, compute_other_leaves(context, document))


def self_mask_leaf(commitment: bytes) -> bytes:
    """Payload of the leaf that holds H(b_i)."""
    return bytes([_SELF_MASK]) + commitment


def pair_leaf(neighbor: int, pair_context: bytes, commitment: bytes) -> bytes:
    """Payload of the leaf that holds H(k_ij); ``pair_context`` is ctx_ij, 32 bytes."""
    return bytes([_PAIR]) + _u16(neighbor) + pair_context + commitment


def share_leaf(secret_of: int, index: int, holder: int, commitment: bytes) -> bytes:
    """Payload of the leaf of one share; ``index`` is the holder's place (0-based) in the sharing."""
    return bytes([_SHARE]) + _u16(secret_of) + _u16(index) + _u16(holder) + commitment


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
    checks = {
        "names another cohort or seat": (d.cohort, d.seat) == (context.cohort, seat),
        "has other lanes": (d.lane_bits, d.lane_count) == (context.lane_bits, context.lane_count),
        "has a wrong number of chunks": len(d.chunk_digests) == context.chunk_count,
        "commits to another number of pair seeds": len(d.pair_commitments) == SHARE_BYTES * (context.holder_count - 1),
        "names another number of bundles": len(d.bundle_digests) == SHARE_BYTES * len(context.partners(seat)),
        # The spent key again would let one later disclosure open two rounds.
        "names no fresh next mask key": is_usable_mask_key(d.next_mask_key)
        and d.next_mask_key != context.member(seat).mask_key,
    }
    for fault, passed in checks.items():
        if not passed:
            raise RemoteProtocolError(seat, DropReason.BAD_DOCUMENT, f"the document {fault}")


def validate_digest(context: CohortContext, seat: int, document: ContributionDocument, document_digest: bytes) -> None:
    """Check that a document is the one announced or sealed, and well formed; its root is not looked at.

    Raises:
        RemoteProtocolError: as :func:`validate_document`; BAD_ROOT where the digest does not belong to it.
    """
    validate_document(context, seat, document)
    if compute_document_digest(document) != document_digest:
        raise RemoteProtocolError(seat, DropReason.BAD_ROOT, "the document has another digest than announced")


def validate_root(context: CohortContext, seat: int, received: ReceivedDocument) -> None:
    """Check that document and commitments are those announced, and well formed. Run by validators.

    Raises:
        RemoteProtocolError: as :func:`validate_digest`; BAD_DOCUMENT where the commitments are not the document's,
            BAD_ROOT where the root does not belong to them.
    """
    document, commitments = received.document, received.commitments
    validate_digest(context, seat, document, received.document_digest)
    if len(commitments) != context.commitments_bytes:
        raise RemoteProtocolError(seat, DropReason.BAD_DOCUMENT, "it commits to another number of shares")
    if suite.sha256(commitments) != document.commitments_digest:
        raise RemoteProtocolError(seat, DropReason.BAD_DOCUMENT, "these are not the commitments that it names")
    tree = build_tree(context, document, build_columns(context, seat, commitments))
    if tree.root != received.root:
        raise RemoteProtocolError(seat, DropReason.BAD_ROOT)
    if b"".join(tree.columns_path) != document.columns_path:
        raise RemoteProtocolError(seat, DropReason.BAD_DOCUMENT, "its path leads to another root")


def get_share_commitments(context: CohortContext, received: ReceivedDocument, secret_of: int) -> bytes:
    """All commitments to one secret's shares under a validated document, 32 bytes each, in the order of holders."""
    row_bytes = SHARE_BYTES * context.holder_count
    start = row_bytes * context.place(received.document.seat, secret_of)
    return received.commitments[start : start + row_bytes]


def get_share_commitment(context: CohortContext, received: ReceivedDocument, secret_of: int, holder: int) -> bytes:
    """The commitment to ``holder``'s share of the secret ``secret_of`` under a validated document."""
    start = SHARE_BYTES * context.place(secret_of, holder)
    return get_share_commitments(context, received, secret_of)[start : start + SHARE_BYTES]


def get_pair_commitment(context: CohortContext, document: ContributionDocument, neighbor: int) -> bytes:
    """The commitment to the pair seed with ``neighbor`` in a validated document."""
    place = context.place(document.seat, neighbor)  # among the holders, of which the trainer itself is one
    start = SHARE_BYTES * (place - (neighbor > document.seat))
    return document.pair_commitments[start : start + SHARE_BYTES]


def get_bundle_digest(context: CohortContext, document: ContributionDocument, partner: int) -> bytes:
    """The sha-256 of the sealed bundle for ``partner`` in a validated document."""
    place = context.columns(document.seat).index(partner)
    start = SHARE_BYTES * (place - (partner > document.seat))
    return document.bundle_digests[start : start + SHARE_BYTES]
