"""What several seals of one round open together in a sparse graph (SPEC §7), by counting shares.

As ``test_secagg_many_seals.py``; here the colluders are at most c among the holders of each secret, and an honest
trainer answers a seal only where every member has no sealed holder or at least t.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_flock.secagg.answer import compute_wanted
from p2p_flock.secagg.context import CohortContext, build_context
from p2p_flock.secagg.graph import compute_ring_order, find_short, survivors_closure
from p2p_flock.secagg.opening import compute_needed_secrets
from tests.unit.secagg_cohort import DOMAIN, digest_of, make_seats

Seal = frozenset[int]
Secret = tuple[int, int]  # (dealer, secret_of)


@cache
def context_of(count: int, threshold: int, collusion_bound: int) -> CohortContext:
    seats = make_seats(count)
    context = build_context(DOMAIN, 4, digest_of("seed"), 0, seats, threshold, collusion_bound, 32, 1)
    assert not context.is_complete
    return context


@cache
def ring_of(context: CohortContext) -> tuple[int, ...]:
    return compute_ring_order(context.seed, context.cohort, context.seats)


@dataclass(frozen=True)
class Attack:
    """``shown[j]``: the seal that honest trainer j was shown and answers; whoever is not in it was shown none."""

    context: CohortContext
    honest: tuple[int, ...]
    shown: dict[int, Seal]


def find_open(attack: Attack, held_by_dealer: bool = False) -> frozenset[Secret]:
    """Every secret of which the answers and the colluders' shares are a threshold.

    ``held_by_dealer`` plants the bug: the dealer's own neighborhood holds the shares of its pair seeds.
    """
    context = attack.context
    counts: dict[Secret, int] = {}
    for seat, seal in attack.shown.items():
        if held_by_dealer:
            dealers = [dealer for dealer in context.holders(seat) if dealer in seal]
            said = [secret for dealer in dealers for secret in compute_needed_secrets(context, seal, dealer)]
        else:
            wanted = compute_wanted(context, seat, seal)
            said = [(dealer, secret_of) for dealer, secrets_of in wanted.items() for secret_of in secrets_of]
        for secret in said:
            counts[secret] = counts.get(secret, 0) + 1
    honest = set(attack.honest)
    corrupt = {seat: sum(holder not in honest for holder in context.holders(seat)) for seat in context.seats}
    return frozenset(
        secret
        for secret, count in counts.items()
        if count + corrupt[secret[0] if held_by_dealer else secret[1]] >= context.threshold
    )


def find_smallest_sum(attack: Attack, opened: frozenset[Secret]) -> int:
    """The fewest honest trainers whose sum is open: all their self masks, and no closed pair seed to anybody else."""
    honest, smallest = set(attack.honest), len(attack.honest) + 1
    bare = {seat for seat in honest if (seat, seat) in opened}
    left = set(honest)
    while left:
        first = left.pop()
        group, border = {first}, [first]
        while border:
            seat = border.pop()
            neighbors = [other for other in attack.context.neighbors(seat) if other in left]
            found = [other for other in neighbors if not {(seat, other), (other, seat)} & opened]
            left.difference_update(found)
            group.update(found)
            border += found
        if group <= bare:
            smallest = min(smallest, len(group))
    return smallest


def omit(context: CohortContext, omitted: Iterable[int]) -> Seal:
    """The largest seal without these members that honest trainers answer; none where it would be too small."""
    seal = survivors_closure(context, frozenset(context.seats).difference(omitted))
    return seal if len(seal) >= context.survivors_min else frozenset()


def show(context: CohortContext, honest: Iterable[int], seals: dict[int, Seal]) -> dict[int, Seal]:
    """What is answered: honest trainers look at nothing but the seal that they were shown."""
    for seal in seals.values():
        assert not find_short(context, seal)
    return {seat: seals[seat] for seat in honest if seat in seals and seat in seals[seat]}


@st.composite
def attacks(draw: st.DrawFn, seal_count: int) -> Attack:
    """A victim; seals that omit some around it; who is shown which by distance from the victim, with exceptions."""
    context = context_of(*draw(st.sampled_from([(24, 5, 0), (35, 9, 0), (22, 6, 1), (30, 8, 2), (40, 8, 0)])))
    ring = ring_of(context)
    count, reach, spare = len(ring), context.holder_count // 2, context.holder_count - context.threshold
    corrupt: set[int] = set()
    for seat in draw(st.permutations(ring))[: 3 * context.collusion_bound]:
        chosen = corrupt | {seat}
        if all(len(chosen & context.holder_set(other)) <= context.collusion_bound for other in ring):
            corrupt = chosen
    honest = tuple(seat for seat in context.seats if seat not in corrupt)
    nearest = sorted((step for step in range(-reach, reach + 1) if step), key=abs)
    seals: list[Seal] = []
    for _ in range(seal_count):
        some = draw(st.permutations(nearest)) if draw(st.booleans()) else nearest
        omitted = {ring[step] for step in some[: draw(st.sampled_from([spare, spare, *range(spare)]))]}
        far = draw(st.sampled_from([0, 0, 0, 1, 2]))
        seals.append(omit(context, omitted | set(draw(st.permutations(ring[1:]))[:far])))
    seals.append(omit(context, [ring[0]]))
    limits = st.sampled_from([reach, reach, *range(2 * reach)])
    wished = draw(st.lists(limits, min_size=seal_count, max_size=seal_count).map(sorted))
    exceptions = draw(st.dictionaries(st.sampled_from(ring), st.sampled_from(seals), max_size=3))
    shown: dict[int, Seal] = {}
    for place, seat in enumerate(ring):
        near_to_far = seals[sum(min(place, count - place) > limit for limit in wished)]
        # Whoever is not in the seal meant for it is shown another one that it would answer.
        choices = [exceptions.get(seat, near_to_far), *seals]
        shown[seat] = next((seal for seal in choices if seat in seal), frozenset())
    return Attack(context, honest, show(context, honest, shown))


@settings(max_examples=60, deadline=None, print_blob=True)
@given(attacks(seal_count=5))
def test_sparse_any_seals__set_free_one_kind_of_secret_of_each_member(attack: Attack) -> None:
    """P1: a member's self mask and its neighbors' pair masks towards it would both come off."""
    opened = find_open(attack)
    dropped = {secret_of for dealer, secret_of in opened if dealer != secret_of}
    assert not [seat for seat in attack.honest if (seat, seat) in opened and seat in dropped]


@settings(max_examples=60, deadline=None, print_blob=True)
@given(attacks(seal_count=1))
def test_sparse_two_seals__open_no_less_than_three_honest(attack: Attack) -> None:
    """P1 in full, for the fork that a reorg or two leaders can make."""
    assert len(set(attack.shown.values())) <= 2
    assert find_smallest_sum(attack, find_open(attack)) >= 3


@settings(max_examples=60, deadline=None, print_blob=True)
@given(attacks(seal_count=1))
def test_sparse_one_seal__opens_at_least_a_neighborhood_of_honest(attack: Attack) -> None:
    """However the dropouts are chosen, they must not cut anybody off from t − c honest trainers."""
    context = attack.context
    shown = next(iter(attack.shown.values()), frozenset())
    alone = Attack(context, attack.honest, show(context, attack.honest, dict.fromkeys(context.seats, shown)))
    assert find_smallest_sum(alone, find_open(alone)) >= context.threshold - context.collusion_bound


def two_seals_around_a_victim() -> Attack:
    """All but the nearest six are shown to the victim's own neighborhood; all but the victim, to everybody else."""
    context = context_of(35, 9, 0)
    assert context.holder_count == 15
    ring = ring_of(context)
    near = omit(context, (ring[step] for step in (-3, -2, -1, 1, 2, 3)))
    without = omit(context, [ring[0]])
    assert len(near) == 29 and len(without) == 34
    shown = {seat: near if seat in context.holder_set(ring[0]) & near else without for seat in context.seats}
    return Attack(context, context.seats, show(context, context.seats, shown))


