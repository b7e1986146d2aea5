"""Scores models on the task's public holdout, or on all members' private test parts together.

A long-lived process of its own, because importing torch takes seconds and must not happen in the launcher. Started by
``scores.py`` with the members' data files, which only a testnet's launcher can know together. One JSON object a line:
``{"model": "<path>"}`` in, ``{"score": …, "loss": …, "score_name": "AUC"}`` or ``{"error": "…"}`` out; ends at the
end of its input.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from p2p_flock.alliance.model import decode_model
from p2p_flock.errors import P2PFlockError
from p2p_flock.learning.priority import lower_priority
from p2p_flock.learning.task import Task, find_task, prepare_torch

NICENESS = 5  # the table can wait a little, the rounds that it shows cannot


def score_model(pooled: Task, path: Path) -> dict[str, object]:
    """Score one model file; an undefined score is ``None``."""
    try:
        model = decode_model(path.read_bytes())
        if model.statistics.size == 0:  # nothing is standardised yet, so nothing can be judged
            return {"score": None, "loss": None, "score_name": pooled.score_name}
        loss, score = pooled.measure(model.statistics, model.parameters[:])
    except (OSError, P2PFlockError) as error:
        return {"error": str(error)}
    return {"score": score, "loss": loss, "score_name": pooled.score_name}


def main() -> None:
    """Answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", required=True)
    parser.add_argument("--data-seed", type=int, required=True)
    parser.add_argument("data", nargs="+", type=Path)
    arguments = parser.parse_args()
    lower_priority(NICENESS)
    prepare_torch()
    tasks = [find_task(arguments.task).open(path, arguments.data_seed) for path in arguments.data]
    pooled = tasks[0].pool(tasks)
    for line in sys.stdin:
        answer = score_model(pooled, Path(json.loads(line)["model"]))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
