"""The contribution document: root, digest and form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from p2p_flock.errors import DropReason, RemoteProtocolError
from p2p_flock.secagg.document import (
    compute_document_digest,
    compute_document_root,
    compute_leaves,
    validate_document,
    validate_root,
)
from p2p_flock.wire.messages import ContributionDocument
from tests.unit.secagg_cohort import digest_of, make_cohort

COHORT = make_cohort()
DOCUMENT = COHORT.made[4].document

Change = Callable[[ContributionDocument], ContributionDocument]

BAD_DOCUMENTS: dict[str, tuple[Change, DropReason]] = {
    "another_round": (lambda d: replace(d, round=5), DropReason.WRONG_ROUND),
    "another_cohort": (lambda d: replace(d, cohort=1), DropReason.BAD_DOCUMENT),
    "another_seat": (lambda d: replace(d, seat=1), DropReason.BAD_DOCUMENT),
    "narrow_lanes": (lambda d: replace(d, lane_bits=16), DropReason.BAD_DOCUMENT),
    "fewer_lanes": (lambda d: replace(d, lane_count=39), DropReason.BAD_DOCUMENT),
    "extra_chunk": (lambda d: replace(d, chunk_digests=d.chunk_digests * 2), DropReason.BAD_DOCUMENT),
    "neighbor_missing": (lambda d: replace(d, pair_commitments=d.pair_commitments[1:]), DropReason.BAD_DOCUMENT),
    "neighbors_out_of_order": (
        lambda d: replace(d, pair_commitments=d.pair_commitments[::-1]),
        DropReason.BAD_DOCUMENT,
    ),
    "neighbor_twice": (
        lambda d: replace(d, pair_commitments=(d.pair_commitments[0], *d.pair_commitments[:-1])),
        DropReason.BAD_DOCUMENT,
    ),
    "secret_missing": (lambda d: replace(d, share_commitments=d.share_commitments[1:]), DropReason.BAD_DOCUMENT),
    "holder_missing": (
        lambda d: replace(
            d,
            share_commitments=(
                replace(d.share_commitments[0], commitments=d.share_commitments[0].commitments[32:]),
                *d.share_commitments[1:],
            ),
        ),
        DropReason.BAD_DOCUMENT,
    ),
    "bundle_missing": (lambda d: replace(d, bundle_digests=d.bundle_digests[:-1]), DropReason.BAD_DOCUMENT),
    "spent_key_again": (
        lambda d: replace(d, next_mask_key=COHORT.context.member(4).mask_key),
        DropReason.BAD_DOCUMENT,
    ),
    "low_order_key": (lambda d: replace(d, next_mask_key=bytes(32)), DropReason.BAD_DOCUMENT),
}


def reason_of(action: Callable[[], object]) -> tuple[int | None, DropReason]:
    with pytest.raises(RemoteProtocolError) as caught:
        action()
    return caught.value.culprit, caught.value.reason


@pytest.mark.parametrize("name", BAD_DOCUMENTS)
def test_validate_document__bad_form_is_refused(name: str) -> None:
    """A document of another form would make some later index, sum or answer fail on every node."""
    change, reason = BAD_DOCUMENTS[name]
    assert reason_of(lambda: validate_document(COHORT.context, 4, change(DOCUMENT))) == (4, reason)


def test_validate_document__of_a_stranger_is_refused() -> None:
    """Somebody without a seat in the cohort would be added to its sum."""
    assert reason_of(lambda: validate_document(COHORT.context, 5, DOCUMENT)) == (5, DropReason.UNKNOWN_SENDER)


@pytest.mark.parametrize("name", [*BAD_DOCUMENTS, "same"])
def test_compute_document_root__binds_every_field(name: str) -> None:
    """Two documents under one root: the trainer could show different ones to different people."""
    change = BAD_DOCUMENTS[name][0] if name in BAD_DOCUMENTS else lambda document: document
    roots = {compute_document_root(COHORT.context, document) for document in (DOCUMENT, change(DOCUMENT))}
    assert len(roots) == (1 if name == "same" else 2)


def test_compute_document_root__binds_each_leaf() -> None:
    """A share commitment or bundle could be exchanged after sealing."""
    changes: list[Change] = [
        lambda d: replace(d, chunk_digests=(digest_of(1),)),
        lambda d: replace(d, self_mask_commitment=digest_of(1)),
        lambda d: replace(
            d, pair_commitments=(*d.pair_commitments[:3], replace(d.pair_commitments[3], commitment=digest_of(1)))
        ),
        lambda d: replace(d, bundle_digests=(*d.bundle_digests[:3], replace(d.bundle_digests[3], digest=digest_of(1)))),
        lambda d: replace(d, next_mask_key=digest_of(1)),
    ]
    roots = {compute_document_root(COHORT.context, change(DOCUMENT)) for change in changes}
    assert len(roots | {COHORT.made[4].root}) == len(changes) + 1
    other_round = replace(COHORT.context, round=5)
    assert compute_document_root(other_round, DOCUMENT) != COHORT.made[4].root


def test_compute_leaves__no_two_are_alike() -> None:
    """A proof for one entry would serve for another."""
    leaves = compute_leaves(COHORT.context, DOCUMENT)
    assert len(set(leaves)) == len(leaves) == 1 + 1 + 1 + 4 + 25 + 4 + 1


def test_validate_root__bad_root_or_digest_is_refused() -> None:
    """The announced root is what is signed and sealed; a document beside it would bind nobody."""
    made, context = COHORT.made[4], COHORT.context
    validate_root(context, 4, DOCUMENT, made.root, made.document_digest)
    bad = (4, DropReason.BAD_ROOT)
    assert reason_of(lambda: validate_root(context, 4, DOCUMENT, digest_of(1), made.document_digest)) == bad
    assert reason_of(lambda: validate_root(context, 4, DOCUMENT, made.root, digest_of(1))) == bad
    other = COHORT.with_pair_commitment(4, 1, digest_of(2)).made[4].document
    assert reason_of(lambda: validate_root(context, 4, other, made.root, compute_document_digest(other))) == bad
