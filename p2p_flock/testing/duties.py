"""What a simulated node does beside the rounds: fresh keys, stuck rounds, evidence, suspensions, coming back.

Mirrors ``daemon/upkeep.py``, ``daemon/prosecution.py`` and ``daemon/standing.py``, with their times. Run once a block
and after whatever a node sees of the chain; each duty looks first whether there is anything to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p_flock.alliance.accusing import know_no_beacon
from p2p_flock.alliance.evidence import (
    EVIDENCE_BYTES_MAX,
    Court,
    Evidence,
    EvidenceRecord,
    check_evidence,
    round_of,
)
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.settling import make_settlement
from p2p_flock.alliance.watching import EVIDENCE
from p2p_flock.chain_events import SettledRecord
from p2p_flock.errors import EvidenceError, WireError
from p2p_flock.testing.contract_state import (
    Call,
    Reactivate,
    RegisterKey,
    RoundCall,
    Slash,
    Suspend,
    SuspendSuspected,
    VoidRound,
)
from p2p_flock.testing.ledger import OPEN, REVEALING
from p2p_flock.wire.codec import decode

if TYPE_CHECKING:
    from p2p_flock.testing.node import Node

STUCK_GRACE_MS, STUCK_STAGGER_MS, RETRY_MS = 2000, 1000, 3000
TURN_MS, CASE_RETRY_MS, CONFIRM_MS, TRIES_MAX, PENDING_MAX = 3000, 10_000, 60_000, 5, 256
SUSPEND_GRACE_MS, SUSPEND_TURN_MS = 1000, 2000
REACTIVATE_RETRY_FIRST_MS, REACTIVATE_RETRY_MAX_MS, REACTIVATE_TRIES_MAX = 3000, 300_000, 12
CASE_LOST_RACES = frozenset({"AlreadySlashed", "NotSlashable"})


@dataclass(slots=True)
class Case:
    """One piece of evidence on its way."""

    evidence: Evidence
    culprits: tuple[bytes, ...]
    due_ms: int
    tries: int = 0


class Upkeep:
    """Of one node, from start to stop: nothing here survives a crash."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._registered_in: int | None = None
        self._next_try_ms = 0
        self._suspended: set[tuple[bytes, int]] = set()  # (owner, last settled round), for either reason
        self._reactivations = self._next_reactivation_ms = 0
        self._cases: dict[bytes, Case] = {}
        self._is_restored = False

    def run(self) -> None:
        """Do what is due."""
        node = self._node
        if not node.is_up or node.tip is None:
            return
        history = node.history
        if not history.rounds:
            return
        self._register_key(history)
        self._end_stuck_round(history)
        self._prosecute(history)
        self._suspend_others(history)
        self._come_back(history)

    def _send(self, call: Call, on_end: Callable[[str], None] = lambda reason: None) -> None:
        self._node.sim.transact(self._node, call, on_end)

    # --- keys --------------------------------------------------------------------------------------------------

    def _register_key(self, history: AllianceHistory) -> None:
        node, current = self._node, len(history.rounds) - 1
        if history.closed or self._registered_in == current or node.sim.now_ms < self._next_try_ms:
            return
        assert node.tip is not None
        keys = node.sim.world.duties(node.tip).keys
        if node.owner in keys:
            if keys[node.owner] in node.mask_secrets:
                return
        elif not self._was_left_unsealed(history, current):
            return
        seat = next((entry for entry in history.seats if entry.owner == node.owner), None)
        if seat is None or seat.leaving or seat.key_round == current:
            return
        self._registered_in = current

        def finish(reason: str) -> None:
            if reason:
                self._registered_in, self._next_try_ms = None, node.sim.now_ms + RETRY_MS

        self._send(RegisterKey(node.make_mask_key()), finish)

    def _was_left_unsealed(self, history: AllianceHistory, number: int) -> bool:
        record, assignment = history.rounds[number], history.assignment(number)
        params = history.params
        deadline_s = record.opened.opens_at_s + params.train_seconds + params.seal_seconds * params.validator_count
        if record.sealed is not None or assignment is None or self._node.sim.now_ms <= deadline_s * 1000:
            return False
        return any(record.seats[seat].owner == self._node.owner for seat in assignment.trainers)

    # --- stuck rounds ------------------------------------------------------------------------------------------

    def _end_stuck_round(self, history: AllianceHistory) -> None:
        """Any member may end a round whose deadlines have passed: void it, or settle it with what is revealed."""
        node, now_ms = self._node, self._node.sim.now_ms
        assert node.tip is not None
        view = node.tip.view
        if view.phase not in (OPEN, REVEALING) or now_ms < self._next_try_ms:
            return
        ends_s = view.seal_deadline_s
        if view.phase == REVEALING:
            ends_s = view.reveal_deadline_s if view.committed else view.commit_deadline_s
        if now_ms <= ends_s * 1000 + STUCK_GRACE_MS:
            return
        own = next((seat for seat, entry in enumerate(history.seats) if entry.owner == node.owner), None)
        if own is None or now_ms <= ends_s * 1000 + STUCK_GRACE_MS + own * STUCK_STAGGER_MS:
            return
        self._next_try_ms = now_ms + RETRY_MS
        if view.phase == REVEALING and view.committed:
            record = history.rounds[view.round]
            if record.sealed is not None:  # a lying endpoint's view may be ahead of its log
                self._send(RoundCall(view.round, make_settlement(record, {})))
        else:
            self._send(VoidRound(view.round))

    # --- evidence ------------------------------------------------------------------------------------------------

    def accuse(self, data: bytes) -> None:
        """Evidence, encoded; what proves nothing, or is known, is not taken."""
        node = self._node
        if data in self._cases or len(self._cases) >= PENDING_MAX or node.tip is None:
            return
        history = node.history
        court = Court(history.domain, history.params.threshold, know_no_beacon, node.sim.world.suite.recover)
        try:
            (evidence,) = decode(EvidenceRecord, data, EVIDENCE_BYTES_MAX).evidence
            culprits = check_evidence(court, evidence)
        except (EvidenceError, WireError):
            return
        if node.owner not in culprits:
            due_ms = node.sim.now_ms + TURN_MS * self._rank(history, round_of(evidence))
            self._cases[data] = Case(evidence, culprits, due_ms)

    def _rank(self, history: AllianceHistory, number: int) -> int:
        if number >= len(history.rounds):
            return len(history.seats)
        record, assignment = history.rounds[number], history.assignment(number)
        order = () if assignment is None else (*assignment.validators, *assignment.trainers)
        owners = [record.seats[seat].owner for seat in order]
        return owners.index(self._node.owner) if self._node.owner in owners else len(record.seats)

    def _prosecute(self, history: AllianceHistory) -> None:
        if not self._is_restored:
            self._is_restored = True
            for records in self._node.journal.values():
                for (kind, _), record in records.items():
                    if kind == EVIDENCE:
                        self.accuse(record.body)
        for data, case in list(self._cases.items()):
            if not _is_open(history, case) or case.tries >= TRIES_MAX:
                del self._cases[data]
            elif self._node.sim.now_ms >= case.due_ms:
                self._post(data, case)

    def _post(self, data: bytes, case: Case) -> None:
        sim = self._node.sim
        case.tries += 1
        case.due_ms = sim.now_ms + CASE_RETRY_MS

        def finish(reason: str) -> None:
            if not reason:
                case.due_ms = sim.now_ms + CONFIRM_MS
            elif reason != "rpc":
                self._cases.pop(data, None)

        self._send(Slash(case.evidence), finish)

    # --- standing ------------------------------------------------------------------------------------------------

    def _suspend_others(self, history: AllianceHistory) -> None:
        node = self._node
        assert node.tip is not None
        duties = node.sim.world.duties(node.tip)
        if not duties.suspensions and not duties.suspects:
            return
        own = next((seat for seat, entry in enumerate(history.seats) if entry.owner == node.owner), None)
        if own is None or node.sim.now_ms < duties.settled_at_ms + SUSPEND_GRACE_MS + own * SUSPEND_TURN_MS:
            return
        for found in duties.suspensions:
            if found.owner != node.owner and (found.owner, found.second) not in self._suspended:
                self._suspended.add((found.owner, found.second))
                self._send(Suspend(found.owner, _record(history, found.first), _record(history, found.second)))
        for suspect in duties.suspects:
            if suspect.owner != node.owner and (suspect.owner, suspect.rounds[-1]) not in self._suspended:
                self._suspended.add((suspect.owner, suspect.rounds[-1]))
                shown = tuple(_record(history, number) for number in suspect.rounds)
                self._send(SuspendSuspected(suspect.owner, shown))

    def _come_back(self, history: AllianceHistory) -> None:
        node, now_ms = self._node, self._node.sim.now_ms
        if node.owner not in history.suspended:
            self._reactivations = 0
            return
        if node.owner in history.slashed or history.closed:
            return
        if any(entry.owner == node.owner for entry in history.seats):
            return
        ended = len(history.rounds) - (not history.rounds[-1].ended)
        if node.next_round < ended or now_ms < self._next_reactivation_ms:
            return
        if self._reactivations >= REACTIVATE_TRIES_MAX:
            return
        self._next_reactivation_ms = now_ms + min(
            REACTIVATE_RETRY_FIRST_MS << self._reactivations, REACTIVATE_RETRY_MAX_MS
        )
        self._reactivations += 1
        self._send(Reactivate(node.make_mask_key()))


def _record(history: AllianceHistory, number: int) -> SettledRecord:
    settled = history.rounds[number].settled
    assert settled is not None
    return settled.record


def _is_open(history: AllianceHistory, case: Case) -> bool:
    """Whether the log leaves anybody to convict; as ``prosecution.is_open``."""
    return any(
        owner not in history.slashed
        and (joined := history.joined_round(owner)) is not None
        and joined <= round_of(case.evidence)
        for owner in case.culprits
    )
