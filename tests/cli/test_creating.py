"""``alliance create``: what the numbers come to, where they are weak, the questions, the confirmation."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from p2p_flock.alliance.risk import compute_risk
from p2p_flock.alliance.solver import population_of
from p2p_flock.cli.alliance_security import DEFAULT_ASSUMPTIONS
from p2p_flock.cli.creating.consequences import TaskSizes, describe_consequences
from p2p_flock.cli.creating.fitting import Answers, choose_cohorts, choose_validators, fit
from p2p_flock.cli.creating.questions import parse_duration
from p2p_flock.cli.creating.sources import FLOCK, PRESETS
from p2p_flock.cli.creating.weaknesses import find_weaknesses
from p2p_flock.cli.estimates import DEFAULT_PRICES
from p2p_flock.daemon.control_messages import params_from_json
from p2p_flock.errors import UsageError
from p2p_flock.params import AllianceParams, validate_params
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import ALLIANCE, FakeDaemon

TESTNET = params_from_json(PRESETS["testnet"], bytes(32))
LARGE = replace(
    TESTNET, seat_count_min=70, seat_count_max=70, validator_count=21, cohort_count=4, threshold=11, collusion_bound=4,
    train_seconds=600, seal_seconds=60, unmask_seconds=60, evaluate_seconds=60, commit_seconds=60, settle_seconds=60,
    suspicion_bound=20, round_count=51, levels=1 << 10,
)  # fmt: skip
SIZES = TaskSizes(1_000_000, 39)


def told(params: AllianceParams, sizes: TaskSizes | None = SIZES) -> dict[str, str]:
    """Everything that is said, by heading, as one line each."""
    said = describe_consequences(params, 10**21, sizes, DEFAULT_ASSUMPTIONS, DEFAULT_PRICES)
    return {heading: " ".join(" ".join(lines).split()) for heading, lines in said.items()}


# --- consequences and weaknesses -------------------------------------------------------------------------------


def test_consequences__name_k_t_and_c() -> None:
    """The creator would fix numbers for ever without having been told them."""
    said = told(TESTNET)["A round"]
    assert "8 members. In every round 3 of them" in said and "one cohort of 5" in said
    assert "4 neighbors (k)" in said and "3 of these 5 owners (t)" in said and "c is 0" in said
    said = told(LARGE)["A round"]
    assert "4 cohorts of 12 to 13" in said and "Up to 4 owners of a cohort (c)" in said


def test_consequences__name_risks_costs_and_traffic() -> None:
    """What the issue promises to show would be missing before money is sent."""
    said = told(LARGE)
    bad = said["Bad members"]
    for words in (
        "votes in a round",
        "block",
        "honest seat ever suspended",
        "after rounds, on average",
        "False rejects",
    ):
        assert words in bad
    assert "Warning" not in bad  # weaknesses are said once, with their remedies
    gas = said["Gas"]
    for words in ("a validator's share", "a trainer's", "joining, once", "all: 70 members, 51 rounds", "USD at 0.006"):
        assert words in gas
    assert "a trainer, a round" in said["Traffic"] and " MB" in said["Traffic"]
    assert "--parameters" in told(LARGE, None)["Traffic"]
    assert "You escrow 1,000 FLOCK" in said["FLOCK"] and "70,000 FLOCK" in said["FLOCK"]
    assert "51 rounds at most" in said["Time"] and "50 rounds train" in said["Time"]


def remedies(params: AllianceParams, sizes: TaskSizes | None = None) -> str:
    return " ".join(
        f"{weakness.text} {weakness.remedy}" for weakness in find_weaknesses(params, DEFAULT_ASSUMPTIONS, sizes)
    )


def test_weaknesses__name_the_number_that_mends_them() -> None:
    """A warning would leave the creator to guess."""
    few = replace(LARGE, validator_count=3)
    said = remedies(few)
    assert "3 validators are few" in said and "Set validator_count to" in said
    count = int(said.partition("Set validator_count to ")[2].partition(".")[0])
    assert "validators are few" not in remedies(replace(LARGE, validator_count=count))
    risk = compute_risk(population_of(replace(LARGE, validator_count=count - 1), 70, 0, 0), 14, 0)
    assert risk.life_capture > 0.01 or risk.blocking > 0.5  # one fewer would not do
    small_cohorts = replace(LARGE, cohort_count=7, threshold=6, collusion_bound=1, round_count=201)
    for bound in (0, 1):
        said = remedies(replace(small_cohorts, suspicion_bound=bound))
        found = int(said.partition("Set suspicion_bound to ")[2].partition(".")[0])
        assert "suspicion" not in remedies(replace(small_cohorts, suspicion_bound=found))


def test_weaknesses__of_the_testnet_preset() -> None:
    """A preset for one machine would be taken for a real alliance's."""
    said = remedies(TESTNET)
    for words in ("miss what was asked for", "validators are few", "There is one cohort", "suit a test on one machine"):
        assert words in said
    needed = replace(TESTNET, validator_count=5)
    assert "Every member is needed" in remedies(needed)
    assert "Nobody is paid" in remedies(replace(TESTNET, reward_per_round=0))


