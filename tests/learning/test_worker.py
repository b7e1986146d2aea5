"""The worker process and its client: real processes, real pipes, and a broken worker in place of the real one."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from p2p_flock.errors import (
    DataSchemaError,
    LocalProtocolError,
    TaskError,
    UsageError,
    WorkerCrashedError,
    WorkerTimeoutError,
)
from p2p_flock.learning.baseline import ScheduledRound, run_fedavg, sum_statistics
from p2p_flock.learning.frames import encode_frame, encode_progress
from p2p_flock.learning.results import Float64, VectorFile, WorkProgress
from p2p_flock.learning.tasks.heart import MANIFEST, HeartTask
from p2p_flock.learning.telling import TELL_SECONDS, Telling
from p2p_flock.learning.tensor_file import TensorPlace
from p2p_flock.learning.worker import EXIT_MALFORMED
from p2p_flock.learning.worker_client import LOG_BYTES_MAX, WORKER_COMMAND, WorkerConfig, open_worker

DATA_SEED = 1  # as in conftest.py: the tasks fixture and the workers split alike
DEADLINE_S = 60.0  # far above the two seconds a start takes: a hang fails here instead of holding up the run


def config_for(data_path: Path, folder: Path, **changes: object) -> WorkerConfig:
    values = {"task_name": "heart", "data_path": data_path, "log_path": folder / "worker.log", "data_seed": DATA_SEED}
    return WorkerConfig(**(values | changes))  # type: ignore[arg-type]


def in_file(path: Path, values: Float64) -> VectorFile:
    """Parameters as the daemon's store holds them: behind a header."""
    path.write_bytes(b"header  " + values.astype("<f8").tobytes())
    return VectorFile(path, 8, values.size)


async def test_worker__same_bits_as_the_task_and_the_baseline(
    data_paths: list[Path], tasks: list[HeartTask], tmp_path: Path
) -> None:
    """The report's plain FedAvg is only a reference if it repeats what the workers trained, bit for bit."""
    statistics = sum_statistics(tasks[:5])
    with trio.fail_after(DEADLINE_S):
        async with open_worker(config_for(data_paths[3], tmp_path)) as worker:
            assert await worker.manifest() == MANIFEST
            await worker.initial_parameters(tmp_path / "initial")
            start = np.fromfile(tmp_path / "initial", "<f8")
            assert start.tobytes() == tasks[3].initial_parameters().tobytes()
            assert await worker.layout() == (TensorPlace("weight", (1, start.size - 1)), TensorPlace("bias", (1,)))
            assert await worker.check_data() == tasks[3].check_data()
            assert (await worker.statistics()).tobytes() == tasks[3].statistics().tobytes()
            assert await worker.judge_statistics(statistics) == (True, "")
            assert (await worker.judge_statistics(-statistics))[0] is False
            before, update_path = in_file(tmp_path / "before", start), tmp_path / "update"
            trained = await worker.train(statistics, before, 77, update_path)
            update = np.fromfile(update_path, "<f4")
            candidates = [in_file(tmp_path / "one", start + update), in_file(tmp_path / "two", start * np.nan)]
            result = await worker.evaluate(statistics, before, candidates)
            with pytest.raises(UsageError, match="cannot write"):
                await worker.train(statistics, before, 77, update_path)  # never over a file that is there
            with pytest.raises(LocalProtocolError, match="36 parameters"):
                await worker.train(statistics, in_file(tmp_path / "short", start[1:]), 77, tmp_path / "other")
            with pytest.raises(UsageError, match="cannot be read"):
                await worker.train(statistics, VectorFile(tmp_path / "none", 0, 36), 77, tmp_path / "other")
            with pytest.raises(UsageError, match="cannot be read"):
                await worker.train(statistics, VectorFile(before.path, 8, 37), 77, tmp_path / "other")
            with pytest.raises(LocalProtocolError, match="cannot travel"):
                await worker.train(statistics.reshape(1, -1), before, 77, tmp_path / "other")
            with pytest.raises(TaskError, match="diverged"):
                await worker.train(statistics, in_file(tmp_path / "far", start + 1e39), 77, tmp_path / "other")
            pid = worker.pid
            assert not (tmp_path / "other").exists()
            await worker.train(statistics, before, 77, tmp_path / "other")
            assert (tmp_path / "other").read_bytes() == update_path.read_bytes()
            assert worker.pid == pid  # a refused request costs no restart

    here = tasks[3].train(statistics, start, 77)
    assert update.tobytes() == here.update.tobytes() and trained.parameter_count == 36
    assert (trained.example_count, trained.loss_after) == (here.example_count, here.loss_after)
    (after,) = run_fedavg([tasks[3]], statistics, [ScheduledRound(1, (0,), (77,))])
    np.testing.assert_array_equal(after, start + update)  # one trainer, unclipped: the update itself
    expected = tasks[3].evaluate(statistics, start, [start + update])
    assert result.losses_after[0] == expected.losses_after[0] < result.loss_before
    assert result.losses_after[1] == 1000.0
    assert (result.score_before, result.scores_after[0]) == (expected.score_before, expected.scores_after[0])


