"""The answer to ``alliance.watch``: everything a watcher sees, from memory, in a few milliseconds.

Called by ``daemon/handlers.py``. Reads the session, its history and the running round's machine; waits for nobody,
changes nothing. Fields are explained in ``CONTROL.md``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.progress import (
    Item,
    Machine,
    RoundProgress,
    SeatProgress,
    Step,
    compute_progress,
    count_strikes,
)
from p2p_flock.alliance.trainer import Phase as TrainerPhase
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.alliance.validator import Phase as ValidatorPhase
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.chain.records import RoundPhase, RoundState
from p2p_flock.daemon.judging import Judged
from p2p_flock.daemon.purse import Holdings
from p2p_flock.daemon.tally import read_cpu_seconds
from p2p_flock.daemon.watch_messages import (
    WATCH_FORMAT,
    CohortResult,
    CostResult,
    CountsResult,
    EndedRoundResult,
    HoldingsResult,
    JudgementResult,
    ParticipantResult,
    RoundResult,
    RunningRoundResult,
    StepResult,
    WatchedAllianceResult,
    WatchResult,
)
from p2p_flock.daemon.world import World
from p2p_flock.types import Assignment, CohortOutcome

if TYPE_CHECKING:
    from p2p_flock.daemon.session import AllianceSession

ENDED_ROUNDS_SHOWN = 12
PARTICIPANTS_SHOWN_MAX = 256  # of 4,096 seats at most; whoever is waited for comes first
STRIKE_ROUNDS = 8  # looked back over; two in a row suspend

_TRAINER_ACTIVITY = {
    TrainerPhase.COMPUTING: "training",
    TrainerPhase.PREPARED: "publishing",
    TrainerPhase.CONTRIBUTED: "awaiting_seal",
    TrainerPhase.ANSWERING: "fetching_bundles",
    TrainerPhase.ANSWERED: "answered",
    TrainerPhase.ASIDE: "aside",
}
_VALIDATOR_ACTIVITY = {
    Step.TRAIN: "collecting",
    Step.SEAL: "sealing",
    Step.UNMASK: "opening",
    Step.EVALUATE: "judging",
    Step.COMMIT: "committing",
    Step.SETTLE: "settling",
}


class WatchAnswers:
    """See the module. Remembers how earlier rounds ended, so that a long history costs nothing per answer."""

    def __init__(self, world: World, started_at: float) -> None:
        self._world = world
        self._started_at = started_at
        self._counted_in: AllianceHistory | None = None
        self._counted_rounds = 0
        self._settled = 0
        self._counts: CountsResult = _no_counts()

    def answer(self, session: AllianceSession | None, warnings: Sequence[str]) -> WatchResult:
        """One frame."""
        world = self._world
        state = session.state if session is not None else None
        return {
            "format": WATCH_FORMAT,
            "now_ms": world.clock.now_ms(),
            "peer_id": world.net.peer_id,
            "address": _hex(world.chain.address),
            "uptime_s": int(time.time() - self._started_at),
            "connected_peers": len(world.net.connected()),
            "chain_id": world.config.chain.chain_id,
            "block": session.block if session is not None else None,
            "chain_time_s": state.timestamp_s if state is not None else None,
            "warnings": list(warnings),
            "cost": self._cost(),
            "alliance": None if session is None else self._alliance(session),
        }

    def _cost(self) -> CostResult:
        pid = self._world.tally.worker_pid()
        return {
            "cpu_seconds": round(time.process_time(), 3),
            "memory_bytes": read_memory(os.getpid()),
            "worker_cpu_seconds": None if pid is None else read_cpu_seconds(pid),
            "worker_memory_bytes": None if pid is None else read_memory(pid),
            "bytes_sent": self._world.net.bytes_sent,
            "bytes_received": self._world.net.bytes_received,
        }

    # --- the alliance ------------------------------------------------------------------------------------------

    def _alliance(self, session: AllianceSession) -> WatchedAllianceResult:
        history, address = session.history, self._world.chain.address
        self._count(history)
        own = next((index for index, entry in enumerate(history.seats) if entry.owner == address), None)
        running = history.rounds[-1] if history.rounds and not history.rounds[-1].ended else None
        progress = None if running is None or history.closed else self._progress(session, running)
        recent = history.rounds[-STRIKE_ROUNDS:]
        strikes = count_strikes(recent, [history.assignment(record.opened.round) for record in recent], address)
        return {
            "alliance": str(session.id),
            "task": session.handle.terms.task_name,
            "round_count": history.params.round_count,
            "settled_rounds": self._settled,
            "model_rounds": session.lineage.next_round,
            "opened_rounds": len(history.rounds),
            "seats": len(history.seats),
            "seat_count_min": history.params.seat_count_min,
            "closed": history.closed,
            "counts": self._counts,
            "model_digest": _hex(session.lineage.model.digest),
            "own_seat": own,
            "activity": _activity(session, running, progress, own),
            "activity_text": session.metrics.report if session.metrics is not None else "",
            "activity_since_ms": self._activity_since_ms(session),
            "running": None if running is None or history.closed else self._running(session, running, progress),
            "rounds": self._ended_rounds(session, own),
            "strikes": None if own is None else strikes,
            "holdings": _holdings(session.purse.ask()),
        }

    def _count(self, history: AllianceHistory) -> None:
        if history is not self._counted_in:  # another alliance, or the log was folded anew after a reorganisation
            self._counted_in, self._counted_rounds, self._settled, self._counts = history, 0, 0, _no_counts()
        while self._counted_rounds < len(history.rounds) and history.rounds[self._counted_rounds].ended:
            record = history.rounds[self._counted_rounds]
            self._counted_rounds += 1
            self._settled += record.settled is not None
            outcomes = record.settled.outcomes if record.settled is not None else ()
            if record.voided is not None or all(outcome == CohortOutcome.VOID for outcome in outcomes):
                self._counts["voided"] += 1
            elif CohortOutcome.ADOPTED in outcomes:
                self._counts["adopted"] += 1
            elif CohortOutcome.REJECTED in outcomes:
                self._counts["rejected"] += 1
            else:
                self._counts["undecided"] += 1

    def _activity_since_ms(self, session: AllianceSession) -> int | None:
        metrics = session.metrics
        return None if metrics is None else self._chain_ms(metrics.started[metrics.phase])

    def _chain_ms(self, unix_s: float) -> int:
        return int(unix_s * 1000) + self._world.clock.offset_ms

    def _ended_rounds(self, session: AllianceSession, own: int | None) -> list[EndedRoundResult]:
        shown: list[EndedRoundResult] = []
        for record in ended_rounds(session, ENDED_ROUNDS_SHOWN):
            assignment = session.history.assignment(record.opened.round)
            seat = _seat_of(record, self._world.chain.address)
            shown.append(
                {
                    **show_round(session, record),
                    "role": None if assignment is None or seat is None else _role(assignment, seat),
                    "judgement": _judgement(session.judge.judged.get(record.opened.round)),
                }
            )
        return shown

    # --- the running round -------------------------------------------------------------------------------------

    def _progress(self, session: AllianceSession, record: RoundRecord) -> RoundProgress | None:
        """``None`` while the beacon, and with it the roles, are not known."""
        assignment = session.history.assignment(record.opened.round)
        if assignment is None:
            return None
        machine = _machine(session, record)
        state = session.state
        is_revealing = _is_of(state, record) and state is not None and state.phase == RoundPhase.REVEALING
        now_ms = self._world.clock.now_ms()
        is_train_over = now_ms >= (record.opened.opens_at_s + session.history.params.train_seconds) * 1000
        return compute_progress(session.history.params, assignment, record, machine, is_revealing, is_train_over)

    def _running(
        self, session: AllianceSession, record: RoundRecord, progress: RoundProgress | None
    ) -> RunningRoundResult:
        if progress is None:  # who does what is not drawn yet
            progress = RoundProgress(Step.BEACON, True, (), (), ())
        own = _seat_of(record, self._world.chain.address)
        roles = {entry.seat: entry.role.value for entry in progress.seats}
        seats = sorted(progress.seats, key=lambda entry: not _is_awaited(progress, entry.seat))
        connected = self._world.net.connected()
        return {
            "round": record.opened.round,
            "stage": session.lineage.model.stage.name.lower(),
            "role": "none" if own is None else roles.get(own, "none"),
            "step": progress.step.value,
            "is_exact": progress.is_exact,
            "steps": self._steps(session, record, progress),
            "participants": [
                self._participant(session, record, progress, entry, own, connected)
                for entry in seats[:PARTICIPANTS_SHOWN_MAX]
            ],
            "participant_count": len(seats),
            "cohorts": [
                CohortResult(
                    cohort=cohort.cohort, trainers=cohort.trainers, held=cohort.held, survivors=cohort.survivors,
                    answered=cohort.answered, threshold=cohort.threshold,
                )
                for cohort in progress.cohorts
            ],
        }  # fmt: skip

    def _participant(
        self,
        session: AllianceSession,
        record: RoundRecord,
        progress: RoundProgress,
        entry: SeatProgress,
        own: int | None,
        connected: frozenset[str],
    ) -> ParticipantResult:
        seat = record.seats[entry.seat]
        return {
            "seat": entry.seat,
            "peer_id": seat.peer_id,
            "owner": _hex(seat.owner),
            "role": entry.role.value,
            "cohort": entry.cohort,
            "is_eligible": entry.is_eligible,
            "is_own": entry.seat == own,
            "is_connected": seat.peer_id in connected,
            "seen_seconds_ago": session.presence.seconds_since(seat.peer_id),
            "is_awaited": _is_awaited(progress, entry.seat),
            "items": {
                **{item.value: receipt.value for item, receipt in entry.items},
                **({Item.BUNDLE.value: "awaited"} if (entry.seat, Item.BUNDLE) in progress.awaited else {}),
            },
        }

    def _steps(self, session: AllianceSession, record: RoundRecord, progress: RoundProgress) -> list[StepResult]:
        order = list(Step)
        now = order.index(progress.step)
        started = self._step_starts(session, record)
        deadlines = _deadlines_s(session, record)
        hidden: tuple[Step, ...] = ()
        if not progress.is_exact:  # a trainer does not see how far the validators are
            hidden = (Step.SEAL,) if progress.step is Step.TRAIN else (Step.EVALUATE, Step.COMMIT)
        shown: list[StepResult] = []
        for index, step in enumerate(order):
            state = "done" if index < now else "running" if index == now else "coming"
            later = [started[other] for other in order[index + 1 :] if other in started]
            deadline_s = deadlines.get(step)
            shown.append(
                {
                    "step": step.value,
                    "state": "hidden" if state == "coming" and step in hidden else state,
                    "started_ms": started.get(step),
                    "ended_ms": later[0] if state == "done" and step in started and later else None,
                    "deadline_ms": None if deadline_s is None else deadline_s * 1000,
                }
            )
        return shown

    def _step_starts(self, session: AllianceSession, record: RoundRecord) -> dict[Step, int]:
        """When each step began as this node saw it, chain time in ms; missing where it could not see it."""
        metrics = session.metrics
        if metrics is None or metrics.round_number != record.opened.round:
            return {}
        starts: dict[Step, int] = {
            step: self._chain_ms(metrics.started[step.value])
            for step in Step
            if step is not Step.TRAIN and step.value in metrics.started
        }
        if "beacon" in metrics.ended:
            starts[Step.TRAIN] = self._chain_ms(metrics.ended["beacon"])
        return starts


# --- parts -----------------------------------------------------------------------------------------------------------


def ended_rounds(session: AllianceSession, count_max: int) -> list[RoundRecord]:
    """The last rounds that ended, newest first."""
    rounds = session.history.rounds[-count_max - 1 :]
    return [record for record in reversed(rounds) if record.ended][:count_max]


def show_round(session: AllianceSession, record: RoundRecord) -> RoundResult:
    """How a round ended, as ``alliance.show`` and ``alliance.watch`` tell it."""
    number = record.opened.round
    assignment = session.history.assignment(number)
    settled, ended = record.settled, record.settled or record.voided
    assert ended is not None
    digests = session.lineage.digests.get(number)
    return {
        "round": number,
        "outcome": "settled" if settled is not None else "voided",
        "cohort_outcomes": [CohortOutcome(o).name.lower() for o in settled.outcomes] if settled is not None else [],
        "trainers": len(assignment.trainers) if assignment is not None else 0,
        "survivors": len(record.manifest.entries) if record.manifest is not None else 0,
        "votes_for": list(settled.votes_for) if settled is not None else [],
        "votes_against": list(settled.votes_against) if settled is not None else [],
        "model_digest": digests[1] if digests is not None else None,
        "seconds": ended.at.timestamp_s - record.opened.at.timestamp_s,
    }


def read_memory(pid: int) -> int | None:
    """Resident memory of a process now, bytes; ``None`` if it ended or there is no /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _no_counts() -> CountsResult:
    return {"adopted": 0, "rejected": 0, "undecided": 0, "voided": 0}


