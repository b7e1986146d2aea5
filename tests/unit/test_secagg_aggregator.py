"""The validator's machine: what is held, which answers count, and what the sum is."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from p2p_flock.crypto.ring import Ring
from p2p_flock.crypto.secret_sharing import split_secret
from p2p_flock.errors import AbortReason, DropReason, LocalProtocolError, RemoteProtocolError
from p2p_flock.params import RINGS
from p2p_flock.secagg.aggregator import (
    TRANSITIONS,
    Aggregator,
    BlobVerified,
    Collecting,
    DocumentReceived,
    Event,
    Gathering,
    SealConfirmed,
    UnmaskingReceived,
    Void,
)
from p2p_flock.secagg.collection import drop_quarrels
from p2p_flock.secagg.context import compute_aggregate_digest
from p2p_flock.secagg.opening import OpenedInMemory, Unopened
from p2p_flock.wire.messages import CHUNK_BYTES, Manifest, PairSeedShare, SelfMaskShare, Unmasking
from tests.unit.secagg_cohort import SEAL, Cohort, digest_of, make_cohort

COHORT = make_cohort()
ALL = COHORT.seats
SEALED = (1, 4, 7, 10)
DROPOUT = 13

Verdicts = list[tuple[int | None, DropReason]]


def verdicts(faults: tuple[RemoteProtocolError, ...]) -> Verdicts:
    return [(fault.culprit, fault.reason) for fault in faults]


# --- what is held ----------------------------------------------------------------------------------------------


def test_held__needs_document_chunks_and_bundles() -> None:
    """A sealed contribution that nobody has could never be opened."""
    machine = Aggregator(COHORT.context)
    machine.handle(COHORT.document_event(1))
    events = COHORT.blob_events(1)
    for event in events:
        assert machine.held() == frozenset()
        assert event.digest in {blob.digest for blob in machine.get_needed_blobs(1)}
        assert machine.handle(event) == ()
    assert machine.held() == {1}
    assert machine.get_needed_blobs(1) == ()


def test_held__is_the_same_in_any_order() -> None:
    """Two validators with the same blobs would sign different Haves."""
    machine = Aggregator(COHORT.context)
    for seat in reversed(ALL):
        machine.handle(COHORT.document_event(seat))
    for event in reversed([event for seat in ALL for event in COHORT.blob_events(seat)]):
        machine.handle(event)
        machine.handle(event)
    assert machine.held() == set(ALL)


def test_document__again_is_ignored_and_another_is_evidence() -> None:
    """A trainer with two contributions would be sealed with one and opened with the other."""
    machine = Aggregator(COHORT.context)
    assert machine.handle(COHORT.document_event(4)) == ()
    assert verdicts(machine.handle(COHORT.document_event(4))) == [(4, DropReason.DUPLICATE)]
    other = COHORT.with_pair_commitment(4, 1, digest_of("other"))
    assert verdicts(machine.handle(other.document_event(4))) == [(4, DropReason.EQUIVOCATION)]
    assert machine.get_document(4) == COHORT.made[4].document
    assert machine.get_document(7) is None


def test_document__bad_one_is_refused() -> None:
    """The form is checked before anything is fetched for it."""
    machine = Aggregator(COHORT.context)
    event = replace(COHORT.document_event(4), root=digest_of("forged"))
    assert verdicts(machine.handle(event)) == [(4, DropReason.BAD_ROOT)]
    stranger = replace(COHORT.document_event(4), seat=5)
    assert verdicts(machine.handle(stranger)) == [(5, DropReason.UNKNOWN_SENDER)]
    assert machine.get_document(4) is None


def test_blob__of_impossible_size_is_never_held() -> None:
    """A chunk of another length would be found out only when the cohort is opened, too late for the others."""
    for index, low in ((0, True), (0, False), (1, False)):
        machine = Aggregator(COHORT.context)
        machine.handle(COHORT.document_event(4))
        event = COHORT.blob_events(4)[index]
        size = event.size_bytes - 1 if low else 10_000
        assert verdicts(machine.handle(BlobVerified(event.digest, size))) == [(4, DropReason.BAD_CHUNK)]
        for other in COHORT.blob_events(4):
            if other != event:
                machine.handle(other)
        assert machine.held() == frozenset()


def test_blob__that_serves_two_documents_counts_for_both() -> None:
    """A trainer that copies another's chunk digests must not make it unfetchable."""
    copied = COHORT.with_document(
        7, lambda document: replace(document, chunk_digests=COHORT.made[4].document.chunk_digests)
    )
    machine = Aggregator(COHORT.context)
    machine.handle(COHORT.document_event(4))
    for event in COHORT.blob_events(4):
        machine.handle(event)
    machine.handle(copied.document_event(7))
    for event in copied.blob_events(7)[1:]:
        machine.handle(event)
    assert machine.held() == {4, 7}


