"""Every check on what arrives and its verdict: ACCEPT, IGNORE (costs nothing) or REJECT (costs standing)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p_flock.alliance.gossip import SENDER_ROLE, decode_envelope, validate_envelope, validate_hint
from p2p_flock.errors import DropReason, WireError
from p2p_flock.testing.alliance import make_setting
from p2p_flock.types import Role, Verdict
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import (
    KIND_OF_MESSAGE,
    Ballot,
    BallotCommitment,
    Contribution,
    Envelope,
    Have,
    Hint,
    Message,
    SealProposal,
    SealSignature,
    SelfMaskShare,
    Unmasking,
)

SETTING = make_setting()
CONTEXT = SETTING.context
TRAINER, VALIDATOR = CONTEXT.trainers[0], CONTEXT.assignment.validators[0]
D, S = bytes(32), bytes(65)
MESSAGES: dict[type, Message] = {
    Contribution: Contribution(D, D),
    Unmasking: Unmasking(D, (SelfMaskShare(1, D),)),
    Have: Have(b"\x00", ()),
    SealProposal: SealProposal(0, b"x", (Envelope(3, 1, 0, b"", S),)),
    SealSignature: SealSignature(0, D, S),
    BallotCommitment: BallotCommitment(D, D, S),
    Ballot: Ballot(D, D, b"\x01", b"\x00", 0, (D,), D),
}


def envelope_of(message: Message, seat: int) -> Envelope:
    return CONTEXT.seal_envelope(seat, message, SETTING.signer(seat))


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_envelope__good_one_is_accepted_from_its_role_only(kind: type) -> None:
    """A trainer could vote, or a validator contribute."""
    message = MESSAGES[kind]
    for seat, role in ((TRAINER, Role.TRAINER), (VALIDATOR, Role.VALIDATOR)):
        checked = validate_envelope(CONTEXT, envelope_of(message, seat))
        if SENDER_ROLE[kind] is role:
            assert (checked.verdict, checked.message, checked.reason) == (Verdict.ACCEPT, message, None)
        else:
            assert (checked.verdict, checked.message, checked.reason) == (
                Verdict.REJECT,
                None,
                DropReason.UNKNOWN_SENDER,
            )


GOOD = envelope_of(MESSAGES[Contribution], TRAINER)
OTHER_TRAINER = CONTEXT.trainers[1]
OTHER_ALLIANCE = make_setting(round_number=1, salt=1).context
BAD_ENVELOPES = {
    "an earlier round": (replace(GOOD, round=0), Verdict.IGNORE, DropReason.WRONG_ROUND),
    "a later round": (replace(GOOD, round=2), Verdict.IGNORE, DropReason.WRONG_ROUND),
    "an unknown kind": (replace(GOOD, kind=0), Verdict.REJECT, DropReason.MALFORMED),
    "a seat beyond the table": (replace(GOOD, seat=8), Verdict.REJECT, DropReason.UNKNOWN_SENDER),
    "a body that is no message": (replace(GOOD, body=b"\xc0"), Verdict.REJECT, DropReason.MALFORMED),
    "a body of another kind": (
        replace(GOOD, body=encode(MESSAGES[Unmasking])),
        Verdict.REJECT,
        DropReason.MALFORMED,
    ),
    "another body": (
        replace(GOOD, body=encode(Contribution(D, bytes(31) + b"\x01"))),
        Verdict.REJECT,
        DropReason.BAD_SIGNATURE,
    ),
    "another trainer's name": (replace(GOOD, seat=OTHER_TRAINER), Verdict.REJECT, DropReason.BAD_SIGNATURE),
    "no signature": (replace(GOOD, signature=S), Verdict.REJECT, DropReason.BAD_SIGNATURE),
}


@pytest.mark.parametrize("name", BAD_ENVELOPES)
def test_envelope__verdict(name: str) -> None:
    """A bad message would get in, or an honest peer would lose its standing for one that is merely late."""
    envelope, verdict, reason = BAD_ENVELOPES[name]
    checked = validate_envelope(CONTEXT, envelope)
    assert (checked.verdict, checked.reason, checked.message) == (verdict, reason, None)


@pytest.mark.parametrize("change", [{"chain_id": 1}, {"contract": bytes(20)}, {"alliance": 4}])
def test_envelope__binds_chain_contract_and_alliance(change: dict[str, int]) -> None:
    """A message could be replayed in another alliance, where the same owner sits."""
    domain = replace(CONTEXT.domain, **change)  # type: ignore[arg-type]  # one field of its own type each
    elsewhere = replace(CONTEXT, snapshot=replace(CONTEXT.snapshot, domain=domain))
    assert validate_envelope(elsewhere, GOOD).reason is DropReason.BAD_SIGNATURE


def test_envelope__kind_is_signed() -> None:
    """A body could be carried over to a kind that reads it differently."""
    commitment = envelope_of(MESSAGES[Contribution], VALIDATOR)  # well formed as a kind with two digests
    moved = replace(commitment, kind=KIND_OF_MESSAGE[Have])
    assert validate_envelope(CONTEXT, moved).verdict is Verdict.REJECT


def test_envelope__too_long_is_not_read() -> None:
    """A stranger could make us decode megabytes."""
    with pytest.raises(WireError, match="exceed the limit"):
        decode_envelope(bytes((1 << 20) + 257))
    assert decode_envelope(encode(GOOD)) == GOOD


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (encode(Hint(3, 9, "sealed")), Verdict.ACCEPT),
        (encode(Hint(3, 9, "finished")), Verdict.ACCEPT),
        (encode(Hint(4, 9, "sealed")), Verdict.IGNORE),
        (encode(Hint(3, 9, "buy now")), Verdict.REJECT),
        (encode(Hint(3, 9, "sealed")) + b"\x00", Verdict.REJECT),
        (b"", Verdict.REJECT),
        (bytes(65), Verdict.REJECT),
    ],
)
def test_hint__verdict(data: bytes, verdict: Verdict) -> None:
    """Gossip would carry spam, or drop what all want to know."""
    assert validate_hint(3, data) is verdict
