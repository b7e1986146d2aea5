"""The one error tree. Every message says what is wrong and what to do about it.

Called by everyone; imports nothing but the standard library. Expected outcomes (a dropout, a void round, a message to
ignore) are values and never stand here: see :class:`DropReason` and :class:`AbortReason` for the reasons they carry.
"""

from __future__ import annotations

from enum import Enum


class Penalty(Enum):
    """What a reason costs its culprit. ``tests/unit/test_reasons.py`` forces the class of every reason.

    "Honest" is a node that runs this code, whatever the network, the other members and its own crashes do to it. A node
    that follows another fork of the chain may lose standing with us, which comes back, and never a stake.
    """

    HARMLESS = "harmless"  # nothing: an honest node can be named for it
    SCORE = "score"  # the peer's stream and its standing with us; on our fork no honest node is ever named for it
    SLASHABLE = "slashable"  # a part of its stake: whoever saw it holds evidence that convicts (alliance/evidence.py)


class DropReason(Enum):
    """Why one participant's message or seat was dropped; each value is ``(text, penalty)``."""

    NO_CONTRIBUTION = ("nothing arrived before the deadline", Penalty.HARMLESS)
    NO_MASK_KEY = ("its mask key is spent and no fresh one is registered", Penalty.HARMLESS)
    UNKNOWN_SENDER = ("the sender holds no seat, or not this role, in this round", Penalty.SCORE)
    MALFORMED = ("the bytes are not a canonical message of this kind", Penalty.SCORE)
    BAD_SIGNATURE = ("the signature is not by the seat's owner", Penalty.SCORE)
    WRONG_ROUND = ("the message belongs to another round", Penalty.HARMLESS)
    WRONG_SEAL = ("the message names a seal that the chain does not hold", Penalty.HARMLESS)
    DUPLICATE = ("the same message came before", Penalty.HARMLESS)
    EQUIVOCATION = ("the sender signed two contradicting messages", Penalty.SLASHABLE)
    BAD_DOCUMENT = ("the contribution document contradicts the round's rules", Penalty.SCORE)
    BAD_ROOT = ("the Merkle root does not belong to the document", Penalty.SCORE)
    BAD_CHUNK = ("a chunk is missing or does not match its digest", Penalty.SCORE)
    PAIR_SEED_MISMATCH = ("the two neighbors committed to different pair seeds", Penalty.HARMLESS)  # one may be honest
    BAD_BUNDLE = ("the sealed bundle does not open, or holds other shares than committed", Penalty.SCORE)
    BAD_SHARE = ("a share that a holder said does not match its commitment", Penalty.SLASHABLE)
    BAD_DEALING = ("the dealer's shares do not lie on the committed polynomial", Penalty.SLASHABLE)
    BAD_COMMITMENT = ("the dealer committed to a share that its dealing does not hold", Penalty.SCORE)
    FORBIDDEN_ITEM = ("the unmasking holds an item that must not be said under this seal", Penalty.SCORE)
    BAD_HAVE = ("two Have messages name different roots of one trainer", Penalty.SCORE)
    BAD_PROPOSAL = ("the proposed seal does not follow from the Have messages", Penalty.SCORE)
    BAD_BALLOT = ("the ballot contradicts its commitment or the round", Penalty.SCORE)

    @property
    def text(self) -> str:
        """The sentence an operator reads."""
        return self.value[0]

    @property
    def penalty(self) -> Penalty:
        """What the culprit pays."""
        return self.value[1]


class AbortReason(Enum):
    """Why a cohort ended without an aggregate; each value is ``(text, penalty)``.

    The penalty says whose doing it can be: HARMLESS, honest members may all have done their part; SCORE, some member
    broke the protocol, and either ``Unopened.faults`` names it or nobody can tell who. None is SLASHABLE by itself: the
    faults that come with it are.
    """

    TOO_FEW_SURVIVORS = ("a cohort has fewer than max(3, t, c + 3) surviving owners", Penalty.HARMLESS)
    TOO_FEW_ANSWERS = ("fewer than the threshold of holders answered for a survivor", Penalty.HARMLESS)
    OUT_OF_RANGE = ("the opened sum lies outside the range an honest cohort can reach", Penalty.SCORE)
    CONTRADICTION = ("a member's contribution contradicts what it committed to", Penalty.SCORE)

    @property
    def text(self) -> str:
        """The sentence an operator reads."""
        return self.value[0]

    @property
    def penalty(self) -> Penalty:
        """Whose doing it can be."""
        return self.value[1]


