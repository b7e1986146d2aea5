"""Every cell of the validator's table: what each event does in each phase, and what follows from time alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from p2p_flock.alliance.balloting import BALLOT
from p2p_flock.alliance.proposing import HAVE, SEAL_SIGNATURE
from p2p_flock.alliance.validator import _ADVANCE, _TABLE, REPEAT_MS, TICK_MS, Phase, ValidatorMachine, persist_first
from p2p_flock.chain_events import BallotsCommitted
from p2p_flock.crypto.suite import sha256
from p2p_flock.errors import AbortReason
from p2p_flock.ports import (
    BlobsFetched,
    CohortOpened,
    CommitmentsObserved,
    CommitPhaseEnded,
    CommitRound,
    Effect,
    Evaluate,
    EvaluationFinished,
    Event,
    Fetch,
    OpenCohort,
    Persist,
    Report,
    SealObserved,
    SealRound,
    SeatReachable,
    Send,
    SettleRound,
    StoreBlobs,
    TimePassed,
    Train,
    Transact,
    TransactionEnded,
    UpdateComputed,
    UpdateMasked,
)
from p2p_flock.secagg.answer import Answered, compute_answer
from p2p_flock.secagg.opening import OpenedInMemory, Unopened, open_in_memory
from p2p_flock.testing.alliance import digest_of
from p2p_flock.types import Stage, Vote
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import Ballot, BallotCommitment, Contribution, Have, SealSignature, Unmasking
from tests.unit.alliance_round import NOW_MS, SEALED_AT_S, TRAINED_MS, effects_of, make_round

ROUND = make_round()
CONTEXT = ROUND.context
PARAMS = CONTEXT.params
SEAL = ROUND.seal()
SEALED = SealObserved(ROUND.sealed())
SEALED_MS = SEALED_AT_S * 1000
MANIFEST = BlobsFetched("manifest", {SEAL.manifest_digest: encode(SEAL.manifest)})
UNMASK_MS = CONTEXT.unmask_deadline_ms(SEALED_AT_S)
EVALUATE_MS = CONTEXT.evaluate_deadline_ms(SEALED_AT_S)
FIRST, SECOND, THIRD = ROUND.validators


def unmasking_of(seat: int) -> Unmasking:
    documents = {other: ROUND.made[other].document for other in ROUND.trainers}
    bundles = {other: ROUND.made[other].bundles[seat] for other in ROUND.trainers if other != seat}
    cohort, secrets = CONTEXT.cohorts[0], ROUND.made[seat].secrets
    answer = compute_answer(cohort, secrets, SEAL.digest, SEAL.manifest, documents, bundles)
    assert isinstance(answer, Answered)
    return answer.unmasking


def tell_answers(machine: ValidatorMachine, seats: Iterable[int]) -> list[Effect]:
    return [e for seat in seats for e in machine.handle(ROUND.say(seat, unmasking_of(seat)), SEALED_MS)]


def opened_by(machine: ValidatorMachine) -> OpenedInMemory:
    """What the thread that opens gives back."""
    effects = tell_answers(machine, ROUND.trainers[:3])
    (opening,) = effects_of(OpenCohort, effects)
    assert isinstance(opening, OpenCohort)
    result = open_in_memory(opening.opening, ROUND.blobs_of().__getitem__)
    assert isinstance(result, OpenedInMemory)
    return result


def validator_in(phase: Phase, position: int = 0) -> ValidatorMachine:
    """A validator that came here in the usual way."""
    machine = ROUND.validator(position)
    if phase is Phase.SEALING:
        return machine
    machine.handle(SEALED, SEALED_MS)
    machine.handle(MANIFEST, SEALED_MS)
    if phase is Phase.OPENING:
        return machine
    machine.handle(CohortOpened(0, opened_by(machine)), SEALED_MS)
    if phase is Phase.VOTING:
        machine.handle(EvaluationFinished({0: True}), SEALED_MS)
    assert machine.phase is phase
    return machine


EVENTS: dict[type, Event] = {
    TimePassed: TimePassed(),
    UpdateComputed: UpdateComputed(ROUND.setting.value_of(0), bytes(32)),
    SealObserved: SEALED,
    CohortOpened: CohortOpened(0, Unopened(AbortReason.OUT_OF_RANGE)),
    EvaluationFinished: EvaluationFinished({0: True}),
    UpdateMasked: UpdateMasked(()),
}
IGNORED = [(phase, kind) for phase, kind in itertools.product(Phase, EVENTS) if kind not in _TABLE[phase]]


@pytest.mark.parametrize(("phase", "kind"), IGNORED, ids=lambda value: getattr(value, "name", None) or value.__name__)
def test_validator__ignores(phase: Phase, kind: type) -> None:
    """A late answer of the worker, or a second seal, would change a promise."""
    machine = validator_in(phase)
    machine.handle(TimePassed(), SEALED_MS)
    effects = machine.handle(EVENTS[kind], SEALED_MS)
    assert machine.phase is phase and not effects_of(Persist, effects) and not effects_of(Transact, effects)


def test_validator__tables_name_every_phase() -> None:
    """A phase without a row would end the node."""
    assert set(_TABLE) == set(_ADVANCE) == set(Phase)
    always = set.intersection(*(set(cells) for cells in _TABLE.values()))
    assert {kind.__name__ for kind in always} == {
        *("MessageReceived", "BlobsFetched", "SeatReachable", "TransactionEnded"),
        *("CommitmentsObserved", "CommitPhaseEnded", "TimePassed"),
    }


@pytest.mark.parametrize("phase", Phase)
def test_validator__ticks(phase: Phase) -> None:
    """A validator that is told nothing would never look at the clock."""
    machine = validator_in(phase)
    machine.handle(TimePassed(), SEALED_MS)
    assert machine.deadline_ms() == SEALED_MS + TICK_MS


# --- sealing -----------------------------------------------------------------------------------------------------


def test_sealing__fetches_what_is_announced() -> None:
    """A contribution would never be held."""
    machine, trainer = ROUND.validator(0, announced=()), ROUND.trainers[0]
    (fetch,) = effects_of(Fetch, machine.handle(ROUND.say(trainer, ROUND.contribution(trainer)), NOW_MS))
    assert isinstance(fetch, Fetch) and fetch.seats == (trainer, SECOND, THIRD) and fetch.is_read
    assert fetch.digests == (ROUND.contribution(trainer).document_digest,)
    blobs = ROUND.blobs_of([trainer])
    document = {fetch.digests[0]: blobs[fetch.digests[0]]}
    (then,) = effects_of(Fetch, machine.handle(BlobsFetched(fetch.tag, document), NOW_MS))
    assert isinstance(then, Fetch) and then.is_read
    assert then.digests == (sha256(ROUND.made[trainer].commitments),), "to shares, as many as 25"
    commitments = {then.digests[0]: blobs[then.digests[0]]}
    (more,) = effects_of(Fetch, machine.handle(BlobsFetched(then.tag, commitments), NOW_MS))
    assert isinstance(more, Fetch) and len(more.digests) == 5, "one chunk and four bundles"
    assert not more.is_read, "only their sizes matter here"


def test_sealing__asks_again_only_when_a_pull_has_ended() -> None:
    """A vector that takes longer than a second to pull would be pulled over and over, at everybody's cost."""
    machine, trainer = ROUND.validator(0, announced=()), ROUND.trainers[0]
    (fetch,) = effects_of(Fetch, machine.handle(ROUND.say(trainer, ROUND.contribution(trainer)), NOW_MS))
    assert isinstance(fetch, Fetch)
    assert not effects_of(Fetch, machine.handle(TimePassed(), NOW_MS + 20_000))
    assert not effects_of(Fetch, machine.handle(BlobsFetched(fetch.tag, {}), NOW_MS + 20_000))
    assert not effects_of(Fetch, machine.handle(TimePassed(), NOW_MS + 20_999))
    (again,) = effects_of(Fetch, machine.handle(TimePassed(), NOW_MS + 21_000))
    assert isinstance(again, Fetch) and again.digests == fetch.digests and again.tag != fetch.tag


