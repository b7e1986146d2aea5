"""A cohort for ``scripts/bench secagg``: one member is measured, the others are made as cheaply as they can be.

Everybody's keys, documents, bundles and answers are real: made by the functions that nodes run, or, the answers, put
together from the dealings as ``compute_answer`` would (a test compares them). Masked vectors are real where that is
cheap; else they are what a simulator of the protocol would make of the sum alone: uniformly random, the last one such
that all add up to what real ones would. Opening them costs the same and gives the same sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from p2p_flock.bench.secagg_inputs import CLIENT, VALUE_BOUND, Task, count_turns, make_vectors
from p2p_flock.crypto.fixed_point import Encoder, compute_sum_bound
from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.crypto.masking import masks_into
from p2p_flock.crypto.ring import Words
from p2p_flock.crypto.vectors import view_bytes
from p2p_flock.errors import UsageError
from p2p_flock.secagg import keys
from p2p_flock.secagg.aggregator import DocumentReceived
from p2p_flock.secagg.answer import sort_key
from p2p_flock.secagg.context import CohortContext, build_context
from p2p_flock.secagg.contributor import (
    Masking,
    PreparedContribution,
    finish_contribution,
    mask_blocks,
    plan_masking,
)
from p2p_flock.secagg.dealing import Dealing, compute_dealing, get_share
from p2p_flock.types import Domain, Seat
from p2p_flock.wire.messages import (
    CHUNK_BYTES,
    ContributionDocument,
    Manifest,
    ManifestEntry,
    PairSeedShare,
    SelfMaskShare,
    Unmasking,
    UnmaskingItem,
)

DOMAIN = Domain(8453, bytes(range(20)), 7)
REAL_MASK_BYTES_MAX = 4 << 30  # keystream for all members' vectors, up to which every vector is masked for real
SIMULATED_BYTES_MAX = 400 << 20  # distinct simulated vectors together; members take turns with them


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


SEAL = _digest("seal")


@dataclass
class Cohort:
    """One task's cohort. Seats are positions.

    Attributes:
        maskings, made: of the survivors that were made, by seat.
        blobs: every chunk by its sha-256. chunks: digests by seat.
        total: the words that opening must give.
    """

    task: Task
    context: CohortContext
    mask_secrets: Sequence[bytes]
    levels: int
    maskings: dict[int, Masking] = field(default_factory=dict)
    made: dict[int, PreparedContribution] = field(default_factory=dict)
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    chunks: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    total: Words | None = None

    @property
    def sum_bound(self) -> int:
        return compute_sum_bound((1,) * len(self.task.survivors), self.levels)

    @property
    def clip_norm(self) -> float:
        return VALUE_BOUND * float(np.sqrt(self.task.parameters))

    def encoder(self, seat: int) -> Encoder:
        """Encodes the member's vector; members that take turns with one vector also round it alike."""
        vectors = make_vectors(self.task.parameters, self.task.vector_count)
        turn = seat % len(vectors)
        key = _digest("dither", turn)
        return Encoder(vectors[turn], True, self.clip_norm, self.levels, 1, self.task.lane_bits, key)

    def plan(self, seat: int) -> Masking:
        return plan_masking(self.context, seat, self.mask_secrets[seat], _digest("entropy", seat))

    @property
    def manifest(self) -> Manifest:
        """All survivors sealed; of those that were not made (nobody reads their documents) it names none that exist."""
        entries = []
        for seat in self.task.survivors:
            made = self.made.get(seat)
            parts = [_digest("nothing", part) for part in range(3)]
            if made is not None:
                parts = [made.root, made.document_digest, made.document.next_mask_key]
            entries.append(ManifestEntry(seat, *parts))
        return Manifest(self.context.round, tuple(entries))

    @property
    def documents(self) -> dict[int, ContributionDocument]:
        return {seat: made.document for seat, made in self.made.items()}

    def document_event(self, seat: int) -> DocumentReceived:
        """What a validator is given of one contribution."""
        made = self.made[seat]
        return DocumentReceived(seat, made.root, made.document_digest, made.document, made.commitments)

    def bundles_for(self, holder: int) -> dict[int, bytes]:
        return {
            dealer: made.bundles[holder]
            for dealer, made in self.made.items()
            if dealer != holder and holder in made.bundles
        }


