"""What poisoned updates do to an alliance, beside plain averaging and the robust rules that see every update.

Run as ``python -m p2p_flock.bench.poison`` (``scripts/bench poison``); what it found is in ``bench/POISON.md``. Real
MNIST digits; our side is the code of a node but for masks, messages and the chain (``bench/poison_alliance.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TypedDict

from p2p_flock.bench.poison_committee import COMMITTEES, Captures, count_captures
from p2p_flock.bench.poison_data import SIDE, load_digits
from p2p_flock.bench.poison_framing import Framed, count_framed
from p2p_flock.bench.poison_runs import Found, Job, run_job
from p2p_flock.bench.poison_settings import ATTACKS, DEFENCES, NOBODY, SETTINGS
from p2p_flock.bench.poison_table import RULE_TITLES, render_all
from p2p_flock.bench.secagg import describe_commit, describe_machine

SEEDS = 5
ATTACK_SEEDS_MAX = 1  # of the second table
COMMITTEE = "committee"
OURS = DEFENCES[1]


def list_jobs(rows: Sequence[str], seeds: int, is_quick: bool, side: int = SIDE) -> list[Job]:
    """All runs, each once, the bounds' first. Quick: these alone, one seed; else every attack too, on a few seeds."""
    jobs: dict[Job, None] = {}
    chosen = [setting for setting in SETTINGS if setting.name in rows]
    for seed in range(1, (1 if is_quick else seeds) + 1):
        for setting in chosen:
            for rule in (*RULE_TITLES, OURS.name):
                jobs[Job(setting.name, rule, setting.headline, seed, side)] = None
            for rule in ("fedavg", OURS.name):
                jobs[Job(setting.name, rule, NOBODY.name, seed, side)] = None
    for setting in chosen:
        if is_quick or setting.points_max is None:
            continue
        for attack in (NOBODY, *ATTACKS):
            for seed in range(1, min(seeds, ATTACK_SEEDS_MAX) + 1):
                ways = DEFENCES if setting is SETTINGS[0] else [OURS]
                for rule in ("fedavg", *(defence.name for defence in ways)):
                    jobs[Job(setting.name, rule, attack.name, seed, side)] = None
    return list(jobs)


class Figures(TypedDict):
    """The file of figures."""

    runs: list[Found]
    committees: list[Captures]
    framed: list[Framed]


def read_figures(path: Path | None) -> Figures:
    """What an earlier call left, so that one that was interrupted goes on."""
    figures: Figures = {"runs": [], "committees": [], "framed": []}
    if path is not None and path.exists():
        figures.update(json.loads(path.read_text()))
    return figures


def run_all(
    jobs: Sequence[Job], committees: Sequence[tuple[int, int]], workers: int, figures: Figures
) -> Iterator[str]:
    """Every run that ``figures`` lacks, in processes of one thread each; a line for each as it is added there."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy starts in them
    done = {Job(one["setting"], one["rule"], one["attack"], one["seed"], one["side"]) for one in figures["runs"]}
    counted = {(one["validators"], one["seed"]) for one in figures["committees"]}
    left = [job for job in jobs if job not in done]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        counts = [pool.submit(count_captures, *committee) for committee in committees if committee not in counted]
        for number, run in enumerate(as_completed([pool.submit(run_job, job) for job in left]), start=1):
            one = run.result()
            figures["runs"].append(one)
            yield (
                f"{number}/{len(left)} {one['setting']} {one['attack']} {one['rule']} seed {one['seed']}: "
                f"{one['accuracy']:.3f}, suspended {one['suspended_bad']} of {one['bad']} bad, "
                f"{one['suspended_honest']} honest"
            )
        figures["committees"] += [count.result() for count in counts]
        yield f"{len(counts)} committees"


def main() -> None:
    """Measure, print the tables, write the figures where asked."""
    names = [*(setting.name for setting in SETTINGS), COMMITTEE]
    parser = argparse.ArgumentParser(prog="scripts/bench poison", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write all figures here; started again, it goes on")
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"data splits and sortitions [{SEEDS}]")
    parser.add_argument("--jobs", type=int, default=2, help="processes [2]")
    parser.add_argument(
        "--side", type=int, choices=(14, SIDE), default=SIDE, help="pixels; 14 is four times faster [28]"
    )
    parser.add_argument("--quick", action="store_true", help="one seed, and the rows' own attacks only")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the tables there too, as Markdown")
    parser.add_argument("--show", action="store_true", help="run nothing: the tables of the figures in --json")
    given = parser.parse_args()
    started = time.perf_counter()
    figures = read_figures(given.json)
    if not given.show:
        measure(given, figures)
    text = render_all(figures["runs"], figures["committees"], figures["framed"])
    sys.stdout.write(text)
    if given.table is not None:
        sides = sorted({one["side"] for one in figures["runs"]})
        head = (
            f"Commit {describe_commit()}, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}; {describe_machine()}. "
            f"{len(figures['runs'])} runs; images of {' and '.join(f'{side} × {side}' for side in sides)} pixels.\n"
        )
        given.table.write_text(f"{head}\n{text}")
    sys.stderr.write(f"{time.perf_counter() - started:.0f} s\n")


def measure(given: argparse.Namespace, figures: Figures) -> None:
    """Everything asked for that ``figures`` lacks; they are written after every run."""
    load_digits()  # fetched here, once
    seeds = range(1, (1 if given.quick else given.seeds) + 1)
    committees = [(validators, seed) for validators, _ in COMMITTEES for seed in seeds]
    jobs = list_jobs(given.rows, given.seeds, given.quick, given.side)
    for line in run_all(jobs, committees if COMMITTEE in given.rows else [], given.jobs, figures):
        sys.stderr.write(f"{line}\n")
        if given.json is not None:
            given.json.write_text(json.dumps(figures))
    chosen = [setting for setting in SETTINGS if setting.name in given.rows and not setting.is_sharded]
    figures["framed"] = [count_framed(setting, seed=1) for setting in chosen]
    if given.json is not None:
        given.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
