"""One node of a round with its journal: what it must never do, checked after every effect. For the property tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from p2p_flock import ports
from p2p_flock.alliance.accusing import get_culprits
from p2p_flock.alliance.balloting import BALLOT
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.evidence import EVIDENCE_BYTES_MAX, EvidenceRecord
from p2p_flock.alliance.proposing import HAVE, SEAL_SIGNATURE
from p2p_flock.alliance.sealing import make_seal, read_have
from p2p_flock.alliance.trainer import CONTRIBUTION, SECRETS, UNMASKING, TrainerMachine
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.alliance.voting import compute_commitment
from p2p_flock.chain_events import LogPosition, RoundSealed
from p2p_flock.ports import Accuse, Effect, Event, Persist, Send
from p2p_flock.testing.alliance import make_params, make_setting
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import (
    MESSAGE_BYTES_MAX,
    MESSAGE_KINDS,
    Ballot,
    BallotCommitment,
    Contribution,
    Envelope,
    Have,
    Manifest,
    SealProposal,
    SealSignature,
    Unmasking,
)
from tests.unit.alliance_round import SEALED_AT_S, ContributedRound
from tests.unit.lone_node import LoneNode

# (validators, cohorts, seats)
SHAPES = [(3, 1, 8), (1, 1, 6), (2, 1, 7), (3, 2, 13)]


@cache
def round_of(shape: tuple[int, int, int]) -> ContributedRound:
    """A round in which everybody has contributed, made once for each shape."""
    validators, cohorts, seats = shape
    return ContributedRound(make_setting(make_params(validators, cohorts, seats), seats))


@dataclass
class Life:
    """What one seat did in all its lives.

    Attributes:
        said: what may be said once, by what it is about; the body that was said.
        named: root by (trainer) of every Have.
    """

    context: RoundContext
    seat: int
    node: LoneNode
    guilty: frozenset[int] = frozenset()
    said: dict[tuple[object, ...], bytes] = field(default_factory=dict)
    named: dict[int, bytes] = field(default_factory=dict)
    may_reveal: bool = False

    def records(self) -> tuple[Persist, ...]:
        return tuple(self.node.journal)

    def record(self, kind: str, key: str = "") -> bytes | None:
        return next((r.body for r in self.node.journal if (r.kind, r.key) == (kind, key)), None)

    def carry_out(self, effects: tuple[Effect, ...], crash_at: int | None) -> bool:
        """Do what a driver does with effects, up to the crash; False where it crashed.

        Raises:
            StoreError: the node contradicts its journal. AssertionError: it speaks before it persists, or twice.
        """
        kinds = [isinstance(effect, Persist) for effect in effects]
        assert kinds == sorted(kinds, reverse=True), "journal writes come first"
        for place, effect in enumerate(effects):
            if place == crash_at:
                return False
            match effect:
                case Persist():
                    self.node.persist(effect)
                case Send(_, envelope) if envelope.seat == self.seat:
                    self.check_promised(envelope)
                case Accuse(evidence):
                    self.check_accusation(evidence)
                case _:
                    pass
        return True

    def check_promised(self, envelope: Envelope) -> None:
        """P8: it is in the journal, and the first of its kind."""
        message = decode(MESSAGE_KINDS[envelope.kind], envelope.body, MESSAGE_BYTES_MAX)
        match message:
            case Contribution(root=root):
                assert self.record(CONTRIBUTION) == encode(envelope)
                assert self.record(SECRETS, root.hex()) is not None
                self.say_once(("contribution",), envelope.body)
            case Unmasking():
                assert self.record(UNMASKING) == encode(envelope)
                self.say_once(("unmasking",), envelope.body)
            case Have():
                assert envelope.body in [r.body for r in self.node.journal if r.kind == HAVE]
                for trainer, root in read_have(self.context, message).items():
                    assert self.named.setdefault(trainer, root) == root, "two roots of one trainer"
            case SealProposal(view=view):
                manifest = decode(Manifest, message.manifest, MESSAGE_BYTES_MAX)
                self.check_seal(view, make_seal(self.context, view, manifest).digest)
            case SealSignature(view=view):
                self.check_seal(view, message.seal)
            case BallotCommitment():
                assert message.commitment == compute_commitment(self.context, self.position(), self.ballot())
                self.say_once(("ballot commitment",), envelope.body)
            case Ballot():
                assert self.may_reveal, "a ballot that is shown too early can be copied"
                assert message == self.ballot()
                self.say_once(("ballot",), envelope.body)

    def position(self) -> int:
        return self.context.assignment.validators.index(self.seat)

    def ballot(self) -> Ballot:
        body = self.record(BALLOT)
        assert body is not None, "voted before the ballot was journalled"
        return decode(Ballot, body, MESSAGE_BYTES_MAX)

    def check_seal(self, view: int, digest: bytes) -> None:
        body = self.record(SEAL_SIGNATURE, str(view))
        assert body is not None and decode(SealSignature, body, MESSAGE_BYTES_MAX).seal == digest
        self.say_once(("seal", view), digest)

    def say_once(self, about: tuple[object, ...], body: bytes) -> None:
        assert self.said.setdefault(about, body) == body, f"two things said about {about}"

    def check_accusation(self, body: bytes) -> None:
        """P5: evidence convicts, and nobody but those who signed two things."""
        (evidence,) = decode(EvidenceRecord, body, EVIDENCE_BYTES_MAX).evidence
        culprits = get_culprits(self.context, evidence)
        assert culprits and set(culprits) <= self.guilty, f"seats {culprits} would be slashed"


POSITION = LogPosition(1, 0, SEALED_AT_S, bytes(32))
LEAPS_MS = [0, 1, 200, 200, 1000, 1000, 2000, 5000, 30_000]
CRASHES = st.sampled_from([None, None, None, None, 0, 1, 2, 3])


def sealed_of(
    found: ContributedRound, manifest: Manifest, view: int, signers: Iterable[int], at_s: int = SEALED_AT_S
) -> RoundSealed:
    """The chain's log of a seal of this manifest, in a block of second ``at_s``."""
    sealed = found.sealed(make_seal(found.context, view, manifest), tuple(signers))
    return replace(sealed, at=replace(POSITION, timestamp_s=at_s))


