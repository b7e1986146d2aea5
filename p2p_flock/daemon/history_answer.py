"""The answer to ``alliance.history``: every ended round, with this node's money and who did what, from memory.

Called by ``daemon/handlers.py``. What the log says of an ended round does not change any more, so it is described once;
only this node's own judgement and what it claimed are looked up at each answer. Waits for nobody, changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from p2p_flock.alliance.earnings import Earning, compute_earning
from p2p_flock.alliance.evidence import describe_fault
from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.pay import NOBODY
from p2p_flock.alliance.seat_table import Happening
from p2p_flock.chain_events import LogPosition
from p2p_flock.daemon.history_messages import (
    HISTORY_ROUNDS_MAX,
    HistoryEventResult,
    HistoryMoneyResult,
    HistoryResult,
    HistoryRoundResult,
    HistoryTransactionResult,
)
from p2p_flock.daemon.history_words import (
    count_abstentions,
    describe_happening,
    describe_reasons,
    describe_strike,
    find_absent,
)
from p2p_flock.daemon.watch_answer import show_ended_round
from p2p_flock.errors import UsageError

if TYPE_CHECKING:
    from p2p_flock.daemon.session import AllianceSession

EVENTS_MAX = 32  # of one round, the own ones first; a table of 4,096 seats may be absent altogether
TRANSACTIONS_MAX = 24  # of one round: 64 validators may each commit and reveal by themselves
# Half of what the control socket sends at most. Beyond it an answer holds fewer rounds than asked for, at least one,
# and whoever wants more asks for those before the last.
REPLY_BYTES_MAX = 2 << 20
OWN_PART_BYTES = 4096  # of a round's answer beyond what is kept: outcome, votes and judgement of 16 cohorts
PENALTIES = frozenset({"absent", "suspended", "suspected", "slashed"})


@dataclass(frozen=True, slots=True)
class _Told:
    """What the log says of an ended round, and how long that is as JSON."""

    reasons: list[str]
    abstentions: list[int]
    events: list[HistoryEventResult]
    events_left_out: int
    transactions: list[HistoryTransactionResult]
    transactions_left_out: int
    earning: Earning | None
    size_bytes: int


class HistoryAnswers:
    """See the module."""

    def __init__(self, address: bytes) -> None:
        self._address = address
        self._history: AllianceHistory | None = None
        self._told: dict[int, _Told] = {}
        self._happenings: dict[int, list[Happening]] = {}  # by the round in which they fell
        self._happenings_read = 0

    def answer(self, session: AllianceSession | None, before: int | None, limit: int) -> HistoryResult:
        """Ended rounds below ``before`` (``None``: all), newest first, at most ``limit`` and at most 2 MiB of them.

        Raises:
            UsageError: ``limit`` or ``before`` is out of range.
        """
        if not 1 <= limit <= HISTORY_ROUNDS_MAX or (before is not None and before < 0):
            raise UsageError(
                f"the history is told in pages of 1 to {HISTORY_ROUNDS_MAX} rounds, not {limit} before {before}\n"
                "ask for fewer, then for those before the last one shown"
            )
        if session is None:
            return {"rounds": [], "earliest": 0}
        history = session.history
        self._read(history)
        session.purse.ask()
        rounds: list[HistoryRoundResult] = []
        size_bytes = 0
        ended = len(history.rounds) - (bool(history.rounds) and not history.rounds[-1].ended)
        first = ended if before is None else min(before, ended)
        for number in range(first - 1, max(-1, first - 1 - limit), -1):
            told = self._tell(history, number)
            size_bytes += told.size_bytes + OWN_PART_BYTES
            if rounds and size_bytes > REPLY_BYTES_MAX:
                break
            rounds.append(self._describe(session, history.rounds[number], told))
        return {"rounds": rounds, "earliest": 0}

    def _read(self, history: AllianceHistory) -> None:
        if history is not self._history:  # another alliance, or the log was folded anew after a reorganisation
            self._history, self._told, self._happenings, self._happenings_read = history, {}, {}, 0
        for happening in history.happenings[self._happenings_read :]:
            self._happenings.setdefault(max(0, happening.round), []).append(happening)
        self._happenings_read = len(history.happenings)

    def _describe(self, session: AllianceSession, record: RoundRecord, told: _Told) -> HistoryRoundResult:
        ended = record.settled or record.voided
        assert ended is not None
        return {
            **show_ended_round(session, record, self._address),
            "started_at_s": record.opened.at.timestamp_s,
            "ended_at_s": ended.at.timestamp_s,
            "abstentions": told.abstentions,
            "reasons": told.reasons,
            "money": _money(session, record.opened.round, told.earning),
            "penalties": [event for event in told.events if event["is_own"] and event["what"] in PENALTIES],
            "events": told.events,
            "events_left_out": told.events_left_out,
            "transactions": told.transactions,
            "transactions_left_out": told.transactions_left_out,
        }

    # --- what the log says ---------------------------------------------------------------------------------------

    def _tell(self, history: AllianceHistory, number: int) -> _Told:
        if number in self._told:
            return self._told[number]
        record = history.rounds[number]
        events, transactions = self._events(history, record), self._transactions(history, record)
        events.sort(key=lambda event: not event["is_own"])  # stable: else as in the log
        told = _Told(
            describe_reasons(history, record),
            [] if record.settled is None else count_abstentions(history.params, record.settled),
            events[:EVENTS_MAX],
            max(0, len(events) - EVENTS_MAX),
            transactions[:TRANSACTIONS_MAX],
            max(0, len(transactions) - TRANSACTIONS_MAX),
            compute_earning(history, number, self._address),
            0,
        )
        size_bytes = len(json.dumps([told.reasons, told.events, told.events, told.transactions], ensure_ascii=False))
        told = replace(told, size_bytes=size_bytes)
        # More may befall members until the next round opens, and without its beacon a void round's roles are unknown.
        if number + 1 < len(history.rounds) and history.assignment(number) is not None:
            self._told[number] = told
        return told

    def _events(self, history: AllianceHistory, record: RoundRecord) -> list[HistoryEventResult]:
        number = record.opened.round
        fell = self._happenings.get(number, [])
        sent_off = {(one.owner, one.at.transaction) for one in fell if one.what in PENALTIES}
        events = [
            self._event(one.what, one.owner, one.seat, describe_happening(one), one.rounds, one.at, one)
            for one in fell
            if not (one.what == "left" and (one.owner, one.at.transaction) in sent_off)  # it did not ask
        ]
        if record.settled is not None:
            for seat, owner in find_absent(history, number):
                text = describe_strike(history, number, seat)
                events.append(self._event("absent", owner, seat, text, (number,), record.settled.at, None))
        return events

    def _event(
        self,
        what: str,
        owner: bytes,
        seat: int | None,
        text: str,
        rounds: tuple[int, ...],
        at: LogPosition,
        happening: Happening | None,
    ) -> HistoryEventResult:
        fault = None if happening is None or happening.fault is None else describe_fault(happening.fault)
        amount = None if happening is None or happening.amount is None else str(happening.amount)
        return {
            "what": what,
            "owner": _hex(owner),
            "seat": seat,
            "is_own": owner == self._address,
            "text": text,
            "rounds": list(rounds),
            "fault": fault,
            "amount": amount,
            "transaction": _hex(at.transaction),
            "at_s": at.timestamp_s,
        }

    def _transactions(self, history: AllianceHistory, record: RoundRecord) -> list[HistoryTransactionResult]:
        """In the log's order. The log names who sent those that a refund was paid for, and nobody else."""
        settled, paid = record.settled, None if record.settled is None else record.settled.record
        found = [self._transaction("open", record.opened.at, None)]
        if record.sealed is not None:
            found.append(self._transaction("seal", record.sealed.at, None if paid is None else paid.sealer))
        quorum = next((at for at, count in record.committed if count >= history.params.verdict_quorum), None)
        for at, _ in record.committed:
            found.append(self._transaction("commit", at, paid.committer if paid is not None and at == quorum else None))
        if settled is not None:
            early = {reveal.at.transaction: reveal.at for reveal in record.reveals.values()}
            early.pop(settled.at.transaction, None)
            found += [self._transaction("reveal", at, None) for at in sorted(early.values(), key=_order)]
            found.append(self._transaction("settle", settled.at, None if paid is None else paid.settler))
        if record.voided is not None:
            found.append(self._transaction("void", record.voided.at, None))
        return found

    def _transaction(self, what: str, at: LogPosition, sender: bytes | None) -> HistoryTransactionResult:
        known = None if sender in (None, NOBODY) else sender
        return {
            "what": what,
            "transaction": _hex(at.transaction),
            "block": at.block,
            "at_s": at.timestamp_s,
            "sender": None if known is None else _hex(known),
            "is_own": known == self._address,
        }


def _money(session: AllianceSession, round_number: int, earning: Earning | None) -> HistoryMoneyResult | None:
    if earning is None:
        return None
    return {
        "trainer": str(earning.trainer_reward),
        "validator": str(earning.validator_reward),
        "refunds": str(earning.refunds),
        "total": str(earning.total),
        "is_claimed": session.purse.is_claimed(round_number) if earning.total else None,
    }


def _order(at: LogPosition) -> tuple[int, int]:
    return at.block, at.log_index


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
