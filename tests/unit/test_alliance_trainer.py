"""Every cell of the trainer's table, ignored ones included, and what it finds in its journal after a restart."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.trainer import (
    _TABLE,
    CONTRIBUTION,
    LAST_CALL_PERMILLE,
    RESEND_MS,
    SECRETS,
    UNMASKING,
    Phase,
    TrainerMachine,
    compute_training_seed,
)
from p2p_flock.chain_events import BallotsCommitted, RoundSealed
from p2p_flock.crypto.suite import sha256
from p2p_flock.crypto.vectors import Vector
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
    Train,
    TransactionEnded,
    UpdateComputed,
    UpdateMasked,
)
from p2p_flock.secagg.contributor import PreparedContribution
from p2p_flock.secagg.opening import Unopened
from p2p_flock.testing.alliance import digest_of, make_params, make_setting
from p2p_flock.types import Stage
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import Unmasking
from tests.unit.alliance_round import NOW_MS, SEALED_AT_S, ContributedRound, effects_of, make_round
from tests.unit.lone_node import LoneNode

ROUND = make_round()
CONTEXT = ROUND.context
SEAT = ROUND.trainers[0]
VALUES = ROUND.setting.value_of(SEAT)
ENTROPY = digest_of("entropy", SEAT)
SEALED_MS = SEALED_AT_S * 1000
LATE_MS = CONTEXT.seal_deadline_ms

EVENTS: dict[type, Event] = {
    TimePassed: TimePassed(),
    type(ROUND.say(ROUND.validators[0], ROUND.proposal())): ROUND.say(ROUND.validators[0], ROUND.proposal()),
    UpdateComputed: UpdateComputed(VALUES, digest_of("entropy")),
    UpdateMasked: UpdateMasked((bytes(32),)),
    BlobsFetched: BlobsFetched("", {}),
    SealObserved: SealObserved(ROUND.sealed()),
    CommitmentsObserved: CommitmentsObserved(BallotsCommitted(ROUND.sealed().at, 1, (), ())),
    CommitPhaseEnded: CommitPhaseEnded(frozenset(), 0),
    CohortOpened: CohortOpened(0, Unopened(AbortReason.OUT_OF_RANGE)),
    EvaluationFinished: EvaluationFinished({}),
    TransactionEnded: TransactionEnded("seal", ""),
    SeatReachable: SeatReachable(0, False),
}


class Journal:
    """Runs a trainer and keeps what it persists."""

    def __init__(self, context: RoundContext = CONTEXT, seat: int = SEAT, records: Sequence[Persist] = ()) -> None:
        setting = ROUND.setting
        self.records = list(records)
        self.node = LoneNode(seat)
        self.machine = TrainerMachine(context, seat, setting.signer(seat), setting.mask_secrets[seat])
        self.started = self._note(self.machine.start(tuple(records), NOW_MS))

    def _note(self, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        self.records += [effect for effect in effects if isinstance(effect, Persist)]
        return effects

    def tell(self, event: Event, now_ms: int = NOW_MS) -> tuple[Effect, ...]:
        return self._note(self.machine.handle(event, now_ms))

    def mask(self, values: Vector[np.floating] = VALUES, entropy: bytes = ENTROPY) -> UpdateMasked:
        """Hand over an update and mask it as the driver does."""
        (effect,) = self.tell(UpdateComputed(values, entropy))
        assert isinstance(effect, MaskUpdate)
        return self.node.mask(effect)


def trainer_in(phase: Phase) -> Journal:
    """A trainer in this phase. The other trainers' contributions are those of ROUND."""
    journal = Journal()
    if phase is Phase.COMPUTING:
        return journal
    if phase is Phase.ASIDE:
        journal.tell(SealObserved(ROUND.sealed()))
        return journal
    masked = journal.mask()
    if phase is Phase.MASKING:
        return journal
    journal.tell(masked)
    if phase is Phase.PREPARED:
        return journal
    journal.tell(TimePassed())
    if phase is Phase.CONTRIBUTED:
        return journal
    journal.tell(SealObserved(sealed_with(journal)), SEALED_MS)
    if phase is Phase.ANSWERED:
        answer(journal)
    assert journal.machine.phase is phase
    return journal


