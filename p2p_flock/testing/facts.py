"""What a simulation tells its checkers, as past-tense values: one dataclass per kind of thing that can happen.

Emitted by ``testing/simulator.py`` the moment it happens, read by ``testing/checkers.py`` and by the trace digest. A
fact says what *is*, seen by somebody who sees everything; what a member believes shows in what it does. Seats are those
of the round that is named; ``member`` is the owner's number, the same in every round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.model import Model
from p2p_flock.chain_events import ChainEvent
from p2p_flock.ports import Effect, Event, Machine, Persist, Signer
from p2p_flock.wire.messages import Envelope, Message


@dataclass(frozen=True, slots=True)
class Post:
    """What one member brings to one round: all that its machine is made of."""

    member: int
    seat: int
    context: RoundContext
    model: Model
    sign: Signer
    mask_secret_key: bytes
    history: AllianceHistory


Make = Callable[[Post], Machine]
"""Makes the machine for a post: the honest one, a byzantine member's, or one with a planted bug."""


@dataclass(frozen=True, slots=True)
class RoundBegan:
    """The canonical chain opened this round and its beacon is known. Comes again with another context after a reorg."""

    at_ms: int
    context: RoundContext
    members: tuple[int, ...]  # by seat
    randomness: bytes = b""  # the beacon's, 32 bytes; without it no round is compared with the reference


@dataclass(frozen=True, slots=True)
class TookPost:
    """A member's process made the machine of a round, from what *its* endpoints show: on a fork or behind a lying
    endpoint another context than :class:`RoundBegan` says. Before the machine's first :class:`Acted`."""

    at_ms: int
    member: int
    seat: int
    context: RoundContext


@dataclass(frozen=True, slots=True)
class Acted:
    """A machine took an event (``None``: it was started, with what the journal held) and gave these effects."""

    at_ms: int
    member: int
    round: int
    event: Event | None
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """An honest member's code raised on what the world did to it. Always a violation; ``error`` is its text."""

    at_ms: int
    member: int
    round: int
    error: str


@dataclass(frozen=True, slots=True)
class Persisted:
    """A journal record is on disk."""

    at_ms: int
    member: int
    round: int
    record: Persist


@dataclass(frozen=True, slots=True)
class Said:
    """An envelope left a member, once per Send effect, whether or not it arrives anywhere.

    ``message`` is ``None`` where the body is no message of its kind (hostile bytes).
    """

    at_ms: int
    member: int
    round: int
    to: tuple[int, ...]
    envelope: Envelope
    message: Message | None


@dataclass(frozen=True, slots=True)
class Served:
    """A member pulled a blob from another one, right bytes or not; what the own store held is not told."""

    at_ms: int
    member: int
    source: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Accused:
    """A member posts this evidence (encoded ``alliance.evidence.EvidenceRecord``)."""

    at_ms: int
    member: int
    round: int
    evidence: bytes


@dataclass(frozen=True, slots=True)
class Logged:
    """The canonical chain holds this log now; ``fork`` counts reorganisations so far."""

    at_ms: int
    fork: int
    event: ChainEvent


@dataclass(frozen=True, slots=True)
class Reorganised:
    """The canonical chain lost every log from ``first_block`` on; those that it has again come as :class:`Logged`."""

    at_ms: int
    fork: int
    first_block: int


@dataclass(frozen=True, slots=True)
class BalanceTaken:
    """The contract's money after a block, FLOCK wei: minted = balances + stakes + pool + unclaimed is P6."""

    at_ms: int
    minted: int
    balances: int
    stakes: int
    pool: int
    unclaimed: int


@dataclass(frozen=True, slots=True)
class AllClaimed:
    """On a copy of the last block's state everybody claimed all it could: ``unclaimed`` FLOCK wei are left."""

    at_ms: int
    unclaimed: int


@dataclass(frozen=True, slots=True)
class ModelApplied:
    """An honest member applied a settled round's outcome; ``after`` is its model's digest now."""

    at_ms: int
    member: int
    round: int
    before: bytes
    after: bytes


@dataclass(frozen=True, slots=True)
class Stopped:
    """A member's process ended: it crashed, was killed for good, or stopped itself with this reason."""

    at_ms: int
    member: int
    is_final: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Started:
    """A member's process runs (again). ``restored``: from an older backup of its journal, without its secrets file."""

    at_ms: int
    member: int
    restored: bool


@dataclass(frozen=True, slots=True)
class Healed:
    """From now on no new fault happens: whoever is to come back comes back, the network delivers, the chain is calm."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The simulation is over: all rounds ended and everybody had its time, or the time limit was reached."""

    at_ms: int
    rounds_settled: int
    rounds_voided: int


Fact = (
    RoundBegan
    | TookPost
    | Acted
    | Failed
    | Persisted
    | Said
    | Served
    | Accused
    | Logged
    | Reorganised
    | BalanceTaken
    | AllClaimed
    | ModelApplied
    | Stopped
    | Started
    | Healed
    | Ended
)