def test_sealing__holds_what_it_hears_the_sizes_of() -> None:
    """A contribution of any length would have to pass through the machine, or would never be held."""
    machine, trainer = ROUND.validator(0, announced=()), ROUND.trainers[0]
    machine.handle(ROUND.say(trainer, ROUND.contribution(trainer)), NOW_MS)
    blobs = ROUND.blobs_of([trainer])
    for digest in (ROUND.contribution(trainer).document_digest, sha256(ROUND.made[trainer].commitments)):
        machine.handle(BlobsFetched("", {digest: blobs.pop(digest)}), NOW_MS)
    machine.handle(BlobsFetched("", {}, {digest: len(data) for digest, data in blobs.items()}), NOW_MS)
    assert machine._collection.held_roots() == {trainer: ROUND.made[trainer].root}


def test_sealing__says_have_when_all_are_held() -> None:
    """The seal would wait for the deadline although everything is there, or for ever."""
    machine = ROUND.validator(0, announced=ROUND.trainers[:4])
    assert not effects_of(Persist, machine.handle(TimePassed(), TRAINED_MS - 1))
    effects = machine.handle(TimePassed(), TRAINED_MS)
    (promise,) = effects_of(Persist, effects)
    assert isinstance(promise, Persist) and (promise.kind, promise.key) == (HAVE, "1")
    assert len(decode(Have, promise.body, 1 << 20).roots) == 4 and effects[0] is promise
    late = ROUND.trainers[4]
    machine.handle(ROUND.say(late, ROUND.contribution(late)), TRAINED_MS)
    effects = machine.handle(BlobsFetched("", ROUND.blobs_of([late])), TRAINED_MS)
    found = effects_of(Persist, effects)
    assert isinstance(found[0], Persist) and len(decode(Have, found[0].body, 1 << 20).roots) == 5


