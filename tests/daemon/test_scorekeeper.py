"""The own score and the local-only one: when they are computed, what of, and that the round never waits for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from p2p_flock.alliance.trainer import Phase, compute_training_seed
from p2p_flock.alliance.validator import Phase as ValidatorPhase
from p2p_flock.daemon.judging import Judge, Judged, Trained
from p2p_flock.daemon.model_files import keep_model
from p2p_flock.daemon.observability import current_round_id
from p2p_flock.daemon.progress import Progress, Works
from p2p_flock.daemon.scorekeeper import GAVE_UP, IS_OFF, PIECE_RATIO_MAX, TOO_LONG, Scorekeeper
from p2p_flock.daemon.scores_file import FILE_BYTES_MAX, SCORES_NAME, Score, ScoresFile
from p2p_flock.daemon.session import AllianceSession
from p2p_flock.daemon.world import World
from p2p_flock.errors import WorkerCrashedError
from p2p_flock.learning.results import EvaluateResult, Float64, TrainReport, VectorFile
from p2p_flock.learning.worker_client import Worker
from p2p_flock.store.models import ModelStore
from p2p_flock.testing.alliance import make_model
from tests.unit.test_alliance_trainer import CONTEXT, SEAT, trainer_in
from tests.unit.test_alliance_validator import validator_in

ALLIANCE = "flock:84530:0x" + "ab" * 20 + ":1"
TRAIN_SECONDS = 100
STEP = np.float32(0.5)  # what one training adds to every parameter
UNTRAINED = make_model(is_training=False)
MODEL = make_model()  # before round 1
SEED = compute_training_seed(CONTEXT, SEAT)
ROUND = CONTEXT.round


def score_of(parameters: Float64) -> float:
    return float(parameters.sum())


class FakeWorker:
    """Trains by a constant step; a model's score is the sum of its parameters.

    ``asked``: operations in order; ``labels``: the rounds that they would name in the worker's log.
    """

    def __init__(self) -> None:
        self.is_busy = False
        self.asked: list[str] = []
        self.labels: list[str | None] = []
        self.seconds = 0.1
        self.fails = False

    @staticmethod
    def _read(file: VectorFile) -> Float64:
        return np.fromfile(file.path, "<f8", file.count, offset=file.offset_bytes)

    async def train(self, _statistics: Float64, parameters: VectorFile, seed: int, update: Path) -> TrainReport:
        self.asked.append(f"train {seed}")
        self.labels.append(current_round_id())
        if self.fails:
            raise WorkerCrashedError("gone")
        np.full(parameters.count, STEP, "<f4").tofile(update)
        return TrainReport(parameters.count, 1, 1.0, 0.5, self.seconds)

    async def evaluate(self, _statistics: Float64, before: VectorFile, candidates: list[VectorFile]) -> EvaluateResult:
        self.asked.append(f"evaluate {len(candidates)}")
        self.labels.append(current_round_id())
        scores = tuple(score_of(self._read(file)) for file in candidates)
        return EvaluateResult(1.0, (1.0,) * len(scores), score_of(self._read(before)), scores, 9, self.seconds)


class Node:
    """A member in round 1, in which it trained; a keeper of its scores made anew by :meth:`restart`."""

    def __init__(self, home: Path, **learning: bool) -> None:
        self.home = home
        (home / "scratch").mkdir(exist_ok=True)
        self.worker = FakeWorker()
        models = ModelStore(home / "models")
        self.judge = Judge(cast(Worker, self.worker), keep_model(models, UNTRAINED), models, home / "scratch")
        self.judge.trained = Trained(keep_model(models, MODEL), SEED, 0.1)
        self.judge.model = MODEL
        self.world = SimpleNamespace(
            home=home, models=models, directory=SimpleNamespace(scratch=home / "scratch"),
            chain=SimpleNamespace(address=b"\x01" * 20),
            config=SimpleNamespace(learning=SimpleNamespace(local_only=learning.get("local_only", True))),
        )  # fmt: skip
        running = SimpleNamespace(ended=False, randomness=b"r", seats=[SimpleNamespace(owner=b"\x01" * 20)])
        ended = SimpleNamespace(ended=True, randomness=b"r", seats=running.seats)
        self.session: Any = SimpleNamespace(
            id=ALLIANCE, judge=self.judge, driver=None,
            handle=SimpleNamespace(params=SimpleNamespace(train_seconds=TRAIN_SECONDS),
                                   domain=SimpleNamespace(contract=b"\xaa" * 20)),
            lineage=SimpleNamespace(next_round=ROUND, model=MODEL),
            history=SimpleNamespace(closed=False, rounds=[*[ended] * ROUND, running]),
        )  # fmt: skip
        self.be(Phase.CONTRIBUTED)
        self.restart()

    def restart(self) -> None:
        self.judge.model = UNTRAINED  # as make_judge leaves it
        self.keeper = Scorekeeper(cast(World, self.world), cast(AllianceSession, self.session))

    def be(self, phase: Phase) -> None:
        """This node is a trainer in this phase."""
        self.session.driver = SimpleNamespace(context=CONTEXT, machine=trainer_in(phase).machine)

    def next_round(self, seed: int, model: Any = MODEL) -> None:
        """The round settles; this node trains in the next one, in which its machine would draw ``seed``."""
        self.session.lineage.next_round += 1
        self.session.history.rounds.insert(0, self.session.history.rounds[0])
        context = replace(CONTEXT, snapshot=replace(CONTEXT.snapshot, round=self.session.lineage.next_round))
        machine = trainer_in(Phase.CONTRIBUTED).machine
        self.session.driver = SimpleNamespace(context=context, machine=machine)
        self.judge.trained = Trained(model, compute_training_seed(context, SEAT), 0.1)

    async def look(self, times: int = 1) -> list[str]:
        """What was asked of the worker."""
        if self.worker.asked == [] and not self.keeper.scores:
            await self.keeper._start()
        before = len(self.worker.asked)
        for _ in range(times):
            await self.keeper._look()
        return self.worker.asked[before:]


async def test_scores__after_own_training_one_more_alone_and_one_evaluation(tmp_path: Path) -> None:
    """The member would not see what taking part gains; or its worker would be at it all the time."""
    node = Node(tmp_path)
    assert await node.look(3) == [f"train {SEED}", "evaluate 1"]
    alone = score_of(UNTRAINED.parameters[:] + STEP)
    assert node.keeper.of(ROUND) == Score(None, alone, 1)
    assert node.keeper.of(ROUND - 1) == Score(score_of(MODEL.parameters[:]), None, 1)
    node.next_round(SEED)
    assert len(await node.look(2)) == 2
    assert node.keeper.of(ROUND) == Score(score_of(MODEL.parameters[:]), alone, 2)
    assert node.keeper.of(ROUND + 1).local_only_score == score_of(UNTRAINED.parameters[:] + 2 * STEP)
    assert not list((tmp_path / "scratch").iterdir())


async def test_scores__name_the_round_in_the_log(tmp_path: Path) -> None:
    """What the worker did, after the round or for an alliance that has closed, would belong to no round."""
    node = Node(tmp_path)
    await node.look(2)
    assert node.worker.labels == [f"a1-r{ROUND}"] * 2
    node.session.driver, node.session.history.closed = None, True
    node.session.lineage.next_round = len(node.session.history.rounds)
    await node.keeper.score_last()
    assert node.worker.asked[2:] == ["evaluate 1"] and node.worker.labels[2:] == [f"a1-r{ROUND}"]


@pytest.mark.parametrize("phase", [Phase.COMPUTING, Phase.MASKING, Phase.PREPARED, Phase.ANSWERING])
async def test_scores__give_way_to_the_round(tmp_path: Path, phase: Phase) -> None:
    """An update would be published late, or a vote be missed, for a figure that nobody's pay depends on."""
    node = Node(tmp_path)
    node.be(phase)
    assert await node.look(2) == []
    node.session.driver = SimpleNamespace(context=CONTEXT, machine=validator_in(ValidatorPhase.SEALING))
    assert await node.look(2) == []
    node.be(Phase.CONTRIBUTED)
    node.worker.is_busy = True
    assert await node.look(2) == []