async def test_worker__killed_in_the_middle_of_a_request(
    data_paths: list[Path], tasks: list[HeartTask], tmp_path: Path
) -> None:
    """A crashed or cancelled training must cost one request, not the node; the next one finds a fresh worker."""
    start = in_file(tmp_path / "start", tasks[0].initial_parameters())
    statistics = tasks[0].statistics()
    with trio.fail_after(DEADLINE_S):
        async with open_worker(config_for(data_paths[0], tmp_path)) as worker:
            first = worker.pid
            assert first is not None
            os.kill(first, signal.SIGSTOP)  # holds the request in the worker until the kill, without a sleep
            async with trio.open_nursery() as nursery:

                async def train_and_lose() -> None:
                    with pytest.raises(WorkerCrashedError, match=r"train \(killed by SIGKILL.*\n.*worker\.log"):
                        await worker.train(statistics, start, 1, tmp_path / "lost")

                nursery.start_soon(train_and_lose)
                await trio.testing.wait_all_tasks_blocked()
                os.kill(first, signal.SIGKILL)
            second = worker.pid
            assert second not in (None, first)

            os.kill(second or 0, signal.SIGSTOP)
            with trio.move_on_after(0.05) as scope:
                await worker.train(statistics, start, 1, tmp_path / "late")
            assert scope.cancelled_caught
            third = worker.pid
            assert third not in (None, first, second)
            report = await worker.train(statistics, start, 1, tmp_path / "update")
            assert report.example_count == tasks[0].check_data().train_count
    for pid in (first, second, third):
        with pytest.raises(ProcessLookupError):
            os.kill(pid or 0, 0)


async def test_worker__killed_while_idle(data_paths: list[Path], tmp_path: Path) -> None:
    """A worker that the system ended between two requests would cost the next one, a join for example."""
    with trio.fail_after(DEADLINE_S):
        async with open_worker(config_for(data_paths[0], tmp_path)) as worker:
            before = await worker.check_data()
            pid = worker.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it is dead, and not reaped
            assert await worker.check_data() == before
            assert worker.pid not in (None, pid)


async def test_worker__bad_data_is_named_and_read_again(data_paths: list[Path], tmp_path: Path) -> None:
    """The member mends the file while the daemon runs; a restart of the daemon should not be needed."""
    path = tmp_path / "data.csv"
    good = data_paths[1].read_text()
    path.write_text(good.replace("Female", "female", 1))
    with trio.fail_after(DEADLINE_S):
        async with open_worker(config_for(path, tmp_path)) as worker:
            with pytest.raises(DataSchemaError, match=r"row \d+, column sex: 'female'"):
                await worker.check_data()
            with pytest.raises(DataSchemaError, match="'female'"):
                await worker.statistics()
            path.write_text(good)
            pid = worker.pid
            assert (await worker.check_data()).train_count > 0
            assert worker.pid == pid


async def test_worker__memory_limit(data_paths: list[Path], tasks: list[HeartTask], tmp_path: Path) -> None:
    """A task that grows without bound must end its own process, not the machine."""
    start = in_file(tmp_path / "start", tasks[0].initial_parameters())
    huge = in_file(tmp_path / "huge", np.zeros(16 << 20))
    with trio.fail_after(DEADLINE_S):
        async with open_worker(config_for(data_paths[0], tmp_path, memory_bytes_max=32 << 20)) as worker:
            await worker.check_data()
            with pytest.raises(WorkerCrashedError):
                await worker.evaluate(tasks[0].statistics(), start, [huge])
    assert "MemoryError" in (tmp_path / "worker.log").read_text()