def leading() -> tuple[ValidatorMachine, list[Effect]]:
    """The first leader when every Have is here; and what it then does."""
    machine = ROUND.validator(0)
    effects: list[Effect] = []
    for seat in (SECOND, THIRD):
        have = ROUND.have(seat)
        effects += machine.handle(ROUND.say(seat, decode(Have, have.body, 1 << 20)), NOW_MS)
    return machine, effects


def test_sealing__leader_proposes_and_posts_with_a_quorum() -> None:
    """No seal would ever reach the chain."""
    machine, effects = leading()
    kinds = [effect.kind for effect in effects if isinstance(effect, Persist)]
    assert kinds == [SEAL_SIGNATURE] and len(effects_of(Send, effects)) == 1
    signature = SealSignature(0, SEAL.digest, ROUND.setting.signer(SECOND)(SEAL.signing_digest))
    (post,) = effects_of(Transact, machine.handle(ROUND.say(SECOND, signature), NOW_MS))
    assert isinstance(post, Transact) and isinstance(post.call, SealRound)
    assert (post.call.view, post.call.positions, post.call.survivors) == (0, (0, 1), (0b11111,))
    again = machine.handle(ROUND.say(THIRD, signature), NOW_MS)
    assert not effects_of(Transact, again), "posted once"


def test_sealing__failed_post_is_tried_again() -> None:
    """A hiccup of the RPC endpoint would cost a view."""
    machine, _ = leading()
    signature = SealSignature(0, SEAL.digest, ROUND.setting.signer(SECOND)(SEAL.signing_digest))
    machine.handle(ROUND.say(SECOND, signature), NOW_MS)
    assert not effects_of(Transact, machine.handle(TransactionEnded("seal", ""), NOW_MS + 5000)), "a lost race is over"
    machine.handle(TransactionEnded("seal", "rpc"), NOW_MS + 5000)
    assert not effects_of(Transact, machine.handle(TimePassed(), NOW_MS + 5999))
    assert effects_of(Transact, machine.handle(TimePassed(), NOW_MS + 6000))


