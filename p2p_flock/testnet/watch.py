"""Follows the alliance on chain as anyone can, and notes when it saw what: the launcher's own clock of every round.

Called by ``launcher.py``, read by ``table.py`` and ``report.py``. Holds no key. Block timestamps are whole seconds, too
coarse to time a round by, so every event also carries the moment this process saw it; it polls every 50 ms.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum

import trio

from p2p_flock.chain.client import Call, RpcClient, as_bytes, as_object, as_quantity, raised_or_value
from p2p_flock.chain.contracts import ALLIANCE, load_contract
from p2p_flock.chain.follower import Follower
from p2p_flock.chain_events import (
    AllianceClosed,
    BallotRevealed,
    BallotsCommitted,
    ChainEvent,
    RoundOpened,
    RoundSealed,
    RoundSettled,
    RoundVoided,
    SeatJoined,
    SeatMoved,
    SeatReactivated,
    SeatRemoved,
    SeatSuspected,
    SeatSuspended,
    Slashed,
)
from p2p_flock.errors import ChainError

POLL_SECONDS = 0.05
BLOCKS_PER_POLL_MAX = 64  # blocks read at once when this process was kept from polling
FAILURES_MAX = 100  # polls in a row that may fail before the watch gives up: 5 s and the client's own retries


class RoundCall(Enum):
    """The contract's functions that make up a round."""

    SEAL = "sealRound"
    COMMIT = "commitRound"
    SETTLE = "settleRound"
    VOID = "voidRound"


@dataclass(frozen=True, slots=True)
class RoundTransaction:
    """One transaction to the alliance about a round; also those that were mined but refused (lost races)."""

    hash: bytes
    call: RoundCall
    round: int
    sender: bytes
    gas_used: int
    block: int
    succeeded: bool


@dataclass(slots=True)
class RoundLog:
    """What was seen of one round, and when (Unix seconds of this machine; ``None``: not yet).

    ``owners``: of the seats as they were frozen when the round opened.
    """

    opened: RoundOpened
    opened_seen_at: float
    owners: dict[int, bytes] = field(default_factory=dict)
    beacon_seen_at: float | None = None  # first block at or after the scheduled publication
    sealed: RoundSealed | None = None
    sealed_seen_at: float | None = None
    commits: list[BallotsCommitted] = field(default_factory=list)
    committed_seen_at: float | None = None  # the last of the commits
    reveals: list[BallotRevealed] = field(default_factory=list)
    settled: RoundSettled | None = None
    voided: RoundVoided | None = None
    ended_seen_at: float | None = None
    transactions: list[RoundTransaction] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.ended_seen_at is not None


@dataclass(slots=True)
class AllianceView:
    """All rounds seen so far.

    Attributes:
        owners: by seat, now. Whoever is suspended loses the seat, and another may move into it.
        members: all who ever joined, in that order.
        slashed, suspected, suspended: every slash, every suspension for rejected cohorts, and every one for absence.
    """

    rounds: dict[int, RoundLog] = field(default_factory=dict)
    owners: dict[int, bytes] = field(default_factory=dict)
    members: list[bytes] = field(default_factory=list)
    slashed: list[Slashed] = field(default_factory=list)
    suspected: list[SeatSuspected] = field(default_factory=list)
    suspended: list[SeatSuspended] = field(default_factory=list)
    block: int = 0
    closed: bool = False
    _seen: list[tuple[ChainEvent, float]] = field(default_factory=list)

    def fold(self, event: ChainEvent, seen_at: float) -> None:
        """Take one event. Events of rounds whose opening was not seen are passed over."""
        self._seen.append((event, seen_at))
        match event:
            case SeatJoined() | SeatReactivated() | SeatMoved() | SeatRemoved():
                self._seat(event)
                return
            case Slashed():
                self.slashed.append(event)
                return
            case SeatSuspended():
                self.suspended.append(event)
                return
            case SeatSuspected():
                self.suspected.append(event)
                return
            case AllianceClosed():
                self.closed = True
                return
            case RoundOpened():
                self.rounds[event.round] = RoundLog(event, seen_at, dict(self.owners))
                return
        number = getattr(event, "round", None)
        log = self.rounds.get(number) if isinstance(number, int) else None
        if log is None:
            return
        match event:
            case RoundSealed():
                log.sealed, log.sealed_seen_at = event, seen_at
            case BallotsCommitted():
                log.commits.append(event)
                log.committed_seen_at = seen_at
            case BallotRevealed():
                log.reveals.append(event)
            case RoundSettled():
                log.settled, log.ended_seen_at = event, seen_at
                self.closed = self.closed or event.closed
            case RoundVoided():
                log.voided, log.ended_seen_at = event, seen_at

    def _seat(self, event: SeatJoined | SeatReactivated | SeatMoved | SeatRemoved) -> None:
        match event:
            case SeatMoved():
                self.owners[event.to_seat] = self.owners.pop(event.from_seat, event.owner)
            case SeatRemoved():
                if self.owners.get(event.seat) == event.owner:  # else the last seat was moved into it already
                    del self.owners[event.seat]
            case SeatJoined() | SeatReactivated():
                self.owners[event.seat] = event.owner
                if event.owner not in self.members:
                    self.members.append(event.owner)

    def rewind(self, block: int) -> None:
        """The chain took back what came after ``block``: forget it. What still stands keeps the moment it was seen."""
        seen, before = self._seen, self.rounds
        self._seen, self.rounds, self.owners, self.members = [], {}, {}, []
        self.slashed, self.suspended, self.suspected = [], [], []
        self.closed = False
        for event, seen_at in seen:
            if event.at.block <= block:
                self.fold(event, seen_at)
        for number, log in self.rounds.items():
            log.beacon_seen_at = before[number].beacon_seen_at
            log.transactions = [each for each in before[number].transactions if each.block <= block]

    def note_time(self, timestamp_s: int, seen_at: float) -> None:
        """Take a block's time: beacons scheduled up to it are out."""
        for log in self.rounds.values():
            if log.beacon_seen_at is None and timestamp_s >= log.opened.opens_at_s:
                log.beacon_seen_at = seen_at


