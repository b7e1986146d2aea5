"""What faults cost: every role in every phase, killed, restarted or frozen, and what befalls a whole alliance.

Run as ``python -m p2p_flock.bench.faults``. It starts testnets as ``scripts/testnet --fault`` does and reads their
reports; the grid is in ``faults_cells.py``, what stands beside it in ``faults_scenarios.py``. FAULTS.md is generated
from the figures with ``--table``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from p2p_flock.bench.faults_cells import FREEZE_SECONDS, Plan, choose_cells, compute_undisturbed, make_plans, read_cells
from p2p_flock.bench.faults_run import Run, describe_command, describe_machine, read_commit, run_testnet, today
from p2p_flock.bench.faults_scenarios import SCENARIOS, Scenario, choose_scenarios, judge_run
from p2p_flock.bench.faults_table import render
from p2p_flock.errors import UsageError
from p2p_flock.testnet.options import alliance_params

CELLS_PER_TESTNET = 18  # every role and phase in one way, in 111 rounds: some eight minutes
START_SECONDS_MAX = 300.0
ROUND_SECONDS_MAX = 90.0  # of which none is expected to last a third
TRIES = 2  # of a cell whose phase passed between two looks


def run_cells(plan: Plan, given: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One testnet of the grid: what to tell of the run, and of each cell."""
    words = ["--nodes", str(given.nodes), "--rounds", str(plan.rounds)]
    words += [word for fault in plan.faults(given.seconds) for word in ("--fault", fault)]
    run = run_testnet(words, START_SECONDS_MAX + plan.rounds * ROUND_SECONDS_MAX, kept=given.keep)
    report = run.report or {"rounds": [], "faults": [], "stake_lost_by_node": {}, "complaints": []}
    quiet = compute_undisturbed(report, plan)
    results = read_cells(report, plan, alliance_params(given.nodes, plan.rounds))
    return {
        "command": run.command,
        "seconds": round(run.seconds, 1),
        "rounds": len(report["rounds"]),
        "undisturbed": quiet,
        "median": statistics.median(quiet) if quiet else None,
        "stake_lost": str(sum(int(amount) for amount in report["stake_lost_by_node"].values())),
        "complaints": [*_end_of(run), *report["complaints"]],
    }, [result.describe() for result in results]


def _end_of(run: Run) -> list[str]:
    if run.is_late:
        return ["it hung and was interrupted"]
    return [] if run.report is not None else [f"it ended without a report, exit code {run.exit_code}"]


def measure(words: Sequence[str], scenarios: Sequence[Scenario], given: argparse.Namespace) -> dict[str, Any]:
    """All figures. ``words``: which cells; ``["none"]`` for none."""
    cells = () if list(words) == ["none"] else choose_cells(words)
    figures: dict[str, Any] = {
        "command": describe_command("faults", sys.argv[1:]),
        "date": today(),
        "commit": read_commit(),
        "machine": describe_machine(),
        "runs": [],
        "cells": [],
        "scenarios": [],
    }
    for _ in range(TRIES):
        missed = []
        for plan in make_plans(cells, given.cells_per_testnet):
            run, results = run_cells(plan, given)
            figures["runs"].append(run)
            found = {result["cell"]: result for result in results}
            missed += [cell for cell in plan.cells if found[cell.name]["outcome"] == "missed"]
            figures["cells"] = [cell for cell in figures["cells"] if cell["cell"] not in found] + results
            _save(figures, given.json)
        cells = tuple(missed)
    for scenario in scenarios:
        run_of = run_testnet(scenario.arguments(given.nodes), scenario.limit_seconds, scenario.beside, given.keep)
        figures["scenarios"].append(judge_run(scenario, run_of))
        _save(figures, given.json)
    return figures


def _save(figures: dict[str, Any], path: Path | None) -> None:
    """After each run: an hour's measurement must survive an interrupted terminal."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n")


def join(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several files' figures as one; of a cell, or a scenario, that is in several the last counts."""
    joined = dict(found[-1])
    joined["runs"] = [{"commit": figures["commit"], **run} for figures in found for run in figures["runs"]]
    joined["command"] = list(dict.fromkeys(command for figures in found for command in _as_list(figures["command"])))
    joined["commit"] = ", ".join(dict.fromkeys(figures["commit"] for figures in found))
    for key, name in (("cells", "cell"), ("scenarios", "scenario")):
        joined[key] = list({entry[name]: entry for figures in found for entry in figures[key]}.values())
    return joined


def _as_list(command: str | list[str]) -> list[str]:
    return command if isinstance(command, list) else [command]


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench faults", description="Measures what faults cost.")
    parser.add_argument(
        "--cells",
        nargs="*",
        default=[],
        metavar="WORD",
        help="those whose name holds a word, as kill:leader@SEAL; none",
    )
    names = ", ".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument(
        "--scenarios", nargs="*", default=["none"], metavar="NAME", help=f"beside the grid: all, {names} [none]"
    )
    parser.add_argument(
        "--seconds", type=float, default=FREEZE_SECONDS, metavar="S", help="how long a freeze lasts [10]"
    )
    parser.add_argument("--nodes", type=int, default=8, metavar="N", help="nodes [8]")
    parser.add_argument(
        "--cells-per-testnet", type=int, default=CELLS_PER_TESTNET, metavar="N", help=f"[{CELLS_PER_TESTNET}]"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep every testnet's folder and report in there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, after every run")
    parser.add_argument(
        "--figures", type=Path, nargs="+", metavar="FILE", help="measure nothing: join these earlier files"
    )
    parser.add_argument("--soak", type=Path, metavar="FILE", help="a file of `scripts/bench soak`, for the table")
    parser.add_argument("--remark", default="", metavar="TEXT", help="what a reader must know, below the table's head")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the tables there, as Markdown")
    return parser.parse_args()


def main() -> int:
    """Exit code: 0 where everything holds, 1 where something does not, 2 for a wrong command line."""
    given = parse_arguments()
    if given.figures:
        figures = join([json.loads(path.read_text()) for path in given.figures])
        _save(figures, given.json)
    else:
        try:
            scenarios = choose_scenarios(given.scenarios)
            figures = measure(given.cells, scenarios, given)
        except UsageError as error:
            sys.stderr.write(f"scripts/bench faults: {error}\n")
            return 2
    soak = json.loads(given.soak.read_text()) if given.soak is not None else None
    text = render(figures, soak, given.remark)
    sys.stdout.write(text)
    if given.table is not None:
        given.table.write_text(text)
    return 0 if all(entry["is_good"] for entry in (*figures["cells"], *figures["scenarios"])) else 1


if __name__ == "__main__":
    sys.exit(main())
