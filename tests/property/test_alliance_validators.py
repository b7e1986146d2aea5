"""The validator under any order of events, with crashes between any two effects: never raises, stands by its word.

Hypothesis plays driver, network and chain. Answers come to what was asked for only, and once; messages, seals, blobs
and time come as they like, honest and forged. Every life ends with everything arriving, and the round going on.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from p2p_flock import ports
from p2p_flock.alliance import validator
from p2p_flock.alliance.balloting import BALLOT
from p2p_flock.alliance.sealing import make_have, make_manifest, make_seal
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.alliance.voting import make_ballot, make_commitment
from p2p_flock.chain_events import BallotsCommitted
from p2p_flock.crypto.suite import sha256
from p2p_flock.errors import AbortReason, StoreError
from p2p_flock.ports import Effect
from p2p_flock.secagg.answer import Answered, compute_answer
from p2p_flock.secagg.opening import Opened, Unopened
from p2p_flock.testing.alliance import digest_of
from p2p_flock.types import Vote
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import Contribution, Manifest, Message, SealSignature, Unmasking
from tests.property.nodes import CRASHES, POSITION, SHAPES, Life, NodeUnderTest, round_of, sealed_of
from tests.property.profiles import examples
from tests.unit.alliance_round import NOW_MS
from tests.unit.lone_node import LoneNode


class ValidatorUnderTest(NodeUnderTest):
    """See the module."""

    machine: ValidatorMachine

    @initialize(shape=st.sampled_from(SHAPES), place=st.integers(0, 2))
    def begin(self, shape: tuple[int, int, int], place: int) -> None:
        self.found = found = round_of(shape)
        self.position = place % len(found.validators)
        self.seat = found.validators[self.position]
        self.others = tuple(seat for seat in found.validators if seat != self.seat)
        self.cheat = found.trainers[1]
        self.life = Life(found.context, self.seat, LoneNode(self.seat), frozenset({self.cheat, *self.others}))
        self.now_ms = NOW_MS
        self.manifests = {seats: found.manifest(seats) for seats in (found.trainers, found.trainers[1:])}
        self.start()

    def make(self) -> ValidatorMachine:
        self.life.may_reveal, self.landed = False, set[int]()
        return ValidatorMachine(self.found.context, self.seat, self.found.setting.signer(self.seat))

    def blobs(self) -> dict[bytes, bytes]:
        manifests = {sha256(encode(manifest)): encode(manifest) for manifest in self.manifests.values()}
        return {**self.found.blobs_of(), **manifests}

    def hear(self, seat: int, message: Message, crash_at: int | None = None) -> None:
        self.tell(self.found.say(seat, message), crash_at)

    @rule(data=st.data(), lies=st.sampled_from([False, False, False, True]), crash_at=CRASHES)
    def trainer_contributes(self, data: st.DataObject, lies: bool, crash_at: int | None) -> None:
        seat = self.cheat if lies else data.draw(st.sampled_from(self.found.trainers))
        other = Contribution(digest_of("another root"), digest_of("another document"))
        self.hear(seat, other if lies else self.found.contribution(seat), crash_at)

    @rule(crash_at=CRASHES)
    def everybody_contributes(self, crash_at: int | None) -> None:
        for seat in self.found.trainers:
            self.hear(seat, self.found.contribution(seat))
        self.tell(ports.BlobsFetched("", self.found.blobs_of()), crash_at)

    @rule(data=st.data(), steps=st.integers(1, 4), is_good=st.booleans(), crash_at=CRASHES)
    def round_goes_on(self, data: st.DataObject, steps: int, is_good: bool, crash_at: int | None) -> None:
        """What usually comes next, so that the search gets beyond the first phase; a crash at the end."""
        for step in range(steps):
            self.go_on(data, is_good, crash_at if step == steps - 1 else None)

    def go_on(self, data: st.DataObject, is_good: bool, crash_at: int | None) -> None:
        match self.machine.phase:
            case validator.Phase.SEALING if is_good:
                self.everybody_contributes(crash_at)
                for seat in self.others:
                    self.hear(seat, make_have(self.found.context, self.found.roots))
            case validator.Phase.SEALING:
                self.seal_lands(data, True, crash_at)
            case validator.Phase.OPENING:
                self.finish_opening(is_good, crash_at)
            case validator.Phase.JUDGING:
                effect = self.take(ports.Evaluate)
                if isinstance(effect, ports.Evaluate):
                    self.tell(ports.EvaluationFinished(dict.fromkeys(effect.aggregates, is_good)), crash_at)
            case validator.Phase.VOTING if self.life.may_reveal:
                self.tell(ports.TimePassed(), crash_at)
            case validator.Phase.VOTING:
                self.finish_voting(crash_at)

    def finish_voting(self, crash_at: int | None) -> None:
        """The others commit too, somebody posts, the phase ends, all reveal."""
        for seat in self.others:
            self.hear_vote(seat, Vote.YES, is_open=False)
        self.now_ms += 20_000
        self.tell(ports.TimePassed())
        self.commitments_land(None)
        if self.landed:
            self.life.may_reveal = True
            self.tell(ports.CommitPhaseEnded(frozenset(self.landed), self.now_ms // 1000 + 5), crash_at)

    def finish_opening(self, is_good: bool, crash_at: int | None) -> None:
        self.everybody_contributes(None)
        for _ in range(8):
            self.fetch_is_answered(1.0, None)
        self.all_answer(crash_at)
        for _ in self.found.context.cohorts:
            self.opening_ends(is_good, None)

    def quorum(self) -> list[int]:
        """Positions that sign: others where there are enough."""
        count = self.found.context.params.seal_quorum
        others = [place for place in range(len(self.found.validators)) if place != self.position][:count]
        return others if len(others) == count else sorted({*others, self.position})

    @precondition(lambda self: self.others)
    @rule(data=st.data(), kind=st.sampled_from(["all", "all", "few", "forged", "none"]), crash_at=CRASHES)
    def have_arrives(self, data: st.DataObject, kind: str, crash_at: int | None) -> None:
        roots = dict(self.found.roots)
        if kind == "few":
            roots.pop(self.cheat)
        elif kind == "forged":
            roots[self.cheat] = digest_of("another root")
        seat = data.draw(st.sampled_from(self.others))
        self.hear(seat, make_have(self.found.context, {} if kind == "none" else roots), crash_at)

    @precondition(lambda self: self.others)
    @rule(data=st.data(), kind=st.sampled_from(["good", "good", "few", "forged", "nonsense"]), crash_at=CRASHES)
    def proposal_arrives(self, data: st.DataObject, kind: str, crash_at: int | None) -> None:
        found = self.found
        leader = data.draw(st.sampled_from(self.others))
        roots = {seat: root for seat, root in found.roots.items() if kind != "few" or seat != self.cheat}
        if kind == "forged":
            roots[self.cheat] = digest_of("another root")
        haves = [found.have(seat, roots) for seat in found.validators[: found.context.params.seal_quorum]]
        manifest = found.manifest(seat for seat in found.made if seat in roots)
        if kind == "forged":
            documents = {seat: (made.document_digest, made.document) for seat, made in found.made.items()}
            manifest = make_manifest(found.context, roots, documents)
        data_bytes = b"\xc0" if kind == "nonsense" else encode(manifest)
        self.hear(leader, found.proposal(found.validators.index(leader), haves, data_bytes), crash_at)

    @precondition(lambda self: self.others)
    @rule(data=st.data(), is_whole=st.booleans(), forged=st.booleans(), crash_at=CRASHES)
    def signature_arrives(self, data: st.DataObject, is_whole: bool, forged: bool, crash_at: int | None) -> None:
        seat, found = data.draw(st.sampled_from(self.others)), self.found
        manifest = self.manifests[found.trainers if is_whole else found.trainers[1:]]
        seal = make_seal(found.context, self.position, manifest)
        signature = bytes(65) if forged else found.setting.signer(seat)(seal.signing_digest)
        self.hear(seat, SealSignature(seal.view, seal.digest, signature), crash_at)

    # --- the chain ---------------------------------------------------------------------------------------------

    @rule(data=st.data(), is_whole=st.sampled_from([True, True, False]), crash_at=CRASHES)
    def seal_lands(self, data: st.DataObject, is_whole: bool, crash_at: int | None) -> None:
        """By whoever leads; the first that a machine sees counts, another comes after a reorganisation and restart."""
        found = self.found
        if self.sealed is not None:
            self.tell(ports.SealObserved(self.sealed), crash_at)
            return
        view = data.draw(st.sampled_from(range(len(found.validators))))
        manifest = self.manifests[found.trainers if is_whole else found.trainers[1:]]
        sealed = sealed_of(found, manifest, view, self.quorum(), self.now_ms // 1000)
        self.tell(ports.SealObserved(sealed), crash_at)
        if self.machine.phase is not validator.Phase.SEALING:
            self.sealed = sealed

    @precondition(lambda self: self.sealed is not None)
    @rule(data=st.data(), kind=st.sampled_from(["good", "good", "good", "forged", "other seal"]), crash_at=CRASHES)
    def trainer_answers(self, data: st.DataObject, kind: str, crash_at: int | None) -> None:
        seat = self.cheat if kind != "good" else data.draw(st.sampled_from(self.found.trainers))
        said = self.answer_of(seat)
        if said is None:
            return
        if kind == "forged":
            said = replace(said, items=(replace(said.items[0], share=digest_of("forged")), *said.items[1:]))
        elif kind == "other seal":
            said = replace(said, seal=digest_of("another seal"))
        self.hear(seat, said, crash_at)

    @precondition(lambda self: self.sealed is not None)
    @rule(crash_at=CRASHES)
    def all_answer(self, crash_at: int | None) -> None:
        for seat in self.found.trainers:
            said = self.answer_of(seat)
            if said is not None:
                self.hear(seat, said)

    def answer_of(self, seat: int) -> Unmasking | None:
        if self.sealed is None:
            return None
        found, manifest = self.found, decode(Manifest, self.blobs()[self.sealed.manifest_digest], 1 << 20)
        cohort = next(cohort for cohort in found.context.cohorts if seat in cohort.seats)
        documents = {other: found.made[other].document for other in cohort.seats}
        bundles = {other: found.made[other].bundles[seat] for other in cohort.seats if other != seat}
        secrets = found.made[seat].secrets
        answer = compute_answer(cohort, secrets, self.sealed.seal, manifest, documents, bundles)
        return answer.unmasking if isinstance(answer, Answered) else None

    @rule(opens=st.booleans(), crash_at=CRASHES)
    def opening_ends(self, opens: bool, crash_at: int | None) -> None:
        effect = self.take(ports.OpenCohort)
        if isinstance(effect, ports.OpenCohort):
            aggregate = Opened(digest_of("aggregate", effect.cohort))
            self.tell(
                ports.CohortOpened(effect.cohort, aggregate if opens else Unopened(AbortReason.OUT_OF_RANGE)), crash_at
            )

    @rule(data=st.data(), crash_at=CRASHES)
    def evaluation_ends(self, data: st.DataObject, crash_at: int | None) -> None:
        effect = self.take(ports.Evaluate)
        if isinstance(effect, ports.Evaluate):
            found = {cohort: data.draw(st.booleans()) for cohort in effect.aggregates if data.draw(st.booleans())}
            self.tell(ports.EvaluationFinished(found), crash_at)

    @rule(reason=st.sampled_from(["", "rpc", "WrongRound"]), crash_at=CRASHES)
    def transaction_ends(self, reason: str, crash_at: int | None) -> None:
        effect = self.take(ports.Transact)
        if isinstance(effect, ports.Transact):
            names = {ports.SealRound: "seal", ports.CommitRound: "commit", ports.SettleRound: "settle"}
            self.tell(ports.TransactionEnded(names[type(effect.call)], reason), crash_at)

    # --- votes -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.others)
    @rule(data=st.data(), vote=st.sampled_from([Vote.YES, Vote.YES, Vote.NO]), is_open=st.booleans(), crash_at=CRASHES)
    def vote_arrives(self, data: st.DataObject, vote: Vote, is_open: bool, crash_at: int | None) -> None:
        """A commitment or a ballot of another validator, some of them another vote than it committed to."""
        self.hear_vote(data.draw(st.sampled_from(self.others)), vote, is_open, crash_at)

    def hear_vote(self, seat: int, vote: Vote, is_open: bool, crash_at: int | None = None) -> None:
        found = self.found
        seal = self.sealed.seal if self.sealed is not None else digest_of("early")
        sign, position = found.setting.signer(seat), found.validators.index(seat)
        cohorts = range(found.context.params.cohort_count)
        votes, digests = dict.fromkeys(cohorts, vote), {cohort: digest_of("aggregate", cohort) for cohort in cohorts}
        ballot = make_ballot(found.context, seal, votes, {0: 3}, 500_000, digests, digest_of("salt", seat))
        self.hear(seat, ballot if is_open else make_commitment(found.context, position, ballot, sign), crash_at)

    @precondition(lambda self: self.sealed is not None)
    @rule(crash_at=CRASHES)
    def commitments_land(self, crash_at: int | None) -> None:
        posted = [effect.call for effect in self.asked if isinstance(effect, ports.Transact)]
        for call in posted:
            if isinstance(call, ports.CommitRound) and not self.landed >= set(call.positions):
                self.landed |= set(call.positions)
                log = BallotsCommitted(POSITION, self.found.context.round, call.positions, call.commitments)
                self.tell(ports.CommitmentsObserved(log), crash_at)
                return

    @precondition(lambda self: self.sealed is not None)
    @rule(data=st.data(), crash_at=CRASHES)
    def commit_phase_ends(self, data: st.DataObject, crash_at: int | None) -> None:
        positions = data.draw(st.frozensets(st.sampled_from(range(len(self.found.validators)))))
        self.life.may_reveal = True
        self.tell(ports.CommitPhaseEnded(positions, self.now_ms // 1000 + 5), crash_at)

    def teardown(self) -> None:
        """Back from a crash, the validator goes on to the end."""
        if hasattr(self, "life"):
            self.start()
            self.settle()

    def settle(self) -> None:
        """Everything arrives: it seals, opens, judges, votes, reveals."""
        if self.sealed is None:
            self.everybody_contributes(None)
            manifest = self.manifests[self.found.trainers]
            self.sealed = sealed_of(self.found, manifest, 0, self.quorum(), self.now_ms // 1000)
            self.tell(ports.SealObserved(self.sealed))
        for _ in range(3):
            if self.machine.phase is validator.Phase.OPENING:
                self.finish_opening(True, None)
            effect = self.take(ports.Evaluate)
            if isinstance(effect, ports.Evaluate):
                self.tell(ports.EvaluationFinished(dict.fromkeys(effect.aggregates, True)))
        assert self.machine.phase is validator.Phase.VOTING
        if self.life.ballot().seal == self.sealed.seal:  # else it voted before the chain was reorganised: silence
            self.finish_voting(None)
            assert self.life.said.get(("ballot",)) == self.life.record(BALLOT)


class TestValidator(ValidatorUnderTest.TestCase):  # type: ignore[name-defined, misc]  # made at run time
    """A validator would end on what others do, or contradict itself (P8)."""

    settings = examples(40, steps=30)


# --- the search would find this ---


class ForgetfulValidator(ValidatorMachine):
    """The planted bug: it reads nothing of its journal."""

    def start(self, records: object, now_ms: int) -> tuple[Effect, ...]:
        return super().start((), now_ms)


class ForgetfulValidatorUnderTest(ValidatorUnderTest):
    def make(self) -> ValidatorMachine:
        made = super().make()
        made.__class__ = ForgetfulValidator
        return made


def test_search__finds_a_planted_bug() -> None:
    """A search that finds nothing whatever happens proves nothing."""
    few = settings(examples(60, steps=30), phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises((AssertionError, StoreError)):
        run_state_machine_as_test(ForgetfulValidatorUnderTest, settings=few)
