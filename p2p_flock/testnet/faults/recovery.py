"""When a struck node was of use again: from what it tells of its own rounds. Called by ``launcher.py``; pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from p2p_flock.testnet.metrics import NodeMetrics

WORK = ("train", "evaluate")  # what a round waits for, and what needs the training process with its libraries


def find_back(names: Collection[str], done: float | None, metrics: Sequence[NodeMetrics]) -> float | None:
    """Unix seconds at which the last of the struck nodes had trained or judged again; ``None`` if one never did.

    Args:
        done: when the fault was over; a process that was started then has everything to load.
    """
    if done is None or not names:
        return None
    moments = []
    for node in metrics:
        if node.name in names:
            ends = [
                record.ended_at
                for phases in node.phases.values()
                for record in phases.values()
                if record.phase in WORK and record.ended_at > done
            ]
            moments.append(min(ends, default=None))
    known = [moment for moment in moments if moment is not None]
    return max(known) if known and len(known) == len(names) else None
