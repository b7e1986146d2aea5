"""What several seals of one round open together: a false RPC, a reorg, validators that sign twice (SPEC §7).

The adversary shows every honest trainer a seal of its choice, knows all colluders' shares and all answers. The model
counts shares per secret; which shares a seal sets free, and of which graph, comes from the code itself. Complete graphs
here with every seal, sparse ones in ``test_secagg_sparse_seals.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_flock.secagg.answer import Answered
from p2p_flock.secagg.opening import compute_needed_secrets
from tests.unit.secagg_cohort import Cohort, digest_of, make_cohort

Seal = frozenset[int]


@dataclass(frozen=True)
class Attack:
    """``seals[h]`` is what honest trainer ``h`` was shown; the colluders' seats are the last ones."""

    cohort: Cohort
    honest: tuple[int, ...]
    seals: tuple[Seal, ...]


def count_shares(attack: Attack) -> dict[tuple[int, int], int]:
    """(dealer, secret_of) → shares the adversary has, those of all colluders included."""
    context = attack.cohort.context
    counts: dict[tuple[int, int], int] = {}
    for seal in attack.seals:
        for dealer in seal:
            for secret in compute_needed_secrets(context, tuple(seal), dealer):
                counts[secret] = counts.get(secret, len(context.seats) - len(attack.honest)) + 1
    return counts


def find_smallest_sum(attack: Attack, whole_pair_seeds: bool) -> int:
    """The fewest honest trainers whose sum is open: all their self masks, and no closed pair seed to anybody else.

    ``whole_pair_seeds`` plants the bug: survivors also say their own pair seeds with the unsealed as a whole.
    """
    counts, threshold = count_shares(attack), attack.cohort.context.threshold
    shown = dict(zip(attack.honest, attack.seals, strict=True))

    def is_open(one: int, two: int) -> bool:
        if max(counts.get((one, two), 0), counts.get((two, one), 0)) >= threshold:
            return True
        said = (end in shown[end] and other not in shown[end] for end, other in ((one, two), (two, one)))
        return whole_pair_seeds and any(said)

    bare = {seat for seat in attack.honest if counts.get((seat, seat), 0) >= threshold}
    smallest = len(attack.honest) + 1
    for first in attack.honest:
        group, border = {first}, [first]
        while border:
            seat = border.pop()
            found = {other for other in attack.honest if other not in group and not is_open(seat, other)}
            group |= found
            border += found
        if group <= bare:
            smallest = min(smallest, len(group))
    return smallest


def seals_with(cohort: Cohort, seat: int) -> list[Seal]:
    """Every seal that ``seat`` would answer."""
    others = [other for other in cohort.seats if other != seat]
    sizes = range(cohort.context.survivors_min - 1, len(others) + 1)
    return [frozenset({seat, *chosen}) for size in sizes for chosen in itertools.combinations(others, size)]


@cache
def cohort_of(count: int, threshold: int, collusion_bound: int) -> Cohort:
    return make_cohort(count, threshold, collusion_bound, lane_count=1)


@st.composite
def attacks(draw: st.DrawFn, seal_count: int | None = None) -> Attack:
    collusion_bound = draw(st.integers(0, 2))
    count = draw(st.integers(collusion_bound + 3, 8))
    threshold = max(3, (count + collusion_bound) // 2 + 1)
    cohort = cohort_of(count, threshold, collusion_bound)
    honest = cohort.seats[: count - collusion_bound]
    allowed = {seat: seals_with(cohort, seat) for seat in honest}
    if seal_count is not None:
        every = sorted({seal for seals in allowed.values() for seal in seals}, key=sorted)
        few = draw(st.lists(st.sampled_from(every), min_size=1, max_size=seal_count))
        allowed = {seat: [seal for seal in few if seat in seal] for seat in honest}
        honest_seals = tuple(draw(st.sampled_from(allowed[seat])) if allowed[seat] else frozenset() for seat in honest)
        return Attack(cohort, honest, honest_seals)
    return Attack(cohort, honest, tuple(draw(st.sampled_from(allowed[seat])) for seat in honest))


@settings(max_examples=150, deadline=None, print_blob=True)
@given(attacks())
def test_any_seals__never_open_a_single_trainer(attack: Attack) -> None:
    """P1: no trainer's self mask and all its pair seeds come out, under any seals, reorgs or false RPCs."""
    assert find_smallest_sum(attack, whole_pair_seeds=False) >= 2


@settings(max_examples=100, deadline=None, print_blob=True)
@given(attacks(seal_count=2))
def test_two_seals__open_no_less_than_three_honest(attack: Attack) -> None:
    """P1 in full, for the fork that a reorg or two leaders can make."""
    assert find_smallest_sum(attack, whole_pair_seeds=False) >= 3


def test_every_seal__of_four_members() -> None:
    """The same without luck: all 4⁴ ways to show four trainers a seal each."""
    cohort = make_cohort(4, 3, lane_count=1)
    for shown in itertools.product(*(seals_with(cohort, seat) for seat in cohort.seats)):
        assert find_smallest_sum(Attack(cohort, cohort.seats, shown), whole_pair_seeds=False) >= 3


def three_seals() -> Attack:
    """The attack on an earlier form of the protocol: n = 5, t = 3, the victim is seat 1."""
    cohort = make_cohort(5, 3, lane_count=1)
    victim, first, second, third, fourth = cohort.seats
    few, without, everybody = (
        frozenset({victim, first, second}),
        frozenset({first, second, third, fourth}),
        frozenset(cohort.seats),
    )
    return Attack(cohort, cohort.seats, (few, without, without, everybody, everybody))


def test_three_seals__would_open_a_trainer_if_whole_pair_seeds_were_said() -> None:
    """The planted bug: this checker must catch the protocol that says whole pair seeds."""
    assert find_smallest_sum(three_seals(), whole_pair_seeds=True) == 1
    assert find_smallest_sum(three_seals(), whole_pair_seeds=False) >= 3


def answers_to(attack: Attack) -> Sequence[tuple[int, Answered]]:
    cohort = attack.cohort
    return [
        (seat, cohort.answer(seat, sorted(seal), digest_of(sorted(seal))))
        for seat, seal in zip(attack.honest, attack.seals, strict=True)
    ]


def test_three_seals__real_answers_leave_the_victim_masked() -> None:
    """The model above must be what the contributor really says."""
    attack = three_seals()
    counts: dict[tuple[int, int], int] = {}
    for _, answer in answers_to(attack):
        for item in answer.unmasking.items:
            secret = (item.owner, getattr(item, "dropout", item.owner))
            counts[secret] = counts.get(secret, 0) + 1
    assert counts == count_shares(attack)
    victim = attack.honest[0]
    assert counts[victim, victim] >= attack.cohort.context.threshold, "its self mask does come out"
    closed = [
        other
        for other in attack.honest[1:]
        if max(counts.get((victim, other), 0), counts.get((other, victim), 0)) < attack.cohort.context.threshold
    ]
    assert closed == list(attack.honest[1:]), "and all its pair masks stay on"
