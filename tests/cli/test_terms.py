"""The terms of an alliance in plain words: what follows from the parameters, and what is said where it is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p_flock.cli.alliance_terms import (
    describe_load,
    describe_money,
    describe_privacy,
    describe_task,
    describe_terms,
    expected_seats,
    format_about,
    format_cpu,
    format_priced,
    params_of,
    round_seconds_max,
)
from p2p_flock.cli.data_columns import describe_columns
from p2p_flock.cli.estimates import DEFAULT_PRICES, Prices, estimate_traffic
from p2p_flock.cli.join_summary import summarise
from p2p_flock.cli.watching.words import format_bytes
from p2p_flock.daemon.control_messages import AllianceShowResult
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import ABOUT, ALLIANCE, DATA, FLOCK, SHOW, FakeDaemon

PARAMS = params_of(SHOW)


def test_terms__come_in_the_order_of_the_decision() -> None:
    """A member would read about money before it knows what it gives away."""
    assert list(describe_terms(SHOW)) == [
        "What you join",
        "What others learn",
        "What bad members can do",
        "What it costs and pays",
        "Traffic and computing",
    ]


def test_task__is_told_in_plain_words() -> None:
    """A member would not know what its records are used for."""
    text = " ".join(describe_task(SHOW, PARAMS))
    for part in ("36 numbers are learned", "goes 5 times over", "25% of your records", "(AUC)", "leaves 30 s"):
        assert part in text, part
    once = {**SHOW, "about": {**ABOUT, "local_epochs": 1, "has_holdout": True, "score_name": None}}
    text = " ".join(describe_task(once, PARAMS))  # type: ignore[arg-type]  # a TypedDict changed by a test
    assert "goes once over" in text and "public records that come with the task" in text and "(" not in text[-200:]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({}, "NOT installed here in the alliance's version"),
        ({"error": "row 2: mend it", "error_is_of_data": True}, "data for it cannot be used yet"),
        ({"error": "no task heart"}, "does NOT start here"),
        ({"task": None}, "not set to it"),
        ({"task": "digits"}, "not set to it"),
        ({"path": None}, "not set to it"),
    ],
)
def test_task__says_why_it_is_not_known(data: dict[str, object], told: str) -> None:
    """Who has only mistyped a path would look for a package to install."""
    unknown = {**SHOW, "about": None, "task_installed": False, "data": {**DATA, **data}}
    assert told in describe_task(unknown, PARAMS)[0]  # type: ignore[arg-type]  # a TypedDict changed by a test


def test_privacy__names_cohorts_and_threshold() -> None:
    """A member could not see over how many owners it is hidden."""
    text = " ".join(describe_privacy(SHOW, PARAMS))
    assert "trainers are one cohort of 5 owners" in text
    assert f"once {PARAMS.threshold} owners of a cohort (the threshold) agree" in text
    many = replace(PARAMS, cohort_count=3, seat_count_min=18, seat_count_max=20)
    assert "3 cohorts of 5 to 6 owners" in " ".join(describe_privacy(SHOW, many))


@pytest.mark.parametrize(
    ("seats", "own_seat", "expected"), [(0, None, 8), (7, None, 8), (9, None, 10), (9, 3, 9), (12, None, 12)]
)
def test_seats__to_reckon_with(seats: int, own_seat: int | None, expected: int) -> None:
    """A share would be told that nobody gets: of too few members, or of more than there are seats."""
    params = replace(PARAMS, seat_count_max=12)
    result: AllianceShowResult = {**SHOW, "seats": SHOW["seats"] * seats, "own_seat": own_seat}
    assert expected_seats(result, params) == expected


def test_money__one_members_share_and_how_it_follows() -> None:
    """A member would take the reward of all for its own."""
    params = replace(PARAMS, reward_per_round=40 * FLOCK)
    text = " ".join(describe_money({**SHOW, "settled_rounds": 1}, params, DEFAULT_PRICES))
    assert "at most about 5 FLOCK a round, 50 FLOCK over all rounds that are left" in text
    assert "the reward by 8 members" in text
    assert "holds 2,000 FLOCK and 1 ETH" in text
    assert "joining 0.0000025 ETH (0.0075 USD)" in text and "3,000 USD for an ETH" in text
    dear = " ".join(describe_money(SHOW, params, Prices(gas_gwei=20, eth_usd=4_000)))
    assert "joining 0.0084 ETH (33 USD)" in dear and "(your prices)" in dear


def test_load__per_round_and_day() -> None:
    """A member could not tell whether its line and machine bear it."""
    traffic = estimate_traffic(PARAMS, 36, 39, 8)
    daily = 86_400 / round_seconds_max(PARAMS)
    text = " ".join(describe_load(SHOW, PARAMS, 0.5))
    for part in (
        f"sends about {format_bytes(traffic.trainer_up_bytes)} and receives",
        f"{format_bytes(traffic.mean_bytes)} a round both ways, ",
        f"{format_bytes(round(traffic.mean_bytes * daily))} a day",
        f"{format_bytes(traffic.mean_bytes * 11)} for all rounds that are left",
        "about 0.5 s of one CPU core a round",
        "14 min 24 s a day",  # .8 s in each of 1,080 rounds of 80 s
        f"{daily:,.0f} rounds that take as long as they may",
    ):
        assert part in text, part
    assert "measured by a dry run" in " ".join(describe_load(SHOW, PARAMS, None))
    assert "this node cannot read yet" in describe_load({**SHOW, "about": None}, PARAMS, None)[0]


def test_columns__with_meaning_and_range() -> None:
    """A member could not tell what its file must hold."""
    assert describe_columns(SHOW) == [("age", "18 to 120 years", ""), ("sex", "Female | Male", "may be")]
    assert describe_columns({**SHOW, "about": None}) == []


def test_columns__alike_ones_are_one_line() -> None:
    """Sixty-four pixels would push everything else off the screen, or a thousand values one column."""
    pixels = [{**ABOUT["columns"][0], "name": f"pixel_{number}", "unit": "ink"} for number in range(64)]
    digit = {**ABOUT["columns"][1], "name": "digit", "values": list("0123456789"), "value_count": 1_000}
    about = {**ABOUT, "columns": [*pixels, digit], "column_count": 70}
    rows = describe_columns({**SHOW, "about": about})  # type: ignore[typeddict-item]
    assert rows == [
        ("pixel_0 … pixel_63 (64 columns)", "18 to 120 ink", ""),
        ("digit", "0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | … 992 more", "may be"),
        ("… and 5 more", "", ""),
    ]


def test_summary__what_matters_in_a_line_each() -> None:
    """A member would have to find the stake on the third page."""
    lines = dict(summarise(SHOW, DEFAULT_PRICES, None))
    assert lines["you can lose"] == "1,000 FLOCK"
    assert lines["your data"] == "fits; 114 records to train on; no dry run"
    assert lines["others see"] == f"sums over {PARAMS.survivors_min} owners or more, round after round; no noise, no ε"
    assert "traffic" in lines and "traffic" not in dict(summarise({**SHOW, "about": None}, DEFAULT_PRICES, None))
    privacy = {
        "noise_multiplier": 2.9,
        "delta": 1e-5,
        "rounds": 20,
        "epsilon": 7.99,
        "rounds_spent": 0,
        "epsilon_spent": 0.0,
    }
    noisy = dict(summarise({**SHOW, "privacy": privacy}, DEFAULT_PRICES, None))  # type: ignore[typeddict-item]
    assert noisy["others see"].endswith("ε = 8 over all of them")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0351, "0.035 s"), (2.51, "2.5 s"), (9.99, "10 s"), (83, "1 min 23 s"), (0, "0 s")]
)
def test_cpu__in_words(seconds: float, text: str) -> None:
    """A training of milliseconds would be told as none, a long one in thousands of seconds."""
    assert format_cpu(seconds) == text


def test_amounts__without_exponents() -> None:
    """Nobody reads 2.5e-06."""
    assert format_priced(1, DEFAULT_PRICES) == "0.000000000006 ETH (0.000000018 USD)"
    assert format_priced(10**12, DEFAULT_PRICES) == "6 ETH (18,000 USD)"
    assert format_about(5_714_285_714_285_714_285) == "5.71 FLOCK"
    assert format_about(11_434 * FLOCK) == "11,434 FLOCK"


def test_show__prices_are_the_readers(run: RunCommand, daemon: FakeDaemon) -> None:
    """The figures in USD could not be brought up to date."""
    text = " ".join(run("alliance", "show", ALLIANCE, "--eth-usd", "6000", "--gas-gwei", "0.012").out.split())
    assert "joining 0.000005 ETH (0.03 USD)" in text
    for bad in ("0", "-1", "nan", "many"):
        assert run("alliance", "show", ALLIANCE, f"--eth-usd={bad}").code == 2
