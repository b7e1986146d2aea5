"""An alliance's logs as typed events, and reading ranges of them in pages that providers allow.

Called by ``follower.py``, ``alliance_contract.py`` and ``adapter.py``. Must never hand out an event whose log does not
fit the ABI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from p2p_flock.chain.client import (
    Call,
    Json,
    RpcClient,
    as_bytes,
    as_object,
    as_quantity,
    block_head,
    is_rate_limit,
)
from p2p_flock.chain.contracts import ALLIANCE, address_bytes, address_text, load_contract, peer_id_text
from p2p_flock.chain.records import RoundPhase, RoundState
from p2p_flock.chain_events import (
    AbsenceAnswered,
    AbsenceChallenged,
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
    SeatSuspected,
    SeatSuspended,
    SettledRecord,
    Slashed,
    StakeWithdrawn,
    pack_outcomes,
)
from p2p_flock.crypto.signing import SIGNATURE_BYTES, Marks, unpack_marks
from p2p_flock.errors import AnswerTooLongError, ChainError, CryptoError, RpcError
from p2p_flock.params import COHORTS_MAX
from p2p_flock.types import DIGEST_BYTES, CohortOutcome

BLOCKS_PER_REQUEST = 2_000  # providers cap eth_getLogs at 5,000 or 10,000 blocks
LOGS_PER_REQUEST_MAX = 10_000  # beyond it the range is halved, as providers ask for
TIMES_REMEMBERED = 256  # of blocks, where the endpoint does not say them in its logs

PHASE_FIELD = 1  # place in the contract's RoundState that needs converting
# What a settlement says of a ballot beside its marks: it names the leading base model, a cohort's leading aggregate.
LEADING_BASE_BIT, LEADING_AGGREGATE_BIT = 144, 145
NO_DIGEST = bytes(DIGEST_BYTES)

# One entry per log that tells one fact: how the ABI's arguments become our dataclass. Logs without an entry here or in
# _EXPANDERS (claims) are nobody's business here and are passed over.
_MAKERS: Mapping[str, Callable[[LogPosition, dict[str, Any]], ChainEvent]] = {
    "SeatJoined": lambda at, a: SeatJoined(
        at,
        a["seat"],
        address_bytes(a["owner"]),
        peer_id_text(a["peerId"]),
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
    "SeatSuspected": lambda at, a: SeatSuspected(
        at, a["seat"], address_bytes(a["owner"]), a["firstRound"], a["lastRound"]
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
    "AbsenceChallenged": lambda at, a: AbsenceChallenged(
        at, address_bytes(a["owner"]), a["round"], address_bytes(a["challenger"]), a["deadline"]
    ),
    "AbsenceAnswered": lambda at, a: AbsenceAnswered(at, address_bytes(a["owner"]), a["round"], a["unmasking"]),
    "StakeWithdrawn": lambda at, a: StakeWithdrawn(at, address_bytes(a["owner"]), a["stake"]),
    "AddressesRegistered": lambda at, a: AddressesRegistered(at, a["seat"], address_bytes(a["owner"]), a["addresses"]),
    "RoundOpened": lambda at, a: RoundOpened(at, a["round"], a["seatCount"], a["beaconRound"], a["opensAt"]),
    "RoundSealed": lambda at, a: _round_sealed(at, a),
    "BallotsCommitted": lambda at, a: _ballots_committed(at, a),
    "RoundVoided": lambda at, a: RoundVoided(at, a["round"], a["reason"]),
    "AllianceClosed": lambda at, a: AllianceClosed(at, a["round"]),
}


def record_from_abi(values: Sequence[Any]) -> SettledRecord:
    """The contract's ``RoundRecord``, whose fields are ours in the same order."""
    senders = (address_bytes(sender) for sender in values[-3:])
    return SettledRecord(*(*values[:-3], *senders))


def _positions(bitmap: int) -> tuple[int, ...]:
    return tuple(position for position in range(bitmap.bit_length()) if bitmap >> position & 1)


def _round_sealed(at: LogPosition, a: dict[str, Any]) -> RoundSealed:
    positions, joined = _positions(a["signers"]), a["signatures"]
    if len(joined) != len(positions) * SIGNATURE_BYTES:
        raise ChainError("a log of RoundSealed has another number of signatures than of signers")
    signatures = tuple(joined[start : start + SIGNATURE_BYTES] for start in range(0, len(joined), SIGNATURE_BYTES))
    return RoundSealed(
        at,
        a["round"],
        a["leaderView"],
        a["seal"],
        a["seed"],
        a["manifestDigest"],
        a["survivors"],
        positions,
        signatures,
    )


def _ballots_committed(at: LogPosition, a: dict[str, Any]) -> BallotsCommitted:
    positions = _positions(a["positions"])
    if len(positions) != len(a["commitments"]):
        raise ChainError("a log of BallotsCommitted has another number of commitments than of positions")
    return BallotsCommitted(at, a["round"], positions, a["commitments"])


def _ballots_recorded(at: LogPosition, a: dict[str, Any]) -> tuple[ChainEvent, ...]:
    """Ballots that were opened before the round's end, each in full."""
    reveals = []
    for word, base_model_digest, aggregate_digests, salt in a["ballots"]:
        marks = _unpack(word, len(aggregate_digests))
        reveals.append(_reveal(at, a["round"], marks, aggregate_digests, base_model_digest, salt))
    return tuple(reveals)