async def test_scores__a_request_that_came_meanwhile_goes_before_the_evaluation(tmp_path: Path) -> None:
    """It would wait for two pieces of work instead of one."""
    node = Node(tmp_path)
    train = node.worker.train

    async def train_and_be_asked(*arguments: Any) -> TrainReport:
        node.worker.is_busy = True
        return await train(*arguments)

    node.worker.train = train_and_be_asked  # type: ignore[assignment, method-assign]
    assert await node.look(2) == [f"train {SEED}"]
    node.worker.is_busy = False
    assert await node.look(2) == ["evaluate 1"]


async def test_scores__what_is_not_cheap_is_not_computed_and_said(tmp_path: Path) -> None:
    """A large model's member would pay twice for every round."""
    node = Node(tmp_path)
    assert node.judge.trained is not None
    node.judge.trained = replace(node.judge.trained, seconds=TRAIN_SECONDS * PIECE_RATIO_MAX * 1.01)
    assert await node.look(2) == ["evaluate 0"]
    assert node.keeper.note == TOO_LONG and node.keeper.of(ROUND).local_only_score is None
    node = Node(tmp_path, local_only=False)
    assert node.keeper.note == IS_OFF and await node.look(2) in ([], ["evaluate 0"])
    node.next_round(SEED)
    node.worker.seconds = TRAIN_SECONDS * PIECE_RATIO_MAX * 1.01
    assert await node.look(2) == ["evaluate 0"]
    node.next_round(SEED)
    assert await node.look(2) == []  # not even that


