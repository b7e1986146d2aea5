"""From shares to the sum: rebuild the secrets, check every dealing, take the masks off.

Called by the aggregator; :func:`open_sum` may run in a thread, and anybody may re-run any chunk. Pure: it reads chunks
and writes the aggregate through its arguments, one chunk at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from p2p_flock.crypto.masking import Masks, masks_into
from p2p_flock.crypto.ring import Words
from p2p_flock.crypto.secret_sharing import evaluate_many
from p2p_flock.crypto.vectors import BlobSink, MemorySink, view_bytes
from p2p_flock.errors import AbortReason, DropReason, RemoteProtocolError
from p2p_flock.secagg import keys
from p2p_flock.secagg.context import CohortContext, aggregate_preamble
from p2p_flock.secagg.document import ReceivedDocument, get_pair_commitment, get_share_commitment
from p2p_flock.wire.messages import CHUNK_BYTES, SHARE_BYTES

# (dealer, secret_of) → holder's seat → checked share
Shares = Mapping[tuple[int, int], Mapping[int, bytes]]
ReadBlob = Callable[[bytes], bytes]  # the blob with this sha-256, verified: a digest that does not fit blames nobody


@dataclass(frozen=True, slots=True)
class Opening:
    """All that turns the sealed masked updates into their sum. Holds opened secrets, which are public by now.

    Attributes:
        chunk_digests: per sealed member, ascending seat, the digests of its chunks.
        signed_keys: (stream key, sign) of every mask that is left in the sum.
        sum_bound: what no lane of an honest sum exceeds (``fixed_point.compute_sum_bound``).
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
    """The same with the ring sum itself, the words of ``lane_count`` lanes."""

    ring_sum: Words


@dataclass(frozen=True, slots=True)
class Unopened:
    """Why there is no sum, and whose doing it was where that shows."""

    reason: AbortReason
    faults: tuple[RemoteProtocolError, ...] = ()


def compute_needed_secrets(context: CohortContext, sealed: Container[int], dealer: int) -> tuple[tuple[int, int], ...]:
    """(dealer, secret_of) that opening needs of one sealed dealer: its self mask, its pair seeds with the unsealed."""
    dropouts = tuple((dealer, other) for other in context.neighbors(dealer) if other not in sealed)
    return ((dealer, dealer), *dropouts)


def prepare_opening(
    context: CohortContext, documents: Mapping[int, ReceivedDocument], shares: Shares, sum_bound: int
) -> Opening | Unopened:
    """Rebuild every needed secret and check that it was dealt as committed.

    Args:
        documents: the validated documents of exactly the sealed members.
        shares: shares that match their commitments, at least threshold of each needed secret.

    A dealer whose committed shares do not all lie on one polynomial, with the committed secret at 0, is named and the
    cohort is not opened, whichever shares arrived here: any threshold of committed shares gives the same verdict on
    every node (SPEC §8).
    """
    needed = [secret for dealer in sorted(documents) for secret in compute_needed_secrets(context, documents, dealer)]
    secrets, faults = rebuild_secrets(context, documents, {secret: shares[secret] for secret in needed})
    if faults:
        return Unopened(AbortReason.CONTRADICTION, faults)
    signed_keys = tuple(
        (keys.derive_stream_key(secrets[dealer, of]), -1 if of == dealer else -keys.compute_pair_sign(dealer, of))
        for dealer, of in needed
    )
    digests = tuple((seat, documents[seat].document.chunk_digests) for seat in sorted(documents))
    return Opening(context, digests, signed_keys, sum_bound)


def rebuild_secrets(
    context: CohortContext, documents: Mapping[int, ReceivedDocument], shares: Shares
) -> tuple[dict[tuple[int, int], bytes], tuple[RemoteProtocolError, ...]]:
    """All secrets in ``shares``, and what is wrong with those that are missing, in the order of ``shares``.

    Those of which the same places of the sharing have answered are rebuilt together: in a complete graph all of them.

    Args:
        shares: of each secret at least threshold, which match their commitments.
    """
    groups: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for dealer, secret_of in shares:
        answered = tuple(sorted(context.place(secret_of, seat) for seat in shares[dealer, secret_of]))
        groups.setdefault(answered, []).append((dealer, secret_of))
    found: dict[tuple[int, int], bytes | RemoteProtocolError] = {}
    for answered, group in groups.items():
        rows = [shares[secret][context.holders(secret[1])[place]] for secret in group for place in answered]
        said = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(group), len(answered), SHARE_BYTES)
        first, others = answered[: context.threshold], answered[context.threshold :]
        silent = [place for place in range(context.holder_count) if place not in set(answered)]
        values = evaluate_many(first, said[:, : len(first)], (0, *(place + 1 for place in (*others, *silent))))
        agrees = (values[:, 1 : 1 + len(others)] == said[:, len(first) :]).all(axis=(1, 2))
        for at, (dealer, secret_of) in enumerate(group):
            secret, unsaid = values[at, 0].tobytes(), values[at, 1 + len(others) :].tobytes()
            fault = _judge_dealing(context, documents[dealer], secret_of, secret, bool(agrees[at]), silent, unsaid)
            found[dealer, secret_of] = secret if fault is None else fault
    rebuilt = {key: found[key] for key in shares}
    return (
        {key: secret for key, secret in rebuilt.items() if isinstance(secret, bytes)},
        tuple(fault for fault in rebuilt.values() if isinstance(fault, RemoteProtocolError)),
    )


