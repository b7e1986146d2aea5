"""The result of ``alliance.history`` as types; ``CONTROL.md`` says what the fields mean. Standard library only.

Filled in by the daemon from memory, shown by ``p2p-flock history`` and the dashboard. Money is FLOCK wei as a decimal
text, addresses and hashes are ``0x`` hex, times are Unix seconds of the chain's clock.
"""

from __future__ import annotations

from typing import TypedDict

from p2p_flock.daemon.watch_messages import EndedRoundResult

HISTORY_ROUNDS_MAX = 200  # in one answer


class HistoryArguments(TypedDict):
    before: int | None  # only rounds below this one
    limit: int  # 1..HISTORY_ROUNDS_MAX


class HistoryEventResult(TypedDict):
    what: str  # absent, joined, reactivated, left, suspended, suspected, slashed, withdrawn, challenged, answered
    owner: str
    seat: int | None
    is_own: bool
    text: str
    rounds: list[int]
    fault: str | None
    amount: str | None
    transaction: str
    at_s: int


class HistoryTransactionResult(TypedDict):
    what: str  # open, seal, commit, reveal, settle, void
    transaction: str
    block: int
    at_s: int
    sender: str | None
    is_own: bool


class HistoryMoneyResult(TypedDict):
    trainer: str
    validator: str
    refunds: str
    total: str
    is_claimed: bool | None


class HistoryRoundResult(EndedRoundResult):
    started_at_s: int
    ended_at_s: int
    abstentions: list[int]
    reasons: list[str]
    money: HistoryMoneyResult | None
    penalties: list[HistoryEventResult]
    events: list[HistoryEventResult]
    events_left_out: int
    transactions: list[HistoryTransactionResult]
    transactions_left_out: int


class HistoryResult(TypedDict):
    rounds: list[HistoryRoundResult]
    earliest: int
