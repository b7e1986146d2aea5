"""A dry run: one epoch on the member's own data from the initial model, before anything is staked.

Called by the worker (operation ``rehearse``), for ``p2p-flock alliance join`` and ``p2p-flock task check``.
Trains as a round would, on the member's own statistics in place of the members' sum; writes and sends nothing.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Final

import numpy as np

from p2p_flock.learning.results import Rehearsal
from p2p_flock.learning.task import Task

SEED: Final = 1  # any: the order of the batches
IMPORTANT_LOSS: Final = 1.02  # one epoch may do a little harm by chance; more says that something is off


def rehearse(task: Task) -> Rehearsal:
    """Train one epoch and judge the model before and after it on the private test part (and the holdout, if any).

    Raises:
        TaskError: the initial model is not the manifest's, or the training diverged.
    """
    manifest, data = task.manifest(), task.check_data()
    warnings = list(data.problems)
    statistics = task.statistics()
    plausible, reason = task.judge_statistics(statistics)
    if not plausible:
        warnings.append(f"this node would refuse its own statistics: {reason}")
    start = task.initial_parameters()
    started, cpu_started = time.perf_counter(), time.process_time()
    trained = task.train(statistics, start, SEED, epochs=1)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    norm = float(np.linalg.norm(trained.update))
    if norm > manifest.clip_norm:
        warnings.append(
            f"the update is {norm / manifest.clip_norm:.2g} times as long as the task allows and would be scaled down: "
            "is a column in another unit?"
        )
    judged = task.evaluate(statistics, start, [start + trained.update])
    if judged.losses_after[0] > judged.loss_before * IMPORTANT_LOSS:
        warnings.append("the model became worse on the test part: is the data what the task expects?")
    return Rehearsal(
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        local_epochs=manifest.local_epochs,
        example_count=trained.example_count,
        test_count=judged.example_count,
        loss_before=judged.loss_before,
        loss_after=judged.losses_after[0],
        score_name=task.score_name,
        score_before=judged.score_before,
        score_after=judged.scores_after[0],
        memory_bytes=_peak_memory_bytes(),
        warnings=tuple(warnings),
    )


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes, but on macOS
