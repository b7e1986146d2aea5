"""What a member spends of ε: every sealed round with its update, settled or not, and never more than was told."""

from __future__ import annotations

import pytest

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.daemon.privacy_budget import PrivacyBudget, check_privacy
from p2p_flock.errors import UsageError
from p2p_flock.learning.privacy import compute_epsilon
from p2p_flock.testing.alliance import DOMAIN, make_params, make_task
from p2p_flock.types import CohortOutcome
from tests.unit.alliance_log import PARAMS, LogWriter, owner_of
from tests.unit.test_alliance_privacy import make_private_task

OWN = 2
ADOPTED, REJECTED, VOIDED, UNSEALED = "adopted", "rejected", "voided", "unsealed"


def play(*rounds: str, absent: tuple[int, ...] = ()) -> AllianceHistory:
    """Rounds that ended so, and one that runs. All but ``absent`` are sealed."""
    log, history = LogWriter(PARAMS), AllianceHistory(DOMAIN, PARAMS)
    for name in range(8):
        log.join(name)
    for how in rounds:
        log.open()
        if how != UNSEALED:
            log.seal(absent=absent)
        if how in (VOIDED, UNSEALED):
            log.void()
        else:
            log.settle(CohortOutcome.ADOPTED if how == ADOPTED else CohortOutcome.REJECTED)
    log.open()
    for event in log.events:
        history.apply(event, binding_valid=True)
    for record in history.rounds:
        record.randomness = log.randomness(record.opened.round)
    return history


def trained(history: AllianceHistory, numbers: tuple[int, ...]) -> int:
    """In how many of these rounds OWN is a trainer."""
    found = [history.assignment(number) for number in numbers]
    return sum(assignment is not None and OWN in assignment.trainers for assignment in found)


def make_budget(owner: int = OWN) -> PrivacyBudget:
    return PrivacyBudget(make_private_task(), PARAMS, owner_of(owner))


def test_budget__counts_sealed_training_rounds() -> None:
    """If this failed, an opened sum would not be paid for, or the constants of round 0 would."""
    history = play(REJECTED, ADOPTED, ADOPTED, REJECTED, VOIDED, UNSEALED, ADOPTED)
    spent = make_budget().rounds_spent(history)
    assert spent == trained(history, (2, 3, 4, 6)) > 0  # 0 and 1 are statistics, 5 opened nothing


def test_budget__is_told_round_by_round() -> None:
    """If this failed, the report of an early round would tell the ε of the last."""
    history, budget = play(*[ADOPTED] * 8), make_budget()
    told = [budget.rounds_spent(history, number) for number in range(8)]
    assert told == [trained(history, tuple(range(1, number + 1))) for number in range(8)]
    assert budget.rounds_spent(history) == told[-1]


def test_budget__not_sealed_is_not_spent() -> None:
    """If this failed, a dropout would pay for sums that its update is not in."""
    assert make_budget().rounds_spent(play(*[ADOPTED] * 6, absent=(OWN,))) == 0


def test_budget__forgets_a_log_that_was_folded_anew() -> None:
    """If this failed, rounds that a reorganisation undid would stay spent."""
    budget = make_budget()
    first = budget.rounds_spent(play(*[ADOPTED] * 9))
    assert budget.rounds_spent(play(ADOPTED)) == 0 < first


def test_budget__ends() -> None:
    """If this failed, validators that seal and never settle could open more sums than the alliance has rounds."""
    assert not make_budget().is_spent(play(*[ADOPTED] * 3))
    history = play(ADOPTED, *[VOIDED] * 60)
    budget = make_budget()
    assert budget.rounds_spent(history) > PARAMS.round_count - 1
    assert budget.is_spent(history)
    assert not PrivacyBudget(make_task(), PARAMS, owner_of(OWN)).is_spent(history)


def test_budget__described() -> None:
    """If this failed, the operator would read another ε than the accounting's."""
    history, budget = play(*[ADOPTED] * 8), make_budget()
    told = budget.describe(history)
    assert told is not None and told["epsilon"] is not None and told["epsilon_spent"] is not None
    rounds = PARAMS.round_count - 1
    assert (told["rounds"], told["noise_multiplier"], told["delta"]) == (rounds, 4.0, 1e-5)
    assert told["epsilon"] == pytest.approx(compute_epsilon(4.0, rounds, 1e-5), rel=1e-3)
    assert told["epsilon_spent"] == pytest.approx(compute_epsilon(4.0, told["rounds_spent"], 1e-5), rel=1e-3)
    whole = budget.describe(None)
    assert whole is not None and whole["rounds_spent"] == 0 and whole["epsilon_spent"] == 0
    assert PrivacyBudget(make_task(), PARAMS, owner_of(OWN)).describe(history) is None


def test_check_privacy__no_room() -> None:
    """If this failed, members would stake in an alliance whose rounds must all be out of range."""
    check_privacy(make_params(), make_private_task())
    with pytest.raises(UsageError, match="have no room for noise"):
        check_privacy(make_params(lane_bits=16, levels=45), make_private_task())
