"""P3: a leader that dies at any of the three leaderships, and every other death, costs at most one phase timeout.

The checker of P3 holds calm runs to that limit (``checkers/stalls.py``). A validator that hangs instead is one of the
byzantine ones, in ``test_byzantine.py``.
"""

from __future__ import annotations

import pytest

from p2p_flock.chain_events import RoundSettled
from p2p_flock.ports import CommitRound, Effect, SealRound, SettleRound, Transact
from p2p_flock.testing.facts import Logged
from p2p_flock.testing.node import Node
from p2p_flock.types import CohortOutcome, Role
from tests.simulation.running import FOREVER, Fate, Recorder, run_struck


@pytest.mark.parametrize("call", [SealRound, CommitRound, SettleRound])
def test_leader_dead_before_posting__next_one_takes_over(call: type) -> None:
    """The round would hang on one machine in whoever's hands it is."""
    dead: set[int] = set()

    def die(node: Node, effect: Effect) -> int | None:
        if not dead and isinstance(effect, Transact) and isinstance(effect.call, call):
            dead.add(node.number)
            return FOREVER
        return None

    result, _ = run_struck(die)
    assert dead, "the leader never came to post"
    assert (result.rounds_settled, result.rounds_voided) == (1, 0)


def dies_at(role: Role, position: int, moment: int) -> Fate:
    """Death of one validator, or trainer, instead of so manyeth effect of it."""
    seen = 0

    def fate(node: Node, effect: Effect) -> int | None:
        nonlocal seen
        context = node.context
        assert context is not None
        order = context.assignment.validators if role is Role.VALIDATOR else context.trainers
        is_victim = node.seat == order[position]
        seen += is_victim
        return FOREVER if is_victim and seen > moment else None

    return fate


def outcomes(recorder: Recorder) -> list[tuple[int, ...]]:
    return [f.event.outcomes for f in recorder.facts if isinstance(f, Logged) and isinstance(f.event, RoundSettled)]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_validator_dead_at_any_moment__costs_one_timeout(position: int) -> None:
    """The three leaderships are not the only moments at which others wait for a validator."""
    for moment in range(0, 36, 5):
        result, recorder = run_struck(dies_at(Role.VALIDATOR, position, moment))
        assert (outcomes(recorder), result.rounds_voided) == ([(CohortOutcome.ADOPTED,)], 0), moment


@pytest.mark.parametrize("moment", [0, 2, 5, 8, 12])
def test_trainer_dead_at_any_moment__costs_a_share_of_the_train_phase(moment: int) -> None:
    """One dropout would cost the round, or its cohort its sum."""
    result, recorder = run_struck(dies_at(Role.TRAINER, 0, moment))
    assert (outcomes(recorder), result.rounds_voided) == ([(CohortOutcome.ADOPTED,)], 0)
