"""Whether a node grows: memory, file descriptors, threads and tasks of every node over many rounds of a testnet.

Run as ``python -m p2p_flock.bench.soak``. What the nodes hold at the end of each round is in their metrics
(``testnet/METRICS.md``); the first and the last quarter of the rounds are compared, and a line is fitted through all
of them by least squares. The first rounds are left out: caches fill, the worker imports what it needs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from p2p_flock.bench.faults_run import describe_command, describe_machine, read_commit, run_testnet, today
from p2p_flock.bench.faults_table import render_soak
from p2p_flock.testnet.metrics import LEVEL_KEYS

WARM_UP_ROUNDS = 10
QUARTERS = 4
START_SECONDS_MAX = 300.0
ROUND_SECONDS_MAX = 30.0
# How much more than in the first quarter a node may hold in the last one and still count as flat. An allocator's free
# lists and a few idle streams come and go; two hundred rounds of a leak of one descriptor each would not fit.
GROWTH_MAX: Mapping[str, float] = {
    "daemon_memory_bytes": 12 << 20,
    "worker_memory_bytes": 12 << 20,
    "daemon_descriptors": 4,
    "daemon_threads": 4,
    "daemon_tasks": 8,
}


def summarise(report: Mapping[str, Any]) -> dict[str, Any]:
    """From a testnet's report to the figures of every level, and of the rounds' lengths.

    ``first`` and ``last`` are means over all nodes in the quarter, ``growth_max`` the largest difference of a single
    node's quarters, ``slope`` the mean over the nodes of a least-squares line's slope, per round.

    Raises:
        ValueError: fewer rounds than a quarter needs.
    """
    rounds = [entry for entry in report["rounds"] if entry["outcome"] == "settled"][WARM_UP_ROUNDS:]
    quarter = len(rounds) // QUARTERS
    if quarter < 1:
        raise ValueError(f"{len(rounds)} settled rounds after the first {WARM_UP_ROUNDS} are too few to compare")
    seconds = [entry["seconds"]["total"] for entry in rounds]
    return {
        "rounds": len(report["rounds"]),
        "nodes": report["nodes"],
        "settled": len(rounds) + WARM_UP_ROUNDS,
        "seconds_first": statistics.median(seconds[:quarter]),
        "seconds_last": statistics.median(seconds[-quarter:]),
        "figures": {name: _compare(name, _series(rounds, name), quarter) for name in LEVEL_KEYS},
    }


def _series(rounds: Sequence[Mapping[str, Any]], name: str) -> dict[str, list[tuple[int, float]]]:
    """(place of the round, level) by node; a node that told nothing of a round is passed over there."""
    found: dict[str, list[tuple[int, float]]] = {}
    for place, entry in enumerate(rounds):
        for node, cost in entry["cost_by_node"].items():
            if cost.get(name) is not None:
                found.setdefault(node, []).append((place, float(cost[name])))
    return found


def _compare(name: str, series: Mapping[str, Sequence[tuple[int, float]]], quarter: int) -> dict[str, Any]:
    firsts, lasts, slopes = [], [], []
    for levels in series.values():
        if len(levels) < 2 * quarter:
            continue
        values = [level for _, level in levels]
        firsts.append(statistics.fmean(values[:quarter]))
        lasts.append(statistics.fmean(values[-quarter:]))
        slopes.append(compute_slope([place for place, _ in levels], values))
    if not firsts:
        return {"first": 0.0, "last": 0.0, "growth_max": 0.0, "slope": 0.0, "is_flat": False}
    growth = max(last - first for first, last in zip(firsts, lasts, strict=True))
    return {
        "first": statistics.fmean(firsts),
        "last": statistics.fmean(lasts),
        "growth_max": growth,
        "slope": statistics.fmean(slopes),
        "is_flat": growth <= GROWTH_MAX[name],
    }


def compute_slope(places: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the least-squares line: Σ (x − x̄)(y − ȳ) / Σ (x − x̄)²; 0 where all x are alike."""
    x, y = np.asarray(places, dtype=np.float64), np.asarray(values, dtype=np.float64)
    spread = float(((x - x.mean()) ** 2).sum())
    return float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread else 0.0


def main() -> int:
    """Exit code: 0 where everything is flat, 1 where something grows or the testnet failed."""
    parser = argparse.ArgumentParser(prog="scripts/bench soak", description="Measures whether a node grows.")
    parser.add_argument("--nodes", type=int, default=6, metavar="N", help="nodes [6]")
    parser.add_argument("--rounds", type=int, default=200, metavar="N", help="rounds of training [200]")
    parser.add_argument("--report", type=Path, metavar="FILE", help="read this testnet's report instead of running one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, for `scripts/bench faults`")
    given = parser.parse_args()
    complaints: list[str] = []
    if given.report is not None:
        report = json.loads(given.report.read_text())
    else:
        words = ["--nodes", str(given.nodes), "--rounds", str(given.rounds)]
        run = run_testnet(words, START_SECONDS_MAX + given.rounds * ROUND_SECONDS_MAX)
        if run.report is None:
            sys.stderr.write(f"scripts/bench soak: the testnet ended without a report, exit code {run.exit_code}\n")
            return 1
        report, complaints = run.report, run.report["complaints"]
    figures = {
        "command": describe_command("soak", sys.argv[1:]),
        "date": today(),
        "commit": read_commit(),
        "machine": describe_machine(),
        **summarise(report),
        "complaints": complaints,
    }
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    sys.stdout.write(render_soak(figures) + "\n" + "".join(f"- {text}\n" for text in complaints))
    is_flat = all(figure["is_flat"] for figure in figures["figures"].values())
    return 0 if is_flat and not complaints else 1


if __name__ == "__main__":
    sys.exit(main())