def test_sparse_two_seals__would_open_a_trainer_if_dealers_neighborhoods_held_the_shares() -> None:
    """The planted bug: this checker must catch the rule that k_li is shared among N[l], the dealer's own."""
    attack = two_seals_around_a_victim()
    assert len(attack.shown) == len(attack.honest)
    assert find_smallest_sum(attack, find_open(attack, held_by_dealer=True)) == 1
    assert find_smallest_sum(attack, find_open(attack)) >= 3


def test_sparse_many_seals__as_many_as_holders_can_isolate_a_trainer() -> None:
    """SPEC §7 says that only two seals are covered here; were this no longer so, it would promise too little."""
    context = context_of(35, 9, 0)
    ring, reach, spare = ring_of(context), 7, 6
    omitted: dict[int, set[int]] = {step: set() for step in range(-2 * reach, 2 * reach + 1)}
    for target in sorted((step for step in range(-reach, reach + 1) if step), key=lambda step: -abs(step)):
        able = [step for step in range(target - reach, target + reach + 1) if step != target]
        able = [step for step in able if len(omitted[step]) < spare]
        able.sort(key=lambda step: (-abs(step) if abs(step) > reach else 0, len(omitted[step])))
        for step in able[: context.threshold]:
            omitted[step].add(target)
    shown = {ring[step]: omit(context, (ring[other] for other in others)) for step, others in omitted.items()}
    attack = Attack(context, context.seats, show(context, context.seats, shown))
    assert find_smallest_sum(attack, find_open(attack)) == 1
