"""Alliances with a member that cheats: evidence comes of it, convicts by the contract's rule, and nobody else.

``test_byzantine.py`` has many more. The checker of P5 watches that nobody else is accused.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from p2p_flock.alliance.evidence import EVIDENCE_BYTES_MAX, Equivocation, EvidenceRecord, Fault, fault_of
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.alliance.watching import EVIDENCE
from p2p_flock.chain_events import Slashed
from p2p_flock.ports import Accuse, Effect, Event, Machine, MessageReceived, Persist, Send
from p2p_flock.testing.alliance import make_params, make_setting
from p2p_flock.testing.byzantine import TRAINERS, Villain
from p2p_flock.testing.checkers import Violation
from p2p_flock.testing.facts import Accused, Acted, Logged, Make, Post, RoundBegan, Said
from p2p_flock.testing.faults import NONE, Faults, draw_faults
from p2p_flock.testing.node import make_honest
from p2p_flock.testing.simulator import Simulation
from p2p_flock.types import Role
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import KIND_OF_MESSAGE, BallotCommitment
from tests.simulation.running import Recorder, run

FAULT_OF = {
    "PhantomContribution": Fault.EQUIVOCATION, "BadShareInAnswer": Fault.BAD_SHARE, "BadDealing": Fault.BAD_DEALING,
}  # fmt: skip


def roles_of(seed: int) -> RoundBegan:
    """Who does what in the first round, whatever anybody does in it."""
    recorder = Recorder()
    run(seed, plan=lambda simulation: simulation.watch(recorder))
    return next(fact for fact in recorder.facts if isinstance(fact, RoundBegan))


def run_cheated(
    make: Callable[[Post], Machine], role: Role, position: int, faults: Faults = NONE, seed: int = 0
) -> tuple[Recorder, Simulation, int]:
    """An alliance in which one member has such a machine in the first round; the facts, and that member."""
    began = roles_of(seed)
    order = began.context.assignment.validators if role is Role.VALIDATOR else began.context.trainers
    cheat, recorder = began.members[order[position]], Recorder()

    def plant(post: Post) -> Machine:
        return make(post) if post.context.role_of(post.seat) is role else make_honest(post)

    makes: dict[int, Make] = {cheat: plant}
    simulation, result = run(seed, faults=faults, makes=makes, plan=lambda simulation: simulation.watch(recorder))
    assert result.is_complete
    return recorder, simulation, cheat


def cheating(kind: str) -> Callable[[Post], Machine]:
    return Villain(kind)


def faults_in(recorder: Recorder) -> set[Fault]:
    """What anybody was accused of."""
    records = [decode(EvidenceRecord, f.evidence, EVIDENCE_BYTES_MAX) for f in recorder.facts if isinstance(f, Accused)]
    return {fault_of(record.evidence[0]) for record in records}


def slashed_in(recorder: Recorder) -> list[bytes]:
    return [f.event.owner for f in recorder.facts if isinstance(f, Logged) and isinstance(f.event, Slashed)]


@pytest.mark.parametrize("kind", FAULT_OF)
@pytest.mark.parametrize("position", range(3))
def test_cheat__is_accused_of_what_it_did_and_slashed(kind: str, position: int) -> None:
    """A fault that can be proved would cost nothing."""
    recorder, simulation, cheat = run_cheated(cheating(kind), Role.TRAINER, position)
    assert faults_in(recorder) == {FAULT_OF[kind]}
    assert slashed_in(recorder) == [simulation.nodes[cheat].owner]


@pytest.mark.parametrize("kind", FAULT_OF)
def test_cheat__under_faults_only_the_guilty_are_accused(kind: str) -> None:
    """P5: a lost message, a crash or a restart would make an honest member look guilty."""
    accused = 0
    for seed in range(100, 106):
        faults = draw_faults(seed, 8, 1, ["crashes", "network", "reorgs"])
        recorder, simulation, cheat = run_cheated(cheating(kind), Role.TRAINER, seed % 5, faults, seed)
        assert set(slashed_in(recorder)) <= {simulation.nodes[cheat].owner}  # logged twice where the chain forked
        accused += bool(faults_in(recorder))
    assert accused >= 3


def test_planted__conviction_of_the_honest_is_caught() -> None:
    """P5's checker would be blind to whom evidence convicts: here, a member that it takes for honest."""
    began = roles_of(0)
    makes: dict[int, Make] = {began.members[began.context.trainers[0]]: cheating("BadShareInAnswer")}
    with pytest.raises(Violation, match="would have the honest member"):
        run(makes=makes, are_all_honest=True, only="P5")


