"""Every checker catches the bug that it is for, in whole simulations: machines that are wrong in one way, and a wrong
contract or node where the property is not a machine's. The quiet run passes all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from p2p_flock.alliance.evidence import Equivocation, EvidenceRecord
from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.model import Model
from p2p_flock.alliance.trainer import CONTRIBUTION, UNMASKING, TrainerMachine
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.crypto.suite import sha256
from p2p_flock.ports import (
    Accuse,
    CohortOpened,
    Effect,
    Event,
    Fetch,
    Machine,
    MessageReceived,
    Persist,
    Send,
    StoreBlobs,
    TimePassed,
)
from p2p_flock.secagg.context import aggregate_preamble
from p2p_flock.secagg.opening import Opened
from p2p_flock.testing.byzantine.trainers import CrookedTrainer, ForbiddenItems, NeverSpeaks, TellsOne, TwoAnswers
from p2p_flock.testing.byzantine.validators import CrookedValidator, RevealsEarly, TwoHaves
from p2p_flock.testing.checkers import Violation
from p2p_flock.testing.contract import Contract
from p2p_flock.testing.contract_state import Leave, Log, State
from p2p_flock.testing.facts import Post, Said
from p2p_flock.testing.faults import Faults
from p2p_flock.testing.ledger import Ledger
from p2p_flock.testing.simulator import CREATOR, Simulation
from p2p_flock.testing.world import World
from p2p_flock.types import Role
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import (
    MESSAGE_BYTES_MAX,
    BallotCommitment,
    Contribution,
    Have,
    PairSeedShare,
    SealProposal,
    SelfMaskShare,
    Unmasking,
    UnmaskingItem,
)
from tests.simulation.running import Recorder, plant, run

CRASHES = Faults(heal_ms=30_000, crash=0.02, crashes_max=12, downtime_ms=900)


def trainer(kind: type[TrainerMachine]) -> Callable[[Post], Machine]:
    return lambda post: kind(post.context, post.seat, post.sign, post.mask_secret_key)


def validator(kind: type[ValidatorMachine]) -> Callable[[Post], Machine]:
    return lambda post: kind(post.context, post.seat, post.sign)


def said_first(kind: type, seed: int = 0) -> Said:
    """The first message of this kind in a quiet run."""
    recorder = Recorder()
    run(seed, plan=lambda simulation: simulation.watch(recorder))
    return next(fact for fact in recorder.facts if isinstance(fact, Said) and isinstance(fact.message, kind))


def strike(said: Said, delay_ms: int, downtime_ms: int | None) -> Callable[[Simulation], None]:
    """A plan: whoever said that stops so long afterwards, and comes back (or never does)."""

    def plan(simulation: Simulation) -> None:
        node = simulation.nodes[said.member]
        at_ms = said.at_ms - simulation.now_ms + delay_ms
        simulation.at(at_ms, lambda: node.stop("struck", downtime_ms is None))
        if downtime_ms is not None:
            simulation.at(at_ms + downtime_ms, node.start)

    return plan


def test_quiet_run__passes_every_checker() -> None:
    """A checker that fails on everything proves nothing."""
    _, result = run(rounds=3, is_calm=True)
    assert result.is_complete and (result.rounds_settled, result.rounds_voided) == (3, 0)


@pytest.mark.parametrize("seed", range(3))
def test_run_with_crashes__passes_every_checker(seed: int) -> None:
    """The bugs below would be caught by accident."""
    _, result = run(seed, rounds=2, faults=CRASHES)
    assert result.rounds_settled == 2


# --- P1 ----------------------------------------------------------------------------------------------------------


class TalkativeTrainer(CrookedTrainer):
    """Says its shares of everything of everybody; what it says is in its journal."""

    def _twist(self, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        if not any(self.says(effect, Unmasking) for effect in effects):
            return effects
        items: list[UnmaskingItem] = []
        for owner in self._cohort.seats:
            items.append(SelfMaskShare(owner, bytes(32)))
            items += [PairSeedShare(owner, other, bytes(32)) for other in self._cohort.neighbors(owner)]
        assert self._unmasking is not None
        said = decode(Unmasking, self._unmasking.body, MESSAGE_BYTES_MAX)
        envelope = self.context.seal_envelope(self.seat, Unmasking(said.seal, tuple(items)), self._sign)
        return Persist(UNMASKING, "", encode(envelope)), Send(self.context.assignment.validators, envelope)


def test_p1__everything_said_is_caught() -> None:
    """P1's checker would miss that both secrets of a trainer are open."""
    with pytest.raises(Violation, match="P1"):
        run(makes=plant(trainer(TalkativeTrainer), Role.TRAINER), are_all_honest=True, only="P1")


