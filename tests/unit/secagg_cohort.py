"""A cohort with deterministic keys and inputs, and the ways in which its members cheat. For tests of ``secagg/``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from p2p_flock.crypto.key_agreement import agree, mask_public_key
from p2p_flock.crypto.ring import Words
from p2p_flock.secagg import aggregator, keys
from p2p_flock.secagg.aggregator import Aggregator, BlobVerified, DocumentReceived, UnmaskingReceived
from p2p_flock.secagg.answer import Answered, compute_answer
from p2p_flock.secagg.bundle import seal_bundle
from p2p_flock.secagg.context import CohortContext, build_context
from p2p_flock.secagg.contributor import (
    Masking,
    PreparedContribution,
    assemble,
    commit_bundles,
    contribute,
    plan_masking,
)
from p2p_flock.secagg.dealing import commit_dealing, compute_dealing
from p2p_flock.secagg.document import build_columns
from p2p_flock.types import Domain, Seat
from p2p_flock.wire.messages import (
    Bundle,
    ContributionDocument,
    Manifest,
    ManifestEntry,
    Unmasking,
)

DOMAIN = Domain(8453, bytes(range(20)), 7)
SEAL = hashlib.sha256(b"seal").digest()
LEVELS = 100


def digest_of(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def make_seats(count: int, salt: int = 0) -> list[Seat]:
    """``count`` seats with gaps between their indexes, so that index and position are never mistaken."""
    return [
        Seat(3 * i + 1, digest_of("owner", i)[:20], "", 1, mask_public_key(digest_of("mask secret", salt, i)))
        for i in range(count)
    ]


@dataclass(frozen=True)
class Cohort:
    """Context, everybody's secrets, and what everybody contributed."""

    context: CohortContext
    mask_secrets: dict[int, bytes]
    lanes: dict[int, Words]
    entropy: dict[int, bytes]
    made: dict[int, PreparedContribution]

    @property
    def seats(self) -> tuple[int, ...]:
        return self.context.seats

    @property
    def sum_bound(self) -> int:
        return LEVELS * len(self.seats)

    def plain_sum(self, seats: Iterable[int]) -> Words:
        ring = self.context.ring
        total: Words = np.zeros(ring.word_count(self.context.lane_count), dtype=ring.dtype)
        for seat in seats:
            total += self.lanes[seat]
        return total

    def manifest(self, sealed: Iterable[int]) -> Manifest:
        entries = [
            ManifestEntry(s, self.made[s].root, self.made[s].document_digest, self.made[s].document.next_mask_key)
            for s in sealed
        ]
        return Manifest(self.context.round, tuple(entries))

    def documents(self, seats: Iterable[int] | None = None) -> dict[int, ContributionDocument]:
        return {s: self.made[s].document for s in (self.seats if seats is None else seats)}

    def bundles_for(self, holder: int) -> dict[int, bytes]:
        return {dealer: made.bundles[holder] for dealer, made in self.made.items() if holder in made.bundles}

    def answer(self, seat: int, sealed: Iterable[int], seal: bytes = SEAL) -> Answered:
        """What ``seat`` says when everything reached it."""
        manifest = self.manifest(sealed)
        made = self.made[seat]
        answer = compute_answer(self.context, made.secrets, seal, manifest, self.documents(), self.bundles_for(seat))
        assert isinstance(answer, Answered), answer
        return answer

    def unmasking(self, seat: int, sealed: Iterable[int], seal: bytes = SEAL) -> Unmasking:
        return self.answer(seat, sealed, seal).unmasking

    def document_event(self, seat: int) -> DocumentReceived:
        made = self.made[seat]
        return DocumentReceived(seat, made.root, made.document_digest, made.document, made.commitments)

    def blob_events(self, seat: int) -> list[BlobVerified]:
        made = self.made[seat]
        blobs = [*made.chunks, *made.bundles.values()]
        return [BlobVerified(hashlib.sha256(blob).digest(), len(blob)) for blob in blobs]

    def seal_event(self, sealed: Iterable[int], seal: bytes = SEAL) -> aggregator.SealConfirmed:
        return aggregator.SealConfirmed(seal, self.manifest(sealed))

    def aggregator(self, contributed: Iterable[int]) -> Aggregator:
        """A validator that received all of ``contributed``; nothing is sealed."""
        machine = Aggregator(self.context)
        for seat in contributed:
            assert machine.handle(self.document_event(seat)) == ()
            for event in self.blob_events(seat):
                assert machine.handle(event) == ()
        return machine

    def sealed_aggregator(self, sealed: Iterable[int], answering: Iterable[int] = ()) -> Aggregator:
        """A validator after the seal, with honest answers of ``answering``."""
        chosen = tuple(sealed)
        machine = self.aggregator(chosen)
        assert machine.handle(self.seal_event(chosen)) == ()
        for seat in answering:
            assert machine.handle(UnmaskingReceived(seat, self.unmasking(seat, chosen))) == ()
        return machine

    def vectors(self, seats: Iterable[int]) -> dict[int, tuple[bytes, ...]]:
        return {seat: self.made[seat].chunks for seat in seats}

    # --- cheats ------------------------------------------------------------------------------------------------

    def with_made(self, made: PreparedContribution) -> Cohort:
        return replace(self, made={**self.made, made.document.seat: made})

    def masking(self, seat: int) -> Masking:
        """All secrets of its contribution."""
        return plan_masking(self.context, seat, self.mask_secrets[seat], self.entropy[seat])

    def dealing(self, dealer: int) -> dict[int, bytes]:
        """What it dealt, as an honest dealer."""
        masking = self.masking(dealer)
        return dict(compute_dealing(self.context, dealer, masking.self_mask, masking.pair_seeds))

    def with_document(self, seat: int, change: Callable[[ContributionDocument], ContributionDocument]) -> Cohort:
        """``seat`` publishes a changed document under the root that belongs to it, and bundles that fit."""
        made = self.made[seat]
        changed = assemble(self.masking(seat), change(made.document), self.dealing(seat), made.commitments)
        return self.with_made(replace(changed, chunks=made.chunks))

    def with_bundle(self, dealer: int, holder: int, sealed_bundle: bytes) -> Cohort:
        """``dealer`` commits to, and publishes, these bytes as its bundle for ``holder``."""
        made = self.made[dealer]
        bundles = {**made.bundles, holder: sealed_bundle}
        columns = build_columns(self.context, dealer, made.commitments)
        changed = commit_bundles(self.masking(dealer), made.document, made.commitments, columns, bundles)
        return self.with_made(replace(changed, chunks=made.chunks))

    def seal_bundle_for(self, dealer: int, holder: int, bundle: Bundle) -> bytes:
        agreed = agree(self.mask_secrets[dealer], self.context.member(holder).mask_key)
        return seal_bundle(self.context, keys.derive_bundle_key(self.context, agreed, dealer, holder), bundle)

    def with_dealing(self, dealer: int, secret_of: int, shares: tuple[bytes, ...], commit: bool = True) -> Cohort:
        """``dealer`` deals these shares of one secret; with ``commit`` it also commits to them."""
        made, honest = self.made[dealer], self.dealing(dealer)
        dealing = {**honest, secret_of: b"".join(shares)}
        commitments = commit_dealing(self.context, dealing if commit else honest, dealer)
        plain = replace(made.document, commitments_digest=hashlib.sha256(commitments).digest())
        changed = assemble(self.masking(dealer), plain, dealing, commitments)
        return self.with_made(replace(changed, chunks=made.chunks))

    def with_pair_commitment(self, seat: int, neighbor: int, commitment: bytes) -> Cohort:
        """``seat`` commits to something else than its pair seed with ``neighbor``."""
        pairs = bytearray(self.made[seat].document.pair_commitments)
        start = 32 * self.context.neighbors(seat).index(neighbor)
        pairs[start : start + 32] = commitment
        return self.with_document(seat, lambda document: replace(document, pair_commitments=bytes(pairs)))