class P2PFlockError(Exception):
    """Root of all errors this package raises on purpose."""


class UsageError(P2PFlockError):
    """The user asked for something that cannot be done; the text names the remedy."""


class ConfigError(UsageError):
    """A configuration value is missing, unknown or out of range; names file and line where there is one."""


class DataSchemaError(UsageError):
    """A member's data does not fit the task's schema; names row, column and remedy."""


class PasswordError(UsageError):
    """The keystore's password is missing or wrong."""


class ControlError(UsageError):
    """The running daemon refused a command, or no daemon runs."""


class PortTakenError(UsageError):
    """Another process listens on the port."""


class DataDirectoryLockedError(UsageError):
    """Another daemon uses the data directory."""


class ParameterError(P2PFlockError, ValueError):
    """Alliance parameters that contradict each other; the text names the rule."""


class WireError(P2PFlockError, ValueError):
    """Bytes that are not exactly one canonical message."""


class LocalProtocolError(P2PFlockError):
    """Our own caller broke a machine's rule: a defect in this node, which ends it loudly."""


class RemoteProtocolError(P2PFlockError):
    """A participant broke the protocol.

    ``culprit`` is the seat index (``None`` where the sender could not be told), ``reason`` the code that decides
    what it costs.
    """

    def __init__(self, culprit: int | None, reason: DropReason, detail: str = "") -> None:
        super().__init__(f"seat {culprit}: {reason.text}" + (f" ({detail})" if detail else ""))
        self.culprit = culprit
        self.reason = reason


class CryptoError(P2PFlockError):
    """A primitive refused its input (an all-zero key agreement, a bad tag, a malformed signature)."""


class StoreError(P2PFlockError):
    """The node's disk does not hold what it must."""


class ChainError(P2PFlockError):
    """The RPC endpoint failed, lied or refused; retried within bounds by the caller."""


class TransactionFailedError(ChainError):
    """A transaction was refused or reverted; ``reason`` is the contract's error name."""

    def __init__(self, action: str, reason: str, remedy: str = "") -> None:
        super().__init__(f"{action} was refused by the contract: {reason}" + (f". {remedy}" if remedy else ""))
        self.reason = reason


class BeaconError(ChainError):
    """No relay gave a valid beacon value."""


class NetError(P2PFlockError):
    """A peer could not be reached or broke its stream."""


class WorkerCrashedError(P2PFlockError):
    """The training worker ended before it answered."""


class WorkerTimeoutError(P2PFlockError):
    """The training worker did not answer in time and was ended."""


class RpcError(ChainError):
    """The endpoint answered with a JSON-RPC error; ``data`` is the revert data where the call was reverted."""

    def __init__(self, method: str, code: int, message: str, data: bytes | None) -> None:
        super().__init__(f"{method}: the endpoint answered {code}: {message}")
        self.code = code
        self.message = message
        self.data = data


class EndpointsDisagreeError(ChainError):
    """Two RPC endpoints show different chains: one of them lies or is on a fork. Nothing is done on such ground."""


class TaskError(P2PFlockError):
    """The installed task cannot do what it was asked (not installed, diverged, a bad manifest); names the remedy."""


class NoDaemonError(ControlError):
    """No daemon runs in the data directory."""


class CommandRefusedError(ControlError):
    """The daemon answered a command with an error; ``kind`` is the class name of the error it met."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class EvidenceError(P2PFlockError):
    """Evidence that proves nothing: the contract would refuse it, so it is never posted."""


class AnswerTooLongError(ChainError):
    """An endpoint's answer exceeds its bound in bytes or in parts; asking for less may help, asking again does not."""
