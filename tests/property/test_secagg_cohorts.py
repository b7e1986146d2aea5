"""Secure aggregation on random cohorts: both machines against the reference, and that against the plain sum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_flock.errors import AbortReason, DropReason, RemoteProtocolError
from p2p_flock.secagg.aggregator import Aggregator, DocumentReceived, UnmaskingReceived
from p2p_flock.secagg.aggregator import Event as AggregatorEvent
from p2p_flock.secagg.answer import Answered, compute_answer
from p2p_flock.secagg.opening import OpenedInMemory, Unopened
from p2p_flock.secagg.reference import run_cohort
from tests.unit.secagg_cohort import SEAL, Cohort, digest_of, make_cohort

SETTINGS = settings(max_examples=40, deadline=None, print_blob=True)


@cache
def cohort_of(count: int, threshold: int, collusion_bound: int, lane_bits: int) -> Cohort:
    return make_cohort(count, threshold, collusion_bound, lane_bits, lane_count=7, salt=count + lane_bits)


@st.composite
def cohorts(draw: st.DrawFn, count_max: int = 12) -> Cohort:
    """3 to 12 members with a threshold that 2t > n + c allows."""
    count = draw(st.integers(3, count_max))
    collusion_bound = draw(st.integers(0, min(2, count - 3)))
    threshold = draw(st.integers(max(3, (count + collusion_bound) // 2 + 1), count))
    return cohort_of(count, threshold, collusion_bound, draw(st.sampled_from([16, 32])))


@dataclass(frozen=True)
class Run:
    """A schedule: who contributes, who answers, which bundles get lost, in which order everything arrives."""

    cohort: Cohort
    sealed: tuple[int, ...]
    answering: tuple[int, ...]
    lost: frozenset[tuple[int, int]]  # (dealer, holder)
    order: int


@st.composite
def runs(draw: st.DrawFn) -> Run:
    cohort = draw(cohorts())
    most = st.sampled_from([True, True, True, False])
    sealed = tuple(seat for seat in cohort.seats if draw(most))
    answering = tuple(seat for seat in sealed if draw(most))
    pairs = [(dealer, holder) for dealer in sealed for holder in answering if dealer != holder]
    lost = frozenset(draw(st.lists(st.sampled_from(pairs), max_size=3))) if pairs else frozenset()
    return Run(cohort, sealed, answering, lost, draw(st.integers(0, 2**32)))


def events_of(run: Run) -> list[AggregatorEvent]:
    """Everything that a validator is told, some of it twice, in the run's order."""
    cohort, events = run.cohort, list[AggregatorEvent]()
    for seat in run.sealed:
        events += [cohort.document_event(seat), *cohort.blob_events(seat)]
    events.append(cohort.seal_event(run.sealed))
    for seat in run.answering:
        bundles = {d: b for d, b in cohort.bundles_for(seat).items() if (d, seat) not in run.lost}
        secrets, manifest = cohort.made[seat].secrets, cohort.manifest(run.sealed)
        answer = compute_answer(cohort.context, secrets, SEAL, manifest, cohort.documents(run.sealed), bundles)
        if isinstance(answer, Answered):
            assert {fault.culprit for fault in answer.faults} == {d for d, holder in run.lost if holder == seat}
            events.append(UnmaskingReceived(seat, answer.unmasking))
    generator = np.random.default_rng(run.order)
    chosen = list(generator.permutation(len(events))) + list(generator.integers(0, len(events), 3))
    # A blob is fetched for the document that names it; the order of everything else is free.
    documents = [event for event in events if isinstance(event, DocumentReceived)]
    return [*(documents if run.order % 2 else ()), *(events[index] for index in chosen), *events]