def _judge_dealing(
    context: CohortContext,
    received: ReceivedDocument,
    secret_of: int,
    secret: bytes,
    shares_agree: bool,
    silent: Sequence[int],
    unsaid: bytes,
) -> RemoteProtocolError | None:
    """Whether a dealer dealt the secret that it committed to; it is the culprit.

    BAD_DEALING: every share is the one it committed to, yet they are not the dealing of the secret it committed to.
    BAD_COMMITMENT: they are, but the commitment to another share, which nobody said, belongs to no share of that
    dealing; of this there is no proof (SPEC §10).

    Args:
        shares_agree: whether all that were said lie on the one polynomial, so that their commitments need no look.
        silent: places of which no share was said; unsaid: the shares that belong there, 32 bytes each.
    """
    document, dealer = received.document, received.document.seat
    if secret_of == dealer:
        matches = keys.commit_self_mask(context, dealer, secret) == document.self_mask_commitment
    else:
        commitment = keys.commit_pair_seed(context, dealer, secret_of, secret)
        matches = commitment == get_pair_commitment(context, document, secret_of)
    if not matches:
        return RemoteProtocolError(dealer, DropReason.BAD_DEALING, f"the secret for seat {secret_of}")
    detail = f"shares of the secret for seat {secret_of}"
    if not shares_agree:
        return RemoteProtocolError(dealer, DropReason.BAD_DEALING, detail)
    holders = context.holders(secret_of)
    sharing_context = context.sharing_context(dealer, secret_of)
    right = keys.commit_shares_under(sharing_context, [holders[place] for place in silent], unsaid)
    committed = [get_share_commitment(context, received, secret_of, holders[place]) for place in silent]
    if right != b"".join(committed):
        return RemoteProtocolError(dealer, DropReason.BAD_COMMITMENT, detail)
    return None


def open_chunk(opening: Opening, index: int, read_blob: ReadBlob, masks: Masks) -> Words:
    """The opened words of chunk ``index``. ``read_blob`` gives a chunk by its sha-256; ``masks`` are the opening's.

    Raises:
        RemoteProtocolError: BAD_CHUNK, a trainer committed to a chunk of another size.
    """
    context, ring = opening.context, opening.context.ring
    total: Words = np.zeros(context.chunk_bytes(index) // ring.word_bytes, dtype=ring.dtype)
    for seat, digests in opening.chunk_digests:
        chunk = read_blob(digests[index])
        if len(chunk) != total.nbytes:
            raise RemoteProtocolError(seat, DropReason.BAD_CHUNK, f"chunk {index} has {len(chunk)} bytes")
        np.add(total, ring.read(chunk), out=total)
    masks_into(total, masks, index * (CHUNK_BYTES // ring.word_bytes))
    return total


def open_sum(opening: Opening, read_blob: ReadBlob, sink: BlobSink) -> Opened | Unopened:
    """Run by the validator, off its event loop: sum the sealed masked updates and take every mask off.

    Memory: two chunks and one block of keystream. Errors of ``read_blob`` and ``sink`` pass through.

    Args:
        sink: gets the aggregate's blob (SPEC §8); finished only where every lane is in range.
    """
    context = opening.context
    masks = Masks(opening.signed_keys)
    sink.write(aggregate_preamble(context))
    for index in range(context.chunk_count):
        try:
            chunk = open_chunk(opening, index, read_blob, masks)
        except RemoteProtocolError as fault:
            return Unopened(AbortReason.CONTRADICTION, (fault,))
        if not context.ring.is_in_range(chunk, context.chunk_lanes(index), opening.sum_bound):
            return Unopened(AbortReason.OUT_OF_RANGE)
        sink.write(view_bytes(chunk))
    return Opened(sink.finish())


def open_in_memory(opening: Opening, read_blob: ReadBlob) -> OpenedInMemory | Unopened:
    """:func:`open_sum` for whoever wants the words at once."""
    sink = MemorySink()
    result = open_sum(opening, read_blob, sink)
    if isinstance(result, Unopened):
        return result
    data = bytes(sink.data[-opening.context.vector_bytes :])
    return OpenedInMemory(result.aggregate_digest, opening.context.ring.read(data))
