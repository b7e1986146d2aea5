"""An alliance's logs as typed events, and reading ranges of them in pages that providers allow.

Called by ``follower.py``, ``alliance_contract.py`` and ``adapter.py``. Must never hand out an event whose log does not
fit the ABI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import base58

from p2p_flock.chain.client import (
    Call,
    Json,
    RpcClient,
    as_bytes,
    as_object,
    as_quantity,
    block_head,
)
from p2p_flock.chain.contracts import ALLIANCE, address_bytes, address_text, load_contract
from p2p_flock.chain.records import RoundPhase, RoundState
from p2p_flock.chain_events import (
    AddressesRegistered,
    AllianceClosed,
    BallotRevealed,
    BallotsCommitted,
    ChainEvent,
    KeyRegistered,
    LogPosition,
    RoundOpened,
    RoundSealed,
    RoundSettled,
    RoundVoided,
    SeatJoined,
    SeatLeft,
    SeatMoved,
    SeatReactivated,
    SeatRemoved,
    SeatSuspended,
    Slashed,
    StakeWithdrawn,
)
from p2p_flock.errors import ChainError, RpcError

BLOCKS_PER_REQUEST = 2_000  # providers cap eth_getLogs at 5,000 or 10,000 blocks
LOGS_PER_REQUEST_MAX = 10_000  # beyond it the range is halved, as providers ask for
TIMES_REMEMBERED = 256  # of blocks, where the endpoint does not say them in its logs

PHASE_FIELD, SURVIVORS_FIELD = 1, 13  # places in the contract's RoundState that need converting

# One entry per event: how the ABI's arguments become our dataclass. Logs without an entry (claims) are
# nobody's business here and are passed over.
_MAKERS: Mapping[str, Callable[[LogPosition, dict[str, Any]], ChainEvent]] = {
    "SeatJoined": lambda at, a: SeatJoined(
        at,
        a["seat"],
        address_bytes(a["owner"]),
        base58.b58encode(a["peerId"]).decode(),
        a["maskKey"],
        a["weight"],
        a["joinedRound"],
        a["peerSignature"],
    ),
    "KeyRegistered": lambda at, a: KeyRegistered(
        at, a["seat"], address_bytes(a["owner"]), a["maskKey"], a["round"], a["generation"]
    ),
    "SeatLeaving": lambda at, a: SeatLeft(at, a["seat"], address_bytes(a["owner"])),
    "SeatRemoved": lambda at, a: SeatRemoved(at, a["seat"], address_bytes(a["owner"])),
    "SeatMoved": lambda at, a: SeatMoved(at, address_bytes(a["owner"]), a["from"], a["to"]),
    "SeatSuspended": lambda at, a: SeatSuspended(
        at, a["seat"], address_bytes(a["owner"]), a["firstRound"], a["secondRound"]
    ),
    "SeatReactivated": lambda at, a: SeatReactivated(
        at, a["seat"], address_bytes(a["owner"]), a["maskKey"], a["generation"], a["joinedRound"]
    ),
    "Slashed": lambda at, a: Slashed(
        at,
        address_bytes(a["owner"]),
        a["seat"],
        a["round"],
        a["fault"],
        a["amount"],
        address_bytes(a["beneficiary"]),
    ),
    "StakeWithdrawn": lambda at, a: StakeWithdrawn(at, address_bytes(a["owner"]), a["stake"]),
    "AddressesRegistered": lambda at, a: AddressesRegistered(at, a["seat"], address_bytes(a["owner"]), a["addresses"]),
    "RoundOpened": lambda at, a: RoundOpened(at, a["round"], a["seatCount"], a["beaconRound"], a["opensAt"]),
    "RoundSealed": lambda at, a: RoundSealed(
        at,
        a["round"],
        a["leaderView"],
        a["seal"],
        a["seed"],
        a["manifestDigest"],
        tuple(a["survivors"]),
        tuple(a["positions"]),
        tuple(a["signatures"]),
    ),
    "BallotsCommitted": lambda at, a: BallotsCommitted(at, a["round"], tuple(a["positions"]), tuple(a["commitments"])),
    "BallotRevealed": lambda at, a: BallotRevealed(
        at, a["round"], a["position"], a["verdicts"], tuple(a["aggregateDigests"]), a["baseModelDigest"]
    ),
    "RoundSettled": lambda at, a: RoundSettled(
        at,
        a["round"],
        tuple(a["cohortOutcome"]),
        tuple(a["aggregateDigests"]),
        tuple(a["votesFor"]),
        tuple(a["votesAgainst"]),
        a["baseModelDigest"],
        a["closed"],
    ),
    "RoundVoided": lambda at, a: RoundVoided(at, a["round"], a["reason"]),
    "AllianceClosed": lambda at, a: AllianceClosed(at, a["round"]),
}


@dataclass(frozen=True, slots=True, order=True)
class Log:
    """A log in our form; equal on two honest endpoints, ordered as in the chain."""

    block: int
    index: int
    block_hash: bytes
    transaction: bytes
    topics: tuple[bytes, ...]
    data: bytes


def parse_log(value: Json, contract: bytes) -> tuple[Log, int | None]:
    """A log and its block's time, where the endpoint says it.

    Raises:
        ChainError: malformed, or of another contract than asked for.
    """
    item = as_object(value)
    if as_bytes(item.get("address"), 20) != contract:
        raise ChainError("the endpoint answered with logs of another contract")
    topics = item.get("topics")
    if not isinstance(topics, list) or not 1 <= len(topics) <= 4:
        raise ChainError("the endpoint answered with a log without topics")
    time = item.get("blockTimestamp")
    return Log(
        as_quantity(item.get("blockNumber")),
        as_quantity(item.get("logIndex")),
        as_bytes(item.get("blockHash"), 32),
        as_bytes(item.get("transactionHash"), 32),
        tuple(as_bytes(topic, 32) for topic in topics),
        as_bytes(item.get("data")),
    ), as_quantity(time) if time is not None else None


def decode_log(log: Log, timestamp_s: int) -> ChainEvent | None:
    """The typed event, or ``None`` for one that no machine needs.

    Raises:
        ChainError: the log does not fit its event.
    """
    event = load_contract(ALLIANCE).events.get(log.topics[0])
    if event is None or event.name not in _MAKERS:
        return None
    at = LogPosition(log.block, log.index, timestamp_s, log.transaction)
    return _MAKERS[event.name](at, event.decode(log.topics, log.data))


def decode_logs(logs: Sequence[tuple[Log, int]]) -> list[ChainEvent]:
    """The typed events of logs with their blocks' times (Unix seconds), in the same order.

    Raises:
        ChainError: a log does not fit its event.
    """
    events = [decode_log(log, timestamp_s) for log, timestamp_s in logs]
    return [event for event in events if event is not None]


def decode_round_state(data: bytes) -> RoundState:
    """The result of ``roundState()``.

    Raises:
        ChainError: it is not one.
    """
    (values,) = load_contract(ALLIANCE).functions["roundState"].decode(data)
    values = list(values)
    if values[PHASE_FIELD] not in tuple(RoundPhase):
        raise ChainError(f"roundState() has a phase {values[PHASE_FIELD]} that this version does not know")
    values[PHASE_FIELD] = RoundPhase(values[PHASE_FIELD])
    values[SURVIVORS_FIELD] = tuple(values[SURVIVORS_FIELD])
    return RoundState(*values)


@dataclass(frozen=True, slots=True)
class Page:
    """Logs with their blocks' times up to ``last_block``, its hash, and how many blocks the provider allows."""

    last_block: int
    last_hash: bytes
    logs: tuple[tuple[Log, int], ...]
    size: int