def test_held__pair_that_disagrees_is_not_held() -> None:
    """A substituted key shows as two different commitments; such a sum could not be opened, or only by a cheat."""
    cohort = COHORT.with_pair_commitment(4, 10, digest_of("substituted"))
    machine = cohort.aggregator(ALL)
    assert machine.get_mismatches() == ((4, 10),)
    assert machine.held() == {1, 7, 13}


def test_held__one_liar_goes_alone() -> None:
    """One trainer that contradicts everybody would void every cohort that it is drawn into."""
    cohort = COHORT
    for victim in (1, 7, 10, 13):
        cohort = cohort.with_pair_commitment(4, victim, digest_of("lie", victim))
    assert cohort.aggregator(ALL).held() == {1, 7, 10, 13}


def test_held__a_liar_without_chunks_harms_nobody() -> None:
    """A document costs nothing; quarrelling must at least cost the liar its own contribution."""
    cohort = COHORT.with_pair_commitment(4, 10, digest_of("lie"))
    machine = cohort.aggregator((1, 7, 10, 13))
    machine.handle(cohort.document_event(4))
    assert machine.held() == {1, 7, 10, 13}


def test_drop_quarrels__leaves_no_quarrel() -> None:
    """Two seats whose masks do not cancel in one sum."""
    assert drop_quarrels(frozenset({1, 2, 3, 4}), [(1, 2), (1, 3)]) == {2, 3, 4}
    assert drop_quarrels(frozenset({1, 2, 3, 4}), [(1, 2), (3, 4)]) == frozenset()
    assert drop_quarrels(frozenset({1, 2, 3, 4}), [(1, 2), (1, 3), (1, 4), (2, 3)]) == {4}
    assert drop_quarrels(frozenset({1, 2}), [(1, 5)]) == {1, 2}


# --- the seal --------------------------------------------------------------------------------------------------


def test_seal__over_too_few_is_void() -> None:
    """Fewer than max(3, t, c + 3) survivors: the sum would say too much about each."""
    machine = COHORT.aggregator(ALL)
    machine.handle(COHORT.seal_event((1, 4)))
    assert machine.phase == Void(SEAL)
    assert machine.open({}, COHORT.sum_bound) == Unopened(AbortReason.TOO_FEW_SURVIVORS)
    assert not machine.is_recoverable()


def test_seal__of_something_not_held_here_can_be_caught_up_with() -> None:
    """Q others held it: this validator must fetch and open all the same."""
    machine = COHORT.aggregator((1, 4, 7))
    machine.handle(COHORT.seal_event(SEALED))
    for seat in SEALED:
        assert machine.handle(UnmaskingReceived(seat, COHORT.unmasking(seat, SEALED))) == ()
    assert [entry.seat for entry in machine.get_missing_documents()] == [10]
    assert not machine.is_recoverable()
    assert machine.open({}, COHORT.sum_bound) == Unopened(AbortReason.TOO_FEW_ANSWERS)
    assert machine.handle(COHORT.document_event(10)) == ()
    assert machine.is_recoverable()


