"""Does the training worker start, how long does torch take, and does the data fit the task?

Starts a worker of its own, as the node does; its log goes to a temporary folder. Rows and columns are the business of
``p2p-flock task check``.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio

from p2p_flock.cli.checks.findings import Finding, broken, fine, skipped, warning
from p2p_flock.cli.checks.scene import Scene
from p2p_flock.cli.failures import describe
from p2p_flock.daemon.config import LearningSettings
from p2p_flock.errors import P2PFlockError, WorkerCrashedError
from p2p_flock.learning.results import DataReport, VectorFile
from p2p_flock.learning.worker_client import Worker, WorkerConfig, open_worker

PARAMETER_BYTES = 8
SLOW_TORCH_S, TORCH_S_MAX = 10.0, 18.0  # 3 s on an idle machine


async def check_data(scene: Scene) -> list[Finding]:
    """Worker and data: one process serves for both."""
    if scene.config is None:
        return [skipped("the settings cannot be read")]
    learning = scene.config.learning
    if learning.task is None or learning.data_path is None:
        return [warning("no data is set: this node cannot join", "set learning.task and learning.data_path")]
    problem = _find_file_problem(learning.data_path)
    if problem is not None and problem.remedy and not os.access(learning.data_path, os.R_OK):
        return [problem]
    with tempfile.TemporaryDirectory(prefix="p2p-flock-doctor-") as folder:
        found = await _ask_worker(learning, learning.task, learning.data_path, Path(folder))
    return [*found, *([problem] if problem is not None else [])]


def _find_file_problem(path: Path) -> Finding | None:
    if not path.exists():
        return broken(f"the data {path} is not there", "correct learning.data_path in config.toml")
    if not os.access(path, os.R_OK):
        return broken(f"this user cannot read the data {path}", "give it read permission, or run as another user")
    if path.stat().st_mode & 0o004:
        return warning(f"every user of this machine can read {path}", f"run `chmod o-r {path}`")
    return None


async def _ask_worker(learning: LearningSettings, task: str, data_path: Path, folder: Path) -> list[Finding]:
    log_path = folder / "worker.log"
    config = WorkerConfig(
        task_name=task,
        data_path=data_path,
        log_path=log_path,
        data_seed=learning.data_seed,
        memory_bytes_max=learning.memory_bytes_max,
    )
    findings: list[Finding] = []
    started = time.monotonic()

    def seconds() -> float:
        return time.monotonic() - started

    try:
        async with open_worker(config) as worker:
            report = await worker.check_data()
            findings.append(judge_data(report))
            findings.append(await _load_torch(worker, folder, seconds))
    except WorkerCrashedError as error:
        findings.append(
            broken(f"{describe(error)[0].partition(';')[0]}{_last_words(log_path)}", _why_crashed(learning))
        )
    except P2PFlockError as error:
        findings.append(broken(*describe(error)))
    return findings


def judge_data(report: DataReport) -> Finding:
    """What the task says of the member's file."""
    counts = f"{report.train_count} examples to train on, {report.test_count} kept for the private test"
    if report.problems:
        more = f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""
        return warning(f"{counts}; {report.problems[0]}{more}", "see all of it with `p2p-flock task check`")
    return fine(counts)


async def _load_torch(worker: Worker, folder: Path, seconds: Callable[[], float]) -> Finding:
    """Judging a model needs torch, which counting the data mostly does not."""
    answered_s = seconds()
    path = folder / "initial"
    slow = "the machine is busy or its disk slow: it will miss short phases of a round"
    with trio.move_on_after(TORCH_S_MAX):
        await worker.initial_parameters(path)
        model = VectorFile(path, 0, path.stat().st_size // PARAMETER_BYTES)
        await worker.evaluate(await worker.statistics(), model, [])
        text = f"the worker answered after {answered_s:.1f} s, with torch and a model judged after {seconds():.1f} s"
        return warning(text + ": slow", slow) if seconds() > SLOW_TORCH_S else fine(text)
    return warning(f"the worker did not load torch and judge a model within {TORCH_S_MAX:.0f} s", slow)


def _last_words(log_path: Path) -> str:
    """Why it ended, as its log says: the last line, without the records that a task may have shown above."""
    try:
        lines = log_path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f"; its last words: {lines[-1][:200]}" if lines else ""


def _why_crashed(learning: LearningSettings) -> str:
    limit_gib = learning.memory_bytes_max / (1 << 30)
    return (
        f"free memory, or raise learning.memory_bytes_max ({limit_gib:.1f} GiB now); "
        "try the task by itself with `p2p-flock task check`"
    )
