"""One node in one alliance: follows the chain, keeps model and keys current, runs a driver per round.

Made by ``daemon/node.py`` for the alliance that the node joined. Three tasks share the state and never block each other
for long: *follow* folds the chain's log, *keep* makes of it whatever should follow (fetch manifests, apply models,
register keys, start rounds, end rounds that got stuck), and the running round's driver talks to peers. The chain is the
only authority; gossip merely makes a node look at it sooner.
"""

from __future__ import annotations

import logging
import time

import trio

from p2p_flock.alliance.confirming import ConfirmationGate
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.gossip import decode_hint
from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.alliance.seat_table import is_bound
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.chain.alliance_contract import AllianceHandle
from p2p_flock.chain.archive import LogArchive
from p2p_flock.chain.follower import ChainFeed
from p2p_flock.chain.records import ChainUpdate, RoundPhase, RoundState
from p2p_flock.chain_events import (
    AddressesRegistered,
    BallotsCommitted,
    ChainEvent,
    RoundOpened,
    RoundSealed,
    SeatJoined,
)
from p2p_flock.daemon.closed_lines import write_closed_line
from p2p_flock.daemon.driver import RoundDriver, forget_round
from p2p_flock.daemon.intake import Intake
from p2p_flock.daemon.judging import Judge
from p2p_flock.daemon.lineage import Lineage
from p2p_flock.daemon.mask_keys import MaskKeys
from p2p_flock.daemon.observability import round_context
from p2p_flock.daemon.presence import Presence
from p2p_flock.daemon.privacy_budget import PrivacyBudget
from p2p_flock.daemon.progress import Progress
from p2p_flock.daemon.purse import Purse
from p2p_flock.daemon.recorder import TestRecorder
from p2p_flock.daemon.round_metrics import RoundMetrics
from p2p_flock.daemon.scorekeeper import Scorekeeper
from p2p_flock.daemon.standing import split_addresses
from p2p_flock.daemon.sync import Sync
from p2p_flock.daemon.taking_part import find_mask_secret
from p2p_flock.daemon.upkeep import Upkeep
from p2p_flock.daemon.world import World
from p2p_flock.errors import BeaconError, ChainError, EndpointsDisagreeError
from p2p_flock.ports import CommitmentsObserved, CommitPhaseEnded, SealObserved, SeatReachable
from p2p_flock.store.journal import Record
from p2p_flock.store.segments import SegmentFile
from p2p_flock.types import AllianceId, Role, Stage, describe_round_id
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import Hint

logger = logging.getLogger(__name__)

RETRY_S = 0.5  # how soon the keeper looks again after something could not be fetched
LINGER_S_MAX = 15.0  # whoever has not caught up by then finds the aggregate at others, or asks the next to start
OUTAGE_RETRY_S = 5.0  # between tries once the chain has been out of reach for a minute
CHAIN_LOG_BYTES_MAX = 256 << 20  # 40,000 rounds of seven validators; a restart reads what lies beyond from the chain
IDLE_LOOK_S = 1.0  # how often it looks without any news, for deadlines


def topic_of(alliance_id: AllianceId) -> str:
    """Gossip topic of an alliance: chain, factory and number, so that no two alliances share one."""
    return f"/p2p-flock/1/{alliance_id.chain_id}/{alliance_id.factory.hex()}/{alliance_id.number}"


