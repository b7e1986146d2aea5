"""Pay: what holds for any ballots. ``tests/vectors/test_pay_vectors.py`` has the numbers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_flock.alliance.pay import (
    compute_agreement_scores,
    compute_refund,
    compute_trainer_rewards,
    compute_validator_rewards,
    has_reached_target,
)
from p2p_flock.types import Vote
from p2p_flock.wire.messages import Ballot

YES = bytes([Vote.YES])
BUDGETS = st.integers(0, 2**96 - 1)


@st.composite
def votes(draw: st.DrawFn) -> tuple[dict[int, bytes], int, int]:
    """(verdicts by revealed position, validators, cohorts)."""
    validators, cohorts = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    ballot = st.lists(st.sampled_from([0, 1, 1, 2]), min_size=cohorts, max_size=cohorts).map(bytes)
    positions = draw(st.sets(st.integers(0, validators - 1)))
    return {position: draw(ballot) for position in sorted(positions)}, validators, cohorts


@settings(deadline=None)
@given(votes(), BUDGETS)
def test_validator_rewards__stay_within_their_part(drawn: tuple[dict[int, bytes], int, int], budget: int) -> None:
    """The contract would owe more than the round's budget, or pay who did not reveal."""
    verdicts, validators, cohorts = drawn
    rewards = compute_validator_rewards(budget, validators, cohorts, verdicts)
    base = budget * 4000 // 10000 // validators
    assert len(rewards) == validators and sum(rewards) <= budget // 2
    for position, reward in enumerate(rewards):
        assert base <= reward <= base + budget // 10 // validators if position in verdicts else reward == 0


@settings(deadline=None)
@given(votes())
def test_agreement__always_yes_earns_nothing(drawn: tuple[dict[int, bytes], int, int]) -> None:
    """Whoever votes without looking would be paid for agreeing."""
    verdicts, _, cohorts = drawn
    for position in verdicts:
        lazy = {**verdicts, position: YES * cohorts}
        assert compute_agreement_scores(lazy, cohorts)[position] == 0
    if cohorts == 1:
        assert not any(compute_agreement_scores(verdicts, 1).values()), "one question correlates with nothing"


def test_agreement__is_best_where_all_agree_and_half_is_good() -> None:
    """The bonus would not be reachable, or be paid for contradicting everybody."""
    verdicts = dict.fromkeys(range(7), bytes([1, 1, 2, 2]))
    assert compute_validator_rewards(10**18, 7, 4, verdicts) == (4 * 10**17 // 7 + 10**17 // 7,) * 7
    verdicts[6] = bytes([2, 2, 1, 1])
    scores = compute_agreement_scores(verdicts, 4)
    assert scores[6] == -6 * 8 and scores[0] == (5 - 1) * 8


@settings(deadline=None)
@given(BUDGETS, st.lists(st.tuples(st.integers(0, 300), st.none() | st.integers(0, 15)), min_size=1, max_size=16))
def test_trainer_rewards__stay_within_their_part(budget: int, cohorts: list[tuple[int, int | None]]) -> None:
    """The contract would owe more than the round's budget, or a better cohort would earn less."""
    sizes, grades = [size for size, _ in cohorts], [grade for _, grade in cohorts]
    rewards = compute_trainer_rewards(budget, sizes, grades)
    assert sum(reward * size for reward, size in zip(rewards, sizes, strict=True)) <= budget * 4000 // 10000
    for reward, grade in zip(rewards, grades, strict=True):
        assert grade is not None or reward == 0
    paid = sorted((grade, reward) for reward, grade in zip(rewards, grades, strict=True) if grade is not None)
    assert [reward for _, reward in paid] == sorted(reward for _, reward in paid)
    assert 3 * compute_refund(budget) <= budget // 10


def test_trainer_rewards__one_cohort_is_paid_equally_whatever_its_grade() -> None:
    """With nothing to compare with, a grade would cost the trainers money."""
    assert {compute_trainer_rewards(10**18, [5], [grade]) for grade in range(16)} == {(4 * 10**17 // 5,)}
    assert compute_trainer_rewards(10**18, [5, 5], [15, 0]) == (4 * 10**17 * 16 // 85, 4 * 10**17 // 85)


def test_target__needs_a_quorum_for_one_model() -> None:
    """A minority could end the alliance, or 0 would mean that any score will do."""
    model, other = bytes([1] * 32), bytes([2] * 32)

    def ballot(score: int, base: bytes = model) -> Ballot:
        return Ballot(bytes(32), base, YES, b"\x00", score, (other,), bytes(32))

    ballots = {0: ballot(9), 1: ballot(8), 2: ballot(9, other)}
    assert has_reached_target(ballots, 2, model, 8) and not has_reached_target(ballots, 2, model, 9)
    assert not has_reached_target(ballots, 2, model, 0) and not has_reached_target(ballots, 1, bytes(32), 1)
