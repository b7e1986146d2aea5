"""Every reason is triggered by somebody, and costs what its class says: harmless, score or slashable.

One registry: a reason without a trigger fails, and so does a trigger of a reason that is gone.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from p2p_flock import errors as errors_module
from p2p_flock.alliance import evidence as evidence_module
from p2p_flock.alliance.accusing import get_culprits, make_court, make_seal_statement
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.evidence import (
    EVIDENCE_BYTES_MAX,
    Evidence,
    EvidenceRecord,
    Fault,
    check_evidence,
    fault_of,
)
from p2p_flock.alliance.watching import Watch
from p2p_flock.crypto.suite import sha256
from p2p_flock.errors import AbortReason, DropReason, EvidenceError, Penalty
from p2p_flock.params import AllianceParams
from p2p_flock.ports import Machine
from p2p_flock.secagg.answer import Refusal, Refused
from p2p_flock.secagg.contributor import Contributed, Contributor, SealConfirmed, Unmasked
from p2p_flock.secagg.opening import Unopened
from p2p_flock.testing.alliance import make_params
from p2p_flock.testing.byzantine import Villain
from p2p_flock.testing.facts import Accused, Acted, Post, RoundBegan, Said
from p2p_flock.testing.faults import NONE, Faults
from p2p_flock.testing.node import make_honest
from p2p_flock.testing.simulator import Simulation
from p2p_flock.types import Verdict
from p2p_flock.wire.codec import decode
from tests.simulation.running import Recorder, run
from tests.unit import reason_triggers as triggers
from tests.unit.reason_triggers import ALL, COHORT, Found, evidence_in, reasons_in
from tests.unit.secagg_cohort import SEAL, Cohort, digest_of, make_cohort
from tests.unit.test_alliance_gossip import BAD_ENVELOPES
from tests.unit.test_alliance_validator import CONTEXT
from tests.unit.test_alliance_watching import make_sealed
from tests.vectors.test_evidence_vectors import COURT, VECTORS, read_call

TRIGGERS: Mapping[DropReason, tuple[Callable[[], Found], ...]] = {
    DropReason.NO_CONTRIBUTION: (triggers.dealer_is_offline,),
    DropReason.NO_MASK_KEY: (triggers.key_counts_on_another_fork,),
    DropReason.UNKNOWN_SENDER: (triggers.trainer_sends_a_have,),
    DropReason.MALFORMED: (triggers.body_is_no_message,),
    DropReason.BAD_SIGNATURE: (triggers.signature_of_another,),
    DropReason.WRONG_ROUND: (triggers.message_of_the_last_round,),
    DropReason.WRONG_SEAL: (triggers.answer_to_a_seal_that_is_gone,),
    DropReason.DUPLICATE: (triggers.repetition,),
    DropReason.EQUIVOCATION: (triggers.two_contributions, triggers.two_answers, triggers.two_ballot_commitments),
    DropReason.BAD_DOCUMENT: (triggers.document_without_a_neighbor,),
    DropReason.BAD_ROOT: (triggers.document_under_another_root,),
    DropReason.BAD_CHUNK: (triggers.chunk_of_impossible_size,),
    DropReason.PAIR_SEED_MISMATCH: (triggers.neighbor_lies_about_a_pair_seed,),
    DropReason.BAD_BUNDLE: (triggers.bundle_that_does_not_open, triggers.bundle_with_other_shares),
    DropReason.BAD_SHARE: (triggers.answer_with_a_forged_share,),
    DropReason.BAD_DEALING: (triggers.shares_of_another_secret,),
    DropReason.BAD_COMMITMENT: (triggers.commitment_that_nobody_can_open,),
    DropReason.FORBIDDEN_ITEM: (triggers.item_that_the_seal_forbids,),
    DropReason.BAD_HAVE: (triggers.two_haves_with_other_roots,),
    DropReason.BAD_PROPOSAL: (triggers.proposal_without_a_survivor,),
    DropReason.BAD_BALLOT: (triggers.ballot_that_was_not_committed_to,),
}
CASES = [(reason, trigger) for reason, found in TRIGGERS.items() for trigger in found]


def find(penalty: Penalty) -> list[object]:
    """The cases of one class."""
    return [
        pytest.param(reason, trigger, id=f"{reason.name} {trigger.__name__}")
        for reason, trigger in CASES
        if reason.penalty is penalty
    ]


def test_reasons__each_has_a_trigger() -> None:
    """A reason that nothing can trigger is dead, and one that no test triggers is not known to work."""
    assert set(TRIGGERS) == set(DropReason)
    assert set(ABORTS) == set(AbortReason)
    assert set(REFUSALS) == set(Refusal)
    assert set(FAULTS) == set(Fault)


def test_reasons__have_texts_of_their_own() -> None:
    """An operator could not tell two reasons apart, nor could these tests."""
    texts = [reason.text for reason in DropReason]
    assert not any(one != other and other.startswith(one) for one in texts for other in texts)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(("reason", "trigger"), find(Penalty.HARMLESS))
def test_harmless__an_honest_node_is_named(reason: DropReason, trigger: Callable[[], Found]) -> None:
    """A reason that no honest node can cause would go unpunished."""
    found = trigger()
    assert [culprit for culprit, named in found.named if named is reason and culprit not in found.cheaters]
    assert found.evidence == ()


@pytest.mark.parametrize(("reason", "trigger"), find(Penalty.SCORE))
def test_score__names_the_cheater_alone_and_proves_nothing(reason: DropReason, trigger: Callable[[], Found]) -> None:
    """An honest node would lose its standing (P5), or a fault that can be proved would cost nothing."""
    found = trigger()
    assert reason in {named for _, named in found.named}
    assert {culprit for culprit, named in found.named if named.penalty is not Penalty.HARMLESS} == found.cheaters
    assert found.evidence == ()


@pytest.mark.parametrize(("reason", "trigger"), find(Penalty.SLASHABLE))
def test_slashable__evidence_convicts_the_cheater_alone(reason: DropReason, trigger: Callable[[], Found]) -> None:
    """A fault would be called provable that the contract has no proof of; or an honest member would pay for it."""
    found = trigger()
    (cheater,) = found.cheaters
    assert (cheater, reason) in found.named and {culprit for culprit, _ in found.named} == {cheater}
    convicted = [check_evidence(make_court(CONTEXT), evidence) for evidence in found.evidence]
    assert convicted == [(CONTEXT.seat(cheater).owner,)], "once, however often it shows"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("PhantomContribution", DropReason.EQUIVOCATION),
        ("BadShareInAnswer", DropReason.BAD_SHARE),
        ("BadDealing", DropReason.BAD_DEALING),
    ],
)
def test_slashable__in_a_sparse_cohort_too(kind: str, reason: DropReason) -> None:
    """The path to a share would lead elsewhere where its holders are not the dealer's."""
    params = make_params(seat_count=12, threshold=4)
    found, context, accusations = play(params, Faults(heal_ms=20_000, loss=0.1), cheat=kind)
    assert not context.cohorts[0].is_complete
    assert accusations and reason in found
    convicted = {check_evidence(make_court(context), evidence) for evidence in accusations}
    assert convicted == {(context.seat(context.trainers[0]).owner,)}


