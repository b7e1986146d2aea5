"""Poisoners, framers and coalitions in alliances that learn: what they send is what they are, honest members reject it,
and no property breaks. What they do to a real task is measured elsewhere (``scripts/bench poison``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from p2p_flock.chain_events import RoundSealed, RoundSettled, Slashed
from p2p_flock.params import AllianceParams
from p2p_flock.ports import MaskUpdate, Report, SealObserved, UpdateComputed
from p2p_flock.testing.alliance import make_params
from p2p_flock.testing.byzantine import Coalition, Mind, Villain, compute_byzantine_max
from p2p_flock.testing.byzantine.updates import UPDATE_ATTACKS
from p2p_flock.testing.checkers import CHECKERS, Panel, Roster
from p2p_flock.testing.configuration import Config, Result
from p2p_flock.testing.facts import Acted, Logged, RoundBegan, Served
from p2p_flock.testing.simulate import make_cases, make_simulation, parse_arguments
from p2p_flock.testing.simulator import Simulation
from p2p_flock.types import CohortOutcome
from tests.simulation.running import Recorder, run

NODES, ROUNDS = 13, 6
POISONER = 4


def params_of(**changes: int) -> AllianceParams:
    """Two cohorts of five, all of one weight."""
    return make_params(3, 2, NODES, round_count=ROUNDS, weight_max=1, reward_per_round=10**18, **changes)


@dataclass(frozen=True)
class Verdict:
    """One cohort of one training round: its sealed members, and what became of it."""

    round: int
    members: frozenset[int]
    outcome: CohortOutcome


def verdicts_of(recorder: Recorder, first_round: int = 1) -> list[Verdict]:
    """Of every settled round; by default of all but the statistics'."""
    began = {fact.context.round: fact for fact in recorder.facts if isinstance(fact, RoundBegan)}
    logged = [fact.event for fact in recorder.facts if isinstance(fact, Logged)]
    sealed = {event.round: event for event in logged if isinstance(event, RoundSealed)}
    verdicts = []
    for event in logged:
        if not isinstance(event, RoundSettled) or event.round < first_round:
            continue
        context, members = began[event.round].context, began[event.round].members
        bits = sum(word << 256 * place for place, word in enumerate(sealed[event.round].survivors))
        held = {seat for index, seat in enumerate(context.trainers) if bits >> index & 1}
        for cohort, outcome in enumerate(event.outcomes):
            who = frozenset(members[seat] for seat in context.assignment.cohorts[cohort] if seat in held)
            verdicts.append(Verdict(event.round, who, CohortOutcome(outcome)))
    return verdicts


def play(makes: Mapping[int, Villain], seed: int = 2) -> tuple[Result, Recorder]:
    """Six rounds under every checker."""
    recorder = Recorder()
    _, result = run(
        seed, NODES, ROUNDS, makes=makes, params=params_of(), plan=lambda simulation: simulation.watch(recorder)
    )
    assert result.is_complete
    return result, recorder


@cache
def play_attack(attack: str) -> tuple[Recorder, Mind]:
    """One poisoner among honest members."""
    villain = Villain("Poisoner", None, Mind(attack))
    return play({POISONER: villain})[1], villain.mind


def test_honest__cohorts_are_adopted_and_the_model_gets_better() -> None:
    """Judgements that reject honest cohorts would hide which attacks are noticed."""
    _, recorder = play({})
    assert {verdict.outcome for verdict in verdicts_of(recorder)} == {CohortOutcome.ADOPTED}


