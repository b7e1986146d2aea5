"""Every cell of the tables of ``alliance/``: the phase before, the event, the phase after, what comes out.

A case stands for (phase, event, phase that follows); the tables themselves say which cases there must be, so a new cell
without a case fails. Events that a table does not hold are tried in every phase as well: they are ignored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import cache
from typing import get_args

import pytest

from p2p_flock import ports
from p2p_flock.alliance import balloting, proposing, trainer, validator
from p2p_flock.alliance.balloting import BALLOT
from p2p_flock.alliance.proposing import HAVE, SEAL_SIGNATURE
from p2p_flock.alliance.sealing import make_have
from p2p_flock.chain_events import BallotsCommitted, LogPosition
from p2p_flock.errors import AbortReason
from p2p_flock.ports import (
    BlobsFetched,
    CohortOpened,
    CommitmentsObserved,
    CommitPhaseEnded,
    Effect,
    EvaluationFinished,
    Event,
    Fetch,
    MaskUpdate,
    Persist,
    Report,
    SealObserved,
    SeatReachable,
    Send,
    StoreBlobs,
    TimePassed,
    Transact,
    TransactionEnded,
    UpdateComputed,
    UpdateMasked,
)
from p2p_flock.secagg.opening import Opened, Unopened
from p2p_flock.testing.alliance import digest_of, make_params, make_setting
from p2p_flock.types import Vote
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import SealSignature
from tests.unit import test_alliance_trainer as trainers
from tests.unit import test_alliance_validator as validators
from tests.unit import test_alliance_voting as voting
from tests.unit.alliance_round import NOW_MS, SEALED_AT_S, TRAINED_MS, ContributedRound
from tests.unit.test_alliance_trainer import Journal, trainer_in

SEALED_MS = SEALED_AT_S * 1000


def name_of(value: object) -> str:
    return getattr(value, "name", None) or getattr(value, "__name__", "")


def kinds_of(effects: tuple[Effect, ...]) -> list[type]:
    return [type(effect) for effect in effects]


# --- the trainer ---------------------------------------------------------------------------------------------------

T = trainer.Phase
LAST_CALL_MS = SEALED_MS + trainers.CONTEXT.params.unmask_seconds * 1000
Told = tuple[Journal, Event, int]


def telling(phase: T, event: Event, now_ms: int) -> Callable[[], Told]:
    return lambda: (trainer_in(phase), event, now_ms)


def update_is_masked() -> Told:
    journal = Journal()
    return journal, journal.mask(), NOW_MS


def own_seal() -> Told:
    journal = trainer_in(T.CONTRIBUTED)
    return journal, SealObserved(trainers.sealed_with(journal)), SEALED_MS


def fetched(is_all: bool) -> Told:
    """The answer to a pull: the manifest, and if ``is_all`` whatever it leads to."""
    journal = trainer_in(T.ANSWERING)
    manifest = trainers.sealed_with(journal).manifest_digest
    blobs = {d: blob for d, blob in trainers.blobs_with(journal).items() if is_all or d == manifest}
    return journal, BlobsFetched("unmask", blobs), SEALED_MS


def nonsense_for_a_manifest() -> Told:
    journal = trainer_in(T.ANSWERING)
    digest = trainers.sealed_with(journal).manifest_digest
    return journal, BlobsFetched("unmask", {digest: b"\xc0"}), SEALED_MS


def last_call(own: bool) -> Told:
    """One document never came; without ``own``, the seal holds another contribution under this trainer's name."""
    journal = trainer_in(T.CONTRIBUTED)
    seal = trainers.ROUND.seal()
    sealed = trainers.sealed_with(journal) if own else trainers.ROUND.sealed(seal)
    journal.tell(SealObserved(sealed), SEALED_MS)
    absent = trainers.ROUND.blobs_of([trainers.ROUND.trainers[1]])
    blobs = {**trainers.blobs_with(journal), seal.manifest_digest: encode(seal.manifest)}
    for _ in range(3):
        journal.tell(BlobsFetched("unmask", {d: b for d, b in blobs.items() if d not in absent}), SEALED_MS)
    return journal, TimePassed(), LAST_CALL_MS


