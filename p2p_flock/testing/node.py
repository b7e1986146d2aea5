"""A simulated node: what survives a crash, what does not, and the daemon's rules between chain, model and machine.

It mirrors ``daemon/session.py`` (following the chain, starting rounds, confirmations), ``daemon/lineage.py`` (which
model it holds) and ``daemon/sync.py``; its effects are in ``effects.py``, its upkeep in ``duties.py``. What is simpler
than in the daemon is listed in ``SIMULATOR.md``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from p2p_flock import ports
from p2p_flock.alliance.confirming import ConfirmationGate
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.chain_events import BallotsCommitted, RoundOpened, RoundSealed
from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.errors import ChainError
from p2p_flock.secagg.secrets import ROUND_SECRETS_BYTES_MAX, RoundSecrets
from p2p_flock.testing import effects
from p2p_flock.testing.byzantine.trainers import CrookedTrainer
from p2p_flock.testing.duties import Upkeep
from p2p_flock.testing.endpoints import Disagreement, Endpoint
from p2p_flock.testing.facts import Acted, Failed, Make, ModelApplied, Post, Started, Stopped, TookPost
from p2p_flock.testing.ledger import REVEALING, Block, events_between, find_fork
from p2p_flock.types import Role, Seat
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import Envelope

if TYPE_CHECKING:
    from p2p_flock.testing.simulator import Simulation

CONFIRMATIONS = 2
RETRY_MS = 500
SOURCES_MAX = 8
PULL_TRIES_MAX = 3  # before a node takes up a model that a quorum confirmed instead
EARLY_ENVELOPES_MAX = 512
IDLE_WAIT_MIN_MS = 5
RESTART_AFTER_STOP_MS = 20_000  # an operator looks why the node stopped, and starts it again

Records = dict[int, dict[tuple[str, str], ports.Persist]]


def make_honest(post: Post) -> ports.Machine:
    """The honest machine for the post's role."""
    if post.context.role_of(post.seat) is Role.VALIDATOR:
        return ValidatorMachine(post.context, post.seat, post.sign)
    return TrainerMachine(post.context, post.seat, post.sign, post.mask_secret_key)