@pytest.mark.parametrize("signer", ["nobody", "another seal", "another view"])
def test_sealing__wrong_signatures_do_not_count(signer: str) -> None:
    """The leader would post a seal that the contract refuses."""
    machine, _ = leading()
    good = ROUND.setting.signer(SECOND)(SEAL.signing_digest)
    wrong = {
        "nobody": SealSignature(0, SEAL.digest, bytes(65)),
        "another seal": SealSignature(0, bytes(32), good),
        "another view": SealSignature(1, SEAL.digest, good),
    }[signer]
    assert not effects_of(Transact, machine.handle(ROUND.say(SECOND, wrong), NOW_MS))


def test_sealing__signs_a_good_proposal_once_per_view() -> None:
    """P8: a validator would sign two seals in one view, or none."""
    machine = ROUND.validator(1)
    effects = machine.handle(ROUND.say(FIRST, ROUND.proposal()), NOW_MS)
    assert [effect.kind for effect in effects if isinstance(effect, Persist)] == [SEAL_SIGNATURE]
    (answer,) = [e for e in effects_of(Send, effects) if isinstance(e, Send) and e.seats == (FIRST,)]
    assert isinstance(answer, Send)
    assert decode(SealSignature, answer.envelope.body, 1 << 10).seal == SEAL.digest
    assert effects_of(StoreBlobs, effects), "whoever signs serves the manifest"
    fewer = {seat: root for seat, root in ROUND.roots.items() if seat != ROUND.trainers[0]}
    other = ROUND.proposal(0, [ROUND.have(v, fewer) for v in (FIRST, SECOND)], encode(ROUND.manifest(fewer)))
    effects = machine.handle(ROUND.say(FIRST, other), NOW_MS)
    assert not effects_of(Persist, effects) and "second seal" in str(effects_of(Report, effects))


def test_sealing__views_only_go_upward() -> None:
    """P8: having signed in a later view, a validator would help an earlier one to a second seal."""
    machine = ROUND.validator(2)
    late_ms = TRAINED_MS + 5000
    signed = machine.handle(ROUND.say(SECOND, ROUND.proposal(view=1)), late_ms)
    assert effects_of(Persist, signed)
    assert not effects_of(Persist, machine.handle(ROUND.say(FIRST, ROUND.proposal()), late_ms))


def test_sealing__later_view_waits_for_its_turn() -> None:
    """The second leader could always overtake the first."""
    machine = ROUND.validator(2)
    assert not effects_of(Persist, machine.handle(ROUND.say(SECOND, ROUND.proposal(view=1)), NOW_MS))
    machine.handle(SeatReachable(FIRST, False), NOW_MS)
    later_ms = NOW_MS + 1000
    assert effects_of(Persist, machine.handle(ROUND.say(SECOND, ROUND.proposal(view=1)), later_ms)), "the first is gone"


def test_sealing__documents_that_only_others_hold_are_fetched() -> None:
    """A validator that missed an announcement could not sign, and Q be lost."""
    missed = ROUND.trainers[0]
    machine = ROUND.validator(1, announced=[seat for seat in ROUND.trainers if seat != missed])
    effects = machine.handle(ROUND.say(FIRST, ROUND.proposal()), NOW_MS)
    (fetch,) = effects_of(Fetch, effects)
    assert isinstance(fetch, Fetch) and fetch.digests == (ROUND.contribution(missed).document_digest,)
    effects = machine.handle(BlobsFetched("", ROUND.blobs_of([missed])), NOW_MS)
    assert SEAL_SIGNATURE in [effect.kind for effect in effects if isinstance(effect, Persist)]