def _round_settled(at: LogPosition, a: dict[str, Any]) -> tuple[ChainEvent, ...]:
    """The ballots that the settlement counted, as far as their marks tell, and the settlement itself."""
    outcomes, adopted = a["cohortOutcome"], a["aggregateDigests"]
    if len(outcomes) != len(adopted) or any(outcome not in tuple(CohortOutcome) for outcome in outcomes):
        raise ChainError("a log of RoundSettled has other outcomes than cohorts")
    record = record_from_abi(a["record"])
    if len(record.trainer_rewards) != len(outcomes) or record.revealed.bit_length() > len(record.validator_rewards):
        raise ChainError("a log of RoundSettled has other rewards than cohorts and validators")
    if record.outcomes != pack_outcomes(outcomes):
        raise ChainError("a log of RoundSettled has other outcomes than its record")
    reveals = []
    for word in a["marks"]:
        marks, leading = _unpack(word & (1 << LEADING_BASE_BIT) - 1, len(outcomes)), word >> LEADING_AGGREGATE_BIT
        digests = tuple(digest if leading >> cohort & 1 else NO_DIGEST for cohort, digest in enumerate(adopted))
        base_model_digest = a["baseModelDigest"] if word >> LEADING_BASE_BIT & 1 else NO_DIGEST
        reveals.append(_reveal(at, a["round"], marks, digests, base_model_digest, b""))
    if record.round != a["round"] or _positions(record.revealed) != tuple(reveal.position for reveal in reveals):
        raise ChainError("a log of RoundSettled has other ballots than its record")
    settled = RoundSettled(
        at,
        a["round"],
        outcomes,
        adopted,
        a["votesFor"],
        a["votesAgainst"],
        a["baseModelDigest"],
        a["closed"],
        record,
    )
    return (*reveals, settled)


def _reveal(
    at: LogPosition, round_number: int, marks: Marks, digests: tuple[bytes, ...], base_model_digest: bytes, salt: bytes
) -> BallotRevealed:
    return BallotRevealed(
        at,
        round_number,
        marks.position,
        marks.verdicts,
        marks.grades,
        marks.score_micro,
        digests,
        base_model_digest,
        salt,
    )


def _unpack(word: int, cohort_count: int) -> Marks:
    if cohort_count > COHORTS_MAX:
        raise ChainError(f"a log has more than {COHORTS_MAX} cohorts")
    try:
        return unpack_marks(word, cohort_count)
    except CryptoError as error:
        raise ChainError(f"a log has a ballot that the contract does not take: {error}") from error


# Logs that tell several facts.
_EXPANDERS: Mapping[str, Callable[[LogPosition, dict[str, Any]], tuple[ChainEvent, ...]]] = {
    "BallotsRecorded": _ballots_recorded,
    "RoundSettled": _round_settled,
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


def decode_log(log: Log, timestamp_s: int) -> tuple[ChainEvent, ...]:
    """The facts that a log tells, all at its position; none for one that no machine needs.

    Raises:
        ChainError: the log does not fit its event.
    """
    event = load_contract(ALLIANCE).events.get(log.topics[0])
    if event is None or event.name not in _MAKERS.keys() | _EXPANDERS.keys():
        return ()
    at = LogPosition(log.block, log.index, timestamp_s, log.transaction)
    arguments = event.decode(log.topics, log.data)
    if event.name in _EXPANDERS:
        return _EXPANDERS[event.name](at, arguments)
    return (_MAKERS[event.name](at, arguments),)


def decode_logs(logs: Sequence[tuple[Log, int]]) -> list[ChainEvent]:
    """The typed events of logs with their blocks' times (Unix seconds), in the same order.

    Raises:
        ChainError: a log does not fit its event.
    """
    return [event for log, timestamp_s in logs for event in decode_log(log, timestamp_s)]


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
            except (RpcError, AnswerTooLongError) as error:
                span = end - from_block + 1
                if span == 1 or (isinstance(error, RpcError) and is_rate_limit(error)):
                    raise  # asking for less would only ask more often
                size = span // 2  # a provider's cap on range or results
                continue
            logs = await self.logs_of(answers[0], from_block, end)
            # What one crowded range or one bad moment taught is forgotten again, slowly.
            return Page(end, block_head(answers[1]).hash, tuple(logs), min(size + size // 4 + 1, BLOCKS_PER_REQUEST))

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
        is_alone = self._client.endpoint_count == 1  # with two, they must agree on the time too
        return [
            (log, time if time is not None and is_alone else await self._time_of(log.block_hash))
            for log, time in sorted(self._parse(answer), key=lambda pair: pair[0])
            if from_block <= log.block <= to_block
        ]

    async def _time_of(self, block_hash: bytes) -> int:
        if block_hash not in self._times:
            if len(self._times) >= TIMES_REMEMBERED:
                self._times.clear()
            call = Call("eth_getBlockByHash", ("0x" + block_hash.hex(), False))
            (header,) = await self._client.agreed((call,), lambda answers: block_head(answers[0]).timestamp_s)
            self._times[block_hash] = block_head(header).timestamp_s
        return self._times[block_hash]