class AllianceSession:
    """See the module.

    Attributes:
        history: the chain's log, folded.
        state: the contract's state in the newest block seen, to which ``history`` reaches.
        metrics: of the running round.
        budget: what this member has spent of a private alliance's ε.
        finished: set once the alliance is closed and the last model is held.
        chain_trouble: why the chain cannot be followed, or ``None``.
    """

    def __init__(
        self, world: World, alliance_id: AllianceId, handle: AllianceHandle, manifest: TaskManifest, judge: Judge
    ) -> None:
        self.id = alliance_id
        self.handle = handle
        self.history = AllianceHistory(handle.domain, handle.params)
        self.state: RoundState | None = None
        self.block: int | None = None
        self.metrics: RoundMetrics | None = None
        self.finished = trio.Event()
        self.chain_trouble: str | None = None
        self.judge = judge
        self._world = world
        self._contract = handle.domain.contract.hex()
        self._manifest = manifest
        self.budget = PrivacyBudget(manifest, handle.params, world.chain.address)
        progress = Progress()
        self.lineage = Lineage(world, str(alliance_id), manifest, judge.model, progress)
        self.sync = Sync(world, self.lineage, progress)
        self.keys = MaskKeys(world.secrets, self._contract)
        self.presence, self.purse = Presence(), Purse(world, self)  # for whoever watches
        self.upkeep = Upkeep(world, self)
        self.scorekeeper = Scorekeeper(world, self)
        self._recorder = TestRecorder(world.config.test, world.home)
        self._log: list[ChainEvent] = []
        self._driver: RoundDriver | None = None
        self._round_scope: trio.CancelScope | None = None
        self._round_started: int | None = None
        self._rewound = False
        self._closed_rounds = self._unpinned = 0
        self._intake = Intake(world.net, world.tally)
        self._news = trio.Event()
        self._feed: ChainFeed | None = None
        self._gate = ConfirmationGate(world.config.chain.confirmations)
        self._finished_peers: set[str] = set()

    async def run(self) -> None:
        """Follow, keep, take part; returns when the alliance is closed and its last model is held.

        Raises:
            ChainError: the endpoints failed for long, or disagree.
            StoreError: the disk refuses a promise.
        """
        await trio.to_thread.run_sync(self.lineage.restore)
        self.judge.model = self.lineage.model
        self._closed_rounds = self.lineage.next_round
        self._unpinned = max(0, self.lineage.next_round - 1)  # a process that was killed may have left these pinned
        with round_context(str(self.id), self._running_round):
            await self._run_tasks()

    def _running_round(self) -> int | None:
        rounds = self.history.rounds
        return rounds[-1].opened.round if rounds and not rounds[-1].ended else None

    async def _run_tasks(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            nursery.start_soon(self._keep, nursery)
            nursery.start_soon(self._maintain)
            nursery.start_soon(self.scorekeeper.run)
            await self.finished.wait()
            nursery.cancel_scope.cancel()
        await self.hint("finished")
        await self.scorekeeper.score_last()

    @property
    def driver(self) -> RoundDriver | None:
        """Of the running round; ``None`` while there is none or this node has no part in it."""
        return self._driver

    # --- from the network --------------------------------------------------------------------------------------

    def take_message(self, peer_id: str, data: bytes) -> None:
        """A point-to-point message."""
        self.presence.note(peer_id)
        is_member = any(entry.peer_id == peer_id for entry in self.history.seats)
        self._intake.take(peer_id, data, is_member, self._driver)

    def note_reachable(self, peer_id: str, reachable: bool) -> None:
        """A peer's last connection went, or its first came."""
        self.presence.note(peer_id)
        if self._driver is not None:
            for seat in self._driver.context.snapshot.seats:
                if seat.peer_id == peer_id:
                    self._driver.post(SeatReachable(seat.index, reachable))

    def take_hint(self, peer_id: str, data: bytes) -> None:
        """Somebody gossiped (already checked): look at the chain now instead of at the next poll."""
        hint = decode_hint(data)
        self.presence.note(peer_id)
        self._world.tally.counts["hints_received"] += 1
        if hint.what == "finished":
            self._finished_peers.add(peer_id)
        self._nudge()

    async def hint(self, what: str) -> None:
        """Gossip a hint, and look ourselves."""
        self._nudge()
        message = Hint(self.id.number, max(0, len(self.history.rounds) - 1), what)
        self._world.tally.counts["hints_sent"] += 1
        await self._world.net.publish(topic_of(self.id), encode(message))

    async def linger(self) -> None:
        """After the end: keep serving the last aggregate until every connected member holds the last model too."""
        with trio.move_on_after(LINGER_S_MAX):
            while not set(self.member_peers()) & self._world.net.connected() <= self._finished_peers:
                await self.hint("finished")
                await trio.sleep(RETRY_S)

    def _nudge(self) -> None:
        if self._feed is not None:
            self._feed.nudge()

    def describe_sync(self) -> str | None:
        """What is being fetched for catching up, in words; ``None`` while nothing is."""
        if self.state is None:
            reading = self._feed.reading if self._feed is not None else None
            blocks = "" if reading is None else f": block {reading[0]} of {reading[1]}"
            return f"reading the chain's log{blocks}"
        return self.sync.progress.describe() or None

    def member_peers(self) -> list[str]:
        """Peer IDs of all other members, connected ones first."""
        connected = self._world.net.connected()
        own = self._world.net.peer_id
        peers = {entry.peer_id for entry in self.history.seats if entry.binding_valid and entry.peer_id != own}
        return sorted(peers, key=lambda peer_id: (peer_id not in connected, peer_id))

    # --- from the chain ----------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        self._feed = self.handle.follow(self.handle.terms.created_block, self._open_archive())
        while True:
            try:
                update = await anext(self._feed)
            except EndpointsDisagreeError:
                raise  # nothing may be done on such ground
            except ChainError as error:
                # Without the chain nothing can go wrong but time: keep asking, and let the operator see it.
                self.chain_trouble = str(error)
                logger.error("the chain cannot be followed: %s", error)
                await trio.sleep(OUTAGE_RETRY_S)
                continue
            self.chain_trouble = None
            self._world.clock.observe(update.timestamp_s)
            self.state, self.block = update.state, update.block
            if update.rewound_to is not None:
                self._rewind(update.rewound_to)
            for event in update.events:
                self._log.append(event)
                self._fold(event)
            self._tell_driver(update)
            if update.events or update.state.phase == RoundPhase.CLOSED:
                self._news.set()

    def _open_archive(self) -> LogArchive:
        domain, first_block = self.handle.domain, self.handle.terms.created_block
        file = SegmentFile(self._world.home / "chain" / f"{self._contract}.log", CHAIN_LOG_BYTES_MAX)
        return LogArchive(file, domain.chain_id, domain.contract, first_block)

    def _fold(self, event: ChainEvent) -> None:
        valid = isinstance(event, SeatJoined) and is_bound(self.handle.domain, event)
        self.history.apply(event, valid)
        if isinstance(event, SeatJoined):
            if not valid:
                logger.warning("seat %d is ignored: its peer ID did not sign the join", event.seat)
            elif event.peer_id != self._world.net.peer_id:
                self._world.net.add_peer(event.peer_id, [])
        if isinstance(event, AddressesRegistered):
            self._note_addresses(event)

    def _note_addresses(self, event: AddressesRegistered) -> None:
        """Where a member says that it can be dialled. Hearsay: whoever answers there must prove its peer ID."""
        entry = self.history.seats[event.seat]
        if entry.binding_valid and entry.peer_id != self._world.net.peer_id:
            self._world.net.add_peer(entry.peer_id, split_addresses(event.addresses))

    def _rewind(self, block: int) -> None:
        """The chain was reorganised: fold the surviving log anew; the running round starts over from the journal."""
        logger.warning("the chain was reorganised above block %d", block)
        self._log = [event for event in self._log if event.at.block <= block]
        known = {record.opened.round: record for record in self.history.rounds}
        self.history = AllianceHistory(self.handle.domain, self.handle.params)
        for event in self._log:
            self._fold(event)
        for record in self.history.rounds:
            old = known.get(record.opened.round)
            if old is None or old.opened.beacon_round != record.opened.beacon_round:
                continue
            record.randomness = old.randomness
            if old.sealed is not None and record.sealed is not None:
                same = old.sealed.manifest_digest == record.sealed.manifest_digest
                record.manifest = old.manifest if same else None
                record.manifest_invalid = same and old.manifest_invalid
        self._rewound = True
        self._stop_round()
        self._news.set()

    def _tell_driver(self, update: ChainUpdate) -> None:
        """Pass on what the running round's machine waits for, once it is deep enough in the chain."""
        driver = self._driver
        if driver is None:
            return
        for event in update.events:
            if isinstance(event, RoundSealed | BallotsCommitted) and event.round == driver.context.round:
                self._gate.add(event)
                if isinstance(event, RoundSealed) and isinstance(driver.machine, TrainerMachine):
                    driver.prefetch(event)
        self._tell_confirmed(driver, update.block, update.state)

    def _tell_confirmed(self, driver: RoundDriver, newest_block: int, state: RoundState) -> None:
        for event in self._gate.release(newest_block):
            driver.post(SealObserved(event) if isinstance(event, RoundSealed) else CommitmentsObserved(event))
        if self._feed is not None:
            self._feed.await_block(self._gate.awaited_block)
        if state.round != driver.context.round or state.phase != RoundPhase.REVEALING:
            return
        positions = frozenset(p for p in range(64) if state.committed_positions >> p & 1)
        if positions <= self._gate.committed:
            driver.post(CommitPhaseEnded(positions, state.reveal_deadline_s))

    # --- keeping up --------------------------------------------------------------------------------------------

    async def _keep(self, nursery: trio.Nursery) -> None:
        while True:
            with trio.move_on_after(IDLE_LOOK_S):
                await self._news.wait()
            self._news = trio.Event()
            if not await self._advance(nursery):
                await trio.sleep(RETRY_S)
                self._news.set()

    async def _advance(self, nursery: trio.Nursery) -> bool:
        """Do what the log asks for; False where something could not be had and must be tried again soon."""
        if self._rewound:
            self._rewound = False
            await trio.to_thread.run_sync(self.lineage.rewind, self.history)
            self.judge.model = self.lineage.model
            self._closed_rounds = min(self._closed_rounds, self.lineage.next_round)
        history = self.history
        if self._round_started is not None and (
            self._round_started >= len(history.rounds) or history.rounds[self._round_started].ended
        ):
            self._stop_round()
        complete = await self.sync.advance(history, self.member_peers())
        self.judge.model = self.lineage.model
        if self._unpinned < self.lineage.next_round - 1:
            await trio.to_thread.run_sync(self._unpin_done)
        self._write_closed_lines()
        if history.closed and self.lineage.next_round == len(history.rounds):
            self.finished.set()
            return True
        await self.upkeep.keep_sealed_keys()
        if history is not self.history:
            return False  # reorganised meanwhile: begin again with the new log
        # Not a round that has ended, whose sum could not be had yet: it would be begun and stopped for ever.
        is_running = bool(history.rounds) and not history.rounds[-1].ended
        if is_running and self._round_started is None and self.lineage.next_round == len(history.rounds) - 1:
            self._round_started = len(history.rounds) - 1
            self._round_scope = trio.CancelScope()
            nursery.start_soon(self._run_round, history.rounds[-1], self._round_scope)
        return complete

    async def _maintain(self) -> None:
        """Upkeep has its own task: its transactions must not delay a round's start."""
        while True:
            await self.upkeep.run()
            await self.purse.refresh()
            await trio.sleep(RETRY_S)

    def _unpin_done(self) -> None:
        """Rounds before the one just applied need no promises any more: their blobs may go when space is short."""
        while self._unpinned < self.lineage.next_round - 1:
            forget_round(self._world.blobs, self._contract, self._unpinned)
            self._unpinned += 1

    def _write_closed_lines(self) -> None:
        while self._closed_rounds < self.lineage.next_round:
            number = self._closed_rounds
            if number not in self.lineage.stages:  # passed over when a confirmed model was taken up
                self._closed_rounds += 1
                continue
            write_closed_line(self._world, self, number)
            self._closed_rounds += 1

    # --- a round -----------------------------------------------------------------------------------------------

    def _stop_round(self) -> None:
        if self._round_scope is not None:
            self._round_scope.cancel()
        if self.metrics is not None:
            self.metrics.end("settle")
        self._driver = self._round_scope = self._round_started = None

    async def _run_round(self, record: RoundRecord, scope: trio.CancelScope) -> None:
        """Take part in one round until it ends on chain; then :meth:`_stop_round` cancels this."""
        opened = record.opened
        round_id = describe_round_id(self.id.number, opened.round)
        self.metrics = RoundMetrics(self._world.metrics, opened.round, time.time(), round_id)
        with scope, round_context(str(self.id), opened.round):
            context, beacon_signature = await self._wait_for_beacon(record, opened)
            if context is None:
                await trio.sleep_forever()
                return
            driver = await self._make_driver(context, beacon_signature)
            if driver is None:
                await trio.sleep_forever()
                return
            records = await trio.to_thread.run_sync(self._load_records, context.round)
            self._driver = driver
            self._tell_known(driver, record)
            await driver.run(records)

    async def _wait_for_beacon(self, record: RoundRecord, opened: RoundOpened) -> tuple[RoundContext | None, bytes]:
        """The round's context once its beacon is out, and the beacon's signature for ``sealRound``."""
        offset_s = self._world.clock.offset_ms / 1000
        deadline_s = opened.opens_at_s + self.handle.params.train_seconds - offset_s
        try:
            value = await self._world.beacon.wait_for(opened.beacon_round, deadline_s)
        except BeaconError as error:
            logger.error("round %d: %s", opened.round, error)
            return None, b""
        record.randomness = value.randomness
        while True:
            context = self.lineage.context(self.history, opened.round)
            if context is not None:
                return context, value.signature
            await trio.sleep(0.05)  # the keeper is fetching an earlier manifest; bounded by the round's end

    async def _make_driver(self, context: RoundContext, beacon_signature: bytes) -> RoundDriver | None:
        assert self.metrics is not None
        own = [seat for seat in context.snapshot.seats if seat.owner == self._world.chain.address]
        if not own:
            self.metrics.end("beacon")
            logger.info("round %d: not seated in this round", context.round)
            return None
        seat = own[0]
        role = context.role_of(seat.index)
        self.metrics.role, self.metrics.seat = role.value, seat.index
        self.metrics.end("beacon")  # its line tells the role
        if role is Role.TRAINER and context.stage is Stage.TRAINING and self.budget.is_spent(self.history):
            logger.warning("round %d: ε is spent, more rounds were opened than the terms said: aside", context.round)
            return None
        await self.upkeep.keep_sealed_keys()  # an earlier manifest may have come since the keeper last did
        secret = await trio.to_thread.run_sync(find_mask_secret, context, seat, self.keys)
        if secret is None:
            return None
        machine = self._world.make_machine(
            context, seat.index, self._world.sign, secret, self.history, self.lineage.model
        )
        logger.info("round %d: seat %d is %s", context.round, seat.index, role.value)
        return RoundDriver(
            self._world,
            self.handle,
            context,
            machine,
            self.judge,
            beacon_signature,
            self.metrics,
            self._recorder,
            self.hint,
            self.upkeep.prosecution.take,
            lambda: self.history,
        )

    def _load_records(self, round_number: int) -> list[Record]:
        journal = self._world.journal.records(self._contract, round_number)
        return [*self._world.secrets.load(self._contract, round_number), *journal]

    def _tell_known(self, driver: RoundDriver, record: RoundRecord) -> None:
        """Everything that happened before the driver was there."""
        connected = self._world.net.connected()
        for seat in driver.context.snapshot.seats:
            if seat.peer_id not in connected and seat.peer_id != self._world.net.peer_id:
                driver.post(SeatReachable(seat.index, False))
        self._gate = ConfirmationGate(self._world.config.chain.confirmations)
        for event in self._log:
            if isinstance(event, RoundSealed | BallotsCommitted) and event.round == record.opened.round:
                self._gate.add(event)
        if self.state is not None and self.block is not None:
            self._tell_confirmed(driver, self.block, self.state)
        self._intake.replay(driver)
