"""What the core needs of the world: the events that machines take, the effects they answer with, four Protocols.

Machines (``alliance/trainer.py``, ``alliance/validator.py``) are pure: ``handle(event, now_ms)`` returns a tuple of
effects, ``deadline_ms()`` says when to call again at the latest. ``daemon/driver.py`` executes effects on trio; the
simulator executes the same ones on a heap. Vectors never pass through a machine: an update is a :class:`Vector` that is
read in blocks, masked chunks and aggregates lie in the own blob store and go by their digests.

In every tuple the :class:`Persist` effects come first, and the driver finishes them before it starts any other: a node
persists before it speaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from p2p_flock.chain_events import BallotsCommitted, RoundSealed
from p2p_flock.crypto.fixed_point import Encoder
from p2p_flock.crypto.vectors import Vector
from p2p_flock.secagg.contributor import Masking
from p2p_flock.secagg.opening import Opened, Opening, Unopened
from p2p_flock.types import Stage
from p2p_flock.wire.messages import Ballot, Envelope, Message

# --- events ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The deadline that the machine named has come (or any other moment: it is always safe to send)."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message whose envelope was checked: signature by the owner of ``envelope.seat``, this round, this alliance."""

    envelope: Envelope
    message: Message


@dataclass(frozen=True, slots=True)
class UpdateComputed:
    """Answer to :class:`Train`.

    Attributes:
        values: the stage's width of float32 or float64: local sums (STATISTICS) or new − old parameters (TRAINING).
        entropy: 32 fresh random bytes for the round's secrets and the dither.
    """

    values: Vector[np.floating] = field(repr=False)
    entropy: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UpdateMasked:
    """Answer to :class:`MaskUpdate`: the chunks are in the own store. ``problem`` says why there are none, if so."""

    chunk_digests: tuple[bytes, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class BlobsFetched:
    """Answer to :class:`Fetch`, exactly one for each, also where nothing came.

    All named blobs are in the own store, verified against their digests; the others are not there yet.

    Attributes:
        blobs: content by digest, where the machine asked to read it.
        sizes: size in bytes by digest, where it did not.
    """

    tag: str
    blobs: Mapping[bytes, bytes]
    sizes: Mapping[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SealObserved:
    """The chain holds this seal for the round, confirmed as deep as the operator asks."""

    event: RoundSealed


@dataclass(frozen=True, slots=True)
class CommitmentsObserved:
    """The chain holds these ballot commitments."""

    event: BallotsCommitted


@dataclass(frozen=True, slots=True)
class CommitPhaseEnded:
    """All V committed, or the chain's commit deadline has passed; ``reveal_deadline_s`` is the contract's."""

    committed_positions: frozenset[int]
    reveal_deadline_s: int


@dataclass(frozen=True, slots=True)
class CohortOpened:
    """Answer to :class:`OpenCohort`."""

    cohort: int
    result: Opened | Unopened


@dataclass(frozen=True, slots=True)
class EvaluationFinished:
    """Answer to :class:`Evaluate`, by this validator's private data.

    Attributes:
        accepted: per requested cohort, whether its aggregate is good.
        grades: per cohort how much better it makes the model, 0..15 (``voting.compute_grade``); 0 where absent.
        score_micro: the base model's score in millionths (``voting.compute_score_micro``); 0 = not measured.
    """

    accepted: Mapping[int, bool]
    grades: Mapping[int, int] = field(default_factory=dict)
    score_micro: int = 0


@dataclass(frozen=True, slots=True)
class TransactionEnded:
    """Answer to :class:`Transact`; ``reason`` is empty on success, else the contract's error name or "rpc"."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class SeatReachable:
    """A connection to the seat's peer stands (True) or is gone (False)."""

    seat: int
    reachable: bool


Event = (
    TimePassed
    | MessageReceived
    | UpdateComputed
    | UpdateMasked
    | BlobsFetched
    | SealObserved
    | CommitmentsObserved
    | CommitPhaseEnded
    | CohortOpened
    | EvaluationFinished
    | TransactionEnded
    | SeatReachable
)

# --- effects ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Persist:
    """Write to the journal and fsync before anything after it in the tuple happens.

    A second record under the same (round, kind, key) with another body is a contradiction and stops the node.
    ``secret`` records go to the encrypted round-secrets file instead, which is erased when the round is final.
    """

    kind: str
    key: str
    body: bytes = field(repr=False)
    secret: bool = False


@dataclass(frozen=True, slots=True)
class StoreBlobs:
    """Keep these content-addressed blobs, all short, and serve them to peers."""

    blobs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Point to point to these seats; delivery is never promised."""

    seats: tuple[int, ...]
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Fetch:
    """Pull blobs by sha-256 from these seats' peers, in this order of preference, into the own store; it comes first.

    Attributes:
        tag: told back in the answer.
        is_read: the machine reads them, so they are few and short; else it hears of their sizes only.
    """

    tag: str
    digests: tuple[bytes, ...]
    seats: tuple[int, ...]
    bytes_max_each: int
    is_read: bool = True


@dataclass(frozen=True, slots=True)
class Train:
    """Compute this round's update in the worker. ``seed`` orders the batches."""

    stage: Stage
    seed: int


@dataclass(frozen=True, slots=True)
class MaskUpdate:
    """Run ``secagg.contributor.mask_blocks`` off the event loop, chunks to the own store; see :class:`UpdateMasked`."""

    masking: Masking
    encoder: Encoder


@dataclass(frozen=True, slots=True)
class OpenCohort:
    """Run ``secagg.opening.open_sum`` off the event loop, with chunks from the own store; see :class:`CohortOpened`.

    The aggregate's blob goes to the own store too, and is served.
    """

    cohort: int
    opening: Opening


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Judge each cohort's aggregate on private data against the current model; ``aggregates``: digest by cohort."""

    stage: Stage
    aggregates: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class SealRound:
    view: int
    manifest_digest: bytes
    survivors: tuple[int, ...]
    positions: tuple[int, ...]
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CommitRound:
    """The poster adds the seal (``alliance/settling.py``)."""

    positions: tuple[int, ...]
    commitments: tuple[bytes, ...]
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SettleRound:
    """The ballots that this machine holds; the poster adds what the chain's log knows (``alliance/settling.py``)."""

    positions: tuple[int, ...]
    ballots: tuple[Ballot, ...]


@dataclass(frozen=True, slots=True)
class Transact:
    """Post one of the round's three transactions. Losing the race to another sender is an expected outcome."""

    call: SealRound | CommitRound | SettleRound


@dataclass(frozen=True, slots=True)
class Accuse:
    """Post this evidence to the contract when it is this node's turn: an encoded ``alliance.evidence.EvidenceRecord``.

    It was journalled in the same tuple; posting outlives the round, and nothing is answered.
    """

    evidence: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """A line for the operator: the phase this seat entered, or what went wrong and whose doing it was."""

    phase: str
    text: str
    culprit: int | None = None


Effect = Persist | StoreBlobs | Send | Fetch | Train | MaskUpdate | OpenCohort | Evaluate | Transact | Accuse | Report


class Machine(Protocol):
    """What the driver and the simulator drive."""

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        """Begin, or begin again after a restart with what the journal holds of this round."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        """Take one event; never raises on a participant's doing."""

    def deadline_ms(self) -> int | None:
        """Chain time at which to send :class:`TimePassed` at the latest; ``None`` when there is nothing to wait for."""


class Signer(Protocol):
    """Signs 32-byte digests with the seat owner's key (deterministic, RFC 6979); r ‖ s ‖ v, 65 bytes."""

    def __call__(self, digest: bytes) -> bytes: ...


class Recoverer(Protocol):
    """Says which 20-byte address signed a digest, as ``crypto.signing.recover_address`` does and raising as it does."""

    def __call__(self, digest: bytes, signature: bytes) -> bytes: ...


class BlobReader(Protocol):
    """Reads a blob that the own store holds; raises KeyError where it does not."""

    def __call__(self, digest: bytes) -> bytes: ...


class Journal(Protocol):
    """What a restarted node finds of a round."""

    def records(self, round_number: int) -> Sequence[Persist]: ...
