"""The neighbor graph: who holds what, at every size, and which sets of members can be opened."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p_flock.errors import ParameterError
from p2p_flock.params import compute_holder_count
from p2p_flock.secagg import graph
from p2p_flock.secagg.context import CohortContext, build_context
from tests.unit.secagg_cohort import DOMAIN, digest_of, make_seats

# (threshold, collusion bound) → h of the sparse graph, and the size up to which it is complete
GRAPHS = {(5, 0): (7, 9), (6, 1): (7, 10), (8, 2): (11, 13), (27, 0): (51, 53), (64, 12): (113, 115)}
SEATS = make_seats(130)


def context_of(count: int, threshold: int, collusion_bound: int) -> CohortContext:
    return build_context(DOMAIN, 4, digest_of("seed"), 1, SEATS[:count], threshold, collusion_bound, 32, 10)


@pytest.mark.parametrize(("threshold", "collusion_bound"), GRAPHS)
def test_graph__every_size_is_complete_or_regular_and_symmetric(threshold: int, collusion_bound: int) -> None:
    """At some size members would lack masks, or a holder not know that it is one."""
    holder_count, complete_max = GRAPHS[threshold, collusion_bound]
    for count in range(3, 131):
        context = context_of(count, threshold, collusion_bound)
        assert context.is_complete == (count <= complete_max)
        assert context.holder_count == (count if context.is_complete else holder_count)
        for seat in context.seats:
            holders = context.holders(seat)
            assert len(set(holders)) == context.holder_count
            assert list(holders) == sorted(holders) and seat in holders
            assert context.neighbors(seat) == tuple(other for other in holders if other != seat)
            assert context.holder_set(seat) == set(holders)
            assert all(seat in context.holder_set(holder) for holder in holders)
            assert [context.place(seat, holder) for holder in holders] == list(range(len(holders)))


@pytest.mark.parametrize(("count", "threshold", "collusion_bound"), [(9, 5, 0), (10, 5, 0), (30, 5, 0), (16, 8, 2)])
def test_partners__are_whoever_holds_a_share(count: int, threshold: int, collusion_bound: int) -> None:
    """A holder would get no bundle, or one that lacks a share."""
    context = context_of(count, threshold, collusion_bound)
    for dealer in context.seats:
        held = {
            holder: tuple(secret_of for secret_of in context.holders(dealer) if holder in context.holders(secret_of))
            for holder in context.seats
        }
        assert context.partners(dealer) == tuple(seat for seat in context.seats if held[seat] and seat != dealer)
        assert len(context.partners(dealer)) <= 2 * (context.holder_count - 1)
        assert all(context.secrets_held(dealer, holder) == held[holder] for holder in context.partners(dealer))
        assert all(dealer in context.partners(partner) for partner in context.partners(dealer))


def test_ring_order__follows_seed_and_cohort() -> None:
    """Whoever knows the order when it registers its key could choose its neighbors (SPEC §7)."""
    context = context_of(40, 5, 0)
    orders = {
        graph.compute_ring_order(seed, cohort, context.seats)
        for seed in (digest_of("seed"), digest_of("other"))
        for cohort in (0, 1)
    }
    assert len(orders) == 4
    assert all(sorted(order) == list(context.seats) for order in orders)
    other = replace(context, seed=digest_of("other"))
    assert any(context.holders(seat) != other.holders(seat) for seat in context.seats)
    ring = graph.compute_ring_order(context.seed, 1, context.seats)
    assert context.holders(ring[0]) == tuple(sorted(ring[-3:] + ring[:4]))


def test_ring_order__does_not_depend_on_keys() -> None:
    """A trainer with a substituted key would stand elsewhere, and nobody would know whom to answer for."""
    context = context_of(40, 5, 0)
    members = (replace(context.members[0], mask_key=context.members[1].mask_key), *context.members[1:])
    assert replace(context, members=members).holders(1) == context.holders(1)


@pytest.mark.parametrize(
    ("owners", "threshold", "collusion_bound"), [(6, 3, 0), (34, 5, 2), (300, 5, 2), (600, 255, 0)]
)
def test_holder_count__refuses_numbers_without_a_graph(owners: int, threshold: int, collusion_bound: int) -> None:
    """With t = h nobody may drop out, and with more than 255 holders there are no points left."""
    with pytest.raises(ParameterError, match="serve no graph"):
        compute_holder_count(owners, threshold, collusion_bound)


def test_holder_count__never_exceeds_the_field() -> None:
    """Shares have one byte of x: a 256th holder would hold the secret."""
    assert compute_holder_count(255, 128, 0) == 255
    assert compute_holder_count(256, 129, 0) == 255
    assert compute_holder_count(4096, 200, 100) == 255


def test_strangers__are_refused() -> None:
    """A seat of another cohort would be looked up as if it were here."""
    for context in (context_of(5, 3, 0), context_of(40, 5, 0)):
        for ask in (context.holders, context.neighbors, context.partners, context.member):
            with pytest.raises(ParameterError):
                ask(2)


def test_survivors_closure__asks_for_threshold_holders() -> None:
    """A survivor without enough holders could never be unmasked, and would spoil the sum of the others."""
    context = context_of(5, 3, 0)
    assert graph.survivors_closure(context, frozenset({1, 4, 7})) == {1, 4, 7}
    assert graph.survivors_closure(context, frozenset({1, 4, 7, 99})) == {1, 4, 7}
    assert graph.survivors_closure(context, frozenset({1, 4})) == frozenset()


def test_survivors_closure__takes_the_neighbors_of_whoever_has_too_few_holders() -> None:
    """The pair masks towards a dropout without holders could never come off its neighbors."""
    context = context_of(40, 5, 0)  # h = 7
    ring = graph.compute_ring_order(context.seed, 1, context.seats)
    everybody = frozenset(ring)
    two_away = everybody - {ring[0], ring[1]}
    assert graph.survivors_closure(context, two_away) == two_away
    # Three gaps in one neighborhood: ring[-1 … 3] are short, so is in the end everybody as far as that runs.
    gaps = everybody - {ring[0], ring[1], ring[2]}
    assert set(graph.find_short(context, gaps)) == {ring[step] for step in range(-1, 4)}
    closure = graph.survivors_closure(context, gaps)
    assert closure < gaps and graph.find_short(context, closure) == ()


@pytest.mark.parametrize("salt", range(20))
def test_survivors_closure__is_the_largest_set_that_can_be_opened(salt: int) -> None:
    """Trainers would be left out for nothing, or a cohort sealed that cannot be opened."""
    context = context_of(20, 5, 0)
    held = frozenset(seat for seat in context.seats if digest_of(salt, seat)[0] % 8)
    closure = graph.survivors_closure(context, held)
    assert closure <= held and graph.find_short(context, closure) == ()
    # Larger sets without a short member would be found by adding back any one, closing again.
    assert all(seat not in graph.survivors_closure(context, closure | {seat}) for seat in held - closure)
