"""Suspected seats in whole alliances: they go, keep their stake, and stay away, whatever else goes wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p_flock.chain_events import ChainEvent, SeatReactivated, SeatRemoved, SeatSuspected
from p2p_flock.params import AllianceParams
from p2p_flock.testing.alliance import make_scaled_params, make_task
from p2p_flock.testing.checkers import Violation
from p2p_flock.testing.contract import Contract
from p2p_flock.testing.contract_state import Log, MemberCall, State, SuspendSuspected
from p2p_flock.testing.facts import Logged
from p2p_flock.testing.faults import Faults
from p2p_flock.testing.simulator import Simulation
from tests.simulation.running import Recorder, run

NODES, ROUNDS, COHORTS = 26, 6, 4
SPARE = NODES - 7 - COHORTS * 4
HARSH = Faults(disagreement=0.7)  # most cohorts are rejected, hardly any adopted


def make_params() -> AllianceParams:
    """Seven validators and cohorts of four and five."""
    params = make_scaled_params(NODES, ROUNDS, make_task())
    return replace(params, suspicion_bound=2, cohort_count=COHORTS, threshold=4, collusion_bound=0)


def events_of(recorder: Recorder) -> list[ChainEvent]:
    return [fact.event for fact in recorder.facts if isinstance(fact, Logged)]


def test_suspicion__seats_go_while_any_are_spare() -> None:
    """Broken: poisoners stay in every round, or the alliance suspends itself to a standstill."""
    recorder = Recorder()
    _, result = run(1, NODES, ROUNDS, HARSH, params=make_params(), plan=lambda simulation: simulation.watch(recorder))
    events = events_of(recorder)
    suspected = [event.owner for event in events if isinstance(event, SeatSuspected)]
    assert result.is_complete and result.rounds_settled == ROUNDS
    assert len(suspected) == len(set(suspected)) == SPARE
    assert {event.owner for event in events if isinstance(event, SeatRemoved)} >= set(suspected)
    assert not [event for event in events if isinstance(event, SeatReactivated)]


def test_suspicion__under_faults() -> None:
    """Broken: a reorganisation or a restart brings a suspected seat back, has it suspended twice, or ends a node."""
    faults = replace(
        HARSH, loss=0.02, crash=0.001, crashes_max=6, reorgs=4, reorg_depth=4, late_block=0.1, transaction_loss=0.05,
        liars=1, laggards=1,
    )  # fmt: skip
    recorder = Recorder()
    run(3, NODES, 4, faults, params=make_params(), plan=lambda simulation: simulation.watch(recorder))
    assert any(isinstance(event, SeatSuspected) for event in events_of(recorder))


class Costly(Contract):
    """Its suspicion takes a wei from the stake, into the pool: every wei is still there."""

    def run_member_call(self, state: State, sender: bytes, call: MemberCall, log: Log) -> None:
        super().run_member_call(state, sender, call, log)
        if isinstance(call, SuspendSuspected):
            state.members[call.owner] = replace(state.members[call.owner], stake=state.members[call.owner].stake - 1)
            state.stakes -= 1
            state.pool += 1


def test_suspicion__that_costs_stake_is_caught() -> None:
    """Broken: P5 would not see that members pay for what nobody can prove."""

    def plant(simulation: Simulation) -> None:
        right = simulation.ledger.contract
        simulation.ledger.contract = Costly(right.domain, right.params, right.creator, right.recover, right.randomness)

    with pytest.raises(Violation, match="P5: stakes are"):
        run(1, NODES, ROUNDS, HARSH, params=make_params(), plan=plant, only="P5")
