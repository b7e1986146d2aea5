"""The cohort's context; its graph is tested in ``test_secagg_graph.py``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from p2p_flock.errors import ParameterError
from p2p_flock.secagg.context import CohortContext, build_context, compute_aggregate_digest
from p2p_flock.types import Domain
from tests.unit.secagg_cohort import DOMAIN, digest_of, make_seats


def context_of(count: int = 5, threshold: int = 3, collusion_bound: int = 0) -> CohortContext:
    return build_context(DOMAIN, 4, digest_of("seed"), 1, make_seats(count), threshold, collusion_bound, 32, 10)


def test_build_context__sorts_and_leaves_unusable_keys_out() -> None:
    """Nodes would disagree on who is in the cohort, or one bad key would stop everybody's contribution."""
    seats = make_seats(6)
    seats[1] = replace(seats[1], mask_key=None)
    seats[2] = replace(seats[2], mask_key=bytes(32))
    context = build_context(DOMAIN, 4, digest_of("seed"), 1, seats[::-1], 3, 0, 32, 10)
    assert context.seats == (1, 10, 13, 16)
    assert context == build_context(DOMAIN, 4, digest_of("seed"), 1, seats, 3, 0, 32, 10)


def test_digest__binds_every_field() -> None:
    """Keys, shares or roots of one cohort would be valid in another."""
    base = context_of()
    members = (replace(base.members[0], owner=bytes(20)), *base.members[1:])
    others = [
        replace(base, domain=Domain(1, DOMAIN.contract, 7)),
        replace(base, domain=Domain(8453, bytes(20), 7)),
        replace(base, domain=Domain(8453, DOMAIN.contract, 8)),
        replace(base, round=5),
        replace(base, seed=digest_of("other")),
        replace(base, cohort=2),
        replace(base, members=base.members[1:]),
        replace(base, members=members),
        replace(base, threshold=4),
        replace(base, threshold=4, collusion_bound=1),
        replace(base, lane_bits=16),
        replace(base, lane_count=11),
    ]
    digests = [base.digest, *(other.digest for other in others)]
    assert len(set(digests)) == len(digests)


def test_pair_context__is_the_same_from_both_ends_and_binds_both_keys() -> None:
    """Honest neighbors would derive different pair seeds, or a substituted key would not show."""
    context = context_of()
    assert context.pair_context(1, 4) == context.pair_context(4, 1)
    assert context.pair_context(1, 4) != context.pair_context(1, 7)
    spoofed = replace(context.members[0], mask_key=context.members[4].mask_key)
    other = replace(context, members=(spoofed, *context.members[1:]))
    assert other.pair_context(1, 4) != context.pair_context(1, 4)


def test_sharing_context__differs_between_dealers() -> None:
    """Shares of the two dealings of one pair seed would add up to a threshold under different seals (SPEC §7)."""
    context = context_of()
    assert context.sharing_context(1, 4) != context.sharing_context(4, 1)


@pytest.mark.parametrize(
    ("count", "threshold", "collusion_bound"), [(6, 3, 0), (5, 3, 1), (4, 2, 0), (5, 256, 0), (300, 5, 2)]
)
def test_context__bad_numbers_are_refused(count: int, threshold: int, collusion_bound: int) -> None:
    """With 2t ≤ n + c two seals could both gather a threshold, and open one trainer between them."""
    with pytest.raises(ParameterError):
        context_of(count, threshold, collusion_bound)


def test_context__bad_members_are_refused() -> None:
    """One owner with two seats would count twice towards the threshold."""
    base = context_of()
    first, second = base.members[:2]
    rest = base.members[2:]
    bad = [
        (second, first, *rest),
        (first, first, *rest),
        (first, replace(second, owner=first.owner), *rest),
        (first, replace(second, owner=bytes(19)), *rest),
        (first, replace(second, mask_key=bytes(32)), *rest),
        (first, replace(second, seat=2**16), *rest),
    ]
    for members in bad:
        with pytest.raises(ParameterError):
            replace(base, members=members)
    with pytest.raises(ParameterError):
        replace(base, lane_bits=24)
    with pytest.raises(ParameterError):
        replace(base, lane_count=0)
    with pytest.raises(ParameterError):
        base.member(2)


@pytest.mark.parametrize(("count", "viable"), [(0, False), (2, False), (3, True), (5, True)])
def test_is_viable__needs_enough_members_with_a_key(count: int, viable: bool) -> None:
    """Trainers would spend their keys on a cohort that can never be opened."""
    assert context_of(count).is_viable is viable


def test_chunks__cover_the_vector() -> None:
    """The last chunk is shorter; a wrong size would be refused by everybody."""
    context = replace(context_of(), lane_count=2 * 2**18 + 5)
    assert context.chunk_count == 3
    assert [context.chunk_bytes(index) for index in range(3)] == [2**20, 2**20, 20]
    assert [context.chunk_lanes(index) for index in range(3)] == [2**18, 2**18, 5]
    packed = replace(context, lane_bits=10, lane_count=2 * 6 * 2**17 + 7)
    assert [packed.chunk_bytes(index) for index in range(packed.chunk_count)] == [2**20, 2**20, 16]
    assert [packed.chunk_lanes(index) for index in range(3)] == [6 * 2**17, 6 * 2**17, 7]


def test_compute_aggregate_digest__binds_context_and_lanes() -> None:
    """Validators would vote for one digest and mean different sums."""
    context = context_of()
    lanes = np.arange(10, dtype="<u4")
    digest = compute_aggregate_digest(context, lanes.tobytes())
    assert digest != compute_aggregate_digest(context, (lanes + 1).astype("<u4").tobytes())
    assert digest != compute_aggregate_digest(replace(context, round=5), lanes.tobytes())
    with pytest.raises(ParameterError):
        compute_aggregate_digest(context, lanes.tobytes()[:-4])
