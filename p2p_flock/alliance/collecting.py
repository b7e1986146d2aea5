"""What a validator holds: contributions announced, documents checked, chunks and bundles fetched. Part of its machine.

The cohorts' aggregators (``secagg/aggregator.py``) check everything; this part knows which seat belongs to which
cohort, what was announced, and what must still be fetched.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p_flock.alliance.context import RoundContext
from p2p_flock.errors import DropReason, RemoteProtocolError, WireError
from p2p_flock.secagg.aggregator import Aggregator, BlobVerified, DocumentReceived, SealConfirmed
from p2p_flock.secagg.document import validate_digest
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import DOCUMENT_BYTES_MAX, Contribution, ContributionDocument, Manifest

# Digest of the document, or of the commitments that it names, and whether both are here: chunks and bundles are next.
Stage = tuple[bytes, bool]


class Collection:
    """Contributions of one round, by seat. The first one of a seat counts; a second, different one is evidence.

    What a trainer announced under its own signature comes before what a leader's proposal says about it: else one
    validator could make the others ignore honest trainers, and call them equivocators.

    Attributes:
        aggregators: one per cohort.
    """

    def __init__(self, context: RoundContext) -> None:
        self.aggregators = tuple(Aggregator(cohort) for cohort in context.cohorts)
        self._context = context
        self._announced: dict[int, Contribution] = {}
        self._learned: dict[int, Contribution] = {}  # from proposals, where nothing was announced here
        self._taken: dict[int, Contribution] = {}  # of which the document is here, and good
        # Both by seat as well: whoever announces somebody else's document must not spoil it for its owner.
        self._refused: set[tuple[int, bytes]] = set()  # (seat, digest) of documents that were fetched and are no good
        # seat -> its document and that one's digest: of the right form, until its commitments are here
        self._pending: dict[int, tuple[bytes, ContributionDocument]] = {}
        # With a thousand trainers nothing may look at all of them for every message. What follows keeps that short.
        self._changed: set[int] = set()  # seats of which something else may be missing now
        self._readers: dict[bytes, set[int]] = {}  # document or commitments -> seats that named them
        self._cohorts_needing: dict[bytes, set[int]] = {}  # chunk or bundle -> cohorts where a document names it
        self._held: dict[int, frozenset[int]] = {}  # by cohort, until something changes there
        self._quarrels: dict[int, tuple[tuple[int, int], ...]] = {}  # the same

    def announce(self, seat: int, contribution: Contribution) -> bool:
        """Take a contribution's announcement; whether it is news.

        Raises:
            RemoteProtocolError: the trainer has no usable key, or announced another one before.
        """
        if seat not in self._context.eligible_trainers:
            raise RemoteProtocolError(seat, DropReason.NO_MASK_KEY)
        is_new = seat not in self._announced
        if self._announced.setdefault(seat, contribution) != contribution:
            raise RemoteProtocolError(seat, DropReason.EQUIVOCATION, "two contributions in one round")
        self._learned.pop(seat, None)
        self._note_named(seat, contribution)
        return is_new

    def learn(self, seat: int, contribution: Contribution) -> None:
        """Take what another validator's proposal names, where nothing was announced here."""
        if seat in self._context.eligible_trainers and seat not in self._announced:
            self._learned[seat] = contribution
            self._note_named(seat, contribution)

    def _note_named(self, seat: int, contribution: Contribution) -> None:
        self._changed.add(seat)
        self._readers.setdefault(contribution.document_digest, set()).add(seat)

    def seal(self, seal: bytes, manifest: Manifest) -> list[RemoteProtocolError]:
        """Follow the chain: a seat's sealed contribution counts, whatever was announced here."""
        for entry in manifest.entries:
            sealed = Contribution(entry.root, entry.document_digest)
            self._announced[entry.seat] = sealed
            self._note_named(entry.seat, sealed)
            if self._taken.get(entry.seat) != sealed:
                self._taken.pop(entry.seat, None)
        faults: list[RemoteProtocolError] = []
        for aggregator in self.aggregators:
            faults += aggregator.handle(SealConfirmed(seal, manifest))
        self._held.clear()
        self._quarrels.clear()
        return faults

    def add_blobs(self, blobs: Mapping[bytes, bytes], sizes: Mapping[bytes, int]) -> list[RemoteProtocolError]:
        """Take fetched blobs (digests verified, in the own store); returns what was found wrong, with its culprit.

        Args:
            blobs: content by digest, documents above all; sizes: bytes by digest, of what is not read here.
        """
        faults: list[RemoteProtocolError] = []
        for seat in sorted({seat for digest in blobs for seat in self._readers.get(digest, ())}):
            found = self._take_read(seat, blobs) if self.document(seat) is None else []
            faults += found if seat in self._announced else []  # a leader's word convicts nobody
        found_sizes = {**sizes, **{digest: len(data) for digest, data in blobs.items()}}
        for digest, size_bytes in found_sizes.items():
            for cohort in sorted(self._cohorts_needing.get(digest, ())):
                faults += self.aggregators[cohort].handle(BlobVerified(digest, size_bytes))
                self._forget_cached(cohort)
        return faults

    def _forget_cached(self, cohort: int) -> None:
        self._held.pop(cohort, None)
        self._quarrels.pop(cohort, None)

    def _contribution_of(self, seat: int) -> Contribution:
        return self._announced.get(seat) or self._learned[seat]

    def _take_read(self, seat: int, blobs: Mapping[bytes, bytes]) -> list[RemoteProtocolError]:
        """The seat's document among ``blobs``, and the commitments that it names."""
        contribution = self._contribution_of(seat)
        digest = contribution.document_digest
        if (seat, digest) in self._refused:
            return []
        self._changed.add(seat)
        if digest in blobs and self._pending_of(seat) is None:
            faults = self._take_document(seat, contribution, blobs[digest])
            if faults:
                return faults
        pending = self._pending_of(seat)
        if pending is None or pending.commitments_digest not in blobs:
            return []
        return self._take_commitments(seat, contribution, pending, blobs[pending.commitments_digest])

    def _take_document(self, seat: int, contribution: Contribution, data: bytes) -> list[RemoteProtocolError]:
        digest = contribution.document_digest
        try:
            document = decode(ContributionDocument, data, DOCUMENT_BYTES_MAX)
            validate_digest(self._aggregator_of(seat).context, seat, document, digest)
        except WireError as error:
            self._refused.add((seat, digest))
            return [RemoteProtocolError(seat, DropReason.BAD_DOCUMENT, str(error))]
        except RemoteProtocolError as fault:
            self._refused.add((seat, digest))
            return [fault]
        self._pending[seat] = (digest, document)
        self._readers.setdefault(document.commitments_digest, set()).add(seat)
        return []

    def _pending_of(self, seat: int) -> ContributionDocument | None:
        """The document of the contribution that counts, while its commitments are not here."""
        digest, document = self._pending.get(seat, (b"", None))
        return document if digest == self._contribution_of(seat).document_digest else None

    def _take_commitments(
        self, seat: int, contribution: Contribution, document: ContributionDocument, data: bytes
    ) -> list[RemoteProtocolError]:
        digest = contribution.document_digest
        faults = self._aggregator_of(seat).handle(DocumentReceived(seat, contribution.root, digest, document, data))
        del self._pending[seat]
        if self.document(seat) is None:
            self._refused.add((seat, digest))
        else:
            self._taken[seat] = contribution
            cohort = self._context.assignment.cohort_of(seat)
            self._forget_cached(cohort)
            for blob in self._aggregator_of(seat).get_needed_blobs(seat):
                self._cohorts_needing.setdefault(blob.digest, set()).add(cohort)
        return list(faults)

    def _aggregator_of(self, seat: int) -> Aggregator:
        return self.aggregators[self._context.assignment.cohort_of(seat)]

    # --- questions ---------------------------------------------------------------------------------------------

    @property
    def named(self) -> frozenset[int]:
        """Seats whose contribution was announced here, or is named by a proposal or by the seal."""
        return frozenset(self._announced) | frozenset(self._learned)

    def _held_in(self, cohort: int) -> frozenset[int]:
        if cohort not in self._held:
            self._held[cohort] = self.aggregators[cohort].held()
        return self._held[cohort]

    def is_held(self, seat: int) -> bool:
        """Whether :meth:`held_roots` names this eligible trainer."""
        return seat in self._held_in(self._context.assignment.cohort_of(seat))

    def held_count(self) -> int:
        """How many contributions :meth:`held_roots` names."""
        return sum(len(self._held_in(cohort)) for cohort in range(len(self.aggregators)))

    def held_roots(self) -> dict[int, bytes]:
        """Root by seat of every contribution that is held, verified, and on no losing side of a quarrel."""
        cohorts = range(len(self.aggregators))
        return {seat: self._taken[seat].root for cohort in cohorts for seat in sorted(self._held_in(cohort))}

    def roots(self) -> dict[int, bytes]:
        """Root by seat of every contribution of which the checked document is here, whoever quarrels with it."""
        return {seat: contribution.root for seat, contribution in self._taken.items()}

    def quarrels(self) -> frozenset[tuple[int, int]]:
        """Pairs of seats whose documents commit to different pair seeds. They cannot be summed together."""
        for cohort, aggregator in enumerate(self.aggregators):
            if cohort not in self._quarrels:
                self._quarrels[cohort] = aggregator.get_mismatches()
        return frozenset(pair for pairs in self._quarrels.values() for pair in pairs)

    def document(self, seat: int) -> ContributionDocument | None:
        """The seat's checked document, whether or not its chunks are here."""
        return self._aggregator_of(seat).get_document(seat)

    def held_document(self, seat: int) -> tuple[bytes, ContributionDocument] | None:
        """(document digest, document) of a contribution of which every chunk and bundle is here."""
        document = self.document(seat)
        if document is None or not self._aggregator_of(seat).is_complete(seat):
            return None
        return self._taken[seat].document_digest, document

    def take_changed(self) -> set[int]:
        """Seats of whose contribution something else may be missing than when this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    def open_stage(self, seat: int) -> Stage | None:
        """What fetching of a named seat's contribution is about; ``None``: nothing is missing, or it is no good."""
        digest = self._contribution_of(seat).document_digest
        aggregator = self._aggregator_of(seat)
        if (seat, digest) in self._refused or aggregator.is_complete(seat):
            return None
        pending = self._pending_of(seat)
        is_known = aggregator.get_document(seat) is not None
        return digest if pending is None else pending.commitments_digest, is_known

    def missing(self, seat: int) -> tuple[bytes, ...]:
        """Digests to fetch for :meth:`open_stage`: its document, its commitments, then chunks and bundles."""
        if self.document(seat) is None:
            digest = self._contribution_of(seat).document_digest
            pending = self._pending_of(seat)
            return (digest if pending is None else pending.commitments_digest,)
        return tuple(blob.digest for blob in self._aggregator_of(seat).get_needed_blobs(seat))