def round_with(journal: Journal) -> ContributedRound:
    """ROUND with what this trainer really contributed."""
    changed = ContributedRound(ROUND.setting)
    changed.__dict__["made"] = {**ROUND.made, SEAT: rebuilt(journal)}
    return changed


def rebuilt(journal: Journal) -> PreparedContribution:
    machine = journal.machine
    assert machine._secrets is not None
    made = ROUND.made[SEAT]
    document = replace(made.document, next_mask_key=machine._secrets.next_mask_key)
    return replace(
        made, root=machine._secrets.root, document_digest=machine._secrets.document_digest, document=document
    )


def sealed_with(journal: Journal) -> RoundSealed:
    return round_with(journal).sealed()


def blobs_with(journal: Journal) -> dict[bytes, bytes]:
    manifest = encode(round_with(journal).manifest())
    return {sha256(manifest): manifest, **ROUND.blobs_of(seat for seat in ROUND.made if seat != SEAT)}


def answer(journal: Journal, now_ms: int = SEALED_MS) -> tuple[Effect, ...]:
    """Fetch in three steps: manifest, documents, bundles."""
    blobs = blobs_with(journal)
    effects: tuple[Effect, ...] = ()
    for _ in range(3):
        effects = journal.tell(BlobsFetched("unmask", blobs), now_ms)
    return effects


# --- the table ---------------------------------------------------------------------------------------------------

IGNORED = [(phase, kind) for phase, kind in itertools.product(Phase, EVENTS) if kind not in _TABLE[phase]]


@pytest.mark.parametrize(("phase", "kind"), IGNORED, ids=lambda value: getattr(value, "name", None) or value.__name__)
def test_trainer__ignores(phase: Phase, kind: type) -> None:
    """A late or foreign event would change what a trainer says."""
    journal = trainer_in(phase)
    deadline_ms = journal.machine.deadline_ms()
    assert journal.tell(EVENTS[kind], SEALED_MS) == ()
    assert (journal.machine.phase, journal.machine.deadline_ms()) == (phase, deadline_ms)


def test_trainer__table_names_every_phase_and_known_events() -> None:
    """A phase or event without a cell would be forgotten."""
    assert set(_TABLE) == set(Phase)
    assert {kind for cells in _TABLE.values() for kind in cells} <= set(EVENTS)


# --- computing ---------------------------------------------------------------------------------------------------


def test_computing__trains_from_a_seed_that_all_can_derive() -> None:
    """A run could not be replayed."""
    started = Journal().started
    assert started[0] == Train(Stage.TRAINING, compute_training_seed(CONTEXT, SEAT))
    assert compute_training_seed(CONTEXT, SEAT) != compute_training_seed(CONTEXT, SEAT + 1) < 2**63
    assert Journal().machine.deadline_ms() == LATE_MS


def test_computing__update_is_journalled_then_stored_then_said() -> None:
    """P8: a contribution would be announced that a restart cannot stand by, or that nobody can fetch."""
    journal = Journal()
    prepared = journal.tell(journal.mask())
    assert len(journal.node.blobs) == 1, "the masked chunk waits in the store, its digest unknown to all"
    assert [type(effect) for effect in prepared] == [Persist, StoreBlobs] and journal.machine.phase is Phase.PREPARED
    assert journal.machine.deadline_ms() == NOW_MS, "goes on as soon as the blobs are stored"
    announced = journal.tell(TimePassed())
    assert [type(effect) for effect in announced] == [Persist, Send, Report]
    assert [(p.kind, p.secret) for p in journal.records] == [(SECRETS, True), (CONTRIBUTION, False)]
    sent = announced[1]
    assert isinstance(sent, Send) and sent.seats == ROUND.validators
    assert encode(sent.envelope) == journal.records[1].body
    assert journal.machine.phase is Phase.CONTRIBUTED and journal.machine.next_mask_secret is not None


@pytest.mark.parametrize(("event", "now_ms"), [(TimePassed(), LATE_MS), (EVENTS[SealObserved], NOW_MS)])
def test_prepared__steps_aside(event: Event, now_ms: int) -> None:
    """A masked vector would be announced that can only be opened against its trainer."""
    journal = trainer_in(Phase.PREPARED)
    assert [type(effect) for effect in journal.tell(event, now_ms)] == [Report]
    assert journal.machine.phase is Phase.ASIDE


