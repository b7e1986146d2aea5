"""Secure aggregation on random cohorts: both machines against the reference, and that against the plain sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.crypto.ring import Ring
from p2p_flock.errors import AbortReason, DropReason, RemoteProtocolError
from p2p_flock.secagg.aggregator import Aggregator, DocumentReceived, UnmaskingReceived
from p2p_flock.secagg.aggregator import Event as AggregatorEvent
from p2p_flock.secagg.answer import Answered, Refusal, Refused, compute_answer
from p2p_flock.secagg.contributor import contribute
from p2p_flock.secagg.opening import OpenedInMemory, Unopened
from tests.property.cohorts import (
    answer_of,
    bound_of,
    complete_cohorts,
    is_openable,
    is_recoverable,
    large_cohorts,
    small_cohorts,
    sparse_cohorts,
    sum_by_reference,
)
from tests.property.profiles import examples
from tests.unit.secagg_cohort import LEVELS, SEAL, Cohort, digest_of

DrawCohort = Callable[[], st.SearchStrategy[Cohort]]


@dataclass(frozen=True)
class Run:
    """A schedule: who contributes, who answers, which bundles get lost, in which order everything arrives."""

    cohort: Cohort
    sealed: tuple[int, ...]
    answering: tuple[int, ...]
    lost: frozenset[tuple[int, int]]  # (dealer, holder)
    order: int


@st.composite
def runs(draw: st.DrawFn, cohorts: DrawCohort) -> Run:
    cohort = draw(cohorts())
    absent = st.lists(st.sampled_from(cohort.seats), unique=True, max_size=draw(st.sampled_from([0, 1, 2, 4, 64])))
    dropped = draw(absent)
    sealed = tuple(seat for seat in cohort.seats if seat not in dropped)
    silent = draw(absent)
    answering = tuple(seat for seat in sealed if seat not in silent)
    pairs = [(dealer, holder) for holder in answering for dealer in cohort.context.partners(holder) if dealer in sealed]
    lost = frozenset(draw(st.lists(st.sampled_from(pairs), max_size=3))) if pairs else frozenset()
    return Run(cohort, sealed, answering, lost, draw(st.integers(0, 2**32)))


def answers_in(run: Run) -> list[AggregatorEvent]:
    """What the survivors say; those whose bundles all arrived say what :func:`answer_of` keeps."""
    cohort, said = run.cohort, list[AggregatorEvent]()
    manifest = cohort.manifest(run.sealed)
    for seat in run.answering:
        losers = {dealer for dealer, holder in run.lost if holder == seat}
        if not losers and is_openable(cohort.context, run.sealed):
            said.append(UnmaskingReceived(seat, answer_of(cohort, seat, run.sealed)))
            continue
        bundles = {dealer: data for dealer, data in cohort.bundles_for(seat).items() if dealer not in losers}
        secrets = cohort.made[seat].secrets
        answer = compute_answer(cohort.context, secrets, SEAL, manifest, cohort.documents(run.sealed), bundles)
        if isinstance(answer, Refused):
            assert answer.reason in (Refusal.TOO_FEW_SURVIVORS, Refusal.TOO_FEW_NEIGHBORS), answer
            assert not is_openable(cohort.context, run.sealed)
            continue
        assert {(fault.culprit, fault.reason) for fault in answer.faults} <= {
            (dealer, DropReason.NO_CONTRIBUTION) for dealer in losers
        }, "only dealers whose bundle is lost and wanted are named"
        said.append(UnmaskingReceived(seat, answer.unmasking))
    return said


def events_of(run: Run) -> list[AggregatorEvent]:
    """Everything that a validator is told, some of it twice, in the run's order."""
    cohort, events = run.cohort, list[AggregatorEvent]()
    for seat in run.sealed:
        events += [cohort.document_event(seat), *cohort.blob_events(seat)]
    events.append(cohort.seal_event(run.sealed))
    events += answers_in(run)
    generator = np.random.default_rng(run.order)
    chosen = list(generator.permutation(len(events))) + list(generator.integers(0, len(events), 3))
    # A blob is fetched for the document that names it; the order of everything else is free.
    documents = [event for event in events if isinstance(event, DocumentReceived)]
    return [*(documents if run.order % 2 else ()), *(events[index] for index in chosen), *events]