def unwanted_update() -> UpdateComputed:
    return UpdateComputed(trainers.VALUES[:-1], digest_of("entropy"))


GIVES_UP = [Report]
# (phase, event, phase that follows) → how it comes about, kinds of the effects in order
TRAINER_CASES: Mapping[tuple[T, type, T], tuple[Callable[[], Told], list[type]]] = {
    (T.COMPUTING, UpdateComputed, T.MASKING): (
        telling(T.COMPUTING, UpdateComputed(trainers.VALUES, trainers.ENTROPY), NOW_MS),
        [MaskUpdate],
    ),
    (T.COMPUTING, UpdateComputed, T.ASIDE): (telling(T.COMPUTING, unwanted_update(), NOW_MS), GIVES_UP),
    (T.COMPUTING, SealObserved, T.ASIDE): (telling(T.COMPUTING, validators.SEALED, NOW_MS), GIVES_UP),
    (T.COMPUTING, TimePassed, T.COMPUTING): (telling(T.COMPUTING, TimePassed(), NOW_MS), []),
    (T.COMPUTING, TimePassed, T.ASIDE): (telling(T.COMPUTING, TimePassed(), trainers.LATE_MS), GIVES_UP),
    (T.MASKING, UpdateMasked, T.PREPARED): (update_is_masked, [Persist, StoreBlobs]),
    (T.MASKING, UpdateMasked, T.ASIDE): (telling(T.MASKING, UpdateMasked((), "not finite"), NOW_MS), GIVES_UP),
    (T.MASKING, SealObserved, T.ASIDE): (telling(T.MASKING, validators.SEALED, NOW_MS), GIVES_UP),
    (T.MASKING, TimePassed, T.MASKING): (telling(T.MASKING, TimePassed(), NOW_MS), []),
    (T.MASKING, TimePassed, T.ASIDE): (telling(T.MASKING, TimePassed(), trainers.LATE_MS), GIVES_UP),
    (T.PREPARED, SealObserved, T.ASIDE): (telling(T.PREPARED, validators.SEALED, NOW_MS), GIVES_UP),
    (T.PREPARED, TimePassed, T.CONTRIBUTED): (telling(T.PREPARED, TimePassed(), NOW_MS), [Persist, Send, Report]),
    (T.PREPARED, TimePassed, T.ASIDE): (telling(T.PREPARED, TimePassed(), trainers.LATE_MS), GIVES_UP),
    (T.CONTRIBUTED, SealObserved, T.ANSWERING): (own_seal, [Report, Fetch]),
    (T.CONTRIBUTED, SealObserved, T.ASIDE): (
        telling(T.CONTRIBUTED, SealObserved(trainers.ROUND.sealed(signers=(0,))), SEALED_MS),
        GIVES_UP,
    ),
    (T.CONTRIBUTED, TimePassed, T.CONTRIBUTED): (
        telling(T.CONTRIBUTED, TimePassed(), NOW_MS + trainer.RESEND_MS),
        [Send],
    ),
    (T.ANSWERING, BlobsFetched, T.ANSWERING): (lambda: fetched(is_all=False), [Fetch]),
    (T.ANSWERING, BlobsFetched, T.ANSWERED): (lambda: fetched(is_all=True), [Persist, Send, Report]),
    (T.ANSWERING, BlobsFetched, T.ASIDE): (nonsense_for_a_manifest, GIVES_UP),
    (T.ANSWERING, TimePassed, T.ANSWERING): (telling(T.ANSWERING, TimePassed(), SEALED_MS), []),
    (T.ANSWERING, TimePassed, T.ANSWERED): (lambda: last_call(own=True), [Persist, Send, Report, Report]),
    (T.ANSWERING, TimePassed, T.ASIDE): (lambda: last_call(own=False), GIVES_UP),
    (T.ANSWERED, TimePassed, T.ANSWERED): (
        telling(T.ANSWERED, TimePassed(), SEALED_MS + trainer.RESEND_MS),
        [Send],
    ),
}


def test_trainer__every_cell_has_a_case() -> None:
    """A cell that no test reaches is one that nobody knows."""
    cells = {
        (phase, kind, follower)
        for phase, row in trainer._TABLE.items()
        for kind, (_, followers) in row.items()
        for follower in followers
    }
    assert set(TRAINER_CASES) == cells
    assert set(trainer._TABLE) == set(T)


