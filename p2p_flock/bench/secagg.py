"""Secure aggregation against Flower's SecAgg+ functions, in the same run, on the same vectors, with as many neighbors.

Run as ``scripts/bench secagg``; SECAGG.md says what is measured and how. Two processes measure, ours and one in
Flower's environment; this one asks them in turn, writes what they say to ``--json`` after each cell, and prints tables.
A run with the same file goes on where the last one ended.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from p2p_flock.bench.secagg_cells import ENGINES, FULL, QUICK, Sides, Worker, list_cells
from p2p_flock.bench.secagg_environment import prepare_flower
from p2p_flock.bench.secagg_table import render
from p2p_flock.errors import P2PFlockError

ROOT = Path(__file__).resolve().parents[2]
OURS, FLOWER = "p2p_flock.bench.secagg_ours", "p2p_flock.bench.secagg_flower"


def describe_machine() -> str:
    """Processor and versions, without names of hosts or people."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass  # not Linux
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def describe_commit() -> str:
    """Short hash, marked where files of the package differ from it."""
    commands = (["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "--", "p2p_flock"])
    try:
        commit, changes = (
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.strip() + (" with changes" if changes.strip() else "")


def begin_report(path: Path | None, quick: bool) -> dict[str, Any]:
    """A new report, or the one in the file if it is of the same commit and effort."""
    report: dict[str, Any] = {
        "commit": describe_commit(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": describe_machine(),
        "cores": os.cpu_count(),
        "quick": quick,
        "cells": {},
    }
    if path is not None and path.exists():
        known: dict[str, Any] = json.loads(path.read_text())
        if all(known.get(key) == report[key] for key in ("commit", "machine", "quick")):
            return known
    return report


def is_chosen(name: str, patterns: Sequence[str]) -> bool:
    """Whether ``--rows`` picks a cell: by its whole name, or by a row's name, with wildcards and open at the end."""
    kind, _, row = name.partition("/")
    return not patterns or any(
        fnmatch.fnmatch(tried, pattern) or fnmatch.fnmatch(tried, f"{pattern}/*")
        for pattern in patterns
        for tried in (name, *([row] if kind in ("client", "server") else []))
    )


def measure(report: dict[str, Any], path: Path | None, patterns: Sequence[str], with_flower: bool) -> None:
    """Measure what the report lacks; write it after each cell.

    Raises:
        P2PFlockError: a process that measures failed, or Flower's environment cannot be made.
    """
    with ExitStack() as stack:
        ours = stack.enter_context(Worker(Path(sys.executable), OURS, ROOT))
        flower = stack.enter_context(Worker(prepare_flower(ROOT), FLOWER, ROOT)) if with_flower else None
        report["accelerator"] = ours.ask("hello")["accelerator"]
        report["flower"] = None if flower is None else "Flower {flower} (numpy {numpy})".format(**flower.ask("hello"))
        sides = Sides(ours, flower, QUICK if report["quick"] else FULL, ENGINES)
        for name, measurement in list_cells(report["quick"]):
            if name in report["cells"] or not is_chosen(name, patterns):
                continue
            started = time.perf_counter()
            report["cells"][name] = {**measurement(sides), "seconds": 0.0}
            report["cells"][name]["seconds"] = round(time.perf_counter() - started, 1)
            sys.stderr.write(f"{name}: {report['cells'][name]['seconds']} s\n")
            if path is not None:
                path.write_text(json.dumps(report, indent=1) + "\n")


def main() -> int:
    """Exit code: 0; 1 where measuring failed."""
    parser = argparse.ArgumentParser(prog="scripts/bench secagg", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there; a run goes on from it")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the tables there too, as Markdown")
    parser.add_argument(
        "--rows", nargs="+", default=[], metavar="ROW", help="only these: 1e6/128/solver/10%%, growth/10"
    )
    parser.add_argument("--quick", action="store_true", help="few rows, few repetitions: about three minutes")
    parser.add_argument("--without-flower", action="store_true", help="only our side, without installing Flower")
    parser.add_argument("--show", action="store_true", help="only print the tables of --json")
    given = parser.parse_args()
    if given.show:
        report = json.loads(given.json.read_text())
    else:
        report = begin_report(given.json, given.quick)
        try:
            measure(report, given.json, given.rows, not given.without_flower)
        except P2PFlockError as error:
            sys.stderr.write(f"scripts/bench secagg: {error}\n")
            return 1
    text = render(report)
    sys.stdout.write(text)
    if given.table is not None:
        given.table.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
