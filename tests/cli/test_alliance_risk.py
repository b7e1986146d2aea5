"""What bad members can do, in words: before ``alliance create`` sends anything, and in the terms of an alliance."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from p2p_flock.alliance.risk import choose_suspicion_bound
from p2p_flock.alliance.solver import Population
from p2p_flock.cli.alliance_create import PRESETS
from p2p_flock.cli.alliance_risk import choose_bound, describe_chance, describe_risk, format_chance
from p2p_flock.cli.alliance_security import DEFAULT_ASSUMPTIONS
from p2p_flock.daemon.control_messages import params_from_json
from p2p_flock.params import AllianceParams
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import ALLIANCE, FakeDaemon

TESTNET = params_from_json(PRESETS["testnet"], bytes(32))
LARGE = ("seat_count_min=50", "seat_count_max=50", "validator_count=21", "cohort_count=7", "round_count=201")


def large(bound: int = 24) -> AllianceParams:
    return replace(
        TESTNET, seat_count_min=50, seat_count_max=50, validator_count=21, cohort_count=7, round_count=200,
        suspicion_bound=bound,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("chance", "text"),
    [
        (0, "never"), (1e-12, "< 1 in 10^9"), (3e-7, "1 in 3,300,000"), (9.96e-4, "1 in 1,000"), (0.001, "0.1 %"),
        (0.0123, "1.2 %"), (0.5, "50 %"), (0.994, "> 99 %"), (1 - 1e-15, "> 99 %"), (1, "always"),
    ],
)  # fmt: skip
def test_chance__in_words(chance: float, text: str) -> None:
    """A creator would read another chance than there is, or a sure thing as an impossible one."""
    assert format_chance(chance) == text


def test_risk__is_a_table_by_share_of_bad_owners() -> None:
    """The numbers of one share would stand under another."""
    lines = describe_risk(large())
    table = {line[:34].strip(): " ".join(line[34:].split()) for line in lines[1:9]}
    assert max(map(len, lines[1:9])) <= 76
    assert len(table) == 8
    assert table["bad owners"] == "5 of 50 10 of 50 15 of 50"
    assert table["have 14 of 21 votes in a round"] == "never never 1 in 660,000"
    assert table["ever, in 200 rounds"] == "never never 1 in 3,300"
    assert table["cohorts with none of them"] == "64 % 38 % 22 %"
    assert table["honest seat ever suspended"].endswith("4.2 %")
    assert table["after rounds, on average"] == "41 42 50"
    assert not [line for line in lines if line.startswith("Warning")]
    told = " ".join(lines)
    assert "against 17 bad of 50" in told and "24 times in a row" in told and "8 can go" in told


def test_risk__warns_where_numbers_are_bad() -> None:
    """A creator would found an alliance that two members can take, and believe it safe."""
    few = " ".join(describe_risk(TESTNET))
    assert "Warning: 3 validators are few. If 2 of 8 owners are bad" in few and "71 %" in few
    assert "the chance that they outvote the honest validators in at least one round is 71 %: then they alone" in few
    assert describe_chance(1, "it rains") == "it is certain that it rains"
    assert "Warning: there is one cohort" in few and "suspicion bound is 0" not in few
    assert "against 1 bad of 8" in few
    assert "Warning: the suspicion bound is 0" in " ".join(describe_risk(large(0)))
    assert "Warning: the suspicion bound is low" in " ".join(describe_risk(large(5)))
    assert "no bad owner at all" in " ".join(describe_risk(replace(TESTNET, validator_count=1)))


def test_bound__is_chosen_by_risk_where_none_is_named(run: RunCommand) -> None:
    """A creator's guess would decide whether honest members are suspended."""
    sizes = [word for setting in LARGE for word in ("--set", setting)]
    create = ("alliance", "create", "--preset", "testnet", "--task", "heart", "--dry-run", *sizes)
    chosen = tomllib.loads(run(*create).out)["params"]["suspicion_bound"]
    assert chosen == choose_suspicion_bound(Population(50, 21, 7, 201, 200)) > 0
    fearful = tomllib.loads(run(*create, "--corrupt-share", "0.3").out)["params"]["suspicion_bound"]
    assert fearful == choose_suspicion_bound(Population(50, 21, 7, 201, 300)) > chosen
    for named in (("--suspicion-bound", "9"), ("--set", "suspicion_bound=9")):
        assert tomllib.loads(run(*create, *named).out)["params"]["suspicion_bound"] == 9
    both = ("--set", "suspicion_bound=9", "--suspicion-bound", "0")
    assert tomllib.loads(run(*create, *both).out)["params"]["suspicion_bound"] == 0


def test_bound__none_for_one_cohort(run: RunCommand) -> None:
    """All would be suspected for one poisoner."""
    create = ("alliance", "create", "--preset", "testnet", "--task", "heart", "--dry-run")
    assert tomllib.loads(run(*create).out)["params"]["suspicion_bound"] == 0
    ran = run(*create, "--suspicion-bound", "3")
    assert ran.code == 2 and "suspicion" in ran.err


@pytest.mark.parametrize(
    "values",
    [{}, {"seat_count_max": 8}, {"seat_count_max": "many", "validator_count": 3, "cohort_count": 2, "round_count": 9},
     {"seat_count_max": 3, "validator_count": 3, "cohort_count": 2, "round_count": 9},
     {"seat_count_max": 9, "validator_count": 3, "cohort_count": 0, "round_count": 9}],
)  # fmt: skip
def test_bound__of_nonsense_is_none(values: dict[str, object]) -> None:
    """The command would end in a traceback instead of naming the parameter that is wrong."""
    assert choose_bound(values, DEFAULT_ASSUMPTIONS) == 0


def test_create__shows_risks_before_it_sends(run: RunCommand, daemon: FakeDaemon) -> None:
    """What is fixed for ever would be explained afterwards."""
    ran = run("alliance", "create", "--preset", "testnet", "--task", "heart", "--yes")
    assert "Warning: 3 validators are few" in ran.out
    assert ran.out.index("bad owners") < ran.out.index("Created")
    assert daemon.requests


@pytest.mark.parametrize(
    "words", [("alliance", "show", ALLIANCE), ("alliance", "join", ALLIANCE, "--no-dry-run", "--yes")]
)
def test_terms__tell_what_bad_members_can_do(run: RunCommand, daemon: FakeDaemon, words: tuple[str, ...]) -> None:
    """A member would stake without knowing who can take the alliance over."""
    text = " ".join(run(*words).out.split())
    assert "What bad members can do" in text and "have 2 of 3 votes in a round never 11 % 29 %" in text
