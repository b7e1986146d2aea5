"""Follows one alliance's logs: typed events in chain order, with memory of block hashes so that a reorg is noticed.

Called by ``alliance_contract.py``. One poll is one JSON-RPC batch: newest header, header of the last block handed out,
the contract's state, the logs in between. Must never hand out a log twice without saying that the chain was rewound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import base58
import trio

from p2p_flock.chain.client import (
    Call,
    Json,
    RpcClient,
    as_bytes,
    as_object,
    as_quantity,
    block_head,
    raised_or_value,
)
from p2p_flock.chain.contracts import ALLIANCE, address_bytes, address_text, load_contract
from p2p_flock.chain.records import ChainUpdate, RoundPhase, RoundState
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
)
from p2p_flock.errors import ChainError, EndpointsDisagreeError, RpcError

BLOCKS_PER_REQUEST = 2_000  # providers cap eth_getLogs at 5,000 or 10,000 blocks
LOGS_PER_REQUEST_MAX = 10_000  # beyond it the range is halved, as providers ask for
HEADS_REMEMBERED = 256  # blocks back to which a reorg is followed; deeper ones have not been seen on any OP chain

OUTAGE_S_MAX = 60.0  # how long a feed puts up with a failing endpoint before its consumer hears of it
PHASE_FIELD, SURVIVORS_FIELD = 1, 13  # places in the contract's RoundState that need converting

# One entry per event: how the ABI's arguments become our dataclass. Logs without an entry (claims, withdrawals) are
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
            end = min(start + size - 1, to_block)
            try:
                answers = await self._client.agreed(
                    (self.call(start, hex(end)), Call("eth_getBlockByNumber", (hex(end), False))), self._comparable
                )
            except RpcError:
                if size == 1:
                    raise
                size //= 2  # a provider's cap on range or results
                continue
            events.extend(await self.events_of(answers[0], start, end))
            start = end + 1
        return tuple(events)

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

    async def events_of(self, answer: Json, from_block: int, to_block: int) -> list[ChainEvent]:
        """Typed events of an eth_getLogs answer, sorted; logs outside the range are left out.

        Raises:
            ChainError: malformed.
        """
        events = []
        for log, time in sorted(self._parse(answer), key=lambda pair: pair[0]):
            if from_block <= log.block <= to_block:
                event = decode_log(log, time if time is not None else await self._time_of(log.block_hash))
                if event is not None:
                    events.append(event)
        return events

    async def _time_of(self, block_hash: bytes) -> int:
        if block_hash not in self._times:
            if len(self._times) >= HEADS_REMEMBERED:
                self._times.clear()
            header = await self._client.call("eth_getBlockByHash", "0x" + block_hash.hex(), False)
            self._times[block_hash] = block_head(header).timestamp_s
        return self._times[block_hash]


class Follower:
    """The place of a :class:`ChainFeed`: where we are, and the hashes of where we were."""

    def __init__(self, client: RpcClient, contract: bytes, from_block: int, confirmations: int) -> None:
        self._client, self._confirmations = client, confirmations
        self._reader = LogReader(client, contract)
        self._cursor = from_block - 1  # all logs up to this block were handed out
        self._first = from_block
        self._heads: deque[tuple[int, bytes]] = deque(maxlen=HEADS_REMEMBERED)  # cursors and their hashes
        selector = load_contract(ALLIANCE).functions["roundState"].selector
        self._state_call = Call("eth_call", ({"to": address_text(contract), "data": "0x" + selector.hex()}, "latest"))
        self._block_hash = b""

    async def poll(self) -> ChainUpdate | None:
        """What is new, or ``None`` while the newest block is the one seen last.

        Raises:
            ChainError: as the client; the follower's place is unchanged and the next poll repeats the work.
        """
        calls = [
            Call("eth_getBlockByNumber", ("latest", False)),
            self._state_call,
            self._reader.call(self._cursor + 1, "latest"),
        ]
        if self._heads:
            calls.append(Call("eth_getBlockByNumber", (hex(self._heads[-1][0]), False)))
        answers = await self._client.batch(calls)
        head = block_head(raised_or_value(answers[0]))
        if head.hash == self._block_hash:
            return None
        state = decode_round_state(as_bytes(raised_or_value(answers[1])))
        rewound_to = None
        if self._heads and not _is_block(answers[3], self._heads[-1][1]):
            rewound_to = await self._rewind()
            answers[2] = None
        target = head.number - self._confirmations
        events: tuple[ChainEvent, ...] = ()
        if target > self._cursor:
            events = await self._events_to(target, answers[2])
            hash_ = head.hash if target == head.number else await self._hash_of(target)
            self._cursor = target
            self._heads.append((target, hash_))
        self._block_hash = head.hash
        return ChainUpdate(head.number, head.timestamp_s, state, events, rewound_to)

    async def _events_to(self, target: int, answer: Json | RpcError) -> tuple[ChainEvent, ...]:
        near = target - self._cursor <= BLOCKS_PER_REQUEST
        if self._client.endpoint_count == 1 and near and isinstance(answer, list):
            return tuple(await self._reader.events_of(answer, self._cursor + 1, target))
        return await self._reader.read(self._cursor + 1, target)

    async def _rewind(self) -> int:
        """Step back to the newest remembered block that the chain still holds."""
        remembered = list(self._heads)
        answers = await self._client.batch([Call("eth_getBlockByNumber", (hex(n), False)) for n, _ in remembered])
        for (_, hash_), answer in zip(reversed(remembered), reversed(answers), strict=True):
            if _is_block(answer, hash_):
                break
            self._heads.pop()
        if not self._heads and remembered[0][0] > self._first and len(remembered) == HEADS_REMEMBERED:
            raise ChainError(
                f"the chain was reorganised deeper than {HEADS_REMEMBERED} polls. "
                "Check that the RPC endpoint is on the right chain, then restart the node."
            )
        self._cursor = self._heads[-1][0] if self._heads else self._first - 1
        return self._cursor

    async def _hash_of(self, block: int) -> bytes:
        return block_head(await self._client.call("eth_getBlockByNumber", hex(block), False)).hash


NUDGED_POLL_S_MIN = 0.05  # anybody may nudge; no more than twenty polls a second come of it


class ChainFeed:
    """A follower's updates, one whenever the chain has a new head; an asynchronous iterator that never ends.

    Polls while it is iterated and holds no task and no connection: it may be dropped at any moment, and a slow consumer
    makes updates fewer and larger, never lost. (No generator, which trio would have to be told to close.)
    """

    def __init__(self, follower: Follower, poll_interval_s: float) -> None:
        self._follower, self._poll_interval_s = follower, poll_interval_s
        self._next_poll = self._answered = trio.current_time()
        self._nudged = trio.Event()

    def nudge(self) -> None:
        """Poll sooner: somebody says that something happened. At most every :data:`NUDGED_POLL_S_MIN`."""
        self._nudged.set()

    def __aiter__(self) -> ChainFeed:
        return self

    async def __anext__(self) -> ChainUpdate:
        """The next update. Failures of the endpoint are borne for :data:`OUTAGE_S_MAX`.

        Raises:
            EndpointsDisagreeError: at once; nothing may be done on such ground.
            ChainError: the endpoint failed for longer than that.
        """
        while True:
            with trio.move_on_at(self._next_poll):
                await trio.sleep(NUDGED_POLL_S_MIN)
                await self._nudged.wait()
            self._nudged = trio.Event()
            self._next_poll = trio.current_time() + self._poll_interval_s
            try:
                update = await self._follower.poll()
            except ChainError as error:
                outage_s = trio.current_time() - self._answered
                if isinstance(error, EndpointsDisagreeError) or outage_s > OUTAGE_S_MAX:
                    raise
                continue
            self._answered = trio.current_time()
            if update is not None:
                return update


def _is_block(answer: Json | RpcError, hash_: bytes) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get("hash"), str) and as_bytes(answer["hash"]) == hash_
