"""One cohort under any schedule: messages in any order, lost, doubled and late; crashes; reorganisations; cheats.

A Hypothesis machine plays network, chain and adversary around the real machines: every trainer's ``Contributor`` with
its journal, and two validators' ``Aggregator``. After every step: nobody honest is named for more than a harmless
reason, and nobody says two things. At the end the chain settles on a seal, what is missing arrives, and every validator
opens the plain sum that the reference finds, or knows a named reason why not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import Phase as HypothesisPhase
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from p2p_flock.crypto.suite import sha256
from p2p_flock.errors import AbortReason, DropReason, LocalProtocolError, Penalty, RemoteProtocolError
from p2p_flock.secagg import aggregator, contributor
from p2p_flock.secagg.aggregator import Aggregator, Gathering, UnmaskingReceived
from p2p_flock.secagg.answer import Answered, Refusal, Refused
from p2p_flock.secagg.contributor import (
    Contributed,
    Contributor,
    Elected,
    Phase,
    PreparedContribution,
    SealConfirmed,
    Unmasked,
    UpdateMasked,
    plan_masking,
)
from p2p_flock.secagg.opening import OpenedInMemory, Unopened
from p2p_flock.secagg.secrets import ROUND_SECRETS_BYTES_MAX, RoundSecrets
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import MESSAGE_BYTES_MAX, Manifest, ManifestEntry, SelfMaskShare, Unmasking
from tests.property.cohorts import bound_of, cohort_of, is_openable, is_recoverable, sum_by_reference
from tests.property.profiles import examples
from tests.unit.secagg_cohort import Cohort, digest_of

# (n, t, c, lane bits): complete and sparse graphs, plain and packed rings
NUMBERS = [(3, 3, 0, 32), (5, 3, 0, 16), (6, 4, 0, 12), (7, 5, 2, 20), (8, 4, 0, 32), (9, 4, 0, 15), (11, 6, 1, 30)]
CHEATS = ["nobody", "bundle", "share", "dealing", "commitment", "pair seed", "equivocation", "answer", "noise"]
VALIDATORS = (0, 1)
STRANGER = 4000  # a seat of another cohort


@dataclass
class Trainer:
    """One member: its machine, what its journal holds, and what it ever said."""

    machine: Contributor
    secrets: bytes = b""
    unmasking: bytes = b""
    contributions: set[bytes] = field(default_factory=set)  # roots
    said: set[bytes] = field(default_factory=set)  # encoded answers


@dataclass(frozen=True)
class Seal:
    """A seal and who is in it; ``cohort`` says which contributions are meant."""

    digest: bytes
    cohort: Cohort
    sealed: tuple[int, ...]
    manifest: Manifest


def corrupt(cohort: Cohort, kind: str, cheater: int, victim: int) -> Cohort:
    """The cohort as ``cheater`` publishes it."""
    context, made = cohort.context, cohort.made[cheater]
    wrong = tuple(digest_of("wrong", place) for place in range(len(context.holders(cheater))))
    match kind:
        case "bundle":
            return cohort.with_bundle(cheater, victim, bytes(100))
        case "share":
            return cohort.with_dealing(cheater, cheater, wrong, commit=False)
        case "dealing":
            return cohort.with_dealing(cheater, cheater, wrong)
        case "commitment":
            return cohort.with_document(cheater, lambda d: replace(d, self_mask_commitment=digest_of("another")))
        case "pair seed":
            return cohort.with_pair_commitment(cheater, victim, digest_of("another"))
        case "noise":
            noise = (digest_of("noise", cheater) * 8)[: context.vector_bytes]
            noisy = cohort.with_document(cheater, lambda d: replace(d, chunk_digests=(sha256(noise),)))
            return noisy.with_made(replace(noisy.made[cheater], chunks=(noise,)))
        case _:
            assert made.document.seat == cheater
            return cohort


class CohortUnderSchedule(RuleBasedStateMachine):
    """See the module."""

    @initialize(
        numbers=st.sampled_from(NUMBERS),
        kind=st.sampled_from(CHEATS),
        places=st.permutations(range(3)).map(tuple),
        absent=st.sets(st.integers(3, 10), max_size=2),
    )
    def begin(self, numbers: tuple[int, int, int, int], kind: str, places: tuple[int, ...], absent: set[int]) -> None:
        honest = cohort_of(*numbers)
        self.context, self.kind = honest.context, kind
        self.absent = {seat for place, seat in enumerate(honest.seats) if place in absent}
        self.cheater = honest.seats[places[0]]
        self.victim = honest.context.neighbors(self.cheater)[places[1] % 2]
        self.cohort = corrupt(honest, kind, self.cheater, self.victim)
        # An equivocator's other contribution: another bundle for one neighbor, and all that follows from it.
        self.other = corrupt(self.cohort, "bundle", self.cheater, self.victim)
        self.trainers = {seat: Trainer(self.make_contributor(seat, None)) for seat in honest.seats}
        self.machines = [self.make_aggregator() for _ in VALIDATORS]
        self.heard: list[set[int]] = [set() for _ in VALIDATORS]  # answers that each was told
        self.seals: list[Seal] = []
        self.wrong: list[RemoteProtocolError] = []

    def make_contributor(self, seat: int, phase: Phase | None) -> Contributor:
        """The machine under test; a planted bug is another one."""
        return Contributor(self.context, seat, phase)

    def make_aggregator(self) -> Aggregator:
        return Aggregator(self.context)

    # --- contributing ------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def contribute(self, data: st.DataObject) -> None:
        """An update is trained, masked and handed over, whether or not that happened before."""
        self.hand_over(data.draw(st.sampled_from(self.context.seats)))

    @rule()
    def contribute_all(self) -> None:
        for seat in self.context.seats:
            self.hand_over(seat)

    def hand_over(self, seat: int) -> None:
        trainer, cohort = self.trainers[seat], self.cohort
        masking = plan_masking(self.context, seat, cohort.mask_secrets[seat], cohort.entropy[seat])
        event = UpdateMasked(masking, cohort.made[seat].document.chunk_digests)
        if not isinstance(trainer.machine.phase, Elected):
            before = trainer.machine.phase
            try:
                trainer.machine.handle(event)
            except LocalProtocolError:
                assert trainer.machine.phase is before
                return
            raise AssertionError("contributed twice in one round number")
        made = trainer.machine.handle(event)
        assert isinstance(made, PreparedContribution)
        published = cohort.made[seat]
        if seat == self.cheater:  # it answers as the one that published what it did
            trainer.machine = self.make_contributor(seat, Contributed(published.secrets))
        else:
            assert (made.root, made.document_digest) == (published.root, published.document_digest)
        trainer.secrets = encode(published.secrets)
        trainer.contributions.add(published.root)

    @rule(data=st.data())
    def crash_trainer(self, data: st.DataObject) -> None:
        """A trainer comes back with what its journal holds."""
        seat = data.draw(st.sampled_from(self.context.seats))
        trainer = self.trainers[seat]
        phase: Phase | None = None
        if trainer.unmasking:
            phase = Unmasked(decode(Unmasking, trainer.unmasking, MESSAGE_BYTES_MAX))
        elif trainer.secrets:
            phase = Contributed(decode(RoundSecrets, trainer.secrets, ROUND_SECRETS_BYTES_MAX))
        trainer.machine = self.make_contributor(seat, phase)

    # --- the network -------------------------------------------------------------------------------------------

    def published(self) -> list[int]:
        return [seat for seat, trainer in self.trainers.items() if trainer.secrets]

    def tell(self, validator: int, event: aggregator.Event) -> None:
        faults = self.machines[validator].handle(event)
        self.wrong += faults

    @precondition(lambda self: self.published())
    @rule(data=st.data(), validator=st.sampled_from(VALIDATORS))
    def document_arrives(self, data: st.DataObject, validator: int) -> None:
        seat = data.draw(st.sampled_from(self.published()))
        is_other = self.kind == "equivocation" and seat == self.cheater and data.draw(st.booleans())
        self.tell(validator, (self.other if is_other else self.cohort).document_event(seat))

    @precondition(lambda self: self.published())
    @rule(data=st.data(), validator=st.sampled_from(VALIDATORS))
    def blobs_arrive(self, data: st.DataObject, validator: int) -> None:
        seat = data.draw(st.sampled_from(self.published()))
        events = self.cohort.blob_events(seat)
        for event in data.draw(st.sampled_from([events, events[::2], events[1::2], events[::-1], events * 2])):
            self.tell(validator, event)

    @precondition(lambda self: self.published())
    @rule(validator=st.sampled_from(VALIDATORS))
    def everything_arrives(self, validator: int) -> None:
        for seat in self.published():
            self.tell(validator, self.cohort.document_event(seat))
            for event in self.cohort.blob_events(seat):
                self.tell(validator, event)

    @rule(validator=st.sampled_from(VALIDATORS))
    def crash_validator(self, validator: int) -> None:
        """What a validator knows of a cohort is fetched again."""
        self.machines[validator], self.heard[validator] = self.make_aggregator(), set()

    @rule(validator=st.sampled_from(VALIDATORS), data=st.data())
    def answer_arrives(self, validator: int, data: st.DataObject) -> None:
        speakers = [seat for seat, trainer in self.trainers.items() if trainer.unmasking]
        if speakers:
            self.hear(validator, data.draw(st.sampled_from(speakers)))

    def hear(self, validator: int, seat: int) -> None:
        said = decode(Unmasking, self.trainers[seat].unmasking, MESSAGE_BYTES_MAX)
        if self.kind == "answer" and seat == self.cheater and said.items:
            said = replace(said, items=(replace(said.items[0], share=digest_of("forged")), *said.items[1:]))
        self.heard[validator].add(seat)
        self.tell(validator, UnmaskingReceived(seat, said))

    # --- the chain ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.published() and len(self.seals) < 3)
    @rule(data=st.data(), is_whole=st.booleans(), with_stranger=st.booleans())
    def seal(self, data: st.DataObject, is_whole: bool, with_stranger: bool) -> None:
        """A quorum seals some of the contributions; the manifest lists other cohorts' trainers as well."""
        chosen = self.published()
        if not is_whole:
            chosen = data.draw(st.lists(st.sampled_from(chosen), unique=True))
        is_other = self.kind == "equivocation" and data.draw(st.booleans())
        self.add_seal(self.other if is_other else self.cohort, sorted(chosen), with_stranger)

    def add_seal(self, cohort: Cohort, sealed: Sequence[int], with_stranger: bool = False) -> Seal:
        manifest = cohort.manifest(sealed)
        if with_stranger:
            stranger = ManifestEntry(STRANGER, digest_of("root"), digest_of("document"), digest_of("key"))
            manifest = replace(manifest, entries=(*manifest.entries, stranger))
        made = Seal(digest_of("seal", len(self.seals), manifest), cohort, tuple(sealed), manifest)
        self.seals.append(made)
        return made

    @precondition(lambda self: self.seals)
    @rule(data=st.data(), validator=st.sampled_from(VALIDATORS))
    def validator_sees_seal(self, data: st.DataObject, validator: int) -> None:
        """The chain holds it, for the moment."""
        found = data.draw(st.sampled_from(self.seals))
        self.tell(validator, aggregator.SealConfirmed(found.digest, found.manifest))

    @precondition(lambda self: self.seals and self.published())
    @rule(data=st.data(), lost=st.integers(0, 2))
    def trainer_sees_seal(self, data: st.DataObject, lost: int) -> None:
        seat = data.draw(st.sampled_from(self.published()))
        found = data.draw(st.sampled_from(self.seals))
        missing = data.draw(st.lists(st.sampled_from(self.context.seats), max_size=lost, unique=True))
        self.ask(seat, found, missing)

    def ask(self, seat: int, found: Seal, missing: Sequence[int] = ()) -> None:
        trainer, cohort = self.trainers[seat], found.cohort
        documents = {dealer: d for dealer, d in cohort.documents(found.sealed).items() if dealer not in missing}
        bundles = {dealer: b for dealer, b in cohort.bundles_for(seat).items() if dealer not in missing}
        output = trainer.machine.handle(SealConfirmed(found.digest, found.manifest, documents, bundles))
        match output:
            case Answered(unmasking, faults):
                self.check_answer(seat, found, unmasking)
                trainer.unmasking = encode(unmasking)
                trainer.said.add(trainer.unmasking)
            case Refused(reason, faults):
                self.check_refusal(seat, found, reason)
            case _:
                raise AssertionError
        self.wrong += faults

    def check_answer(self, seat: int, found: Seal, unmasking: Unmasking) -> None:
        """P1, word for word: b of the sealed, pair seeds of sealed with unsealed, and only what this seat holds."""
        assert unmasking.seal == found.digest and seat in found.sealed
        assert is_openable(self.context, found.sealed)
        for item in unmasking.items:
            assert item.owner in found.sealed
            if isinstance(item, SelfMaskShare):
                assert seat in self.context.holders(item.owner)
            else:
                assert item.dropout not in found.sealed and seat in self.context.holders(item.dropout)
                assert item.dropout in self.context.neighbors(item.owner)

    def check_refusal(self, seat: int, found: Seal, reason: Refusal) -> None:
        match reason:
            case Refusal.NOT_SEALED:
                assert seat not in found.sealed
            case Refusal.TOO_FEW_SURVIVORS | Refusal.TOO_FEW_NEIGHBORS:
                assert not is_openable(self.context, found.sealed)
            case Refusal.FOREIGN_ROOT:
                assert seat == self.cheater and found.cohort is self.other
            case Refusal.PAIR_SEED_MISMATCH:
                assert self.kind == "pair seed" and {self.cheater, self.victim} <= set(found.sealed)
            case Refusal.ALREADY_ANSWERED:
                assert self.trainers[seat].unmasking
            case _:
                raise AssertionError(reason)

    # --- what must hold ----------------------------------------------------------------------------------------

    @invariant()
    def nobody_honest_is_named(self) -> None:
        """P5: loss, order, crashes and other members' cheats never make an honest member look bad."""
        for fault in getattr(self, "wrong", []):
            guilty = self.kind != "nobody" and fault.culprit == self.cheater
            assert fault.reason.penalty is Penalty.HARMLESS or guilty, fault
            assert fault.reason is not DropReason.PAIR_SEED_MISMATCH or self.kind == "pair seed"

    @invariant()
    def nobody_contradicts_itself(self) -> None:
        """P8: one contribution and one answer in one round number, whatever crashes and seals there are."""
        for trainer in getattr(self, "trainers", {}).values():
            assert len(trainer.contributions) <= 1 and len(trainer.said) <= 1

    def teardown(self) -> None:
        """Almost all contribute; the chain settles on one more seal, over what a validator holds; all that is missing
        arrives; everybody answers."""
        if not hasattr(self, "machines"):
            return
        for seat in self.context.seats:
            if seat not in self.absent and not self.trainers[seat].secrets:
                self.hand_over(seat)
        for seat in self.published():
            for validator in VALIDATORS:
                self.tell(validator, self.cohort.document_event(seat))
                for event in self.cohort.blob_events(seat):
                    self.tell(validator, event)
        held = self.machines[0].held()
        final = self.add_seal(self.cohort, [seat for seat in self.context.seats if seat in held])
        for validator in VALIDATORS:
            self.settle(validator, final)
        for validator in VALIDATORS:
            self.check_result(validator, final)
        self.nobody_honest_is_named()
        self.nobody_contradicts_itself()

    def settle(self, validator: int, final: Seal) -> None:
        self.tell(validator, aggregator.SealConfirmed(final.digest, final.manifest))
        for seat in final.sealed:
            self.tell(validator, self.cohort.document_event(seat))
            for event in self.cohort.blob_events(seat):
                self.tell(validator, event)
            if seat in self.published():
                self.ask(seat, final)
        for seat in final.sealed:
            if self.trainers[seat].unmasking and seat not in self.heard[validator]:
                self.hear(validator, seat)

    def check_result(self, validator: int, final: Seal) -> None:
        """The plain sum that the reference finds too, or a reason that is so."""
        machine = self.machines[validator]
        result = machine.open(final.cohort.vectors(final.sealed), bound_of(final.sealed))
        if isinstance(result, OpenedInMemory):
            assert np.array_equal(result.ring_sum, final.cohort.plain_sum(final.sealed))
        else:
            self.wrong += result.faults
        if self.kind not in ("nobody", "equivocation", "bundle"):
            self.check_cheated(result)
            return
        answers = [decode(Unmasking, t.unmasking, MESSAGE_BYTES_MAX) for t in self.trainers.values() if t.unmasking]
        if all(answer.seal == final.digest for answer in answers) and self.kind == "nobody":
            speakers = [seat for seat, trainer in self.trainers.items() if trainer.unmasking]
            assert isinstance(result, OpenedInMemory) == is_recoverable(self.context, final.sealed, speakers)
            total = sum_by_reference(self.cohort, final.sealed, speakers)
            assert (total is not None) == isinstance(result, OpenedInMemory)
            assert total is None or np.array_equal(total, final.cohort.plain_sum(final.sealed))
        elif isinstance(result, Unopened):  # survivors spent their one answer on a seal that is gone
            assert result.reason in (AbortReason.TOO_FEW_ANSWERS, AbortReason.TOO_FEW_SURVIVORS)
        assert isinstance(machine.phase, Gathering) == (len(final.sealed) >= self.context.survivors_min)

    def check_cheated(self, result: OpenedInMemory | Unopened) -> None:
        """A cheat voids the opening for a named reason at most; what is opened is right."""
        if isinstance(result, Unopened):
            allowed = {
                "share": {AbortReason.TOO_FEW_ANSWERS},
                "dealing": {AbortReason.CONTRADICTION, AbortReason.TOO_FEW_ANSWERS},
                "commitment": {AbortReason.CONTRADICTION, AbortReason.TOO_FEW_ANSWERS},
                "pair seed": {AbortReason.TOO_FEW_ANSWERS},
                "answer": {AbortReason.TOO_FEW_ANSWERS},
                "noise": {AbortReason.OUT_OF_RANGE, AbortReason.TOO_FEW_ANSWERS},
            }[self.kind]
            assert result.reason in allowed | {AbortReason.TOO_FEW_SURVIVORS}, result