def test_seal__of_another_contribution_than_the_one_here_replaces_it() -> None:
    """An equivocator's second document was sealed: the chain decides, not who came first."""
    other = COHORT.with_bundle(10, 1, bytes(60))
    machine = COHORT.aggregator(ALL)
    machine.handle(other.seal_event(ALL))
    assert [entry.seat for entry in machine.get_missing_documents()] == [10]
    assert verdicts(machine.handle(COHORT.document_event(10))) == [(10, DropReason.EQUIVOCATION)]
    assert machine.handle(other.document_event(10)) == ()
    assert machine.get_missing_documents() == ()


def test_seal__another_one_after_a_reorg_starts_again() -> None:
    """Answers under a seal that is gone must not be mixed with answers under the one that stands."""
    machine = COHORT.sealed_aggregator(SEALED, answering=SEALED)
    assert machine.is_recoverable()
    other = digest_of("other seal")
    machine.handle(COHORT.seal_event(ALL, other))
    assert not machine.is_recoverable()
    phase = machine.phase
    assert isinstance(phase, Gathering)
    assert phase.answers == {}
    late = UnmaskingReceived(DROPOUT, COHORT.unmasking(DROPOUT, ALL, other))
    assert machine.handle(late) == ()
    assert machine.get_unrecoverable() == ALL


def test_seal__again_changes_nothing() -> None:
    """The chain is read many times."""
    machine = COHORT.sealed_aggregator(SEALED, answering=SEALED)
    assert machine.handle(COHORT.seal_event(SEALED)) == ()
    assert machine.is_recoverable()


# --- answers ---------------------------------------------------------------------------------------------------


def test_answers__before_the_seal_are_kept() -> None:
    """The trainer's RPC saw the seal first; its one answer must not be lost."""
    machine = COHORT.aggregator(SEALED)
    for seat in SEALED:
        assert machine.handle(UnmaskingReceived(seat, COHORT.unmasking(seat, SEALED))) == ()
    assert machine.handle(COHORT.seal_event(SEALED)) == ()
    assert machine.is_recoverable()


def test_answers__again_is_ignored_and_another_is_evidence() -> None:
    """Two answers of one holder under two seals are what the threshold is set against."""
    machine = COHORT.sealed_aggregator(SEALED, answering=(1,))
    first = COHORT.unmasking(1, SEALED)
    assert verdicts(machine.handle(UnmaskingReceived(1, first))) == [(1, DropReason.DUPLICATE)]
    other = COHORT.unmasking(1, ALL, digest_of("other seal"))
    assert verdicts(machine.handle(UnmaskingReceived(1, other))) == [(1, DropReason.EQUIVOCATION)]


def bad_answers() -> dict[str, tuple[int, Unmasking, DropReason]]:
    good = COHORT.unmasking(1, SEALED)
    items = good.items
    self_mask, pair_seed = items[0], items[1]
    assert isinstance(self_mask, SelfMaskShare)
    assert isinstance(pair_seed, PairSeedShare)
    forged = digest_of("forged")
    theirs = COHORT.unmasking(4, SEALED).items[0]

    def of(*changed: SelfMaskShare | PairSeedShare) -> Unmasking:
        return Unmasking(SEAL, changed)

    return {
        "by_a_stranger": (5, good, DropReason.UNKNOWN_SENDER),
        "by_a_dropout": (DROPOUT, good, DropReason.UNKNOWN_SENDER),
        "wrong_seal": (1, replace(good, seal=forged), DropReason.WRONG_SEAL),
        "twice_the_same": (1, of(self_mask, self_mask), DropReason.MALFORMED),
        "out_of_order": (1, of(pair_seed, self_mask), DropReason.MALFORMED),
        "self_mask_of_a_dropout": (1, of(SelfMaskShare(DROPOUT, forged)), DropReason.FORBIDDEN_ITEM),
        "self_mask_of_a_stranger": (1, of(SelfMaskShare(5, forged)), DropReason.FORBIDDEN_ITEM),
        "pair_seed_of_two_survivors": (1, of(PairSeedShare(4, 7, forged)), DropReason.FORBIDDEN_ITEM),
        "pair_seed_of_a_dropout": (1, of(PairSeedShare(DROPOUT, 4, forged)), DropReason.FORBIDDEN_ITEM),
        "pair_seed_with_itself": (1, of(PairSeedShare(4, 4, forged)), DropReason.FORBIDDEN_ITEM),
        "pair_seed_with_a_stranger": (1, of(PairSeedShare(4, 5, forged)), DropReason.FORBIDDEN_ITEM),
        "forged_share": (1, of(SelfMaskShare(4, forged)), DropReason.BAD_SHARE),
        "share_of_another_holder": (1, of(theirs), DropReason.BAD_SHARE),
        "share_of_another_secret": (1, of(SelfMaskShare(1, pair_seed.share)), DropReason.BAD_SHARE),
        "one_forged_among_good": (1, of(*items[:-1], replace(items[-1], share=forged)), DropReason.BAD_SHARE),
    }


