"""What a round costs: overhead, messages, signatures, RPC calls, CPU time, bytes and gas, measured on a testnet.

Run as ``python -m p2p_flock.bench.rounds``. It starts the testnet as ``scripts/testnet`` does, reads its report and
prints medians; ``--compare`` puts those of an earlier run beside them. The definitions are in ``testnet/METRICS.md``
("What the round cost this node") and at ``testnet.summary.RoundSeconds``. Round 0, which sums the data's statistics and
carries the start of every process, is shown apart. ``--rounds 20`` measures 20 rounds of training.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from p2p_flock.bench.rounds_table import render

PHASES = ("beacon", "train", "seal", "unmask", "evaluate", "commit", "settle", "total")
ROLES = ("trainer", "validator")


def run_testnet(nodes: int, rounds: int, block_time: float) -> dict[str, Any]:
    """Run one testnet; its report.

    Raises:
        subprocess.CalledProcessError: a round failed, or the nodes do not agree; its words are on the terminal.
    """
    with tempfile.TemporaryDirectory(prefix="p2p_flock-bench-") as folder:
        path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "p2p_flock.testnet", "--nodes", str(nodes), "--rounds", str(rounds)]
        command += ["--block-time", str(block_time), "--report", str(path), "--no-local-only"]
        environment = {"FLOCK_TESTNET_STARTED_AT": str(time.time()), **os.environ}
        subprocess.run(command, check=True, env=environment)
        report: dict[str, Any] = json.loads(path.read_text())
    return report


def summarise(report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of one run, from its report.

    Args:
        report: as ``p2p_flock.testnet`` writes it; rounds that were not settled are left out.

    Returns:
        A JSON object: ``overhead`` (protocol phases without training, evaluation and the wait for the beacon) and
        ``wall_without_work`` (the same with that wait), each median, least and most in seconds; ``phases`` likewise;
        ``per_node`` by role: medians over nodes and rounds; ``gas`` and ``transactions`` per round; ``start``.
    """
    settled = [entry for entry in report["rounds"] if entry["outcome"] == "settled"]
    trained = [entry for entry in settled if entry["stage"] == "training"]
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}",
        "nodes": report["nodes"],
        "rounds": len(trained),
        "overhead": spread(entry["seconds"]["overhead"] for entry in trained),
        "wall_without_work": spread(_wall_without_work(entry["seconds"]) for entry in trained),
        "phases": {phase: spread(entry["seconds"][phase] for entry in trained) for phase in PHASES},
        "overhead_round_0": next((e["seconds"]["overhead"] for e in settled if e["stage"] == "statistics"), None),
        "per_node": {role: compute_medians(_costs_of(trained, role)) for role in ROLES},
        "all_nodes": compute_medians(_sums_of(trained)),
        "cpu_seconds_by_kind": compute_medians(e["cpu_seconds_by_kind"] for e in trained if e["cpu_seconds_by_kind"]),
        "gas": compute_medians(entry["gas"] for entry in trained),
        "transactions": spread(sum(t["succeeded"] for t in entry["transactions"]) for entry in trained),
        "transactions_refused": sum(not t["succeeded"] for entry in trained for t in entry["transactions"]),
        "start": report["start"],
        "first_settled_seconds": report["set_up_seconds"] + (report["first_round_seconds"] or 0.0),
        "peaks": {
            name: max((cost[name] or 0 for _, cost in _all_costs(settled) if name in cost), default=0)
            for name in ("daemon_memory_peak_bytes", "worker_memory_peak_bytes")
        },
    }


def spread(values: Iterable[float | None]) -> dict[str, float] | None:
    """Median, least and most of what is known; ``None`` of nothing."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"median": round(statistics.median(known), 3), "min": round(min(known), 3), "max": round(max(known), 3)}


def compute_medians(samples: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Median of every counter over all samples; one that a sample lacks counts as zero there. Groups are flattened."""
    flat = [_flatten(sample) for sample in samples]
    names = sorted({name for sample in flat for name in sample})
    return {name: round(statistics.median(sample.get(name, 0) for sample in flat), 3) for name in names}


def _flatten(cost: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in cost.items():
        if isinstance(value, Mapping):
            found[name] = sum(value.values())
            found.update({f"{name}.{kind}": count for kind, count in value.items()})
        elif value is not None:
            found[name] = value
    return found


def _wall_without_work(seconds: Mapping[str, float | None]) -> float | None:
    total = seconds["total"]
    return None if total is None else total - (seconds["train"] or 0.0) - (seconds["evaluate"] or 0.0)


def _all_costs(rounds: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for entry in rounds:
        for name, cost in entry["cost_by_node"].items():
            yield entry["role_by_node"][name], cost


def _costs_of(rounds: Sequence[Mapping[str, Any]], role: str) -> list[Mapping[str, Any]]:
    return [cost for held, cost in _all_costs(rounds) if held == role]


def _sums_of(rounds: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Per round, every counter summed over the nodes. Peaks are no sums and stay out."""
    sums = []
    for entry in rounds:
        total: dict[str, float] = {}
        for cost in entry["cost_by_node"].values():
            for name, value in _flatten(cost).items():
                if "peak" not in name:
                    total[name] = total.get(name, 0) + value
        sums.append(total)
    return sums


def main() -> int:
    """Exit code: 0, or that of a testnet that failed."""
    parser = argparse.ArgumentParser(prog="scripts/bench rounds", description="Measures what a round costs.")
    parser.add_argument("--nodes", type=int, default=8, metavar="N", help="nodes [8]")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="rounds of training [20]")
    parser.add_argument("--block-time", type=float, default=0.2, metavar="S", help="seconds between blocks [0.2]")
    parser.add_argument("--report", type=Path, metavar="FILE", help="read this testnet's report instead of running one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, for a later --compare")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the tables there too, as Markdown")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="an earlier run's figures, shown as before")
    given = parser.parse_args()
    try:
        if given.report is not None:
            report = json.loads(given.report.read_text())
        else:
            report = run_testnet(given.nodes, given.rounds, given.block_time)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"scripts/bench rounds: the testnet ended with exit code {error.returncode}\n")
        return int(error.returncode)
    figures = summarise(report)
    before = json.loads(given.compare.read_text()) if given.compare is not None else None
    text = render(figures, before)
    sys.stdout.write(text)
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    if given.table is not None:
        given.table.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