def make_cohort(task: Task) -> Cohort:
    """Context and keys; nobody has contributed yet.

    Raises:
        ParameterError: this version serves no such cohort.
        UsageError: its graph has another number of neighbors than the task says.
    """
    secrets = [_digest("mask secret", position) for position in range(task.members)]
    seats = [
        Seat(position, _digest("owner", position)[:20], "", 1, mask_public_key(secret))
        for position, secret in enumerate(secrets)
    ]
    context = build_context(
        DOMAIN, 1, _digest("seed"), 0, seats, task.threshold, task.collusion_bound, task.lane_bits, task.parameters
    )
    if context.holder_count != task.holders:
        raise UsageError(f"the graph has {context.holder_count} holders of a secret, not {task.holders}")
    return Cohort(task, context, secrets, context.ring.sum_bound_max // task.members)


def contribute_all(
    cohort: Cohort,
    seats: Iterable[int] | None = None,
    with_vectors: bool = True,
    real_mask_bytes_max: int = REAL_MASK_BYTES_MAX,
    known: Cohort | None = None,
) -> None:
    """Everybody in ``seats`` (all survivors) contributes; without vectors the chunks' digests are of nothing.

    Args:
        known: another cohort of this graph, with other dropouts: whose contribution is the same has made it there.
    """
    task, context = cohort.task, cohort.context
    chosen = tuple(task.survivors if seats is None else seats)
    made_before = {} if known is None or known.context.digest != context.digest else known.made
    maskings = known.maskings if known is not None and made_before else {}
    cohort.maskings = {seat: maskings.get(seat) or cohort.plan(seat) for seat in chosen}
    if with_vectors:
        mask_bytes = context.vector_bytes * task.holders * len(chosen)
        make = _mask_for_real if mask_bytes <= real_mask_bytes_max else _simulate_masked
        cohort.total = _sum_encoded(cohort)
        make(cohort, chosen)
    for seat in chosen:
        digests = cohort.chunks.get(seat, (_digest("no chunk", seat),) * context.chunk_count)
        before = made_before.get(seat)
        if before is not None and before.document.chunk_digests == digests:
            cohort.made[seat] = before
        else:
            cohort.made[seat] = finish_contribution(cohort.maskings[seat], digests)


def _keep(cohort: Cohort, chunk: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(chunk).digest()
    cohort.blobs[digest] = bytes(chunk)
    return digest


def _sum_encoded(cohort: Cohort) -> Words:
    """Σ encoded updates of the survivors."""
    ring, task = cohort.context.ring, cohort.task
    total = np.zeros(ring.word_count(task.parameters), dtype=ring.dtype)
    for turn, turns in enumerate(count_turns(task)):
        if turns:
            (words,) = cohort.encoder(turn).encode(-(-cohort.context.vector_bytes // CHUNK_BYTES) * CHUNK_BYTES)
            total += words * ring.dtype.type(turns)
    return cast(Words, total)


def _mask_for_real(cohort: Cohort, seats: Sequence[int]) -> None:
    for seat in seats:
        blocks = cohort.encoder(seat).encode(CHUNK_BYTES)
        cohort.chunks[seat] = mask_blocks(cohort.maskings[seat], blocks, lambda chunk: _keep(cohort, chunk))


def _simulate_masked(cohort: Cohort, seats: Sequence[int]) -> None:
    """The measured member's vector for real, those of all others but the last at random, the last one the rest."""
    assert cohort.total is not None
    others = [seat for seat in seats if seat != CLIENT]
    _mask_for_real(cohort, [CLIENT])
    rest = cohort.total.copy()
    masks_into(rest, compute_left_keys(cohort))
    _subtract(rest, cohort, CLIENT)
    simulated: dict[int, tuple[bytes, ...]] = {}
    distinct = max(2, SIMULATED_BYTES_MAX // cohort.context.vector_bytes)
    for seat in others[:-1]:
        turn = seat % distinct
        if turn not in simulated:
            data = np.random.default_rng([cohort.task.parameters, turn]).bytes(cohort.context.vector_bytes)
            simulated[turn] = _cut(cohort, memoryview(data))
        cohort.chunks[seat] = simulated[turn]
        _subtract(rest, cohort, seat)
    cohort.chunks[others[-1]] = _cut(cohort, view_bytes(rest))


def compute_left_keys(cohort: Cohort) -> list[tuple[bytes, int]]:
    """(stream key, sign) of every mask that the sum of the survivors' real masked vectors would hold."""
    lost = set(cohort.task.dropouts)
    left = []
    for seat, masking in cohort.maskings.items():
        left.append((keys.derive_stream_key(masking.self_mask), 1))
        left += [
            (keys.derive_stream_key(seed), keys.compute_pair_sign(seat, other))
            for other, seed in masking.pair_seeds.items()
            if other in lost
        ]
    return left


def _cut(cohort: Cohort, data: memoryview) -> tuple[bytes, ...]:
    return tuple(_keep(cohort, data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES))


def _subtract(rest: Words, cohort: Cohort, seat: int) -> None:
    words, ring = CHUNK_BYTES // rest.itemsize, cohort.context.ring
    for index, digest in enumerate(cohort.chunks[seat]):
        part = rest[index * words : (index + 1) * words]
        np.subtract(part, ring.read(cohort.blobs[digest]), out=part)


def make_answers(cohort: Cohort) -> dict[int, Unmasking]:
    """Every survivor's answer to the seal, from the dealings: what ``compute_answer`` says when everything arrived."""
    context, lost = cohort.context, set(cohort.task.dropouts)
    said: dict[int, list[UnmaskingItem]] = {seat: [] for seat in cohort.made}
    for dealer, masking in cohort.maskings.items():
        dealing: Dealing = compute_dealing(context, dealer, masking.self_mask, masking.pair_seeds)
        for secret_of in (dealer, *(other for other in context.neighbors(dealer) if other in lost)):
            for holder in context.holders(secret_of):
                if holder in said:
                    share = get_share(context, dealing[secret_of], secret_of, holder)
                    is_self = secret_of == dealer
                    said[holder].append(
                        SelfMaskShare(dealer, share) if is_self else PairSeedShare(dealer, secret_of, share)
                    )
    return {seat: Unmasking(SEAL, tuple(sorted(items, key=sort_key))) for seat, items in said.items()}