@pytest.mark.parametrize(
    ("event", "now_ms"),
    [
        (EVENTS[UpdateComputed], LATE_MS),
        (UpdateComputed(VALUES[:-1], digest_of("entropy")), NOW_MS),
        (EVENTS[SealObserved], NOW_MS),
        (TimePassed(), LATE_MS),
    ],
    ids=["too late", "too short", "sealed meanwhile", "deadline"],
)
def test_computing__steps_aside(event: Event, now_ms: int) -> None:
    """A masked vector would appear that can only ever be opened against its trainer, or garble the sum."""
    journal = Journal()
    effects = journal.tell(event, now_ms)
    assert [type(effect) for effect in effects] == [Report] and journal.machine.phase is Phase.ASIDE
    assert journal.machine.deadline_ms() is None and journal.machine.next_mask_secret is None


@pytest.mark.parametrize(
    ("event", "now_ms"),
    [(UpdateMasked((), "not finite"), NOW_MS), (EVENTS[SealObserved], NOW_MS), (TimePassed(), LATE_MS)],
    ids=["not finite", "sealed meanwhile", "deadline"],
)
def test_masking__steps_aside(event: Event, now_ms: int) -> None:
    """A masked vector would appear that can only ever be opened against its trainer, or garble the sum."""
    journal = trainer_in(Phase.MASKING)
    assert [type(effect) for effect in journal.tell(event, now_ms)] == [Report]
    assert journal.machine.phase is Phase.ASIDE and journal.machine.next_mask_secret is None


def test_masking__refuses_values_that_are_not_finite() -> None:
    """One diverged member would garble the cohort's sum."""
    masked = Journal().mask(VALUES * np.nan)
    assert masked.problem and not masked.chunk_digests


def test_computing__waits_until_the_deadline() -> None:
    """A slow trainer would give up too soon."""
    journal = Journal()
    assert journal.tell(TimePassed(), LATE_MS - 1) == () and journal.machine.phase is Phase.COMPUTING


def test_start__without_a_usable_key_or_cohort_is_aside() -> None:
    """A trainer would train for a cohort that cannot be opened, or crash for want of a key."""
    keyless = make_setting(keyless=[SEAT]).context
    assert Journal(keyless).machine.phase is Phase.ASIDE
    few = make_setting(keyless=ROUND.trainers[1:4]).context
    assert Journal(few).machine.phase is Phase.ASIDE


def test_computing__statistics_are_contributed_too() -> None:
    """Round 0 could not collect."""
    setting = make_setting(is_training=False)
    journal = Journal(setting.context)
    (effect,) = journal.tell(UpdateComputed(setting.value_of(SEAT), digest_of("entropy")))
    assert isinstance(effect, MaskUpdate)
    (lanes,) = effect.encoder.encode(400)
    assert lanes.size == 3
    assert int(np.abs(lanes.view(np.int32)).max()) <= make_params().levels_in(Stage.STATISTICS), "weighted 1"


# --- contributed -------------------------------------------------------------------------------------------------


def test_contributed__repeats_the_same_bytes() -> None:
    """A lost announcement would cost the round."""
    journal = trainer_in(Phase.CONTRIBUTED)
    assert journal.machine.deadline_ms() == NOW_MS + RESEND_MS
    assert journal.tell(TimePassed(), NOW_MS + RESEND_MS - 1) == ()
    (again,) = journal.tell(TimePassed(), NOW_MS + RESEND_MS)
    assert isinstance(again, Send) and encode(again.envelope) == journal.records[1].body
    assert journal.machine.deadline_ms() == NOW_MS + 2 * RESEND_MS


def test_contributed__good_seal_is_followed() -> None:
    """Nobody would ever unmask."""
    journal = trainer_in(Phase.CONTRIBUTED)
    sealed = sealed_with(journal)
    effects = journal.tell(SealObserved(sealed), SEALED_MS)
    assert journal.machine.phase is Phase.ANSWERING
    (fetch,) = effects_of(Fetch, effects)
    assert isinstance(fetch, Fetch) and fetch.digests == (sealed.manifest_digest,) and fetch.seats == ROUND.validators


