"""What a node says of its running round: what is here, what is waited for, what it cannot see."""

from __future__ import annotations

import pytest

from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.progress import Item, Machine, Receipt, RoundProgress, Step, compute_progress, count_strikes
from p2p_flock.alliance.trainer import Phase as TrainerPhase
from p2p_flock.alliance.validator import Phase
from p2p_flock.ports import BlobsFetched
from p2p_flock.testing.alliance import DOMAIN
from p2p_flock.types import Role
from p2p_flock.wire.codec import encode
from tests.unit.alliance_log import PARAMS as LOG_PARAMS
from tests.unit.alliance_log import LogWriter, owner_of
from tests.unit.alliance_round import NOW_MS
from tests.unit.test_alliance_trainer import SEAT as TRAINER
from tests.unit.test_alliance_trainer import round_with, trainer_in
from tests.unit.test_alliance_validator import CONTEXT, PARAMS, ROUND, SEALED, SEALED_MS, validator_in

FIRST, SECOND, THIRD = ROUND.validators


def record_of(sealed: bool) -> RoundRecord:
    """The round as the chain's log tells it."""
    log = LogWriter(PARAMS)
    for seat in range(len(CONTEXT.snapshot.seats)):
        log.join(seat)
    log.open()
    history = AllianceHistory(DOMAIN, PARAMS)
    for event in log.events:
        history.apply(event, binding_valid=True)
    record = history.rounds[-1]
    record.sealed = SEALED.event if sealed else None
    return record


def look(machine: Machine | None, sealed: bool = False, revealing: bool = False, late: bool = False) -> RoundProgress:
    return compute_progress(PARAMS, CONTEXT.assignment, record_of(sealed), machine, revealing, late)


def receipts(progress: RoundProgress, item: Item) -> dict[int, Receipt]:
    return {entry.seat: receipt for entry in progress.seats for kind, receipt in entry.items if kind is item}


def test_progress__validator_tells_who_has_not_contributed() -> None:
    """The operator could not see for whom the round waits."""
    missing = ROUND.trainers[2]
    machine = ROUND.validator(0, announced=[seat for seat in ROUND.trainers if seat != missing])
    progress = look(machine)
    assert progress.step is Step.TRAIN and progress.is_exact
    assert progress.awaited == ((missing, Item.CONTRIBUTION),)
    told = receipts(progress, Item.CONTRIBUTION)
    assert told.pop(missing) is Receipt.AWAITED and set(told.values()) == {Receipt.HERE}
    assert progress.cohorts[0].held == len(ROUND.trainers) - 1 and progress.cohorts[0].survivors is None
    assert set(receipts(progress, Item.HAVE).values()) == {Receipt.NOT_DUE}


def test_progress__announced_but_not_fetched_is_partial() -> None:
    """A contribution on its way would look like a trainer that never spoke."""
    machine, seat = ROUND.validator(0, announced=()), ROUND.trainers[0]
    machine.handle(ROUND.say(seat, ROUND.contribution(seat)), NOW_MS)
    progress = look(machine)
    assert receipts(progress, Item.CONTRIBUTION)[seat] is Receipt.PARTIAL
    assert (seat, Item.CONTRIBUTION) in progress.awaited


def test_progress__complete_validator_waits_for_the_others_lists() -> None:
    """Trainers would be shown as late while a validator is."""
    progress = look(validator_in(Phase.SEALING))
    assert progress.step is Step.SEAL
    assert progress.awaited == ((SECOND, Item.HAVE), (THIRD, Item.HAVE))
    assert receipts(progress, Item.HAVE)[FIRST] is Receipt.HERE


def test_progress__trainer_does_not_guess() -> None:
    """A trainer would report others late of whom it cannot know."""
    own = TRAINER
    progress = look(trainer_in(TrainerPhase.COMPUTING).machine)
    told = receipts(progress, Item.CONTRIBUTION)
    assert told.pop(own) is Receipt.AWAITED and set(told.values()) == {Receipt.UNKNOWN}
    assert not progress.is_exact and progress.awaited == ()
    assert progress.cohorts[0].held is None
    assert set(receipts(progress, Item.HAVE).values()) == {Receipt.UNKNOWN}
    unseated = look(None, sealed=True)
    assert set(receipts(unseated, Item.UNMASKING).values()) == {Receipt.UNKNOWN}
    assert set(receipts(unseated, Item.COMMITMENT).values()) == {Receipt.UNKNOWN}