class Node:
    """One member and its node.

    Attributes:
        journal, secrets: by round what was persisted; ``mask_secrets``: by public key. These and ``blobs`` (digests of
            what its store holds), model and next round survive a crash.
        machine: of the running round; ``None`` while there is none.
        seat: in the running round.
        life: counts starts; answers to an earlier life are lost.
    """

    def __init__(
        self, sim: Simulation, number: int, secret: bytes, endpoints: Sequence[Endpoint], make: Make | None
    ) -> None:
        self.sim, self.number, self.endpoints = sim, number, tuple(endpoints)
        self.is_honest = make is None or sim.are_all_honest
        self._make = make or make_honest
        self.owner = sim.world.suite.address_of(secret)
        self.sign = sim.world.suite.signer(secret)
        self.peer_id = f"peer-{number}"
        # what survives a crash
        self.journal: Records = {}
        self.secrets: Records = {}
        self.mask_secrets: dict[bytes, bytes] = {}
        self.blobs: dict[bytes, None] = {}  # ordered: the newest last
        self.model = sim.world.initial_model
        self.next_round = 0
        self.applied: dict[int, tuple[tuple[tuple[int, bytes], ...], bytes]] = {}  # round -> (adopted, model before)
        self.backup: Records = {}
        # what does not
        self.is_up = self.is_dead = False
        self.life = self.pull_tries = self._draws = 0
        self.tip: Block | None = None
        self.machine: ports.Machine | None = None
        self.context: RoundContext | None = None
        self.seat = -1
        self.round_started: int | None = None
        self.gate = ConfirmationGate(CONFIRMATIONS)
        self.upkeep = Upkeep(self)
        self._tick_at_ms: int | None = None
        self._early: deque[tuple[int, Envelope]] = deque(maxlen=EARLY_ENVELOPES_MAX)
        self._pulling: set[bytes] = set()
        self._keys_kept: set[bytes] = set()  # seals of which the own next key was looked for
        self._told_end: tuple[object, ...] = ()

    # --- life --------------------------------------------------------------------------------------------------

    def draw_secret(self, what: str) -> bytes:
        """32 fresh random bytes, the same in every replay."""
        self._draws += 1
        return self.sim.draw_bytes(f"{self.number} {what} {self._draws}")

    def make_mask_key(self) -> bytes:
        """Draw a mask key pair, keep the secret, return the public key."""
        return self.keep_mask_secret(self.draw_secret("mask"))

    def keep_mask_secret(self, secret: bytes) -> bytes:
        """Keep a mask secret under its public key."""
        public = mask_public_key(secret)
        self.mask_secrets[public] = secret
        return public

    def start(self, restored: bool = False) -> None:
        """The process starts, or starts again. ``restored``: with the journal of the backup and without secrets."""
        if self.is_dead or self.is_up:
            return
        self.is_up, self.life = True, self.life + 1
        if restored:
            self.journal = {number: dict(records) for number, records in self.backup.items()}
            self.secrets, self.mask_secrets = {}, {}
        self.upkeep = Upkeep(self)
        self._keys_kept.clear()
        self.sim.emit(Started(self.sim.now_ms, self.number, restored))
        self.sim.tell_reachable(self, True)
        self.look()

    def stop(self, reason: str, is_final: bool = False) -> None:
        """The process ends between two effects."""
        if not self.is_up:
            return
        self.is_up, self.is_dead = False, is_final
        self.tip = None
        self._end_round()
        self._early.clear()
        self._pulling.clear()
        self.sim.emit(Stopped(self.sim.now_ms, self.number, is_final, reason))
        self.sim.tell_reachable(self, False)

    def back_up(self) -> None:
        """Copy the journal, as an operator would: without the secrets file."""
        self.backup = {number: dict(records) for number, records in self.journal.items()}

    # --- the chain ---------------------------------------------------------------------------------------------

    @property
    def history(self) -> AllianceHistory:
        """The log that this node sees, folded."""
        assert self.tip is not None
        return self.sim.world.history(self.tip)

    def look(self) -> None:
        """Poll the endpoints: fold what is new, start over what a reorganisation undid, tell the machine."""
        if not self.is_up:
            return
        try:
            seen = self.sim.read_tip(self)
        except Disagreement as error:
            self.stop(str(error))
            self.sim.at(RESTART_AFTER_STOP_MS, self.start)
            return
        if seen is None:
            return
        old, base = self.tip, self.tip or self.sim.first_block
        fork = find_fork(base, seen)
        if fork is seen and old is not None:
            return  # nothing new, or an endpoint that is behind what we saw
        try:
            self.sim.world.history(seen)
        except ChainError as error:
            self.stop(str(error))
            self.sim.at(RESTART_AFTER_STOP_MS, self.start)
            return
        self.tip = seen
        if fork is not base:
            self._rewind()
        elif self.machine is not None:
            self._tell_machine(events_between(fork, seen), seen)
        self.advance()
        self.upkeep.run()

    def _rewind(self) -> None:
        """The running round starts over from the journal; models are taken back to where the log still agrees."""
        self._end_round()
        history = self.history
        for number in range(self.next_round):
            record = history.rounds[number] if number < len(history.rounds) else None
            known = self.applied.get(number)
            if record is None or not record.ended or known is None or known[0] != record.adopted:
                break
        else:
            return
        known = self.applied.get(number)
        self.model = self.sim.world.models[known[1]] if known is not None else self.sim.world.initial_model
        self.next_round = number if known is not None else 0
        self.applied = {one: value for one, value in self.applied.items() if one < self.next_round}

    def _tell_machine(self, events: Iterable[object], seen: Block) -> None:
        assert self.context is not None
        for event in events:
            if isinstance(event, RoundSealed | BallotsCommitted) and event.round == self.context.round:
                self.gate.add(event)
        self._tell_confirmed(seen)

    def _tell_confirmed(self, seen: Block) -> None:
        for event in self.gate.release(seen.number):
            self.tell(ports.SealObserved(event) if isinstance(event, RoundSealed) else ports.CommitmentsObserved(event))
        view = seen.view
        if self.context is None or view.phase != REVEALING or view.round != self.context.round:
            return
        end = (self.life, view.round, view.committed, view.reveal_deadline_s)
        if view.committed <= self.gate.committed and end != self._told_end:
            self._told_end = end
            self.tell(ports.CommitPhaseEnded(view.committed, view.reveal_deadline_s))

    @property
    def is_waiting_for_blocks(self) -> bool:
        """Whether an empty block is news for it."""
        return self.tip is None or self.gate.awaited_block is not None

    # --- keeping up --------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Do what the log asks for: fetch manifests, apply models, start the round."""
        if not self.is_up or self.tip is None:
            return
        history = self.history
        started = self.round_started
        if started is not None and (started >= len(history.rounds) or history.rounds[started].ended):
            self._end_round()
        wanted = self._missing_manifests(history, len(history.rounds))
        wanted += self._apply_rounds(history)
        if wanted:
            self._pull(wanted)
        self.keep_sealed_keys(history)
        is_current = self.next_round == len(history.rounds) - 1
        if self.round_started is None and is_current and not history.rounds[-1].ended:
            self._plan_round(history.rounds[-1])

    def _missing_manifests(self, history: AllianceHistory, before_round: int) -> list[bytes]:
        digests = [r.sealed.manifest_digest for r in history.rounds[:before_round] if r.sealed is not None]
        return [digest for digest in digests if digest not in self.blobs]

    def _apply_rounds(self, history: AllianceHistory) -> list[bytes]:
        """Apply every ended round in order; digests that are needed for the next one and not here."""
        while self.next_round < len(history.rounds) and history.rounds[self.next_round].ended:
            record = history.rounds[self.next_round]
            missing = [digest for _, digest in record.adopted if digest not in self.blobs]
            if missing:
                if self.pull_tries >= PULL_TRIES_MAX and self._take_up_confirmed(history):
                    continue
                return missing
            if record.adopted and self._missing_manifests(history, self.next_round + 1):
                return []
            after = self.sim.world.apply_round(history, record, self.model)
            if after is None:
                return []
            before, self.model = self.model, after
            self.applied[self.next_round] = (record.adopted, before.digest)
            self.pull_tries = 0
            self.sim.emit(ModelApplied(self.sim.now_ms, self.number, self.next_round, before.digest, after.digest))
            self.next_round += 1
        return []

    def _take_up_confirmed(self, history: AllianceHistory) -> bool:
        """Go on from the newest model that a quorum confirmed and that some reachable member holds."""
        for record in reversed(history.rounds[self.next_round + 1 :]):
            digest = record.settled.base_model_digest if record.settled is not None else b""
            if any(digest) and self.sim.is_model_served(self, digest):
                self.model = self.sim.world.models[digest]
                self.next_round = record.opened.round
                self.applied = {n: (history.rounds[n].adopted, digest) for n in range(self.next_round)}
                self.pull_tries = 0
                return True
        return False

    def _pull(self, digests: Sequence[bytes]) -> None:
        """Fetch blobs from other members; look again when they came, or soon where they did not."""
        wanted = [digest for digest in dict.fromkeys(digests) if digest not in self._pulling]
        if not wanted:
            return
        self._pulling.update(wanted)
        life = self.life

        def finish(found: Sequence[bytes]) -> None:
            if self.life != life or not self.is_up:
                return
            self._pulling.difference_update(wanted)
            if len(found) < len(wanted):
                self.pull_tries += 1
                self.sim.at(RETRY_MS, lambda: self.advance() if self.life == life else None)
            else:
                self.advance()

        self.sim.pull(self, wanted, self.sim.choose_sources(self, SOURCES_MAX), finish)

    def keep_sealed_keys(self, history: AllianceHistory) -> None:
        """A seal that holds our contribution installed our next mask key: keep its secret beyond the round's."""
        for number in [number for number in self.secrets if number < len(history.rounds)]:
            record = history.rounds[number]
            if record.manifest is None or record.sealed is None or record.sealed.seal in self._keys_kept:
                continue
            if record.sealed.manifest_digest not in self.blobs:
                continue
            self._keys_kept.add(record.sealed.seal)
            for persisted in self.secrets.get(number, {}).values():
                secrets = decode(RoundSecrets, persisted.body, ROUND_SECRETS_BYTES_MAX)
                sealed = any(entry.next_mask_key == secrets.next_mask_key for entry in record.manifest.entries)
                if sealed and secrets.next_mask_key not in self.mask_secrets:
                    self.mask_secrets[secrets.next_mask_key] = secrets.next_mask_secret

    # --- a round -----------------------------------------------------------------------------------------------

    def _end_round(self) -> None:
        self.machine = self.context = self.round_started = self._tick_at_ms = None
        self.seat = -1
        self.gate = ConfirmationGate(CONFIRMATIONS)

    def _plan_round(self, record: RoundRecord) -> None:
        self.round_started = record.opened.round
        wait_ms = max(0, record.opened.opens_at_s * 1000 - self.sim.now_ms)
        self._run_later(wait_ms + self.sim.network.latency_ms(), record.opened)

    def _run_later(self, delay_ms: int, opened: RoundOpened) -> None:
        life = self.life
        self.sim.at(delay_ms, lambda: self._run_round(opened) if self.life == life else None)

    def _run_round(self, opened: RoundOpened) -> None:
        """Take part in a round whose beacon is out; see ``session._run_round``."""
        if not self.is_up or self.tip is None or self.round_started != opened.round or self.machine is not None:
            return
        history, sim = self.history, self.sim
        if opened.round >= len(history.rounds) or history.rounds[opened.round].opened != opened:
            return  # reorganised: another opening of this round is planned
        context = None
        if not self._missing_manifests(history, opened.round):
            context = sim.world.context(history, opened.round, self.model)
        if context is None:
            self._run_later(RETRY_MS, opened)
            return
        sim.note_context(self, context)
        seat = next((seat for seat in context.snapshot.seats if seat.owner == self.owner), None)
        if seat is None:
            return
        secret = self.find_secret(seat)
        if secret is None:
            return
        self.context, self.seat = context, seat.index
        post = Post(self.number, seat.index, context, self.model, self.sign, secret, history)
        sim.emit(TookPost(sim.now_ms, self.number, seat.index, context))
        machine = self.machine = self._make(post)
        self._act(None, machine.start, self.records(context.round))
        self._tell_known(history)

    def find_secret(self, seat: Seat) -> bytes | None:
        """What it takes part in a round with; ``None``: its key is spent, or it was restored from an old backup, and
        it sits out whatever its role (``daemon/taking_part.py``)."""
        return None if seat.mask_key is None else self.mask_secrets.get(seat.mask_key)

    def serves(self, other: Node) -> bool:
        """Whether its machine gives its blobs to another member; an honest one gives them to all."""
        if not isinstance(self.machine, CrookedTrainer) or self.context is None:
            return True
        seats = [seat for seat, number in enumerate(self.sim.members_of(self.context)) if number == other.number]
        return all(self.machine.serves(seat) for seat in seats)

    def records(self, number: int) -> tuple[ports.Persist, ...]:
        """What journal and secrets hold of a round."""
        return (*self.secrets.get(number, {}).values(), *self.journal.get(number, {}).values())

    def _tell_known(self, history: AllianceHistory) -> None:
        """Everything that happened before the machine was there."""
        if self.machine is None or self.context is None or self.tip is None:
            return
        for seat in self.sim.unreachable_seats(self):
            self.tell(ports.SeatReachable(seat, False))
        self.gate = ConfirmationGate(CONFIRMATIONS)
        opened = history.rounds[self.context.round].opened
        self._told_end = ()
        if self.machine is not None:
            self._tell_machine(self.sim.events_since(opened, self.tip), self.tip)
        early, self._early = self._early, deque(maxlen=EARLY_ENVELOPES_MAX)
        for sender, envelope in early:
            self.receive(sender, envelope)

    # --- the machine -------------------------------------------------------------------------------------------

    def receive(self, sender: int, envelope: Envelope) -> None:
        """A message from another member; as ``daemon/intake.py``."""
        if not self.is_up:
            return
        context = self.context
        if context is None or self.machine is None or envelope.round > context.round:
            self._early.append((sender, envelope))
            return
        message = self.sim.world.check_envelope(context, envelope).message
        if message is not None and self.sim.may_say(context, sender, envelope, message):
            self.tell(ports.MessageReceived(envelope, message))

    def tell(self, event: ports.Event) -> None:
        """Hand the machine an event and carry out what it answers."""
        if self.machine is not None:
            self._act(event, self.machine.handle, event)

    def tell_later(self, event: ports.Event, delay_ms: int) -> None:
        """An answer to this machine only."""
        machine = self.machine
        self.sim.at(delay_ms, lambda: self.tell(event) if self.machine is machine else None)

    def _act(self, event: ports.Event | None, act: object, argument: object) -> None:
        assert self.context is not None and callable(act)
        number = self.context.round
        try:
            answer: tuple[ports.Effect, ...] = act(argument, self.sim.now_ms)
        except Exception as error:  # noqa: BLE001 - whatever comes out of a machine is what the checkers must know
            if self.is_honest:
                self.sim.emit(Failed(self.sim.now_ms, self.number, number, f"{type(error).__name__}: {error}"))
            self.stop(f"{type(error).__name__}: {error}", is_final=True)
            return
        self.sim.emit(Acted(self.sim.now_ms, self.number, number, event, answer))
        effects.execute(self, answer)
        self._schedule_tick()

    def _schedule_tick(self) -> None:
        """One timer at a time: one that rings too early is set anew."""
        if self.machine is None:
            return
        deadline_ms = self.machine.deadline_ms()
        if deadline_ms is None:
            return
        at_ms = max(deadline_ms, self.sim.now_ms + IDLE_WAIT_MIN_MS)
        if self._tick_at_ms is None or at_ms < self._tick_at_ms:
            self._tick_at_ms = at_ms
            machine = self.machine
            self.sim.at(at_ms - self.sim.now_ms, lambda: self._tick(at_ms) if self.machine is machine else None)

    def _tick(self, at_ms: int) -> None:
        if self._tick_at_ms != at_ms or self.machine is None:
            return  # another timer took its place
        self._tick_at_ms = None
        deadline_ms = self.machine.deadline_ms()
        if deadline_ms is not None and deadline_ms <= self.sim.now_ms:
            self.tell(ports.TimePassed())
        else:
            self._schedule_tick()