@pytest.mark.parametrize("name", bad_answers())
def test_answers__bad_one_is_refused_whole_and_named(name: str) -> None:
    """A forbidden item opens an update; a forged one spoils the sum for all."""
    seat, unmasking, reason = bad_answers()[name]
    machine = COHORT.sealed_aggregator(SEALED, answering=(4, 7))
    assert verdicts(machine.handle(UnmaskingReceived(seat, unmasking))) == [(seat, reason)]
    assert not machine.is_recoverable()
    assert machine.handle(UnmaskingReceived(10, COHORT.unmasking(10, SEALED))) == ()
    assert machine.is_recoverable(), "the others' answers still count"


def test_answers__to_a_seal_that_is_gone_is_harmless_of_whom_the_new_one_leaves_out() -> None:
    """An honest trainer that was sealed before a reorganisation would lose its standing (P5)."""
    machine = COHORT.sealed_aggregator(SEALED)
    gone = UnmaskingReceived(DROPOUT, COHORT.unmasking(DROPOUT, ALL, digest_of("seal that is gone")))
    assert verdicts(machine.handle(gone)) == [(DROPOUT, DropReason.WRONG_SEAL)]


def test_answers__partial_one_counts_for_what_it_says() -> None:
    """A holder that never got one dealer's bundle is of use for all other dealers."""
    machine = COHORT.sealed_aggregator(SEALED, answering=(1, 4))
    partial = Unmasking(SEAL, tuple(item for item in COHORT.unmasking(7, SEALED).items if item.owner != 10))
    assert machine.handle(UnmaskingReceived(7, partial)) == ()
    assert machine.get_unrecoverable() == (10,)
    assert machine.handle(UnmaskingReceived(10, COHORT.unmasking(10, SEALED))) == ()
    assert machine.is_recoverable()


# --- the sum ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane_bits", RINGS)
@pytest.mark.parametrize("sealed", [ALL, SEALED, (4, 10, 13)])
def test_open__is_the_plain_sum(lane_bits: int, sealed: tuple[int, ...]) -> None:
    """What validators judge would not be what the members computed."""
    cohort = make_cohort(lane_bits=lane_bits, salt=lane_bits)
    machine = cohort.sealed_aggregator(sealed, answering=sealed[:3])
    opened = machine.open(cohort.vectors(sealed), cohort.sum_bound)
    assert isinstance(opened, OpenedInMemory)
    assert np.array_equal(opened.ring_sum, cohort.plain_sum(sealed))
    assert opened.aggregate_digest == compute_aggregate_digest(cohort.context, opened.ring_sum.tobytes())


