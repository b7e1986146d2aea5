"""Section of ``make_vectors.py`` for secure aggregation: whole cohorts, and messages that must be refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from p2p_flock.secagg.aggregator import UnmaskingReceived
from p2p_flock.secagg.document import compute_document_digest
from p2p_flock.secagg.graph import compute_ring_order
from p2p_flock.secagg.reference import run_cohort
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import ContributionDocument, PairSeedShare, SelfMaskShare, Unmasking, UnmaskingItem
from tests.unit.secagg_cohort import SEAL, Cohort, digest_of, make_cohort

Case = dict[str, object]


def _describe(cohort: Cohort) -> Case:
    """All inputs of a cohort."""
    context = cohort.context
    return {
        "chain_id": context.domain.chain_id,
        "contract": context.domain.contract.hex(),
        "alliance": context.domain.alliance,
        "round": context.round,
        "seed": context.seed.hex(),
        "cohort": context.cohort,
        "threshold": context.threshold,
        "collusion_bound": context.collusion_bound,
        "lane_bits": context.lane_bits,
        "lane_count": context.lane_count,
        "members": [
            {
                "seat": member.seat,
                "owner": member.owner.hex(),
                "mask_secret": cohort.mask_secrets[member.seat].hex(),
                "mask_key": member.mask_key.hex(),
                "entropy": cohort.entropy[member.seat].hex(),
                "lanes": cohort.lanes[member.seat].tolist(),
            }
            for member in context.members
        ],
    }


def _run(name: str, cohort: Cohort, dropped_before: tuple[int, ...], dropped_after: tuple[int, ...]) -> Case:
    context = cohort.context
    sealed = tuple(seat for seat in cohort.seats if seat not in dropped_before)
    total = run_cohort(
        context,
        cohort.mask_secrets,
        cohort.lanes,
        cohort.entropy,
        frozenset(dropped_before),
        frozenset(dropped_after),
    )
    case: Case = {
        "name": name,
        **_describe(cohort),
        "seal": SEAL.hex(),
        "dropped_before": list(dropped_before),
        "dropped_after": list(dropped_after),
        "context_digest": context.digest.hex(),
        "roots": {str(seat): cohort.made[seat].root.hex() for seat in sealed},
        "document_digests": {str(seat): cohort.made[seat].document_digest.hex() for seat in sealed},
        "vector_digests": {
            str(seat): hashlib.sha256(b"".join(cohort.made[seat].chunks)).hexdigest() for seat in sealed
        },
        "sum": None if total is None else total.tolist(),
    }
    if total is not None:
        answering = [seat for seat in sealed if seat not in dropped_after]
        case["unmasking_digests"] = {
            str(seat): hashlib.sha256(encode(cohort.unmasking(seat, sealed))).hexdigest() for seat in answering
        }
    return case


def _bad_documents(cohort: Cohort, seat: int) -> list[Case]:
    document = cohort.made[seat].document
    changes: dict[str, tuple[Callable[[ContributionDocument], ContributionDocument], str]] = {
        "bad_document_round": (lambda d: replace(d, round=d.round + 1), "WRONG_ROUND"),
        "bad_document_cohort": (lambda d: replace(d, cohort=1), "BAD_DOCUMENT"),
        "bad_document_lane_count": (lambda d: replace(d, lane_count=d.lane_count + 1), "BAD_DOCUMENT"),
        "bad_document_neighbor_missing": (
            lambda d: replace(d, pair_commitments=d.pair_commitments[32:]),
            "BAD_DOCUMENT",
        ),
        "bad_document_bundle_missing": (
            lambda d: replace(d, bundle_digests=d.bundle_digests[32:]),
            "BAD_DOCUMENT",
        ),
        "bad_document_spent_key": (
            lambda d: replace(d, next_mask_key=cohort.context.member(seat).mask_key),
            "BAD_DOCUMENT",
        ),
        "bad_document_low_order_key": (lambda d: replace(d, next_mask_key=bytes(32)), "BAD_DOCUMENT"),
    }
    cases: list[Case] = []
    for name, (change, reason) in changes.items():
        changed = change(document)
        digest = compute_document_digest(changed)
        root = digest_of("no root of it")  # its form is judged first
        cases.append(
            {
                "name": name,
                "seat": seat,
                "document": encode(changed).hex(),
                "commitments": cohort.made[seat].commitments.hex(),
                "root": root.hex(),
                "document_digest": digest.hex(),
                "reason": reason,
            }
        )
    made = cohort.made[seat]
    honest: Case = {
        "seat": seat,
        "document": encode(document).hex(),
        "commitments": made.commitments.hex(),
        "root": cohort.made[seat].root.hex(),
    }
    cases.append({"name": "bad_document_root", **honest, "document_digest": cohort.made[seat].document_digest.hex()})
    cases[-1] |= {"root": digest_of("forged").hex(), "reason": "BAD_ROOT"}
    return cases


def _bad_unmaskings(cohort: Cohort, sealed: tuple[int, ...], dropout: int) -> list[Case]:
    seat, other = sealed[0], sealed[1]
    good = cohort.unmasking(seat, sealed)
    forged = digest_of("forged")
    changes: dict[str, tuple[tuple[UnmaskingItem, ...], str]] = {
        "bad_unmasking_forged_share": ((replace(good.items[0], share=forged), *good.items[1:]), "BAD_SHARE"),
        "bad_unmasking_another_holders": (cohort.unmasking(other, sealed).items, "BAD_SHARE"),
        "bad_unmasking_out_of_order": (good.items[::-1], "MALFORMED"),
        "bad_unmasking_twice": ((good.items[0], *good.items), "MALFORMED"),
        "bad_unmasking_dropouts_self_mask": ((SelfMaskShare(dropout, forged),), "FORBIDDEN_ITEM"),
        "bad_unmasking_survivors_pair_seed": ((PairSeedShare(seat, other, forged),), "FORBIDDEN_ITEM"),
        "bad_unmasking_dropouts_pair_seed": ((PairSeedShare(dropout, seat, forged),), "FORBIDDEN_ITEM"),
    }
    cases: list[Case] = []
    for name, (items, reason) in changes.items():
        unmasking = Unmasking(SEAL, items)
        faults = cohort.sealed_aggregator(sealed).handle(UnmaskingReceived(seat, unmasking))
        assert [fault.reason.name for fault in faults] == [reason], name
        cases.append({"name": name, "seat": seat, "unmasking": encode(unmasking).hex(), "reason": reason})
    wrong = Unmasking(digest_of("other seal"), good.items)
    cases.append({"name": "bad_unmasking_seal", "seat": seat, "unmasking": encode(wrong).hex(), "reason": "WRONG_SEAL"})
    return cases


def _sparse_runs() -> list[Case]:
    """Twelve members on a ring, seven holders of each secret, five of them needed."""
    cohort = make_cohort(12, 5, lane_count=2, salt=3)
    ring = compute_ring_order(cohort.context.seed, cohort.context.cohort, cohort.seats)
    return [
        _run("sparse_all_survive", cohort, (), ()),
        _run("sparse_two_drop_before_and_two_after", cohort, (ring[0], ring[6]), (ring[3], ring[9])),
        _run("bad_sparse_three_neighbors_drop_before", cohort, ring[:3], ()),
        _run("bad_sparse_three_neighbors_drop_after", cohort, (), ring[:3]),
    ]


def make_secagg() -> dict[str, object]:
    """Runs with all inputs and every digest on the way; documents and answers that are refused, with the reason."""
    small = make_cohort(5, 3, lane_count=4)
    narrow = make_cohort(4, 3, lane_bits=16, lane_count=3, salt=1)
    guarded = make_cohort(6, 5, collusion_bound=2, lane_count=2, salt=2)
    runs = [
        _run("all_survive", small, (), ()),
        _run("one_drops_before", small, (13,), ()),
        _run("one_drops_before_and_one_after", small, (13,), (1,)),
        _run("two_drop_before", small, (4, 13), ()),
        _run("narrow_lanes", narrow, (7,), ()),
        _run("packed_lanes", make_cohort(4, 3, lane_bits=20, lane_count=5, salt=3), (7,), ()),
        _run("packed_lanes_six_in_a_word", make_cohort(5, 3, lane_bits=10, lane_count=13, salt=4), (), (4,)),
        _run("with_a_collusion_bound", guarded, (16,), ()),
        _run("bad_too_few_survivors", small, (1, 4, 7), ()),
        _run("bad_too_few_answers", small, (13,), (1, 4)),
        _run("bad_too_few_for_the_collusion_bound", guarded, (13, 16), ()),
        *_sparse_runs(),
    ]
    return {
        "about": "secure aggregation of one cohort; a sum of null: the cohort must not or cannot be opened",
        "cases": runs,
        "refused_for": "one_drops_before",
        "refused_documents": _bad_documents(small, 4),
        "refused_unmaskings": _bad_unmaskings(small, (1, 4, 7, 10), 13),
    }
