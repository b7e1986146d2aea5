"""P3: a leader that dies at any of the three leaderships, and every other death, costs at most one phase timeout."""

from __future__ import annotations

import pytest

from p2p_flock.ports import CommitRound, Effect, SealRound, SettleRound, Transact
from p2p_flock.testing.alliance import OPENS_AT_S, make_setting
from p2p_flock.testing.checkers.one_round import check_all, check_settled
from p2p_flock.testing.members import Fate, Faults
from p2p_flock.testing.swarm import Swarm

# A broken connection is noticed in 0.1 s and forgiven for 1 s; the chain counts whole seconds.
GRACE_MS = 2200


def undisturbed_ms() -> int:
    swarm = Swarm(make_setting(), 0)
    swarm.run()
    return swarm.now_ms - OPENS_AT_S * 1000


@pytest.mark.parametrize("call", [SealRound, CommitRound, SettleRound])
def test_leader_dead_before_posting__next_one_takes_over(call: type) -> None:
    """The round would hang on one machine in whoever's hands it is."""
    setting = make_setting()
    dead: set[int] = set()

    def die(seat: int, effect: Effect) -> Fate | None:
        if not dead and isinstance(effect, Transact) and isinstance(effect.call, call):
            dead.add(seat)
            return Fate.DEATH
        return None

    swarm = Swarm(setting, 0, Faults(fate=die))
    swarm.run()
    assert dead, "the leader never came to post"
    check_all(swarm)
    params = setting.context.params
    timeout_s = max(params.seal_seconds, params.commit_seconds, params.settle_seconds)
    check_settled(swarm, undisturbed_ms() + timeout_s * 1000 + GRACE_MS)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_validator_dead_at_any_moment__costs_one_timeout(position: int) -> None:
    """The three leaderships are not the only moments at which others wait for a validator."""
    setting, limit_ms = make_setting(), undisturbed_ms() + 5000 + GRACE_MS
    victim = setting.context.assignment.validators[position]
    for moment in range(0, 36, 5):
        seen = 0

        def die(seat: int, effect: Effect, moment: int = moment) -> Fate | None:
            nonlocal seen
            seen += seat == victim
            return Fate.DEATH if seat == victim and seen > moment else None

        swarm = Swarm(setting, 0, Faults(fate=die))
        swarm.run()
        check_all(swarm)
        check_settled(swarm, limit_ms)


@pytest.mark.parametrize("moment", [0, 2, 5, 8, 12])
def test_trainer_dead_at_any_moment__costs_the_rest_of_the_train_phase(moment: int) -> None:
    """One dropout would cost the round, or its cohort its sum."""
    setting = make_setting()
    victim = setting.context.trainers[0]
    seen = 0

    def die(seat: int, effect: Effect) -> Fate | None:
        nonlocal seen
        seen += seat == victim
        return Fate.DEATH if seat == victim and seen > moment else None

    swarm = Swarm(setting, 0, Faults(fate=die))
    swarm.run()
    check_all(swarm)
    check_settled(swarm, setting.context.params.train_seconds * 1000 + undisturbed_ms())
    assert swarm.chain.tallies[0].votes_for == 3


@pytest.mark.parametrize("position", [0, 1, 2])
def test_hanging_validator__does_not_stop_the_round(position: int) -> None:
    """A node that keeps its connections and says nothing would stop everybody."""
    setting = make_setting()
    hanging = frozenset({setting.context.assignment.validators[position]})
    swarm = Swarm(setting, 0, Faults(hangs=hanging))
    swarm.run()
    check_all(swarm)
    check_settled(swarm, 50_000)
    assert swarm.chain.tallies[0].votes_for == 2