@pytest.mark.parametrize("lane_bits", RINGS)
def test_open__spans_chunks(lane_bits: int) -> None:
    """The second chunk would be taken for other lanes, or under other masks."""
    ring = Ring(lane_bits)
    cohort = make_cohort(3, 3, lane_bits=lane_bits, lane_count=ring.lanes_in(CHUNK_BYTES) + ring.lanes_per_word + 1)
    opened = cohort.sealed_aggregator(cohort.seats, cohort.seats).open(cohort.vectors(cohort.seats), cohort.sum_bound)
    assert isinstance(opened, OpenedInMemory)
    assert np.array_equal(opened.ring_sum, cohort.plain_sum(cohort.seats))


def test_open__is_the_same_from_other_answers() -> None:
    """Validators that heard different holders would vote for different digests (P2)."""
    results = []
    for answering in ((1, 4, 7), (4, 7, 10), SEALED):
        opened = COHORT.sealed_aggregator(SEALED, answering).open(COHORT.vectors(SEALED), COHORT.sum_bound)
        assert isinstance(opened, OpenedInMemory)
        results.append(opened.aggregate_digest)
    assert len(set(results)) == 1


def test_open__before_enough_answers_gives_a_reason() -> None:
    """The deadline passes: the cohort is unavailable, and that is no error."""
    machine = COHORT.sealed_aggregator(SEALED, answering=(1, 4))
    assert machine.open(COHORT.vectors(SEALED), COHORT.sum_bound) == Unopened(AbortReason.TOO_FEW_ANSWERS)


def test_open__before_a_seal_is_our_own_mistake() -> None:
    """Nothing may be opened that the chain has not sealed."""
    with pytest.raises(LocalProtocolError):
        COHORT.aggregator(ALL).open({}, COHORT.sum_bound)


def check_unopened(result: OpenedInMemory | Unopened, reason: AbortReason, expected: Verdicts) -> None:
    assert isinstance(result, Unopened)
    assert result.reason is reason
    assert verdicts(result.faults) == expected


def test_open__wrong_chunks_name_their_trainer() -> None:
    """A validator's own broken store must not turn into a vote for a wrong sum."""
    machine = COHORT.sealed_aggregator(SEALED, answering=SEALED)
    good = COHORT.vectors(SEALED)
    bad_chunk: Verdicts = [(7, DropReason.BAD_CHUNK)]
    for chunks in ((bytes(160),), (good[7][0][:-4],), (), good[7] * 2):
        result = machine.open({**good, 7: chunks}, COHORT.sum_bound)
        check_unopened(result, AbortReason.CONTRADICTION, bad_chunk)
    without = {seat: chunks for seat, chunks in good.items() if seat != 7}
    check_unopened(machine.open(without, COHORT.sum_bound), AbortReason.CONTRADICTION, bad_chunk)


@pytest.mark.parametrize("lane_bits", RINGS)
def test_open__garbled_sum_is_out_of_range(lane_bits: int) -> None:
    """A trainer that publishes noise would have the cohort's sum judged as if it were one."""
    honest = make_cohort(lane_bits=lane_bits)
    made = honest.made[7]
    noise = (digest_of("noise") * 5)[: len(made.chunks[0])]
    cohort = honest.with_document(
        7, lambda document: replace(document, chunk_digests=(hashlib.sha256(noise).digest(),))
    )
    cohort = cohort.with_made(replace(cohort.made[7], chunks=(noise,)))
    assert len(made.chunks[0]) == len(noise)
    machine = cohort.sealed_aggregator(SEALED, answering=SEALED)
    check_unopened(machine.open(cohort.vectors(SEALED), cohort.sum_bound), AbortReason.OUT_OF_RANGE, [])


def dealing_cases() -> dict[str, Cohort]:
    """Seat 7 deals shares that it committed to and that are wrong all the same."""
    off = tuple(digest_of("off", n) for n in range(5))
    return {
        "self_mask": COHORT.with_dealing(7, 7, off),
        "pair_seed": COHORT.with_dealing(7, DROPOUT, off),
        "self_mask_commitment": COHORT.with_document(
            7, lambda document: replace(document, self_mask_commitment=digest_of("other mask"))
        ),
    }


