"""The daemon's side of the worker process: starts it, asks it, ends it, and starts it again.

Run by ``daemon/node.py``, inside trio. A request that is cancelled or late ends the process, because a training cannot
be interrupted otherwise; a fresh process is started at once, so that the next request finds it warm. Nothing is retried
here. Never imports torch: the daemon would pay 220 MB and two seconds for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import numpy as np
import trio

from p2p_flock.errors import (
    DataSchemaError,
    LocalProtocolError,
    P2PFlockError,
    TaskError,
    UsageError,
    WireError,
    WorkerCrashedError,
    WorkerTimeoutError,
)
from p2p_flock.learning.frames import (
    HEADER_BYTES,
    Value,
    decode_body,
    decode_length,
    decode_progress,
    encode_frame,
    get_bool,
    get_float,
    get_float64,
    get_int,
    get_list,
    get_text,
    is_progress,
    pack_file,
)
from p2p_flock.learning.results import (
    DataReport,
    EvaluateResult,
    Float64,
    Rehearsal,
    TrainReport,
    VectorFile,
    WorkProgress,
)
from p2p_flock.learning.schema_report import SchemaMismatchError
from p2p_flock.learning.task_manifest import TaskManifest, read_manifest
from p2p_flock.learning.tensor_file import TensorPlace, read_layout
from p2p_flock.learning.trial_frames import read_rehearsal, read_report

T = TypeVar("T")
S = TypeVar("S")

WORKER_COMMAND: Final = (sys.executable, "-P", "-m", "p2p_flock.learning.worker")  # -P: not from the working directory
READ_BYTES_MAX: Final = 1 << 20
# Words about progress that a request may bring: the worker says four a second, and a machine that stood still brings
# those of the time it stood at once. Beyond it the worker is not ours any more, and is ended.
TELLINGS_MAX_AT_ONCE: Final = 64
TELLINGS_PER_SECOND_MAX: Final = 16.0
LABEL_CHARACTERS_MAX: Final = 64  # a round's ID has two numbers and four characters
LOG_BYTES_MAX: Final = 4 << 20  # beyond it the log of earlier runs moves to <name>.1 at the next start

# The worker runs the task's code, so the environment it gets holds no secret (a keystore password may stand in ours).
ENVIRONMENT_KEPT: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH"),
    *("CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_OFFLINE"),
)

_ERRORS: Final[dict[str, type[P2PFlockError]]] = {
    kind.__name__: kind for kind in (DataSchemaError, TaskError, UsageError, LocalProtocolError)
}


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How to start the worker; ``command`` may put a launcher such as torchrun in front."""

    task_name: str
    data_path: Path
    log_path: Path
    data_seed: int  # decides the private test split; must stay the same for the life of the alliance
    request_timeout_s: float = 3600.0  # bound of any one request; a phase's own deadline is the caller's to set
    memory_bytes_max: int = 0  # how much address space the worker may add to its libraries; 0: no limit
    command: tuple[str, ...] = WORKER_COMMAND


_IN_WORDS = {"manifest": "its start", "check_data": "a look at the data"}  # of operations that operators wait for


