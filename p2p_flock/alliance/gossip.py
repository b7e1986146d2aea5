"""Checks on everything that arrives, as pure functions: a verdict, and the message where it is good.

Form and order after the Ethereum consensus specs (p2p-interface, gossip validation): cheap checks first, signatures
later, one ``[REJECT]`` or ``[IGNORE]`` line above each check. REJECT costs the sending peer its standing; IGNORE costs
nothing, for an honest peer can cause it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from p2p_flock.alliance.context import RoundContext
from p2p_flock.crypto.signing import envelope_digest
from p2p_flock.errors import CryptoError, DropReason, WireError
from p2p_flock.types import Role, Verdict
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import (
    MESSAGE_BYTES_MAX,
    MESSAGE_KINDS,
    Ballot,
    BallotCommitment,
    Contribution,
    Envelope,
    Have,
    Hint,
    Message,
    SealProposal,
    SealSignature,
    Unmasking,
)

ENVELOPE_BYTES_MAX = MESSAGE_BYTES_MAX + 256
HINT_BYTES_MAX = 64
# What a hint may say: a transaction of ours is in a block, or this node holds the last model of a closed alliance.
HINTS = frozenset({"sealed", "committed", "settled", "finished"})

# Who may send which message to a validator. Trainers take no point-to-point message at all.
SENDER_ROLE: Mapping[type[Message], Role] = {
    Contribution: Role.TRAINER,
    Unmasking: Role.TRAINER,
    Have: Role.VALIDATOR,
    SealProposal: Role.VALIDATOR,
    SealSignature: Role.VALIDATOR,
    BallotCommitment: Role.VALIDATOR,
    Ballot: Role.VALIDATOR,
}


@dataclass(frozen=True, slots=True)
class Checked:
    """A verdict; ``message`` stands exactly where it is ACCEPT, ``reason`` where it is not."""

    verdict: Verdict
    message: Message | None = None
    reason: DropReason | None = None


def decode_envelope(data: bytes) -> Envelope:
    """Read an envelope.

    Raises:
        WireError: not canonical or too long.
    """
    return decode(Envelope, data, ENVELOPE_BYTES_MAX)


def validate_envelope(context: RoundContext, envelope: Envelope) -> Checked:
    """Check an envelope for the running round. Run by every node on every point-to-point message."""
    # [IGNORE] The message belongs to the running round (late and early ones happen to honest nodes).
    if envelope.round != context.round:
        return Checked(Verdict.IGNORE, reason=DropReason.WRONG_ROUND)
    # [REJECT] The kind is known.
    kind = MESSAGE_KINDS.get(envelope.kind)
    if kind is None:
        return Checked(Verdict.REJECT, reason=DropReason.MALFORMED)
    # [REJECT] The sender holds a seat with the role that sends this kind.
    if envelope.seat >= len(context.snapshot.seats) or context.role_of(envelope.seat) is not SENDER_ROLE[kind]:
        return Checked(Verdict.REJECT, reason=DropReason.UNKNOWN_SENDER)
    # [REJECT] The body is exactly one canonical message.
    try:
        message = decode(kind, envelope.body, MESSAGE_BYTES_MAX)
    except WireError:
        return Checked(Verdict.REJECT, reason=DropReason.MALFORMED)
    # [REJECT] The seat's owner signed it, for this chain, contract, alliance, round and kind.
    if not has_owner_signature(context, envelope):
        return Checked(Verdict.REJECT, reason=DropReason.BAD_SIGNATURE)
    return Checked(Verdict.ACCEPT, message=message)


def has_owner_signature(context: RoundContext, envelope: Envelope) -> bool:
    """Whether the owner of ``envelope.seat`` signed the envelope."""
    digest = envelope_digest(context.domain, envelope.kind, envelope.round, envelope.seat, envelope.body)
    try:
        return context.recover(digest, envelope.signature) == context.seat(envelope.seat).owner
    except CryptoError:
        return False


def decode_hint(data: bytes) -> Hint:
    """Read a hint.

    Raises:
        WireError: not canonical or too long.
    """
    return decode(Hint, data, HINT_BYTES_MAX)


def validate_hint(alliance: int, data: bytes) -> Verdict:
    """Check a gossiped hint. It has no authority, so it needs no signature beyond the mesh's own."""
    # [REJECT] The bytes are a canonical hint.
    try:
        hint = decode_hint(data)
    except WireError:
        return Verdict.REJECT
    # [REJECT] It says something we know.
    if hint.what not in HINTS:
        return Verdict.REJECT
    # [IGNORE] It is about this alliance.
    return Verdict.ACCEPT if hint.alliance == alliance else Verdict.IGNORE