@pytest.mark.parametrize("attack", sorted(UPDATE_ATTACKS))
def test_attack__is_what_the_poisoner_masks(attack: str) -> None:
    """An attack that never reaches the vector would be survived by every rule."""
    recorder, _ = play_attack(attack)
    acted = [fact for fact in recorder.facts if isinstance(fact, Acted) and fact.member == POISONER and fact.round > 0]
    honest = {fact.round: fact.event.values[:] for fact in acted if isinstance(fact.event, UpdateComputed)}
    masked = {fact.round: effect.encoder.values[:] for fact in acted for effect in fact.effects
              if isinstance(effect, MaskUpdate)}  # fmt: skip
    assert masked.keys() == honest.keys() and len(masked) >= 3
    assert any(not np.array_equal(masked[number], honest[number]) for number in masked)
    slashed = [fact for fact in recorder.facts if isinstance(fact, Logged) and isinstance(fact.event, Slashed)]
    assert slashed == []  # nobody can prove what a mask hides


def test_poisoned_cohort__is_rejected_by_the_honest() -> None:
    """Verdicts that do not follow from the vectors would let poison through and accuse the innocent."""
    recorder, mind = play_attack("signflip5")
    poisoned = [verdict for verdict in verdicts_of(recorder) if POISONER in verdict.members]
    clean = [verdict for verdict in verdicts_of(recorder) if POISONER not in verdict.members]
    assert len(poisoned) >= 3 and {verdict.outcome for verdict in poisoned} == {CohortOutcome.REJECTED}
    assert {verdict.outcome for verdict in clean} == {CohortOutcome.ADOPTED}
    # What suspicion counts, as the seat reads it from the log itself before its last round ends.
    assert mind.memory.run == len(poisoned) - 1


def test_framer__poisons_beside_its_victim_only() -> None:
    """A framer that poisons everywhere would be told from its victim by anybody."""
    villain = Villain("Framer")
    _, recorder = play({POISONER: villain})
    began = next(fact for fact in recorder.facts if isinstance(fact, RoundBegan))
    owners = {seat.owner: began.members[seat.index] for seat in began.context.snapshot.seats}
    victim = next(owners[owner] for owner in sorted(owners) if owners[owner] != POISONER)
    together = [v for v in verdicts_of(recorder) if {POISONER, victim} <= v.members]
    apart = [v for v in verdicts_of(recorder) if not {POISONER, victim} <= v.members]
    assert together and {verdict.outcome for verdict in together} == {CohortOutcome.REJECTED}
    assert {verdict.outcome for verdict in apart} == {CohortOutcome.ADOPTED}


def test_adaptive__heeds_the_verdicts() -> None:
    """An adaptive poisoner that hears no verdict is a sign flip by another name."""
    recorder, mind = play_attack("adaptive")
    outcomes = [verdict.outcome for verdict in verdicts_of(recorder, 0) if POISONER in verdict.members]
    strength = 1.0
    for outcome in outcomes[:-1]:  # the last one is told to nobody any more
        strength *= 2**0.5 if outcome is CohortOutcome.ADOPTED else 0.5
    assert len(outcomes) >= 3 and mind.memory.strength == pytest.approx(strength)


def test_disguised__has_a_step_to_repeat() -> None:
    """A free-rider in disguise that knows no step sends zeros, and is no disguise."""
    _, mind = play_attack("disguised")
    assert mind.memory.last_step is not None and np.any(mind.memory.last_step)


def test_serves_one__and_the_others_get_it_from_there() -> None:
    """A trainer could have itself left out, or the round delayed, by giving its chunks to one validator only."""
    _, recorder = play({POISONER: Villain("ServesOne")})
    first, is_sealed, served = -1, True, 0
    for fact in recorder.facts:
        if isinstance(fact, RoundBegan):
            first, is_sealed = fact.members[fact.context.assignment.validators[0]], False
        elif isinstance(fact, Logged) and isinstance(fact.event, RoundSealed):
            is_sealed = True  # from then on what is asked of it are earlier rounds' sums and manifests, too
        elif isinstance(fact, Served) and fact.source == POISONER and not is_sealed:
            assert fact.member == first
            served += 1
    assert served
    sealed = [verdict for verdict in verdicts_of(recorder) if POISONER in verdict.members]
    assert len(sealed) >= 3 and {verdict.outcome for verdict in sealed} == {CohortOutcome.ADOPTED}


