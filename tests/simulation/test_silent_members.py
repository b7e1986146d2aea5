"""P3: a member that keeps its connections and says nothing, or is stopped for a while, costs one wait and not six.

What a leader's death costs is in ``test_dead_leaders.py``. An undisturbed round is the measure here: half a timeout
where a silent validator is first waited for, and the chain's own countdown for the commitment that does not come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.validator import persist_first
from p2p_flock.chain_events import RoundSettled, RoundVoided
from p2p_flock.ports import Effect, Event, Machine, Persist, Send, Transact
from p2p_flock.testing.byzantine import Villain
from p2p_flock.testing.facts import Logged, Make, Post, RoundBegan
from p2p_flock.testing.node import make_honest
from p2p_flock.types import CohortOutcome, Role
from tests.simulation.running import Recorder, run
from tests.simulation.test_byzantine import find_posts

# Of the simulator's alliance of eight (testing/alliance.py): four seconds for seal, commit and settle each.
TIMEOUT_MS = 4000
BLOCK_MS = 1000  # whatever is posted waits for one


class FallsSilent:
    """A machine that says and posts nothing after so many kinds of things, and keeps its connections."""

    def __init__(self, machine: Machine, kinds_said: int) -> None:
        self._machine, self._kinds_said = machine, kinds_said
        self._kinds: list[object] = []

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        return self._machine.start(records, now_ms)

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        return tuple(effect for effect in self._machine.handle(event, now_ms) if self._is_let_out(effect))

    def deadline_ms(self) -> int | None:
        return self._machine.deadline_ms()

    def _is_let_out(self, effect: Effect) -> bool:
        if not isinstance(effect, Send | Transact):
            return True
        kind = effect.envelope.kind if isinstance(effect, Send) else type(effect.call)
        if kind not in self._kinds:
            self._kinds.append(kind)
        return self._kinds.index(kind) < self._kinds_said


class Stopped:
    """A machine whose process is stopped (SIGSTOP) for a while: what comes meanwhile waits, then comes all at once."""

    def __init__(self, machine: Machine, from_ms: int, until_ms: int) -> None:
        self._machine, self._from_ms, self._until_ms = machine, from_ms, until_ms
        self._waiting: list[Event] = []

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        return self._machine.start(records, now_ms)

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        self._waiting.append(event)
        if self._from_ms <= now_ms < self._until_ms:
            return ()
        waiting, self._waiting = self._waiting, []
        return persist_first([effect for one in waiting for effect in self._machine.handle(one, now_ms)])

    def deadline_ms(self) -> int | None:
        due_ms = self._machine.deadline_ms()
        return max(due_ms, self._until_ms) if due_ms is not None and self._waiting else due_ms


def spoil(role: Role, position: int, twist: Callable[[Machine, RoundContext], Machine]) -> dict[int, Make]:
    """Everybody's machines are honest but for that of one position."""

    def make(post: Post) -> Machine:
        order = post.context.assignment.validators if role is Role.VALIDATOR else post.context.trainers
        machine = make_honest(post)
        return twist(machine, post.context) if post.seat == order[position] else machine

    return dict.fromkeys(range(8), make)


def measure(makes: dict[int, Make] | None = None) -> int:
    """Milliseconds from a round's opening to its settlement, which adopts the cohort; P3's checker is watching too."""
    recorder = Recorder()
    run(makes=makes, are_all_honest=True, plan=lambda simulation: simulation.watch(recorder))
    (opens_ms,) = [f.context.snapshot.opens_at_s * 1000 for f in recorder.facts if isinstance(f, RoundBegan)]
    ((event, at_ms),) = [
        (f.event, f.at_ms)
        for f in recorder.facts
        if isinstance(f, Logged) and isinstance(f.event, RoundSettled | RoundVoided)
    ]
    assert isinstance(event, RoundSettled) and event.outcomes == (CohortOutcome.ADOPTED,)
    return at_ms - opens_ms


@cache
def quiet_ms() -> int:
    return measure()


@pytest.mark.parametrize("position", [0, 1, 2])
def test_silent_validator__costs_a_timeout_and_a_half(position: int) -> None:
    """A validator whose worker hangs cost a timeout in each phase in which it was waited for, and the train phase."""
    makes = spoil(Role.VALIDATOR, position, lambda machine, _: FallsSilent(machine, 0))
    assert measure(makes) <= quiet_ms() + TIMEOUT_MS + TIMEOUT_MS // 2 + 2 * BLOCK_MS


@pytest.mark.parametrize("position", [0, 1, 2])
def test_hanging_validator__keeps_to_what_the_dead_may_cost(position: int) -> None:
    """P3's checker allows one timeout and some grace for each member that is gone; a hanging one cost five of them."""
    member = find_posts(0)[Role.VALIDATOR, position]
    _, result = run(makes={member: Villain(None, "HangingValidator")}, is_calm=True, only="P3")
    assert (result.rounds_settled, result.rounds_voided) == (1, 0)


@pytest.mark.parametrize("kinds_said", range(1, 7))
def test_validator_that_falls_silent__is_waited_for_twice_at_most(kinds_said: int) -> None:
    """One that hangs after its Have, or after any word, would be waited for again and again.

    The worst is the first leader, which hangs between its own word and what it should post: its turn, and then the
    chain's countdown for what else was due from it.
    """
    for position in range(3):
        makes = spoil(Role.VALIDATOR, position, lambda machine, _: FallsSilent(machine, kinds_said))
        assert measure(makes) <= quiet_ms() + 2 * TIMEOUT_MS + 2 * BLOCK_MS


@pytest.mark.parametrize("role", [Role.VALIDATOR, Role.TRAINER])
@pytest.mark.parametrize("from_ms", [0, 2000, 4000, 5500])
def test_stopped_process__costs_no_more_than_its_stop_and_a_block(role: Role, from_ms: int) -> None:
    """SIGSTOP of one process for ten seconds, noticed by nobody's connection, would cost timeouts beyond it."""

    def stop(machine: Machine, context: RoundContext) -> Machine:
        opens_ms = context.snapshot.opens_at_s * 1000
        return Stopped(machine, opens_ms + from_ms, opens_ms + from_ms + 10_000)

    for position in range(3):
        lost_ms = measure(spoil(role, position, stop)) - quiet_ms()
        assert lost_ms <= (2 * TIMEOUT_MS if role is Role.VALIDATOR else 10_000) + 2 * BLOCK_MS
