"""Every cell of the tables of ``secagg/``: the phase before, the event, the phase after, what comes out.

A case stands for (phase, event, phase that follows); the tables themselves say which cases there must be, so a new cell
without a case fails. What a table does not hold is tried as well: it is our own caller's mistake. The machines of
``alliance/`` are in ``test_transitions_alliance.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import get_args

import pytest

from p2p_flock.errors import DropReason, LocalProtocolError
from p2p_flock.secagg import aggregator, contributor
from p2p_flock.secagg.aggregator import (
    Aggregator,
    BlobVerified,
    Collecting,
    DocumentReceived,
    Gathering,
    UnmaskingReceived,
    Void,
)
from p2p_flock.secagg.answer import Answered, Refusal, Refused
from p2p_flock.secagg.contributor import Contributed, Contributor, Elected, PreparedContribution, Unmasked
from tests.unit.secagg_cohort import SEAL, digest_of, make_cohort
from tests.unit.test_secagg_contributor import masked_event, seal_event

COHORT = make_cohort()
ALL, FEW = COHORT.seats, COHORT.seats[:2]
SEALED, DROPOUT = ALL[:-1], ALL[-1]
OTHER_SEAL = digest_of("other seal")


def name_of(value: object) -> str:
    return getattr(value, "name", None) or getattr(value, "__name__", "")


# --- the contributor -----------------------------------------------------------------------------------------------

ANSWER = COHORT.answer(1, ALL)
CONTRIBUTOR_PHASES: Mapping[type, contributor.Phase] = {
    Elected: Elected(),
    Contributed: Contributed(COHORT.made[1].secrets),
    Unmasked: Unmasked(ANSWER.unmasking),
}
CONTRIBUTOR_EVENTS: Mapping[type, contributor.Event] = {
    contributor.UpdateMasked: masked_event(COHORT, 1),
    contributor.SealConfirmed: seal_event(COHORT, 1, ALL),
}


def check_prepared(output: contributor.Output) -> bool:
    made = COHORT.made[1]
    return isinstance(output, PreparedContribution) and (output.root, output.secrets) == (made.root, made.secrets)


# (phase, event type, phase that follows) → event, what must come out
CONTRIBUTOR_CASES: Mapping[tuple[type, type, type], tuple[contributor.Event, Callable[[contributor.Output], bool]]] = {
    (Elected, contributor.UpdateMasked, Contributed): (masked_event(COHORT, 1), check_prepared),
    (Contributed, contributor.SealConfirmed, Unmasked): (seal_event(COHORT, 1, ALL), lambda said: said == ANSWER),
    (Contributed, contributor.SealConfirmed, Contributed): (
        seal_event(COHORT, 1, ALL[1:]),
        lambda said: said == Refused(Refusal.NOT_SEALED, ()),
    ),
    (Unmasked, contributor.SealConfirmed, Unmasked): (
        seal_event(COHORT, 1, SEALED, OTHER_SEAL),
        lambda said: said == Refused(Refusal.ALREADY_ANSWERED, ()),
    ),
}


def test_contributor__every_cell_has_a_case() -> None:
    """A cell that no test reaches is one that nobody knows."""
    cells = {(*cell, follower) for cell, followers in contributor.TRANSITIONS.items() for follower in followers}
    assert set(CONTRIBUTOR_CASES) == cells
    assert set(CONTRIBUTOR_PHASES) == set(get_args(contributor.Phase))
    assert set(CONTRIBUTOR_EVENTS) == set(get_args(contributor.Event))


@pytest.mark.parametrize(("before", "kind", "after"), CONTRIBUTOR_CASES, ids=name_of)
def test_contributor__cell(before: type, kind: type, after: type) -> None:
    """A trainer could not contribute or not unmask, or would say something else than it must."""
    event, is_right = CONTRIBUTOR_CASES[before, kind, after]
    machine = Contributor(COHORT.context, 1, CONTRIBUTOR_PHASES[before])
    output = machine.handle(event)
    assert isinstance(event, kind) and is_right(output)
    match machine.phase:
        case Contributed(secrets):
            assert after is Contributed and secrets == COHORT.made[1].secrets
        case Unmasked(unmasking):
            assert after is Unmasked and unmasking == ANSWER.unmasking, "the secrets are out of reach"
        case Elected():
            raise AssertionError


def test_contributor__same_seal_again_says_the_same() -> None:
    """A lost answer could not be said again, or would be said in other bytes."""
    machine = Contributor(COHORT.context, 1, CONTRIBUTOR_PHASES[Unmasked])
    assert machine.handle(seal_event(COHORT, 1, ALL)) == Answered(ANSWER.unmasking, ())


@pytest.mark.parametrize(
    ("before", "kind"),
    [cell for cell in itertools.product(CONTRIBUTOR_PHASES, CONTRIBUTOR_EVENTS) if cell not in contributor.TRANSITIONS],
    ids=name_of,
)
def test_contributor__forbidden_cell_changes_nothing(before: type, kind: type) -> None:
    """A second contribution in one round number must be impossible, not only avoided."""
    phase = CONTRIBUTOR_PHASES[before]
    machine = Contributor(COHORT.context, 1, phase)
    with pytest.raises(LocalProtocolError):
        machine.handle(CONTRIBUTOR_EVENTS[kind])
    assert machine.phase is phase


# --- the aggregator ------------------------------------------------------------------------------------------------


def collecting() -> Aggregator:
    return COHORT.aggregator(SEALED)


def gathering() -> Aggregator:
    return COHORT.sealed_aggregator(SEALED, answering=SEALED[1:3])


def void() -> Aggregator:
    machine = COHORT.aggregator(SEALED)
    machine.handle(COHORT.seal_event(FEW))
    return machine


def is_told(seat: int) -> Callable[[Aggregator], bool]:
    return lambda machine: machine.get_document(seat) is not None and machine.held() == set(SEALED)


def answers_of(machine: Aggregator) -> set[int]:
    assert isinstance(machine.phase, Gathering)
    return set(machine.phase.answers)


LATE_DOCUMENT, LATE_BLOB = COHORT.document_event(DROPOUT), COHORT.blob_events(DROPOUT)[0]
ANSWER_OF_FIRST = UnmaskingReceived(1, COHORT.unmasking(1, SEALED))
AGGREGATOR_PHASES: Mapping[type, Callable[[], Aggregator]] = {
    Collecting: collecting,
    Gathering: gathering,
    Void: void,
}
SEAL_CONFIRMED = aggregator.SealConfirmed
# (phase, event type, phase that follows) → event, what must be so afterwards
AGGREGATOR_CASES: Mapping[tuple[type, type, type], tuple[aggregator.Event, Callable[[Aggregator], bool]]] = {
    **{(phase, DocumentReceived, phase): (LATE_DOCUMENT, is_told(DROPOUT)) for phase in (Collecting, Gathering, Void)},
    # A blob that no document names is not noted, in no phase.
    **{
        (phase, BlobVerified, phase): (LATE_BLOB, lambda machine: machine.get_needed_blobs(DROPOUT) == ())
        for phase in (Collecting, Gathering, Void)
    },
    (Collecting, UnmaskingReceived, Collecting): (ANSWER_OF_FIRST, lambda machine: machine.answered == {1}),
    (Gathering, UnmaskingReceived, Gathering): (
        ANSWER_OF_FIRST,
        lambda machine: answers_of(machine) == {1, *SEALED[1:3]} and machine.is_recoverable(),
    ),
    (Void, UnmaskingReceived, Void): (ANSWER_OF_FIRST, lambda machine: machine.answered == {1}),
    (Collecting, SEAL_CONFIRMED, Gathering): (
        COHORT.seal_event(SEALED),
        lambda machine: answers_of(machine) == set() and machine.get_unrecoverable() == SEALED,
    ),
    (Collecting, SEAL_CONFIRMED, Void): (COHORT.seal_event(FEW), lambda machine: machine.phase == Void(SEAL)),
    (Gathering, SEAL_CONFIRMED, Gathering): (
        COHORT.seal_event(ALL, OTHER_SEAL),
        lambda machine: answers_of(machine) == set() and not machine.is_recoverable(),
    ),
    (Gathering, SEAL_CONFIRMED, Void): (
        COHORT.seal_event(FEW, OTHER_SEAL),
        lambda machine: machine.phase == Void(OTHER_SEAL),
    ),
    (Void, SEAL_CONFIRMED, Gathering): (
        COHORT.seal_event(SEALED, OTHER_SEAL),
        lambda machine: answers_of(machine) == set() and not machine.get_missing_documents(),
    ),
    (Void, SEAL_CONFIRMED, Void): (
        COHORT.seal_event(FEW, OTHER_SEAL),
        lambda machine: machine.phase == Void(OTHER_SEAL),
    ),
}


def test_aggregator__every_cell_has_a_case() -> None:
    """A cell that no test reaches is one that nobody knows."""
    cells = {(*cell, follower) for cell, followers in aggregator.TRANSITIONS.items() for follower in followers}
    assert set(AGGREGATOR_CASES) == cells
    every = itertools.product(get_args(aggregator.Phase), get_args(aggregator.Event))
    assert set(aggregator.TRANSITIONS) == set(every), "every event is welcome in every phase"


@pytest.mark.parametrize(("before", "kind", "after"), AGGREGATOR_CASES, ids=name_of)
def test_aggregator__cell(before: type, kind: type, after: type) -> None:
    """What a validator knows would depend on the order in which it heard it."""
    event, is_right = AGGREGATOR_CASES[before, kind, after]
    machine = AGGREGATOR_PHASES[before]()
    assert type(machine.phase) is before
    assert machine.handle(event) == (), "nothing is wrong with it"
    assert type(machine.phase) is after and is_right(machine)


@pytest.mark.parametrize("phase", AGGREGATOR_PHASES, ids=name_of)
@pytest.mark.parametrize("event", [ANSWER_OF_FIRST, COHORT.document_event(1)], ids=lambda event: type(event).__name__)
def test_aggregator__repetition_is_harmless_in_every_phase(phase: type, event: aggregator.Event) -> None:
    """An honest trainer that says its message again would be named for it, or counted twice."""
    machine = AGGREGATOR_PHASES[phase]()
    machine.handle(event)
    before = machine.phase
    assert [fault.reason for fault in machine.handle(event)] == [DropReason.DUPLICATE]
    assert machine.phase == before
