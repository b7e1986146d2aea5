"""P3: a trainer that died before it contributed costs its round a share of the train phase.

The checker of P3 holds calm runs to that limit too (``checkers/stalls.py``), with more room.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

import pytest

from p2p_flock.alliance import validator
from p2p_flock.alliance.lost_trainers import LostTrainers, compute_lost_after_ms
from p2p_flock.chain_events import RoundSealed, RoundSettled
from p2p_flock.ports import Effect, MaskUpdate, Train, Transact
from p2p_flock.testing.checkers import Violation
from p2p_flock.testing.facts import Logged, RoundBegan
from p2p_flock.testing.node import Node
from tests.simulation.running import FOREVER, Fate, Recorder, run_struck

TRAIN_SECONDS = 12  # of the simulator's alliance of eight (testing/alliance.py)
LOST_MS = compute_lost_after_ms(TRAIN_SECONDS)
NOTICED_MS = 100 + 200  # the broken connection, and a validator's tick
BLOCK_MS = 1000  # whatever is posted waits for one, and the chain counts whole seconds


def is_trainer(node: Node, positions: Collection[int]) -> bool:
    assert node.context is not None
    return node.seat in [node.context.trainers[position] for position in positions]


def strikes(positions: Collection[int], kind: type, downtime_ms: int) -> Fate:
    """The first round's trainers at these positions are down so long, once, instead of their first such effect."""
    struck: set[int] = set()

    def fate(node: Node, effect: Effect) -> int | None:
        assert node.context is not None
        is_due = node.context.round == 0 and isinstance(effect, kind) and node.number not in struck
        if not is_due or not is_trainer(node, positions):
            return None
        struck.add(node.number)
        return downtime_ms

    return fate


def measure(recorder: Recorder) -> dict[int, tuple[int, int]]:
    """By round: milliseconds from its opening to its settlement, and how many trainers were sealed."""
    opens_ms, sealed, found = {}, {}, {}
    for fact in recorder.facts:
        if isinstance(fact, RoundBegan):
            opens_ms[fact.context.round] = fact.context.snapshot.opens_at_s * 1000
        elif isinstance(fact, Logged) and isinstance(fact.event, RoundSealed):
            sealed[fact.event.round] = sum(word.bit_count() for word in fact.event.survivors)
        elif isinstance(fact, Logged) and isinstance(fact.event, RoundSettled):
            number = fact.event.round
            found[number] = (fact.at_ms - opens_ms[number], sealed[number])
    return found


@cache
def quiet_ms() -> int:
    """What an undisturbed round takes."""
    result, recorder = run_struck(lambda node, effect: None, rounds=3)
    assert result.rounds_settled == 3
    return max(taken_ms for taken_ms, _ in measure(recorder).values())


@pytest.mark.parametrize("kind", [Train, MaskUpdate])
def test_trainer_dead_before_it_contributed__costs_a_share_of_the_train_phase(kind: type) -> None:
    """It would cost its round the whole train phase: an hour, by default."""
    result, recorder = run_struck(strikes([0], kind, FOREVER))
    assert (result.rounds_settled, result.rounds_voided) == (1, 0)
    taken_ms, sealed = measure(recorder)[0]
    assert sealed == 4 and taken_ms <= quiet_ms() + LOST_MS + NOTICED_MS + BLOCK_MS


def test_trainer_dead_before_it_contributed__costs_later_rounds_nothing() -> None:
    """Its key is spent by the election: whoever is elected with a spent one is waited for by nobody."""
    result, recorder = run_struck(strikes([0], MaskUpdate, FOREVER), rounds=3)
    assert (result.rounds_settled, result.rounds_voided) == (3, 0)
    first, *later = measure(recorder).values()
    assert first[0] > quiet_ms() and all(sealed == 4 and taken_ms <= quiet_ms() for taken_ms, sealed in later)


class PatientLostTrainers(LostTrainers):
    """The planted bug: nobody is ever lost."""

    def find_lost(self, now_ms: int) -> frozenset[int]:
        return frozenset()


def test_p3__waiting_for_the_dead_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker of P3 would let a dead trainer cost the whole train phase again."""
    monkeypatch.setattr(validator, "LostTrainers", PatientLostTrainers)
    with pytest.raises(Violation, match="lost: trainer"):
        run_struck(strikes([0], MaskUpdate, FOREVER))


def test_trainer_back_within_the_share__is_in_the_sum() -> None:
    """A process that is started again would lose its round."""
    _, recorder = run_struck(strikes([0], Train, LOST_MS - 500))
    assert measure(recorder)[0][1] == 5


def test_trainers_all_but_too_few_gone_for_long__are_waited_for() -> None:
    """A power cut at three of five members would void a round that had time left."""
    result, recorder = run_struck(strikes([0, 1, 2], Train, 2 * LOST_MS))
    assert (result.rounds_settled, result.rounds_voided) == (1, 0)
    assert measure(recorder)[0][1] == 5


def test_trainers_as_many_as_may_be_gone__cost_one_share() -> None:
    """Each of them would be waited for after the other."""
    result, recorder = run_struck(strikes([0, 1], Train, FOREVER))
    assert (result.rounds_settled, result.rounds_voided) == (1, 0)
    taken_ms, sealed = measure(recorder)[0]
    assert sealed == 3 and taken_ms <= quiet_ms() + LOST_MS + NOTICED_MS + BLOCK_MS


def test_leader_and_trainer_dead__cost_a_share_and_a_turn() -> None:
    """A gone leader's successor would wait for the dead trainer anew."""
    dead: set[int] = set()

    def fate(node: Node, effect: Effect) -> int | None:
        assert node.context is not None
        is_leader = node.seat == node.context.assignment.validators[0] and isinstance(effect, Transact)
        is_struck = is_leader or (is_trainer(node, [0]) and isinstance(effect, Train))
        if not is_struck or len(dead) > 1:
            return None
        dead.add(node.number)
        return FOREVER

    result, recorder = run_struck(fate)
    assert (result.rounds_settled, result.rounds_voided, len(dead)) == (1, 0, 2)
    assert measure(recorder)[0][0] <= quiet_ms() + LOST_MS + 3 * 4000 + 4 * BLOCK_MS
