"""Whole rounds with a member that cheats: evidence comes of it, convicts by the contract's rule, and nobody else.

A failure names its seed; ``run_cheated(kind, seed)`` repeats it exactly.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from p2p_flock.alliance.evidence import EVIDENCE_BYTES_MAX, Equivocation, Evidence, EvidenceRecord, Fault, fault_of
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.alliance.watching import EVIDENCE
from p2p_flock.daemon.misbehave import BadDealer, BadHolder, Equivocator, make_trainer
from p2p_flock.ports import Accuse, Effect, Event, MessageReceived, Persist, Send
from p2p_flock.testing.alliance import Setting, make_params, make_setting
from p2p_flock.testing.checkers.one_round import Violation, check_accusations, check_settled, read_message
from p2p_flock.testing.members import Faults, Machine, make_machine
from p2p_flock.testing.swarm import Swarm
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import KIND_OF_MESSAGE, BallotCommitment, Envelope

FAULT_OF = {"equivocate": Fault.EQUIVOCATION, "bad-share": Fault.BAD_SHARE, "bad-dealing": Fault.BAD_DEALING}
SEEDS_PER_TEST = 6


def plant(setting: Setting, kind: str, trainer: int) -> Callable[[Setting, int], Machine]:
    """Honest machines, but for one trainer."""

    def make(of: Setting, seat: int) -> Machine:
        if seat != trainer:
            return make_machine(of, seat)
        return make_trainer(kind, of.context, seat, of.signer(seat), of.mask_secrets[seat])

    return make


def run_cheated(kind: str, seed: int, faults: Faults | None = None) -> tuple[Swarm, int]:
    """One round in which one trainer cheats; the swarm and the cheat's seat."""
    setting = make_setting(salt=seed)
    cheat = setting.context.trainers[seed % 5]
    swarm = Swarm(setting, seed, faults, make=plant(setting, kind, cheat))
    swarm.run()
    return swarm, cheat


def evidence_of(swarm: Swarm) -> list[Evidence]:
    records = [decode(EvidenceRecord, data, EVIDENCE_BYTES_MAX) for _, data in swarm.accusations]
    return [record.evidence[0] for record in records]


@pytest.mark.parametrize("kind", FAULT_OF)
@pytest.mark.parametrize("seed", range(3))
def test_cheat__is_accused_of_what_it_did(kind: str, seed: int) -> None:
    """A fault that can be proved would cost nothing."""
    swarm, cheat = run_cheated(kind, seed)
    assert {fault_of(evidence) for evidence in evidence_of(swarm)} == {FAULT_OF[kind]}
    check_accusations(swarm, guilty=[cheat])
    assert not swarm.chain.voided
    check_settled(swarm, 60_000)


@pytest.mark.parametrize("kind", FAULT_OF)
def test_cheat__under_faults_only_the_guilty_are_accused(kind: str) -> None:
    """P5: a lost message, a crash or a restart would make an honest member look guilty."""
    accused = 0
    for seed in range(100, 100 + SEEDS_PER_TEST):
        chance = random.Random(seed)
        faults = Faults(
            loss=chance.choice([0, 0.1, 0.3]), duplication=0.3, crash=0.05, crashes_max=chance.choice([0, 3, 8])
        )
        swarm, cheat = run_cheated(kind, seed, faults)
        check_accusations(swarm, guilty=[cheat])
        accused += bool(swarm.accusations)
    assert accused >= SEEDS_PER_TEST // 2


def test_evidence__is_journalled_before_it_is_told() -> None:
    """P8: a node that is killed before its transaction would forget what it saw; or post it again and again."""
    swarm, _ = run_cheated("bad-share", 1)
    told = [(seat, effects) for seat, effects in swarm.answers if any(isinstance(e, Accuse) for e in effects)]
    assert told
    for seat, effects in told:
        kept = [effect.body for effect in effects if isinstance(effect, Persist) and effect.kind == EVIDENCE]
        assert kept == [effect.evidence for effect in effects if isinstance(effect, Accuse)]
        assert any(record.kind == EVIDENCE for record in swarm.nodes[seat].journal)


def test_evidence__is_not_told_twice_after_a_restart() -> None:
    """The journal would refuse other evidence under the same name, and end the node."""
    swarm, cheat = run_cheated("equivocate", 0)
    accuser, data = swarm.accusations[0]
    setting = swarm.setting
    machine = ValidatorMachine(setting.context, accuser, setting.signer(accuser))
    machine.start(tuple(swarm.nodes[accuser].journal), 0)
    (evidence,) = decode(EvidenceRecord, data, EVIDENCE_BYTES_MAX).evidence
    assert isinstance(evidence, Equivocation)
    for envelope in (evidence.second, evidence.first):
        checked = next(e for _, seat, e in swarm.said if seat == cheat and e.body == envelope.body)
        effects = machine.handle(_received(checked), setting.context.snapshot.opens_at_s * 1000)
        assert not any(isinstance(effect, Accuse) for effect in effects)


def _received(envelope: Envelope) -> MessageReceived:
    return MessageReceived(envelope, read_message(envelope))


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


def test_validator__with_two_commitments_is_accused() -> None:
    """A validator could show different votes to different others."""
    setting = make_setting()
    cheat = setting.context.assignment.validators[1]

    def make(of: Setting, seat: int) -> Machine:
        return FickleValidator(of.context, seat, of.signer(seat)) if seat == cheat else make_machine(of, seat)

    swarm = Swarm(setting, 5, make=make)
    swarm.run()
    assert {fault_of(evidence) for evidence in evidence_of(swarm)} == {Fault.EQUIVOCATION}
    check_accusations(swarm, guilty=[cheat])


# --- planted bugs ------------------------------------------------------------------------------------------------


class RashAccuser(ValidatorMachine):
    """Takes the repetition of a message for another one."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        effects = super().handle(event, now_ms)
        if isinstance(event, MessageReceived):
            record = EvidenceRecord((Equivocation(event.envelope, event.envelope),))
            effects = (*effects, Accuse(encode(record)))
        return effects


@pytest.mark.parametrize("guilty", [(), (99,)])
def test_planted__rash_accuser_is_caught(guilty: Sequence[int]) -> None:
    """The checker of P5 could be blind to evidence that proves nothing."""
    setting = make_setting()
    rash = setting.context.assignment.validators[0]

    def make(of: Setting, seat: int) -> Machine:
        return RashAccuser(of.context, seat, of.signer(seat)) if seat == rash else make_machine(of, seat)

    swarm = Swarm(setting, 1, make=make)
    swarm.run()
    with pytest.raises(Violation, match="P5"):
        check_accusations(swarm, guilty)


def test_planted__conviction_of_the_honest_is_caught() -> None:
    """The checker of P5 could be blind to whom evidence convicts."""
    swarm, cheat = run_cheated("bad-share", 2)
    check_accusations(swarm, guilty=[cheat])
    with pytest.raises(Violation, match="honest"):
        check_accusations(swarm, guilty=[cheat + 1])


@pytest.mark.parametrize("kind", [Equivocator, BadHolder, BadDealer])
def test_cheats__are_trainers_otherwise(kind: type) -> None:
    """A cheat that does nothing else right would be dropped before it is judged."""
    setting = make_setting(make_params())
    seat = setting.context.trainers[0]
    machine = kind(setting.context, seat, setting.signer(seat), setting.mask_secrets[seat])
    honest = make_machine(setting, seat)
    assert machine.start((), 0) == honest.start((), 0)
