"""Every checker catches the bug that it is for: machines that are wrong in one way, and who must see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from p2p_flock.alliance.aggregates import encode_aggregate
from p2p_flock.alliance.trainer import CONTRIBUTION, SECRETS, UNMASKING, Phase, TrainerMachine
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.chain_events import RoundSealed
from p2p_flock.crypto.masking import lane_dtype
from p2p_flock.crypto.signing import seal_digest, seal_struct_hash
from p2p_flock.crypto.suite import sha256
from p2p_flock.ports import CohortOpened, Effect, Event, Persist, SealObserved, Send, StoreBlobs
from p2p_flock.secagg.contributor import Contributed
from p2p_flock.secagg.opening import Opened
from p2p_flock.testing.alliance import Setting, make_setting
from p2p_flock.testing.checkers import one_round as checkers
from p2p_flock.testing.checkers.one_round import Violation
from p2p_flock.testing.members import Fate, Faults, make_machine
from p2p_flock.testing.swarm import Swarm
from p2p_flock.types import Role, Vote
from p2p_flock.wire.messages import (
    MESSAGE_KINDS,
    Have,
    Message,
    PairSeedShare,
    SealSignature,
    SelfMaskShare,
    Unmasking,
    UnmaskingItem,
)


class ForgetfulTrainer(TrainerMachine):
    """Ignores its journal after a restart and contributes anew."""

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        return super().start((), now_ms)

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        kinds = (CONTRIBUTION, UNMASKING, SECRETS)
        effects = super().handle(event, now_ms)
        return tuple(e for e in effects if not (isinstance(e, Persist) and e.kind in kinds))


class TwoSealTrainer(TrainerMachine):
    """Answers every seal it is shown."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if isinstance(event, SealObserved) and self.phase is Phase.ANSWERED:
            assert self._secrets is not None
            self.phase, self._manifest = Phase.CONTRIBUTED, None
            self._contributor.phase = Contributed(self._secrets)
        effects = super().handle(event, now_ms)
        return tuple(e for e in effects if not (isinstance(e, Persist) and e.kind == UNMASKING))


class TalkativeTrainer(TrainerMachine):
    """Says its shares of everything of everybody."""

    def _answer(self, now_ms: int) -> tuple[Effect, ...]:
        effects = super()._answer(now_ms)
        items: list[UnmaskingItem] = []
        for owner in self._cohort.seats:
            items.append(SelfMaskShare(owner, bytes(32)))
            items += [PairSeedShare(owner, other, bytes(32)) for other in self._cohort.neighbors(owner)]
        assert self._seal is not None
        message = Unmasking(self._seal.event.seal, tuple(items))
        envelope = self.context.seal_envelope(self.seat, message, self._sign)
        return tuple(Send(e.seats, envelope) if isinstance(e, Send) else e for e in effects)


class HastyValidator(ValidatorMachine):
    """Speaks before it persists."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        return super().handle(event, now_ms)[::-1]


class OpenVoter(ValidatorMachine):
    """Shows its ballot together with its commitment."""

    def _vote(self, votes: Mapping[int, Vote]) -> list[Effect]:
        effects = super()._vote(votes)
        assert self._ballots._ballot is not None
        envelope = self.context.seal_envelope(self.seat, self._ballots._ballot, self._ballots._sign)
        return [*effects, Send(self.context.assignment.validators, envelope)]


class FickleVoter(ValidatorMachine):
    """Votes anew after a restart, with another result."""

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        self.is_second = any(record.kind == "ballot" for record in records)
        return super().start(tuple(record for record in records if record.kind != "ballot"), now_ms)

    def _vote(self, votes: Mapping[int, Vote]) -> list[Effect]:
        effects = super()._vote({} if self.is_second else votes)
        return [e for e in effects if not (isinstance(e, Persist) and self.is_second)]


class WrongAdder(ValidatorMachine):
    """Makes up every sum, and swears to it."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if not (isinstance(event, CohortOpened) and isinstance(event.result, Opened)):
            return super().handle(event, now_ms)
        cohort = self.context.cohorts[event.cohort]
        blob = encode_aggregate(cohort, np.ones(cohort.lane_count, dtype=lane_dtype(cohort.lane_bits)))
        effects = super().handle(CohortOpened(event.cohort, Opened(sha256(blob))), now_ms)
        return (*effects, StoreBlobs((blob,)))


