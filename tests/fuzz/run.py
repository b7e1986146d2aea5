"""``scripts/fuzz``: fuzz some or all targets for a number of inputs or of seconds, and print what came of it.

With atheris (the extra ``fuzz``) each target runs coverage-guided in a process of its own, one after the other;
without it, or with ``--plain``, a plain mutation loop in this process does what it can.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from tests.fuzz.corpus import read_corpus, write_corpus
from tests.fuzz.engine import Finding, Outcome, run_plain
from tests.fuzz.reaching import explore
from tests.fuzz.registry import TARGETS
from tests.fuzz.target import Target

ROOT = Path(__file__).resolve().parents[2]
INPUTS = 200_000  # where neither bound is given: some minutes over all targets
EXPLORED = 3000  # inputs that --keep looks at for new lines without atheris, of a target of weight 1
RSS_MIB_MAX = 3000
GRACE_SECONDS = 300  # for a guided process to import the package, which takes ten seconds, or minutes on a busy machine


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("target", nargs="*", help="by name; all where none is named (see --list)")
    parser.add_argument("--inputs", type=int, help="in all, shared out by the targets' weights")
    parser.add_argument("--seconds", type=float, help="in all, shared out alike; whichever bound comes first")
    parser.add_argument("--seed", type=int, default=secrets.randbits(31), help="of the mutations [default: any]")
    parser.add_argument("--plain", action="store_true", help="the plain loop, also where atheris is installed")
    parser.add_argument("--keep", action="store_true", help="write what reached new lines to tests/fuzz/corpus")
    parser.add_argument("--json", type=Path, help="write counts and findings there")
    parser.add_argument("--list", action="store_true", help="name the targets")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.target) - set(TARGETS))
    if unknown:
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    return chosen


def run_guided(target: Target, *, inputs: int, seconds: float, seed: int, keep: bool) -> Outcome:
    """One target under atheris; with ``keep`` what reached new lines is written to the corpus."""
    with tempfile.TemporaryDirectory(prefix="p2p-flock-fuzz-") as scratch:
        folder, result = Path(scratch) / "corpus", Path(scratch) / "result.json"
        folder.mkdir()
        for number, data in enumerate((*target.make_seeds(), *read_corpus(target.name))):
            (folder / f"{number:06}").write_bytes(data)
        own = (f"-max_len={target.bytes_max}", f"-rss_limit_mb={RSS_MIB_MAX}", "-timeout=60", "-print_final_stats=1")
        bounds = (f"-runs={inputs}", f"-max_total_time={max(1, int(seconds))}", f"-seed={seed or 1}")
        started = time.monotonic()
        ended = _start(target.name, result, (*own, *bounds, str(folder)), seconds + GRACE_SECONDS)
        outcome = _read_result(target.name, result, ended)
        outcome.seconds = time.monotonic() - started
        if keep:
            found = [path.read_bytes() for path in folder.iterdir()]
            write_corpus(target.name, explore(target, found, inputs=0, seed=seed))
    return outcome


def _start(name: str, result: Path, arguments: Sequence[str], timeout_s: float) -> str:
    """Run the guided process to its end: what libFuzzer said."""
    command = (sys.executable, "-m", "tests.fuzz.guided", name, str(result), *arguments)
    with tempfile.TemporaryFile() as log:
        try:
            subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            log.write(b"\nit did not end in time\n")
        log.seek(0)
        return log.read().decode(errors="replace")


def _read_result(name: str, result: Path, said: str) -> Outcome:
    """Counts and findings; libFuzzer's own total where it got to say it, since we only save now and then."""
    document = json.loads(result.read_text()) if result.exists() else {"inputs": 0, "taken": 0, "findings": []}
    outcome = Outcome(name, document["inputs"], document["taken"])
    for signature, data, trace in document["findings"]:
        outcome.findings[signature] = Finding(name, base64.b64decode(data), signature, trace)
    totals = [line.split()[-1] for line in said.splitlines() if line.startswith("stat::number_of_executed_units")]
    if totals:
        outcome.inputs = max(outcome.inputs, int(totals[-1]))
    else:
        outcome.findings["the process"] = Finding(name, b"", "the process", said[-3000:])
    return outcome


async def run_all(chosen: argparse.Namespace, is_guided: bool) -> list[Outcome]:
    """One target after the other."""
    targets = [TARGETS[name] for name in chosen.target or TARGETS]
    inputs = chosen.inputs or (10**9 if chosen.seconds else INPUTS)
    weight = sum(target.weight for target in targets)
    outcomes = []
    for target in targets:
        share = max(1, round(inputs * target.weight / weight))
        seconds = chosen.seconds / len(targets) if chosen.seconds else 1e6
        if is_guided:
            outcome = run_guided(target, inputs=share, seconds=seconds, seed=chosen.seed, keep=chosen.keep)
        else:
            outcome = run_plain(target, read_corpus(target.name), inputs=share, seconds=seconds, seed=chosen.seed)
            if chosen.keep:
                known = read_corpus(target.name)
                tried = max(50, round(EXPLORED * min(1.0, target.weight)))
                write_corpus(target.name, explore(target, known, inputs=tried, seed=chosen.seed))
        show(outcome)
        outcomes.append(outcome)
    return outcomes


def show(outcome: Outcome) -> None:
    """One line, and each finding below it."""
    rate = outcome.inputs / outcome.seconds if outcome.seconds else 0.0
    print(
        f"{outcome.target:<18} {outcome.inputs:>10,} inputs {outcome.taken:>9,} taken {outcome.seconds:>7.1f} s "
        f"{rate:>8,.0f}/s {len(outcome.findings):>3} findings",
        flush=True,
    )
    for finding in outcome.findings.values():
        print(f"  {finding.signature}: {base64.b64encode(finding.data).decode()}\n{finding.trace}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 where something was found."""
    chosen = parse(arguments)
    if chosen.list:
        print("\n".join(TARGETS))
        return 0
    is_guided = not chosen.plain and importlib.util.find_spec("atheris") is not None
    print("guided by coverage (atheris)" if is_guided else "plain mutations: atheris is not installed or not wanted")
    print(f"seed {chosen.seed}", flush=True)
    outcomes = trio.run(run_all, chosen, is_guided)
    found = sum(len(outcome.findings) for outcome in outcomes)
    total = sum(outcome.inputs for outcome in outcomes)
    print(f"{total:,} inputs in {sum(outcome.seconds for outcome in outcomes):.0f} s, {found} findings")
    if chosen.json:
        rows = [
            {
                "target": o.target, "inputs": o.inputs, "taken": o.taken, "seconds": round(o.seconds, 1),
                "findings": [[f.signature, base64.b64encode(f.data).decode()] for f in o.findings.values()],
            }
            for o in outcomes
        ]  # fmt: skip
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
