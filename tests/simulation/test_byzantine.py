"""Byzantine members: each does what it says it does, none breaks a property, and a flood leaves a machine as it was."""

from __future__ import annotations

import random
from functools import cache

import pytest

from p2p_flock.alliance.evidence import EVIDENCE_BYTES_MAX, EvidenceRecord, Fault, fault_of
from p2p_flock.alliance.gossip import validate_envelope
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.chain_events import RoundSealed, RoundSettled, Slashed
from p2p_flock.ports import MessageReceived, Persist, Send
from p2p_flock.testing.alliance import OPENS_AT_S, make_params, make_setting
from p2p_flock.testing.byzantine import TRAINERS, VALIDATORS, Villain, compute_byzantine_max, draw_villains
from p2p_flock.testing.byzantine.noise import BURST_MS, Noise
from p2p_flock.testing.configuration import Result
from p2p_flock.testing.facts import Accused, Acted, Logged, Said, TookPost
from p2p_flock.types import CohortOutcome, Role
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import Contribution
from tests.simulation.running import Recorder, run

# What each provable fault is called; nobody is accused of anything where the fault cannot be shown.
PROVABLE = {
    "BadDealing": Fault.BAD_DEALING, "BadShareInAnswer": Fault.BAD_SHARE, "TwoAnswers": Fault.EQUIVOCATION,
    "TwoContributions": Fault.EQUIVOCATION, "PhantomContribution": Fault.EQUIVOCATION,
}  # fmt: skip
# Sealed in due form, and then nobody can open the cohort: the round is lost to it, and settled all the same.
COSTS_THE_SUM = frozenset({"BadDealing", "GarbageVector", "WrongMask"})
# Lie as a leader only; and what takes a second seal, or an absent trainer, to show: scenarios have those.
LEADS = frozenset({"NamesStranger", "InstallsOwnKeys", "NeverPosts", "OmitsBallots"})
ELSEWHERE = frozenset({"AnswersEverySeal", "ClaimsAll"})
# Lie in training only, or in what they serve: test_poisoners.py has those.
TRAINED = frozenset({"ColludingTrainer", "Framer", "Poisoner", "ServesOne"})


@cache
def run_quietly(seed: int) -> Recorder:
    """The same round with nobody byzantine."""
    recorder = Recorder()
    run(seed, plan=lambda simulation: simulation.watch(recorder))
    return recorder


@cache
def find_posts(seed: int) -> dict[tuple[Role, int], int]:
    """Member by role and position in round 0."""
    posts: dict[tuple[Role, int], int] = {}
    for fact in run_quietly(seed).facts:
        if isinstance(fact, TookPost):
            context = fact.context
            role = context.role_of(fact.seat)
            order = context.trainers if role is Role.TRAINER else context.assignment.validators
            posts[role, order.index(fact.seat)] = fact.member
    return posts


@cache
def run_with(name: str, seed: int) -> tuple[Result, Recorder, int]:
    """One round in which one trainer, or one validator, behaves so; every checker watches the others."""
    is_trainer = name in TRAINERS
    villain = Villain(name, "NeverSigns") if is_trainer else Villain("NeverSpeaks", name)
    member = find_posts(seed)[Role.TRAINER if is_trainer else Role.VALIDATOR, seed % 3]
    recorder = Recorder()
    _, result = run(seed, makes={member: villain}, plan=lambda simulation: simulation.watch(recorder))
    return result, recorder, member


@pytest.mark.parametrize("name", TRAINERS)
def test_byzantine_trainer__breaks_nothing(name: str) -> None:
    """One trainer could open, stop, or convict somebody, or make members disagree."""
    result, recorder, _ = run_with(name, 1)
    settled = [f.event for f in recorder.facts if isinstance(f, Logged) and isinstance(f.event, RoundSettled)]
    assert result.is_complete and len(settled) == 1
    expected = CohortOutcome.UNDECIDED if name in COSTS_THE_SUM else CohortOutcome.ADOPTED
    assert settled[0].outcomes == (expected,)
    accused = {fault_of(decode(EvidenceRecord, f.evidence, EVIDENCE_BYTES_MAX).evidence[0]) for f in recorder.facts
               if isinstance(f, Accused)}  # fmt: skip
    assert accused >= ({PROVABLE[name]} if name in PROVABLE else set())
    slashed = {f.event.owner for f in recorder.facts if isinstance(f, Logged) and isinstance(f.event, Slashed)}
    assert len(slashed) == bool(accused)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", VALIDATORS)
def test_byzantine_validator__breaks_nothing(name: str, seed: int) -> None:
    """One validator, the first leader or another, could lose a round's votes, or seal whom it likes."""
    result, recorder, _ = run_with(name, seed)
    settled = [f.event for f in recorder.facts if isinstance(f, Logged) and isinstance(f.event, RoundSettled)]
    assert result.is_complete and len(settled) == 1
    assert settled[0].outcomes == (CohortOutcome.ADOPTED,)


@pytest.mark.parametrize("name", [name for name in (*TRAINERS, *VALIDATORS) if name not in ELSEWHERE | TRAINED])
def test_byzantine_member__is_not_honest(name: str) -> None:
    """A behaviour that does nothing would test nothing."""
    seed = 0 if name in LEADS else 1
    _, crooked, member = run_with(name, seed)
    assert effects_of(crooked, member) != effects_of(run_quietly(seed), member)


def effects_of(recorder: Recorder, member: int) -> set[str]:
    """Everything that the member's machine wanted done, in words."""
    acted = [fact for fact in recorder.facts if isinstance(fact, Acted) and fact.member == member]
    return {repr(effect) for fact in acted for effect in fact.effects}


