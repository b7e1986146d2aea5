"""The worker process: holds the member's data and the model, trains and evaluates on request.

Started by ``worker_client.py`` as ``python -m p2p_flock.learning.worker``, one per node, for the life of the daemon, in
its own process group, with frames (``frames.py``) on stdin and stdout and its log on stderr. Training here costs the
daemon neither its interpreter lock nor its memory, and a crash costs one request.

It ends when stdin ends, which the kernel sees to even when the daemon is killed: a thread watches stdin also while a
training runs. (prctl's PR_SET_PDEATHSIG is a trap here: it fires when the *thread* that forked us ends, and trio forks
in a thread of its pool that it retires after ten idle seconds.)

It never opens a socket, holds no key, and is given no secret in its environment.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn, overload

import numpy as np

from p2p_flock.errors import DataSchemaError, LocalProtocolError, P2PFlockError, TaskError, UsageError, WireError
from p2p_flock.learning.deferred_torch import defer_torch
from p2p_flock.learning.frames import (
    HEADER_BYTES,
    Value,
    as_file,
    decode_body,
    decode_length,
    encode_frame,
    get_float64,
    get_int,
    get_list,
    get_text,
)
from p2p_flock.learning.results import Float32, Float64, VectorFile
from p2p_flock.learning.telling import Telling
from p2p_flock.learning.trial_frames import pack_rehearsal, pack_report

if TYPE_CHECKING:
    from p2p_flock.learning.task import Task

log = logging.getLogger("p2p_flock.learning.worker")

EXIT_MALFORMED: Final = 2  # the daemon sent bytes that are no frame: the two are of different versions
PENDING_REQUESTS_MAX: Final = 4  # the client sends one at a time, after "open"; beyond it it is not our client
READ_BYTES_MAX: Final = 1 << 20
SCORE_NAME_CHARACTERS_MAX: Final = 32  # a word such as AUC, for a table's heading

# What may cross to the daemon as an answer. Anything else is a defect of the task: it ends this process with a
# traceback in the log, and the client starts a new one.
ERRORS: Final = (DataSchemaError, TaskError, UsageError, LocalProtocolError)


def main() -> None:
    """Serve requests until stdin ends."""
    answers = _claim_stdout()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(label)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_label_of)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle; it closes our stdin
    requests: queue.Queue[dict[str, Value]] = queue.Queue(PENDING_REQUESTS_MAX)
    threading.excepthook = _end_with_traceback
    threading.Thread(target=_read_requests, args=(requests,), name="stdin", daemon=True).start()
    defer_torch()  # a node that has only just started asks for what needs none of it
    log.info("worker %d is ready", os.getpid())
    _serve(requests, answers)


_label = "-"  # of the request that is served: a process serves one at a time


def _label_of(record: logging.LogRecord) -> bool:
    """Name the round in every line, those of the task and of its libraries too."""
    record.label = _label
    return True


class _Torch:
    """Loads torch once: when it is needed, or before, in a thread beside the requests that do not need it.

    The memory limit is set behind it: it is meant for what the task does beside its libraries, and before that the
    worker holds nothing but the member's records.
    """

    def __init__(self) -> None:
        self.memory_bytes_max = 0  # no limit
        self._is_joining = False
        self._thread: threading.Thread | None = None

    def note(self, operation: str) -> None:
        """Who joins has its data checked and then has round 0 before it; who asks for the initial model without that
        has been a member before, was started again, and may be called upon in a round that is running."""
        self._is_joining |= operation == "check_data"
        if operation == "initial_parameters" and not self._is_joining:
            self.begin()

    @property
    def asked_for(self) -> bool:
        return self._thread is not None

    def begin(self) -> None:
        """Load it in the background."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._load, name="torch", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Return once it is loaded."""
        self.begin()
        assert self._thread is not None
        self._thread.join()

    def _load(self) -> None:
        from p2p_flock.learning.task import prepare_torch  # noqa: PLC0415 - after defer_torch

        started = time.perf_counter()
        prepare_torch()
        if self.memory_bytes_max:
            _limit_memory(self.memory_bytes_max)
        log.info("torch took %.1f s", time.perf_counter() - started)