def test_weaknesses__a_line_too_thin_for_the_model() -> None:
    """Every round would go on without those at home."""
    assert "On a line of 10 Mbit/s" in remedies(TESTNET, TaskSizes(50_000_000, 0))
    assert "On a line of 10 Mbit/s" not in remedies(LARGE, SIZES)


# --- fitting ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [6, 8, 15, 40, 120])
def test_fit__defaults_keep_the_rules(members: int) -> None:
    """Who takes every default would be refused at the end."""
    bad, rounds = max(1, members // 5), 31
    validators = choose_validators(members, rounds, bad)
    assert 1 <= validators <= members - 4
    values = fit(Answers(members, rounds, validators, 1, 1_800, FLOCK, 0, 0))
    largest = members - validators
    params = params_from_json({**values, "threshold": largest // 2 + 1, "collusion_bound": 0}, bytes(32))
    validate_params(replace(params, suspicion_bound=0))
    assert choose_cohorts(population_of(params, members, 0, 0), DEFAULT_ASSUMPTIONS) >= 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("30 min", 1800), ("45s", 45), ("2 h", 7200), ("90", 90), ("1d", 86_400)]
)
def test_duration__as_people_write_it(text: str, seconds: int) -> None:
    """A round of half an hour would end after half a minute."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5 min", "1.5 h", "2 weeks", "1 s", "8 d", "٣ min", "9" * 12])
def test_duration__anything_else_is_asked_again(text: str) -> None:
    """A slip would be fixed for ever, or end in a traceback."""
    with pytest.raises(UsageError):
        parse_duration(text)


# --- the command -----------------------------------------------------------------------------------------------


def on_terminal(home: Path, answers: str, *words: str) -> tuple[int, str]:
    """Run ``alliance create`` on a terminal and type ``answers``, a line for each question."""
    terminal, inside = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "p2p_flock.cli.main", "alliance", "create", "--home", str(home), *words],
            stdin=inside,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=home,
        )
        os.write(terminal, answers.encode())
        out, _ = process.communicate(timeout=60)
    finally:
        os.close(terminal)
        os.close(inside)
    return process.returncode, out


def test_create__by_questions(daemon: FakeDaemon) -> None:
    """Whoever has no file could not found an alliance, or not read back what was answered."""
    # Task, members, rounds, bad, failing, validators, cohorts, training, stake, reward, who, deadline, file, yes.
    lines = ["xray", "heart", "20", "10", "2", "1", "many", "7", "1", "20 min", "50 FLOCK", "", "", "", "a.toml", "y"]
    code, out = on_terminal(daemon.home, "".join(f"{line}\n" for line in lines))
    assert code == 0, out
    said = " ".join(out.split())
    assert "'xray' is not installed here" in said and "'many' does not do" in said  # and both were asked again
    assert "7 of them, drawn anew, are validators" in said and "You escrow 1,100 FLOCK" in said
    assert out.index("Bad members") < out.index("Create it") < out.index(f"Created {ALLIANCE}")
    command, sent = daemon.requests[-1]
    assert command == "alliance.create" and sent["task"] == "heart"
    params = params_from_json(sent["params"], bytes(32))
    assert (params.seat_count_max, params.validator_count, params.round_count) == (20, 7, 11)
    assert (params.train_seconds, params.seat_stake) == (1_200, 50 * FLOCK)
    assert params.collusion_bound >= 2  # what was said about dishonest members
    saved = tomllib.loads((daemon.home / "a.toml").read_text())
    assert params_from_json(saved["params"], bytes(32)) == params


def test_create__declined_sends_nothing(daemon: FakeDaemon) -> None:
    """A no would cost the escrow."""
    code, out = on_terminal(daemon.home, "n\n", "--preset", "testnet", "--task", "heart")
    assert code == 5 and "Nothing was sent" in out
    assert "alliance.create" not in [command for command, _ in daemon.requests]


def test_create__without_a_terminal_needs_yes(run: RunCommand, daemon: FakeDaemon) -> None:
    """A script would found an alliance that nobody agreed to, or wait for ever."""
    ran = run("alliance", "create", "--preset", "testnet", "--task", "heart")
    assert ran.code == 2 and "--yes" in ran.err
    assert "alliance.create" not in [command for command, _ in daemon.requests]


def test_create__save_overwrites_nothing(run: RunCommand, daemon: FakeDaemon, tmp_path: Path) -> None:
    """The only record of another alliance's numbers would be gone."""
    file = tmp_path / "mine.toml"
    words = ("alliance", "create", "--preset", "testnet", "--task", "heart", "--dry-run", "--save", file)
    ran = run(*words)
    assert ran.code == 0 and file.read_text() == ran.out
    again = run(*words)
    assert again.code == 2 and "exists already" in again.err


def test_create__prices_are_the_users(run: RunCommand, tmp_path: Path) -> None:
    """USD would be shown at prices of another year."""
    words = ("alliance", "create", "--preset", "testnet", "--task", "heart", "--dry-run")
    ran = run(*words, "--eth-usd", "1000", "--gas-gwei", "1", "--parameters", "1000")
    said = " ".join(ran.err.split())
    assert "USD at 1 gwei for gas and 1,000 USD for an ETH (your prices)" in said
    assert "The model has 1,000 numbers" in said
    for bad in ("nan", "0", "-1"):
        assert run(*words, f"--eth-usd={bad}").code == 2
