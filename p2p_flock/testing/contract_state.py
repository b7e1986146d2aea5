"""What the simulated contract stores and what is sent to it: transactions, rows, logs. See ``contract.py``.

Rows are immutable, so that a copy of the whole state is cheap: a reorganisation goes on from an older one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from p2p_flock.alliance.evidence import Evidence, SealStatement
from p2p_flock.alliance.settling import Settlement
from p2p_flock.chain_events import BEFORE_ROUND_ZERO, ChainEvent, LogPosition, SettledRecord
from p2p_flock.errors import P2PFlockError
from p2p_flock.ports import CommitRound, SealRound

WAITING, RUNNING, CLOSED = 0, 1, 4


class Refused(P2PFlockError):
    """The contract reverts; ``reason`` is its error's name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def require(condition: bool, reason: str) -> None:
    """Raises :class:`Refused` with the contract's error name where ``condition`` does not hold."""
    if not condition:
        raise Refused(reason)


# --- what is sent ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Join:
    peer_id: str
    mask_key: bytes
    weight: int
    allowlist_proof: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Leave:
    pass


@dataclass(frozen=True, slots=True)
class RegisterKey:
    mask_key: bytes


@dataclass(frozen=True, slots=True)
class Suspend:
    owner: bytes
    first: SettledRecord
    second: SettledRecord


@dataclass(frozen=True, slots=True)
class SuspendSuspected:
    owner: bytes
    records: tuple[SettledRecord, ...]


@dataclass(frozen=True, slots=True)
class Reactivate:
    mask_key: bytes


@dataclass(frozen=True, slots=True)
class Slash:
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Withdraw:
    pass


@dataclass(frozen=True, slots=True)
class Claim:
    records: tuple[SettledRecord, ...]


@dataclass(frozen=True, slots=True)
class Close:
    pass


@dataclass(frozen=True, slots=True)
class VoidRound:
    round: int


@dataclass(frozen=True, slots=True)
class Commitments:
    """Arguments of ``commitRound``."""

    seal: SealStatement
    call: CommitRound


@dataclass(frozen=True, slots=True)
class RoundCall:
    """One of the machines' three transactions, with what the poster adds (``alliance/settling.py``)."""

    round: int
    call: SealRound | Commitments | Settlement


MemberCall = Join | Leave | RegisterKey | Suspend | SuspendSuspected | Reactivate | Slash | Withdraw
Call = MemberCall | Claim | Close | VoidRound | RoundCall


# --- what is stored: immutable rows, so that a copy of the state is cheap ------------------------------------------


@dataclass(frozen=True, slots=True)
class MemberRow:
    """``releases_at_s`` and the rounds as in ``AllianceBase.sol``; amounts in wei."""

    seat: int
    seated: bool
    leaving: bool
    suspended: bool
    slashed: bool
    weight: int
    joined_round: int
    tenure_round: int
    key_round: int
    key_generation: int
    stake: int
    releases_at_s: int
    mask_key: bytes
    previous_key: bytes
    peer_id: str
    suspected: bool = False


@dataclass(frozen=True, slots=True)
class RoundRow:
    """The running round.

    Attributes:
        seal: struct hash; what it is the hash of, callers show.
        order: positions whose commitments are in ``chain``, in the order of arrival. The contract keeps a bitmap.
        chain: rolling hash of them and their commitments; ``testing/contract_rounds.py``.
        revealed: positions whose ballots were recorded.
    """

    number: int
    beacon_round: int
    opens_at_s: int
    seat_count: int
    sealed_at_s: int = 0
    commit_deadline_s: int = 0
    seed: bytes = b""
    seal: bytes = b""
    sealer: bytes = b""
    committer: bytes = b""
    order: tuple[int, ...] = ()
    chain: bytes = bytes(32)
    revealed: frozenset[int] = frozenset()

    @property
    def is_sealed(self) -> bool:
        return self.sealed_at_s != 0


@dataclass(slots=True)
class State:
    """The contract's storage, FLOCK balances. Of ``settled`` the contract keeps hashes: a caller brings the record."""

    pool: int
    balances: dict[bytes, int]
    minted: int
    phase: int = WAITING
    next_round: int = 0
    since_s: int = 0
    queue: tuple[bytes, ...] = ()
    settled_count: int = 0
    void_count: int = 0
    owed: int = 0
    stakes: int = 0
    seats: tuple[bytes, ...] = ()
    round: RoundRow | None = None
    members: dict[bytes, MemberRow] = field(default_factory=dict)
    seat_history: dict[bytes, tuple[tuple[int, int], ...]] = field(default_factory=dict)  # (round from, seat or -1)
    credits: dict[bytes, int] = field(default_factory=dict)
    settled: dict[int, SettledRecord] = field(default_factory=dict)
    claimed: frozenset[tuple[bytes, int]] = frozenset()

    def copy(self) -> State:
        """An independent one."""
        return replace(
            self,
            balances=dict(self.balances),
            members=dict(self.members),
            seat_history=dict(self.seat_history),
            credits=dict(self.credits),
            settled=dict(self.settled),
        )

    @property
    def running(self) -> int:
        """The current round's number, or the last one's; ``BEFORE_ROUND_ZERO`` before there is any."""
        return self.next_round - 1 if self.next_round else BEFORE_ROUND_ZERO


class Log:
    """Collects one transaction's logs; ``at`` is the next one's position."""

    def __init__(self, block: int, first_index: int, timestamp_s: int, transaction: bytes) -> None:
        self._block, self._first_index, self._transaction = block, first_index, transaction
        self.timestamp_s = timestamp_s
        self.events: list[ChainEvent] = []

    @property
    def at(self) -> LogPosition:
        index = self._first_index + len(self.events)
        return LogPosition(self._block, index, self.timestamp_s, self._transaction)
