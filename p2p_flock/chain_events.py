"""What the alliance contract says, as past-tense values: one dataclass per log, fields in ABI order.

Made by ``chain/events.py``, folded by ``alliance/history.py`` and handed to the machines. Bytes are raw, integers are
integers; ``block`` and ``log_index`` order them totally, ``timestamp_s`` is the block's.
"""

from __future__ import annotations

from dataclasses import dataclass

BEFORE_ROUND_ZERO = 2**32 - 1  # the contract's round number for what happens before the first OPEN


@dataclass(frozen=True, slots=True)
class LogPosition:
    """Where a log stands: block number, index in the block, block time (Unix seconds), transaction hash."""

    block: int
    log_index: int
    timestamp_s: int
    transaction: bytes


@dataclass(frozen=True, slots=True)
class SeatJoined:
    """``round`` is the first one that may include the seat; ``peer_signature`` is not checked by the contract."""

    at: LogPosition
    seat: int
    owner: bytes
    peer_id: str
    mask_key: bytes
    weight: int
    round: int
    peer_signature: bytes


@dataclass(frozen=True, slots=True)
class SeatLeft:
    """The owner asked to leave; the seat stays until the next OPEN removes it."""

    at: LogPosition
    seat: int
    owner: bytes


@dataclass(frozen=True, slots=True)
class SeatRemoved:
    """The seat's slot was freed at an OPEN (the last seat may have moved into it, see :class:`SeatMoved`)."""

    at: LogPosition
    seat: int
    owner: bytes


@dataclass(frozen=True, slots=True)
class SeatMoved:
    at: LogPosition
    owner: bytes
    from_seat: int
    to_seat: int


@dataclass(frozen=True, slots=True)
class KeyRegistered:
    at: LogPosition
    seat: int
    owner: bytes
    mask_key: bytes
    round: int
    generation: int


@dataclass(frozen=True, slots=True)
class SeatSuspended:
    """Absent in two settled rounds in a row, as anyone may show. The seat goes like a leaver's; no stake is lost."""

    at: LogPosition
    seat: int
    owner: bytes
    first_round: int
    second_round: int


@dataclass(frozen=True, slots=True)
class SeatReactivated:
    """A suspended owner took a seat again, at the end of the table; ``round`` is the first that may include it.

    Peer ID, peer signature and weight are those of its :class:`SeatJoined`.
    """

    at: LogPosition
    seat: int
    owner: bytes
    mask_key: bytes
    generation: int
    round: int


@dataclass(frozen=True, slots=True)
class Slashed:
    """A fault was proved. ``round`` is the fault's, ``fault`` a number of ``alliance.evidence.Fault``, wei of FLOCK."""

    at: LogPosition
    owner: bytes
    seat: int
    round: int
    fault: int
    amount: int
    beneficiary: bytes


@dataclass(frozen=True, slots=True)
class StakeWithdrawn:
    """The end of a tenure; ``amount`` in FLOCK wei."""

    at: LogPosition
    owner: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class AddressesRegistered:
    """Where the owner says that its node can be dialled: multiaddrs, one a line. Hearsay, checked by nobody."""

    at: LogPosition
    seat: int
    owner: bytes
    addresses: bytes


@dataclass(frozen=True, slots=True)
class RoundOpened:
    at: LogPosition
    round: int
    seat_count: int
    beacon_round: int
    opens_at_s: int


@dataclass(frozen=True, slots=True)
class RoundSealed:
    at: LogPosition
    round: int
    view: int
    seal: bytes
    seed: bytes
    manifest_digest: bytes
    survivors: tuple[int, ...]
    positions: tuple[int, ...]
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BallotsCommitted:
    at: LogPosition
    round: int
    positions: tuple[int, ...]
    commitments: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BallotRevealed:
    at: LogPosition
    round: int
    position: int
    verdicts: bytes
    aggregate_digests: tuple[bytes, ...]
    base_model_digest: bytes


@dataclass(frozen=True, slots=True)
class RoundSettled:
    at: LogPosition
    round: int
    outcomes: tuple[int, ...]
    aggregate_digests: tuple[bytes, ...]
    votes_for: tuple[int, ...]
    votes_against: tuple[int, ...]
    base_model_digest: bytes
    closed: bool


@dataclass(frozen=True, slots=True)
class RoundVoided:
    at: LogPosition
    round: int
    reason: int


@dataclass(frozen=True, slots=True)
class AllianceClosed:
    at: LogPosition
    round: int


ChainEvent = (
    SeatJoined
    | SeatLeft
    | SeatRemoved
    | SeatMoved
    | KeyRegistered
    | SeatSuspended
    | SeatReactivated
    | Slashed
    | StakeWithdrawn
    | AddressesRegistered
    | RoundOpened
    | RoundSealed
    | BallotsCommitted
    | BallotRevealed
    | RoundSettled
    | RoundVoided
    | AllianceClosed
)