def test_sealing__false_proposal_does_not_silence_a_trainer() -> None:
    """One validator that names other roots could make all others ignore honest trainers."""
    machine, victim = ROUND.validator(1, announced=ROUND.trainers[1:]), ROUND.trainers[0]
    forged = {**ROUND.roots, victim: digest_of("forged")}
    manifest = ROUND.manifest()
    entry = type(manifest.entries[0])(victim, digest_of("forged"), digest_of("nowhere"), digest_of("key"))
    entries = tuple(entry if e.seat == victim else e for e in manifest.entries)
    body = encode(type(manifest)(1, entries))
    for proposal in (
        ROUND.proposal(0, [ROUND.have(FIRST, forged), ROUND.have(SECOND, ROUND.roots)], body),  # does not follow
        ROUND.proposal(0, [ROUND.have(FIRST, forged), ROUND.have(THIRD, forged)], body),  # it does: Q validators lie
    ):
        machine.handle(ROUND.say(FIRST, proposal), NOW_MS)
    effects = machine.handle(ROUND.say(victim, ROUND.contribution(victim)), NOW_MS)
    assert not effects_of(Report, effects), "nothing is held against the trainer"
    effects = machine.handle(BlobsFetched("", ROUND.blobs_of([victim])), NOW_MS)
    found = [decode(Have, e.body, 1 << 20) for e in effects if isinstance(e, Persist) and e.kind == HAVE]
    assert len(found) == 1 and len(found[0].roots) == 5


def test_sealing__second_announcement_is_reported() -> None:
    """An equivocating trainer would not be seen."""
    machine, trainer = ROUND.validator(0), ROUND.trainers[0]
    again = machine.handle(ROUND.say(trainer, ROUND.contribution(trainer)), NOW_MS)
    assert not effects_of(Report, again)
    effects = machine.handle(ROUND.say(trainer, Contribution(bytes(32), bytes(32))), NOW_MS)
    assert [effect.culprit for effect in effects if isinstance(effect, Report)] == [trainer, trainer]


def test_sealing__equivocating_have_is_reported() -> None:
    """A validator could count for two roots of one trainer."""
    machine = ROUND.validator(0)
    other = {**ROUND.roots, ROUND.trainers[0]: bytes(32)}
    for roots, culprits in ((ROUND.roots, []), (other, [SECOND])):
        have = decode(Have, ROUND.have(SECOND, roots).body, 1 << 20)
        effects = machine.handle(ROUND.say(SECOND, have), NOW_MS)
        assert [e.culprit for e in effects if isinstance(e, Report) and e.culprit is not None] == culprits


# --- opening, judging --------------------------------------------------------------------------------------------


def test_opening__waits_for_the_manifest_then_for_answers() -> None:
    """A cohort would be opened on what the leader says instead of what the chain holds, or never."""
    machine = ROUND.validator(0)
    effects = machine.handle(SEALED, SEALED_MS)
    assert [fetch.digests for fetch in effects if isinstance(fetch, Fetch)] == [(SEAL.manifest_digest,)]
    assert machine.phase is Phase.OPENING
    early = tell_answers(machine, ROUND.trainers[:1])
    assert not effects_of(OpenCohort, early)
    machine.handle(MANIFEST, SEALED_MS)
    assert not effects_of(OpenCohort, tell_answers(machine, ROUND.trainers[1:2]))
    assert effects_of(OpenCohort, tell_answers(machine, ROUND.trainers[2:3])), "three of five holders"
    assert not effects_of(OpenCohort, tell_answers(machine, ROUND.trainers[3:])), "opened once"


def test_opening__bad_manifest_ends_in_abstention() -> None:
    """Q validators that sign nonsense would end the node."""
    machine = ROUND.validator(0)
    machine.handle(SEALED, SEALED_MS)
    effects = machine.handle(BlobsFetched("", {SEAL.manifest_digest: b"\xc0"}), SEALED_MS)
    assert effects_of(Report, effects) and machine.manifest is None
    machine.handle(TimePassed(), UNMASK_MS)
    assert machine.phase is Phase.VOTING


def test_opening__sum_is_judged() -> None:
    """Nobody would vote."""
    machine = validator_in(Phase.OPENING)
    result = opened_by(machine)
    effects = machine.handle(CohortOpened(0, result), SEALED_MS)
    assert machine.phase is Phase.JUDGING
    (evaluate,) = effects_of(Evaluate, effects)
    assert isinstance(evaluate, Evaluate) and evaluate.stage is Stage.TRAINING
    assert evaluate.aggregates == {0: result.aggregate_digest}