@pytest.mark.parametrize(
    "change",
    [
        {"seed": bytes(32)},
        {"seal": bytes(32)},
        {"view": 1},
        {"survivors": (7,)},
        {"manifest_digest": bytes(32)},
        {"signatures": (bytes(65), bytes(65))},
        {"positions": (0, 2)},
        {"positions": (0,), "signatures": (bytes(65),)},
    ],
    ids=lambda change: " ".join(change),
)
def test_contributed__false_seal_is_not_answered(change: dict[str, bytes]) -> None:
    """A false RPC endpoint could choose the survivors and open single trainers."""
    journal = trainer_in(Phase.CONTRIBUTED)
    effects = journal.tell(SealObserved(replace(sealed_with(journal), **change)), SEALED_MS)  # type: ignore[arg-type]
    assert journal.machine.phase is Phase.ASIDE and not effects_of(Fetch, effects)


# --- answering ---------------------------------------------------------------------------------------------------


def test_answering__fetches_manifest_then_documents_then_bundles() -> None:
    """A survivor would answer from bytes that the seal does not name, or fetch for ever."""
    journal = trainer_in(Phase.ANSWERING)
    blobs, asked = blobs_with(journal), []
    wanted = (sealed_with(journal).manifest_digest,)
    effects: tuple[Effect, ...] = ()
    while wanted:
        effects = journal.tell(BlobsFetched("unmask", {digest: blobs[digest] for digest in wanted}), SEALED_MS)
        fetches = [effect for effect in effects if isinstance(effect, Fetch)]
        wanted = fetches[0].digests if fetches else ()
        asked.append(len(wanted))
    assert asked == [4, 4, 0], "four documents, then four bundles"
    assert [type(effect) for effect in effects] == [Persist, Send, Report]
    assert journal.records[-1].kind == UNMASKING and journal.machine.phase is Phase.ANSWERED


def test_answering__asks_again_for_what_did_not_come() -> None:
    """One lost blob would silence a survivor."""
    journal = trainer_in(Phase.ANSWERING)
    assert journal.tell(BlobsFetched("unmask", {}), SEALED_MS) == ()
    due_ms = journal.machine.deadline_ms()
    assert due_ms is not None and journal.tell(TimePassed(), due_ms - 1) == ()
    assert [type(effect) for effect in journal.tell(TimePassed(), due_ms)] == [Fetch]


def test_answering__at_the_last_call_says_what_it_can() -> None:
    """One missing bundle would silence a survivor, and t of them a cohort."""
    journal = trainer_in(Phase.ANSWERING)
    blobs = blobs_with(journal)
    unreachable = ROUND.trainers[1]
    missing = ROUND.blobs_of([unreachable])
    partly = {digest: data for digest, data in blobs.items() if digest not in missing}
    for _ in range(3):
        journal.tell(BlobsFetched("unmask", partly), SEALED_MS)
    assert journal.machine.phase is Phase.ANSWERING
    last_call_ms = SEALED_MS + CONTEXT.params.unmask_seconds * LAST_CALL_PERMILLE
    assert not effects_of(Send, journal.tell(TimePassed(), last_call_ms - 1))
    effects = journal.tell(TimePassed(), last_call_ms)
    assert journal.machine.phase is Phase.ANSWERED
    (said,) = effects_of(Send, effects)
    assert isinstance(said, Send)
    owners = {item.owner for item in decode(Unmasking, said.envelope.body, 1 << 20).items}
    assert owners == set(ROUND.trainers) - {unreachable}
    assert [e.culprit for e in effects if isinstance(e, Report) and e.culprit is not None] == [unreachable]