@pytest.mark.parametrize(("before", "kind", "after"), TRAINER_CASES, ids=name_of)
def test_trainer__cell(before: T, kind: type, after: T) -> None:
    """A trainer would say something else than it must, or fall silent where others wait for it."""
    prepare, expected = TRAINER_CASES[before, kind, after]
    journal, event, now_ms = prepare()
    assert journal.machine.phase is before and isinstance(event, kind)
    effects = journal.tell(event, now_ms)
    assert journal.machine.phase is after
    assert kinds_of(effects) == expected
    assert (journal.machine.deadline_ms() is None) == (after is T.ASIDE), "whoever is not aside waits for something"


ALL_EVENTS: Mapping[type, Event] = trainers.EVENTS
TRAINER_IGNORES = [cell for cell in itertools.product(T, get_args(Event)) if cell[1] not in trainer._TABLE[cell[0]]]


@pytest.mark.parametrize(("phase", "kind"), TRAINER_IGNORES, ids=name_of)
def test_trainer__ignores_everything_else(phase: T, kind: type) -> None:
    """A late or foreign event would change what a trainer says."""
    journal = trainer_in(phase)
    deadline_ms = journal.machine.deadline_ms()
    assert journal.tell(ALL_EVENTS[kind], SEALED_MS) == ()
    assert (journal.machine.phase, journal.machine.deadline_ms()) == (phase, deadline_ms)


# --- the validator -------------------------------------------------------------------------------------------------

V = validator.Phase


@cache
def two_cohorts() -> ContributedRound:
    """A round with two cohorts, of which one may be opened while the other is not."""
    return ContributedRound(make_setting(make_params(cohort_count=2, seat_count=13), 13))


def half_open() -> validator.ValidatorMachine:
    """A validator that has opened its first cohort and waits for answers of the second."""
    found = two_cohorts()
    machine, seal = found.validator(0), found.seal()
    machine.handle(SealObserved(found.sealed()), SEALED_MS)
    machine.handle(BlobsFetched("", {seal.manifest_digest: encode(seal.manifest)}), SEALED_MS)
    machine.handle(CohortOpened(0, Opened(digest_of("aggregate"))), SEALED_MS)
    assert machine.phase is V.OPENING and machine.aggregates
    return machine


OPENED = CohortOpened(0, Unopened(AbortReason.OUT_OF_RANGE))
POSITION = LogPosition(2, 0, SEALED_AT_S, bytes(32))
VALIDATOR_EVENTS: Mapping[type, Event] = {
    ports.MessageReceived: validators.ROUND.say(validators.SECOND, make_have(validators.CONTEXT, {})),
    BlobsFetched: BlobsFetched("", {}),
    SeatReachable: SeatReachable(validators.SECOND, True),
    TransactionEnded: TransactionEnded("seal", ""),
    CommitmentsObserved: CommitmentsObserved(BallotsCommitted(POSITION, 1, (1,), (digest_of("commitment"),))),
    CommitPhaseEnded: CommitPhaseEnded(frozenset({1}), SEALED_AT_S + 30),
    TimePassed: TimePassed(),
    SealObserved: validators.SEALED,
    CohortOpened: OPENED,
    EvaluationFinished: EvaluationFinished({0: True}),
    UpdateComputed: unwanted_update(),
    UpdateMasked: UpdateMasked(()),
}
# A validator that has opened nothing has nothing to judge, so the seal alone leads there never.
UNREACHABLE = {(V.SEALING, SealObserved, V.JUDGING)}


def validator_cells() -> list[tuple[V, type, V]]:
    """What the two tables allow together: the event's own followers, then what follows from all facts."""
    found = dict.fromkeys(
        (phase, kind, after)
        for phase, row in validator._TABLE.items()
        for kind, (_, followers) in row.items()
        for between in followers or (phase,)
        for after in validator._ADVANCE[between][1]
    )
    return [cell for cell in found if cell not in UNREACHABLE]