@SETTINGS
@given(runs())
def test_cohort__opens_exactly_when_enough_holders_answer(run: Run) -> None:
    """A cohort would be void although it could be opened, or be opened to something else than the sum."""
    cohort, context = run.cohort, run.cohort.context
    machine = Aggregator(context)
    for event in events_of(run):
        faults = machine.handle(event)
        assert all(fault.reason is DropReason.DUPLICATE for fault in faults), faults
    answers = {
        dealer: sum(holder == dealer or (dealer, holder) not in run.lost for holder in run.answering)
        for dealer in run.sealed
    }
    expected = len(run.sealed) >= context.survivors_min and min(answers.values()) >= context.threshold
    assert machine.is_recoverable() == expected
    result = machine.open(cohort.vectors(run.sealed), cohort.sum_bound)
    if not expected:
        assert isinstance(result, Unopened)
        assert result.reason in (AbortReason.TOO_FEW_ANSWERS, AbortReason.TOO_FEW_SURVIVORS)
        return
    assert isinstance(result, OpenedInMemory)
    assert np.array_equal(result.ring_sum, cohort.plain_sum(run.sealed))
    assert machine.held() == set(run.sealed)


@SETTINGS
@given(runs())
def test_reference__is_the_plain_sum_or_nothing(run: Run) -> None:
    """The oracle itself would be wrong."""
    cohort, context = run.cohort, run.cohort.context
    before = frozenset(cohort.seats) - frozenset(run.sealed)
    after = frozenset(run.sealed) - frozenset(run.answering)
    total = run_cohort(context, cohort.mask_secrets, cohort.lanes, cohort.entropy, before, after)
    if len(run.sealed) < context.survivors_min or len(run.answering) < context.threshold:
        assert total is None
    else:
        assert total is not None
        assert np.array_equal(total, cohort.plain_sum(run.sealed))


@dataclass(frozen=True)
class Cheat:
    """What ``cheater`` does, and exactly who is named for what, in order, when everybody answers."""

    kind: str
    cohort: Cohort
    cheater: int
    named: tuple[DropReason, ...]


@st.composite
def cheats(draw: st.DrawFn) -> Cheat:
    cohort = draw(cohorts(7))
    count, threshold = len(cohort.seats), cohort.context.threshold
    cheater, victim = draw(st.permutations(cohort.seats))[:2]
    wrong = tuple(digest_of("wrong", n) for n in range(count))
    kind = draw(st.sampled_from(["bundle", "share", "dealing", "holder", "forbidden", "chunk"]))
    if kind == "bundle":
        data = bytearray(cohort.made[cheater].bundles[victim])
        data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
        return Cheat(kind, cohort.with_bundle(cheater, victim, bytes(data)), cheater, (DropReason.BAD_BUNDLE,))
    if kind == "share":
        dealt = cohort.with_dealing(cheater, cheater, wrong, commit=False)
        return Cheat(kind, dealt, cheater, (DropReason.BAD_BUNDLE,) * (count - 1))
    if kind == "dealing":
        # Its own answer still holds the right share, which is not the one it committed to.
        opened = (DropReason.BAD_DEALING,) if threshold < count else ()
        return Cheat(kind, cohort.with_dealing(cheater, cheater, wrong), cheater, (DropReason.BAD_SHARE, *opened))
    reasons = {
        "holder": DropReason.BAD_SHARE,
        "forbidden": DropReason.FORBIDDEN_ITEM,
        "chunk": DropReason.BAD_CHUNK,
    }
    return Cheat(kind, cohort, cheater, (reasons[kind],))


def answer_of(cheat: Cheat, seat: int) -> Answered:
    answer = cheat.cohort.answer(seat, cheat.cohort.seats)
    items = answer.unmasking.items
    if seat == cheat.cheater and cheat.kind == "holder":
        items = (replace(items[0], share=digest_of("forged")), *items[1:])
    elif seat == cheat.cheater and cheat.kind == "forbidden":
        items = (*items, replace(items[-1], owner=4000))
    return Answered(replace(answer.unmasking, items=items), answer.faults)


@SETTINGS
@given(cheats())
def test_cheat__names_the_cheater_and_nobody_else(cheat: Cheat) -> None:
    """An honest node would pay for what another did (P5), or a cheater go unseen."""
    cohort = cheat.cohort
    machine = cohort.sealed_aggregator(cohort.seats)
    faults: list[RemoteProtocolError] = []
    for seat in cohort.seats:
        answer = answer_of(cheat, seat)
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