@pytest.mark.parametrize("is_without_us", [True, False])
def test_answering__refuses_a_seal_that_is_not_ours(is_without_us: bool) -> None:
    """A trainer that was left out, or of which another contribution was sealed, would open itself."""
    journal = trainer_in(Phase.CONTRIBUTED)
    chosen = [seat for seat in ROUND.made if seat != SEAT] if is_without_us else None
    seal = ROUND.seal(0, chosen)  # ROUND's own contribution of SEAT is another one than the journal's
    journal.tell(SealObserved(ROUND.sealed(seal)), SEALED_MS)
    manifest = encode(seal.manifest)
    blobs = {**blobs_with(journal), seal.manifest_digest: manifest}
    effects: tuple[Effect, ...] = ()
    for _ in range(3):
        effects += journal.tell(BlobsFetched("unmask", blobs), SEALED_MS)
    assert journal.machine.phase is Phase.ASIDE and not effects_of(Send, effects)
    assert not [record for record in journal.records if record.kind == UNMASKING]


def test_answering__refuses_a_bad_manifest() -> None:
    """Q validators that sign nonsense would end the node."""
    journal = trainer_in(Phase.ANSWERING)
    sealed = sealed_with(journal)
    effects = journal.tell(BlobsFetched("unmask", {sealed.manifest_digest: b"\xc0"}), SEALED_MS)
    assert journal.machine.phase is Phase.ASIDE and [type(effect) for effect in effects] == [Report]


# --- answered, aside, restart ------------------------------------------------------------------------------------


def test_answered__repeats_the_same_bytes() -> None:
    """A lost answer would cost the cohort its sum."""
    journal = trainer_in(Phase.ANSWERED)
    due_ms = journal.machine.deadline_ms()
    assert due_ms is not None and journal.tell(TimePassed(), due_ms - 1) == ()
    (again,) = journal.tell(TimePassed(), due_ms)
    assert isinstance(again, Send) and encode(again.envelope) == journal.records[-1].body


@pytest.mark.parametrize("phase", [Phase.CONTRIBUTED, Phase.ANSWERING, Phase.ANSWERED])
def test_restart__goes_on_with_the_same_bytes(phase: Phase) -> None:
    """P8: a killed trainer could not unmask any more, or would say something else."""
    before = trainer_in(phase)
    after = Journal(records=before.records)
    sent = [effect for effect in after.started if isinstance(effect, Send)]
    assert [encode(effect.envelope) for effect in sent] == [before.records[-1].body]
    if phase is Phase.ANSWERED:
        assert after.machine.phase is Phase.ANSWERED
        return
    assert after.machine.phase is Phase.CONTRIBUTED
    after.tell(SealObserved(sealed_with(before)), SEALED_MS)
    answer(after)
    answer(before) if phase is Phase.ANSWERING else before.tell(SealObserved(sealed_with(before)), SEALED_MS)
    if phase is Phase.CONTRIBUTED:
        answer(before)
    assert after.records[-1] == before.records[-1] and after.records[-1].kind == UNMASKING


def test_restart__between_the_two_journals_begins_afresh() -> None:
    """A node killed after its secrets were kept, and before its contribution was, would contradict its journal."""
    before = trainer_in(Phase.CONTRIBUTED)
    after = Journal(records=before.records[:1])
    assert after.machine.phase is Phase.COMPUTING
    after.tell(after.mask(entropy=digest_of("other entropy")))
    after.tell(TimePassed())
    assert len({(record.kind, record.key) for record in after.records}) == 3, "no record is written twice"
    again = Journal(records=after.records)
    assert again.machine.phase is Phase.CONTRIBUTED and again.machine.next_mask_secret == after.machine.next_mask_secret


def test_restart__without_its_secrets_is_aside() -> None:
    """A node restored from half a backup would end with an error, or contribute twice."""
    before = trainer_in(Phase.CONTRIBUTED)
    assert Journal(records=before.records[1:]).machine.phase is Phase.ASIDE


def test_restart__on_another_fork_is_aside() -> None:
    """A reorganisation would end the node, or let it contribute twice to one round number."""
    before = trainer_in(Phase.CONTRIBUTED)
    fork = make_setting(salt=next(s for s in range(1, 50) if SEAT in make_setting(salt=s).context.trainers)).context
    assert Journal(fork, records=before.records).machine.phase is Phase.ASIDE


def test_aside__stays_silent() -> None:
    """A trainer that gave up would speak after all."""
    journal = trainer_in(Phase.ASIDE)
    for event in EVENTS.values():
        assert journal.tell(event, LATE_MS) == ()
