"""The trainer's machine: every cell of its table, what a contribution holds, what survives a restart."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.crypto.ring import Words
from p2p_flock.errors import LocalProtocolError
from p2p_flock.secagg.answer import Answered, Refusal, Refused
from p2p_flock.secagg.context import build_context
from p2p_flock.secagg.contributor import (
    TRANSITIONS,
    Contributed,
    Contributor,
    Elected,
    Event,
    Phase,
    PreparedContribution,
    SealConfirmed,
    Unmasked,
    UpdateMasked,
    contribute,
    plan_masking,
)
from p2p_flock.secagg.document import get_bundle_digest, validate_root
from p2p_flock.secagg.secrets import ROUND_SECRETS_BYTES_MAX, RoundSecrets
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import CHUNK_BYTES
from tests.unit.secagg_cohort import DOMAIN, SEAL, Cohort, digest_of, make_cohort, make_seats

COHORT = make_cohort()
OTHER_SEAL = digest_of("other seal")


def masked_event(cohort: Cohort, seat: int) -> UpdateMasked:
    masking = plan_masking(cohort.context, seat, cohort.mask_secrets[seat], cohort.entropy[seat])
    return UpdateMasked(masking, cohort.made[seat].document.chunk_digests)


def seal_event(cohort: Cohort, seat: int, sealed: tuple[int, ...], seal: bytes = SEAL) -> SealConfirmed:
    return SealConfirmed(seal, cohort.manifest(sealed), cohort.documents(), cohort.bundles_for(seat))


def test_contribute__gives_what_its_document_says() -> None:
    """Validators would never hold the contribution of an honest trainer."""
    for seat, made in COHORT.made.items():
        validate_root(COHORT.context, seat, made.received)
        assert tuple(hashlib.sha256(chunk).digest() for chunk in made.chunks) == made.document.chunk_digests
        for partner, bundle in made.bundles.items():
            assert hashlib.sha256(bundle).digest() == get_bundle_digest(COHORT.context, made.document, partner)
        assert mask_public_key(made.secrets.next_mask_secret) == made.document.next_mask_key


def test_contribute__cuts_chunks_of_one_mebibyte() -> None:
    """Chunks of another size are refused, and one write holds no more."""
    cohort = make_cohort(3, lane_count=CHUNK_BYTES // 4 + 3)
    assert [len(chunk) for chunk in cohort.made[1].chunks] == [CHUNK_BYTES, 12]


def test_contribute__shows_nothing_of_its_input() -> None:
    """The masked update of zeros must look like noise, and not change the caller's array."""
    context = COHORT.context
    zeros: Words = np.zeros(context.lane_count, dtype=np.uint32)
    made = contribute(context, 1, COHORT.mask_secrets[1], zeros, digest_of("fresh"))
    assert not zeros.any()
    masked = np.frombuffer(b"".join(made.chunks), dtype="<u4")
    assert np.count_nonzero(masked) == context.lane_count
    assert len(np.unique(masked)) == context.lane_count


def test_contribute__depends_on_entropy_only_where_it_must() -> None:
    """A self mask used twice would cancel in the difference of two contributions."""
    context = COHORT.context
    one = contribute(context, 1, COHORT.mask_secrets[1], COHORT.lanes[1], digest_of("one"))
    two = contribute(context, 1, COHORT.mask_secrets[1], COHORT.lanes[1], digest_of("two"))
    assert one.secrets.self_mask != two.secrets.self_mask
    assert one.secrets.next_mask_secret != two.secrets.next_mask_secret
    assert one.document.pair_commitments == two.document.pair_commitments
    assert one.bundles[4][:24] != two.bundles[4][:24], "one bundle key, so the nonces must differ"
    again = contribute(context, 1, COHORT.mask_secrets[1], COHORT.lanes[1], digest_of("one"))
    assert again == one


def test_contribute__bad_arguments_are_refused() -> None:
    """A wrong key, width or length would publish something that can never be opened."""
    context, secret, lanes = COHORT.context, COHORT.mask_secrets[1], COHORT.lanes[1]
    entropy = COHORT.entropy[1]
    small = replace(context, members=context.members[:2])
    narrow: Words = lanes.astype(np.uint16)
    for bad in (
        (small, 1, secret, lanes, entropy),
        (context, 4, secret, lanes, entropy),
        (context, 2, secret, lanes, entropy),
        (context, 1, secret, lanes[:-1], entropy),
        (context, 1, secret, narrow, entropy),
        (context, 1, secret, lanes, entropy[:31]),
    ):
        with pytest.raises(LocalProtocolError):
            contribute(*bad)