def test_p1__a_single_liar_opens_nothing() -> None:
    """P1's checker would cry wolf at what one trainer says of its own shares."""
    _, result = run(makes=plant(trainer(ForbiddenItems), Role.TRAINER, position=0), only="P1")
    assert result.rounds_settled == 1


# --- P2 ----------------------------------------------------------------------------------------------------------


class WrongAdder(ValidatorMachine):
    """Takes nothing for every sum, and swears to it."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if not (isinstance(event, CohortOpened) and isinstance(event.result, Opened)):
            return super().handle(event, now_ms)
        cohort = self.context.cohorts[event.cohort]
        blob = aggregate_preamble(cohort) + bytes(cohort.vector_bytes)
        return (*super().handle(CohortOpened(event.cohort, Opened(sha256(blob))), now_ms), StoreBlobs((blob,)))


def test_p2__wrong_sum_is_caught() -> None:
    """P2's checker would miss that all validators add wrongly."""
    with pytest.raises(Violation, match="another sum"):
        run(makes=plant(validator(WrongAdder), Role.VALIDATOR), are_all_honest=True, only="P2")


class Biased(World):
    """Works out another model for whoever asks first."""

    is_done = False

    def apply_round(self, history: AllianceHistory, record: RoundRecord, before: Model) -> Model | None:
        after = super().apply_round(history, record, before)
        if self.is_done or after is None:
            return after
        self.is_done = True
        other = Model(after.statistics + 1.0, after.parameters)
        self.models[other.digest] = other
        return other


def test_p2__a_model_of_ones_own_is_caught() -> None:
    """P2's checker would miss a member whose model is not the others'."""

    def plan(simulation: Simulation) -> None:
        simulation.world.__class__ = Biased

    with pytest.raises(Violation, match="follows from no settlement"):
        run(plan=plan, only="P2")


# --- P3 ----------------------------------------------------------------------------------------------------------


class MeekSuccessor(CrookedValidator):
    """Leads only where it is the first leader."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        return () if self.position > 0 and self.says(effect, SealProposal) else (effect,)


@pytest.mark.parametrize("bug", [None, MeekSuccessor])
def test_p3__nobody_takes_over_is_caught(bug: type[ValidatorMachine] | None) -> None:
    """P3's checker would miss that a dead leader stops the round."""
    first = said_first(Contribution)
    plan = strike(replace(first, member=first.to[0]), 0, None)  # the leader of the first view, for good
    makes = plant(validator(bug or ValidatorMachine), Role.VALIDATOR)
    if bug is None:
        assert run(makes=makes, are_all_honest=True, is_calm=True, plan=plan)[1].rounds_settled == 1
        return
    with pytest.raises(Violation, match="P3"):
        run(makes=makes, are_all_honest=True, is_calm=True, plan=plan, only="P3")


# --- P4 ----------------------------------------------------------------------------------------------------------


class OneSource(ValidatorMachine):
    """Asks only the first validator for anything."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        first = self.context.assignment.validators[:1]
        return tuple(
            replace(effect, seats=first) if isinstance(effect, Fetch) else effect
            for effect in super().handle(event, now_ms)
        )


def test_p4__one_source_for_all_is_caught() -> None:
    """P4's checker would miss that everybody's pulls hang on one member."""
    with pytest.raises(Violation, match="asks only"):
        run(makes=plant(validator(OneSource), Role.VALIDATOR), are_all_honest=True, only="P4")


def test_p4__one_ear_for_all_is_caught() -> None:
    """P4's checker would miss that a contribution goes through one validator's hands."""
    with pytest.raises(Violation, match="keeps its"):
        run(makes=plant(trainer(TellsOne), Role.TRAINER, position=0), are_all_honest=True, only="P4")


# --- P5 and P6: a wrong contract -----------------------------------------------------------------------------------


class RashAccuser(ValidatorMachine):
    """Takes the repetition of a message for another one."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        effects = super().handle(event, now_ms)
        if isinstance(event, MessageReceived):
            record = EvidenceRecord((Equivocation(event.envelope, event.envelope),))
            effects = (*effects, Accuse(encode(record)))
        return effects