class Worker:
    """A running worker; get one from :func:`open_worker`. Requests from several tasks wait for one another.

    Every request raises:
        WorkerCrashedError: the process ended, or answered with bytes that are no answer. A new one is being started.
        WorkerTimeoutError: no answer within ``request_timeout_s``; likewise.
        DataSchemaError, UsageError: the member's data does not fit, or cannot be read.
        TaskError: the task is not installed, or the training diverged.
        LocalProtocolError: a vector of the wrong length: our caller's mistake.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._lock = trio.Lock()
        self._process: trio.Process | None = None
        self._opened = False  # the process has answered "open"
        self._closed = False  # open_worker has ended: no process may be started any more
        self.start_count = 0  # processes started so far
        self.read_label: Callable[[], str | None] = lambda: None  # what its log calls the work of the asking task
        self._last_request = 0
        self._open_request: int | None = None  # sent and not yet answered
        self.score_name: str | None = None  # what the task calls its score; known once the manifest was asked for

    @property
    def pid(self) -> int | None:
        """Process id of the running worker, None between two."""
        return None if self._process is None else self._process.pid

    async def manifest(self) -> TaskManifest:
        """The installed task's manifest; to be compared with the alliance's before anything is trained."""
        text, self.score_name = await self._ask(
            "manifest", lambda answer: (get_text(answer, "manifest"), get_text(answer, "score_name"))
        )
        return read_manifest(text.encode())

    @property
    def is_busy(self) -> bool:
        """Whether a request runs, and with it perhaps others that wait."""
        return self._lock.locked()

    async def initial_parameters(self, path: Path) -> None:
        """Write the untrained model to the new file ``path``: D little-endian float64."""
        await self._ask("initial_parameters", lambda answer: None, path=str(path))

    async def layout(self) -> tuple[TensorPlace, ...]:
        """The tensors of the task's ``state_dict`` in the order in which a parameter vector holds them."""
        return await self._ask("layout", lambda answer: read_layout(get_text(answer, "layout")))

    async def check_data(self) -> DataReport:
        """Read the member's data and count it."""
        return await self._ask("check_data", _read_report)

    async def statistics(self) -> Float64:
        """Local sums for round 0, float64 of shape (S,), each at most ``statistics_clip`` in size."""
        return await self._ask("statistics", lambda answer: get_float64(answer, "statistics"))

    async def judge_statistics(self, candidate: Float64) -> tuple[bool, str]:
        """Whether an opened sum of round 0 is plausible, and why not."""
        return await self._ask("judge_statistics", _read_judgement, candidate=candidate)

    async def train(
        self,
        statistics: Float64,
        parameters: VectorFile,
        seed: int,
        update_path: Path,
        progress: WorkProgress | None = None,
    ) -> TrainReport:
        """One round's local training; ``seed`` lies in 0..2^63-1 and decides the order of the batches.

        The update, new minus old parameters, comes as D little-endian float32 in the new file ``update_path``. It may
        hold values that are not finite, and the file be shorter than that where the worker is not the task's.
        ``progress`` counts the batches meanwhile.
        """
        return await self._ask(
            "train",
            _read_training,
            progress,
            statistics=statistics,
            parameters=pack_file(parameters),
            seed=seed,
            update_path=str(update_path),
        )

    async def evaluate(
        self,
        statistics: Float64,
        before: VectorFile,
        candidates: Sequence[VectorFile],
        progress: WorkProgress | None = None,
    ) -> EvaluateResult:
        """Losses on the private test part: of ``before`` and of each candidate (new parameters, not updates).

        ``progress`` counts the models meanwhile, ``before`` among them.
        """
        count = len(candidates)
        return await self._ask(
            "evaluate",
            lambda answer: _read_evaluation(answer, count),
            progress,
            statistics=statistics,
            before=pack_file(before),
            candidates=[pack_file(candidate) for candidate in candidates],
        )

    async def rehearse(self, progress: WorkProgress | None = None) -> Rehearsal:
        """A dry run of one epoch; see ``rehearsal.py``. ``progress`` counts the batches, then the two models judged."""
        return await self._ask("rehearse", read_rehearsal, progress)

    async def _ask(
        self,
        operation: str,
        read: Callable[[dict[str, Value]], T],
        progress: WorkProgress | None = None,
        **arguments: Value,
    ) -> T:
        async with self._lock:
            request, frame = self._frame(operation, arguments)
            well = False  # the process can serve the next request
            try:
                with trio.move_on_after(self._config.request_timeout_s):
                    if self._process is not None and _has_ended(self._process):  # killed while it was idle
                        await self._stop()
                    process = self._process or await self._start()
                    if not self._opened:
                        await self._finish_open(process)
                    await _pipe(process.stdin).send_all(frame)
                    result = read(await _receive(process, request, progress))
                    well = True
                    return result
                raise WorkerTimeoutError(
                    f"the training worker did not finish {operation} in {self._config.request_timeout_s:g} s;"
                    f" see {self._config.log_path}"
                )
            except (DataSchemaError, TaskError, UsageError, LocalProtocolError):
                well = True  # it said no
                raise
            except (WireError, trio.BrokenResourceError, OSError) as error:
                with trio.CancelScope(shield=True):
                    status = await self._stop()
                raise WorkerCrashedError(
                    f"the training worker ended during {_IN_WORDS.get(operation, operation)} "
                    f"({_how_it_ended(status, error)})\n"
                    f"see {self._config.log_path}; a new one is started"
                ) from error
            finally:
                if not well:
                    with trio.CancelScope(shield=True):  # milliseconds: kill, reap, fork
                        await self._restart()

    def _frame(self, operation: str, arguments: dict[str, Value]) -> tuple[int, bytes]:
        """The next request's number and bytes."""
        self._last_request += 1
        try:
            label = (self.read_label() or "")[:LABEL_CHARACTERS_MAX]
            return self._last_request, encode_frame(
                {"request": self._last_request, "operation": operation, "label": label, **arguments}
            )
        except WireError as error:
            raise LocalProtocolError(f"{operation}: {error}") from error

    async def _restart(self) -> None:
        await self._stop()
        if self._closed:
            return
        try:
            await self._start()
        except (OSError, trio.BrokenResourceError):
            await self._stop()  # the next request tries again, and reports

    async def _start(self) -> trio.Process:
        """Start the process and send ``open`` without waiting for the answer."""
        if self._closed:
            raise LocalProtocolError("the worker was asked after open_worker ended")
        config = self._config
        environment = {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with _open_log(config.log_path) as log:
            self._process = await trio.lowlevel.open_process(
                config.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,  # a group of its own: Ctrl-C misses it, and the whole group can be killed
            )
        self._opened, self.start_count = False, self.start_count + 1
        await self._send_open(self._process)
        return self._process

    async def _send_open(self, process: trio.Process) -> None:
        config = self._config
        self._open_request, frame = self._frame(
            "open",
            {
                "task_name": config.task_name,
                "data_path": str(config.data_path.absolute()),
                "data_seed": config.data_seed,
                "memory_bytes_max": config.memory_bytes_max,
            },
        )
        await _pipe(process.stdin).send_all(frame)

    async def _finish_open(self, process: trio.Process) -> None:
        if self._open_request is None:  # it was refused once; the member may have mended the file by now
            await self._send_open(process)
        assert self._open_request is not None
        request, self._open_request = self._open_request, None
        await _receive(process, request)
        self._opened = True

    async def _stop(self) -> int | None:
        """Kill the whole process group and reap it; its exit status, None where none ran."""
        process, self._process = self._process, None
        if process is None:
            return None
        # Not reaped before this line, so the number still belongs to our group even if the process has ended; and a
        # process that has ended keeps its own exit status.
        with suppress(ProcessLookupError, PermissionError):  # what macOS says to a group of dead processes
            os.killpg(process.pid, signal.SIGKILL)
        await _pipe(process.stdin).aclose()
        await _pipe(process.stdout).aclose()
        return await process.wait()


def _has_ended(process: trio.Process) -> bool:
    """Looks without reaping, as ``_stop`` needs it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _how_it_ended(status: int | None, error: BaseException) -> str:
    """In words: a signal by its name, where SIGKILL is mostly the system's, short of memory."""
    if status is None or status >= 0:
        return f"{error or type(error).__name__}; exit status {status}"
    name = signal.Signals(-status).name if -status in {*signal.Signals} else f"signal {-status}"
    return f"killed by {name}" + (": was the machine out of memory?" if status == -signal.SIGKILL else "")


def _pipe(stream: S | None) -> S:
    assert stream is not None  # we asked for pipes
    return stream


async def _receive(process: trio.Process, request: int, progress: WorkProgress | None = None) -> dict[str, Value]:
    """The answer to ``request``; raises the error that the worker answered, or WireError.

    What the worker tells before it goes into ``progress``.
    """
    tellings, started = 0, trio.current_time()
    while True:
        length = decode_length(await _read_exactly(process, HEADER_BYTES))
        answer = decode_body(await _read_exactly(process, length))
        if get_int(answer, "request") != request:
            raise WireError("the answer belongs to another request")
        if not is_progress(answer):
            break
        done, total = decode_progress(answer, length)
        tellings += 1
        if tellings > TELLINGS_MAX_AT_ONCE + TELLINGS_PER_SECOND_MAX * (trio.current_time() - started):
            raise WireError("it tells its progress without end")
        if progress is not None:
            progress.done, progress.total = done, total
    if "error" in answer:
        kind = _ERRORS.get(get_text(answer, "error"))
        if kind is None:
            raise WireError("the answer names an unknown error")
        if kind is DataSchemaError and "mismatches" in answer:
            raise SchemaMismatchError(get_text(answer, "text"), read_report(answer))
        raise kind(get_text(answer, "text"))
    return answer


async def _read_exactly(process: trio.Process, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = await _pipe(process.stdout).receive_some(min(length - len(data), READ_BYTES_MAX))
        if not part:
            raise WireError("its output ended")
        data += part
    return bytes(data)


@asynccontextmanager
async def open_worker(config: WorkerConfig) -> AsyncIterator[Worker]:
    """Start the worker and yield it at once, while it still imports torch; its process is gone afterwards.

    Raises:
        OSError: the log file cannot be written, or the process cannot be started.
    """
    worker = Worker(config)
    try:
        await worker._start()
        yield worker
    finally:
        worker._closed = True
        with trio.CancelScope(shield=True):
            await worker._stop()


def _open_log(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_name(path.name + ".1"))
    # Private: a task's error message may show records.
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def _read_report(answer: dict[str, Value]) -> DataReport:
    problems = get_list(answer, "problems")
    return DataReport(
        get_int(answer, "train_count"),
        get_int(answer, "test_count"),
        get_float(answer, "train_positive_ratio"),
        get_float(answer, "test_positive_ratio"),
        tuple(_as_text(problem) for problem in problems),
    )


def _read_judgement(answer: dict[str, Value]) -> tuple[bool, str]:
    return get_bool(answer, "plausible"), get_text(answer, "reason")


def _read_training(answer: dict[str, Value]) -> TrainReport:
    return TrainReport(
        get_int(answer, "parameter_count"),
        get_int(answer, "example_count"),
        get_float(answer, "loss_before"),
        get_float(answer, "loss_after"),
        get_float(answer, "seconds"),
    )


def _read_evaluation(answer: dict[str, Value], candidate_count: int) -> EvaluateResult:
    losses, scores = get_list(answer, "losses_after"), get_list(answer, "scores_after")
    if len(losses) != candidate_count or len(scores) != candidate_count:
        raise WireError("the answer judges another number of candidates")
    return EvaluateResult(
        get_float(answer, "loss_before"),
        tuple(_as_float(loss) for loss in losses),
        _as_score(answer.get("score_before")),
        tuple(_as_score(score) for score in scores),
        get_int(answer, "example_count"),
        get_float(answer, "seconds"),
    )


def _as_text(value: Value) -> str:
    if not isinstance(value, str):
        raise WireError("an item is not text")
    return value


def _as_float(value: Value) -> float:
    if not isinstance(value, float) or not np.isfinite(value):
        raise WireError("an item is not a finite float")
    return value


def _as_score(value: Value) -> float | None:
    return None if value is None else _as_float(value)
