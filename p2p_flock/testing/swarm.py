"""All members of one round on a heap with virtual time: the real machines, a faulty network, crashes with restart.

Everything that happens follows from the seed. A node dies between any two effects and comes back from its journal and
its blobs; messages are lost, doubled, late and out of order. What was said is kept for the checkers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import assert_never

from p2p_flock import ports
from p2p_flock.alliance.gossip import Checked, validate_envelope
from p2p_flock.chain_events import BallotsCommitted, RoundSealed
from p2p_flock.crypto.suite import sha256
from p2p_flock.crypto.vectors import MemorySink
from p2p_flock.errors import UsageError
from p2p_flock.secagg.contributor import mask_blocks
from p2p_flock.secagg.opening import Opened, Unopened, open_sum
from p2p_flock.testing.alliance import OPENS_AT_S, Setting
from p2p_flock.testing.chain import FakeChain
from p2p_flock.testing.members import Fate, Faults, Make, Node, make_machine
from p2p_flock.testing.timeline import Timeline
from p2p_flock.wire.messages import CHUNK_BYTES, Envelope

LOST_RACES = frozenset({"AlreadySealed", "NothingNew", "WrongRound"})
NOTICED_MS = 100  # how soon the others see that a connection broke
WATCH_MS = 200


class Swarm(Timeline):
    """See the module.

    Attributes:
        said: (time, sender, envelope) of every Send, once per effect.
        answers: the tuples of effects that machines gave.
        accusations: (accuser, encoded evidence) of every Accuse.
        verdicts: what the validator at a seat finds of a cohort; True where nothing is named.
    """

    def __init__(
        self,
        setting: Setting,
        seed: int,
        faults: Faults | None = None,
        make: Make = make_machine,
        verdicts: Mapping[tuple[int, int], bool] | None = None,
        train_ms: int = 3000,
    ) -> None:
        super().__init__(seed, OPENS_AT_S * 1000)
        self.setting, self.faults, self.verdicts = setting, faults or Faults(), verdicts or {}
        self.chain = FakeChain(setting.context, self._on_log)
        self.said: list[tuple[int, int, Envelope]] = []
        self.answers: list[tuple[int, tuple[ports.Effect, ...]]] = []
        self.accusations: list[tuple[int, bytes]] = []
        self.crashes = 0
        self._make, self._train_ms = make, train_ms
        self._checked: dict[Envelope, Checked] = {}
        self.nodes = [Node(seat.index) for seat in setting.context.snapshot.seats]

    def run(self) -> None:
        """Until the round is settled or void."""
        for node in self.nodes:
            self._at(self.random.randint(0, 300), partial(self._start, node))
        self._at(WATCH_MS, self._watch)
        self._run_until(lambda: self.chain.ended_ms is not None)

    # --- chain -----------------------------------------------------------------------------------------------------

    def _delay(self) -> int:
        return self.random.randint(*self.faults.delay_ms)

    def _watch(self) -> None:
        """Chain facts that come with time, and the upkeep of whoever is alive."""
        chain = self.chain
        if chain.is_revealing(self.now_ms):
            for node in self.nodes:
                self._tell_commit_phase(node)
        chain.end_if_stuck(self.now_ms)
        self._at(WATCH_MS, self._watch)

    # --- nodes -------------------------------------------------------------------------------------------------

    def _start(self, node: Node) -> None:
        if node.seat in self.faults.hangs:
            return
        node.life += 1
        node.machine = machine = self._make(self.setting, node.seat)
        self._execute(node, machine.start(tuple(node.journal), self.now_ms))
        if self.chain.sealed is not None:
            self._tell(node, ports.SealObserved(self.chain.sealed))
            if self.chain.commitments:
                positions = tuple(sorted(self.chain.commitments))
                values = tuple(self.chain.commitments[position] for position in positions)
                self._tell(
                    node, ports.CommitmentsObserved(BallotsCommitted(self.chain.sealed.at, 1, positions, values))
                )
            self._tell_commit_phase(node)
        for other in self.nodes:
            if other is not node:
                self._tell(other, ports.SeatReachable(node.seat, True))
                if other.machine is None and other.seat not in self.faults.hangs:
                    self._tell(node, ports.SeatReachable(other.seat, False))

    def _strike(self, node: Node, fate: Fate) -> None:
        node.machine, self.crashes = None, self.crashes + 1
        for other in self.nodes:
            if other is not node:
                self._at(NOTICED_MS, partial(self._tell, other, ports.SeatReachable(node.seat, False)))
        if fate is Fate.CRASH:
            self._at(self.random.randint(*self.faults.downtime_ms), partial(self._start, node))

    def _tell(self, node: Node, event: ports.Event) -> None:
        if node.machine is not None:
            self._execute(node, node.machine.handle(event, self.now_ms))

    def _tell_later(self, node: Node, event: ports.Event, delay_ms: int) -> None:
        """An answer to this life of the node only."""
        life = node.life
        self._at(delay_ms, lambda: self._tell(node, event) if node.life == life else None)

    def _tell_commit_phase(self, node: Node) -> None:
        if self.chain.is_revealing(self.now_ms):
            self._tell(node, ports.CommitPhaseEnded(frozenset(self.chain.commitments), self.chain.reveal_deadline_s))

    def _on_log(self, event: RoundSealed | BallotsCommitted) -> None:
        for node in self.nodes:
            seen = ports.SealObserved(event) if isinstance(event, RoundSealed) else ports.CommitmentsObserved(event)
            self._at(self._delay(), partial(self._tell, node, seen))

    def _schedule_tick(self, node: Node) -> None:
        assert node.machine is not None
        node.tick += 1
        tick, deadline_ms = node.tick, node.machine.deadline_ms()
        if deadline_ms is not None:
            delay_ms = max(1, deadline_ms - self.now_ms)
            self._at(delay_ms, lambda: self._tell(node, ports.TimePassed()) if node.tick == tick else None)

    # --- effects -----------------------------------------------------------------------------------------------

    def _execute(self, node: Node, effects: tuple[ports.Effect, ...]) -> None:
        self.answers.append((node.seat, effects))
        for effect in effects:
            fate = self.faults.fate(node.seat, effect)
            if self.crashes < self.faults.crashes_max and self.random.random() < self.faults.crash:
                fate = Fate.CRASH
            if fate is not None:
                return self._strike(node, fate)
            self._carry_out(node, effect)
        return self._schedule_tick(node)

    def _carry_out(self, node: Node, effect: ports.Effect) -> None:
        match effect:
            case ports.Persist():
                node.persist(effect)
            case ports.StoreBlobs():
                node.blobs.update({sha256(blob): blob for blob in effect.blobs})
            case ports.Send():
                self.said.append((self.now_ms, node.seat, effect.envelope))
                for seat in effect.seats:
                    self._send(seat, effect.envelope)
            case ports.Fetch():
                self._at(self._delay(), partial(self._fetch, node, node.life, effect))
            case ports.Train():
                node.entropy = self.random.randbytes(32)
                answer = ports.UpdateComputed(self.setting.value_of(node.seat), node.entropy)
                self._tell_later(node, answer, self._train_ms + self._delay())
            case ports.MaskUpdate():
                self._tell_later(node, mask_update(node, effect), self._delay())
            case ports.OpenCohort():
                self._tell_later(node, ports.CohortOpened(effect.cohort, open_cohort(node, effect)), self._delay())
            case ports.Evaluate():
                found = {cohort: self.verdicts.get((node.seat, cohort), True) for cohort in effect.aggregates}
                self._tell_later(node, ports.EvaluationFinished(found), 1000 + self._delay())
            case ports.Transact():
                self._at(self._delay(), partial(self._transact, node, node.life, effect.call))
            case ports.Accuse():
                self.accusations.append((node.seat, effect.evidence))
            case ports.Report():
                pass
            case _:
                assert_never(effect)

    def _send(self, seat: int, envelope: Envelope) -> None:
        copies = 0 if self.random.random() < self.faults.loss else 1
        copies += self.random.random() < self.faults.duplication
        for _ in range(copies):
            self._at(self._delay(), partial(self._receive, self.nodes[seat], envelope))

    def _receive(self, node: Node, envelope: Envelope) -> None:
        if envelope not in self._checked:
            self._checked[envelope] = validate_envelope(self.setting.context, envelope)
        message = self._checked[envelope].message
        if message is not None:
            self._tell(node, ports.MessageReceived(envelope, message))

    def _fetch(self, node: Node, life: int, effect: ports.Fetch) -> None:
        sources = [node, *(self.nodes[seat] for seat in effect.seats if self.nodes[seat].machine is not None)]
        found: dict[bytes, bytes] = {}
        for digest in effect.digests:
            for source in sources:
                if digest in source.blobs and (source is node or self.random.random() >= self.faults.loss):
                    found[digest] = source.blobs[digest]
                    break
        if node.life == life and node.machine is not None:
            node.blobs.update(found)
            sizes = {} if effect.is_read else {digest: len(data) for digest, data in found.items()}
            self._tell(node, ports.BlobsFetched(effect.tag, found if effect.is_read else {}, sizes))

    def _transact(self, node: Node, life: int, call: ports.SealRound | ports.CommitRound | ports.SettleRound) -> None:
        error = self.chain.send(call, self.now_ms)
        what = {ports.SealRound: "seal", ports.CommitRound: "commit", ports.SettleRound: "settle"}[type(call)]
        if node.life == life:
            self._tell_later(node, ports.TransactionEnded(what, "" if error in LOST_RACES else error), self._delay())


def mask_update(node: Node, effect: ports.MaskUpdate) -> ports.UpdateMasked:
    """Mask in memory, chunks to the node's blobs, as the driver does with files."""

    def put(chunk: memoryview) -> bytes:
        data = bytes(chunk)
        node.blobs[sha256(data)] = data
        return sha256(data)

    try:
        return ports.UpdateMasked(mask_blocks(effect.masking, effect.encoder.encode(CHUNK_BYTES), put))
    except UsageError as error:
        return ports.UpdateMasked((), str(error))


def open_cohort(node: Node, effect: ports.OpenCohort) -> Opened | Unopened:
    """Open in memory, the aggregate to the node's blobs."""
    sink = MemorySink()
    result = open_sum(effect.opening, node.blobs.__getitem__, sink)
    if isinstance(result, Opened):
        node.blobs[result.aggregate_digest] = bytes(sink.data)
    return result