def resumed() -> validator.ValidatorMachine:
    """A validator that was restarted after its vote and has not seen the seal again."""
    before = validators.validator_in(V.JUDGING)
    records = [e for e in before.handle(EvaluationFinished({0: False}), SEALED_MS) if isinstance(e, Persist)]
    machine = validator.ValidatorMachine(
        validators.CONTEXT, validators.FIRST, validators.ROUND.setting.signer(validators.FIRST)
    )
    machine.start(tuple(records), SEALED_MS)
    return machine


def prepare(before: V, kind: type, after: V) -> tuple[validator.ValidatorMachine, int]:
    """A machine in ``before``, and the time at which the event leads to ``after``."""
    late_ms = validators.EVALUATE_MS + 60_000
    if before is V.SEALING:
        if after is V.VOTING and kind is SealObserved:
            return resumed(), SEALED_MS
        return validators.ROUND.validator(0, announced=validators.ROUND.trainers[:2]), SEALED_MS
    if before is V.OPENING and after is not V.OPENING:
        return (half_open() if after is V.JUDGING else validators.validator_in(V.OPENING)), validators.UNMASK_MS
    is_late = before is V.JUDGING and after is V.VOTING and kind is not EvaluationFinished
    return validators.validator_in(before), late_ms if is_late else SEALED_MS


@pytest.mark.parametrize(("before", "kind", "after"), validator_cells(), ids=name_of)
def test_validator__cell(before: V, kind: type, after: V) -> None:
    """A validator would judge what it did not open, vote twice, or wait for ever."""
    machine, now_ms = prepare(before, kind, after)
    assert machine.phase is before
    effects = machine.handle(VALIDATOR_EVENTS[kind], now_ms)
    assert machine.phase is after
    promises = [effect for effect in effects if isinstance(effect, Persist)]
    assert list(effects[: len(promises)]) == promises, "nothing is said before it is kept"
    votes_now = after is V.VOTING and before is not V.VOTING and machine.ballots.has_voted and before is not V.SEALING
    assert [promise.kind for promise in promises] == ([BALLOT] if votes_now else [])
    assert (ports.Evaluate in kinds_of(effects)) == (after is V.JUDGING and before is not V.JUDGING)
    assert machine.deadline_ms() == now_ms + validator.TICK_MS


VALIDATOR_IGNORES = [cell for cell in itertools.product(V, get_args(Event)) if cell[1] not in validator._TABLE[cell[0]]]


@pytest.mark.parametrize(("phase", "kind"), VALIDATOR_IGNORES, ids=name_of)
def test_validator__records_nothing_else(phase: V, kind: type) -> None:
    """A late answer of the worker, or a second seal, would change a promise."""
    told, other = (validators.validator_in(phase) for _ in range(2))
    effects = told.handle(VALIDATOR_EVENTS[kind], SEALED_MS)
    assert effects == other.handle(TimePassed(), SEALED_MS), "no more than if a moment had passed"
    assert (told.phase, told.aggregates, told.ballots.has_voted) == (phase, other.aggregates, other.ballots.has_voted)


def test_validator__knows_every_event() -> None:
    """An event that nobody thought of would end the node."""
    assert set(VALIDATOR_EVENTS) == set(ALL_EVENTS) == set(get_args(Event))
    assert set(validator._TABLE) == set(validator._ADVANCE) == set(V)


# --- the validator's desks -----------------------------------------------------------------------------------------

B, S = balloting.Phase, proposing.Phase


def ballot_desk(phase: B, voted: bool = True) -> voting.Desk:
    """A ballot desk in this phase; ``voting.Desk`` at position 0, which leads."""
    desk = voting.Desk(vote=False)
    if phase is B.WAITING:
        seat = voting.VALIDATORS[0]
        desk.desk = balloting.BallotDesk(voting.CONTEXT, seat, voting.SETTING.signer(seat), desk.attendance)
    if phase is B.COMMITTING or (phase is B.REVEALING and voted):
        desk.desk.vote({0: Vote.YES}, {}, 0, {0: voting.AGGREGATE})
    if phase is B.REVEALING:
        desk.end_commit(0, 1) if voted else desk.end_commit(1)
    desk.desk.advance(NOW_MS)
    assert desk.desk.phase is phase
    return desk


