"""The validator's side of one cohort: check contributions, say which are held, collect answers, open the sum.

Driven by ``alliance/``, one machine per cohort. Whatever order messages come in, and however often, the state depends
only on their set: documents and answers are kept when they come and examined when they can be. No deadline, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from p2p_flock.crypto.suite import sha256
from p2p_flock.errors import AbortReason, DropReason, LocalProtocolError, RemoteProtocolError
from p2p_flock.secagg import keys
from p2p_flock.secagg.answer import get_sealed_entries, get_secret_of, sort_key
from p2p_flock.secagg.collection import Collection, Faults, NeededBlob
from p2p_flock.secagg.context import CohortContext
from p2p_flock.secagg.document import ReceivedDocument, get_share_commitments
from p2p_flock.secagg.opening import (
    OpenedInMemory,
    Opening,
    Unopened,
    compute_needed_secrets,
    open_in_memory,
    prepare_opening,
)
from p2p_flock.wire.messages import (
    SHARE_BYTES,
    ContributionDocument,
    Manifest,
    ManifestEntry,
    SelfMaskShare,
    Unmasking,
)

# --- events ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DocumentReceived:
    """A decoded document, with root and digest as its trainer announced them under its signature, or as sealed.

    ``commitments``: the blob that the document names.
    """

    seat: int
    root: bytes
    document_digest: bytes
    document: ContributionDocument
    commitments: bytes


@dataclass(frozen=True, slots=True)
class BlobVerified:
    """A chunk or bundle with this sha-256 and this size is in the own store."""

    digest: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SealConfirmed:
    """The chain holds this seal; it commits to ``manifest``. Comes again, with another seal, after a reorg."""

    seal: bytes
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class UnmaskingReceived:
    """An answer whose envelope is signed by the owner of ``seat``."""

    seat: int
    unmasking: Unmasking


Event = DocumentReceived | BlobVerified | SealConfirmed | UnmaskingReceived

# --- phases ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Collecting:
    """No seal yet: contributions come in."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """Sealed: answers come in.

    Attributes:
        entries: the sealed members of this cohort, ascending seat.
        needed: (dealer, secret_of) of every secret that opening needs, and that alone may be opened.
        answers: checked answers by seat.
        refused: seats whose answer was refused.
    """

    seal: bytes
    entries: Mapping[int, ManifestEntry]
    needed: frozenset[tuple[int, int]]
    answers: Mapping[int, Unmasking]
    refused: frozenset[int]


@dataclass(frozen=True, slots=True)
class Void:
    """Sealed with fewer than max(3, t, c + 3) members of this cohort: there will be no sum."""

    seal: bytes


Phase = Collecting | Gathering | Void

# (phase, event) → phases that may follow. Every event is welcome in every phase, because the chain and the peers are
# not in step; what it does differs.
TRANSITIONS: dict[tuple[type[Phase], type[Event]], tuple[type[Phase], ...]] = {
    (Collecting, DocumentReceived): (Collecting,),
    (Collecting, BlobVerified): (Collecting,),
    (Collecting, SealConfirmed): (Gathering, Void),
    (Collecting, UnmaskingReceived): (Collecting,),  # kept: the sender saw the seal first
    (Gathering, DocumentReceived): (Gathering,),  # a sealed one that was missing here
    (Gathering, BlobVerified): (Gathering,),
    (Gathering, SealConfirmed): (Gathering, Void),  # the same again, or another one after a reorg
    (Gathering, UnmaskingReceived): (Gathering,),
    (Void, DocumentReceived): (Void,),
    (Void, BlobVerified): (Void,),
    (Void, SealConfirmed): (Gathering, Void),
    (Void, UnmaskingReceived): (Void,),
}


@dataclass(frozen=True, slots=True)
class _CommittedShares:
    """The commitments to all shares of one secret, and how one is computed (``keys.frame_share``)."""

    head: bytes
    between: bytes
    row: bytes


class Aggregator:
    """One cohort at one validator."""

    def __init__(self, context: CohortContext) -> None:
        self.context = context
        self.phase: Phase = Collecting()
        self._collection = Collection(context)
        self._unmaskings: dict[int, Unmasking] = {}  # the first of each seat, under whatever seal
        # Of the checked answers to the present seal; and what they are checked against.
        self._shares: dict[tuple[int, int], dict[int, bytes]] = {}
        self._committed: dict[tuple[int, int], _CommittedShares] = {}

    # --- events ------------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> Faults:
        """Take one event; return what was wrong with it, or with what it let us examine. Raises on no peer's doing."""
        allowed = TRANSITIONS[type(self.phase), type(event)]
        match event:
            case DocumentReceived():
                faults = self._take_document(event)
            case BlobVerified():
                faults = self._collection.take_blob(event.digest, event.size_bytes)
            case SealConfirmed():
                faults = self._take_seal(event)
            case UnmaskingReceived():
                faults = self._take_unmasking(event)
        faults += self._examine_answers()
        assert type(self.phase) in allowed
        return faults

    def _take_document(self, event: DocumentReceived) -> Faults:
        sealed = self.phase.entries.get(event.seat) if isinstance(self.phase, Gathering) else None
        # [REJECT] Another contribution of this trainer than the sealed one.
        if sealed is not None and (event.root, event.document_digest) != (sealed.root, sealed.document_digest):
            return (RemoteProtocolError(event.seat, DropReason.EQUIVOCATION, "not the sealed contribution"),)
        received = ReceivedDocument(event.root, event.document_digest, event.document, event.commitments)
        return self._collection.take_document(event.seat, received)

    def _take_seal(self, event: SealConfirmed) -> Faults:
        if isinstance(self.phase, Gathering | Void) and self.phase.seal == event.seal:
            return ()
        entries = get_sealed_entries(self.context, event.manifest)
        if len(entries) < self.context.survivors_min:
            self.phase = Void(event.seal)
            return ()
        for seat, entry in entries.items():
            known = self._collection.documents.get(seat)
            if known is not None and (known.root, known.document_digest) != (entry.root, entry.document_digest):
                # The trainer made two contributions, and the other one was sealed: fetch that.
                self._collection.forget(seat)
        needed = frozenset(
            secret for dealer in entries for secret in compute_needed_secrets(self.context, entries, dealer)
        )
        self.phase = Gathering(event.seal, entries, needed, {}, frozenset())
        self._shares, self._committed = {}, {}
        return ()

    def _take_unmasking(self, event: UnmaskingReceived) -> Faults:
        # [REJECT] The sender is no member of this cohort.
        if event.seat not in self.context.seats:
            return (RemoteProtocolError(event.seat, DropReason.UNKNOWN_SENDER),)
        known = self._unmaskings.get(event.seat)
        # [IGNORE] The same answer came before.
        if known == event.unmasking:
            return (RemoteProtocolError(event.seat, DropReason.DUPLICATE),)
        # [REJECT] Another answer came before: one per round number, under whatever seal.
        if known is not None:
            return (RemoteProtocolError(event.seat, DropReason.EQUIVOCATION, "two answers in one round"),)
        self._unmaskings[event.seat] = event.unmasking
        return ()

    def _examine_answers(self) -> Faults:
        """Check the answers that were not checked yet, as soon as every sealed document is here."""
        phase = self.phase
        if not isinstance(phase, Gathering) or self.get_missing_documents():
            return ()
        faults: Faults = ()
        answers, refused = dict(phase.answers), set(phase.refused)
        for seat in sorted(self._unmaskings.keys() - answers.keys() - refused):
            try:
                self._check_unmasking(phase, seat, self._unmaskings[seat])
            except RemoteProtocolError as fault:
                refused.add(seat)
                faults += (fault,)
            else:
                answers[seat] = self._unmaskings[seat]
                for item in answers[seat].items:
                    self._shares.setdefault((item.owner, get_secret_of(item)), {})[seat] = item.share
        self.phase = Gathering(phase.seal, phase.entries, phase.needed, answers, frozenset(refused))
        return faults

    def _check_unmasking(self, phase: Gathering, seat: int, unmasking: Unmasking) -> None:
        # [IGNORE] An answer to another seal, after a reorg or by a node whose RPC lies: an honest trainer may be sealed
        # there and not here, so this comes first.
        if unmasking.seal != phase.seal:
            raise RemoteProtocolError(seat, DropReason.WRONG_SEAL)
        # [REJECT] Only survivors answer.
        if seat not in phase.entries:
            raise RemoteProtocolError(seat, DropReason.UNKNOWN_SENDER, "it is no survivor")
        places = [sort_key(item) for item in unmasking.items]
        # [REJECT] Items are in order and each stands once.
        if any(first >= second for first, second in pairwise(places)):
            raise RemoteProtocolError(seat, DropReason.MALFORMED, "items out of order")
        for item in unmasking.items:
            secret_of = get_secret_of(item)
            # [REJECT] Exactly this may be said under this seal: b of the sealed, pair seeds of sealed with unsealed.
            forbidden = (item.owner, secret_of) not in phase.needed or seat not in self.context.holder_set(secret_of)
            if forbidden or isinstance(item, SelfMaskShare) != (item.owner == secret_of):
                raise RemoteProtocolError(seat, DropReason.FORBIDDEN_ITEM, f"{type(item).__name__} of {item.owner}")
            # [REJECT] The share is the committed one. Honest holders check that before they speak: the holder lies.
            if not self._is_committed(item.owner, secret_of, seat, item.share):
                raise RemoteProtocolError(seat, DropReason.BAD_SHARE, f"of seat {item.owner}'s secret for {secret_of}")

    def _is_committed(self, dealer: int, secret_of: int, holder: int, share: bytes) -> bool:
        """:func:`keys.commit_share` against the document; what a secret's holders have in common is made once."""
        committed = self._committed.get((dealer, secret_of))
        if committed is None:
            head, between = keys.frame_share(self.context.sharing_context(dealer, secret_of))
            row = get_share_commitments(self.context, self._collection.documents[dealer], secret_of)
            committed = self._committed[dealer, secret_of] = _CommittedShares(head, between, row)
        start = SHARE_BYTES * self.context.place(secret_of, holder)
        digest = sha256(committed.head + holder.to_bytes(2, "big") + committed.between + share)
        return digest == committed.row[start : start + SHARE_BYTES]

    # --- what is held ------------------------------------------------------------------------------------------

    def get_needed_blobs(self, seat: int) -> tuple[NeededBlob, ...]:
        """Chunks and bundles of ``seat`` that are not held yet, in document order; empty without its document."""
        return self._collection.get_needed_blobs(seat)

    def is_complete(self, seat: int) -> bool:
        """Whether the contribution of ``seat`` is here with every chunk and bundle."""
        return self._collection.is_complete(seat)

    def get_mismatches(self) -> tuple[tuple[int, int], ...]:
        """Pairs of wholly received contributions whose commitments to their pair seed differ, ascending."""
        return self._collection.get_mismatches()

    def held(self) -> frozenset[int]:
        """Seats whose contribution this validator holds and has verified: what its ``Have`` says.

        Document, all chunks and all bundles are there, and no two of these seats committed to different pair seeds.
        Where two did, the one with more such quarrels goes first, both where they have equally many (SPEC §5).
        """
        return self._collection.compute_held()

    @property
    def answered(self) -> frozenset[int]:
        """Seats whose answer is here, examined already or not."""
        return frozenset(self._unmaskings)

    def get_document(self, seat: int) -> ContributionDocument | None:
        """The validated document of ``seat``, or ``None``."""
        received = self.get_received(seat)
        return None if received is None else received.document

    def get_received(self, seat: int) -> ReceivedDocument | None:
        """The same with its root and all commitments to shares."""
        return self._collection.documents.get(seat)

    # --- after the seal ----------------------------------------------------------------------------------------

    def get_missing_documents(self) -> tuple[ManifestEntry, ...]:
        """Sealed contributions whose document is not here: fetch it by ``document_digest``."""
        if not isinstance(self.phase, Gathering):
            return ()
        return tuple(entry for seat, entry in self.phase.entries.items() if seat not in self._collection.documents)

    def get_unrecoverable(self) -> tuple[int, ...]:
        """Sealed seats of which fewer than threshold holders have answered; empty exactly when it can be opened."""
        phase = self._gathering()
        if self.get_missing_documents():
            return tuple(phase.entries)
        threshold = self.context.threshold
        short = {secret[0] for secret in phase.needed if len(self._shares.get(secret, ())) < threshold}
        return tuple(sorted(short))

    def is_recoverable(self) -> bool:
        """Whether at least threshold holders of every sealed seat have answered. False before a seal and when void."""
        return isinstance(self.phase, Gathering) and not self.get_unrecoverable()

    def prepare_opening(self, sum_bound: int) -> Opening | Unopened:
        """Rebuild and check all secrets; give the result to ``opening.open_sum``, in a thread if need be.

        Args:
            sum_bound: of the sealed members' honest sum (``fixed_point.compute_sum_bound``).
        """
        if isinstance(self.phase, Void):
            return Unopened(AbortReason.TOO_FEW_SURVIVORS)
        phase = self._gathering()
        if self.get_unrecoverable():
            return Unopened(AbortReason.TOO_FEW_ANSWERS)
        documents = {seat: self._collection.documents[seat] for seat in phase.entries}
        return prepare_opening(self.context, documents, self._shares, sum_bound)

    def open(self, vectors: Mapping[int, Sequence[bytes]], sum_bound: int) -> OpenedInMemory | Unopened:
        """Both steps at once, in memory. ``vectors``: per sealed seat its chunks in order, not verified yet."""
        opening = self.prepare_opening(sum_bound)
        if isinstance(opening, Unopened):
            return opening
        blobs: dict[bytes, bytes] = {}
        for seat, digests in opening.chunk_digests:
            chunks = vectors.get(seat, ())
            if tuple(sha256(chunk) for chunk in chunks) != digests:
                return Unopened(AbortReason.CONTRADICTION, (RemoteProtocolError(seat, DropReason.BAD_CHUNK),))
            blobs.update(zip(digests, chunks, strict=True))
        return open_in_memory(opening, blobs.__getitem__)

    def get_shares(self) -> Mapping[tuple[int, int], Mapping[int, bytes]]:
        """(dealer, secret_of) → holder's seat → share, of the checked answers to the seal. Empty before a seal."""
        return self._shares if isinstance(self.phase, Gathering) else {}

    def _gathering(self) -> Gathering:
        if not isinstance(self.phase, Gathering):
            raise LocalProtocolError("nothing is sealed in this cohort")
        return self.phase