@pytest.mark.parametrize("reason", [AbortReason.OUT_OF_RANGE, AbortReason.CONTRADICTION])
def test_opening__what_cannot_be_opened_is_unavailable(reason: AbortReason) -> None:
    """A garbled sum would be voted on."""
    machine = validator_in(Phase.OPENING)
    opened_by(machine)
    effects = machine.handle(CohortOpened(0, Unopened(reason)), SEALED_MS)
    assert machine.phase is Phase.VOTING and ballot_in(effects).verdicts == bytes([Vote.UNAVAILABLE])


def test_opening__too_few_answers_end_at_the_deadline() -> None:
    """Two silent trainers of three would stop the round."""
    machine = validator_in(Phase.OPENING)
    tell_answers(machine, ROUND.trainers[:2])
    machine.handle(TimePassed(), UNMASK_MS - 1)
    assert machine.phase is Phase.OPENING
    effects = machine.handle(TimePassed(), UNMASK_MS)
    assert ballot_in(effects).verdicts == bytes([Vote.UNAVAILABLE])


def test_opening__a_pending_opening_is_waited_for() -> None:
    """The deadline would throw away a sum that a thread is about to give."""
    machine = validator_in(Phase.OPENING)
    result = opened_by(machine)
    machine.handle(TimePassed(), UNMASK_MS)
    assert machine.phase is Phase.OPENING
    machine.handle(CohortOpened(0, result), UNMASK_MS)
    assert machine.phase is Phase.JUDGING


def ballot_in(effects: Iterable[Effect]) -> Ballot:
    (found,) = [e for e in effects if isinstance(e, Persist) and e.kind == BALLOT]
    return decode(Ballot, found.body, 1 << 16)


@pytest.mark.parametrize(("accepted", "vote"), [({0: True}, Vote.YES), ({0: False}, Vote.NO), ({}, Vote.UNAVAILABLE)])
def test_judging__becomes_a_ballot(accepted: dict[int, bool], vote: Vote) -> None:
    """A validator would vote otherwise than it found."""
    machine = validator_in(Phase.JUDGING)
    ballot = ballot_in(machine.handle(EvaluationFinished(accepted), SEALED_MS))
    assert ballot.verdicts == bytes([vote]) and ballot.base_model_digest == CONTEXT.base_model_digest
    digest = machine.aggregates[0]
    assert ballot.aggregate_digests == (digest if vote is not Vote.UNAVAILABLE else bytes(32),)


@pytest.mark.parametrize(("good", "grade"), [(True, 11), (False, 0)])
def test_judging__grade_and_score_reach_the_ballot(good: bool, grade: int) -> None:
    """Trainers would all be paid alike, and no alliance would reach its target."""
    machine = validator_in(Phase.JUDGING)
    ballot = ballot_in(machine.handle(EvaluationFinished({0: good}, {0: 11}, 640_000), SEALED_MS))
    assert (ballot.grades, ballot.score_micro) == (bytes([grade]), 640_000)


def test_judging__a_slow_worker_abstains() -> None:
    """A hanging worker would stop the round."""
    machine = validator_in(Phase.JUDGING)
    machine.handle(TimePassed(), EVALUATE_MS - 1)
    assert machine.phase is Phase.JUDGING
    assert ballot_in(machine.handle(TimePassed(), EVALUATE_MS)).verdicts == bytes([Vote.UNAVAILABLE])


# --- the whole, restart ------------------------------------------------------------------------------------------