def _serve(requests: queue.Queue[dict[str, Value]], answers: BinaryIO) -> NoReturn:
    global _label
    task: Task | None = None
    torch, operation, telling = _Torch(), "open", Telling(answers)
    while True:
        torch.note(operation)
        body = _next_request(requests, torch, operation)
        operation = get_text(body, "operation")
        _label = (get_text(body, "label") if "label" in body else "") or "-"
        telling.begin(get_int(body, "request"))
        started = time.perf_counter()
        try:
            if operation == "open":
                task = _open_task(body, torch)
                task.on_progress = telling.note
                answer: dict[str, Value] = {}
            elif task is None:
                raise LocalProtocolError(f"{operation} came before open")
            elif operation in OPERATIONS:
                if operation in TORCH_OPERATIONS:
                    torch.wait()
                answer = OPERATIONS[operation](task, body)
            else:
                raise LocalProtocolError(f"operation {operation!r} is unknown")
        except (*ERRORS, WireError) as error:
            log.warning("%s failed: %s", operation, error)
            answer = {"error": _kind_of(error), "text": str(error), **pack_report(error)}
        log.info("%s took %.3f s", operation, time.perf_counter() - started)
        try:
            answers.write(encode_frame({"request": get_int(body, "request"), **answer}))
            answers.flush()
        except BrokenPipeError:
            os._exit(0)  # the daemon's end, noticed here first


def _next_request(requests: queue.Queue[dict[str, Value]], torch: _Torch, answered: str) -> dict[str, Value]:
    """Wait for a request; torch is loaded while none is expected, so that the first training need not wait for it."""
    if answered != "open" and not torch.asked_for:  # a node that only runs has no use for it
        try:
            return requests.get(timeout=ROUND_SECONDS if answered in LAST_BEFORE_TRAINING else IDLE_SECONDS)
        except queue.Empty:
            torch.begin()
    return requests.get()


def _claim_stdout() -> BinaryIO:
    """Keep the answer pipe to ourselves; a stray print of a task or library goes to the log instead of a frame."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _end_with_traceback(failure: threading.ExceptHookArgs) -> None:
    # Without the stdin thread (a frame too large for the memory limit ends it) nobody could ask or end us.
    log.critical("a thread ended: %s: %s", failure.exc_type.__name__, failure.exc_value)
    os._exit(1)


def _read_requests(requests: queue.Queue[dict[str, Value]]) -> None:
    """Run by the stdin thread: whole frames only, and the end of the process at the end of the pipe."""
    while True:
        try:
            body = decode_body(_read_exactly(decode_length(_read_exactly(HEADER_BYTES))))
            get_int(body, "request")
            get_text(body, "operation")
            requests.put_nowait(body)
        except WireError as error:
            _exit_malformed(str(error))
        except queue.Full:
            _exit_malformed(f"more than {PENDING_REQUESTS_MAX} requests wait")


def _read_exactly(length: int) -> bytes:
    # os.read and not sys.stdin: a buffered reader's lock, held by this thread, would abort the interpreter's exit.
    parts = []
    while length:
        part = os.read(0, min(length, READ_BYTES_MAX))
        if not part:
            os._exit(0)  # the daemon is gone; nobody wants the training that may be running
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _exit_malformed(reason: str) -> NoReturn:
    log.error("the daemon sent what is no frame: %s", reason)
    os._exit(EXIT_MALFORMED)


def _kind_of(error: P2PFlockError) -> str:
    # A field of the wrong type in a whole frame is our own client's mistake, not a broken pipe.
    kinds = (kind for kind in ERRORS if isinstance(error, kind))
    return next(kinds, LocalProtocolError).__name__


def _open_task(body: dict[str, Value], torch: _Torch) -> Task:
    torch.memory_bytes_max = get_int(body, "memory_bytes_max")
    from p2p_flock.learning.task import find_task  # noqa: PLC0415 - see main

    return find_task(get_text(body, "task_name")).open(Path(get_text(body, "data_path")), get_int(body, "data_seed"))


def _limit_memory(memory_bytes_max: int) -> None:
    """Let the address space grow by at most ``memory_bytes_max`` from here; then allocation fails and we end.

    Relative to now, because the libraries alone map 0.6 GB of which a third is resident.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    limit = pages * resource.getpagesize() + memory_bytes_max
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _manifest(task: Task, _body: dict[str, Value]) -> dict[str, Value]:
    return {"manifest": task.manifest().to_bytes().decode(), "score_name": task.score_name[:SCORE_NAME_CHARACTERS_MAX]}


def _initial_parameters(task: Task, body: dict[str, Value]) -> dict[str, Value]:
    _write_vector(Path(get_text(body, "path")), task.initial_parameters())
    return {}