class NodeUnderTest(RuleBasedStateMachine):
    """What both roles have in common: time, crashes, effects."""

    found: ContributedRound
    life: Life
    machine: TrainerMachine | ValidatorMachine
    now_ms: int

    def make(self) -> TrainerMachine | ValidatorMachine:
        raise NotImplementedError

    def start(self) -> None:
        self.machine = self.make()
        self.asked: list[Effect] = []  # what waits for an answer; answers to an earlier life are lost
        self.sealed: RoundSealed | None = None
        self.do(self.machine.start(self.life.records(), self.now_ms), None)

    def do(self, effects: tuple[Effect, ...], crash_at: int | None) -> None:
        before_ms = self.machine.deadline_ms()
        assert before_ms is None or isinstance(before_ms, int)
        if not self.life.carry_out(effects, crash_at):
            self.start()
            return
        asking = (ports.Fetch, ports.Train, ports.MaskUpdate, ports.OpenCohort, ports.Evaluate, ports.Transact)
        self.asked += [effect for effect in effects if isinstance(effect, asking)]

    def tell(self, event: Event, crash_at: int | None = None) -> None:
        self.do(self.machine.handle(event, self.now_ms), crash_at)

    def is_waiting(self) -> bool:
        """Whether a deadline is one that leads on; the search would spend its steps on giving up else."""
        return True

    @precondition(lambda self: self.is_waiting())
    @rule(leap_ms=st.sampled_from(LEAPS_MS), crash_at=CRASHES)
    def time_passes(self, leap_ms: int, crash_at: int | None) -> None:
        self.now_ms += leap_ms
        self.tell(ports.TimePassed(), crash_at)

    @precondition(lambda self: self.is_waiting())
    @rule()
    def deadline_comes(self) -> None:
        deadline_ms = self.machine.deadline_ms()
        if deadline_ms is not None:
            self.now_ms = max(self.now_ms, deadline_ms)
            self.tell(ports.TimePassed())

    @rule()
    def crash(self) -> None:
        self.start()

    @rule(data=st.data(), reachable=st.booleans())
    def connection_changes(self, data: st.DataObject, reachable: bool) -> None:
        seats = range(len(self.found.context.snapshot.seats))
        self.tell(ports.SeatReachable(data.draw(st.sampled_from(seats)), reachable))

    def take(self, kind: type) -> Effect | None:
        """The oldest effect of this kind that has no answer yet."""
        for place, effect in enumerate(self.asked):
            if isinstance(effect, kind):
                return self.asked.pop(place)
        return None

    def blobs(self) -> dict[bytes, bytes]:
        raise NotImplementedError

    @rule(share=st.sampled_from([1.0, 1.0, 0.5, 0.0]), crash_at=CRASHES)
    def fetch_is_answered(self, share: float, crash_at: int | None) -> None:
        effect = self.take(ports.Fetch)
        if isinstance(effect, ports.Fetch):
            blobs = self.blobs()
            wanted = effect.digests[: round(len(effect.digests) * share)]
            got = {digest: blobs[digest] for digest in wanted if digest in blobs}
            sizes = {} if effect.is_read else {digest: len(data) for digest, data in got.items()}
            self.tell(ports.BlobsFetched(effect.tag, got if effect.is_read else {}, sizes), crash_at)
