"""The test runner itself: a runner that miscounts would turn red tests green."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts.steps import FAST, ROOT, STEPS, Step, chosen_steps, count_tests, run_step

PYTEST_FAILED = "FAILED tests/a.py::b\n1 failed, 14 passed, 2 deselected in 2.30s\n"
PYTEST_PASSED = "....\n12 passed, 4 deselected, 1 warning in 315.42s (0:05:15)\n"
PYTEST_BROKEN = "ERROR tests/a.py\n2 passed, 1 error in 0.12s\n"
FORGE_PASSED = "Ran 9 test suites in 2.1s (8.2s CPU time): 130 tests passed, 0 failed, 0 skipped (130 total tests)\n"
FORGE_FAILED = "Ran 9 test suites in 2.1s (8.2s CPU time): 128 tests passed, 2 failed, 0 skipped (130 total tests)\n"


@pytest.mark.parametrize(
    ("output", "exit_code", "expected"),
    [
        (PYTEST_FAILED, 1, (14, 1)),
        (PYTEST_PASSED, 0, (12, 0)),
        (PYTEST_BROKEN, 1, (2, 1)),
        (FORGE_PASSED, 0, (130, 0)),
        (FORGE_FAILED, 1, (128, 2)),
        ("All checks passed!\n", 0, (1, 0)),
        ("Found 3 errors.\n", 1, (0, 1)),
        ("no tests ran in 0.01s\n", 5, (0, 1)),  # a step that found nothing to test is no success
        (PYTEST_PASSED, 1, (12, 1)),  # it failed after its last line
    ],
)
def test_count__follows_the_closing_line(output: str, exit_code: int, expected: tuple[int, int]) -> None:
    """A failure would be counted as a success."""
    assert count_tests(output, exit_code) == expected


def test_steps__default_covers_everything_but_slow() -> None:
    """A submission could pass without the contracts or without the network."""
    on_demand = {"slow", "docs", "browser"}  # minutes of networks, or a browser that is not everywhere
    assert [step.name for step in chosen_steps([])] == [step.name for step in STEPS if step.name not in on_demand]
    assert [step.name for step in chosen_steps(["all"])] == [step.name for step in STEPS]
    assert {step.name for step in chosen_steps(["fast"])} == set(FAST)
    assert [step.name for step in chosen_steps(["e2e", "lint", "e2e"])] == ["e2e", "lint"]


def test_steps__unknown_name_is_refused() -> None:
    """A mistyped name would run nothing and pass."""
    with pytest.raises(SystemExit, match="unknown step 'unti'"):
        chosen_steps(["unti"])


def test_step__that_hangs_is_ended(capsys: pytest.CaptureFixture[str]) -> None:
    """One hanging test would hold up everything for ever."""
    step = Step("hanging", (sys.executable, "-c", "import signal; signal.pause()"), "unit", timeout_s=1)
    result = run_step(step)
    assert (result.passed, result.failed) == (0, 1)
    assert "did not end within 1 s" in capsys.readouterr().out


def test_runner__fails_with_its_steps() -> None:
    """The exit code would say success though a step failed."""
    command = [sys.executable, "scripts/steps.py", "nonsense"]
    assert subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode != 0
    listing = subprocess.run(
        [sys.executable, "scripts/steps.py", "--list"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert all(step.name in listing.stdout for step in STEPS)