def test_evidence__is_journalled_before_it_is_told() -> None:
    """P8: a node that is killed before its transaction would forget what it saw; or post it again and again."""
    recorder, simulation, _ = run_cheated(cheating("BadShareInAnswer"), Role.TRAINER, 1)
    told = [f for f in recorder.facts if isinstance(f, Acted) and any(isinstance(e, Accuse) for e in f.effects)]
    assert told
    for fact in told:
        kept = [effect.body for effect in fact.effects if isinstance(effect, Persist) and effect.kind == EVIDENCE]
        assert kept == [effect.evidence for effect in fact.effects if isinstance(effect, Accuse)]
        assert any(kind == EVIDENCE for kind, _ in simulation.nodes[fact.member].journal[fact.round])


def test_evidence__is_not_told_twice_after_a_restart() -> None:
    """The journal would refuse other evidence under the same name, and end the node."""
    recorder, simulation, cheat = run_cheated(cheating("PhantomContribution"), Role.TRAINER, 0)
    accused = next(fact for fact in recorder.facts if isinstance(fact, Accused))
    node, began = simulation.nodes[accused.member], roles_of(0)
    context, seat = began.context, began.members.index(accused.member)
    assert context.role_of(seat) is Role.VALIDATOR
    machine = ValidatorMachine(context, seat, node.sign)
    now_ms = context.snapshot.opens_at_s * 1000
    machine.start(node.records(context.round), now_ms)
    (evidence,) = decode(EvidenceRecord, accused.evidence, EVIDENCE_BYTES_MAX).evidence
    assert isinstance(evidence, Equivocation)
    heard = [fact for fact in recorder.facts if isinstance(fact, Said) and fact.member == cheat]
    for envelope in (evidence.second, evidence.first):
        said = next(fact for fact in heard if fact.envelope.body == envelope.body)
        assert said.message is not None
        effects = machine.handle(MessageReceived(said.envelope, said.message), now_ms)
        assert not any(isinstance(effect, Accuse) for effect in effects)


# --- validators that cheat ---------------------------------------------------------------------------------------


class FickleValidator(ValidatorMachine):
    """Sends two different ballot commitments."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        effects: list[Effect] = []
        for effect in super().handle(event, now_ms):
            effects.append(effect)
            if isinstance(effect, Send) and effect.envelope.kind == KIND_OF_MESSAGE[BallotCommitment]:
                said = decode(BallotCommitment, effect.envelope.body, 1 << 10)
                other = BallotCommitment(said.seal, bytes(32), said.signature)
                effects.append(Send(effect.seats, self.context.seal_envelope(self.seat, other, self._ballots._sign)))
        return tuple(effects)


def test_validator__with_two_commitments_is_slashed() -> None:
    """A validator could show different votes to different others."""
    recorder, simulation, cheat = run_cheated(
        lambda post: FickleValidator(post.context, post.seat, post.sign), Role.VALIDATOR, 1
    )
    assert faults_in(recorder) == {Fault.EQUIVOCATION}
    assert slashed_in(recorder) == [simulation.nodes[cheat].owner]


@pytest.mark.parametrize("kind", FAULT_OF)
def test_cheats__are_trainers_otherwise(kind: str) -> None:
    """A cheat that does nothing else right would be dropped before it is judged."""
    setting = make_setting(make_params())
    seat = setting.context.trainers[0]
    made = (setting.context, seat, setting.signer(seat), setting.mask_secrets[seat])
    assert TRAINERS[kind](*made).start((), 0) == TrainerMachine(*made).start((), 0)