def test_voting__commit_reveal_settle() -> None:
    """The three validators would not come to a settlement."""
    machines = [validator_in(Phase.VOTING, position) for position in range(3)]
    leader = machines[0]
    for position, machine in enumerate(machines[1:], 1):
        (envelope,) = {e.envelope for e in machine._ballots.repeat() if isinstance(e, Send)}
        effects = leader.handle(
            ROUND.say(ROUND.validators[position], decode(BallotCommitment, envelope.body, 1 << 10)), SEALED_MS
        )
    (post,) = effects_of(Transact, effects)
    assert isinstance(post, Transact) and isinstance(post.call, CommitRound) and post.call.positions == (0, 1, 2)
    log = BallotsCommitted(SEALED.event.at, 1, post.call.positions, post.call.commitments)
    ballots = []
    for machine in machines:
        assert not effects_of(Send, machine.handle(CommitmentsObserved(log), SEALED_MS)), "still secret"
        (said,) = effects_of(Send, machine.handle(CommitPhaseEnded(frozenset({0, 1, 2}), SEALED_AT_S + 9), SEALED_MS))
        assert isinstance(said, Send)
        ballots.append(decode(Ballot, said.envelope.body, 1 << 16))
    for position in (1, 2):
        effects = leader.handle(ROUND.say(ROUND.validators[position], ballots[position]), SEALED_MS)
    (settle,) = effects_of(Transact, effects)
    assert isinstance(settle, Transact) and settle.call == SettleRound((0, 1, 2), tuple(ballots))


def test_restart__keeps_its_promises() -> None:
    """P8: a restarted validator would sign another seal in the same view, or another ballot."""
    before = ROUND.validator(1)
    effects = [*before.handle(ROUND.say(FIRST, ROUND.proposal()), NOW_MS)]
    records = tuple(effect for effect in effects if isinstance(effect, Persist))
    after = ValidatorMachine(CONTEXT, SECOND, ROUND.setting.signer(SECOND))
    after.start(records, NOW_MS)
    for trainer in ROUND.trainers:
        after.handle(ROUND.say(trainer, ROUND.contribution(trainer)), NOW_MS)
    after.handle(BlobsFetched("", ROUND.blobs_of()), NOW_MS)
    fewer = {seat: root for seat, root in ROUND.roots.items() if seat != ROUND.trainers[0]}
    other = ROUND.proposal(0, [ROUND.have(v, fewer) for v in (FIRST, SECOND)], encode(ROUND.manifest(fewer)))
    assert not effects_of(Persist, after.handle(ROUND.say(FIRST, other), NOW_MS))
    again = after.handle(ROUND.say(FIRST, ROUND.proposal()), NOW_MS)
    assert [e for e in again if isinstance(e, Persist)] == [r for r in records if r.kind == SEAL_SIGNATURE]


def test_restart__after_the_vote_stands_by_it() -> None:
    """P8: a restarted validator would judge and vote anew."""
    before = validator_in(Phase.JUDGING)
    record = [e for e in before.handle(EvaluationFinished({0: False}), SEALED_MS) if isinstance(e, Persist)]
    after = ValidatorMachine(CONTEXT, FIRST, ROUND.setting.signer(FIRST))
    after.start(tuple(record), SEALED_MS)
    after.handle(SEALED, SEALED_MS)
    assert after.phase is Phase.VOTING and after._ballots.repeat() == before._ballots.repeat() != []


def test_restart__with_promises_of_another_fork() -> None:
    """A reorganisation that changed the round's trainers would end the node."""
    have = Persist(HAVE, "1", encode(Have(bytes(3), ())))
    machine = ValidatorMachine(CONTEXT, FIRST, ROUND.setting.signer(FIRST))
    machine.start((have,), NOW_MS)
    assert machine.handle(TimePassed(), NOW_MS) == ()


def test_reachable__who_comes_back_hears_it_again() -> None:
    """A validator that was cut off would miss what was said meanwhile."""
    machine, _ = leading()
    assert len(effects_of(Send, machine.handle(SeatReachable(SECOND, True), NOW_MS))) == 2, "Have and proposal"
    assert not effects_of(Send, machine.handle(TimePassed(), NOW_MS + REPEAT_MS - 1))
    assert effects_of(Send, machine.handle(TimePassed(), NOW_MS + REPEAT_MS))


def test_persist_first__keeps_the_order_otherwise() -> None:
    """P8: something would be said before it is kept, or two effects change places."""
    record, other = Persist("a", "", b""), Persist("b", "", b"")
    report, train = Report("x", "y"), Train(Stage.TRAINING, 1)
    assert persist_first([report, record, train, other]) == (record, other, report, train)
