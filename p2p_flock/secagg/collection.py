"""Contributions as they come in: which documents are right, which chunks and bundles are still missing, which are held.

A part of the aggregator, which feeds it. The result depends only on what has come, not on the order it came in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from p2p_flock.errors import DropReason, RemoteProtocolError
from p2p_flock.secagg.bundle import compute_sealed_bytes
from p2p_flock.secagg.context import CohortContext
from p2p_flock.secagg.document import ReceivedDocument, get_pair_commitment, validate_root
from p2p_flock.types import DIGEST_BYTES
from p2p_flock.wire.messages import ContributionDocument

Faults = tuple[RemoteProtocolError, ...]


@dataclass(frozen=True, slots=True)
class NeededBlob:
    """A chunk or bundle to fetch, and how many bytes to read of it at most."""

    digest: bytes
    bytes_max: int


class Collection:
    """The contributions to one cohort at one validator."""

    def __init__(self, context: CohortContext) -> None:
        self.context = context
        self.documents: dict[int, ReceivedDocument] = {}
        self._needed: dict[int, dict[bytes, tuple[int, int]]] = {}  # seat → blob not held yet → least and most bytes
        self._quarrels: set[tuple[int, int]] = set()  # (lower, higher seat) with different pair commitments
        self._held_blobs: dict[bytes, int] = {}  # bounded: only blobs that some document names are taken
        self._needing, self._complete = dict[bytes, set[int]](), set[int]()  # blob → seats that miss it; who has all

    def take_document(self, seat: int, received: ReceivedDocument) -> Faults:
        """Take a document; the first of a seat stays."""
        known = self.documents.get(seat)
        # [IGNORE] The same document came before.
        if known is not None and known.document_digest == received.document_digest:
            return (RemoteProtocolError(seat, DropReason.DUPLICATE),)
        # [REJECT] A second contribution in one round.
        if known is not None:
            return (RemoteProtocolError(seat, DropReason.EQUIVOCATION, "two contributions in one round"),)
        try:
            validate_root(self.context, seat, received)
        except RemoteProtocolError as fault:
            return (fault,)
        self._quarrels |= {
            (min(seat, other), max(seat, other))
            for other, theirs in self.documents.items()
            if other in self.context.holder_set(seat)
            and get_pair_commitment(self.context, theirs.document, seat)
            != get_pair_commitment(self.context, received.document, other)
        }
        self.documents[seat] = received
        self._needed[seat] = _compute_needed(self.context, received.document)
        for digest in self._needed[seat]:
            self._needing.setdefault(digest, set()).add(seat)
        faults: Faults = ()
        for digest in list(self._needed[seat]):
            if digest in self._held_blobs:
                faults += self._settle_blob(seat, digest, self._held_blobs[digest])
        return faults

    def forget(self, seat: int) -> None:
        """Drop a document because another one of this seat was sealed."""
        for digest in self._needed.pop(seat):
            self._needing[digest].discard(seat)
        self._complete.discard(seat)
        del self.documents[seat]
        self._quarrels = {pair for pair in self._quarrels if seat not in pair}

    def take_blob(self, digest: bytes, size_bytes: int) -> Faults:
        """Note that a blob is in the own store. One that no document names is not noted: fetch after the document."""
        faults: Faults = ()
        for seat in sorted(self._needing.get(digest, ())):
            self._held_blobs[digest] = size_bytes
            faults += self._settle_blob(seat, digest, size_bytes)
        return faults

    def _settle_blob(self, seat: int, digest: bytes, size_bytes: int) -> Faults:
        low, high = self._needed[seat][digest]
        # [REJECT] The trainer committed to bytes of an impossible size: its contribution will never be held.
        if not low <= size_bytes <= high:
            return (RemoteProtocolError(seat, DropReason.BAD_CHUNK, f"{size_bytes} bytes, not {low} to {high}"),)
        del self._needed[seat][digest]
        self._needing[digest].discard(seat)
        if not self._needed[seat]:
            self._complete.add(seat)
        return ()

    def get_needed_blobs(self, seat: int) -> tuple[NeededBlob, ...]:
        """Chunks and bundles of ``seat`` that are not held yet, in document order; empty without its document."""
        return tuple(NeededBlob(digest, high) for digest, (_, high) in self._needed.get(seat, {}).items())

    def is_complete(self, seat: int) -> bool:
        """Whether the contribution of ``seat`` is here with every chunk and bundle."""
        return seat in self._complete

    def get_mismatches(self) -> tuple[tuple[int, int], ...]:
        """Pairs of wholly received contributions whose commitments to their pair seed differ, ascending."""
        return tuple(sorted(pair for pair in self._quarrels if self._complete.issuperset(pair)))

    def compute_held(self) -> frozenset[int]:
        """See :meth:`aggregator.Aggregator.held`."""
        return drop_quarrels(frozenset(self._complete), self.get_mismatches())


def drop_quarrels(seats: frozenset[int], quarrels: Iterable[tuple[int, int]]) -> frozenset[int]:
    """The seats without those that cannot be summed together (SPEC §5).

    While two of ``seats`` committed to different pair seeds, the one with most such quarrels goes, all that have
    equally many at once: one liar against two honest neighbors goes alone.
    """
    remaining = set(seats)
    left = {pair for pair in quarrels if pair[0] in remaining and pair[1] in remaining}
    while left:
        counts = {seat: sum(seat in pair for pair in left) for seat in remaining}
        most = max(counts.values())
        remaining -= {seat for seat, count in counts.items() if count == most}
        left = {pair for pair in left if pair[0] in remaining and pair[1] in remaining}
    return frozenset(remaining)


def _compute_needed(context: CohortContext, document: ContributionDocument) -> dict[bytes, tuple[int, int]]:
    """Digest → least and most bytes. A digest that stands for two sizes can never be met."""
    limits = [
        (digest, context.chunk_bytes(index), context.chunk_bytes(index))
        for index, digest in enumerate(document.chunk_digests)
    ]
    for place, partner in enumerate(context.partners(document.seat)):
        size_bytes = compute_sealed_bytes(context, document.seat, partner)
        digest = document.bundle_digests[DIGEST_BYTES * place : DIGEST_BYTES * (place + 1)]
        limits.append((digest, size_bytes, size_bytes))
    needed: dict[bytes, tuple[int, int]] = {}
    for digest, low, high in limits:
        known_low, known_high = needed.get(digest, (low, high))
        needed[digest] = (max(low, known_low), min(high, known_high))
    return needed