def check_run(run: Run) -> None:
    """The machine opens exactly where SPEC §8 says it can, to the plain sum; the reference says the same."""
    cohort, context = run.cohort, run.cohort.context
    machine = Aggregator(context)
    for event in events_of(run):
        faults = machine.handle(event)
        assert all(fault.reason is DropReason.DUPLICATE for fault in faults), faults
    expected = is_recoverable(context, run.sealed, run.answering, run.lost)
    assert machine.is_recoverable() == expected
    result = machine.open(cohort.vectors(run.sealed), bound_of(run.sealed))
    if not run.lost:
        reference = sum_by_reference(cohort, run.sealed, run.answering)
        assert (reference is not None) == expected
        assert reference is None or np.array_equal(reference, cohort.plain_sum(run.sealed))
    if not expected:
        assert isinstance(result, Unopened)
        assert result.reason in (AbortReason.TOO_FEW_ANSWERS, AbortReason.TOO_FEW_SURVIVORS)
        return
    assert isinstance(result, OpenedInMemory)
    assert np.array_equal(result.ring_sum, cohort.plain_sum(run.sealed))
    assert machine.held() == set(run.sealed)


@examples(40)
@given(runs(complete_cohorts))
def test_complete_cohort__opens_exactly_when_enough_holders_answer(run: Run) -> None:
    """A cohort would be void although it could be opened, or be opened to something else than the sum."""
    check_run(run)


@examples(40)
@given(runs(sparse_cohorts))
def test_sparse_cohort__opens_exactly_when_enough_holders_answer(run: Run) -> None:
    """The same on a graph in which everybody has other holders."""
    check_run(run)


@examples(4)
@given(runs(large_cohorts))
def test_large_cohort__opens_exactly_when_enough_holders_answer(run: Run) -> None:
    """What holds for twelve members would not for sixty-four."""
    check_run(run)


@examples(30)
@given(small_cohorts(), st.data())
def test_sum__is_that_of_the_integers(cohort: Cohort, data: st.DataObject) -> None:
    """The words would add up, and the integers in them would not: fields would carry, or biases stay."""
    sealed = data.draw(st.lists(st.sampled_from(cohort.seats), unique=True, min_size=1))
    context, ring = cohort.context, Ring(cohort.context.lane_bits)
    each = [ring.lift(cohort.lanes[seat], context.lane_count, LEVELS) for seat in sealed]
    total = ring.lift(cohort.plain_sum(sealed), context.lane_count, bound_of(sealed))
    assert np.array_equal(total, np.sum(each, axis=0)) and max(np.abs(part).max() for part in each) <= LEVELS


# --- cheats ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cheat:
    """What ``cheater`` does, and exactly who is named for what, in order, when everybody answers."""

    kind: str
    cohort: Cohort
    cheater: int
    named: tuple[DropReason, ...]


@st.composite
def cheats(draw: st.DrawFn) -> Cheat:
    cohort = draw(st.one_of(complete_cohorts(3, 7), sparse_cohorts(8, 10)))
    context = cohort.context
    cheater = draw(st.sampled_from(cohort.seats))
    holders = context.holders(cheater)
    victim = draw(st.sampled_from([seat for seat in holders if seat != cheater]))
    wrong = tuple(digest_of("wrong", place) for place in range(len(holders)))
    kind = draw(st.sampled_from(["bundle", "share", "dealing", "holder", "forbidden", "chunk"]))
    if kind == "bundle":
        data = bytearray(cohort.made[cheater].bundles[victim])
        data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
        return Cheat(kind, cohort.with_bundle(cheater, victim, bytes(data)), cheater, (DropReason.BAD_BUNDLE,))
    if kind == "share":
        dealt = cohort.with_dealing(cheater, cheater, wrong, commit=False)
        return Cheat(kind, dealt, cheater, (DropReason.BAD_BUNDLE,) * (len(holders) - 1))
    if kind == "dealing":
        # Its own answer still holds the right share, which is not the one it committed to.
        opened = (DropReason.BAD_DEALING,) if context.threshold < len(holders) else ()
        return Cheat(kind, cohort.with_dealing(cheater, cheater, wrong), cheater, (DropReason.BAD_SHARE, *opened))
    reasons = {
        "holder": DropReason.BAD_SHARE,
        "forbidden": DropReason.FORBIDDEN_ITEM,
        "chunk": DropReason.BAD_CHUNK,
    }
    return Cheat(kind, cohort, cheater, (reasons[kind],))


