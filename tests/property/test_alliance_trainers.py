"""The trainer under any order of events, with crashes between any two effects: never raises, stands by what it said.

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
from p2p_flock.alliance import trainer
from p2p_flock.alliance.sealing import make_have, make_seal
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.chain_events import BallotsCommitted, RoundSealed
from p2p_flock.crypto.signing import seal_digest, seal_struct_hash
from p2p_flock.crypto.suite import sha256
from p2p_flock.errors import AbortReason, StoreError
from p2p_flock.ports import Effect, Event, Send
from p2p_flock.secagg.opening import Unopened
from p2p_flock.secagg.secrets import ROUND_SECRETS_BYTES_MAX, RoundSecrets
from p2p_flock.testing.alliance import digest_of
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import Manifest, ManifestEntry
from tests.property.nodes import CRASHES, POSITION, SHAPES, Life, NodeUnderTest, round_of, sealed_of
from tests.property.profiles import examples
from tests.unit.alliance_round import NOW_MS, SEALED_AT_S
from tests.unit.lone_node import LoneNode

EARLY = (trainer.Phase.COMPUTING, trainer.Phase.MASKING, trainer.Phase.PREPARED)


class TrainerUnderTest(NodeUnderTest):
    """See the module."""

    machine: TrainerMachine
    is_late: bool
    is_early: bool

    @initialize(shape=st.sampled_from(SHAPES[:2]))
    def begin(self, shape: tuple[int, int, int]) -> None:
        self.found = found = round_of(shape)
        self.seat = found.trainers[0]
        self.life = Life(found.context, self.seat, LoneNode(self.seat), frozenset(found.validators))
        self.now_ms, self.trainings, self.seals = NOW_MS, 0, dict[bytes, bytes]()
        self.is_late = self.is_early = False  # once in a life each: more teaches nothing
        self.start()

    def make(self) -> TrainerMachine:
        setting = self.found.setting
        return TrainerMachine(self.found.context, self.seat, setting.signer(self.seat), setting.mask_secrets[self.seat])

    def is_waiting(self) -> bool:
        return self.machine.phase not in EARLY and self.machine.phase is not trainer.Phase.ASIDE

    @precondition(lambda self: self.machine.phase in EARLY and not self.is_late)
    @rule(leap_ms=st.sampled_from([0, 1000, 60_000]), crash_at=CRASHES)
    def training_takes_time(self, leap_ms: int, crash_at: int | None) -> None:
        self.is_late = self.is_late or leap_ms > 1000
        self.now_ms += leap_ms
        self.tell(ports.TimePassed(), crash_at)

    def blobs(self) -> dict[bytes, bytes]:
        return {**self.found.blobs_of(seat for seat in self.found.made if seat != self.seat), **self.seals}

    @rule(crash_at=CRASHES, is_short=st.sampled_from([False, False, False, True]))
    def training_ends(self, crash_at: int | None, is_short: bool) -> None:
        if self.take(ports.Train) is not None:
            self.trainings += 1
            values = self.found.setting.value_of(self.seat)
            entropy = digest_of("entropy", self.trainings)
            self.tell(ports.UpdateComputed(values[:-1] if is_short else values, entropy), crash_at)

    @rule(crash_at=CRASHES, fails=st.sampled_from([False, False, False, True]))
    def masking_ends(self, crash_at: int | None, fails: bool) -> None:
        effect = self.take(ports.MaskUpdate)
        if isinstance(effect, ports.MaskUpdate):
            answer = self.life.node.mask(effect)
            self.tell(ports.UpdateMasked((), "not finite") if fails else answer, crash_at)

    @rule(
        kind=st.sampled_from(["good", "good", "good", "without us", "foreign", "unsigned", "nonsense", "few"]),
        crash_at=CRASHES,
        view=st.sampled_from([0, 0, 1]),
    )
    def seal_is_seen(self, kind: str, crash_at: int | None, view: int) -> None:
        """Some seals are another fork's, a lying endpoint's, or a quorum's nonsense."""
        found, manifest = self.found, self.make_manifest(kind)
        if view >= len(found.validators) or (self.is_early and self.machine.phase in EARLY):
            return
        self.is_early = self.is_early or self.machine.phase in EARLY
        quorum = range(found.context.params.seal_quorum)
        sealed = sealed_of(found, manifest, view, () if kind == "unsigned" else quorum)
        data = b"\xc0" if kind == "nonsense" else encode(manifest)
        if kind == "nonsense":
            sealed = self.sign_nonsense(sealed, data)
        self.seals[sealed.manifest_digest] = data
        self.tell(ports.SealObserved(sealed), crash_at)

    def sign_nonsense(self, sealed: RoundSealed, data: bytes) -> RoundSealed:
        """Q validators signed a digest under which lie bytes that are no manifest."""
        found = self.found
        seal = make_seal(found.context, sealed.view, found.manifest())
        context = found.context

        digest = seal_struct_hash(
            context.domain, context.round, sealed.view, context.snapshot.beacon_round, context.seed, sha256(data),
            seal.survivors,
        )  # fmt: skip
        positions = range(context.params.seal_quorum)
        signed = seal_digest(context.domain, digest)
        signatures = tuple(found.setting.signer(found.validators[p])(signed) for p in positions)
        return replace(sealed, seal=digest, manifest_digest=sha256(data), survivors=seal.survivors,
                       positions=tuple(positions), signatures=signatures)  # fmt: skip

    def make_manifest(self, kind: str) -> Manifest:
        """As the trainer stands in it with what it last journalled."""
        found = self.found
        seats = [seat for seat in found.made if kind != "without us" or seat != self.seat]
        manifest = found.manifest(seats[:2] if kind == "few" else seats)
        if kind == "foreign":
            return manifest  # the round's own contribution of this seat is another one than its machine's
        kept = [r for r in self.life.node.journal if r.kind == trainer.SECRETS]
        if not kept:
            return manifest
        own = decode(RoundSecrets, kept[-1].body, ROUND_SECRETS_BYTES_MAX)
        entry = ManifestEntry(self.seat, own.root, own.document_digest, own.next_mask_key)
        entries = tuple(entry if old.seat == self.seat else old for old in manifest.entries)
        return Manifest(manifest.round, entries)

    @rule(steps=st.integers(1, 5), crash_at=CRASHES)
    def round_goes_on(self, steps: int, crash_at: int | None) -> None:
        """What usually comes next, so that the search gets beyond the first phases; a crash at the end."""
        for step in range(steps):
            crashing = crash_at if step == steps - 1 else None
            match self.machine.phase:
                case trainer.Phase.COMPUTING:
                    self.training_ends(crashing, False)
                case trainer.Phase.MASKING:
                    self.masking_ends(crashing, False)
                case trainer.Phase.PREPARED:
                    self.tell(ports.TimePassed(), crashing)
                case trainer.Phase.CONTRIBUTED:
                    self.seal_is_seen("good", crashing, 0)
                case trainer.Phase.ANSWERING:
                    self.fetch_is_answered(1.0, crashing)
                case _:
                    return

    @rule(data=st.data())
    def foreign_event(self, data: st.DataObject) -> None:
        """What belongs to validators, or to nobody."""
        events: list[Event] = [
            ports.CommitmentsObserved(BallotsCommitted(POSITION, 1, (0,), (digest_of(1),))),
            ports.CommitPhaseEnded(frozenset({0}), SEALED_AT_S + 9),
            ports.CohortOpened(0, Unopened(AbortReason.OUT_OF_RANGE)),
            ports.EvaluationFinished({0: True}),
            ports.TransactionEnded("seal", "rpc"),
            ports.BlobsFetched("late", {}),
            self.found.say(self.found.validators[0], make_have(self.found.context, {})),
        ]
        before = self.machine.phase
        self.tell(data.draw(st.sampled_from(events)))
        assert self.machine.phase is before or before is trainer.Phase.ANSWERING

    @precondition(lambda self: self.life.record(trainer.CONTRIBUTION) is not None)
    @rule(is_rare=st.integers(0, 9))
    def old_backup_is_restored(self, is_rare: int) -> None:
        """Backups leave secrets out: the journal tells of a contribution that this node cannot stand by."""
        if is_rare == 0:
            self.life.node.journal = [r for r in self.life.node.journal if not r.secret and r.kind != trainer.UNMASKING]
            self.start()
            assert self.machine.phase is trainer.Phase.ASIDE

    def teardown(self) -> None:
        """Back from a crash, the trainer stands by what it said, and goes on to the end where there is time."""
        if not hasattr(self, "life"):
            return
        self.start()
        told = [self.life.record(kind) is not None for kind in (trainer.CONTRIBUTION, trainer.UNMASKING)]
        if told == [True, True]:
            assert self.machine.phase is trainer.Phase.ANSWERED
        self.round_goes_on(8, None)
        if told[0] and not any(record.secret for record in self.life.records()):
            assert self.machine.phase is trainer.Phase.ASIDE
        elif told[0] or self.now_ms < self.found.context.seal_deadline_ms:
            assert self.machine.phase is trainer.Phase.ANSWERED


class TestTrainer(TrainerUnderTest.TestCase):  # type: ignore[name-defined, misc]  # made at run time
    """A trainer would end on what others do, or contradict itself (P8)."""

    settings = examples(40, steps=25)


# --- the search would find this ---


class HastyTrainer(TrainerMachine):
    """The planted bug: it speaks, then persists."""

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        return tuple(sorted(super().handle(event, now_ms), key=lambda effect: not isinstance(effect, Send)))


class HastyTrainerUnderTest(TrainerUnderTest):
    def make(self) -> TrainerMachine:
        made = super().make()
        made.__class__ = HastyTrainer
        return made


def test_search__finds_a_planted_bug() -> None:
    """A search that finds nothing whatever happens proves nothing."""
    few = settings(examples(60, steps=30), phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises((AssertionError, StoreError)):
        run_state_machine_as_test(HastyTrainerUnderTest, settings=few)