class LogReader:
    """Reads ranges of one contract's logs, agreed on by all endpoints, and the times of their blocks."""

    def __init__(self, client: RpcClient, contract: bytes) -> None:
        self._client, self._contract = client, contract
        self._times: dict[bytes, int] = {}  # by block hash

    async def read(self, from_block: int, to_block: int) -> tuple[ChainEvent, ...]:
        """Events of the inclusive range, in chain order.

        Raises:
            EndpointsDisagreeError: two endpoints show different logs.
            ChainError: the endpoint failed or answered out of form.
        """
        events: list[ChainEvent] = []
        start, size = from_block, BLOCKS_PER_REQUEST
        while start <= to_block:
            page = await self.read_page(start, to_block, size)
            events += decode_logs(page.logs)
            start, size = page.last_block + 1, page.size
        return tuple(events)

    async def read_page(self, from_block: int, to_block: int, size: int) -> Page:
        """The logs of up to ``size`` blocks from ``from_block`` on, none above ``to_block``.

        Raises:
            EndpointsDisagreeError: two endpoints show different logs.
            ChainError: the endpoint failed or answered out of form.
        """
        while True:
            end = min(from_block + size - 1, to_block)
            try:
                answers = await self._client.agreed(
                    (self.call(from_block, hex(end)), Call("eth_getBlockByNumber", (hex(end), False))),
                    self._comparable,
                )
            except RpcError:
                if size == 1:
                    raise
                size //= 2  # a provider's cap on range or results
                continue
            logs = await self.logs_of(answers[0], from_block, end)
            return Page(end, block_head(answers[1]).hash, tuple(logs), size)

    def _comparable(self, answers: Sequence[Json]) -> object:
        """Logs and the hash of the range's last block: an endpoint that lags cannot agree to "no logs"."""
        return sorted(log for log, _ in self._parse(answers[0])), block_head(answers[1]).hash

    def _parse(self, answer: Json) -> list[tuple[Log, int | None]]:
        if not isinstance(answer, list) or len(answer) > LOGS_PER_REQUEST_MAX:
            raise ChainError(f"the endpoint answered eth_getLogs with no list of at most {LOGS_PER_REQUEST_MAX} logs")
        return [parse_log(item, self._contract) for item in answer]

    def call(self, from_block: int, to_block: str) -> Call:
        """The request for a range of logs."""
        return Call(
            "eth_getLogs",
            ({"address": address_text(self._contract), "fromBlock": hex(from_block), "toBlock": to_block},),
        )

    async def logs_of(self, answer: Json, from_block: int, to_block: int) -> list[tuple[Log, int]]:
        """The logs of an eth_getLogs answer with their blocks' times, sorted; those outside the range are left out.

        Raises:
            ChainError: malformed.
        """
        return [
            (log, time if time is not None else await self._time_of(log.block_hash))
            for log, time in sorted(self._parse(answer), key=lambda pair: pair[0])
            if from_block <= log.block <= to_block
        ]

    async def _time_of(self, block_hash: bytes) -> int:
        if block_hash not in self._times:
            if len(self._times) >= TIMES_REMEMBERED:
                self._times.clear()
            header = await self._client.call("eth_getBlockByHash", "0x" + block_hash.hex(), False)
            self._times[block_hash] = block_head(header).timestamp_s
        return self._times[block_hash]