def test_claims__of_what_nobody_has_seal_nobody() -> None:
    """A lying validator could have a contribution sealed that it alone says it holds, and nobody could open the sum."""
    posts = find_posts(0)
    absent, liar = posts[Role.TRAINER, 0], posts[Role.VALIDATOR, 0]
    recorder = Recorder()
    makes = {absent: Villain("WithheldBlobs", "NeverSigns"), liar: Villain("NeverSpeaks", "ClaimsAll")}
    _, result = run(0, makes=makes, plan=lambda simulation: simulation.watch(recorder))
    sealed = [f.event for f in recorder.facts if isinstance(f, Logged) and isinstance(f.event, RoundSealed)]
    assert result.rounds_settled == 1 and [sum(w.bit_count() for w in event.survivors) for event in sealed] == [4]


def test_replay__of_old_rounds_and_other_alliances_is_heard_by_nobody() -> None:
    """A signature that does not bind its round and alliance could be used again: a second contribution, a vote."""
    recorder = Recorder()
    makes = {member: Villain("ReplayingTrainer", "ReplayingValidator") for member in range(8)}
    _, result = run(3, rounds=3, makes=makes, plan=lambda simulation: simulation.watch(recorder), only="P7")
    assert result.rounds_settled == 3
    said = [fact for fact in recorder.facts if isinstance(fact, Said)]
    first = {envelope.signature: envelope for envelope in (fact.envelope for fact in reversed(said))}
    old = [fact for fact in said if fact.envelope.round < fact.round]
    moved = [
        fact for fact in said if fact.envelope.round == fact.round
        and first[fact.envelope.signature].round < fact.round
    ]  # fmt: skip
    assert len(old) > 20 and len(moved) > 20
    assert not [fact for fact in [*old, *moved] if fact.message is not None]
    reverted = [fact for fact in recorder.facts if isinstance(fact, Accused)]
    assert reverted == []


def test_omitted_survivor__needs_the_leader_and_costs_no_stake() -> None:
    """A leader could leave out whom it likes for ever, or have it suspended."""
    posts = find_posts(0)
    leader, victim = posts[Role.VALIDATOR, 0], posts[Role.TRAINER, 0]
    recorder = Recorder()
    _, result = run(
        0, makes={leader: Villain(None, "OmitsSurvivor")}, plan=lambda simulation: simulation.watch(recorder)
    )
    sealed = [f.event for f in recorder.facts if isinstance(f, Logged) and isinstance(f.event, RoundSealed)]
    assert result.rounds_settled == 1 and len(sealed) == 1
    assert victim in posts.values()
    assert [sealed[0].view, sum(word.bit_count() for word in sealed[0].survivors)] == [0, 4]


def test_bound__leaves_what_a_round_needs() -> None:
    """The default mix would hold properties to a standard that nobody promised."""
    for validator_count, seat_count, expected in ((3, 8, 1), (3, 30, 1), (4, 12, 1), (7, 40, 2), (1, 10, 0)):
        params = make_params(validator_count=validator_count, seat_count=seat_count)
        most = compute_byzantine_max(params, seat_count)
        assert most <= expected
        assert validator_count - most >= params.verdict_quorum >= params.seal_quorum > most
        assert params.cohort_owners_min(seat_count) - 2 * most >= params.survivors_min


def test_draw__follows_from_the_seed() -> None:
    """A failure could not be repeated."""
    params = make_params(validator_count=7, seat_count=40)
    drawn = [draw_villains(random.Random(seed), params, 40) for seed in range(40)]
    assert drawn == [draw_villains(random.Random(seed), params, 40) for seed in range(40)]
    assert {len(villains) for villains in drawn} == set(range(compute_byzantine_max(params, 40) + 1))
    assert len(draw_villains(random.Random(0), params, 40, 9)) == compute_byzantine_max(params, 40)


def count_objects(root: object) -> int:
    """Values that hang on an object of ours, containers and their elements."""
    seen: dict[int, object] = {}
    queue = [root]
    while queue:
        value = queue.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, dict):
            queue += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            queue += list(value)
        elif type(value).__module__.startswith("p2p_flock"):
            queue += list(getattr(value, "__dict__", {}).values())
    return len(seen)


def test_flood__of_noise_is_not_kept() -> None:
    """P7: memory or journal of a validator would grow with what strangers send it."""
    setting = make_setting()
    context = setting.context
    trainer, seat = context.trainers[0], context.assignment.validators[0]
    machine = ValidatorMachine(context, seat, setting.signer(seat))
    machine.start((), OPENS_AT_S * 1000)
    noise = Noise(context, trainer, setting.signer(trainer))
    kept: list[Persist] = []
    accepted = 0
    for step in range(300):
        now_ms = OPENS_AT_S * 1000 + step * BURST_MS
        for effect in noise.make(now_ms):
            checked = validate_envelope(context, effect.envelope)
            if checked.message is not None:
                accepted += 1
                answer = machine.handle(MessageReceived(effect.envelope, checked.message), now_ms)
                kept += [item for item in answer if isinstance(item, Persist)]
    assert accepted <= 2 and len(kept) <= 1
    said = Send((seat,), context.seal_envelope(trainer, Contribution(bytes(32), bytes(32)), setting.signer(trainer)))
    sizes = []
    for _ in range(2):
        for _ in range(500):
            message = validate_envelope(context, said.envelope).message
            assert message is not None
            machine.handle(MessageReceived(said.envelope, message), OPENS_AT_S * 1000)
        sizes.append(count_objects(machine))
    assert sizes[0] == sizes[1]