class LazySuccessor(ValidatorMachine):
    """Leads only where it is the first leader."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        desk = self._seals
        if desk._position > 0 and desk._proposed is None:
            desk._ready_at_ms = now_ms
        return super().handle(event, now_ms)


Plant = Callable[[Setting, int], TrainerMachine | ValidatorMachine]


def plant(bug: type[TrainerMachine] | type[ValidatorMachine], everywhere: bool = False) -> Plant:
    """The first seat of the bug's role, or all of them, run the bug; the others are honest."""

    role = Role.TRAINER if issubclass(bug, TrainerMachine) else Role.VALIDATOR

    def make(setting: Setting, seat: int) -> TrainerMachine | ValidatorMachine:
        context = setting.context
        first = context.trainers[0] if role is Role.TRAINER else context.assignment.validators[0]
        if context.role_of(seat) is not role or not (everywhere or seat == first):
            return make_machine(setting, seat)
        if issubclass(bug, TrainerMachine):
            return bug(context, seat, setting.signer(seat), setting.mask_secrets[seat])
        return bug(context, seat, setting.signer(seat))

    return make


def run(make: Plant, faults: Faults | None = None) -> Swarm:
    swarm = Swarm(make_setting(), 0, faults, make)
    swarm.run()
    return swarm


def crash_after(kind: str) -> Faults:
    """Everybody crashes once, right after it sent a message of this kind."""
    struck: set[int] = set()
    armed: set[int] = set()

    def fate(seat: int, effect: Effect) -> Fate | None:
        if seat in armed and seat not in struck:
            struck.add(seat)
            return Fate.CRASH
        if isinstance(effect, Send) and MESSAGE_KINDS[effect.envelope.kind].__name__ == kind:
            armed.add(seat)
        return None

    return Faults(fate=fate, downtime_ms=(200, 300))


def test_contribution_signed_anew__is_caught() -> None:
    """The checker of promises would miss a trainer that contributes twice."""
    # Another trainer is silent, so that the round is still unsealed when the forgetful one has trained again.
    silent = frozenset({make_setting().context.trainers[-1]})
    checkers.check_promises(run(make_machine, replace(crash_after("Contribution"), hangs=silent)).said)
    with pytest.raises(Violation, match="two different Contribution"):
        checkers.check_promises(run(plant(ForgetfulTrainer), replace(crash_after("Contribution"), hangs=silent)).said)


def test_two_seals_answered__is_caught() -> None:
    """The checker of promises would miss a trainer that lets a reorg draw a second answer out of it."""
    checkers.check_promises(show_second_seal(TrainerMachine).said)
    with pytest.raises(Violation, match="two different Unmasking"):
        checkers.check_promises(show_second_seal(TwoSealTrainer).said)


def show_second_seal(bug: type[TrainerMachine]) -> Swarm:
    """One trainer is shown the round's seal, and later another one, as a reorg or a false RPC could."""
    swarm = run(plant(bug))
    assert swarm.chain.sealed is not None
    trainer = swarm.nodes[swarm.setting.context.trainers[0]]
    swarm._tell(trainer, SealObserved(seal_again(swarm.setting, swarm.chain.sealed)))
    shown_at_ms = swarm.now_ms
    swarm._run_until(lambda: swarm.now_ms > shown_at_ms + 3000)
    return swarm


