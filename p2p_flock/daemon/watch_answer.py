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

from p2p_flock.alliance.evidence import describe_fault
from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.progress import Step, count_strikes
from p2p_flock.alliance.suspicion import compute_rejected_rounds, compute_runs
from p2p_flock.alliance.trainer import Phase as TrainerPhase
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.alliance.validator import Phase as ValidatorPhase
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.daemon.gas_book import GasBook
from p2p_flock.daemon.judging import Judged
from p2p_flock.daemon.purse import Holdings
from p2p_flock.daemon.round_report import count_survivors
from p2p_flock.daemon.tally import read_cpu_seconds
from p2p_flock.daemon.watch_messages import (
    WATCH_FORMAT,
    CostResult,
    CountsResult,
    EndedRoundResult,
    HoldingsResult,
    JudgementResult,
    RoundResult,
    StandingResult,
    WatchedAllianceResult,
    WatchResult,
)
from p2p_flock.daemon.watch_round import RunningRound
from p2p_flock.daemon.world import World
from p2p_flock.types import Assignment, CohortOutcome

if TYPE_CHECKING:
    from p2p_flock.daemon.session import AllianceSession

ENDED_ROUNDS_SHOWN = 12

_TRAINER_ACTIVITY = {
    TrainerPhase.COMPUTING: "training",
    TrainerPhase.MASKING: "publishing",
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
        self._rejections: tuple[int, int] | None = None  # (ended rounds by then, the own run)

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
        look = None if running is None or history.closed else RunningRound(self._world, session, running)
        activity = _activity(session, look, own)
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
            "activity": activity,
            "activity_text": _activity_text(session, activity),
            "activity_since_ms": self._activity_since_ms(session),
            "running": None if look is None else look.describe(),
            "rounds": self._ended_rounds(session, own),
            **describe_standing(session, address),
            "strikes": None if own is None else count_strikes(history, address),
            "rejections": None if own is None else self._count_rejections(history),
            "suspicion_bound": history.params.suspicion_bound,
            "privacy": session.budget.describe(history),
            "holdings": _holdings(session.purse.ask(), self._world.gas),
            "score_name": session.judge.worker.score_name,
            "local_only_note": session.scorekeeper.note,
        }

    def _count(self, history: AllianceHistory) -> None:
        if history is not self._counted_in:  # another alliance, or the log was folded anew after a reorganisation
            self._counted_in, self._counted_rounds, self._settled, self._counts = history, 0, 0, _no_counts()
            self._rejections = None
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

    def _count_rejections(self, history: AllianceHistory) -> int | None:
        """In a row, of the own cohorts; counted anew after a round only."""
        if not history.params.suspicion_bound:
            return None
        if self._rejections is None or self._rejections[0] != self._counted_rounds:
            run = compute_runs(history)[self._world.chain.address]
            self._rejections = (self._counted_rounds, run.rejections)
        return self._rejections[1]

    def _activity_since_ms(self, session: AllianceSession) -> int | None:
        metrics = session.metrics
        return None if metrics is None else self._chain_ms(metrics.started[metrics.phase])

    def _chain_ms(self, unix_s: float) -> int:
        return int(unix_s * 1000) + self._world.clock.offset_ms

    def _ended_rounds(self, session: AllianceSession, own: int | None) -> list[EndedRoundResult]:
        address = self._world.chain.address
        return [show_ended_round(session, record, address) for record in ended_rounds(session, ENDED_ROUNDS_SHOWN)]


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
    survivors = count_survivors(record, assignment)
    return {
        "round": number,
        "outcome": "settled" if settled is not None else "voided",
        "cohort_outcomes": [CohortOutcome(o).name.lower() for o in settled.outcomes] if settled is not None else [],
        "trainers": len(assignment.trainers) if assignment is not None else 0,
        "trainers_by_cohort": [len(cohort) for cohort in assignment.cohorts] if assignment is not None else [],
        "survivors": sum(survivors),
        "survivors_by_cohort": survivors,
        "votes_for": list(settled.votes_for) if settled is not None else [],
        "votes_against": list(settled.votes_against) if settled is not None else [],
        "model_digest": digests[1] if digests is not None else None,
        "seconds": ended.at.timestamp_s - record.opened.at.timestamp_s,
    }


