"""From shares to the sum: rebuild the secrets, check every dealing, take the masks off.

Called by the aggregator; :func:`open_sum` may run in a thread, and anybody may re-run any chunk. Pure: it reads chunks
and writes the aggregate through its arguments, one chunk at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from p2p_flock.crypto.fixed_point import is_in_range, lift
from p2p_flock.crypto.masking import Lanes, lane_dtype, masks_into
from p2p_flock.crypto.secret_sharing import combine_shares, extend_shares
from p2p_flock.crypto.vectors import BlobSink, MemorySink, view_bytes
from p2p_flock.errors import AbortReason, DropReason, RemoteProtocolError
from p2p_flock.secagg import keys
from p2p_flock.secagg.context import CohortContext, aggregate_preamble
from p2p_flock.secagg.dealing import commit_shares
from p2p_flock.secagg.document import get_pair_commitment
from p2p_flock.wire.messages import CHUNK_BYTES, ContributionDocument

# (dealer, secret_of) → holder's seat → checked share
Shares = Mapping[tuple[int, int], Mapping[int, bytes]]
ReadBlob = Callable[[bytes], bytes]  # the blob with this sha-256, verified: a digest that does not fit blames nobody


@dataclass(frozen=True, slots=True)
class Opening:
    """All that turns the sealed masked updates into their sum. Holds opened secrets, which are public by now.

    Attributes:
        chunk_digests: per sealed member, ascending seat, the digests of its chunks.
        signed_keys: (stream key, sign) of every mask that is left in the sum.
        sum_bound: levels · Σ weights of the sealed members.
    """

    context: CohortContext
    chunk_digests: tuple[tuple[int, tuple[bytes, ...]], ...]
    signed_keys: tuple[tuple[bytes, int], ...]
    sum_bound: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The cohort's sum was written out as an aggregate's blob; this is its sha-256, which ballots name."""

    aggregate_digest: bytes


@dataclass(frozen=True, slots=True)
class OpenedInMemory(Opened):
    """The same with the ring sum itself, ``lane_count`` little-endian lanes."""

    ring_sum: Lanes


@dataclass(frozen=True, slots=True)
class Unopened:
    """Why there is no sum, and whose doing it was where that shows."""

    reason: AbortReason
    faults: tuple[RemoteProtocolError, ...] = ()


def compute_needed_secrets(context: CohortContext, sealed: Sequence[int], dealer: int) -> tuple[tuple[int, int], ...]:
    """(dealer, secret_of) that opening needs of one sealed dealer: its self mask, its pair seeds with the unsealed."""
    dropouts = tuple((dealer, other) for other in context.neighbors(dealer) if other not in sealed)
    return ((dealer, dealer), *dropouts)


def prepare_opening(
    context: CohortContext, documents: Mapping[int, ContributionDocument], shares: Shares, sum_bound: int
) -> Opening | Unopened:
    """Rebuild every needed secret and check that it was dealt as committed.

    Args:
        documents: the validated documents of exactly the sealed members.
        shares: shares that match their commitments, at least threshold of each needed secret.

    A dealer whose committed shares do not all lie on one polynomial, with the committed secret at 0, is named and the
    cohort is not opened, whichever shares arrived here: any threshold of committed shares gives the same verdict on
    every node (SPEC §8).
    """
    signed_keys: list[tuple[bytes, int]] = []
    faults: list[RemoteProtocolError] = []
    for dealer in sorted(documents):
        for _, secret_of in compute_needed_secrets(context, tuple(documents), dealer):
            try:
                secret = rebuild_secret(context, documents[dealer], secret_of, shares[dealer, secret_of])
            except RemoteProtocolError as fault:
                faults.append(fault)
                continue
            sign = 1 if secret_of == dealer else keys.compute_pair_sign(dealer, secret_of)
            signed_keys.append((keys.derive_stream_key(secret), -sign))
    if faults:
        return Unopened(AbortReason.CONTRADICTION, tuple(faults))
    digests = tuple((seat, documents[seat].chunk_digests) for seat in sorted(documents))
    return Opening(context, digests, tuple(signed_keys), sum_bound)