class TestCohortUnderSchedule(CohortUnderSchedule.TestCase):  # type: ignore[name-defined, misc]  # made at run time
    """A cohort would be opened wrongly or not at all, or an honest member be blamed, for an order of events."""

    settings = examples(45, steps=30)


# --- the search would find these ---------------------------------------------------------------------------------


class Forgetful(Contributor):
    """The planted bug: it answers every seal."""

    def handle(self, event: contributor.Event) -> contributor.Output:
        before = self.phase
        output = super().handle(event)
        if isinstance(before, Contributed):
            self.phase = before
        return output


class ForgetfulCohort(CohortUnderSchedule):
    def make_contributor(self, seat: int, phase: Phase | None) -> Contributor:
        return Forgetful(self.context, seat, phase)


class GarrulousCohort(CohortUnderSchedule):
    """The planted bug: validators name whoever repeats itself as an equivocator."""

    def tell(self, validator: int, event: aggregator.Event) -> None:
        for fault in self.machines[validator].handle(event):
            reason = DropReason.EQUIVOCATION if fault.reason is DropReason.DUPLICATE else fault.reason
            self.wrong.append(RemoteProtocolError(fault.culprit, reason))


class Credulous(Aggregator):
    """The planted bug: it takes shares that do not match their commitments."""

    def _check_unmasking(self, phase: Gathering, seat: int, unmasking: Unmasking) -> None:
        if unmasking.seal != phase.seal:
            raise RemoteProtocolError(seat, DropReason.WRONG_SEAL)


class CredulousCohort(CohortUnderSchedule):
    def make_aggregator(self) -> Aggregator:
        return Credulous(self.context)


@pytest.mark.parametrize("planted", [ForgetfulCohort, GarrulousCohort, CredulousCohort])
def test_search__finds_a_planted_bug(planted: type[CohortUnderSchedule]) -> None:
    """A search that finds nothing whatever happens proves nothing."""
    few = settings(examples(40, steps=30), phases=[HypothesisPhase.generate], report_multiple_bugs=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(planted, settings=few)