def show_ended_round(session: AllianceSession, record: RoundRecord, address: bytes) -> EndedRoundResult:
    """The same with this node's part and judgement, as ``alliance.watch`` and ``alliance.history`` tell it."""
    assignment = session.history.assignment(record.opened.round)
    seat, score = _seat_of(record, address), session.scorekeeper.of(record.opened.round)
    return {
        **show_round(session, record),
        "role": None if assignment is None or seat is None else _role(assignment, seat),
        "judgement": _judgement(session.judge.judged.get(record.opened.round)),
        "own_score": score.own_score,
        "local_only_score": score.local_only_score,
    }


def describe_standing(session: AllianceSession | None, owner: bytes) -> StandingResult:
    """The fields of ``status`` about this member's seat and stake, from the log as far as it is folded."""
    if session is None:
        return {"standing": "none", "release_at_s": None, "suspended_for": [], "suspected_for": [], "slashed": None}
    standing, history = session.history.standing(owner), session.history
    suspended, slash = history.suspended.get(owner), history.slashed.get(owner)
    return {
        "standing": standing.state,
        "release_at_s": standing.release_at_s,
        "suspended_for": [] if suspended is None else [suspended.first_round, suspended.second_round],
        "suspected_for": list(compute_rejected_rounds(history, owner)),
        "slashed": None
        if slash is None
        else {
            "fault": describe_fault(slash.fault),
            "round": slash.round,
            "amount": str(slash.amount),
            "transaction": _hex(slash.at.transaction),
        },
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


def _activity(session: AllianceSession, look: RunningRound | None, own: int | None) -> str:
    """What this node is doing, in one word of ``CONTROL.md``."""
    if session.history.closed:
        return "closed"
    if own is None:
        return "not_seated"
    if look is None:
        history = session.history
        return "awaiting_seats" if len(history.seats) < history.params.seat_count_min else "awaiting_round"
    if session.lineage.next_round < look.record.opened.round:
        return "catching_up"
    if look.progress is None:
        return "awaiting_beacon"
    if isinstance(look.machine, TrainerMachine):
        return _TRAINER_ACTIVITY[look.machine.phase]
    if isinstance(look.machine, ValidatorMachine):
        step = Step.UNMASK if look.machine.phase is ValidatorPhase.OPENING else look.progress.step
        return _VALIDATOR_ACTIVITY[step]
    entry = next((entry for entry in look.progress.seats if entry.seat == look.own_seat), None)
    if entry is None:
        return "joins_next_round"
    keys, owner = look.record.keys, look.record.seats[entry.seat].owner  # a validator needs one too (taking_part.py)
    return "no_mask_key" if not entry.is_eligible or (keys and keys.get(owner) is None) else "starting"


def _activity_text(session: AllianceSession, activity: str) -> str:
    """What the machine said last, or what is being fetched."""
    if activity == "catching_up":
        return session.describe_sync() or ""
    return session.metrics.report if session.metrics is not None else ""


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


def _holdings(holdings: Holdings | None, gas: GasBook) -> HoldingsResult | None:
    if holdings is None:
        return None
    return {
        "stake": str(holdings.stake),
        "claimable": str(holdings.claimable),
        "eth": str(holdings.eth),
        "flock": str(holdings.flock),
        "as_of_s": holdings.as_of_s,
        "earned_total": str(holdings.income.earned),
        "claimed_total": str(holdings.income.claimed),
        "gas_spent_wei": str(gas.spent_wei),
        "gas_since_s": gas.since_s,
    }


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