def seal_it(desk: voting.Desk) -> None:
    desk.desk.sealed(voting.SEAL, 0)


def vote_now(desk: voting.Desk) -> None:
    desk.desk.vote({0: Vote.YES}, {}, 0, {0: voting.AGGREGATE})


def restore_and_seal(desk: voting.Desk) -> None:
    desk.desk.restore(Persist(BALLOT, "", encode(voting.ballot_of(0))))
    seal_it(desk)


def end_and_seal(desk: voting.Desk) -> None:
    """The chain was read late: the end of the phase came before the seal did."""
    desk.end_commit(1)
    seal_it(desk)


# (phase, phase that follows) → what leads there, kinds of the effects that the desk then gives
BALLOT_CASES: Mapping[tuple[B, B], tuple[Callable[[voting.Desk], None], list[type]]] = {
    (B.WAITING, B.WAITING): (lambda desk: desk.commit(1, 2), []),
    (B.WAITING, B.JUDGING): (seal_it, []),
    (B.WAITING, B.COMMITTING): (restore_and_seal, []),
    (B.WAITING, B.REVEALING): (end_and_seal, []),
    (B.JUDGING, B.JUDGING): (lambda desk: desk.commit(1, 2), []),
    (B.JUDGING, B.COMMITTING): (vote_now, []),
    (B.JUDGING, B.REVEALING): (lambda desk: desk.end_commit(1), []),
    (B.COMMITTING, B.COMMITTING): (lambda desk: desk.commit(1, 2), [Transact]),
    (B.COMMITTING, B.REVEALING): (lambda desk: desk.end_commit(0, 1), [Send]),
    (B.REVEALING, B.REVEALING): (
        lambda desk: desk.desk.add_ballot(voting.VALIDATORS[1], voting.ballot_of(1)),
        [Transact],
    ),
}


def test_ballot_desk__every_cell_has_a_case() -> None:
    """A cell that no test reaches is one that nobody knows."""
    assert set(BALLOT_CASES) == {(phase, after) for phase, row in balloting.FOLLOWERS.items() for after in row}
    assert set(balloting.FOLLOWERS) == set(B)


@pytest.mark.parametrize(("before", "after"), BALLOT_CASES, ids=name_of)
def test_ballot_desk__cell(before: B, after: B) -> None:
    """A vote would be shown too early, too late or not at all."""
    act, expected = BALLOT_CASES[before, after]
    desk = ballot_desk(before)
    act(desk)
    assert kinds_of(tuple(desk.desk.advance(NOW_MS))) == expected
    assert desk.desk.phase is after


def test_ballot_desk__never_goes_back() -> None:
    """A desk that is set back would show a ballot while commitments are still taken."""
    desk = ballot_desk(B.REVEALING)
    desk.desk._commit_ended_at_ms = None
    with pytest.raises(AssertionError):
        desk.desk.advance(NOW_MS)


def seal_desk(phase: S) -> validator.ValidatorMachine:
    """The first leader with its seal desk in this phase."""
    if phase is S.COLLECTING:
        return validators.ROUND.validator(0, announced=validators.ROUND.trainers[:4])
    if phase is S.HOLDING:
        return validators.ROUND.validator(0)
    machine, _ = validators.leading()
    if phase is S.POSTED:
        machine.handle(signature_of_second(), NOW_MS)
    return machine


def signature_of_second() -> Event:
    sign, seal = validators.ROUND.setting.signer(validators.SECOND), validators.SEAL
    signature = SealSignature(0, seal.digest, sign(seal.signing_digest))
    return validators.ROUND.say(validators.SECOND, signature)


def last_trainer_comes(machine: validator.ValidatorMachine) -> tuple[Effect, ...]:
    last = validators.ROUND.trainers[4]
    machine.handle(validators.ROUND.say(last, validators.ROUND.contribution(last)), NOW_MS)
    return machine.handle(BlobsFetched("", validators.ROUND.blobs_of([last])), NOW_MS)


def hear_haves(machine: validator.ValidatorMachine) -> tuple[Effect, ...]:
    effects: tuple[Effect, ...] = ()
    have = make_have(validators.CONTEXT, validators.ROUND.roots)
    for seat in (validators.SECOND, validators.THIRD):
        effects += machine.handle(validators.ROUND.say(seat, have), NOW_MS)
    return effects


