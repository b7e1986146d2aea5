"""The validator's round as one machine: collect, agree on a seal, open, judge, vote, settle. See SPEC, "Validator".

Driven by ``daemon/driver.py`` and by the simulator. Events only record facts, in the part of the machine that they
belong to; what follows from the facts is decided in one place per phase (``_advance_*``), after every event and every
tick. So
any order of arrival leads to the same actions, and a restarted validator catches up by being told the same facts again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from heapq import heappop, heappush

from p2p_flock.alliance.accusing import describe_seal
from p2p_flock.alliance.balloting import BALLOT, BallotDesk
from p2p_flock.alliance.collecting import Collection, Stage
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.leading import Attendance
from p2p_flock.alliance.lost_trainers import LostTrainers
from p2p_flock.alliance.proposing import HAVE, SEAL_SIGNATURE, SealDesk
from p2p_flock.alliance.sealing import decode_sealed_manifest
from p2p_flock.alliance.watching import EVIDENCE, Watch
from p2p_flock.errors import DropReason, RemoteProtocolError, WireError
from p2p_flock.ports import (
    BlobsFetched,
    CohortOpened,
    CommitmentsObserved,
    CommitPhaseEnded,
    Effect,
    Evaluate,
    EvaluationFinished,
    Event,
    Fetch,
    MessageReceived,
    OpenCohort,
    Persist,
    Report,
    SealObserved,
    SeatReachable,
    Signer,
    TimePassed,
    TransactionEnded,
)
from p2p_flock.secagg.aggregator import UnmaskingReceived, Void
from p2p_flock.secagg.answer import get_sealed_entries
from p2p_flock.secagg.opening import Unopened
from p2p_flock.types import Vote
from p2p_flock.wire.messages import (
    CHUNK_BYTES,
    COMMITMENTS_BYTES_MAX,
    MANIFEST_BYTES_MAX,
    Ballot,
    BallotCommitment,
    Contribution,
    Have,
    Manifest,
    SealProposal,
    SealSignature,
    Unmasking,
)

TICK_MS = 200  # how often what it waits for is looked at; a look costs microseconds
REPEAT_MS = 2000  # how often what was said is said again
FETCH_RETRY_MS = 1000  # most pulls take a tenth of it; asking twice costs everybody the bytes twice


class Phase(Enum):
    """Where a validator stands in its round."""

    SEALING = "seal"  # collecting contributions, agreeing on the survivors
    OPENING = "unmask"  # sealed: gathering answers, opening each cohort
    JUDGING = "evaluate"  # the worker evaluates
    VOTING = "commit"  # ballot made: commit, reveal, settle


class ValidatorMachine:
    """One validator in one round.

    Attributes:
        phase: current phase.
        aggregates: what was opened: the digest of the aggregate's blob, which is in the own store, by cohort.
        manifest: the sealed one, once its content is here.
    """

    def __init__(self, context: RoundContext, seat: int, sign: Signer) -> None:
        self.context = context
        self.seat = seat
        self.phase = Phase.SEALING
        self.aggregates: dict[int, bytes] = {}
        self.manifest: Manifest | None = None
        self._taken_up: set[int] = set()  # cohorts being opened, opened, or given up
        self._pending: set[int] = set()  # cohorts whose opening has not come back yet
        self._attendance = Attendance()
        self._collection = Collection(context)
        self._lost_trainers = LostTrainers(context, seat)
        self._seals = SealDesk(context, seat, sign, self._attendance, self._lost_trainers)
        self._ballots = BallotDesk(context, seat, sign, self._attendance)
        self._watch = Watch(context, seat)
        self._is_nonsense = False  # what was sealed is no manifest: there is nothing to open
        self._sealed: SealObserved | None = None
        self._next_tick_ms = 0
        self._repeat_at_ms = 0
        self._pulls: dict[str, tuple[int, Stage]] = {}  # tag -> whose contribution is being fetched, and what of it
        self._asked: dict[int, tuple[Stage, int | None]] = {}  # seat -> what was asked for last, when to ask once more
        self._retries: list[tuple[int, int]] = []  # (when, seat), a heap
        self._ripening: set[int] = set()  # cohorts in which something came since they were looked at
        self._pull_count = 0

    # --- what ``progress.py`` reads ----------------------------------------------------------------------------

    @property
    def collection(self) -> Collection:
        return self._collection

    @property
    def seals(self) -> SealDesk:
        return self._seals

    @property
    def ballots(self) -> BallotDesk:
        return self._ballots

    # --- the machine -------------------------------------------------------------------------------------------

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        """Begin, or begin again after a restart with what the journal holds of this round."""
        for record in records:
            if record.kind in (HAVE, SEAL_SIGNATURE):
                self._seals.restore(record)
            elif record.kind == BALLOT:
                self._ballots.restore(record)
            elif record.kind == EVIDENCE:
                self._watch.restore(record)
        self._next_tick_ms = now_ms + TICK_MS
        self._repeat_at_ms = now_ms + REPEAT_MS
        return (Report("collect", "waiting for masked updates"),)

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        """Take one event; facts first, then what follows from all facts."""
        effects: list[Effect] = []
        cell = _TABLE[self.phase].get(type(event))
        if cell is not None:
            action, followers = cell
            allowed = followers or (self.phase,)
            effects += action(self, event, now_ms)
            assert self.phase in allowed
        advance, allowed = _ADVANCE[self.phase]
        effects += advance(self, now_ms)
        assert self.phase in allowed
        if now_ms >= self._repeat_at_ms:
            self._repeat_at_ms = now_ms + REPEAT_MS
            effects += self._seals.repeat() if self.phase is Phase.SEALING else self._ballots.repeat()
        self._next_tick_ms = now_ms + TICK_MS
        return persist_first(effects)

    def deadline_ms(self) -> int | None:
        return self._next_tick_ms

    # --- facts -------------------------------------------------------------------------------------------------

    def _reachable(self, event: Event, now_ms: int) -> list[Effect]:
        assert isinstance(event, SeatReachable)
        self._attendance.note_connection(event.seat, event.reachable, now_ms)
        self._lost_trainers.note_connection(event.seat, event.reachable, now_ms)
        if event.reachable:
            self._repeat_at_ms = now_ms  # whoever comes back missed what was said meanwhile
        return []

    def _message(self, event: Event, now_ms: int) -> list[Effect]:
        assert isinstance(event, MessageReceived)
        seat, message = event.envelope.seat, event.message
        self._attendance.note_heard(seat)
        effects = self._watch.note_message(event.envelope)
        try:
            match message:
                case Contribution():
                    if self.phase is Phase.SEALING and self._collection.announce(seat, message):
                        self._lost_trainers.note_progress(seat, now_ms)
                case Have():
                    self._seals.add_have(event.envelope, message)
                case SealProposal():
                    self._seals.add_proposal(seat, message)
                case SealSignature():
                    seal = self._seals.add_signature(seat, message)
                    if seal is not None:
                        statement = describe_seal(self.context, seal)
                        effects += self._watch.note_seal_signature(seat, statement, message.signature)
                case Unmasking():
                    effects += self._unmasking(seat, message)
                case BallotCommitment():
                    self._ballots.add_commitment(seat, message)
                case Ballot():
                    self._ballots.add_ballot(seat, message)
        except RemoteProtocolError as error:
            effects.append(Report(self.phase.value, str(error), error.culprit))
        if self.phase is Phase.SEALING and isinstance(message, Contribution | Have):
            effects += self._watch.show_contradictions(self._seals.named_roots(), seat)
        return effects

    def _blobs(self, event: Event, now_ms: int) -> list[Effect]:
        assert isinstance(event, BlobsFetched)
        self._ripening.update(range(len(self.context.cohorts)))
        seat, stage = self._pulls.pop(event.tag, (self.seat, None))
        if stage is not None and self._asked.get(seat) == (stage, None):
            self._asked[seat] = (stage, now_ms + FETCH_RETRY_MS)
            heappush(self._retries, (now_ms + FETCH_RETRY_MS, seat))
        if event.blobs or event.sizes:
            self._lost_trainers.note_progress(seat, now_ms)
        effects: list[Effect] = []
        if self._sealed is not None and self.manifest is None:
            effects += self._take_manifest(event.blobs)
        return effects + self._reports(self._collection.add_blobs(event.blobs, event.sizes))

    def _take_manifest(self, blobs: Mapping[bytes, bytes]) -> list[Effect]:
        assert self._sealed is not None
        sealed = self._sealed.event
        data = blobs.get(sealed.manifest_digest)
        if data is None:
            return []
        try:
            self.manifest = decode_sealed_manifest(self.context, data, sealed.survivors)
        except WireError as error:
            self._is_nonsense = True
            report = Report("unmask", f"the sealed manifest is not good: {error}")
            return [report, *self._watch.note_bad_manifest(sealed, data)]
        return self._reports(self._collection.seal(sealed.seal, self.manifest))

    def _unmasking(self, seat: int, message: Unmasking) -> list[Effect]:
        cohort = self.context.assignment.cohort_of(seat)
        self._ripening.add(cohort)
        return self._reports(self._collection.aggregators[cohort].handle(UnmaskingReceived(seat, message)))

    def _reports(self, faults: Sequence[RemoteProtocolError]) -> list[Effect]:
        """What an operator should read, and evidence where there is any; repeated messages stay unsaid."""
        effects: list[Effect] = []
        for fault in faults:
            if fault.reason is DropReason.DUPLICATE:
                continue
            effects.append(Report(self.phase.value, str(fault), fault.culprit))
            if fault.reason in (DropReason.BAD_SHARE, DropReason.BAD_DEALING) and fault.culprit is not None:
                effects += self._accuse(fault.culprit, fault.reason)
        return effects

    def _accuse(self, seat: int, reason: DropReason) -> list[Effect]:
        assert self._sealed is not None and self.manifest is not None  # answers are judged by what is sealed
        aggregator = self._collection.aggregators[self.context.assignment.cohort_of(seat)]
        if reason is DropReason.BAD_SHARE:
            return self._watch.note_bad_share(self._sealed.event, self.manifest, aggregator, seat)
        return self._watch.note_bad_dealing(self.manifest, aggregator, seat)

    def _seal_observed(self, event: Event, now_ms: int) -> list[Effect]:
        assert isinstance(event, SealObserved)
        self._sealed = event
        self._ballots.sealed(event.event.seal, event.event.view)
        effects = self._watch.note_sealed(event.event)
        if self._ballots.has_voted:  # restarted after the vote: the journalled ballot stands
            self.phase = Phase.VOTING
            return [*effects, Report("commit", "resumed with the ballot from the journal")]
        self.phase = Phase.OPENING
        return [*effects, Report("unmask", "sealed; waiting for the survivors' answers")]

    def _cohort_opened(self, event: Event, now_ms: int) -> list[Effect]:
        assert isinstance(event, CohortOpened)
        self._pending.discard(event.cohort)
        if isinstance(event.result, Unopened):
            text = f"cohort {event.cohort} cannot be opened: {event.result.reason.text}"
            return [Report("unmask", text), *self._reports(event.result.faults)]
        self.aggregates[event.cohort] = event.result.aggregate_digest
        return []

    def _evaluated(self, event: Event, now_ms: int) -> list[Effect]:
        assert isinstance(event, EvaluationFinished)
        votes = {cohort: Vote.YES if good else Vote.NO for cohort, good in event.accepted.items()}
        return self._vote(votes, event.grades, event.score_micro)

    def _vote(
        self, votes: Mapping[int, Vote], grades: Mapping[int, int] | None = None, score_micro: int = 0
    ) -> list[Effect]:
        self.phase = Phase.VOTING
        return self._ballots.vote(votes, grades or {}, score_micro, self.aggregates)

    def _commitments_observed(self, event: Event, now_ms: int) -> list[Effect]:
        assert isinstance(event, CommitmentsObserved)
        self._ballots.committed_on_chain(event.event.positions, event.event.commitments)
        return []

    def _commit_phase_ended(self, event: Event, now_ms: int) -> list[Effect]:
        assert isinstance(event, CommitPhaseEnded)
        self._ballots.commit_phase_ended(event.committed_positions, event.reveal_deadline_s, now_ms)
        return []

    def _transaction_ended(self, event: Event, now_ms: int) -> list[Effect]:
        assert isinstance(event, TransactionEnded)
        if not event.reason:
            return []
        if event.what == "seal":
            self._seals.post_failed(now_ms)
        else:
            self._ballots.post_failed(event.what, now_ms)
        return [Report(self.phase.value, f"{event.what}: {event.reason}")]

    def _time_passed(self, event: Event, now_ms: int) -> list[Effect]:
        return []  # whatever follows from time follows in _advance_*

    # --- what follows ------------------------------------------------------------------------------------------

    def _advance_sealing(self, now_ms: int) -> list[Effect]:
        effects = self._seals.advance(self._collection, now_ms)
        for seat, root, digest in self._seals.wanted_documents():
            self._collection.learn(seat, Contribution(root, digest))
        return effects + self._fetch(now_ms)

    def _advance_opening(self, now_ms: int) -> list[Effect]:
        assert self._sealed is not None
        effects = self._fetch(now_ms) + self._open_cohorts()
        late = self._is_nonsense or now_ms >= self.context.unmask_deadline_ms(self._sealed.event.at.timestamp_s)
        if self._pending or not (late or len(self._taken_up) == len(self.context.cohorts)):
            return effects
        self.phase = Phase.JUDGING
        if not self.aggregates:
            return effects + self._vote({})
        return [
            *effects,
            Evaluate(self.context.stage, dict(self.aggregates)),
            Report("evaluate", "judging the aggregate on private data"),
        ]

    def _open_cohorts(self) -> list[Effect]:
        """Open every cohort whose answers suffice; give up those that are void."""
        effects: list[Effect] = []
        if self.manifest is None:
            return effects
        ripening, self._ripening = sorted(self._ripening - self._taken_up), set()
        for index in ripening:
            aggregator = self._collection.aggregators[index]
            if isinstance(aggregator.phase, Void):
                self._taken_up.add(index)
            elif aggregator.is_recoverable() and self._holds_all_chunks(index):
                self._taken_up.add(index)
                opening = aggregator.prepare_opening(self._sum_bound(index))
                if isinstance(opening, Unopened):
                    effects += self._reports(opening.faults)
                else:
                    self._pending.add(index)
                    effects.append(OpenCohort(index, opening))
        return effects

    def _sealed_seats(self, cohort: int) -> tuple[int, ...]:
        assert self.manifest is not None
        return tuple(get_sealed_entries(self.context.cohorts[cohort], self.manifest))

    def _sum_bound(self, cohort: int) -> int:
        return self.context.sum_bound(cohort, self._sealed_seats(cohort))

    def _holds_all_chunks(self, cohort: int) -> bool:
        return all(self._collection.held_document(seat) is not None for seat in self._sealed_seats(cohort))

    def _advance_judging(self, now_ms: int) -> list[Effect]:
        assert self._sealed is not None
        if now_ms < self.context.evaluate_deadline_ms(self._sealed.event.at.timestamp_s):
            return self._ballots.advance(now_ms)
        return [*self._vote({}), Report("evaluate", "evaluation took too long: voted unavailable")]

    def _advance_voting(self, now_ms: int) -> list[Effect]:
        return self._ballots.advance(now_ms)

    def _fetch(self, now_ms: int) -> list[Effect]:
        """Ask for what is missing and not on its way already; again :data:`FETCH_RETRY_MS` after the answer.

        Each masked vector comes from its trainer, the first source; the other validators are for what it cannot give.
        Manifests, documents and commitments are read here; chunks and bundles go to the store, their sizes are told.
        """
        due = self._collection.take_changed()
        while self._retries and self._retries[0][0] <= now_ms:
            due.add(heappop(self._retries)[1])
        due.discard(self.seat)
        stages = [(seat, self._collection.open_stage(seat)) for seat in sorted(due)]
        wanted = [(seat, stage) for seat, stage in stages if stage is not None]
        if self._sealed is not None and self.manifest is None and not self._is_nonsense:
            wanted.append((self.seat, (self._sealed.event.manifest_digest, False)))
        others = tuple(seat for seat in self.context.assignment.validators if seat != self.seat)
        effects: list[Effect] = []
        for seat, stage in wanted:
            asked, again_at_ms = self._asked.get(seat, (None, 0))
            if asked == stage and (again_at_ms is None or now_ms < again_at_ms):
                continue  # on its way, or asked for a moment ago
            self._pull_count += 1
            tag = f"pull {self._pull_count}"
            self._pulls[tag], self._asked[seat] = (seat, stage), (stage, None)
            digests = stage[:1] if seat == self.seat else self._collection.missing(seat)
            is_read = not stage[1]  # the manifest, documents, commitments; chunks and bundles follow
            limit = max(MANIFEST_BYTES_MAX, COMMITMENTS_BYTES_MAX) if is_read else CHUNK_BYTES
            effects.append(Fetch(tag, digests, others if seat == self.seat else (seat, *others), limit, is_read))
        return effects


def persist_first(effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """The same effects, journal writes first: nothing is said before it is kept."""
    return tuple(sorted(effects, key=lambda effect: not isinstance(effect, Persist)))


_Action = Callable[[ValidatorMachine, Event, int], list[Effect]]
_Cell = tuple[_Action, tuple[Phase, ...]]
_STAYS: tuple[Phase, ...] = ()

# Event → what is recorded, and the phases that may follow from it alone; what is not in a phase's row is not recorded.
_ALWAYS: dict[type, _Cell] = {
    MessageReceived: (ValidatorMachine._message, _STAYS),
    BlobsFetched: (ValidatorMachine._blobs, _STAYS),
    SeatReachable: (ValidatorMachine._reachable, _STAYS),
    TransactionEnded: (ValidatorMachine._transaction_ended, _STAYS),
    CommitmentsObserved: (ValidatorMachine._commitments_observed, _STAYS),
    CommitPhaseEnded: (ValidatorMachine._commit_phase_ended, _STAYS),
    TimePassed: (ValidatorMachine._time_passed, _STAYS),
}

_TABLE: dict[Phase, dict[type, _Cell]] = {
    Phase.SEALING: {**_ALWAYS, SealObserved: (ValidatorMachine._seal_observed, (Phase.OPENING, Phase.VOTING))},
    Phase.OPENING: {**_ALWAYS, CohortOpened: (ValidatorMachine._cohort_opened, _STAYS)},
    Phase.JUDGING: {
        **_ALWAYS,
        CohortOpened: (ValidatorMachine._cohort_opened, _STAYS),
        EvaluationFinished: (ValidatorMachine._evaluated, (Phase.VOTING,)),
    },
    Phase.VOTING: {**_ALWAYS},
}

# What follows from all facts, after every event, and the phases that may follow then.
_ADVANCE: dict[Phase, tuple[Callable[[ValidatorMachine, int], list[Effect]], tuple[Phase, ...]]] = {
    Phase.SEALING: (ValidatorMachine._advance_sealing, (Phase.SEALING,)),
    Phase.OPENING: (ValidatorMachine._advance_opening, (Phase.OPENING, Phase.JUDGING, Phase.VOTING)),
    Phase.JUDGING: (ValidatorMachine._advance_judging, (Phase.JUDGING, Phase.VOTING)),
    Phase.VOTING: (ValidatorMachine._advance_voting, (Phase.VOTING,)),
}
