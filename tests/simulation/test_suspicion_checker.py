"""The P5 checker on suspicion and stakes, on facts made by hand (``test_checkers.py``)."""

from __future__ import annotations

import pytest

from p2p_flock.chain_events import SeatJoined, SeatSuspected, StakeWithdrawn
from p2p_flock.testing.alliance import make_params, make_setting
from p2p_flock.testing.checkers import Violation
from p2p_flock.testing.facts import BalanceTaken, Reorganised
from p2p_flock.types import CohortOutcome
from tests.simulation.test_checkers import SHARE, Stage

SUSPICIOUS = make_params(3, 2, 13, suspicion_bound=2)


def judge(outcomes: str) -> tuple[Stage, int]:
    """A trainer whose cohort was adopted, rejected or neither in rounds 2, 3, …; a dash: it was not sealed."""
    stage = Stage("P5", setting=make_setting(SUSPICIOUS, 13))
    victim = stage.context.trainers[1]
    for number, letter in enumerate(outcomes, start=2):
        outcome = {"a": CohortOutcome.ADOPTED, "r": CohortOutcome.REJECTED}.get(letter, CohortOutcome.UNDECIDED)
        if letter == "-":
            outcome = CohortOutcome.ADOPTED
        stage.run_round(number, absent=victim if letter == "-" else -1, outcomes=(int(outcome), 0))
    return stage, victim


def suspect(stage: Stage, seat: int, first: int) -> None:
    stage.log(SeatSuspected(stage.at(), seat, stage.owner(seat), first, stage.context.round))


@pytest.mark.parametrize("outcomes", ["rr", "arr", "rur", "r-r", "rruu", "ruuuuuuuuuur"])
def test_p5__suspicion_after_rejections_in_a_row_passes(outcomes: str) -> None:
    """A seat that was rejected again and again would be kept, or its suspension called a violation."""
    stage, victim = judge(outcomes)
    suspect(stage, victim, 2)


@pytest.mark.parametrize(("outcomes", "first"), [("r", 2), ("rar", 2), ("rra", 2), ("uu", 2), ("rr", 3), ("r--", 2)])
def test_p5__suspicion_for_less_is_caught(outcomes: str, first: int) -> None:
    """A seat could go though its cohorts were adopted, or for fewer rejections than the terms say."""
    stage, victim = judge(outcomes)
    with pytest.raises(Violation, match="rejections in a row"):
        suspect(stage, victim, first)


def test_p5__suspicion_of_a_validator_is_caught() -> None:
    """The verdicts on others would count against whoever judged them."""
    stage, _ = judge("rr")
    with pytest.raises(Violation, match="after 0 rejections"):
        suspect(stage, stage.context.assignment.validators[0], 2)


def test_p5__suspicion_without_a_rule_is_caught() -> None:
    """Members could lose their seats in an alliance whose terms say nothing of it."""
    stage = Stage("P5")
    with pytest.raises(Violation, match="without such a rule"):
        suspect(stage, stage.context.trainers[1], 1)


def test_p5__suspicion_by_what_was_taken_back_is_caught() -> None:
    """A reorganisation could leave a seat suspended for verdicts that never were."""
    stage, victim = judge("rr")
    stage.tell(Reorganised(stage.now_ms, 1, stage.block))
    with pytest.raises(Violation, match="after 1 rejections"):
        suspect(stage, victim, 2)


def test_p5__stake_lost_without_a_slash_is_caught() -> None:
    """A suspension could cost stake, as long as the books balance."""
    stage = Stage("P5")
    stake = stage.context.params.seat_stake
    for seat in range(2):
        stage.log(SeatJoined(stage.at(), seat, stage.owner(seat), "peer", SHARE, 1, 0, bytes(64)))
    stage.log(StakeWithdrawn(stage.at(), stage.owner(1), stake))
    stage.tell(BalanceTaken(stage.now_ms, stake, 0, stake, 0, 0))
    with pytest.raises(Violation, match="P5: stakes are"):
        stage.tell(BalanceTaken(stage.now_ms, stake, 0, stake - 1, 1, 0))
