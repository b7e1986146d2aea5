"""Cohorts with a sparse graph: both machines and the reference, with dropouts before and after contributing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_flock.errors import AbortReason, DropReason
from p2p_flock.secagg import keys
from p2p_flock.secagg.aggregator import UnmaskingReceived
from p2p_flock.secagg.answer import Answered, Refusal, Refused, compute_answer, compute_dealers, compute_wanted
from p2p_flock.secagg.bundle import SEALED_BUNDLE_BYTES_MAX, compute_sealed_bytes
from p2p_flock.secagg.contributor import contribute
from p2p_flock.secagg.document import get_pair_commitment
from p2p_flock.secagg.graph import compute_ring_order, find_short, survivors_closure
from p2p_flock.secagg.opening import OpenedInMemory, Unopened
from p2p_flock.secagg.reference import run_cohort
from p2p_flock.secagg.secrets import ROUND_SECRETS_BYTES_MAX, RoundSecrets
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import (
    CHUNKS_MAX,
    COMMITMENTS_BYTES_MAX,
    DOCUMENT_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    SEATS_MAX,
    UNMASKING_ITEMS_MAX,
    ContributionDocument,
    PairSeedShare,
    SelfMaskShare,
    Unmasking,
    UnmaskingItem,
)
from tests.unit.secagg_cohort import SEAL, Cohort, digest_of, make_cohort

# (members, t, c); h = 7, 7, 7, 11, 13
SIZES = [(10, 5, 0), (24, 5, 0), (24, 6, 1), (64, 8, 2), (40, 8, 0)]


@cache
def cohort_of(count: int, threshold: int, collusion_bound: int) -> Cohort:
    cohort = make_cohort(count, threshold, collusion_bound, lane_count=3, salt=count)
    assert not cohort.context.is_complete
    return cohort


def ring_of(cohort: Cohort) -> tuple[int, ...]:
    return compute_ring_order(cohort.context.seed, cohort.context.cohort, cohort.seats)


@dataclass(frozen=True)
class Run:
    cohort: Cohort
    contributed: frozenset[int]
    silent: frozenset[int]


@st.composite
def runs(draw: st.DrawFn) -> Run:
    cohort = cohort_of(*draw(st.sampled_from(SIZES)))
    seats = st.sampled_from(cohort.seats)
    dropped = draw(st.frozensets(seats, max_size=len(cohort.seats) // 4))
    silent = draw(st.frozensets(seats, max_size=len(cohort.seats) // 5))
    return Run(cohort, frozenset(cohort.seats) - dropped, silent)


@settings(max_examples=10, deadline=None, print_blob=True)
@given(runs())
def test_cohort__opens_exactly_when_every_neighborhood_answers(run: Run) -> None:
    """DESIGN §6 in both directions: a sum would be lost that could be had, or a wrong one opened."""
    cohort, context = run.cohort, run.cohort.context
    sealed = tuple(sorted(survivors_closure(context, run.contributed)))
    answering = frozenset(sealed) - run.silent
    touched = [seat for seat in cohort.seats if context.holder_set(seat) & set(sealed)]
    enough = all(len(context.holder_set(seat) & answering) >= context.threshold for seat in touched)
    expected = len(sealed) >= context.survivors_min and enough
    before, after = frozenset(cohort.seats) - set(sealed), frozenset(sealed) - answering
    total = run_cohort(context, cohort.mask_secrets, cohort.lanes, cohort.entropy, before, after)
    assert (total is not None) == expected
    if len(sealed) < context.survivors_min:
        return
    machine = cohort.sealed_aggregator(sealed, answering)
    assert machine.is_recoverable() == expected
    result = machine.open(cohort.vectors(sealed), cohort.sum_bound)
    if total is None:
        assert isinstance(result, Unopened) and result.reason is AbortReason.TOO_FEW_ANSWERS
    else:
        assert np.array_equal(total, cohort.plain_sum(sealed))
        assert isinstance(result, OpenedInMemory) and np.array_equal(result.ring_sum, total)


@settings(max_examples=10, deadline=None, print_blob=True)
@given(runs())
def test_answer__of_a_seal_that_cannot_be_opened_is_refused_by_all(run: Run) -> None:
    """A seal that cuts somebody's neighborhood down could open a part of the cohort alone (SPEC §7)."""
    cohort, context = run.cohort, run.cohort.context
    sealed = run.contributed
    short = find_short(context, sealed)
    for seat in sorted(sealed)[:3]:
        bundles, manifest = cohort.bundles_for(seat), cohort.manifest(sorted(sealed))
        answer = compute_answer(context, cohort.made[seat].secrets, SEAL, manifest, cohort.documents(), bundles)
        assert isinstance(answer, Answered) == (not short)
        assert isinstance(answer, Answered) or answer == Refused(Refusal.TOO_FEW_NEIGHBORS, ())