def _round_of(call: RoundCall, data: bytes) -> int:
    """The round that a transaction is about: its first argument, or the first field of the seal that is its first."""
    start = 4
    if call in (RoundCall.COMMIT, RoundCall.SETTLE):
        start += int.from_bytes(data[4:36], "big")
    return int.from_bytes(data[start : start + 32], "big")


class Watch:
    """Keeps an :class:`AllianceView` up to date."""

    def __init__(self, client: RpcClient, contract: bytes, from_block: int) -> None:
        self.view = AllianceView()
        self._client, self._contract = client, contract
        self._follower = Follower(client, contract, from_block)
        self._next_block = from_block
        functions = load_contract(ALLIANCE).functions
        self._calls = {functions[call.value].selector: call for call in RoundCall}

    async def run_until_closed(self) -> None:
        """Poll until the alliance is closed and the last block's transactions are read.

        Raises:
            ChainError: the endpoint stayed away.
        """
        failures = 0
        while not self.view.closed:
            try:
                await self.poll()
                failures = 0
            except ChainError:
                failures += 1
                if failures == FAILURES_MAX:
                    raise
            await trio.sleep(POLL_SECONDS)

    async def poll(self) -> None:
        """One look at the chain.

        Raises:
            ChainError: the endpoint failed; the next poll repeats the work.
        """
        newest = as_quantity(await self._client.call("eth_blockNumber"))  # twenty times a second: nothing more at first
        if newest < self._next_block:
            return
        update = await self._follower.poll()
        seen_at = time.time()
        if update is None:
            return
        if update.rewound_to is not None:
            self.view.rewind(update.rewound_to)
            self._next_block = min(self._next_block, update.rewound_to + 1)
        for event in update.events:
            self.view.fold(event, seen_at)
        self.view.note_time(update.timestamp_s, seen_at)
        self.view.block = update.block
        while self._next_block <= update.block:
            last = min(update.block, self._next_block + BLOCKS_PER_POLL_MAX - 1)
            await self._read_transactions(self._next_block, last)
            self._next_block = last + 1

    async def _read_transactions(self, first: int, last: int) -> None:
        blocks = await self._client.batch(
            [Call("eth_getBlockByNumber", (hex(number), True)) for number in range(first, last + 1)]
        )
        ours = []
        for block in blocks:
            listed = as_object(raised_or_value(block)).get("transactions")
            for item in listed if isinstance(listed, list) else []:
                transaction = as_object(item)
                if transaction.get("to") is not None and as_bytes(transaction["to"], 20) == self._contract:
                    ours.append(transaction)
        if not ours:
            return
        receipts = await self._client.batch([Call("eth_getTransactionReceipt", (t["hash"],)) for t in ours])
        for transaction, receipt in zip(ours, receipts, strict=True):
            data = as_bytes(transaction["input"])
            call = self._calls.get(data[:4])
            log = self.view.rounds.get(_round_of(call, data)) if call is not None else None
            if call is None or log is None:
                continue  # a join or a key registration, or a call about a round that never opened
            mined = as_object(raised_or_value(receipt))
            log.transactions.append(
                RoundTransaction(
                    hash=as_bytes(transaction["hash"], 32),
                    call=call,
                    round=log.opened.round,
                    sender=as_bytes(transaction["from"], 20),
                    gas_used=as_quantity(mined["gasUsed"]),
                    block=as_quantity(mined["blockNumber"]),
                    succeeded=as_quantity(mined["status"]) == 1,
                )
            )