def _check_data(task: Task, _body: dict[str, Value]) -> dict[str, Value]:
    report = task.check_data()
    return {
        "train_count": report.train_count,
        "test_count": report.test_count,
        "train_positive_ratio": report.train_positive_ratio,
        "test_positive_ratio": report.test_positive_ratio,
        "problems": list(report.problems),
    }


def _statistics(task: Task, _body: dict[str, Value]) -> dict[str, Value]:
    return {"statistics": task.statistics()}


def _judge_statistics(task: Task, body: dict[str, Value]) -> dict[str, Value]:
    plausible, reason = task.judge_statistics(get_float64(body, "candidate"))
    return {"plausible": plausible, "reason": reason}


def _train(task: Task, body: dict[str, Value]) -> dict[str, Value]:
    parameters = _map_file(as_file(body.get("parameters"), "parameters"))
    result = task.train(get_float64(body, "statistics"), parameters, get_int(body, "seed"))
    _write_vector(Path(get_text(body, "update_path")), result.update)
    return {
        "parameter_count": result.update.size,
        "example_count": result.example_count,
        "loss_before": result.loss_before,
        "loss_after": result.loss_after,
        "seconds": result.seconds,
    }


def _evaluate(task: Task, body: dict[str, Value]) -> dict[str, Value]:
    candidates = Mapped([as_file(candidate, "candidate") for candidate in get_list(body, "candidates")])
    before = _map_file(as_file(body.get("before"), "before"))
    result = task.evaluate(get_float64(body, "statistics"), before, candidates)
    return {
        "loss_before": result.loss_before,
        "losses_after": list(result.losses_after),
        "score_before": result.score_before,
        "scores_after": list(result.scores_after),
        "example_count": result.example_count,
        "seconds": result.seconds,
    }


def _rehearse(task: Task, _body: dict[str, Value]) -> dict[str, Value]:
    from p2p_flock.learning.rehearsal import rehearse  # noqa: PLC0415 - see main

    return pack_rehearsal(rehearse(task))


class Mapped(Sequence[Float64]):
    """Parameters in files, each mapped anew when it is asked for, so that its pages go when its user lets go of it."""

    def __init__(self, files: Sequence[VectorFile]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> Float64: ...
    @overload
    def __getitem__(self, index: slice) -> Mapped: ...
    def __getitem__(self, index: int | slice) -> Float64 | Mapped:
        return Mapped(self._files[index]) if isinstance(index, slice) else _map_file(self._files[index])


def _map_file(file: VectorFile) -> Float64:
    """The file's values, float64 of shape (count,): read from disk when they are looked at; read-only."""
    if not file.count:
        return np.empty(0, dtype=np.float64)
    try:
        return np.memmap(file.path, dtype="<f8", mode="r", offset=file.offset_bytes, shape=(file.count,))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise MemoryError(f"{file.path} cannot be mapped within the memory limit") from error
        raise UsageError(f"the parameters in {file.path} cannot be read: {error}") from error


def _write_vector(path: Path, values: Float32 | Float64) -> None:
    """Write little-endian values to a new file, 0600."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            values.astype(values.dtype.newbyteorder("<"), copy=False).tofile(file)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; check free space") from error


def _layout(task: Task, _body: dict[str, Value]) -> dict[str, Value]:
    from p2p_flock.learning.vectorize import layout_of  # noqa: PLC0415 - see main

    # As text: a frame's list holds fewer entries than a deep model has tensors.
    return {"layout": json.dumps(layout_of(task.blank()), ensure_ascii=False)}


OPERATIONS: Final[dict[str, Callable[[Task, dict[str, Value]], dict[str, Value]]]] = {
    "manifest": _manifest,
    "initial_parameters": _initial_parameters,
    "layout": _layout,
    "check_data": _check_data,
    "statistics": _statistics,
    "judge_statistics": _judge_statistics,
    "train": _train,
    "evaluate": _evaluate,
    "rehearse": _rehearse,
}


# Training and judging need torch; the rest may, and then loads it.
TORCH_OPERATIONS: Final = frozenset({"train", "evaluate", "rehearse", "layout"})
# Round 0 asks either of these last; the next is a training, a round later.
LAST_BEFORE_TRAINING: Final = frozenset({"statistics", "judge_statistics"})
ROUND_SECONDS: Final = 3.0  # what round 0 takes from there on; others need the processor until then
# The start of one node takes less; where many start on one machine, the first ones load torch before round 0 opens
# rather than all at once in the training phase of round 1, which has a deadline.
IDLE_SECONDS: Final = 8.0


if __name__ == "__main__":
    main()