def test_answer__needs_only_what_it_speaks_of() -> None:
    """A trainer would pull the documents of a thousand others to answer for fifty."""
    cohort = cohort_of(24, 5, 0)
    context, ring = cohort.context, ring_of(cohort)
    assert compute_dealers(context, ring[0], cohort.seats) == context.neighbors(ring[0])
    sealed = frozenset(cohort.seats) - {ring[3]}  # the farthest neighbor of ring[0]
    dealers = compute_dealers(context, ring[0], sealed)
    assert set(dealers) == {ring[step] for step in (-3, -2, -1, 1, 2, 4, 5, 6)}
    documents = cohort.documents(dealers)
    bundles = {dealer: bundle for dealer, bundle in cohort.bundles_for(ring[0]).items() if dealer in dealers}
    secrets, manifest = cohort.made[ring[0]].secrets, cohort.manifest(sorted(sealed))
    answer = compute_answer(context, secrets, SEAL, manifest, documents, bundles)
    assert isinstance(answer, Answered) and answer.faults == ()
    said = {(item.owner, getattr(item, "dropout", item.owner)) for item in answer.unmasking.items}
    near = {(ring[step], ring[step]) for step in (-3, -2, -1, 0, 1, 2)}
    assert said == near | {(ring[step], ring[3]) for step in (0, 1, 2, 4, 5, 6)}
    assert answer.unmasking == cohort.unmasking(ring[0], sorted(sealed))


@pytest.mark.parametrize("dropped", [0, 2])
def test_answer__says_of_each_member_either_sealed_or_not(dropped: int) -> None:
    """P1 rests on it: a holder that says both lets two contradicting seals open a trainer."""
    cohort = cohort_of(24, 5, 0)
    context, ring = cohort.context, ring_of(cohort)
    sealed = frozenset(cohort.seats) - set(ring[:dropped])
    for seat in sorted(sealed):
        for dealer, secrets_of in compute_wanted(context, seat, sealed).items():
            assert dealer in sealed and set(secrets_of) <= context.holder_set(dealer) & context.holder_set(seat)
            assert all((secret_of == dealer) == (secret_of in sealed) for secret_of in secrets_of)


def test_aggregator__refuses_shares_of_whoever_holds_none() -> None:
    """A neighbor of the dealer that is none of the dropout's would be counted as a holder."""
    cohort = cohort_of(24, 5, 0)
    ring = ring_of(cohort)
    sealed = sorted(set(cohort.seats) - {ring[3]})
    machine = cohort.sealed_aggregator(sealed)
    for owner, dropout, seat in ((2, 3, -1), (0, 3, -2), (6, 3, 8)):
        item = PairSeedShare(ring[owner], ring[dropout], digest_of("share"))
        (fault,) = machine.handle(UnmaskingReceived(ring[seat], Unmasking(SEAL, (item,))))
        assert (fault.culprit, fault.reason) == (ring[seat], DropReason.FORBIDDEN_ITEM)


def test_open__names_the_dealer_of_a_bad_dealing() -> None:
    """In a sparse graph the shares for a dropout lie with others than the dealer's neighbors."""
    cohort = cohort_of(24, 5, 0)
    ring = ring_of(cohort)
    sealed, off = tuple(sorted(set(cohort.seats) - {ring[3]})), tuple(digest_of("off", n) for n in range(7))
    for secret_of in (ring[0], ring[3]):
        cheating = cohort.with_dealing(ring[0], secret_of, off)
        machine = cheating.sealed_aggregator(sealed, [seat for seat in sealed if seat != ring[0]])
        result = machine.open(cheating.vectors(sealed), cohort.sum_bound)
        assert isinstance(result, Unopened) and result.reason is AbortReason.CONTRADICTION
        assert [(fault.culprit, fault.reason) for fault in result.faults] == [(ring[0], DropReason.BAD_DEALING)]


