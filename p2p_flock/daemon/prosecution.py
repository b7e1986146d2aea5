"""Posts evidence to the contract: each member in its turn, until the chain shows the slash or nothing can come of it.

Run by upkeep. Evidence comes from the running round's machine, which journalled it before; after a restart it is read
from the journal. Nothing is posted that ``check_evidence`` refuses, none against this node's own account, and no piece
more often than :data:`TRIES_MAX` times. Losing the race to another member is the rule.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from p2p_flock.alliance.accusing import know_no_beacon
from p2p_flock.alliance.evidence import (
    EVIDENCE_BYTES_MAX,
    Court,
    Evidence,
    EvidenceRecord,
    check_evidence,
    fault_of,
    round_of,
)
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.watching import EVIDENCE
from p2p_flock.daemon.evidence_calls import encode_evidence
from p2p_flock.daemon.world import World
from p2p_flock.errors import EvidenceError, TransactionFailedError, WireError
from p2p_flock.wire.codec import decode

if TYPE_CHECKING:
    from p2p_flock.daemon.session import AllianceSession

logger = logging.getLogger(__name__)

TURN_MS = 3000  # between members: a transaction, its block, and the poll with which the others see the slash
RETRY_MS = 10_000
CONFIRM_MS = 60_000  # posted, and still no slash in the log: a reorganisation took it
TRIES_MAX = 5
PENDING_MAX = 256  # a seat is accused once a round; this is every seat of a large alliance at once
# Somebody else was first, or the stake is gone already: nothing is left to do.
LOST_RACES = frozenset({"AlreadySlashed", "NotSlashable"})


@dataclass(slots=True)
class _Case:
    """One piece of evidence on its way."""

    evidence: Evidence
    culprits: tuple[bytes, ...]
    due_ms: int
    tries: int = 0


class Prosecution:
    """See the module. One per session."""

    def __init__(self, world: World, session: AllianceSession) -> None:
        self._world = world
        self._session = session
        self._cases: dict[bytes, _Case] = {}  # by encoded evidence
        self._is_restored = False

    def take(self, data: bytes) -> None:
        """Evidence, encoded as an ``EvidenceRecord``; what proves nothing, or is known, is not taken."""
        if data in self._cases or len(self._cases) >= PENDING_MAX:
            return
        try:
            (evidence,) = decode(EvidenceRecord, data, EVIDENCE_BYTES_MAX).evidence
            culprits = check_evidence(self._court(), evidence)
        except (EvidenceError, WireError) as error:
            logger.error("evidence was not taken: %s", error)
            return
        if self._world.chain.address not in culprits:
            due_ms = self._world.clock.now_ms() + TURN_MS * self._rank(round_of(evidence))
            self._cases[data] = _Case(evidence, culprits, due_ms)

    async def run(self) -> None:
        """Post what is due.

        Raises:
            ChainError: the endpoint failed; it is tried again.
        """
        if not self._is_restored and self._session.state is not None:
            self._is_restored = True
            for data in await trio.to_thread.run_sync(self._read_journal):
                self.take(data)
        for data, case in list(self._cases.items()):
            if not is_open(self._session.history, case.evidence, case.culprits) or case.tries >= TRIES_MAX:
                del self._cases[data]
            elif self._world.clock.now_ms() >= case.due_ms:
                await self._post(data, case)

    async def _post(self, data: bytes, case: _Case) -> None:
        fault, number = fault_of(case.evidence).words, round_of(case.evidence)
        case.tries += 1
        case.due_ms = self._world.clock.now_ms() + RETRY_MS
        function, arguments = encode_evidence(case.evidence)
        try:
            receipt = await self._session.handle.slash(function, arguments)
        except TransactionFailedError as error:
            del self._cases[data]
            level = logging.INFO if error.reason in LOST_RACES else logging.ERROR
            logger.log(level, "evidence of %s in round %d: %s", fault, number, error.reason)
            return
        case.due_ms = self._world.clock.now_ms() + CONFIRM_MS
        logger.warning("posted evidence of %s in round %d: transaction 0x%s", fault, number, receipt.hash.hex())

    def _court(self) -> Court:
        handle = self._session.handle
        return Court(handle.domain, handle.params.threshold, know_no_beacon, self._world.recover)

    def _rank(self, round_number: int) -> int:
        """Whose turn it is: the round's validators in their order, for they see most; then its trainers."""
        history, address = self._session.history, self._world.chain.address
        if round_number < len(history.rounds):
            record, assignment = history.rounds[round_number], history.assignment(round_number)
            order = () if assignment is None else (*assignment.validators, *assignment.trainers)
            owners = [record.seats[seat].owner for seat in order]
            return owners.index(address) if address in owners else len(record.seats)
        return len(history.seats)

    def _read_journal(self) -> list[bytes]:
        contract, journal = self._session.handle.domain.contract.hex(), self._world.journal
        return [
            record.body
            for number in journal.rounds(contract)
            for record in journal.records(contract, number)
            if record.kind == EVIDENCE
        ]


def is_open(history: AllianceHistory, evidence: Evidence, culprits: tuple[bytes, ...]) -> bool:
    """Whether the log leaves anybody to convict: a culprit with a seat or an unbonding stake, not slashed in this
    tenure, whose tenure began before the fault."""
    number = round_of(evidence)
    return any(
        owner not in history.slashed and (joined := history.joined_round(owner)) is not None and joined <= number
        for owner in culprits
    )
