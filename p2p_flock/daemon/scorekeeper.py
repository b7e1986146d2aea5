"""How good the alliance's model is for this member, round by round, and how good one of its own would be.

Run by the session beside everything else. After this node's own training, once its masked update is out and the worker
has nothing to do, one more local training goes on with a model that sees this member's data only, and both models are
evaluated on the private test part. So the operator sees what taking part gains. A validator's judging says the first
score anyway; a node without a part in a round evaluates only.

It gives way to the round: nothing is begun while a request waits, one piece takes at most 1/50 of the training phase
(judged by the node's own training, which is the same work), and a request that comes meanwhile waits for that piece at
most. The model that learns alone uses the alliance's preprocessing, the same batches in the same order, and is trained
as often as this node trained for the alliance. Nothing of it leaves the machine or touches the round.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import trio

from p2p_flock.alliance.model import Model
from p2p_flock.alliance.trainer import Phase, TrainerMachine, compute_training_seed
from p2p_flock.daemon.model_files import locate_parameters
from p2p_flock.daemon.observability import round_context
from p2p_flock.daemon.scores_file import ROUNDS_MAX, SCORES_NAME, Score, ScoresFile
from p2p_flock.daemon.world import World
from p2p_flock.errors import P2PFlockError, StoreError
from p2p_flock.learning.results import VectorFile
from p2p_flock.store.files import make_private_folder, open_temporary, translate_os_errors
from p2p_flock.types import Stage

if TYPE_CHECKING:
    from p2p_flock.daemon.session import AllianceSession

logger = logging.getLogger(__name__)

LOOK_S = 0.5  # between looks for a quiet moment, which lasts from the own update to the round's end
PIECE_RATIO_MAX = 1 / 50  # of the training phase: what a request of the next round may have to wait
PATIENCE = 5  # times that, after which a piece that does not end is ended with the worker
FIRST_PATIENCE_S = 60.0
FOLDER_NAME = "local-only"
BLOCK_VALUES = 1 << 18  # of a model, in memory at a time
QUIET_PHASES = frozenset({Phase.CONTRIBUTED, Phase.ANSWERED, Phase.ASIDE})

IS_OFF = "not computed: learning.local_only is off"
TOO_LONG = "not computed: a local training takes longer than 1/50 of the training phase"
GAVE_UP = "not computed any more: a local training did not end; restart the node to try again"


@dataclass(frozen=True, slots=True)
class _Job:
    """In round ``round``, which starts from ``model``: train alone with ``seed`` (``None``: not), then evaluate."""

    round: int
    model: Model
    seed: int | None


class Scorekeeper:
    """See the module.

    Attributes:
        scores: by round, of the models after it, ascending; the newest :data:`ROUNDS_MAX`.
        note: why there is no local-only score, in words; ``None`` where there is or will be one.
    """

    def __init__(self, world: World, session: AllianceSession) -> None:
        self._world, self._session, self._judge = world, session, session.judge
        self._untrained = session.judge.model
        self._piece_s_max = session.handle.params.train_seconds * PIECE_RATIO_MAX
        self._file = ScoresFile(world.home / SCORES_NAME, str(session.id))
        self._path = world.home / FOLDER_NAME / f"{session.handle.domain.contract.hex()}.f64"
        self.scores: dict[int, Score] = {}
        self.note = None if world.config.learning.local_only else IS_OFF
        self._trainings = 0  # of the model that learns alone
        self._trained_round = -1  # the last round in which it was trained
        self._done_round = -1  # the last round in which both were evaluated, or it failed
        self._evaluation_s = 0.0  # what that took in the worker

    async def run(self) -> None:
        """Look for quiet moments for ever. What fails is tried again in the next round."""
        await self._start()
        while True:
            await self._look()
            await trio.sleep(LOOK_S)

    async def score_last(self) -> None:
        """After the alliance has closed: its last model."""
        await self._look()

    def of(self, round_number: int) -> Score:
        """What is known of the models after a round."""
        return self.scores.get(round_number, Score())

    async def _start(self) -> None:
        try:
            await trio.to_thread.run_sync(self._load)
        except StoreError as error:
            logger.warning("the scores of earlier rounds cannot be read: %s", error)

    def _load(self) -> None:
        make_private_folder(self._path.parent)
        self.scores = self._file.read()
        last = next(reversed(self.scores.values()), Score())
        size = self._path.stat().st_size if self._path.exists() else 0
        self._trainings = last.local_trainings if size == 8 * self._untrained.parameters.size else 0
        self._trained_round = max(
            (n for n, score in self.scores.items() if score.local_only_score is not None), default=-1
        )
        for other in self._path.parent.iterdir():  # of alliances that this node was in before, and of a crash
            if other != self._path:
                other.unlink(missing_ok=True)

    async def _look(self) -> None:
        self._take_judged()
        job = self._choose()
        if job is not None:
            # Of an alliance that has closed, what is left to do belongs to its last round.
            number = min(job.round, len(self._session.history.rounds) - 1)
            with round_context(str(self._session.id), number):
                await self._do(job)

    def _take_judged(self) -> None:
        """A validator's judgement holds the score of the model before the round."""
        for number, judged in self._judge.judged.items():
            if judged.score_before is not None and self.of(number - 1).own_score is None:
                self._note(number - 1, own_score=judged.score_before)

    # --- when --------------------------------------------------------------------------------------------------

    def _choose(self) -> _Job | None:
        """What there is to do now, if this is a quiet moment."""
        number, model = self._session.lineage.next_round, self._session.lineage.model
        if model.stage is Stage.STATISTICS or self._done_round >= number or self._judge.worker.is_busy:
            return None
        if not self._is_quiet(number) or self.note == GAVE_UP or self._evaluation_s > self._piece_s_max:
            return None
        seed = self._find_seed(number, model)
        if seed is None and self._trained_round != number and self.of(number - 1).own_score is not None:
            return None
        return _Job(number, model, seed)

    def _is_quiet(self, number: int) -> bool:
        """Whether this node's part in the round ``number`` needs no worker any more."""
        history, driver = self._session.history, self._session.driver
        if history.closed and number == len(history.rounds):
            return True
        if driver is not None:
            machine = driver.machine
            is_own = driver.context.round == number and isinstance(machine, TrainerMachine)
            return is_own and machine.phase in QUIET_PHASES
        record = history.rounds[number] if number < len(history.rounds) else None
        address = self._world.chain.address
        is_known = record is not None and not record.ended and record.randomness is not None
        return is_known and record is not None and all(entry.owner != address for entry in record.seats)

    def _find_seed(self, number: int, model: Model) -> int | None:
        """The order of batches of this node's own training in the round, if one alone is to follow it."""
        trained, driver = self._judge.trained, self._session.driver
        if self.note == IS_OFF or trained is None or driver is None or self._trained_round >= number:
            return None
        seed = compute_training_seed(driver.context, driver.machine.seat)
        if trained.seed != seed or trained.model.digest != model.digest:
            return None  # of an earlier round
        self.note = TOO_LONG if trained.seconds > self._piece_s_max else None
        return None if self.note else seed

    # --- what --------------------------------------------------------------------------------------------------

    async def _do(self, job: _Job) -> None:
        # A worker that has not trained yet may have to load its libraries, and is not called upon for training either.
        patience_s = FIRST_PATIENCE_S if self._judge.trained is None else PATIENCE * self._piece_s_max
        try:
            with trio.move_on_after(patience_s) as patience:
                if job.seed is not None:
                    await self._train(job, job.seed)
                if not self._judge.worker.is_busy:
                    await self._evaluate(job)
                    self._done_round = job.round
        except P2PFlockError as error:
            self._done_round = job.round
            logger.warning("round %d: the own scores cannot be computed: %s", job.round, error)
        if patience.cancelled_caught:
            self._done_round, self.note = job.round, GAVE_UP
            logger.warning("round %d: the local-only model took too long; it is given up", job.round)

    async def _train(self, job: _Job, seed: int) -> None:
        if not self._trainings:
            base = await trio.to_thread.run_sync(locate_parameters, self._world.models, self._untrained)
        else:
            base = self._own_file()
        update = self._world.directory.scratch / "local-only-update"
        update.unlink(missing_ok=True)
        try:
            await self._judge.worker.train(job.model.statistics, base, seed, update)
            await trio.to_thread.run_sync(add_update, base, update, self._path)
        finally:
            update.unlink(missing_ok=True)
        self._trainings += 1
        self._trained_round = job.round

    async def _evaluate(self, job: _Job) -> None:
        before = await trio.to_thread.run_sync(locate_parameters, self._world.models, job.model)
        candidates = [self._own_file()] if self._trainings else []
        result = await self._judge.worker.evaluate(job.model.statistics, before, candidates)
        self._evaluation_s = result.seconds
        if result.seconds > self._piece_s_max:
            self.note = self.note or TOO_LONG
        if result.scores_after and self._trained_round >= 0:
            self._note(self._trained_round, local_only_score=result.scores_after[0])
        if job.round and result.score_before is not None:
            self._note(job.round - 1, own_score=result.score_before)

    def _own_file(self) -> VectorFile:
        return VectorFile(self._path, 0, self._untrained.parameters.size)

    def _note(self, number: int, **known: float | None) -> None:
        """Keep what is known of a round; without a training in it the model that learns alone is the one before."""
        if number < 0:
            return
        score = replace(self.of(number), **known, local_trainings=self._trainings)
        if score.own_score is not None and score.local_only_score is None:
            earlier = [self.scores[n].local_only_score for n in sorted(self.scores) if n < number]
            score = replace(score, local_only_score=next((one for one in reversed(earlier) if one is not None), None))
        if score == self.scores.get(number):
            return
        self.scores[number] = score
        while len(self.scores) > ROUNDS_MAX:
            del self.scores[min(self.scores)]
        try:
            self._file.append(number, score)
        except StoreError as error:
            logger.warning("the own scores are not kept: %s", error)


def add_update(base: VectorFile, update: Path, target: Path) -> None:
    """Write ``base`` + ``update`` to ``target``, D little-endian float64, replacing it. Blocks; reads in blocks.

    Args:
        update: D little-endian float32.

    Raises:
        StoreError: the disk refuses, or the update is shorter than the base.
    """
    with translate_os_errors(f"write {target}"), open_temporary(target.parent) as (descriptor, temporary):
        with (
            base.path.open("rb") as base_file,
            update.open("rb") as update_file,
            open(descriptor, "wb", closefd=False) as file,
        ):
            base_file.seek(base.offset_bytes)
            for start in range(0, base.count, BLOCK_VALUES):
                count = min(BLOCK_VALUES, base.count - start)
                values, changes = np.fromfile(base_file, "<f8", count), np.fromfile(update_file, "<f4", count)
                if len(values) != count or len(changes) != count:
                    raise StoreError(f"the local update has fewer than {base.count} values")
                file.write((values + changes).astype("<f8", copy=False).tobytes())
        temporary.rename(target)
