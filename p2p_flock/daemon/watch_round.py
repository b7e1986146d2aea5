"""The running round in the answer to ``alliance.watch``: its steps with their times, its participants.

Called by ``daemon/watch_answer.py``. Reads the history, the machine's progress (``alliance/progress.py``) and what the
node measured; changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_flock.alliance.history import RoundRecord
from p2p_flock.alliance.progress import Item, Machine, RoundProgress, SeatProgress, Step, compute_progress
from p2p_flock.chain.records import RoundPhase
from p2p_flock.daemon.progress import Work
from p2p_flock.daemon.watch_messages import (
    CohortResult,
    ParticipantResult,
    RunningRoundResult,
    StepResult,
    WorkResult,
)
from p2p_flock.daemon.world import World

if TYPE_CHECKING:
    from p2p_flock.daemon.session import AllianceSession

PARTICIPANTS_SHOWN_MAX = 256  # of 4,096 seats at most; whoever is waited for comes first


class RunningRound:
    """One look at the running round.

    Attributes:
        machine: this node's part in it, if it has one.
        progress: ``None`` while the beacon, and with it the roles, are not known.
        own_seat: in the round's frozen table.
    """

    def __init__(self, world: World, session: AllianceSession, record: RoundRecord) -> None:
        self._world, self._session, self.record = world, session, record
        driver, state = session.driver, session.state
        is_own = driver is not None and driver.context.round == record.opened.round
        self.machine: Machine | None = driver.machine if driver is not None and is_own else None
        self._state = state if state is not None and state.round == record.opened.round else None
        address = world.chain.address
        self.own_seat = next((index for index, entry in enumerate(record.seats) if entry.owner == address), None)
        self.progress = self._compute_progress()

    def _compute_progress(self) -> RoundProgress | None:
        history, opened = self._session.history, self.record.opened
        assignment = history.assignment(opened.round)
        if assignment is None:
            return None
        return compute_progress(
            history.params,
            assignment,
            self.record,
            self.machine,
            is_revealing=self._state is not None and self._state.phase == RoundPhase.REVEALING,
            is_train_over=self._world.clock.now_ms() >= (opened.opens_at_s + history.params.train_seconds) * 1000,
        )

    def describe(self) -> RunningRoundResult:
        """The round as the watcher is told."""
        progress = self.progress or RoundProgress(Step.BEACON, True, (), (), ())
        awaited = {seat for seat, _ in progress.awaited}
        connected = self._world.net.connected()
        seats = sorted(progress.seats, key=lambda entry: entry.seat not in awaited)
        own = [entry.role.value for entry in seats if entry.seat == self.own_seat]
        return {
            "round": self.record.opened.round,
            "stage": self._session.lineage.model.stage.name.lower(),
            "role": own[0] if own else "none",
            "step": progress.step.value,
            "is_exact": progress.is_exact,
            "steps": self._steps(progress),
            "participants": [
                self._participant(entry, progress, entry.seat in awaited, connected)
                for entry in seats[:PARTICIPANTS_SHOWN_MAX]
            ],
            "participant_count": len(seats),
            "cohorts": [
                CohortResult(
                    cohort=cohort.cohort,
                    trainers=cohort.trainers,
                    held=cohort.held,
                    survivors=cohort.survivors,
                    answered=cohort.answered,
                    threshold=cohort.threshold,
                )
                for cohort in progress.cohorts
            ],
            "work": self._work(progress),
        }

    def _work(self, progress: RoundProgress) -> list[WorkResult]:
        """What this node does itself and how far it is."""
        pull = self._session.sync.progress.look()
        works = [*self._session.judge.works.current(), *([] if pull is None else [pull]), *self._unmasking(progress)]
        offset_ms = self._world.clock.offset_ms
        return [
            {
                "what": work.what,
                "done": work.done,
                "total": work.total,
                "unit": work.unit,
                "started_ms": int(work.started_s * 1000) + offset_ms,
            }
            for work in works
        ]

    def _unmasking(self, progress: RoundProgress) -> list[Work]:
        """A validator's wait for answers: as many as open every cohort's sum."""
        open_cohorts = [cohort for cohort in progress.cohorts if cohort.answered is not None]
        metrics = self._session.metrics
        if progress.step is not Step.UNMASK or not open_cohorts or metrics is None:
            return []
        total = sum(cohort.threshold for cohort in open_cohorts)
        done = sum(min(cohort.answered or 0, cohort.threshold) for cohort in open_cohorts)
        return [Work("unmasking", "shares", done, total, metrics.started.get("unmask", metrics.started["beacon"]))]

    def _participant(
        self, entry: SeatProgress, progress: RoundProgress, is_awaited: bool, connected: frozenset[str]
    ) -> ParticipantResult:
        seat = self.record.seats[entry.seat]
        items = {item.value: receipt.value for item, receipt in entry.items}
        if (entry.seat, Item.BUNDLE) in progress.awaited:
            items[Item.BUNDLE.value] = "awaited"
        return {
            "seat": entry.seat,
            "peer_id": seat.peer_id,
            "owner": "0x" + seat.owner.hex(),
            "role": entry.role.value,
            "cohort": entry.cohort,
            "is_eligible": entry.is_eligible,
            "is_own": entry.seat == self.own_seat,
            "is_connected": seat.peer_id in connected,
            "seen_seconds_ago": self._session.presence.seconds_since(seat.peer_id),
            "is_awaited": is_awaited,
            "items": items,
        }

    # --- steps -------------------------------------------------------------------------------------------------

    def _steps(self, progress: RoundProgress) -> list[StepResult]:
        order = list(Step)
        now = order.index(progress.step)
        started, deadlines = self._step_starts(), self._deadlines_s()
        hidden: tuple[Step, ...] = ()
        if not progress.is_exact:  # a trainer does not see how far the validators are
            hidden = (Step.SEAL,) if progress.step is Step.TRAIN else (Step.EVALUATE, Step.COMMIT)
        shown: list[StepResult] = []
        for index, step in enumerate(order):
            state = "done" if index < now else "running" if index == now else "coming"
            later = [started[other] for other in order[index + 1 :] if other in started]
            shown.append(
                {
                    "step": step.value,
                    "state": "hidden" if state == "coming" and step in hidden else state,
                    "started_ms": started.get(step),
                    "ended_ms": later[0] if state == "done" and step in started and later else None,
                    "deadline_ms": deadlines[step] * 1000 if step in deadlines else None,
                }
            )
        return shown

    def _step_starts(self) -> dict[Step, int]:
        """When each step began as this node saw it, chain time in ms; missing where it could not see it."""
        metrics, offset_ms = self._session.metrics, self._world.clock.offset_ms
        if metrics is None or metrics.round_number != self.record.opened.round:
            return {}
        begun: dict[Step, float] = {
            step: metrics.started[step.value]
            for step in Step
            if step is not Step.TRAIN and step.value in metrics.started
        }  # a validator trains nothing: for both roles this step begins when the beacon is known
        if "beacon" in metrics.ended:
            begun[Step.TRAIN] = metrics.ended["beacon"]
        return {step: int(begun[step] * 1000) + offset_ms for step in Step if step in begun}

    def _deadlines_s(self) -> dict[Step, int]:
        """Each step's deadline, chain time in seconds, as far as it is fixed yet."""
        params, opened, sealed, state = (
            self._session.history.params,
            self.record.opened,
            self.record.sealed,
            self._state,
        )
        deadlines = {Step.BEACON: opened.opens_at_s, Step.TRAIN: opened.opens_at_s + params.train_seconds}
        deadlines[Step.SEAL] = deadlines[Step.TRAIN] + params.seal_seconds * params.validator_count
        if sealed is None:
            return deadlines
        deadlines[Step.UNMASK] = sealed.at.timestamp_s + params.unmask_seconds
        deadlines[Step.EVALUATE] = deadlines[Step.UNMASK] + params.evaluate_seconds
        if state is not None and state.phase in (RoundPhase.SEALED, RoundPhase.REVEALING):
            deadlines[Step.COMMIT] = state.commit_deadline_s
        if state is not None and state.phase == RoundPhase.REVEALING:
            deadlines[Step.SETTLE] = state.reveal_deadline_s
        return deadlines
