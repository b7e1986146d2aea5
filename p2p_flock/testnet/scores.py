"""Measures models and references for the table and the report.

Called by ``launcher.py``. Scores never come from a log: each is computed from a model file in a node's store (checked
against its digest) by ``scorer.py``, the references by ``python -m p2p_flock.learning.baseline``. Torch stays in those
two processes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from p2p_flock.errors import StoreError, UsageError
from p2p_flock.testnet.data import demo_of
from p2p_flock.testnet.metrics import NodeMetrics
from p2p_flock.testnet.report import References
from p2p_flock.testnet.summary import RoundSummary
from p2p_flock.types import CohortOutcome

SCORER_SECONDS_MAX = 60.0
BASELINE_SECONDS_MAX = 600.0


def find_model(homes: Sequence[Path], digest: str) -> Path | None:
    """The model's file in the first node's store that holds it undamaged; ``digest`` as ``0x`` hex."""
    for home in homes:
        if holds_model(home, digest):
            return model_path(home, digest)
    return None


def model_path(home: Path, digest: str) -> Path:
    """Where a node keeps a model."""
    return home / "models" / f"{digest.removeprefix('0x')}.safetensors"


def holds_model(home: Path, digest: str) -> bool:
    """Whether a node's store holds the model, bit for bit."""
    try:
        data = model_path(home, digest).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(data).hexdigest() == digest.removeprefix("0x")


@dataclass(slots=True)
class Scorer:
    """The scoring process. ``known`` holds every answer by digest; ``None`` is an undefined score.

    ``score_name`` is what the task calls its score, once there is an answer.
    """

    process: trio.Process
    known: dict[str, float | None] = field(default_factory=dict)
    score_name: str = "score"
    _buffer: bytearray = field(default_factory=bytearray)

    async def score(self, digest: str, homes: Sequence[Path]) -> None:
        """Measure a model unless it is known; a model that no store holds (any more) stays unknown.

        Raises:
            StoreError: the scorer ended or refused the model.
        """
        path = find_model(homes, digest)
        if digest in self.known or path is None:
            return
        assert self.process.stdin is not None
        try:
            with trio.fail_after(SCORER_SECONDS_MAX):
                await self.process.stdin.send_all(json.dumps({"model": str(path)}).encode() + b"\n")
                answer = json.loads(await self._read_line())
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ValueError) as error:
            raise StoreError(f"the scoring process failed; see logs/scorer.log ({error!r})") from error
        if "error" in answer:
            raise StoreError(f"{path} cannot be scored: {answer['error']}")
        self.known[digest] = answer["score"]
        self.score_name = answer["score_name"]

    async def _read_line(self) -> bytes:
        assert self.process.stdout is not None
        while b"\n" not in self._buffer:
            received = await self.process.stdout.receive_some()
            if not received:
                raise trio.ClosedResourceError("it ended")
            self._buffer += received
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line


@asynccontextmanager
async def open_scorer(
    task: str, seed: int, data: Sequence[Path], log: Path, environment: Mapping[str, str]
) -> AsyncIterator[Scorer]:
    """Run the scoring process for as long as the context lasts; it is ended with it."""
    command = [sys.executable, "-m", "p2p_flock.testnet.scorer", "--task", task, "--data-seed", str(seed)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        process = await trio.lowlevel.open_process(
            command + [str(path) for path in data],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,  # Ctrl-C must end it in our order, not with a traceback
        )
    try:
        yield Scorer(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def compute_references(
    task: str,
    seed: int,
    data: Sequence[Path],
    rounds: Sequence[RoundSummary],
    names: Mapping[int, str],
    nodes: Sequence[NodeMetrics],
    log: Path,
) -> References:
    """What the same data gives locally, pooled, and by plain federated averaging over the same schedule.

    Raises:
        UsageError: the baseline program failed; its words are in the text.
    """
    schedule = build_schedule(rounds, names, nodes)
    if not schedule or not demo_of(task).has_references:
        return References()
    request = {
        "task": task,
        "nodes": [{"data_path": str(path), "data_seed": seed} for path in data],
        "schedule": schedule,
        "reference_seed": seed,
    }
    command = [sys.executable, "-m", "p2p_flock.learning.baseline"]
    with trio.move_on_after(BASELINE_SECONDS_MAX), log.open("ab") as errors:
        result = await trio.run_process(
            command, stdin=json.dumps(request).encode(), capture_stdout=True, stderr=errors, check=False
        )
        if result.returncode == 0:
            answer: dict[str, Any] = json.loads(result.stdout)
            training = [entry["round"] for entry in schedule[1:]]
            return References(
                local_only_score=answer["local_only_score"],
                pooled_score=answer["pooled_score"],
                plain_fedavg_score=answer["plain_fedavg_score"],
                plain_fedavg_scores=dict(zip(training, answer["plain_fedavg_scores"], strict=True)),
            )
    raise UsageError(f"The references could not be computed; {log} says why.")


def build_schedule(
    rounds: Sequence[RoundSummary], names: Mapping[int, str], nodes: Sequence[NodeMetrics]
) -> list[dict[str, Any]]:
    """Whose updates moved the model, round by round, and with which training seeds; see ``learning/baseline.py``.

    The first entry is the adopted statistics round. Rounds that adopted nothing moved nothing and are left out; so is
    everything where no statistics were adopted or a training seed is not known.
    """
    index = {node.name: position for position, node in enumerate(nodes)}
    schedule: list[dict[str, Any]] = []
    for summary in (summary for summary in rounds if summary.adopted):
        adopted = [cohort for cohort in summary.cohorts if cohort.outcome is CohortOutcome.ADOPTED]
        named = summary.names or names
        seats = [seat for cohort in adopted for seat in cohort.survivors]
        trainers = [index[named[seat]] for seat in seats if named[seat] in index]
        if summary.stage == "statistics":
            schedule = [{"round": summary.round, "trainers": trainers, "seeds": []}]
            continue
        trained = [nodes[trainer].phases.get(summary.round, {}).get("train") for trainer in trainers]
        seeds = [record.train_seed for record in trained if record is not None and record.train_seed is not None]
        if not schedule or len(seeds) != len(trainers):
            return []
        schedule.append({"round": summary.round, "trainers": trainers, "seeds": seeds})
    return schedule


def verify_agreement(homes: Mapping[str, Path], summary: RoundSummary) -> list[str]:
    """What is wrong with "all nodes hold the same model" after a round; empty if nothing is.

    A digest that a node reports must be the digest of a file in its store, or the report would be a mere claim.
    """
    digest = summary.model_digest
    if digest is None:
        return ["no node reported a model"]
    complaints = []
    for name, home in homes.items():
        reported = summary.model_digest_by_node.get(name)
        if reported != digest:
            complaints.append(f"{name} reports {reported or 'no model'} instead of {digest}")
        elif not holds_model(home, digest):
            complaints.append(f"{name} does not hold the model {digest} that it reports")
    return complaints