async def test_scores__a_worker_that_fails_is_asked_again_in_the_next_round(tmp_path: Path) -> None:
    """A crash would end the node, or be repeated twice a second."""
    node = Node(tmp_path)
    node.worker.fails = True
    assert await node.look(3) == [f"train {SEED}"]
    node.worker.fails = False
    node.next_round(SEED)
    assert len(await node.look(2)) == 2
    assert node.keeper.note != GAVE_UP


async def test_scores__come_from_judging_for_a_validator_and_carry_over(tmp_path: Path) -> None:
    """A validator's curve would have holes, or cost it an evaluation."""
    node = Node(tmp_path)
    await node.look()
    node.session.driver = SimpleNamespace(context=CONTEXT, machine=validator_in(ValidatorPhase.SEALING))
    node.judge.judged[ROUND + 1] = Judged(0.7, 0.81, {0: 0.6}, {0: 0.8}, {0: True})
    node.judge.judged[ROUND + 2] = Judged(0.7, 0.82, {0: 0.6}, {0: 0.8}, {0: True})
    assert await node.look() == []
    alone = node.keeper.of(ROUND).local_only_score
    assert [node.keeper.of(ROUND + more) for more in (0, 1)] == [Score(0.81, alone, 1), Score(0.82, alone, 1)]


async def test_scores__of_the_last_model_and_of_who_has_no_seat(tmp_path: Path) -> None:
    """The result of the whole alliance would be missing; a member that is suspended would see nothing."""
    node = Node(tmp_path)
    node.session.driver, node.judge.trained = None, None
    assert await node.look(2) == []  # seated, and no part yet: it may be called upon any moment
    node.session.history.rounds[-1].seats.clear()
    assert await node.look(2) == ["evaluate 0"]
    node.session.lineage.next_round, node.session.history.closed = ROUND + 1, True
    await node.keeper.score_last()
    assert node.keeper.of(ROUND).own_score == score_of(MODEL.parameters[:])


