"""Random cohorts and what must come out of them, worked out apart from the machines. For the property tests."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache

from hypothesis import strategies as st

from p2p_flock.crypto.ring import Ring, Words
from p2p_flock.errors import ParameterError
from p2p_flock.params import PLAIN_LANE_BITS, RINGS, compute_holder_count
from p2p_flock.secagg.context import CohortContext
from p2p_flock.secagg.reference import run_cohort
from p2p_flock.wire.messages import Unmasking
from tests.unit.secagg_cohort import LEVELS, SEAL, Cohort, make_cohort

THRESHOLD_MAX = 14  # of sparse graphs: neighborhoods of 25 at most, which keeps an example below a second
LANES = 7


@cache
def cohort_of(count: int, threshold: int, collusion_bound: int, lane_bits: int) -> Cohort:
    """One cohort for each set of numbers: making it costs more than most examples."""
    return make_cohort(count, threshold, collusion_bound, lane_bits, LANES, salt=count + lane_bits)


def rings_for(count: int) -> list[int]:
    """Lane widths that have room for ``count`` inputs of ±LEVELS, plain ones with their four bits of headroom."""
    return [bits for bits in RINGS if count * LEVELS <= Ring(bits).sum_bound_max or bits == max(PLAIN_LANE_BITS)]


@st.composite
def complete_cohorts(draw: st.DrawFn, count_min: int = 3, count_max: int = 12) -> Cohort:
    """Everybody neighbors everybody: 2t > n + c."""
    count = draw(st.integers(count_min, count_max))
    collusion_bound = draw(st.integers(0, min(2, count - 3)))
    threshold = draw(st.integers(max(3, (count + collusion_bound) // 2 + 1), count))
    return cohort_of(count, threshold, collusion_bound, draw(st.sampled_from(rings_for(count))))


@cache
def find_sparse(count: int) -> list[tuple[int, int]]:
    """(t, c) with which a cohort of so many has a sparse graph, cheap ones first."""
    found = []
    for threshold in range(3, min(count, THRESHOLD_MAX)):
        for collusion_bound in range(3):
            try:
                holders = compute_holder_count(count, threshold, collusion_bound)
            except ParameterError:
                continue
            if holders < count:
                found.append((threshold, collusion_bound))
    return found


@st.composite
def sparse_cohorts(draw: st.DrawFn, count_min: int = 8, count_max: int = 14) -> Cohort:
    """A circulant graph: 2t ≤ n + c, and h between t + 1 and n − 1."""
    count = draw(st.integers(count_min, count_max))
    threshold, collusion_bound = draw(st.sampled_from(find_sparse(count)))
    cohort = cohort_of(count, threshold, collusion_bound, draw(st.sampled_from(rings_for(count))))
    assert not cohort.context.is_complete
    return cohort


def small_cohorts() -> st.SearchStrategy[Cohort]:
    """3 to 14 members, both kinds of graph, all rings."""
    return st.one_of(complete_cohorts(), sparse_cohorts())


def large_cohorts() -> st.SearchStrategy[Cohort]:
    """15 to 64 members, both kinds of graph, all rings. Complete ones get dear: n² shares per document."""
    return st.one_of(sparse_cohorts(30, 64), sparse_cohorts(15, 40), complete_cohorts(15, 24))


# --- the condition of SPEC §8, written down a second time ------------------------------------------------------------


def is_openable(context: CohortContext, sealed: Collection[int]) -> bool:
    """Whether trainers may answer this seal at all: enough survivors, and no member with too few sealed holders."""
    counts = [sum(holder in sealed for holder in context.holders(member)) for member in context.seats]
    return len(sealed) >= context.survivors_min and all(not 0 < count < context.threshold for count in counts)


def is_recoverable(
    context: CohortContext,
    sealed: Collection[int],
    answering: Iterable[int],
    lost: Collection[tuple[int, int]] = (),
) -> bool:
    """Whether t holders have answered for every secret that opening needs.

    Those are, of each sealed dealer, its self mask, held by N[dealer], and its pair seed with each unsealed neighbor s,
    held by N[s]. ``lost``: (dealer, holder) of bundles that never arrived; the holder says nothing of that dealer.
    """
    speakers = [seat for seat in answering if seat in sealed]

    def count(dealer: int, secret_of: int) -> int:
        holders = [seat for seat in context.holders(secret_of) if seat in speakers]
        return sum(holder == dealer or (dealer, holder) not in lost for holder in holders)

    needed = [
        (dealer, secret_of)
        for dealer in sealed
        for secret_of in context.holders(dealer)
        if secret_of == dealer or secret_of not in sealed
    ]
    return is_openable(context, sealed) and all(count(*secret) >= context.threshold for secret in needed)


_ANSWERS: dict[tuple[int, int, tuple[int, ...], bytes], Unmasking] = {}


def answer_of(cohort: Cohort, seat: int, sealed: tuple[int, ...], seal: bytes = SEAL) -> Unmasking:
    """What an honest seat of a :func:`cohort_of` says when everything reached it, made once."""
    key = (id(cohort), seat, sealed, seal)
    if key not in _ANSWERS:
        _ANSWERS[key] = cohort.unmasking(seat, sealed, seal)
    return _ANSWERS[key]


def sum_by_reference(cohort: Cohort, sealed: Collection[int], answering: Collection[int]) -> Words | None:
    """The oracle: ``reference.py`` on everybody's secrets."""
    before = frozenset(cohort.seats) - frozenset(sealed)
    after = frozenset(sealed) - frozenset(answering)
    return run_cohort(cohort.context, cohort.mask_secrets, cohort.lanes, cohort.entropy, before, after)


def bound_of(sealed: Collection[int]) -> int:
    """The largest magnitude that the sum over ``sealed`` can have."""
    return LEVELS * len(sealed)