def test_worker__ends_with_its_stdin(data_paths: list[Path]) -> None:
    """A daemon that is killed with SIGKILL must leave no worker behind; malformed bytes end the worker loudly."""
    opening: dict[str, object] = {"task_name": "heart", "data_path": str(data_paths[0]), "data_seed": 1}
    frame = encode_frame({"request": 1, "operation": "open", "memory_bytes_max": 0, **opening})  # type: ignore[dict-item]
    for sent, status in ((frame, 0), (frame[:-3], 0), (frame + b"\xff" * 8, EXIT_MALFORMED), (b"\1\0\0\0\xc1", 2)):
        if status:  # the process has to end by itself: stdin stays open
            with subprocess.Popen(WORKER_COMMAND, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL) as process:
                assert process.stdin is not None
                process.stdin.write(sent)
                process.stdin.flush()
                assert process.wait(DEADLINE_S) == status
        else:
            done = subprocess.run(WORKER_COMMAND, input=sent, capture_output=True, timeout=DEADLINE_S, check=False)
            assert done.returncode == status


# A worker as a broken task could leave it: what it does after reading the first request is put in at {action}.
BROKEN_WORKER = """
import os, sys, struct
def frame(data): os.write(1, struct.pack("<I", len(data)) + data)
def read():
    length, = struct.unpack("<I", sys.stdin.buffer.read(4))
    return sys.stdin.buffer.read(length)
read()
frame(b"\\x81\\xa7request\\x01")  # the answer to open
read()
{action}
sys.stdin.buffer.read()
"""

BROKEN_ACTIONS = {
    "garbage": 'os.write(1, b"Traceback (most recent call last)")',
    "endless frame": 'os.write(1, b"\\xff\\xff\\xff\\xff")',
    "not msgpack": 'frame(b"\\xc1")',
    "another request's answer": 'frame(b"\\x81\\xa7request\\x09")',
    "no fields": 'frame(b"\\x81\\xa7request\\x02")',
    "unknown error": 'frame(b"\\x82\\xa7request\\x02\\xa5error\\xaaOSError123")',
    "half a frame": 'os.write(1, b"\\x09\\0\\0\\0abc"); os._exit(3)',
    "nothing": "os._exit(4)",
    "progress without end": 'while True: frame(b"\x82\xa7request\x02\xa8progress\x92\x01\x02")',
    "progress of another request": 'frame(b"\x82\xa7request\x09\xa8progress\x92\x01\x02")',
    "progress beyond the end": 'frame(b"\x82\xa7request\x02\xa8progress\x92\x03\x02")',
    "progress of nothing": 'frame(b"\x82\xa7request\x02\xa8progress\x92\0\0")',
    "progress and an answer": 'frame(b"\x83\xa7request\x02\xa8progress\x92\x01\x02\xaastatistics\xc0")',
    "long progress": 'frame(b"\x82\xa7request\x02\xa8progress\xda\x10\0" + b" " * 4096)',
}


def broken_command(folder: Path, action: str) -> tuple[str, ...]:
    program = folder / "broken_worker.py"
    program.write_text(BROKEN_WORKER.format(action=action))
    return (sys.executable, "-I", "-S", str(program))


@pytest.mark.parametrize("case", BROKEN_ACTIONS)
async def test_worker__broken_answers(tmp_path: Path, case: str) -> None:
    """Whatever the task's process writes, the daemon reports a crash, starts a new worker and goes on (P7)."""
    config = config_for(tmp_path, tmp_path, command=broken_command(tmp_path, BROKEN_ACTIONS[case]))
    with trio.fail_after(DEADLINE_S):
        async with open_worker(config) as worker:
            first = worker.pid
            with pytest.raises(WorkerCrashedError):
                await worker.statistics()
            assert worker.pid not in (None, first)


async def test_worker__tells_how_far_it_is(tmp_path: Path) -> None:
    """A long training would look frozen; what it tells meanwhile must not be taken for its answer."""
    telling = "".join(f'frame(b"\\x82\\xa7request\\x02\\xa8progress\\x92\\x{done:02x}\\x09");' for done in (1, 4, 9))
    answer = encode_frame(
        {"request": 2, "parameter_count": 3, "example_count": 5, "loss_before": 1.0, "loss_after": 0.5, "seconds": 2.0}
    )
    command = broken_command(tmp_path, f"{telling} os.write(1, {answer!r})")
    seen = WorkProgress()
    with trio.fail_after(DEADLINE_S):
        async with open_worker(config_for(tmp_path, tmp_path, command=command)) as worker:
            report = await worker.train(np.zeros(1), VectorFile(tmp_path, 0, 3), 1, tmp_path / "update", seen)
    assert (seen.done, seen.total, report.example_count) == (9, 9, 5)


