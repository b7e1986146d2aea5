"""Runs the steps of scripts/test: what can run beside each other does, the network alone at the end.

Called by scripts/test with the names of steps; prints each step's result with its time, the output of those that
failed, and one closing line ``N passed, N failed`` over all tests (a step without tests of its own counts as one).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
BIN = Path(PYTHON).parent
PYTEST = (PYTHON, "-m", "pytest", "-q", "--durations=5")
# Tests wait for sockets and processes more than they compute. Files stay whole: their tests keep their order.
PARALLEL = ("-n", "2", "--dist", "loadfile")
PATIENT = ("-o", "faulthandler_timeout=0")  # a network takes minutes; waiting for it is no hang
NO_BROWSER = "--ignore=tests/browser"  # its tests need what only their own step installs
OUTPUT_LINES_MAX = 200


@dataclass(frozen=True, slots=True)
class Step:
    """One command. Steps of one lane run one after the other, lanes beside each other, then those of lane "alone"."""

    name: str
    command: tuple[str, ...]
    lane: str
    timeout_s: int
    is_default: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """How a step ended: counted tests, seconds, and its whole output."""

    step: Step
    passed: int
    failed: int
    seconds: float
    output: str


STEPS = (
    Step("format", (str(BIN / "ruff"), "format", "--check", "."), "tools", 60),
    Step("lint", (str(BIN / "ruff"), "check", "."), "tools", 60),
    Step("imports", (*PYTEST, "tests/architecture"), "tools", 300),
    Step("types", (str(BIN / "mypy"),), "tools", 600),
    Step("contracts", (str(ROOT / "scripts" / "contracts"), "--check", "--test"), "tools", 900),
    Step(
        "unit",
        (
            *(*PYTEST, *PARALLEL, "-m", "not slow", "tests", NO_BROWSER),
            *("--ignore=tests/architecture", "--ignore=tests/e2e"),
        ),
        "unit",
        1200,
    ),
    Step(
        "simulate",
        (
            *(PYTHON, "-m", "p2p_flock.testing.simulate", "--jobs", "2"),
            *("--seeds", "200", "--nodes", "30", "--rounds", "2", "--faults", "all", "--large", "1000"),
        ),
        "alone",  # it takes both processors
        900,
    ),
    Step("e2e", (*PYTEST, *PATIENT, "-m", "not slow", "tests/e2e"), "alone", 1200),
    Step(
        "slow",
        (*PYTEST, *PATIENT, "-m", "slow", "tests", "--ignore=tests/docs", NO_BROWSER),
        "alone",
        7200,
        is_default=False,
    ),
    Step("docs", (*PYTEST, *PATIENT, "-m", "slow", "tests/docs"), "alone", 3600, is_default=False),
    Step("browser", (*PYTEST, *PATIENT, "tests/browser"), "alone", 3600, is_default=False),
)
CORE_TESTS = tuple(
    f"tests/{name}" for name in ("wire", "crypto", "secagg", "alliance", "property", "vectors", "simulation", "unit")
)
FAST = ("format", "lint", "imports", "types", "core")


def core_step() -> Step:
    """The tests of the protocol core only; the folders that are there."""
    folders = tuple(name for name in CORE_TESTS if (ROOT / name).is_dir())
    return Step("core", (*PYTEST, *PARALLEL, "-m", "not slow", *folders), "unit", 300, is_default=False)


def chosen_steps(names: list[str]) -> list[Step]:
    """The steps that the arguments name.

    Raises:
        SystemExit: an unknown name.
    """
    known = {step.name: step for step in (*STEPS, core_step())}
    wanted: list[str] = []
    for name in names or ["default"]:
        groups = {
            "default": [step.name for step in STEPS if step.is_default],
            "all": [step.name for step in STEPS],
            "fast": list(FAST),
        }
        if name not in groups and name not in known:
            raise SystemExit(f"unknown step {name!r}; there are: {', '.join((*groups, *known))}")
        wanted += groups.get(name, [name])
    return [known[name] for name in dict.fromkeys(wanted)]


def count_tests(output: str, exit_code: int) -> tuple[int, int]:
    """Passed and failed tests by pytest's or forge's closing line, else one test that is the step itself.

    A step whose runner counted no failure but ended with an error has failed once.
    """
    passed = failed = 0
    if summary := re.findall(r"^(?:=+ )?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s", output, re.MULTILINE):
        counts = {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", summary[-1])}
        passed = counts.get("passed", 0)
        failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    elif forge := re.findall(r"(\d+) tests passed, (\d+) failed", output):
        passed, failed = int(forge[-1][0]), int(forge[-1][1])
    if passed + failed == 0:
        return (1, 0) if exit_code == 0 else (0, 1)
    return passed, max(failed, int(exit_code != 0))


def run_step(step: Step) -> Result:
    """Run one step to its end or its time limit; its whole process group ends with it."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            step.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            exit_code = process.wait(step.timeout_s)
            note = ""
        except subprocess.TimeoutExpired:
            process.terminate()
            exit_code = process.wait(30)
            exit_code, note = 1, f"\n{step.name} did not end within {step.timeout_s} s\n"
        log.seek(0)
        output = log.read().decode(errors="replace") + note
    passed, failed = count_tests(output, exit_code)
    result = Result(step, passed, failed, time.monotonic() - started, output)
    show(result)
    return result


def show(result: Result) -> None:
    """One line for a step that passed; its output too if it did not."""
    state = "ok" if result.failed == 0 else "FAILED"
    counts = f"{result.passed:>5} passed {result.failed:>3} failed"
    text = f"  {result.step.name:<10} {state:<7} {counts} {result.seconds:7.1f} s\n"
    if result.failed:
        lines = result.output.splitlines()[-OUTPUT_LINES_MAX:]
        text += "".join(f"    | {line}\n" for line in lines)
    sys.stdout.write(text)
    sys.stdout.flush()


def run_lanes(steps: list[Step]) -> list[Result]:
    """Lanes beside each other, each in order; the lane "alone" after all the others."""
    together = sorted({step.lane for step in steps} - {"alone"})
    with ThreadPoolExecutor(max_workers=max(1, len(together))) as pool:
        lanes = [pool.submit(lambda lane=lane: [run_step(s) for s in steps if s.lane == lane]) for lane in together]
        results = [result for lane in lanes for result in lane.result()]
    return results + [run_step(step) for step in steps if step.lane == "alone"]


def main() -> int:
    """Exit code 0 only if every step passed."""
    arguments = sys.argv[1:]
    if arguments == ["--list"]:
        for step in (*STEPS, core_step()):
            when = "" if step.is_default else "(by name) "
            print(f"{step.name:<10} {when}{' '.join(step.command).replace(str(ROOT) + os.sep, '')}")
        print("Groups: default (what runs without a name), all (default, slow, docs and browser), fast.")
        return 0
    steps = chosen_steps(arguments)
    started = time.monotonic()
    print("Running " + ", ".join(step.name for step in steps))
    results = run_lanes(steps)
    print(f"\n{time.monotonic() - started:.0f} s in all")
    failed = sum(result.failed for result in results)
    print(f"{sum(result.passed for result in results)} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