def haves_then_last_trainer(machine: validator.ValidatorMachine) -> tuple[Effect, ...]:
    hear_haves(machine)
    return last_trainer_comes(machine)


LONE = ContributedRound(make_setting(make_params(validator_count=1, seat_count=6), 6))


def lone(held: int, now_ms: int = NOW_MS) -> validator.ValidatorMachine:
    """The one validator of its alliance, which needs nobody else's signature; ``held`` contributions are here."""
    machine = LONE.validator(0, announced=LONE.trainers[:held])
    machine.handle(TimePassed(), now_ms)
    return machine


def rest_comes(machine: validator.ValidatorMachine, now_ms: int) -> tuple[Effect, ...]:
    for seat in LONE.trainers:
        machine.handle(LONE.say(seat, LONE.contribution(seat)), now_ms)
    return machine.handle(BlobsFetched("", LONE.blobs_of()), now_ms)


def tell(event: Event) -> Callable[[validator.ValidatorMachine], tuple[Effect, ...]]:
    return lambda machine: machine.handle(event, NOW_MS)


ALL_AT_ONCE: list[object] = [HAVE, SEAL_SIGNATURE, Transact]
# (phase, phase that follows) → a machine in the one, what leads to the other, kinds of promises and transactions
SEAL_CASES: Mapping[
    tuple[S, S],
    tuple[
        Callable[[], validator.ValidatorMachine],
        Callable[[validator.ValidatorMachine], tuple[Effect, ...]],
        list[object],
    ],
] = {
    (S.COLLECTING, S.COLLECTING): (lambda: seal_desk(S.COLLECTING), hear_haves, []),
    (S.COLLECTING, S.HOLDING): (lambda: seal_desk(S.COLLECTING), last_trainer_comes, [HAVE]),
    (S.COLLECTING, S.PROPOSED): (lambda: seal_desk(S.COLLECTING), haves_then_last_trainer, [HAVE, SEAL_SIGNATURE]),
    (S.COLLECTING, S.POSTED): (lambda: lone(4), lambda m: rest_comes(m, NOW_MS), ALL_AT_ONCE),
    (S.HOLDING, S.HOLDING): (lambda: seal_desk(S.HOLDING), tell(TimePassed()), []),
    (S.HOLDING, S.PROPOSED): (lambda: seal_desk(S.HOLDING), hear_haves, [SEAL_SIGNATURE]),
    (S.HOLDING, S.POSTED): (
        lambda: lone(2, TRAINED_MS),
        lambda m: rest_comes(m, TRAINED_MS),
        [HAVE, SEAL_SIGNATURE, Transact],
    ),
    (S.PROPOSED, S.PROPOSED): (lambda: seal_desk(S.PROPOSED), tell(TimePassed()), []),
    (S.PROPOSED, S.POSTED): (lambda: seal_desk(S.PROPOSED), tell(signature_of_second()), [Transact]),
    (S.POSTED, S.POSTED): (lambda: seal_desk(S.POSTED), tell(signature_of_second()), []),
    (S.POSTED, S.PROPOSED): (lambda: seal_desk(S.POSTED), tell(TransactionEnded("seal", "rpc")), []),
}


def test_seal_desk__every_cell_has_a_case() -> None:
    """A cell that no test reaches is one that nobody knows."""
    assert set(SEAL_CASES) == {(phase, after) for phase, row in proposing.FOLLOWERS.items() for after in row}
    assert set(proposing.FOLLOWERS) == set(S)


@pytest.mark.parametrize(("before", "after"), SEAL_CASES, ids=name_of)
def test_seal_desk__cell(before: S, after: S) -> None:
    """A leader would never propose, propose twice, or post what nobody signed."""
    make, act, expected = SEAL_CASES[before, after]
    machine = make()
    assert machine.seals.phase is before
    effects = act(machine)
    assert machine.seals.phase is after
    told = [effect.kind if isinstance(effect, Persist) else type(effect) for effect in effects]
    assert [entry for entry in told if entry in (HAVE, SEAL_SIGNATURE, Transact)] == expected
