"""Runs the learning worker for ``task check`` and ``alliance join``: the check of the data, and a dry run if wanted.

Imported late: it loads trio and numpy. The worker is a process of its own, beside the daemon's, and ends with the
command. While it works a line on standard error tells what it does and for how long. Nothing is sent anywhere.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from p2p_flock.errors import DataSchemaError, UsageError, WorkerCrashedError
from p2p_flock.learning.results import DataReport, Rehearsal, WorkProgress
from p2p_flock.learning.schema_report import SchemaMismatchError, SchemaReport, single
from p2p_flock.learning.task_manifest import TaskManifest
from p2p_flock.learning.worker_client import WORKER_COMMAND, Worker, WorkerConfig, open_worker

LOG_NAME = "check.log"
REFRESH_S = 0.2
READING_TEXT, TRAINING_TEXT = "Reading the data", "Dry run of one epoch"


@dataclass(frozen=True, slots=True)
class Trial:
    """What is to be tried: a task on a member's file, with the settings that the node has.

    Attributes:
        manifest_digest: of the task that is meant; no dry run is made of another one. ``None``: any.
    """

    task: str
    data_path: Path
    data_seed: int
    memory_bytes_max: int
    is_dry_run: bool
    manifest_digest: bytes | None = None
    command: tuple[str, ...] = WORKER_COMMAND


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found: ``mismatches``, or the rest; without ``rehearsal`` where none was wanted, or possible."""

    mismatches: SchemaReport | None = None
    manifest: TaskManifest | None = None
    data: DataReport | None = None
    rehearsal: Rehearsal | None = None

    @property
    def manifest_digest(self) -> bytes | None:
        """sha-256 of the manifest, as an alliance names its task."""
        return None if self.manifest is None else _digest(self.manifest)


def _digest(manifest: TaskManifest) -> bytes:
    return hashlib.sha256(manifest.to_bytes()).digest()


def run_trial(trial: Trial, logs: Path) -> Outcome:
    """Read the data and, if wanted, train one epoch.

    Args:
        logs: a node's folder for logs; where it is none, the worker's log lies in a temporary folder and goes with it.

    Raises:
        TaskError: the task is not installed, or its training diverged.
        WorkerCrashedError: the worker ended; its log says why.
        UsageError: the worker cannot be started.
    """
    with _log_folder(logs) as folder:
        return trio.run(_run, trial, folder / LOG_NAME)


@contextmanager
def _log_folder(logs: Path) -> Iterator[Path]:
    if logs.is_dir():
        yield logs
        return
    folder = Path(tempfile.mkdtemp(prefix="p2p-flock-check-"))
    yield folder  # kept after a crash: the error names the log
    shutil.rmtree(folder, ignore_errors=True)


async def _run(trial: Trial, log_path: Path) -> Outcome:
    config = WorkerConfig(
        task_name=trial.task,
        data_path=trial.data_path,
        log_path=log_path,
        data_seed=trial.data_seed,
        memory_bytes_max=trial.memory_bytes_max,
        command=trial.command,
    )
    try:
        async with open_worker(config) as worker:
            return await _try_out(worker, trial)
    except SchemaMismatchError as error:
        return Outcome(mismatches=error.report)
    except DataSchemaError as error:
        return Outcome(mismatches=single(str(error)))
    except WorkerCrashedError as error:
        what, _, _ = str(error).partition("\n")  # the rest tells a daemon's operator that a new worker is started
        raise WorkerCrashedError(
            f"{what}\nfree some memory and try again; the end of {log_path} may say why"
        ) from error
    except OSError as error:
        raise UsageError(f"the worker cannot be started: {error}\ncheck the folder {log_path.parent}") from error


async def _try_out(worker: Worker, trial: Trial) -> Outcome:
    with _showing(READING_TEXT):
        manifest = await worker.manifest()
        data = await worker.check_data()
    if not trial.is_dry_run or trial.manifest_digest not in (None, _digest(manifest)):
        return Outcome(manifest=manifest, data=data)
    progress = WorkProgress()
    with _showing(TRAINING_TEXT) as display:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_refresh, display, progress)
            rehearsal = await worker.rehearse(progress)
            nursery.cancel_scope.cancel()
    return Outcome(manifest=manifest, data=data, rehearsal=rehearsal)


@contextmanager
def _showing(text: str) -> Iterator[Progress | None]:
    """A line that moves while the block runs; on what is no terminal, one that does not."""
    if not sys.stderr.isatty():
        click.echo(f"{text} …", err=True)
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(30), TaskProgressColumn())
    console = Console(stderr=True, highlight=False, markup=False)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as display:
        display.add_task(text, total=None)
        yield display


async def _refresh(display: Progress | None, progress: WorkProgress) -> None:
    while display is not None:
        if progress.total:
            display.update(display.task_ids[0], completed=progress.done, total=progress.total)
        await trio.sleep(REFRESH_S)