def _seat_of(record: RoundRecord, address: bytes) -> int | None:
    return next((index for index, entry in enumerate(record.seats) if entry.owner == address), None)


def _role(assignment: Assignment, seat: int) -> str:
    return "validator" if seat in assignment.validators else "trainer"


def _is_awaited(progress: RoundProgress, seat: int) -> bool:
    return any(awaited == seat for awaited, _ in progress.awaited)


def _machine(session: AllianceSession, record: RoundRecord) -> Machine | None:
    driver = session.driver
    return driver.machine if driver is not None and driver.context.round == record.opened.round else None


def _is_of(state: RoundState | None, record: RoundRecord) -> bool:
    return state is not None and state.round == record.opened.round


def _activity(
    session: AllianceSession, running: RoundRecord | None, progress: RoundProgress | None, own: int | None
) -> str:
    """What this node is doing, in one word of ``CONTROL.md``."""
    history = session.history
    if history.closed:
        return "closed"
    if own is None:
        return "not_seated"
    if running is None:
        return "awaiting_seats"
    if session.lineage.next_round < running.opened.round:
        return "catching_up"
    if progress is None:
        return "awaiting_beacon"
    machine = _machine(session, running)
    if isinstance(machine, TrainerMachine):
        return _TRAINER_ACTIVITY[machine.phase]
    if isinstance(machine, ValidatorMachine):
        step = Step.UNMASK if machine.phase is ValidatorPhase.OPENING else progress.step
        return _VALIDATOR_ACTIVITY[step]
    entry = next(
        (entry for entry in progress.seats if running.seats[entry.seat].owner == history.seats[own].owner), None
    )
    if entry is None:
        return "joins_next_round"
    return "starting" if entry.is_eligible else "no_mask_key"