def answer_in(cheat: Cheat, seat: int) -> Answered:
    answer = cheat.cohort.answer(seat, cheat.cohort.seats)
    items = answer.unmasking.items
    if seat == cheat.cheater and cheat.kind == "holder":
        items = (replace(items[0], share=digest_of("forged")), *items[1:])
    elif seat == cheat.cheater and cheat.kind == "forbidden":
        items = (*items, replace(items[-1], owner=4000))
    return Answered(replace(answer.unmasking, items=items), answer.faults)


@examples(40)
@given(cheats())
def test_cheat__names_the_cheater_and_nobody_else(cheat: Cheat) -> None:
    """An honest node would pay for what another did (P5), or a cheater go unseen."""
    cohort = cheat.cohort
    machine = cohort.sealed_aggregator(cohort.seats)
    faults: list[RemoteProtocolError] = []
    for seat in cohort.seats:
        answer = answer_in(cheat, seat)
        faults += [*answer.faults, *machine.handle(UnmaskingReceived(seat, answer.unmasking))]
    vectors = cohort.vectors(cohort.seats)
    if cheat.kind == "chunk":
        vectors[cheat.cheater] = (bytes(len(vectors[cheat.cheater][0])),)
    result = machine.open(vectors, cohort.sum_bound)
    if isinstance(result, OpenedInMemory):
        assert np.array_equal(result.ring_sum, cohort.plain_sum(cohort.seats))
    else:
        faults += result.faults
    assert [(fault.culprit, fault.reason) for fault in faults] == [(cheat.cheater, reason) for reason in cheat.named]


@examples(15)
@given(st.one_of(complete_cohorts(4, 9), sparse_cohorts(8, 10)), st.data())
def test_substituted_key__opens_nothing_of_whom_it_was_shown_to(cohort: Cohort, data: st.DataObject) -> None:
    """SPEC §7: whoever a false endpoint shows another key of a member would be opened by the key's real owner."""
    context = cohort.context
    deceived = data.draw(st.sampled_from(cohort.seats))
    victim = data.draw(st.sampled_from([seat for seat in cohort.seats if seat != deceived]))
    forged_key = mask_public_key(digest_of("adversary"))
    shown = replace(
        context, members=tuple(replace(m, mask_key=forged_key) if m.seat == victim else m for m in context.members)
    )
    made = contribute(shown, deceived, cohort.mask_secrets[deceived], cohort.lanes[deceived], cohort.entropy[deceived])
    published = cohort.with_made(made)
    faults = Aggregator(context).handle(published.document_event(deceived))
    assert [(fault.culprit, fault.reason) for fault in faults] == [(deceived, DropReason.BAD_ROOT)], "never held"
    # Validators that lie together seal it all the same, and every member but the deceived one sees that seal.
    manifest = published.manifest(cohort.seats)
    for seat in cohort.seats:
        if seat != deceived:
            bundles, secrets = published.bundles_for(seat), cohort.made[seat].secrets
            answer = compute_answer(context, secrets, SEAL, manifest, published.documents(), bundles)
            if seat in context.neighbors(deceived):
                assert isinstance(answer, Refused) and answer.reason is Refusal.PAIR_SEED_MISMATCH
                assert deceived in {fault.culprit for fault in answer.faults}
            else:
                assert isinstance(answer, Answered)
                assert deceived not in {item.owner for item in answer.unmasking.items}, "nobody helps to open it"