# --- coalitions --------------------------------------------------------------------------------------------------


def play_coalition(members: Sequence[int]) -> tuple[Recorder, frozenset[int]]:
    """These members collude, under every checker that still promises something. Roles follow from the beacon alone."""
    coalition = Coalition()
    makes = {
        member: Villain("ColludingTrainer", "ColludingValidator", Mind("signflip5", coalition)) for member in members
    }
    simulation = Simulation(
        Config(seed=1, nodes=NODES, rounds=ROUNDS, params=params_of(), makes=makes, limit_ms=400_000)
    )
    is_tolerated = len(members) <= compute_byzantine_max(params_of(), NODES)
    roster = Roster(simulation.params, simulation.world.initial_model, simulation.byzantine, simulation.world.blobs.get)
    kept = [make(roster) for name, make in CHECKERS.items() if is_tolerated or name not in ("P3", "P4")]
    recorder = Recorder()
    simulation.watch(Panel(roster, tuple(kept)))
    simulation.watch(recorder)
    assert simulation.run().is_complete
    return recorder, frozenset(makes)


def captured_rounds(recorder: Recorder, members: frozenset[int]) -> set[int]:
    """Rounds in which the coalition had two of the three validators: a verdict of its own."""
    began = [fact for fact in recorder.facts if isinstance(fact, RoundBegan)]
    return {
        fact.context.round
        for fact in began
        if len({fact.members[seat] for seat in fact.context.assignment.validators} & members) >= 2
    }


@pytest.mark.parametrize("member", [1, 6, 11])
def test_coalition__of_the_tolerated_size_gains_nothing(member: int) -> None:
    """A liar could have its own poison adopted, or the others' work rejected."""
    assert compute_byzantine_max(params_of(), NODES) == 1
    recorder, members = play_coalition([member])
    assert not captured_rounds(recorder, members)
    for verdict in verdicts_of(recorder):
        expected = CohortOutcome.REJECTED if verdict.members & members else CohortOutcome.ADOPTED
        assert verdict.outcome is expected


@pytest.mark.parametrize("first", [0, 4, 8])
def test_coalition__beyond_it_captures_verdicts_and_nothing_else(first: int) -> None:
    """Sybil seats that win a committee could also open a cohort, mint, slash the honest, or split the model."""
    recorder, members = play_coalition(range(first, first + 5))
    captured = captured_rounds(recorder, members)
    assert captured
    adopted = {v.round for v in verdicts_of(recorder) if v.outcome is CohortOutcome.ADOPTED and v.members & members}
    assert adopted & captured  # it has its own poison adopted there ...
    slashed = [fact for fact in recorder.facts if isinstance(fact, Logged) and isinstance(fact.event, Slashed)]
    assert slashed == []  # ... and that is all: P1, P2 and P5 to P8 were watched


def test_coalition__that_signs_a_second_seal_opens_nothing_with_it() -> None:
    """P1: a quorum of liars and lying endpoints could draw both answers out of a trainer, and open it."""
    (case,) = make_cases(
        parse_arguments(f"--seed 2 --nodes {NODES} --rounds 3 --faults coalition=6,liars=13,heal_ms=20000".split())
    )
    simulation, recorder = make_simulation(case), Recorder()
    simulation.watch(recorder)
    assert simulation.run().rounds_settled == 3
    sealed = {fact.event.seal for fact in recorder.facts
              if isinstance(fact, Logged) and isinstance(fact.event, RoundSealed)}  # fmt: skip
    believed = {
        fact.member
        for fact in recorder.facts
        if isinstance(fact, Acted) and isinstance(fact.event, SealObserved) and fact.event.event.seal not in sealed
        if any(isinstance(effect, Report) and effect.text == "sealed" for effect in fact.effects)
    }
    assert len(believed - simulation.byzantine) >= 2  # honest trainers took it for the seal, and answered it at most
