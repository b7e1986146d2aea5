"""Who is seated, suspended, slashed, gone: the part of the chain's log that tells of members. A pure fold.

The base of :class:`alliance.history.AllianceHistory`, which hands it the log's events in order. Knows no rounds but
their numbers. It keeps the seat table as the contract does (removed by the last one moving in), and what befell each
owner, so that an operator can be told (:class:`Happening`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from p2p_flock.chain_events import (
    ABSENCE_FAULT,
    BEFORE_ROUND_ZERO,
    AbsenceAnswered,
    AbsenceChallenged,
    AddressesRegistered,
    ChainEvent,
    KeyRegistered,
    LogPosition,
    SeatJoined,
    SeatLeft,
    SeatMoved,
    SeatReactivated,
    SeatRemoved,
    SeatSuspected,
    SeatSuspended,
    Slashed,
    StakeWithdrawn,
)
from p2p_flock.crypto.peer_identity import public_key_of
from p2p_flock.crypto.signing import is_join_binding
from p2p_flock.errors import ChainError, CryptoError, WireError
from p2p_flock.types import Domain

NEVER = -1  # before round 0
MemberEvent = SeatSuspended | SeatSuspected | Slashed | AddressesRegistered | StakeWithdrawn
SeatEvent = SeatLeft | SeatRemoved | SeatMoved | KeyRegistered


@dataclass(frozen=True, slots=True)
class SeatEntry:
    """One row of the seat table.

    Attributes:
        key, key_round: the newest registered mask key and the round during which it was registered (NEVER = before 0);
            a key counts from the round after.
        binding_valid: the peer ID's signature over the join was checked and is good.
        joined_round: first round of its tenure, which lasts from join to withdrawal; what it did before is past.
        active_round: first round since it was last seated, by joining or by reactivation.
        removed_at_s: of a former seat, chain time of its removal.
    """

    owner: bytes
    peer_id: str
    weight: int
    key: bytes
    key_round: int
    binding_valid: bool
    joined_round: int = 0
    active_round: int = 0
    leaving: bool = False
    removed_at_s: int | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    """What befell a member, as the log tells everybody. Kept for operators; nothing is decided by it.

    Attributes:
        round: that was running when it happened (NEVER: before round 0).
        what: joined, reactivated, left (asked to), suspended (absent), suspected, slashed, withdrawn, challenged,
            answered.
        seat: ``None`` where the log does not tell.
        rounds: that it was for: of an absence, a rejection, a fault.
        fault: number of a slash's fault; amount: FLOCK wei that were slashed or paid back; beneficiary: of a slash, who
            is paid a tenth of it for the evidence.
        at: the log; its transaction holds the evidence of a slash.
    """

    round: int
    what: str
    owner: bytes
    seat: int | None
    at: LogPosition
    rounds: tuple[int, ...] = ()
    fault: int | None = None
    amount: int | None = None
    beneficiary: bytes | None = None


def is_bound(domain: Domain, event: SeatJoined) -> bool:
    """Whether the peer ID signed the join: without it a seat could point at somebody else's node."""
    try:
        peer_key = public_key_of(event.peer_id)
    except (CryptoError, WireError):
        return False
    return is_join_binding(domain, event.owner, event.mask_key, peer_key, event.peer_signature)


def describe_happening(event: ChainEvent, round_number: int) -> Happening | None:
    """What a log tells of a member; ``None`` for one that tells of rounds, keys, addresses or slots of the table.

    Args:
        round_number: the newest round that opened.
    """
    match event:
        case SeatJoined():
            return Happening(round_number, "joined", event.owner, event.seat, event.at, (event.round,))
        case SeatReactivated():
            return Happening(round_number, "reactivated", event.owner, event.seat, event.at, (event.round,))
        case SeatLeft():
            return Happening(round_number, "left", event.owner, event.seat, event.at)
        case SeatSuspended():
            rounds = (event.first_round, event.second_round)
            return Happening(round_number, "suspended", event.owner, event.seat, event.at, rounds)
        case SeatSuspected():
            rounds = (event.first_round, event.last_round)
            return Happening(round_number, "suspected", event.owner, event.seat, event.at, rounds)
        case Slashed():
            told = (event.at, (event.round,), event.fault, event.amount, event.beneficiary)
            return Happening(round_number, "slashed", event.owner, event.seat, *told)
        case StakeWithdrawn():
            return Happening(round_number, "withdrawn", event.owner, None, event.at, amount=event.amount)
        case AbsenceChallenged():
            return Happening(round_number, "challenged", event.owner, None, event.at, (event.round,))
        case AbsenceAnswered():
            return Happening(round_number, "answered", event.owner, None, event.at, (event.round,))
        case _:
            return None