def _deadlines_s(session: AllianceSession, record: RoundRecord) -> dict[Step, int]:
    """Each step's deadline on the chain's clock, as far as it is fixed yet."""
    params, opened, state = session.history.params, record.opened, session.state
    deadlines = {Step.BEACON: opened.opens_at_s, Step.TRAIN: opened.opens_at_s + params.train_seconds}
    deadlines[Step.SEAL] = deadlines[Step.TRAIN] + params.seal_seconds * params.validator_count
    if record.sealed is not None:
        deadlines[Step.UNMASK] = record.sealed.at.timestamp_s + params.unmask_seconds
        deadlines[Step.EVALUATE] = deadlines[Step.UNMASK] + params.evaluate_seconds
        if state is not None and _is_of(state, record) and state.phase in (RoundPhase.SEALED, RoundPhase.REVEALING):
            deadlines[Step.COMMIT] = state.commit_deadline_s
            if state.phase == RoundPhase.REVEALING:
                deadlines[Step.SETTLE] = state.reveal_deadline_s
    return deadlines


def _judgement(judged: Judged | None) -> JudgementResult | None:
    if judged is None:
        return None
    return {
        "loss_before": judged.loss_before,
        "score_before": judged.score_before,
        "losses_after": {str(cohort): loss for cohort, loss in judged.losses_after.items()},
        "scores_after": {str(cohort): score for cohort, score in judged.scores_after.items()},
        "accepted": {str(cohort): accepted for cohort, accepted in judged.accepted.items()},
    }


def _holdings(holdings: Holdings | None) -> HoldingsResult | None:
    if holdings is None:
        return None
    return {
        "stake": str(holdings.stake),
        "release_at_s": holdings.release_at_s or None,
        "claimable": str(holdings.claimable),
        "eth": str(holdings.eth),
        "flock": str(holdings.flock),
        "as_of_s": holdings.as_of_s,
    }


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