def test_telling__a_few_a_second_and_none_of_what_is_quick() -> None:
    """A frame a batch would cost more than a batch of a small model; a reader of the pipe would drown in them."""
    pipe, clock = io.BytesIO(), iter([0.0, 0.01, TELL_SECONDS, TELL_SECONDS, 1.9 * TELL_SECONDS, 2 * TELL_SECONDS])
    telling = Telling(pipe, clock.__next__)
    telling.begin(7)
    for done in range(1, 6):
        telling.note(done, 10)
    assert pipe.getvalue() == encode_progress(7, 2, 10) + encode_progress(7, 5, 10)


def test_training__tells_every_batch_and_trains_the_same(tasks: list[HeartTask]) -> None:
    """The bar would jump or stop short; and who looks on must not change a bit of what is trained."""
    task, statistics, told = tasks[3], tasks[3].statistics(), list[tuple[int, int]]()
    start = task.initial_parameters()
    expected = task.train(statistics, start, 77, epochs=3)
    task.on_progress = lambda done, total: told.append((done, total))
    update = task.train(statistics, start, 77, epochs=3).update
    total = 3 * -(-task.check_data().train_count // task.manifest().batch_size)
    assert told == [(done, total) for done in range(1, total + 1)]
    assert update.tobytes() == expected.update.tobytes()
    told.clear()
    task.evaluate(statistics, start, [start, start])
    task.on_progress = None
    assert told == [(1, 3), (2, 3), (3, 3)]


async def test_worker__late(tmp_path: Path) -> None:
    """A training that hangs must end in a timeout, with the process gone and the log's path in the message."""
    config = config_for(tmp_path, tmp_path, command=broken_command(tmp_path, "pass"), request_timeout_s=0.2)
    with trio.fail_after(DEADLINE_S):
        async with open_worker(config) as worker:
            first = worker.pid
            with pytest.raises(WorkerTimeoutError, match=r"statistics in 0\.2 s; see .*worker\.log"):
                await worker.statistics()
            assert worker.pid not in (None, first)
            with pytest.raises(ProcessLookupError):
                os.kill(first or 0, 0)


async def test_worker__gets_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker runs the task's code: a keystore password in the daemon's environment must not reach it."""
    monkeypatch.setenv("P2P_FLOCK_PASSWORD", "hunter2")
    seen = tmp_path / "environment"
    command = broken_command(tmp_path, f"open({str(seen)!r}, 'w').write(repr(os.environ)); os._exit(0)")
    with trio.fail_after(DEADLINE_S):
        async with open_worker(config_for(tmp_path, tmp_path, command=command)) as worker:
            with pytest.raises(WorkerCrashedError):
                await worker.statistics()
    assert "PATH" in seen.read_text()
    assert "hunter2" not in seen.read_text()


async def test_worker__command_missing_or_used_after_its_end(tmp_path: Path) -> None:
    """A wrong command is an error at once, and a request after the end must not leave a process behind."""
    with pytest.raises(OSError, match="no-such-program"):
        async with open_worker(config_for(tmp_path, tmp_path, command=("no-such-program",))):
            pass
    async with open_worker(config_for(tmp_path, tmp_path, command=broken_command(tmp_path, "pass"))) as worker:
        pass
    assert worker.pid is None
    with pytest.raises(LocalProtocolError, match="after open_worker ended"):
        await worker.statistics()
    assert worker.pid is None


async def test_worker__log_is_rotated(tmp_path: Path) -> None:
    """A worker that logs for months must not fill the disk."""
    log = tmp_path / "worker.log"
    log.write_bytes(b"x" * (LOG_BYTES_MAX + 1))
    async with open_worker(config_for(tmp_path, tmp_path, command=broken_command(tmp_path, "pass"))):
        assert log.stat().st_size <= LOG_BYTES_MAX
    assert (tmp_path / "worker.log.1").stat().st_size == LOG_BYTES_MAX + 1
