"""The contribution document: root, digest and form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from p2p_flock.errors import DropReason, RemoteProtocolError
from p2p_flock.secagg.context import CohortContext
from p2p_flock.secagg.document import (
    build_columns,
    build_tree,
    compute_document_digest,
    compute_other_leaves,
    compute_share_leaves,
    count_other_leaves,
    get_share_commitment,
    share_leaf,
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
    "neighbor_missing": (lambda d: replace(d, pair_commitments=d.pair_commitments[32:]), DropReason.BAD_DOCUMENT),
    "neighbor_too_many": (
        lambda d: replace(d, pair_commitments=d.pair_commitments + bytes(32)),
        DropReason.BAD_DOCUMENT,
    ),
    "bundle_missing": (lambda d: replace(d, bundle_digests=d.bundle_digests[:-32]), DropReason.BAD_DOCUMENT),
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


def root_of(document: ContributionDocument, context: CohortContext = COHORT.context) -> bytes:
    return build_tree(context, document, build_columns(context, 4, COHORT.made[4].commitments)).root


def test_root__binds_every_leaf() -> None:
    """Something could be exchanged after sealing: the trainer could show different things to different people."""
    changes: list[Change] = [
        lambda d: d,
        lambda d: replace(d, round=5),
        lambda d: replace(d, cohort=1),
        lambda d: replace(d, seat=1),
        lambda d: replace(d, lane_bits=16),
        lambda d: replace(d, lane_count=39),
        lambda d: replace(d, chunk_digests=(digest_of(1),)),
        lambda d: replace(d, self_mask_commitment=digest_of(1)),
        lambda d: replace(d, pair_commitments=d.pair_commitments[:-32] + digest_of(1)),
        lambda d: replace(d, bundle_digests=d.bundle_digests[:-32] + digest_of(1)),
        lambda d: replace(d, bundle_digests=d.bundle_digests[:-32]),
        lambda d: replace(d, next_mask_key=digest_of(1)),
    ]
    roots = {root_of(change(DOCUMENT)) for change in changes}
    assert len(roots) == len(changes) and COHORT.made[4].root in roots
    assert root_of(DOCUMENT, replace(COHORT.context, round=5)) not in roots


def test_root__binds_every_commitment() -> None:
    """A share could be exchanged after sealing."""
    made, context = COHORT.made[4], COHORT.context
    for start in range(0, len(made.commitments), 32):
        changed = made.commitments[:start] + digest_of(start) + made.commitments[start + 32 :]
        assert build_tree(context, DOCUMENT, build_columns(context, 4, changed)).root != made.root


def test_leaves__no_two_are_alike() -> None:
    """A proof for one entry would serve for another."""
    made, context = COHORT.made[4], COHORT.context
    leaves = compute_other_leaves(context, DOCUMENT)
    assert len(leaves) == count_other_leaves(context) == 1 + 1 + 1 + 4 + 1 + 1
    leaves += [leaf for column in compute_share_leaves(context, 4, made.commitments).values() for leaf in column]
    assert len(set(leaves)) == len(leaves) == 9 + 25


def test_get_share_commitment__is_the_leaf_of_the_column() -> None:
    """A holder would be judged by another commitment than the one under the root."""
    for cohort in (COHORT, make_cohort(12, 6)):
        made, context, dealer = cohort.made[4], cohort.context, 4
        for holder, leaves in compute_share_leaves(context, dealer, made.commitments).items():
            secrets = context.secrets_held(dealer, holder)
            assert leaves == [
                share_leaf(
                    of, context.place(of, holder), holder, get_share_commitment(context, made.received, of, holder)
                )
                for of in secrets
            ]


def test_validate_root__bad_ones_are_refused() -> None:
    """The announced root is what is signed and sealed; a document beside it would bind nobody."""
    received, context = COHORT.made[4].received, COHORT.context
    validate_root(context, 4, received)
    bad = (4, DropReason.BAD_ROOT)
    assert reason_of(lambda: validate_root(context, 4, replace(received, root=digest_of(1)))) == bad
    assert reason_of(lambda: validate_root(context, 4, replace(received, document_digest=digest_of(1)))) == bad
    other = COHORT.with_pair_commitment(4, 1, digest_of(2)).made[4].received
    assert reason_of(lambda: validate_root(context, 4, replace(other, root=received.root))) == bad


def test_validate_root__bad_commitments_or_path_are_the_trainers_fault() -> None:
    """Validators would hold commitments that no answer can be checked by, or survivors be led to another root."""
    received, context = COHORT.made[4].received, COHORT.context
    bad = (4, DropReason.BAD_DOCUMENT)
    for commitments in (received.commitments[:-32], received.commitments + bytes(32), b"", bytes(25 * 32)):
        assert reason_of(lambda data=commitments: validate_root(context, 4, replace(received, commitments=data))) == bad
    document = replace(DOCUMENT, columns_path=DOCUMENT.columns_path[32:] + digest_of(1))
    changed = replace(received, document=document, document_digest=compute_document_digest(document))
    assert reason_of(lambda: validate_root(context, 4, changed)) == bad