def make_cohort(
    count: int = 5,
    threshold: int = 3,
    collusion_bound: int = 0,
    lane_bits: int = 32,
    lane_count: int = 40,
    salt: int = 0,
    contributing: int | None = None,
) -> Cohort:
    """``count`` honest members; all, or the first ``contributing``, have contributed; inputs within ±100 a lane."""
    seats = make_seats(count, salt)
    context = build_context(
        DOMAIN, 4, digest_of("seed", salt), 0, seats, threshold, collusion_bound, lane_bits, lane_count
    )
    generator = np.random.default_rng(salt)
    lanes: dict[int, Words] = {}
    for seat in seats:
        values = generator.integers(-LEVELS, LEVELS, lane_count, endpoint=True).astype(np.int32)
        lanes[seat.index] = np.empty(context.ring.word_count(lane_count), dtype=context.ring.dtype)
        context.ring.pack(values, LEVELS, lanes[seat.index])
    mask_secrets = {seat.index: digest_of("mask secret", salt, i) for i, seat in enumerate(seats)}
    entropy = {seat.index: digest_of("entropy", salt, seat.index) for seat in seats}
    made = {
        seat: contribute(context, seat, mask_secrets[seat], lanes[seat], entropy[seat])
        for seat in context.seats[:contributing]
    }
    return Cohort(context, mask_secrets, lanes, entropy, made)