@pytest.mark.parametrize("name", dealing_cases())
def test_open__bad_dealing_names_the_dealer(name: str) -> None:
    """The holders would be blamed, or the sum silently spoilt."""
    cohort = dealing_cases()[name]
    machine = cohort.sealed_aggregator(SEALED, answering=(1, 4, 10))
    result = machine.open(cohort.vectors(SEALED), cohort.sum_bound)
    check_unopened(result, AbortReason.CONTRADICTION, [(7, DropReason.BAD_DEALING)])


def test_open__one_bad_share_is_found_whoever_answers() -> None:
    """Validators that heard other holders would open what this one does not (P2)."""
    context = COHORT.context
    secrets = COHORT.made[7].secrets
    shares = split_secret(secrets.self_mask, context.sharing_context(7, 7), context.threshold, len(ALL))
    for position in (0, 4):
        off = (*shares[:position], digest_of("off"), *shares[position + 1 :])
        cohort = COHORT.with_dealing(7, 7, off)
        for answering in ((1, 4, 10), (4, 10, 13)):
            machine = cohort.sealed_aggregator(ALL, answering)
            result = machine.open(cohort.vectors(ALL), cohort.sum_bound)
            # What nobody said cannot be shown to anybody: the verdict on the sum is the same, the reason is not.
            is_said = ALL[position] in answering
            reason = DropReason.BAD_DEALING if is_said else DropReason.BAD_COMMITMENT
            check_unopened(result, AbortReason.CONTRADICTION, [(7, reason)])


# --- the table -------------------------------------------------------------------------------------------------


def test_machine__every_cell_of_the_table_is_met() -> None:
    """A cell that no test reaches is one that nobody knows."""
    events: dict[type[Event], Event] = {
        DocumentReceived: COHORT.document_event(13),
        BlobVerified: COHORT.blob_events(13)[0],
        SealConfirmed: COHORT.seal_event(SEALED, digest_of("another")),
        UnmaskingReceived: UnmaskingReceived(1, COHORT.unmasking(1, SEALED)),
    }
    for phase_type, event_type in TRANSITIONS:
        machine = COHORT.aggregator(SEALED)
        if phase_type is Gathering:
            machine.handle(COHORT.seal_event(SEALED))
        elif phase_type is Void:
            machine.handle(COHORT.seal_event((1, 4)))
        assert type(machine.phase) is phase_type
        machine.handle(events[event_type])
        assert type(machine.phase) in TRANSITIONS[phase_type, event_type]


def test_machine__void_cohort_comes_back_after_a_reorg() -> None:
    """A seal that is gone must not have killed the cohort."""
    machine = COHORT.aggregator(ALL)
    assert machine.phase == Collecting()
    machine.handle(COHORT.seal_event((1, 4)))
    machine.handle(COHORT.seal_event(SEALED, digest_of("another")))
    assert isinstance(machine.phase, Gathering)


def test_machine__manifest_of_other_cohorts_is_void_here() -> None:
    """A cohort of which nobody was sealed."""
    machine = COHORT.aggregator(ALL)
    machine.handle(SealConfirmed(SEAL, Manifest(4, ())))
    assert machine.phase == Void(SEAL)


def test_seal__replaced_contribution_takes_its_quarrels_with_it() -> None:
    """Honest neighbors of an equivocator would stay under suspicion for a document that counts no more."""
    quarrelsome = COHORT.with_pair_commitment(10, 4, digest_of("lie"))
    machine = quarrelsome.aggregator(ALL)
    assert machine.get_mismatches() == ((4, 10),)
    machine.handle(COHORT.seal_event(ALL))
    assert machine.handle(COHORT.document_event(10)) == ()
    for event in COHORT.blob_events(10):
        machine.handle(event)
    assert machine.get_mismatches() == ()
    assert machine.held() == set(ALL)