class SeatTable:
    """The fold; see the module."""

    def __init__(self) -> None:
        self.seats: list[SeatEntry] = []
        self.withdrawn: set[bytes] = set()  # owners whose tenure is over, until they join anew
        self.slashed: dict[bytes, Slashed] = {}  # owner -> in its present tenure
        self.suspended: dict[bytes, SeatSuspended] = {}  # owner -> until it reactivates or joins anew
        self.suspected: dict[bytes, SeatSuspected] = {}  # owner -> until its tenure ends
        self.addresses: dict[bytes, bytes] = {}  # owner -> what it registered last, hostile text as likely as not
        self.happenings: list[Happening] = []  # in the log's order; a few dozen bytes for each transaction that paid
        # owner -> its entry when it lost its seat; a reactivated seat is the same member's
        self._unseated: dict[bytes, SeatEntry] = {}
        # What a SeatMoved wrote over; the contract's SeatRemoved follows in the same transaction
        self._vacated: tuple[int, SeatEntry] | None = None

    def joined_round(self, owner: bytes) -> int | None:
        """First round of the owner's tenure, seated or unbonding; ``None`` outside of one."""
        entry = self._member(owner)
        return None if entry is None else entry.joined_round

    def _member(self, owner: bytes) -> SeatEntry | None:
        """The owner's seat, or the last one it had in a tenure that is not over."""
        if owner in self.withdrawn:
            return None
        return next((entry for entry in self.seats if entry.owner == owner), self._unseated.get(owner))

    def _seat(self, event: SeatJoined | SeatReactivated, binding_valid: bool) -> None:
        if event.seat != len(self.seats):
            raise ChainError(f"seat {event.seat} joined while the table has {len(self.seats)}; compare RPC endpoints")
        if any(entry.owner == event.owner for entry in self.seats):
            raise ChainError("the log seats one owner twice; compare RPC endpoints")
        key_round = event.round - 1  # the key counts in the first round that may include the seat
        if isinstance(event, SeatJoined):
            self._forget_tenure(event.owner)
            self.withdrawn.discard(event.owner)
            terms = (event.owner, event.peer_id, event.weight, event.mask_key, key_round, binding_valid)
            entry = SeatEntry(*terms, joined_round=event.round, active_round=event.round)
        elif event.owner not in self.suspended or event.owner in self.slashed or event.owner not in self._unseated:
            raise ChainError("the log reactivates an owner that was not suspended; compare RPC endpoints")
        else:
            # The binding was over the first mask key of the join, which this seat's peer ID signed for all its keys.
            entry = replace(
                self._unseated[event.owner], key=event.mask_key, key_round=key_round, active_round=event.round,
                leaving=False, removed_at_s=None,
            )  # fmt: skip
        self.suspended.pop(event.owner, None)
        self._unseated.pop(event.owner, None)
        self.seats.append(entry)

    def _apply_member_event(self, event: MemberEvent) -> None:
        if not isinstance(event, Slashed | StakeWithdrawn):
            self._index(event.owner, event.seat)
        match event:
            case SeatSuspended():
                self.suspended[event.owner] = event
            case SeatSuspected():
                self.suspected[event.owner] = event
            case Slashed():
                # Absence may be slashed up to three times, takes little, and leaves the seat.
                if event.fault == ABSENCE_FAULT:
                    return
                if event.owner in self.slashed:
                    raise ChainError("the log slashes one owner twice in a tenure; compare RPC endpoints")
                self.slashed[event.owner] = event
            case AddressesRegistered():
                self.addresses[event.owner] = event.addresses
            case StakeWithdrawn():
                if self.joined_round(event.owner) is None:
                    raise ChainError("the log pays a stake back that nobody has; compare RPC endpoints")
                self.withdrawn.add(event.owner)
                self._forget_tenure(event.owner)
            case _:
                assert_never(event)

    def _forget_tenure(self, owner: bytes) -> None:
        for table in (self.suspended, self.suspected, self.slashed):
            table.pop(owner, None)

    def _apply_seat_event(self, event: SeatEvent) -> None:
        match event:
            case SeatLeft():
                self.seats[self._index(event.owner, event.seat)] = replace(self.seats[event.seat], leaving=True)
            case SeatRemoved():
                if self._vacated is None:
                    self._check_last(self._index(event.owner, event.seat))
                    removed = self.seats.pop()
                elif (self._vacated[0], self._vacated[1].owner) != (event.seat, event.owner):
                    raise ChainError("the log removes another seat than it moved; compare RPC endpoints")
                else:
                    removed = self._vacated[1]
                self._unseated[event.owner] = replace(removed, removed_at_s=event.at.timestamp_s)
                self._vacated = None
            case SeatMoved():
                self._check_last(self._index(event.owner, event.from_seat))
                if not 0 <= event.to_seat < event.from_seat:
                    raise ChainError("the log moves a seat to where none is; compare RPC endpoints")
                self._vacated = (event.to_seat, self.seats[event.to_seat])
                self.seats[event.to_seat] = self.seats.pop()
            case KeyRegistered():
                index = self._index(event.owner, event.seat)
                key_round = NEVER if event.round == BEFORE_ROUND_ZERO else event.round
                self.seats[index] = replace(self.seats[index], key=event.mask_key, key_round=key_round)
            case _:
                assert_never(event)

    def _index(self, owner: bytes, seat: int) -> int:
        if not (0 <= seat < len(self.seats) and self.seats[seat].owner == owner):
            raise ChainError(f"the log names seat {seat} with an owner it does not have; compare RPC endpoints")
        return seat

    def _check_last(self, seat: int) -> None:
        if seat != len(self.seats) - 1:
            raise ChainError("the log takes a seat from the middle of the table; compare RPC endpoints")