def rebuild_secret(
    context: CohortContext, document: ContributionDocument, secret_of: int, shares: Mapping[int, bytes]
) -> bytes:
    """One secret from its shares (holder's seat → share that matches its commitment).

    Raises:
        RemoteProtocolError: the dealer is the culprit. BAD_DEALING: every share is the one it committed to, yet they
            are not the dealing of the secret it committed to. BAD_COMMITMENT: they are, but the commitment to another
            share, which nobody said, belongs to no share of that dealing; of this there is no proof (SPEC §10).
    """
    dealer = document.seat
    holders = context.holders(dealer)
    found = {holders.index(seat): share for seat, share in shares.items()}
    secret = combine_shares(found, context.threshold)
    if secret_of == dealer:
        matches = keys.commit_self_mask(context, dealer, secret) == document.self_mask_commitment
    else:
        commitment = keys.commit_pair_seed(context, dealer, secret_of, secret)
        matches = commitment == get_pair_commitment(document, secret_of)
    if not matches:
        raise RemoteProtocolError(dealer, DropReason.BAD_DEALING, f"the secret for seat {secret_of}")
    dealt = extend_shares(found, context.threshold, len(holders))
    if commit_shares(context, dealer, secret_of, dealt) != document.share_commitments[holders.index(secret_of)]:
        is_provable = any(dealt[place] != share for place, share in found.items())
        reason = DropReason.BAD_DEALING if is_provable else DropReason.BAD_COMMITMENT
        raise RemoteProtocolError(dealer, reason, f"shares of the secret for seat {secret_of}")
    return secret


def open_chunk(opening: Opening, index: int, read_blob: ReadBlob) -> Lanes:
    """The opened lanes of chunk ``index``. ``read_blob`` gives a chunk by its sha-256.

    Raises:
        RemoteProtocolError: BAD_CHUNK, a trainer committed to a chunk of another size.
    """
    context = opening.context
    dtype = lane_dtype(context.lane_bits)
    total = np.zeros(context.chunk_bytes(index) // dtype.itemsize, dtype=dtype)
    for seat, digests in opening.chunk_digests:
        chunk = read_blob(digests[index])
        if len(chunk) != total.nbytes:
            raise RemoteProtocolError(seat, DropReason.BAD_CHUNK, f"chunk {index} has {len(chunk)} bytes")
        np.add(total, np.frombuffer(chunk, dtype=dtype), out=total)
    masks_into(total, opening.signed_keys, index * (CHUNK_BYTES // dtype.itemsize))
    return total


def open_sum(opening: Opening, read_blob: ReadBlob, sink: BlobSink) -> Opened | Unopened:
    """Run by the validator, off its event loop: sum the sealed masked updates and take every mask off.

    Memory: two chunks and one block of keystream. Errors of ``read_blob`` and ``sink`` pass through.

    Args:
        sink: gets the aggregate's blob (SPEC §8); finished only where every lane is in range.
    """
    context = opening.context
    sink.write(aggregate_preamble(context))
    for index in range(context.chunk_count):
        try:
            chunk = open_chunk(opening, index, read_blob)
        except RemoteProtocolError as fault:
            return Unopened(AbortReason.CONTRADICTION, (fault,))
        if not is_in_range(lift(chunk), opening.sum_bound):
            return Unopened(AbortReason.OUT_OF_RANGE)
        sink.write(view_bytes(chunk))
    return Opened(sink.finish())


def open_in_memory(opening: Opening, read_blob: ReadBlob) -> OpenedInMemory | Unopened:
    """:func:`open_sum` for whoever wants the lanes at once."""
    sink = MemorySink()
    result = open_sum(opening, read_blob, sink)
    if isinstance(result, Unopened):
        return result
    data = bytes(sink.data[-opening.context.vector_bytes :])
    lanes = np.frombuffer(data, dtype=lane_dtype(opening.context.lane_bits))
    return OpenedInMemory(result.aggregate_digest, cast(Lanes, lanes))
