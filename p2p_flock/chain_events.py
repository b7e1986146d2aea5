"""What the alliance contract says, as past-tense values: one dataclass per fact, about one per log.

Made by ``chain/events.py``, folded by ``alliance/history.py`` and handed to the machines. Bytes are raw, integers are
integers; ``block`` and ``log_index`` order logs totally, ``timestamp_s`` is the block's. One log that tells of several
ballots becomes several :class:`BallotRevealed` at the same position, in the order of the validators' positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BEFORE_ROUND_ZERO = 2**32 - 1  # the contract's round number for what happens before the first OPEN
ABSENCE_FAULT = 6  # in Slashed: an unanswered challenge; costs neither the seat nor the tenure's one provable slash


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
class SeatSuspected:
    """Its cohorts were rejected ``suspicion_bound`` times in a row or more, as anyone may show (alliance/suspicion.py).

    The seat goes like a leaver's; no stake is lost. It is not reactivated: the owner withdraws, and may join anew.
    ``first_round`` and ``last_round``: of the records that were shown; the last is the last settled round.
    """

    at: LogPosition
    seat: int
    owner: bytes
    first_round: int
    last_round: int


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
    """A fault was proved, or a challenge not answered. ``round`` is the fault's, ``amount`` in FLOCK wei.

    ``fault``: a number of ``alliance.evidence.Fault``, or :data:`ABSENCE_FAULT`.
    """

    at: LogPosition
    owner: bytes
    seat: int
    round: int
    fault: int
    amount: int
    beneficiary: bytes


@dataclass(frozen=True, slots=True)
class AbsenceChallenged:
    """A sealed survivor is accused of never having sent its unmasking; it may answer until ``deadline_s``."""

    at: LogPosition
    owner: bytes
    round: int
    challenger: bytes
    deadline_s: int


@dataclass(frozen=True, slots=True)
class AbsenceAnswered:
    """The accused showed its unmasking: the signed message's bytes, from a stranger's transaction."""

    at: LogPosition
    owner: bytes
    round: int
    unmasking: bytes


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
    """``positions`` of the validators that signed, ascending, and their ``signatures``, 65 bytes each."""

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
    """A validator's ballot was opened: before the round's end in full, else as the settlement's marks tell it.

    Attributes:
        verdicts: one byte a cohort, of ``types.Verdict``.
        grades: one byte a cohort, 0 to 15, zero unless the verdict is yes.
        score_micro: the validator's own metric of the base model, 0 to 1,000,000; 0 where it was not measured.
        aggregate_digests: one a cohort, 32 bytes each. From marks: the cohort's leading digest or 32 zero bytes.
        base_model_digest: 32 bytes. From marks: the leading base model, or 32 zero bytes for any other; also where no
            base model was confirmed by an accept quorum, for marks do not name it then.
        salt: 32 bytes of the commitment's opening; empty from marks.
    """

    at: LogPosition
    round: int
    position: int
    verdicts: bytes
    grades: bytes
    score_micro: int
    aggregate_digests: tuple[bytes, ...]
    base_model_digest: bytes
    salt: bytes


@dataclass(frozen=True, slots=True)
class SettledRecord:
    """What the chain keeps of a settled round, as a hash; shown to claim, to suspend and to accuse of absence.

    Attributes:
        revealed: bitmap of the validators' positions whose ballots were opened.
        outcomes: 2 bits a cohort, the first lowest, each a :class:`types.CohortOutcome`.
        seed: 32 bytes, of the sortition.
        survivors: words of the bitmap over trainer indexes, 256 a word.
        trainer_rewards: FLOCK wei for each survivor of the cohort; 0 where the cohort was not adopted. One a cohort.
        validator_rewards: FLOCK wei, base pay and agreement bonus; 0 where nothing was revealed. One a position.
        refund: FLOCK wei to each of ``sealer``, ``committer`` and ``settler``: addresses, 20 bytes, zero for nobody.
    """

    round: int
    seat_count: int
    revealed: int
    outcomes: int
    seed: bytes
    survivors: tuple[int, ...]
    trainer_rewards: tuple[int, ...]
    validator_rewards: tuple[int, ...]
    refund: int
    sealer: bytes
    committer: bytes
    settler: bytes


def pack_outcomes(outcomes: Sequence[int]) -> int:
    """The outcomes of a round's cohorts as its record keeps them: 2 bits each, the first lowest."""
    return sum(outcome << 2 * cohort for cohort, outcome in enumerate(outcomes))


@dataclass(frozen=True, slots=True)
class RoundSettled:
    """``base_model_digest`` is the one that an accept quorum named, or zero. ``closed``: no round follows.

    The ballots that it counted are told by :class:`BallotRevealed` before it, at the same log position.
    """

    at: LogPosition
    round: int
    outcomes: tuple[int, ...]
    aggregate_digests: tuple[bytes, ...]
    votes_for: tuple[int, ...]
    votes_against: tuple[int, ...]
    base_model_digest: bytes
    closed: bool
    record: SettledRecord


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
    | SeatSuspected
    | SeatReactivated
    | Slashed
    | AbsenceChallenged
    | AbsenceAnswered
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