def test_pair_seeds__exist_between_neighbors_only() -> None:
    """A mask towards somebody who adds none back would never cancel."""
    cohort = cohort_of(24, 5, 0)
    for seat, made in cohort.made.items():
        assert tuple(entry.neighbor for entry in made.secrets.neighbors) == cohort.context.neighbors(seat)
        assert tuple(entry.partner for entry in made.secrets.partners) == cohort.context.partners(seat)
        for entry in made.secrets.neighbors:
            theirs = next(e for e in cohort.made[entry.neighbor].secrets.neighbors if e.neighbor == seat)
            assert theirs.pair_seed == entry.pair_seed


# --- limits ----------------------------------------------------------------------------------------------------


def test_sizes__a_contribution_with_255_holders_fits() -> None:
    """The largest cohorts could not contribute, or be restored after a restart."""
    for count, threshold in ((255, 128), (600, 129)):
        cohort = make_cohort(count, threshold, lane_count=1, contributing=1)
        context = cohort.context
        (made,) = cohort.made.values()
        seat = made.document.seat
        assert context.holder_count == 255
        assert len(encode(made.document)) <= DOCUMENT_BYTES_MAX
        assert len(made.commitments) == context.commitments_bytes == COMMITMENTS_BYTES_MAX
        assert len(encode(made.secrets)) <= ROUND_SECRETS_BYTES_MAX
        assert decode(RoundSecrets, encode(made.secrets), ROUND_SECRETS_BYTES_MAX) == made.secrets
        for partner, bundle in made.bundles.items():
            assert len(bundle) == compute_sealed_bytes(context, seat, partner) <= SEALED_BUNDLE_BYTES_MAX


def test_sizes__the_largest_document_fits() -> None:
    """A vector of 4 GiB in the largest cohort could not be described."""
    last = SEATS_MAX - 1
    document = ContributionDocument(
        2**32 - 1, 255, last, 32, 2**32 - 1, (bytes(32),) * CHUNKS_MAX, bytes(32),
        bytes(32 * 254),
        bytes(32),
        bytes(32 * 508),
        bytes(32), bytes(32 * 20),
    )  # fmt: skip
    data = encode(document)
    assert len(data) <= DOCUMENT_BYTES_MAX
    assert decode(ContributionDocument, data, DOCUMENT_BYTES_MAX) == document


def test_sizes__the_longest_answer_fits_one_message() -> None:
    """A survivor beside many dropouts could not say its shares."""
    last = SEATS_MAX - 1
    items: tuple[UnmaskingItem, ...] = (SelfMaskShare(last, bytes(32)),) * 129
    items += (PairSeedShare(last, last, bytes(32)),) * (UNMASKING_ITEMS_MAX - 129)
    assert MESSAGE_BYTES_MAX - 8192 < len(encode(Unmasking(bytes(32), items))) <= MESSAGE_BYTES_MAX


def test_sizes__no_answer_has_more_items_than_allowed() -> None:
    """The bound in messages.py is argued from the worst dropouts; a worse pattern would silence a survivor."""
    context = make_cohort(600, 129, lane_count=1, contributing=0).context
    ring = compute_ring_order(context.seed, context.cohort, context.seats)
    patterns = {
        "farthest": [*range(-127, -64), *range(65, 128)],
        "nearest": [*range(-63, 0), *range(1, 64)],
        "one_side": [*range(2, 128)],
        "every_other": [*range(-126, 128, 2)][:126],
    }
    counts = {}
    for name, steps in patterns.items():
        sealed = frozenset(context.seats) - {ring[step] for step in steps if step}
        assert find_short(context, sealed) == (), name
        counts[name] = sum(map(len, compute_wanted(context, ring[0], sealed).values()))
    assert counts["farthest"] == UNMASKING_ITEMS_MAX == max(counts.values())


def test_contribute__commits_alike_from_both_ends_of_a_sparse_edge() -> None:
    """Honest neighbors would quarrel, and neither be held."""
    cohort = cohort_of(10, 5, 0)
    context = cohort.context
    for seat in cohort.seats:
        again = contribute(context, seat, cohort.mask_secrets[seat], cohort.lanes[seat], cohort.entropy[seat])
        assert again == cohort.made[seat]
        for entry in again.secrets.neighbors:
            commitment = get_pair_commitment(context, again.document, entry.neighbor)
            assert commitment == keys.commit_pair_seed(context, entry.neighbor, seat, entry.pair_seed)
    assert cohort.aggregator(cohort.seats).held() == frozenset(cohort.seats)