def test_p5__rash_accuser_is_caught() -> None:
    """P5's checker would be blind to evidence that proves nothing."""
    with pytest.raises(Violation, match="refuses"):
        run(makes=plant(validator(RashAccuser), Role.VALIDATOR, position=0), are_all_honest=True, only="P5")


class HarshContract(Contract):
    """Slashes whoever asks to leave."""

    def _leave(self, state: State, sender: bytes, log: Log) -> None:
        self._slash(state, sender, sender, 0, 1, log)


class CruelContract(Contract):
    """Slashes whoever asks to leave twice over."""

    def _leave(self, state: State, sender: bytes, log: Log) -> None:
        for _ in range(2):
            self._slash(state, sender, sender, 0, 1, log)


class LeakyContract(Contract):
    """Pays whoever leaves a wei that nobody had."""

    def _leave(self, state: State, sender: bytes, log: Log) -> None:
        super()._leave(state, sender, log)
        state.balances[sender] += 1


class WrongContract(Simulation):
    """An alliance under one of these contracts; its first member leaves."""

    contract: type[Contract]

    def _make_ledger(self) -> Ledger:
        suite = self.world.suite
        self._contract = self.contract(self.world.domain, self.params, CREATOR, suite.recover, self.world.randomness)
        self.at(2500, lambda: self.ledger.submit(self.nodes[0].owner, Leave(), lambda reason: None))
        return super()._make_ledger()


class UnderContract(WrongContract):
    contract = Contract


class UnderHarsh(WrongContract):
    contract = HarshContract


class UnderCruel(WrongContract):
    contract = CruelContract


class UnderLeaky(WrongContract):
    contract = LeakyContract


def test_leaving__passes_every_checker() -> None:
    """The wrong contracts below would be caught by accident."""
    assert run(kind=UnderContract)[1].rounds_settled == 1


def test_p5__slash_of_the_honest_is_caught() -> None:
    """P5's checker would be blind to a contract that convicts the innocent."""
    with pytest.raises(Violation, match="slashed"):
        run(kind=UnderHarsh, only="P5")


def test_p6__money_from_nowhere_is_caught() -> None:
    """P6's checker would miss a wei."""
    with pytest.raises(Violation, match="wei"):
        run(kind=UnderLeaky, only="P6")


def test_p6__second_slash_is_caught() -> None:
    """P6's checker would miss that a fault is paid twice."""
    makes = dict.fromkeys(range(1), plant(trainer(TrainerMachine), Role.TRAINER)[0])
    with pytest.raises(Violation, match="twice"):
        run(kind=UnderCruel, makes=makes, only="P6")


# --- P7 ----------------------------------------------------------------------------------------------------------


class FragileValidator(ValidatorMachine):
    """Breaks on a message that it did not expect."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if isinstance(event, MessageReceived) and isinstance(event.message, Have):
            return (StoreBlobs((event.message.roots[99],)),)
        return super().handle(event, now_ms)


class Hoarder(ValidatorMachine):
    """Keeps everything that it is ever told."""

    count = 0

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        self.count += isinstance(event, TimePassed | MessageReceived)
        return (Persist("heard", f"{id(self)} {self.count}", b"x"), *super().handle(event, now_ms))


def test_p7__broken_code_is_caught() -> None:
    """P7's checker would miss a process that a message ends."""
    with pytest.raises(Violation, match="broke"):
        run(makes=plant(validator(FragileValidator), Role.VALIDATOR), are_all_honest=True, only="P7")