def test_round_secrets__survive_the_disk() -> None:
    """A node killed after contributing could not keep its promise to unmask (P8)."""
    seats = make_seats(32)
    largest = build_context(DOMAIN, 4, digest_of("seed"), 0, seats, 17, 0, 32, 40)
    made = contribute(largest, 1, digest_of("mask secret", 0, 0), COHORT.lanes[1], COHORT.entropy[1])
    for secrets in (COHORT.made[1].secrets, made.secrets):
        assert decode(RoundSecrets, encode(secrets), ROUND_SECRETS_BYTES_MAX) == secrets


def test_round_secrets__do_not_hold_the_spent_mask_secret() -> None:
    """Forward secrecy hangs on the caller's erasing it; a second copy would undo that."""
    assert COHORT.mask_secrets[1] not in encode(COHORT.made[1].secrets)


# --- the table -------------------------------------------------------------------------------------------------


def test_machine__elected_contributes() -> None:
    """The first cell: a trainer that cannot contribute."""
    machine = Contributor(COHORT.context, 1)
    made = machine.handle(masked_event(COHORT, 1))
    assert isinstance(made, PreparedContribution)
    assert machine.phase == Contributed(made.secrets)


def test_machine__contributed_answers_once() -> None:
    """The second cell: a survivor that cannot answer, or one that answers two seals."""
    machine = Contributor(COHORT.context, 1, Contributed(COHORT.made[1].secrets))
    answer = machine.handle(seal_event(COHORT, 1, COHORT.seats))
    assert isinstance(answer, Answered)
    assert machine.phase == Unmasked(answer.unmasking)
    assert machine.handle(seal_event(COHORT, 1, COHORT.seats)) == Answered(answer.unmasking, ())
    other = machine.handle(seal_event(COHORT, 1, COHORT.seats[:4], OTHER_SEAL))
    assert other == Refused(Refusal.ALREADY_ANSWERED, ())


def test_machine__refusal_leaves_it_able_to_answer() -> None:
    """After a reorg away from a bad seal the cohort would miss an answer for nothing."""
    machine = Contributor(COHORT.context, 1, Contributed(COHORT.made[1].secrets))
    assert machine.handle(seal_event(COHORT, 1, (1, 4))) == Refused(Refusal.TOO_FEW_SURVIVORS, ())
    assert isinstance(machine.handle(seal_event(COHORT, 1, COHORT.seats, OTHER_SEAL)), Answered)


def test_machine__restored_machine_says_the_same() -> None:
    """A node killed between persisting and sending would contradict itself (P8)."""
    fresh = Contributor(COHORT.context, 4, Contributed(COHORT.made[4].secrets))
    secrets = decode(RoundSecrets, encode(COHORT.made[4].secrets), ROUND_SECRETS_BYTES_MAX)
    restored = Contributor(COHORT.context, 4, Contributed(secrets))
    event = seal_event(COHORT, 4, (1, 4, 7, 10))
    answer = fresh.handle(event)
    assert restored.handle(event) == answer
    assert isinstance(answer, Answered)
    unmasked = Contributor(COHORT.context, 4, Unmasked(answer.unmasking))
    assert unmasked.handle(event) == answer
    assert unmasked.handle(seal_event(COHORT, 4, COHORT.seats, OTHER_SEAL)) == Refused(Refusal.ALREADY_ANSWERED, ())


def test_machine__every_other_cell_is_our_own_mistake() -> None:
    """A second contribution in one round number must be impossible, not only avoided."""
    answer = COHORT.answer(1, COHORT.seats)
    phases: list[Phase] = [Elected(), Contributed(COHORT.made[1].secrets), Unmasked(answer.unmasking)]
    events: list[Event] = [masked_event(COHORT, 1), seal_event(COHORT, 1, COHORT.seats)]
    for phase in phases:
        for event in events:
            if (type(phase), type(event)) not in TRANSITIONS:
                with pytest.raises(LocalProtocolError):
                    Contributor(COHORT.context, 1, phase).handle(event)


def test_machine__foreign_secrets_are_refused() -> None:
    """Secrets of one fork would answer a seal of another."""
    secrets = COHORT.made[1].secrets
    fork = replace(COHORT.context, seed=digest_of("fork"))
    for context, seat in ((COHORT.context, 4), (fork, 1)):
        with pytest.raises(LocalProtocolError):
            Contributor(context, seat, Contributed(secrets))
