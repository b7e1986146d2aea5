"""The one loop that drives a machine on trio, and what carries out its effects.

Run by the session, one driver per round. Everything a machine asks for ends in exactly one event for it, also where it
failed; nothing here decides anything. The nursery dies with the round, and with it every pull, evaluation and
transaction that nobody needs any more (a transaction that was sent lands or not; the chain tells).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import assert_never

import trio

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.chain.alliance_contract import AllianceHandle
from p2p_flock.chain_events import RoundSealed
from p2p_flock.crypto.masking import get_engine_name
from p2p_flock.daemon.arrivals import Arrivals
from p2p_flock.daemon.attention import Attention
from p2p_flock.daemon.judging import Judge
from p2p_flock.daemon.posting import post_ballots, post_commitments
from p2p_flock.daemon.prefetch import prefetch_answer
from p2p_flock.daemon.recorder import TestRecorder
from p2p_flock.daemon.round_metrics import RoundMetrics
from p2p_flock.daemon.world import World
from p2p_flock.errors import ChainError, P2PFlockError, StoreError, TransactionFailedError, UsageError
from p2p_flock.ports import (
    Accuse,
    BlobsFetched,
    CohortOpened,
    CommitRound,
    Effect,
    Evaluate,
    EvaluationFinished,
    Event,
    Fetch,
    MaskUpdate,
    OpenCohort,
    Persist,
    Report,
    SealRound,
    Send,
    SettleRound,
    StoreBlobs,
    TimePassed,
    Train,
    Transact,
    TransactionEnded,
    UpdateComputed,
    UpdateMasked,
)
from p2p_flock.secagg.bundle import SEALED_BUNDLE_BYTES_MAX
from p2p_flock.secagg.contributor import mask_blocks
from p2p_flock.secagg.opening import Opened, Unopened, open_sum
from p2p_flock.store.blobs import BlobStore
from p2p_flock.store.journal import Record
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import CHUNK_BYTES

logger = logging.getLogger(__name__)

EVENTS_MAX = 4096  # hundreds of times a round's messages; beyond it the newest is dropped, and peers repeat themselves
FETCH_TIMEOUT_S = 5.0  # the machine asks again for what did not come
FETCH_BYTES_PER_SECOND_MIN = 2 << 20  # a pull gets as much more time; slower sources are given up and asked again
IDLE_WAIT_MIN_S = 0.005  # a deadline in the past is served soon, not in a busy loop
# The contract's words for "somebody else was first"; then there is nothing left to do.
LOST_RACES = frozenset(
    {"AlreadySealed", "NothingNew", "WrongRound", "WrongPhase", "AlreadySettled", "AlreadyCommitted"}
)


def round_pin(alliance: str, round_number: int) -> str:
    """Name under which a round's blobs are pinned. ``alliance``: the contract's address in hex."""
    return f"{alliance}-round-{round_number}"


def vectors_pin(alliance: str, round_number: int) -> str:
    """Name under which a round's long blobs, masked chunks above all, are pinned; they are dropped with it."""
    return f"{round_pin(alliance, round_number)}-vectors"


def forget_round(blobs: BlobStore, alliance: str, round_number: int) -> None:
    """Nobody is promised this round's blobs any more: masked chunks go now, the short ones when space is short."""
    blobs.unpin(vectors_pin(alliance, round_number), drop=True)
    blobs.unpin(round_pin(alliance, round_number))


