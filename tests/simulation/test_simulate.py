"""The command: what it runs, prints and writes, and that what it prints about a failure repeats it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.ports import Effect, Event, Machine, Send
from p2p_flock.testing.facts import Post
from p2p_flock.testing.faults import KINDS, NONE, draw_faults, format_faults, parse_faults
from p2p_flock.testing.node import make_honest
from p2p_flock.testing.shrink import Case, property_of, shrink
from p2p_flock.testing.simulate import find_problem, main, make_cases, parse_arguments
from p2p_flock.types import Role
from tests.simulation.test_simulator import run_in_process

ALL_FAULTS = """
from p2p_flock.testing.simulate import make_cases, parse_arguments, run_case
for case in make_cases(parse_arguments("--seed 11 --seeds 3 --nodes 12 --rounds 1 --faults all".split())):
    print(run_case(case).result.digest)
"""


class BreaksInAnswering(TrainerMachine):
    """Breaks when it has something to say for the second time: where it answers a seal."""

    _sent = 0

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        effects = super().handle(event, now_ms)
        self._sent += sum(isinstance(effect, Send) for effect in effects)
        if self._sent > 1:
            raise ValueError("planted")
        return effects


def make_broken(post: Post) -> Machine:
    if post.context.role_of(post.seat) is Role.VALIDATOR:
        return make_honest(post)
    return BreaksInAnswering(post.context, post.seat, post.sign, post.mask_secret_key)


def parse(command: str) -> Case:
    """The case of a printed command."""
    name, *words = command.split()
    assert name == "scripts/simulate"
    (case,) = make_cases(parse_arguments(words))
    return case


def test_replay__with_all_faults_in_other_processes() -> None:
    """Broken: what goes wrong follows from a clock or from the order of a set, and no finding can be repeated."""
    first, second = run_in_process(ALL_FAULTS, "1"), run_in_process(ALL_FAULTS, "2")
    assert len(set(first.split())) == 3
    assert first == second


@pytest.mark.parametrize("seed", range(20))
def test_command__names_the_whole_case(seed: int) -> None:
    """Broken: a printed command leaves something out, and repeats another run."""
    faults = draw_faults(seed, 30, 2, KINDS)
    assert parse_faults(format_faults(faults), 0, 1, 1) == faults
    case = Case(seed, 30, 2, faults, "real", 7)
    assert parse(case.command) == case


def test_shrink__of_a_planted_bug_ends_in_a_command_that_repeats_it() -> None:
    """Broken: what a failing run is made smaller to is another failure, or none."""
    find = partial(find_problem, planted=make_broken)
    case = Case(3, 12, 2, parse_faults("network,reorgs", 5, 12, 2))
    problem = find(case)
    assert problem is not None and problem.startswith("P7") and "planted" in problem
    small, found = shrink(case, find)
    assert small.faults == replace(NONE, heal_ms=small.faults.heal_ms)
    assert small.nodes <= 8 and small.rounds == 1
    assert property_of(found) == "P7"
    assert find(parse(small.command)) == found
    assert find_problem(parse(small.command)) is None


def test_shrink__of_what_does_not_fail() -> None:
    """Broken: a run that passes is searched for its smallest failure."""
    with pytest.raises(ValueError, match="does not fail"):
        shrink(Case(0, 8, 1, NONE), lambda case: None)


def test_main__writes_every_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Broken: the file lacks a run, the large one runs with faults, or a pass is told as a failure."""
    file = tmp_path / "outcomes.json"
    words = f"--large 12 --seed 4 --seeds 2 --nodes 8 --rounds 1 --faults network --json {file}"
    assert main(words.split()) == 0
    document = json.loads(file.read_text())
    large, *others = document["runs"]
    assert [run["problem"] for run in document["runs"]] == [None] * 3
    assert large["command"] == "scripts/simulate --seed 4 --nodes 12 --rounds 1 --faults none"
    assert len({run["result"]["digest"] for run in document["runs"]}) == 3
    assert [parse(run["command"]).seed for run in others] == [4, 5]
    assert document["peak_mib"] > 0
    assert "3 passed, 0 failed" in capsys.readouterr().out


def test_main__with_the_real_suite(capsys: pytest.CaptureFixture[str]) -> None:
    """Broken: real signatures, or a model of another size, cannot be simulated from the command line."""
    words = "--seed 2 --nodes 8 --rounds 1 --faults none --suite real --parameters 50"
    assert main(words.split()) == 0
    output = capsys.readouterr().out
    assert "1 settled, 0 void" in output and "1 passed, 0 failed" in output


@pytest.mark.parametrize("words", ["--faults storms", "--faults loudness=3"])
def test_main__unknown_fault(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Broken: a misspelt fault runs without it and reads as a pass."""
    assert main(["--nodes", "8", *words.split()]) == 2
    assert "there" in capsys.readouterr().err