async def test_scores__survive_a_restart(tmp_path: Path) -> None:
    """The curve would begin anew, and the model that learns alone with it."""
    node = Node(tmp_path)
    await node.look()
    kept = dict(node.keeper.scores)
    node.restart()
    await node.keeper._start()
    assert node.keeper.scores == kept
    assert await node.look(2) == ["evaluate 1"] and node.keeper.scores == kept  # the round's training was done
    node.next_round(SEED)
    await node.look()
    assert node.keeper.of(ROUND + 1) == Score(None, score_of(UNTRAINED.parameters[:] + 2 * STEP), 2)
    (tmp_path / "local-only" / f"{'aa' * 20}.f64").write_bytes(b"torn")
    (tmp_path / "local-only" / "left-over").write_bytes(b"x")
    node.restart()
    node.next_round(SEED)
    await node.keeper._start()
    await node.look()
    assert node.keeper.of(ROUND + 2).local_only_score == score_of(UNTRAINED.parameters[:] + STEP)
    assert [path.name for path in (tmp_path / "local-only").iterdir()] == [f"{'aa' * 20}.f64"]


def test_scores_file__damage_and_other_alliances_are_passed_over(tmp_path: Path) -> None:
    """A torn line would keep the node from starting, or another alliance's scores be shown."""
    file, path = ScoresFile(tmp_path / SCORES_NAME, ALLIANCE), tmp_path / SCORES_NAME
    file.append(3, Score(0.5, None, 0))
    ScoresFile(path, "flock:other").append(3, Score(0.9, 0.9, 9))
    file.append(3, Score(0.5, 0.4, 1))
    good = json.loads(path.read_bytes().splitlines()[0])
    bad = [b"", b"{", b"[]", b"\xff", b"[" * 100_000, *(json.dumps({**good, **change}).encode() for change in (
        {"round": -1}, {"round": True}, {"round": 1 << 33}, {"own_score": "high"}, {"own_score": float("nan")},
        {"local_only_score": 1}, {"local_trainings": None},
    ))]  # fmt: skip
    path.write_bytes(path.read_bytes() + b"\n".join(bad) + b"\n" + path.read_bytes().splitlines()[0][:-9])
    assert file.read() == {3: Score(0.5, 0.4, 1)}


def test_scores_file__is_bounded(tmp_path: Path) -> None:
    """It would grow for the life of a node."""
    file, path = ScoresFile(tmp_path / SCORES_NAME, ALLIANCE), tmp_path / SCORES_NAME
    file.append(0, Score(0.5))
    line = path.read_bytes()
    path.write_bytes(line * (FILE_BYTES_MAX // len(line) + 1))
    file.append(7, Score(0.6))
    assert path.stat().st_size < 0.6 * FILE_BYTES_MAX
    assert file.read() == {0: Score(0.5), 7: Score(0.6)}


def test_works__pulls_at_the_same_time_are_one_that_ends_with_the_last() -> None:
    """A validator pulls from all trainers at once; five bars that come and go tell nobody anything."""
    works = Works()
    with works.fetching(100) as first:
        first(40)
        with works.fetching(50) as second:
            second(50)
            (work,) = works.current()
            assert (work.what, work.unit, work.done, work.total) == ("fetching", "bytes", 90, 150)
        first(20)
        (work,) = works.current()
        assert (work.done, work.total) == (110, 150)
    assert works.current() == ()
    with works.doing("training", "batches") as progress:
        assert works.current() == ()  # how long it is has not been told
        progress.done, progress.total = 2, 5
        assert [(work.done, work.total) for work in works.current()] == [(2, 5)]
    assert works.current() == ()


def test_progress__of_a_long_pull_is_its_file(tmp_path: Path) -> None:
    """A member that catches up over a slow link would see nothing move."""
    progress, part = Progress(), tmp_path / "model.part"
    with progress.doing("fetching the model", part, 4 << 20):
        assert progress.look() is None and progress.describe() == "fetching the model"
        part.write_bytes(bytes(1 << 20))
        work = progress.look()
        assert work is not None and (work.done, work.total, work.unit) == (1 << 20, 4 << 20, "bytes")
        assert progress.describe() == "fetching the model: 1.0 of 4.0 MiB"
    assert progress.look() is None