def seal_again(setting: Setting, sealed: RoundSealed) -> RoundSealed:
    """The same manifest, sealed in another view by validators that sign everything."""
    context = setting.context
    view = (sealed.view + 1) % context.params.validator_count
    terms = (context.snapshot.beacon_round, context.seed, sealed.manifest_digest, sealed.survivors)
    digest = seal_struct_hash(context.domain, context.round, view, *terms)
    signers = [setting.signer(seat) for seat in context.assignment.validators[: context.params.seal_quorum]]
    signatures = tuple(sign(seal_digest(context.domain, digest)) for sign in signers)
    return replace(sealed, view=view, seal=digest, positions=tuple(range(len(signers))), signatures=signatures)


def test_everything_said__is_caught() -> None:
    """The checker of privacy would miss that a trainer's both secrets are open."""
    checkers.check_privacy(run(make_machine))
    with pytest.raises(Violation, match="P1"):
        checkers.check_privacy(run(plant(TalkativeTrainer, everywhere=True)))


def test_speech_before_persisting__is_caught() -> None:
    """The checker of order would miss a promise that a crash can make untrue."""
    with pytest.raises(Violation, match="speaks before"):
        checkers.check_persist_first(run(plant(HastyValidator)).answers)


def test_ballot_shown_early__is_caught() -> None:
    """The checker would miss that others can copy a vote."""
    checkers.check_secret_ballots(run(make_machine))
    with pytest.raises(Violation, match="showed its ballot"):
        checkers.check_secret_ballots(run(plant(OpenVoter)))


def test_second_vote__is_caught() -> None:
    """The checker of promises would miss a validator that votes anew after a restart."""
    checkers.check_promises(run(make_machine, crash_after("BallotCommitment")).said)
    with pytest.raises(Violation, match="two different BallotCommitment"):
        checkers.check_promises(run(plant(FickleVoter), crash_after("BallotCommitment")).said)


def test_wrong_sum__is_caught() -> None:
    """The checker of agreement would miss that all validators add wrongly."""
    checkers.check_agreement(run(make_machine))
    with pytest.raises(Violation, match="P2"):
        checkers.check_agreement(run(plant(WrongAdder, everywhere=True)))


def test_nobody_takes_over__is_caught() -> None:
    """The checker of progress would miss that a dead leader stops the round."""
    hangs = Faults(hangs=frozenset({make_setting().context.assignment.validators[0]}))
    checkers.check_settled(run(make_machine, hangs), 50_000)
    with pytest.raises(Violation, match="P3"):
        checkers.check_settled(run(plant(LazySuccessor, everywhere=True), hangs), 50_000)


def said_again(swarm: Swarm, kind: type, change: Callable[[Message], Message]) -> Swarm:
    """Somebody says a message of this kind again, changed."""
    at_ms, seat, envelope = next(s for s in swarm.said if MESSAGE_KINDS[s[2].kind] is kind)
    message = change(checkers.read_message(envelope))
    changed = swarm.setting.context.seal_envelope(seat, message, swarm.setting.signer(seat))
    swarm.said.append((at_ms, seat, changed))
    return swarm


def test_second_root__is_caught() -> None:
    """The checker of Have messages would miss a validator that names two roots of one trainer."""
    checkers.check_haves(run(make_machine))

    def change(message: Message) -> Message:
        assert isinstance(message, Have)
        return replace(message, roots=(bytes(32), *message.roots[1:]))

    with pytest.raises(Violation, match="two roots"):
        checkers.check_haves(said_again(run(make_machine), Have, change))


def test_second_seal_in_one_view__is_caught() -> None:
    """The checker of promises would miss a validator that signs two seals in one view."""

    def change(message: Message) -> Message:
        assert isinstance(message, SealSignature)
        return replace(message, seal=bytes(32))

    with pytest.raises(Violation, match="two different SealSignature"):
        checkers.check_promises(said_again(run(make_machine), SealSignature, change).said)