def test_p7__growing_journal_is_caught() -> None:
    """P7's checker would miss what strangers can make a member keep."""
    with pytest.raises(Violation, match="records"):
        run(makes=plant(validator(Hoarder), Role.VALIDATOR, position=0), are_all_honest=True, only="P7")


# --- P8 ----------------------------------------------------------------------------------------------------------


class HastyValidator(ValidatorMachine):
    """Speaks before it persists."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        return super().handle(event, now_ms)[::-1]


def test_p8__speech_before_persisting_is_caught() -> None:
    """P8's checker would miss a promise that a crash can make untrue."""
    with pytest.raises(Violation, match="before it persists"):
        run(makes=plant(validator(HastyValidator), Role.VALIDATOR), are_all_honest=True, only="P8")


class ForgetfulTrainer(TrainerMachine):
    """Ignores its journal after a restart, and writes every life into it anew."""

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        self._life = len(records)
        return super().start((), now_ms)

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        return tuple(
            replace(e, key=f"{e.key}{self._life}") if isinstance(e, Persist) and e.kind == CONTRIBUTION else e
            for e in super().handle(event, now_ms)
        )


class FickleVoter(ValidatorMachine):
    """Votes anew after a restart, with another result."""

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        self._life = sum(record.kind == "ballot" for record in records)
        return super().start([record for record in records if record.kind != "ballot"], now_ms)

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if isinstance(event, CohortOpened) and self._life:
            event = CohortOpened(event.cohort, Opened(sha256(b"another sum")))
        return tuple(
            replace(e, key=f"{e.key}{self._life}") if isinstance(e, Persist) and e.kind == "ballot" else e
            for e in super().handle(event, now_ms)
        )


def silent_last(bug: type[TrainerMachine]) -> Callable[[Post], Machine]:
    """The bug's machine, and a trainer that says nothing, so that the round waits for its deadline."""

    def make(post: Post) -> Machine:
        kind = NeverSpeaks if post.context.trainers[-1] == post.seat else bug
        return kind(post.context, post.seat, post.sign, post.mask_secret_key)

    return make


@pytest.mark.parametrize("bug", [TrainerMachine, ForgetfulTrainer])
def test_p8__contribution_made_anew_is_caught(bug: type[TrainerMachine]) -> None:
    """P8's checker would miss a trainer that contributes twice."""
    plan = strike(said_first(Contribution), 50, 400)
    makes = plant(silent_last(bug), Role.TRAINER)
    if bug is TrainerMachine:
        assert run(makes=makes, are_all_honest=True, plan=plan)[1].rounds_settled == 1
        return
    with pytest.raises(Violation, match="two different Contribution"):
        run(makes=makes, are_all_honest=True, plan=plan, only="P8")


@pytest.mark.parametrize("bug", [ValidatorMachine, FickleVoter])
def test_p8__second_vote_is_caught(bug: type[ValidatorMachine]) -> None:
    """P8's checker would miss a validator that votes anew after a restart."""
    plan = strike(said_first(BallotCommitment), 5, 300)
    makes = plant(validator(bug), Role.VALIDATOR)
    if bug is ValidatorMachine:
        assert run(makes=makes, are_all_honest=True, plan=plan)[1].rounds_settled == 1
        return
    with pytest.raises(Violation, match="two different BallotCommitment"):
        run(makes=makes, are_all_honest=True, plan=plan, only="P8")


def test_p8__ballot_shown_early_is_caught() -> None:
    """P8's checker would miss that others can copy a vote."""
    with pytest.raises(Violation, match="showed its ballot"):
        run(makes=plant(validator(RevealsEarly), Role.VALIDATOR), are_all_honest=True, only="P8")


@pytest.mark.parametrize(("bug", "role"), [(TwoHaves, Role.VALIDATOR), (TwoAnswers, Role.TRAINER)])
def test_p8__two_words_for_one_are_caught(bug: type, role: Role) -> None:
    """P8's checker would miss a member that tells everybody something else."""
    make = validator(bug) if role is Role.VALIDATOR else trainer(bug)
    with pytest.raises(Violation, match="said"):
        run(makes=plant(make, role), are_all_honest=True, only="P8")