def marked_checks() -> list[tuple[str, str, DropReason]]:
    """(file, mark, reason) of every check that a comment marks as one to reject or to ignore for."""
    found = []
    for path in sorted(Path(errors_module.__file__).parent.rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            mark = re.match(r"\s*# \[(REJECT|IGNORE)\]", line)
            reason = re.search(r"DropReason\.(\w+)", "\n".join(lines[number : number + 8]))
            if mark and reason:
                found.append((path.name, mark[1], DropReason[reason[1]]))
    return found


def test_checks__are_marked_as_their_reason_is_classed() -> None:
    """An honest peer would be cut off for a message that the comment above the check calls normal."""
    checks = marked_checks()
    assert len(checks) > 12
    for place, mark, reason in checks:
        assert (mark == "IGNORE") == (reason.penalty is Penalty.HARMLESS), f"{place}: {reason.name}"


@pytest.mark.parametrize("name", BAD_ENVELOPES)
def test_gossip__rejects_for_what_costs_standing_only(name: str) -> None:
    """The verdict that cuts a peer off and the class of the reason would say two things."""
    _, verdict, reason = BAD_ENVELOPES[name]
    assert (verdict is Verdict.IGNORE) == (reason.penalty is Penalty.HARMLESS)


# --- whatever the network does, honest nodes are named for harmless reasons only ---------------------------------


def play(
    params: AllianceParams, faults: Faults, seed: int = 1, cheat: str | None = None
) -> tuple[set[DropReason], RoundContext, list[Evidence]]:
    """A simulated round, in which the first trainer may cheat, under every checker.

    Returns: everything for which any node named, or refused a message of, any other; the round; what was posted.
    """
    recorder = Recorder()

    def make(post: Post) -> Machine:
        if post.seat != post.context.trainers[0]:
            return make_honest(post)
        return Villain(cheat)(post)

    def watch(simulation: Simulation) -> None:
        simulation.watch(recorder)

    makes = {} if cheat is None else {first_trainer(params, seed): make}
    simulation, _ = run(seed, params.seat_count_min, 1, faults, makes, plan=watch, params=params)
    contexts = {fact.context.round: fact.context for fact in recorder.facts if isinstance(fact, RoundBegan)}
    named: set[DropReason] = set()
    for fact in recorder.facts:
        if isinstance(fact, Acted):
            named.update(reason for _, reason in reasons_in(fact.effects))
        elif isinstance(fact, Said):
            reason = simulation.world.check_envelope(contexts[fact.round], fact.envelope).reason
            named.update(() if reason is None else (reason,))
    told = [fact.evidence for fact in recorder.facts if isinstance(fact, Accused)]
    return named, contexts[0], [decode(EvidenceRecord, body, EVIDENCE_BYTES_MAX).evidence[0] for body in told]


def first_trainer(params: AllianceParams, seed: int) -> int:
    """The member that the round's first trainer is."""
    recorder = Recorder()
    run(seed, params.seat_count_min, plan=lambda simulation: simulation.watch(recorder), params=params)
    began = next(fact for fact in recorder.facts if isinstance(fact, RoundBegan))
    return began.members[began.context.trainers[0]]


@pytest.mark.parametrize("seed", range(12))
def test_honest__members_never_lose_standing(seed: int) -> None:
    """P5: loss, repetition, delay or a crash would make an honest member look bad."""
    chance = random.Random(seed)
    faults = Faults(
        heal_ms=30_000,
        loss=chance.choice([0, 0.1, 0.4]),
        duplication=chance.choice([0, 0.3]),
        delay_max_ms=chance.choice([60, 3000]),
        crash=0.05,
        crashes_max=chance.choice([0, 4, 10]),
    )
    validators, cohorts = chance.choice([(3, 1), (3, 1), (1, 1), (3, 2), (5, 1)])
    found, _, accusations = play(make_params(validators, cohorts, validators + 5 * cohorts), faults, seed)
    assert {reason for reason in found if reason.penalty is not Penalty.HARMLESS} == set(), f"seed {seed}"
    assert accusations == []


def test_honest__the_search_above_would_find_a_cheater() -> None:
    """A search that finds nothing whatever happens proves nothing."""
    assert DropReason.BAD_SHARE in play(make_params(), NONE, cheat="BadShareInAnswer")[0]


# --- why a cohort is not opened ----------------------------------------------------------------------------------


def unopened(cohort: Cohort, sealed: tuple[int, ...], answering: tuple[int, ...]) -> Unopened:
    result = cohort.sealed_aggregator(sealed, answering).open(cohort.vectors(sealed), cohort.sum_bound)
    assert isinstance(result, Unopened)
    return result


def publish_noise() -> Unopened:
    """Seat 7 publishes noise instead of its masked update."""
    noise = (digest_of("noise") * 5)[: COHORT.context.vector_bytes]
    made = COHORT.made[7]
    digests = (sha256(noise),)
    cohort = COHORT.with_document(7, lambda document: replace(document, chunk_digests=digests))
    cohort = cohort.with_made(replace(cohort.made[7], chunks=(noise,)))
    assert len(made.chunks) == 1
    return unopened(cohort, ALL, ALL)


def commit_to_another_self_mask() -> Unopened:
    cohort = COHORT.with_document(7, lambda document: replace(document, self_mask_commitment=digest_of("another")))
    return unopened(cohort, ALL, tuple(seat for seat in ALL if seat != 7))


# Reason → what brings it about, and whether everybody ran the honest code.
ABORTS: Mapping[AbortReason, tuple[Callable[[], Unopened], bool]] = {
    AbortReason.TOO_FEW_SURVIVORS: (lambda: unopened(COHORT, ALL[:2], ()), True),
    AbortReason.TOO_FEW_ANSWERS: (lambda: unopened(COHORT, ALL, ALL[:2]), True),
    AbortReason.OUT_OF_RANGE: (publish_noise, False),
    AbortReason.CONTRADICTION: (commit_to_another_self_mask, False),
}


@pytest.mark.parametrize("reason", ABORTS, ids=lambda reason: reason.name)
def test_abort__costs_what_its_class_says(reason: AbortReason) -> None:
    """A member would be held to account for others' silence, or nobody for a sum that somebody spoilt."""
    trigger, everybody_is_honest = ABORTS[reason]
    result = trigger()
    assert result.reason is reason
    assert reason.penalty is (Penalty.HARMLESS if everybody_is_honest else Penalty.SCORE)
    assert {fault.culprit for fault in result.faults} <= (set() if everybody_is_honest else {7})


# --- why a seal is not answered ----------------------------------------------------------------------------------


def ask(cohort: Cohort, sealed: tuple[int, ...], seat: int = 1, **changes: int) -> Refusal:
    machine = Contributor(cohort.context, seat, Contributed(cohort.made[seat].secrets))
    manifest = replace(cohort.manifest(sealed), **changes)
    answer = machine.handle(SealConfirmed(SEAL, manifest, cohort.documents(), cohort.bundles_for(seat)))
    assert isinstance(answer, Refused)
    assert isinstance(machine.phase, Contributed), "a better seal may still be answered"
    return answer.reason


def ask_for_a_foreign_root() -> Refusal:
    machine = Contributor(COHORT.context, 1, Contributed(COHORT.made[1].secrets))
    sealed = COHORT.with_bundle(1, 4, bytes(100)).manifest(ALL)
    answer = machine.handle(SealConfirmed(SEAL, sealed, COHORT.documents(), COHORT.bundles_for(1)))
    assert isinstance(answer, Refused)
    return answer.reason


def ask_twice() -> Refusal:
    machine = Contributor(COHORT.context, 1, Unmasked(COHORT.unmasking(1, ALL)))
    event = SealConfirmed(digest_of("another"), COHORT.manifest(ALL), COHORT.documents(), COHORT.bundles_for(1))
    answer = machine.handle(event)
    assert isinstance(answer, Refused)
    return answer.reason


def ask_with_a_short_neighborhood() -> Refusal:
    """A sparse cohort in which one member keeps three sealed holders, and four are needed."""
    cohort = make_cohort(9, 4)
    assert not cohort.context.is_complete
    lost = [holder for holder in cohort.context.holders(cohort.seats[0]) if holder != cohort.seats[0]][:2]
    sealed = tuple(seat for seat in cohort.seats if seat not in lost)
    return ask(cohort, sealed, sealed[0])


REFUSALS: Mapping[Refusal, Callable[[], Refusal]] = {
    Refusal.WRONG_ROUND: lambda: ask(COHORT, ALL, round=5),
    Refusal.NOT_SEALED: lambda: ask(COHORT, ALL[1:]),
    Refusal.FOREIGN_ROOT: ask_for_a_foreign_root,
    Refusal.TOO_FEW_SURVIVORS: lambda: ask(COHORT, ALL[:2]),
    Refusal.TOO_FEW_NEIGHBORS: ask_with_a_short_neighborhood,
    Refusal.PAIR_SEED_MISMATCH: lambda: ask(COHORT.with_pair_commitment(7, 10, digest_of("lie")), ALL),
    Refusal.ALREADY_ANSWERED: ask_twice,
}


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_refusal__of_a_seal(refusal: Refusal) -> None:
    """A survivor would speak where it must be silent, or be silent for a reason that nobody can find out."""
    assert REFUSALS[refusal]() is refusal


# --- what can be proved ------------------------------------------------------------------------------------------


def two_seals_in_one_view() -> tuple[Evidence, ...]:
    watch, first, second = Watch(CONTEXT, triggers.FIRST), make_sealed(b"one"), make_sealed(b"two")
    watch.note_seal_signature(triggers.SECOND, make_seal_statement(CONTEXT, first), first.signatures[1])
    statement = make_seal_statement(CONTEXT, second)
    return evidence_in(watch.note_seal_signature(triggers.SECOND, statement, second.signatures[1]))


def nonsense_under_a_seal() -> tuple[Evidence, ...]:
    return evidence_in(Watch(CONTEXT, triggers.TRAINER).note_bad_manifest(make_sealed(b"nonsense"), b"nonsense"))


FAULTS: Mapping[Fault, tuple[Callable[[], tuple[Evidence, ...]], frozenset[int]]] = {
    Fault.EQUIVOCATION: (lambda: triggers.two_contributions().evidence, frozenset({triggers.TRAINER})),
    Fault.SEAL_EQUIVOCATION: (two_seals_in_one_view, frozenset({triggers.SECOND})),
    Fault.INVALID_SEAL: (nonsense_under_a_seal, frozenset({triggers.FIRST, triggers.SECOND})),
    Fault.BAD_SHARE: (lambda: triggers.answer_with_a_forged_share().evidence, frozenset({triggers.TRAINER})),
    Fault.BAD_DEALING: (lambda: triggers.shares_of_another_secret().evidence, frozenset({triggers.TRAINER})),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault__convicts_exactly_the_guilty(fault: Fault) -> None:
    """A provable fault would cost nothing, or somebody else."""
    trigger, guilty = FAULTS[fault]
    (evidence,) = trigger()
    assert fault_of(evidence) is fault
    assert set(get_culprits(CONTEXT, evidence)) == guilty


def rules_of_evidence() -> set[str]:
    """The texts that ``check_evidence`` refuses evidence with."""
    tree = ast.parse(Path(evidence_module.__file__).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "_require"]
    return {str(ast.literal_eval(call.args[1])) for call in calls}


def test_evidence__every_rule_refuses_some_vector() -> None:
    """A rule that no vector breaks may be missing in the contract, and an honest member pay for it."""
    refused = set()
    for case in VECTORS["cases"]:
        try:
            check_evidence(COURT, read_call(case))
        except EvidenceError as error:
            refused.add(str(error).removeprefix("the evidence proves nothing: "))
    assert len(rules_of_evidence()) > 15
    assert rules_of_evidence() - refused == set()