def test_progress__after_the_seal_the_chain_tells_who_is_in() -> None:
    """A dropout would look like a survivor that does not answer."""
    progress = look(validator_in(Phase.OPENING), sealed=True)
    assert progress.step is Step.UNMASK
    assert set(receipts(progress, Item.CONTRIBUTION).values()) == {Receipt.ON_CHAIN}
    assert {seat for seat, item in progress.awaited if item is Item.UNMASKING} == set(ROUND.trainers)
    haves = receipts(progress, Item.HAVE)
    assert haves == {FIRST: Receipt.ON_CHAIN, SECOND: Receipt.ON_CHAIN, THIRD: Receipt.NEEDLESS}
    record = record_of(sealed=True)
    assert record.sealed is not None
    short = ROUND.sealed(ROUND.seal(seats=ROUND.trainers[1:]))
    record.sealed = short
    without = compute_progress(PARAMS, CONTEXT.assignment, record, None, False, False)
    assert receipts(without, Item.CONTRIBUTION)[ROUND.trainers[0]] is Receipt.MISSED
    assert receipts(without, Item.UNMASKING)[ROUND.trainers[0]] is Receipt.NOT_DUE
    assert without.cohorts[0].survivors == len(ROUND.trainers) - 1


def test_progress__answers_beyond_the_threshold_are_not_waited_for() -> None:
    """The operator would wait for answers that the round no longer needs."""
    progress = look(validator_in(Phase.JUDGING), sealed=True)
    assert progress.step is Step.EVALUATE and progress.awaited == ()
    told = list(receipts(progress, Item.UNMASKING).values())
    assert told.count(Receipt.HERE) == 3 and told.count(Receipt.NEEDLESS) == len(ROUND.trainers) - 3
    assert progress.cohorts[0].answered == 3


def test_progress__votes_are_waited_for_and_missed() -> None:
    """A validator that does not commit would go unseen."""
    machine = validator_in(Phase.VOTING)
    progress = look(machine, sealed=True)
    assert progress.step is Step.COMMIT
    assert progress.awaited == ((SECOND, Item.COMMITMENT), (THIRD, Item.COMMITMENT))
    revealing = look(machine, sealed=True, revealing=True)
    assert revealing.step is Step.SETTLE
    assert receipts(revealing, Item.COMMITMENT)[SECOND] is Receipt.MISSED
    assert receipts(revealing, Item.BALLOT)[SECOND] is Receipt.MISSED


def test_progress__trainer_names_whose_shares_it_lacks() -> None:
    """A trainer that cannot answer could not say why."""
    journal = trainer_in(TrainerPhase.ANSWERING)
    sealed = round_with(journal)
    digest = sealed.seal().manifest_digest
    journal.tell(BlobsFetched("unmask", {digest: encode(sealed.manifest())}), SEALED_MS)
    progress = look(journal.machine, sealed=True)
    assert set(progress.awaited) == {(seat, Item.BUNDLE) for seat in ROUND.trainers if seat != TRAINER}
    assert receipts(progress, Item.UNMASKING)[TRAINER] is Receipt.AWAITED
    answered = look(trainer_in(TrainerPhase.ANSWERED).machine, sealed=True)
    assert receipts(answered, Item.UNMASKING)[TRAINER] is Receipt.HERE and answered.awaited == ()
    aside = look(trainer_in(TrainerPhase.ASIDE).machine, sealed=True)
    assert receipts(aside, Item.UNMASKING)[TRAINER] is Receipt.MISSED and aside.awaited == ()


@pytest.mark.parametrize("phase", TrainerPhase)
def test_progress__own_contribution_follows_the_trainers_phase(phase: TrainerPhase) -> None:
    """The operator would read that an update was sent which was not, or the other way round."""
    told = receipts(look(trainer_in(phase).machine), Item.CONTRIBUTION)[TRAINER]
    spoken = phase in (TrainerPhase.CONTRIBUTED, TrainerPhase.ANSWERING, TrainerPhase.ANSWERED)
    assert told is (Receipt.MISSED if phase is TrainerPhase.ASIDE else Receipt.HERE if spoken else Receipt.AWAITED)


def test_strikes__absences_in_a_row_since_the_seat_was_taken() -> None:
    """A member would learn only from its suspension that its node does not take part."""
    log = LogWriter()
    for name in range(8):
        log.join(name)
    history = AllianceHistory(DOMAIN, LOG_PARAMS)
    told: list[int] = []
    absentee = 3
    for _ in range(4):
        log.open()
        log.seal(absent=(absentee,))
        log.settle()
        for event in log.events:
            history.apply(event, binding_valid=True)
        log.events.clear()
        history.rounds[-1].randomness = log.randomness(log.round)
        told.append(count_strikes(history, owner_of(absentee)))
        assert count_strikes(history, owner_of("stranger")) == 0
    roles = [history.assignment(number) for number in range(4)]
    expected, row = [], 0
    for number, assignment in enumerate(roles):
        assert assignment is not None
        validators = assignment.validators
        shown = absentee in validators and validators.index(absentee) in history.rounds[number].reveals
        row = 0 if shown else row + 1
        expected.append(row)
    assert told == expected and max(told) > 1


@pytest.mark.parametrize("late", [False, True])
def test_progress__train_deadline_ends_the_train_step(late: bool) -> None:
    """The timeline would stand at train for ever at a node without a part in the round."""
    progress = look(None, late=late)
    assert progress.step is (Step.SEAL if late else Step.TRAIN)
    assert {entry.role for entry in progress.seats} == {Role.TRAINER, Role.VALIDATOR}
