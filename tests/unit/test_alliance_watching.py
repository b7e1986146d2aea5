"""What a machine keeps of others' messages, and the evidence that it makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p_flock.alliance.accusing import get_culprits, make_seal_statement
from p2p_flock.alliance.evidence import EVIDENCE_BYTES_MAX, Evidence, EvidenceRecord, Fault, fault_of, hash_seal
from p2p_flock.alliance.watching import EVIDENCE, Watch
from p2p_flock.chain_events import LogPosition, RoundSealed
from p2p_flock.crypto.signing import seal_digest
from p2p_flock.crypto.suite import sha256
from p2p_flock.ports import Accuse, Effect, Persist, Send
from p2p_flock.testing.alliance import digest_of, make_setting
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import Contribution, Envelope, Manifest, ManifestEntry

SETTING = make_setting()
CONTEXT = SETTING.context
OWN, OTHER = CONTEXT.assignment.validators[:2]
TRAINER = CONTEXT.trainers[0]


def contribution(root: object, seat: int = TRAINER) -> Envelope:
    return CONTEXT.seal_envelope(seat, Contribution(digest_of(root), digest_of("document", root)), SETTING.signer(seat))


def evidence_in(effects: list[Effect]) -> list[Evidence]:
    found = [
        decode(EvidenceRecord, e.evidence, EVIDENCE_BYTES_MAX).evidence[0] for e in effects if isinstance(e, Accuse)
    ]
    kept = [effect.body for effect in effects if isinstance(effect, Persist)]
    assert kept == [effect.evidence for effect in effects if isinstance(effect, Accuse)]
    return found


def make_sealed(data: bytes, survivors: int = 0b1111) -> RoundSealed:
    """A seal of any bytes at all, signed by the first two validators."""
    sealed = RoundSealed(
        LogPosition(1, 0, 1, bytes(32)),
        CONTEXT.round,
        0,
        bytes(32),
        CONTEXT.seed,
        sha256(data),
        (survivors,),
        (0, 1),
        (),
    )
    digest = seal_digest(CONTEXT.domain, hash_seal(CONTEXT.domain, make_seal_statement(CONTEXT, sealed)))
    signatures = tuple(SETTING.signer(seat)(digest) for seat in (OWN, OTHER))
    return replace(sealed, signatures=signatures)


def test_watch__second_message_is_evidence_once() -> None:
    """An equivocator would go free, or be accused with every repetition."""
    watch = Watch(CONTEXT, OWN)
    assert watch.note_message(contribution("a")) == []
    assert watch.note_message(contribution("a")) == []
    (evidence,) = evidence_in(watch.note_message(contribution("b")))
    assert (fault_of(evidence), get_culprits(CONTEXT, evidence)) == (Fault.EQUIVOCATION, (TRAINER,))
    assert watch.note_message(contribution("c")) == []


def test_watch__journalled_evidence_is_not_made_anew() -> None:
    """The journal holds one record under a name; another one would end the node."""
    watch = Watch(CONTEXT, OWN)
    watch.note_message(contribution("a"))
    effects = watch.note_message(contribution("b"))
    (record,) = [effect for effect in effects if isinstance(effect, Persist)]
    assert record.kind == EVIDENCE
    again = Watch(CONTEXT, OWN)
    again.restore(record)
    again.restore(Persist(EVIDENCE, "of another version", b"\x00"))
    again.note_message(contribution("c"))
    assert again.note_message(contribution("d")) == []


def test_watch__never_accuses_itself() -> None:
    """A node would pay to be slashed."""
    watch = Watch(CONTEXT, TRAINER)
    watch.note_message(contribution("a"))
    assert watch.note_message(contribution("b")) == []


def test_watch__forged_message_convicts_nobody() -> None:
    """A message that its owner never signed would cost it its stake."""
    watch = Watch(CONTEXT, OWN)
    watch.note_message(contribution("a"))
    forged = replace(contribution("b"), signature=contribution("b", CONTEXT.trainers[1]).signature)
    assert watch.note_message(forged) == []


def test_watch__two_seals_of_one_view() -> None:
    """A validator could sign every proposal, and let the chain choose."""
    watch = Watch(CONTEXT, OWN)
    sealed = make_sealed(b"one")
    other = make_sealed(b"two")
    statement = make_seal_statement(CONTEXT, other)
    assert watch.note_seal_signature(OTHER, statement, other.signatures[1]) == []
    later = replace(statement, view=1)
    assert watch.note_seal_signature(OTHER, later, other.signatures[1]) == []
    (evidence,) = evidence_in(watch.note_sealed(sealed))
    assert (fault_of(evidence), get_culprits(CONTEXT, evidence)) == (Fault.SEAL_EQUIVOCATION, (OTHER,))


@pytest.mark.parametrize("data", [b"nonsense", encode(Manifest(9, (ManifestEntry(1, *(bytes(32),) * 3),)))])
def test_watch__nonsense_under_a_seal_convicts_its_signers(data: bytes) -> None:
    """A committee of liars could void rounds for nothing."""
    sealed = make_sealed(data)
    (evidence,) = evidence_in(Watch(CONTEXT, TRAINER).note_bad_manifest(sealed, data))
    assert (fault_of(evidence), set(get_culprits(CONTEXT, evidence))) == (Fault.INVALID_SEAL, {OWN, OTHER})


def test_watch__names_of_others_are_not_provable() -> None:
    """The contract knows no roles of a round that may be reorganised: it would refuse, at the poster's cost."""
    entries = tuple(ManifestEntry(seat, *(digest_of(seat),) * 3) for seat in CONTEXT.assignment.validators)
    data = encode(Manifest(CONTEXT.round, entries))
    sealed = make_sealed(data, survivors=0b111)
    assert Watch(CONTEXT, TRAINER).note_bad_manifest(sealed, data) == []


def test_watch__shows_contradicting_roots_once() -> None:
    """A trainer that tells two validators different things would be seen by neither."""
    watch = Watch(CONTEXT, OWN)
    envelope = contribution("a")
    watch.note_message(envelope)
    named = {OTHER: {TRAINER: digest_of("b")}, CONTEXT.assignment.validators[2]: {TRAINER: digest_of("a")}}
    assert watch.show_contradictions(named, TRAINER) == [Send((OTHER,), envelope)]
    assert watch.show_contradictions(named, OTHER) == []


def test_watch__shows_contradicting_roots_whoever_speaks_last() -> None:
    """A trainer's lie would stay unseen where the validator spoke after it."""
    watch = Watch(CONTEXT, OWN)
    envelope = contribution("a")
    watch.note_message(envelope)
    assert watch.show_contradictions({}, TRAINER) == []
    assert watch.show_contradictions({OTHER: {TRAINER: digest_of("b")}}, OTHER) == [Send((OTHER,), envelope)]
