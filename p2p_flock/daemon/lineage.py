"""Which model this node holds: applies adopted aggregates in order, fetching what it did not open itself.

Run by the session after every round, and when it catches up. Every step is checked against the digests on chain, so
the model comes out the same on every node whoever served the bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio

from p2p_flock.alliance.aggregates import decode_aggregate
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.alliance.model import AdoptedCohort, Model, apply_cohorts, decode_model, encode_model
from p2p_flock.daemon.judging import compute_weight_total
from p2p_flock.daemon.world import World
from p2p_flock.errors import StoreError, WireError
from p2p_flock.types import Stage

logger = logging.getLogger(__name__)
FETCH_TIMEOUT_S = 5.0


class Lineage:
    """The current model and the round it stands after.

    Attributes:
        model: current model.
        next_round: the earliest round whose outcome is not applied yet.
        digests: (before, after) of each round applied since the start, 0x-hex.
        stages: stage of each of them.
    """

    def __init__(self, world: World, alliance: str, manifest: TaskManifest, initial: Model) -> None:
        self._world = world
        self._alliance = alliance
        self._manifest = manifest
        self.model = self._initial = initial
        self.next_round = 0
        self._applied: dict[int, tuple[tuple[int, bytes], ...]] = {}  # round -> what it had adopted when it was applied
        self.digests: dict[int, tuple[str, str]] = {}
        self.stages: dict[int, Stage] = {}

    def restore(self) -> None:
        """Take up the model that the store names as current. Blocks; called once, from a thread.

        Raises:
            StoreError: the store's pointer names a model that is not there or damaged.
        """
        current = self._world.models.current(self._alliance)
        if current is None:
            self._world.models.put(encode_model(self.model))
            self._world.models.set_current(self._alliance, None, self.model.digest)
            return
        data = self._world.models.get(current.digest)
        if data is None:
            raise StoreError(f"model {current.digest.hex()} is damaged; remove the alliance's pointer in models/")
        self.model = decode_model(data)
        self.next_round = 0 if current.round is None else current.round + 1

    def rewind(self, history: AllianceHistory) -> None:
        """Step back to before the first applied round that the chain, reorganised, does not hold as it was. Blocks.

        Models are adopted provisionally: every earlier one is still in the store. Where it is not known which (the
        round was applied before this process started), everything is applied anew from the initial model.
        """
        for round_number in range(self.next_round):
            record = history.rounds[round_number] if round_number < len(history.rounds) else None
            if record is None or not record.ended or self._applied.get(round_number, record.adopted) != record.adopted:
                break
        else:
            return
        before = self.digests.get(round_number)
        data = self._world.models.get(bytes.fromhex(before[0].removeprefix("0x"))) if before is not None else None
        self.model, self.next_round = (self._initial, 0) if data is None else (decode_model(data), round_number)
        previous = self.next_round - 1 if self.next_round else None
        self._world.models.put(encode_model(self.model))
        self._world.models.set_current(self._alliance, previous, self.model.digest)
        logger.warning("took back what the reorganisation undid: the next round to apply is %d", self.next_round)

    async def apply(self, history: AllianceHistory, round_number: int, sources: Sequence[str]) -> bool:
        """Apply one ended round; False where an adopted aggregate cannot be had yet.

        Args:
            sources: peer IDs to ask, best first.
        """
        assert round_number == self.next_round
        record = history.rounds[round_number]
        cohorts = []
        if record.adopted:
            context = self.context(history, round_number)
            if context is None or record.manifest is None:
                return False
            for cohort, digest in record.adopted:
                blob = await self._find(digest, context.cohorts[cohort].vector_bytes + 1024, sources)
                if blob is None:
                    return False
                try:
                    integers = decode_aggregate(context.cohorts[cohort], blob)
                except WireError as error:
                    # The validators adopted bytes that are no aggregate: a quorum of them is broken or lies.
                    raise StoreError(
                        f"round {round_number} adopted an aggregate that cannot be read: {error}"
                    ) from error
                cohorts.append(AdoptedCohort(integers, compute_weight_total(context, cohort, record.manifest)))
        before = self.model
        self.model = apply_cohorts(before, self._manifest, history.params.levels, cohorts)
        self._applied[round_number] = record.adopted
        self.stages[round_number] = before.stage
        self.digests[round_number] = (f"0x{before.digest.hex()}", f"0x{self.model.digest.hex()}")
        self.next_round = round_number + 1
        await trio.to_thread.run_sync(self._keep, round_number)
        return True

    def context(self, history: AllianceHistory, round_number: int) -> RoundContext | None:
        """The context of a round that starts from the current model; ``None`` while its seed or keys are unknown."""
        seed, snapshot = history.seed(round_number), history.snapshot(round_number)
        if seed is None or snapshot is None:
            return None
        return RoundContext.make(
            *(snapshot, history.params, self._manifest, self.model.stage, self.model.digest, seed, self._world.recover)
        )

    def _keep(self, round_number: int) -> None:
        self._world.models.put(encode_model(self.model))
        self._world.models.set_current(self._alliance, round_number, self.model.digest)

    async def _find(self, digest: bytes, bytes_max: int, sources: Sequence[str]) -> bytes | None:
        own = await trio.to_thread.run_sync(self._world.blobs.get, digest)
        if own is not None:
            return own
        fetched = await self._world.net.fetch([digest], sources, bytes_max, FETCH_TIMEOUT_S)
        if digest not in fetched:
            return None
        await trio.to_thread.run_sync(self._world.blobs.put, fetched[digest], False)
        return fetched[digest]
