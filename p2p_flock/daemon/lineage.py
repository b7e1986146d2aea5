"""Which model this node holds: applies adopted aggregates in order, or takes up a model that a quorum confirmed.

Run by ``daemon/sync.py`` after every round, and when it catches up (SPEC, "Catching up"). Every step is checked against
the digests on chain, so the model comes out the same on every node whoever served the bytes. It never takes up a model
without a word in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import trio

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.alliance.model import Model
from p2p_flock.daemon.judging import open_adopted
from p2p_flock.daemon.model_files import apply_in_store, keep_model, load_model
from p2p_flock.daemon.progress import Progress
from p2p_flock.daemon.world import World
from p2p_flock.errors import StoreError, WireError
from p2p_flock.types import Stage

logger = logging.getLogger(__name__)

# Members keep the models and adopted aggregates of this many rounds. A newcomer takes up a model that is one round old
# and needs that round's aggregates, so two would do if fetching took no time. Whoever cannot pull a model (8 bytes a
# parameter) in six further rounds cannot keep up with the rounds either (4 bytes a parameter for each adopted cohort,
# and as much again to every validator when it trains). The reorganisations seen on OP chains undo seconds, not rounds.
ROUNDS_KEPT = 8
# Replaying costs 4 bytes a parameter for each aggregate with 32-bit lanes, a model costs 8: beyond two it is cheaper.
REPLAYED_AGGREGATES_MAX = 2
# A model confirmed otherwise than computed here, this often in a row: two quorums, drawn independently, say that it is
# this node that differs (a damaged memory, a defect). One alone may have lied, and honest nodes must not follow it.
DISAGREEMENTS_MAX = 2
CANDIDATES_TRIED_MAX = 2  # confirmed models asked for in one pass; the session begins the next pass soon
AGGREGATE_TIMEOUT_S = 5.0
SHORT_AGGREGATE_BYTES_MAX = 1 << 20  # pulled through memory; longer ones go to a file, where a broken pull goes on
AGGREGATE_BYTES_PER_SECOND_MIN = 2 << 20  # a pull gets as much more time
MODEL_TIMEOUT_S = 60.0  # of one pass; the next goes on at the byte where this one stopped
MODEL_HEADER_BYTES_MAX = 8 + 1024


class Lineage:
    """The current model and the round it stands after.

    Attributes:
        model: current model.
        next_round: the earliest round whose outcome is not applied yet.
        digests: (before, after) of each round applied since the start, 0x-hex.
        stages: stage of each of them.
        disagreement: what the operator must know while a quorum confirms other models than this node computes.
        taken_up: rounds before which a confirmed model was taken up since the start.
    """

    def __init__(
        self, world: World, alliance: str, manifest: TaskManifest, initial: Model, progress: Progress | None = None
    ) -> None:
        self._world = world
        self._alliance = alliance
        self._manifest = manifest
        self._progress = progress or Progress()
        self.model = self._initial = initial
        self.next_round = 0
        self._applied: dict[int, tuple[tuple[int, bytes], ...]] = {}  # round -> what it had adopted when it was applied
        self.digests: dict[int, tuple[str, str]] = {}
        self.stages: dict[int, Stage] = {}
        self.taken_up: list[int] = []
        self.disagreement: str | None = None
        self._disagreements = 0  # in a row
        self._refused: set[bytes] = set()  # digests of confirmed files that are no models

    def restore(self) -> None:
        """Take up the model that the store names as current. Blocks; called once, from a thread.

        A damaged model costs a pull, not the node: it starts from the initial one and catches up like a newcomer.

        Raises:
            StoreError: the store's pointer is damaged, or the disk refuses.
        """
        current = self._world.models.current(self._alliance)
        model = load_model(self._world.models, current.digest) if current is not None else None
        if current is None or model is None:
            if current is not None:
                logger.error("the model %s is damaged; asking the members for the current one", current.digest.hex())
            self._point_at(None)
            return
        self.model = model
        self.next_round = 0 if current.round is None else current.round + 1

    def rewind(self, history: AllianceHistory) -> None:
        """Step back to before the first applied round that the chain, reorganised, does not hold as it was. Blocks.

        Models are adopted provisionally: earlier ones are still in the store. Where it is not known which (the round
        was applied before this process started, or never here), it starts over as a newcomer does.
        """
        for round_number in range(self.next_round):
            record = history.rounds[round_number] if round_number < len(history.rounds) else None
            if record is None or not record.ended or self._applied.get(round_number, record.adopted) != record.adopted:
                break
        else:
            return
        before = self.digests.get(round_number)
        digest = bytes.fromhex(before[0].removeprefix("0x")) if before is not None else None
        model = load_model(self._world.models, digest) if digest is not None else None
        self.model, self.next_round = (self._initial, 0) if model is None else (model, round_number)
        self._forget_from(self.next_round)
        self._point_at(self.next_round - 1 if self.next_round else None)
        logger.warning("took back what the reorganisation undid: the next round to apply is %d", self.next_round)

    def rounds_behind(self, history: AllianceHistory) -> int:
        """How many ended rounds are not applied yet."""
        ended = len(history.rounds) - (1 if history.rounds and not history.rounds[-1].ended else 0)
        return max(0, ended - self.next_round)

    async def advance(self, history: AllianceHistory, sources: Sequence[str]) -> bool:
        """Apply every ended round, or take up a confirmed model where that is shorter; False: try again soon.

        Every turn of the loop comes at least one round further, or ends it.

        Args:
            sources: peer IDs to ask, best first.

        Raises:
            StoreError: a quorum adopted bytes that are no aggregate, or the disk refuses.
        """
        while self.rounds_behind(history):
            round_number = self.next_round
            is_long = self._is_replay_long(history)
            if is_long and await self._take_up_confirmed(history, sources, round_number + 1):
                continue
            if history.rounds[round_number].adopted and self.context(history, round_number) is None:
                return False  # a manifest is missing; no model could take its place
            if not await self.apply(history, round_number, sources):
                if is_long or not await self._take_up_confirmed(history, sources, round_number + 1):
                    return False
            elif self._disagreements >= DISAGREEMENTS_MAX:
                await self._take_up_confirmed(history, sources, round_number)
        return True

    async def apply(self, history: AllianceHistory, round_number: int, sources: Sequence[str]) -> bool:
        """Apply one ended round; False where an adopted aggregate cannot be had yet.

        Args:
            sources: peer IDs to ask, best first.

        Raises:
            StoreError: a quorum adopted bytes that are no aggregate, or the disk refuses.
        """
        assert round_number == self.next_round
        record = history.rounds[round_number]
        cohorts = []
        if record.adopted:
            context = self.context(history, round_number)
            if context is None or record.manifest is None:
                return False
            for cohort, digest in record.adopted:
                providers = _spread(context, self._world.net.peer_id, sources)
                if not await self._pull(digest, context.cohorts[cohort].vector_bytes + 1024, providers):
                    return False
                try:
                    adopted = open_adopted(context, cohort, digest, record.manifest, self._world.blobs)
                except WireError as error:
                    # The validators adopted bytes that are no aggregate: a quorum of them is broken or lies.
                    raise StoreError(
                        f"round {round_number} adopted an aggregate that cannot be read: {error}"
                    ) from error
                cohorts.append(adopted)
        before = self.model
        self.model = await trio.to_thread.run_sync(
            apply_in_store, self._world.models, before, self._manifest, history.params.levels_in(before.stage), cohorts
        )
        self._applied[round_number] = record.adopted
        self.stages[round_number] = before.stage
        self.digests[round_number] = (f"0x{before.digest.hex()}", f"0x{self.model.digest.hex()}")
        self.next_round = round_number + 1
        self._compare(record, before)
        await trio.to_thread.run_sync(self._keep, history, record)
        return True

    def context(self, history: AllianceHistory, round_number: int) -> RoundContext | None:
        """The context of a round that starts from the current model; ``None`` while its seed or keys are unknown."""
        seed, snapshot = history.seed(round_number), history.snapshot(round_number)
        if seed is None or snapshot is None:
            return None
        return RoundContext.make(
            *(snapshot, history.params, self._manifest, self.model.stage, self.model.digest, seed, self._world.recover)
        )

    # --- what a quorum confirmed -------------------------------------------------------------------------------

    def _compare(self, record: RoundRecord, before: Model) -> None:
        """Hold the computed model against the one that an accept quorum said it started this round from."""
        confirmed = confirmed_base(record)
        if confirmed is None:
            return
        if confirmed == before.digest:
            if self._disagreements:
                logger.warning("round %d: the validators confirm this node's model again", record.opened.round)
            self._disagreements, self.disagreement = 0, None
            return
        self._disagreements += 1
        self.disagreement = (
            f"round {record.opened.round} started from the model 0x{confirmed.hex()} by the word of a quorum, this "
            f"node computed 0x{before.digest.hex()}: check its disk and memory, and ask other members what they hold"
        )
        logger.error("%s", self.disagreement)

    def _is_replay_long(self, history: AllianceHistory) -> bool:
        """Whether a model costs fewer bytes than the aggregates up to it that are not here."""
        newest = next(self._candidates(history, self.next_round + 1), None)
        if newest is None:
            return False
        skipped = [digest for record in history.rounds[self.next_round : newest[0]] for _, digest in record.adopted]
        return sum(digest not in self._world.blobs for digest in skipped) > REPLAYED_AGGREGATES_MAX

    def _candidates(self, history: AllianceHistory, first_round: int) -> Iterator[tuple[int, bytes]]:
        """(round, digest of the model before it), newest first down to ``first_round``, as far as members keep any."""
        for record in reversed(history.rounds[max(first_round, len(history.rounds) - ROUNDS_KEPT) :]):
            confirmed = confirmed_base(record)
            if confirmed is not None and confirmed not in self._refused:
                yield record.opened.round, confirmed

    async def _take_up_confirmed(self, history: AllianceHistory, sources: Sequence[str], first_round: int) -> bool:
        """Go on from the newest confirmed model that can be had; False where there is none from ``first_round`` on."""
        candidates: dict[bytes, int] = {}
        for round_number, digest in self._candidates(history, first_round):
            candidates.setdefault(digest, round_number)
        # One whose pull has begun comes first: a link too slow for one round's time would begin anew for ever.
        ordered = sorted(candidates, key=lambda digest: (not self._part_of(digest).exists(), -candidates[digest]))
        for digest in ordered[:CANDIDATES_TRIED_MAX]:
            size = _size_of(self._part_of(digest))
            model = await self._obtain(digest, candidates[digest], sources)
            if model is not None:
                await trio.to_thread.run_sync(self._take_up, history, candidates[digest], model)
                return True
            if _size_of(self._part_of(digest)) > size:
                break  # it comes, slowly
        return False

    async def _obtain(self, digest: bytes, round_number: int, sources: Sequence[str]) -> Model | None:
        try:
            return await self._obtain_model(digest, round_number, sources)
        except WireError as error:
            self._refused.add(digest)
            logger.error(
                "a quorum confirmed 0x%s as the model before round %d, but it is none: %s",
                *(digest.hex(), round_number, error),
            )
            return None

    async def _obtain_model(self, digest: bytes, round_number: int, sources: Sequence[str]) -> Model | None:
        model = await trio.to_thread.run_sync(load_model, self._world.models, digest)
        if model is None:
            path, bytes_max = self._world.models.path(digest), self._model_bytes_max()
            what = f"fetching the model before round {round_number}"
            with self._progress.doing(what, self._part_of(digest), bytes_max):
                if not await self._world.net.fetch_to_path(digest, path, sources, bytes_max, MODEL_TIMEOUT_S):
                    return None
            model = await trio.to_thread.run_sync(load_model, self._world.models, digest)
            if model is None:
                return None
            self._progress.fetched_bytes += _size_of(path)
        if model.parameters.size != self._manifest.parameter_count or model.statistics.size not in (
            0,
            self._manifest.statistics_count,
        ):
            raise WireError("it has other widths than the task")
        return model

    def _take_up(self, history: AllianceHistory, round_number: int, model: Model) -> None:
        logger.warning(
            "takes up the model 0x%s that the validators of round %d confirmed (was before round %d)",
            *(model.digest.hex(), round_number, self.next_round),
        )
        self._forget_from(round_number)
        self._applied = {number: history.rounds[number].adopted for number in range(round_number)}
        self.model, self.next_round = model, round_number
        self._disagreements, self.disagreement = 0, None
        self.taken_up.append(round_number)
        self._point_at(round_number - 1 if round_number else None)

    def _forget_from(self, round_number: int) -> None:
        for known in (self._applied, self.digests, self.stages):
            for number in [number for number in known if number >= round_number]:
                known.pop(number)

    # --- disk --------------------------------------------------------------------------------------------------

    def _point_at(self, round_number: int | None) -> None:
        self.model = keep_model(self._world.models, self.model)
        self._world.models.set_current(self._alliance, round_number, self.model.digest)

    def _keep(self, history: AllianceHistory, record: RoundRecord) -> None:
        """Keep the new model and what a newcomer needs of the last rounds; let go of what is older."""
        number = record.opened.round
        self._point_at(number)
        for _, digest in record.adopted:
            self._world.blobs.pin(digest, _aggregate_pin(history, number))
        self._world.blobs.unpin(_aggregate_pin(history, number - ROUNDS_KEPT))
        recent = range(max(0, number + 1 - ROUNDS_KEPT), number + 1)
        kept = {bytes.fromhex(text[2:]) for one in recent for text in self.digests.get(one, ())}
        kept |= {base for one in history.rounds[-ROUNDS_KEPT:] if (base := confirmed_base(one)) is not None}
        self._world.models.prune(frozenset(kept | {self._initial.digest}))
        for part in self._world.models.path(bytes(32)).parent.glob("*.part"):
            if part.name.partition(".")[0] not in {digest.hex() for digest in kept}:
                part.unlink(missing_ok=True)

    async def _pull(self, digest: bytes, bytes_max: int, sources: Sequence[str]) -> bool:
        """Whether the aggregate is in the own store, after a try to get it there; the next goes on where it ended."""
        blobs = self._world.blobs
        if await trio.to_thread.run_sync(blobs.verify, digest):  # not synced: a power failure may have torn it
            return True
        if bytes_max <= SHORT_AGGREGATE_BYTES_MAX:
            with self._progress.doing(f"fetching an aggregate of round {self.next_round}"):
                fetched = await self._world.net.fetch([digest], sources, bytes_max, AGGREGATE_TIMEOUT_S)
            if digest not in fetched:
                return False
            self._progress.fetched_bytes += len(fetched[digest])
            await trio.to_thread.run_sync(blobs.put, fetched[digest], False)
            return True
        path, timeout_s = blobs.part_path(digest), AGGREGATE_TIMEOUT_S + bytes_max / AGGREGATE_BYTES_PER_SECOND_MIN
        with self._progress.doing(f"fetching an aggregate of round {self.next_round}", path, bytes_max):
            if not await self._world.net.fetch_to_path(digest, path, sources, bytes_max, timeout_s):
                return False
        self._progress.fetched_bytes += _size_of(path)
        await trio.to_thread.run_sync(blobs.adopt, path, digest, False)
        return True

    def _part_of(self, digest: bytes) -> Path:
        path = self._world.models.path(digest)
        return path.with_name(path.name + ".part")

    def _model_bytes_max(self) -> int:
        return MODEL_HEADER_BYTES_MAX + 8 * (self._manifest.statistics_count + self._manifest.parameter_count)


def _spread(context: RoundContext, own_peer_id: str, sources: Sequence[str]) -> list[str]:
    """``sources`` in the order to ask them for a round's sums: its validators have them. Members begin with others."""
    validators = [context.seat(seat).peer_id for seat in context.assignment.validators]
    others = [seat.peer_id for seat in context.snapshot.seats if seat.peer_id not in validators]
    turn = others.index(own_peer_id) % len(validators) if own_peer_id in others else 0
    first = [peer_id for peer_id in (*validators[turn:], *validators[:turn]) if peer_id in sources]
    return list(dict.fromkeys([*first, *sources]))


def confirmed_base(record: RoundRecord) -> bytes | None:
    """The model that an accept quorum of the round's validators named as the one they started from, if one did."""
    digest = record.settled.base_model_digest if record.settled is not None else b""
    return digest if any(digest) else None


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _aggregate_pin(history: AllianceHistory, round_number: int) -> str:
    return f"{history.domain.contract.hex()}-aggregate-{round_number}"