class RoundDriver:
    """Drives one machine through one round."""

    def __init__(
        self,
        world: World,
        handle: AllianceHandle,
        context: RoundContext,
        machine: TrainerMachine | ValidatorMachine,
        judge: Judge,
        beacon_signature: bytes,
        metrics: RoundMetrics,
        recorder: TestRecorder,
        hint: Callable[[str], Awaitable[None]],
        accuse: Callable[[bytes], None],
        get_history: Callable[[], AllianceHistory],
    ) -> None:
        self.context = context
        self.machine = machine
        self._world = world
        self._handle = handle
        self._judge = judge
        self._beacon_signature = beacon_signature
        self._metrics = metrics
        self._recorder = recorder
        self._hint = hint
        self._accuse = accuse
        self._get_history = get_history  # the session's; a reorganisation makes it a new one
        self._alliance = context.domain.contract.hex()
        self._nursery: trio.Nursery | None = None
        self._send_event, self._events = trio.open_memory_channel[Event](EVENTS_MAX)
        self._dropped_count = 0

    def post(self, event: Event) -> None:
        """Hand the machine an event. At the bound the event is dropped: every fact comes again."""
        try:
            self._send_event.send_nowait(event)
        except trio.WouldBlock:
            self._dropped_count += 1
            if self._dropped_count.bit_count() == 1:  # the 1st, 2nd, 4th …: peers decide how often this happens
                what = type(event).__name__
                logger.warning(
                    "dropped a %s: %d events wait; dropped so far: %d", what, EVENTS_MAX, self._dropped_count
                )

    async def run(self, records: Sequence[Record]) -> None:
        """Drive until cancelled.

        Args:
            records: what journal and secrets hold of this round.

        Raises:
            StoreError: the disk refuses a promise; the node must not go on.
        """
        kept = [Persist(record.kind, record.key, record.body) for record in records]
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            if isinstance(self.machine, ValidatorMachine):
                others = set(self.context.assignment.validators) - {self.machine.seat}
                peers = {seat: self.context.seat(seat).peer_id for seat in sorted(others)}
                nursery.start_soon(Attention(self._world.net, peers, self.post).run)
            await self._execute(self.machine.start(kept, self._world.clock.now_ms()), nursery)
            while True:
                event = await self._next_event()
                self._metrics.note_event(event)
                self._recorder.note_event(self.context, self.machine, event)
                effects = self.machine.handle(event, self._world.clock.now_ms())
                await self._execute(effects, nursery)

    async def _next_event(self) -> Event:
        try:
            return self._events.receive_nowait()
        except trio.WouldBlock:
            pass
        deadline_ms = self.machine.deadline_ms()
        wait_s = 3600.0 if deadline_ms is None else (deadline_ms - self._world.clock.now_ms()) / 1000
        with trio.move_on_after(max(IDLE_WAIT_MIN_S, wait_s)):
            return await self._events.receive()
        return TimePassed()

    # --- effects -----------------------------------------------------------------------------------------------

    async def _execute(self, effects: Sequence[Effect], nursery: trio.Nursery) -> None:
        """Persist first and wait for the disk; then everything else, in order."""
        promises = [effect for effect in effects if isinstance(effect, Persist)]
        if promises:
            await trio.to_thread.run_sync(self._persist, promises)
        for effect in effects:
            self._metrics.note_effect(effect)
            match effect:
                case Persist():
                    pass
                case StoreBlobs():
                    await trio.to_thread.run_sync(self._store_blobs, effect.blobs)
                case Send():
                    await self._send(effect)
                case Fetch():
                    nursery.start_soon(self._fetch, effect)
                case Train():
                    nursery.start_soon(self._train, effect)
                case MaskUpdate():
                    nursery.start_soon(self._mask_update, effect)
                case OpenCohort():
                    nursery.start_soon(self._open_cohort, effect)
                case Evaluate():
                    nursery.start_soon(self._evaluate, effect)
                case Transact():
                    nursery.start_soon(self._transact, effect)
                case Accuse():
                    self._accuse(effect.evidence)
                case Report():
                    level = logging.INFO if effect.culprit is None else logging.WARNING
                    logger.log(level, "%s: %s", effect.phase, effect.text)
                case _:
                    assert_never(effect)

    def _persist(self, promises: Sequence[Persist]) -> None:
        for secret in (True, False):
            records = [
                Record(self._alliance, self.context.round, promise.kind, promise.key, promise.body)
                for promise in promises
                if promise.secret is secret
            ]
            if records and secret:
                self._world.secrets.save(records)
            elif records:
                self._world.journal.append(records)

    def _store_blobs(self, blobs: Sequence[bytes]) -> None:
        """Keep and pin what this node made itself until the round's end: it was promised to others.

        Not synced: what a power failure takes, journal and secrets do not depend on; the node is a dropout then.
        """
        for blob in blobs:
            self._world.blobs.put(blob, durable=False, pin=round_pin(self._alliance, self.context.round))

    async def _send(self, effect: Send) -> None:
        data = encode(effect.envelope)
        self._world.tally.note_sent(effect.envelope.kind, len(effect.seats), len(data))
        for seat in effect.seats:
            await self._world.net.send(self.context.seat(seat).peer_id, data)

    async def _fetch(self, effect: Fetch) -> None:
        arrivals = await self._pull(effect.digests, effect.seats, effect.bytes_max_each, effect.is_read)
        self.post(BlobsFetched(effect.tag, arrivals.blobs, arrivals.sizes))

    async def _pull(self, digests: Sequence[bytes], seats: Sequence[int], bytes_max: int, is_read: bool) -> Arrivals:
        """Own store first, then the named seats in their order; what came is in the store when this returns."""
        names = (round_pin(self._alliance, self.context.round), vectors_pin(self._alliance, self.context.round))
        arrivals = Arrivals(self._world.blobs, *names, is_read=is_read)
        missing = await trio.to_thread.run_sync(arrivals.take_own, digests)
        sources = [self.context.seat(seat).peer_id for seat in seats]
        if missing and sources:
            timeout_s = FETCH_TIMEOUT_S + len(missing) * bytes_max / FETCH_BYTES_PER_SECOND_MIN
            with self._judge.works.fetching(self._expect_bytes(len(missing), bytes_max, is_read)) as note:

                async def take(digest: bytes, content: bytes) -> None:
                    note(len(content))
                    await arrivals.take(digest, content)

                await self._world.net.fetch_each(missing, sources, bytes_max, timeout_s, take)
                await arrivals.flush()
        return arrivals

    def _expect_bytes(self, count: int, bytes_max: int, is_read: bool) -> int:
        """For the operator's eyes: what a pull will bring, 0 where that is not known (short blobs, soon here)."""
        if is_read:
            return 0
        vector_bytes = max(cohort.vector_bytes for cohort in self.context.cohorts)
        return min(count * bytes_max, vector_bytes + count * SEALED_BUNDLE_BYTES_MAX)

    def prefetch(self, sealed: RoundSealed) -> None:
        """Pull what this trainer's unmasking will need while the seal waits for its confirmations."""
        if self._nursery is not None:
            self._nursery.start_soon(prefetch_answer, self._pull_short, self.context, self.machine.seat, sealed)

    async def _pull_short(
        self, digests: Sequence[bytes], seats: Sequence[int], bytes_max: int
    ) -> Mapping[bytes, bytes]:
        return (await self._pull(digests, seats, bytes_max, True)).blobs

    async def _train(self, effect: Train) -> None:
        try:
            values = await self._judge.compute_update(effect.stage, effect.seed)
        except P2PFlockError as error:
            # A trainer that cannot train is a dropout; the round goes on without it, the operator reads why.
            logger.error("training failed: %s", error)
            return
        self.post(UpdateComputed(values, os.urandom(32)))

    async def _mask_update(self, effect: MaskUpdate) -> None:
        def put(chunk: memoryview) -> bytes:
            # Not synced, as all of a round's blobs: whom a power failure strikes now is a dropout.
            pin = vectors_pin(self._alliance, self.context.round)
            return self._world.blobs.put(chunk, durable=False, pin=pin)

        def mask() -> tuple[bytes, ...]:
            blocks = effect.encoder.encode(CHUNK_BYTES)
            return mask_blocks(effect.masking, self._recorder.copy_encoding(self.context, self.machine, blocks), put)

        try:
            digests = await trio.to_thread.run_sync(mask)
        except UsageError as error:  # the worker's values cannot be encoded
            self.post(UpdateMasked((), str(error)))
        else:
            logger.debug("masked the update, engine: %s", get_engine_name())
            self.post(UpdateMasked(digests))

    async def _open_cohort(self, effect: OpenCohort) -> None:
        result = await trio.to_thread.run_sync(self._open_sum, effect)
        self.post(CohortOpened(effect.cohort, result))

    def _open_sum(self, effect: OpenCohort) -> Opened | Unopened:
        blobs = self._world.blobs

        def read_blob(digest: bytes) -> bytes:
            data = blobs.get(digest)
            if data is None:
                raise StoreError(f"blob {digest.hex()} is gone from the store while it is needed; raise blob_bytes_max")
            return data

        with blobs.open_sink(durable=False) as sink:
            result = open_sum(effect.opening, read_blob, sink)
        if isinstance(result, Opened):
            blobs.pin(result.aggregate_digest, round_pin(self._alliance, self.context.round))
            self._recorder.note_opened(self.context, effect.cohort, blobs.open_source(result.aggregate_digest))
        return result

    async def _evaluate(self, effect: Evaluate) -> None:
        assert isinstance(self.machine, ValidatorMachine) and self.machine.manifest is not None
        try:
            judged = await self._judge.judge(self.context, effect, self.machine.manifest, self._world.blobs)
        except P2PFlockError as error:
            logger.error("evaluation failed: %s", error)
            judged = EvaluationFinished({})
        self.post(judged)

    async def _transact(self, effect: Transact) -> None:
        call = effect.call
        what = {SealRound: "seal", CommitRound: "commit", SettleRound: "settle"}[type(call)]
        try:
            await self._post_transaction(call)
        except TransactionFailedError as error:
            reason = "" if error.reason in LOST_RACES else error.reason
            self.post(TransactionEnded(what, reason))
        except ChainError as error:
            logger.warning("%s: %s", what, error)
            self.post(TransactionEnded(what, "rpc"))
        else:
            self.post(TransactionEnded(what, ""))
            await self._hint({"seal": "sealed", "commit": "committed", "settle": "settled"}[what])

    async def _post_transaction(self, call: SealRound | CommitRound | SettleRound) -> None:
        round_number = self.context.round
        match call:
            case SealRound():
                await self._handle.seal_round(
                    round=round_number,
                    view=call.view,
                    beacon_signature=self._beacon_signature,
                    manifest_digest=call.manifest_digest,
                    survivors=call.survivors,
                    positions=call.positions,
                    signatures=call.signatures,
                )
            case CommitRound():
                await post_commitments(self._handle, self._get_history(), round_number, call)
            case SettleRound():
                ballots = dict(zip(call.positions, call.ballots, strict=True))
                await post_ballots(self._handle, self._get_history(), round_number, ballots)
