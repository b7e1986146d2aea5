"""``p2p-flock history``: the table, one round in full, and what scripts and spreadsheets read."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from p2p_flock.daemon.history_answer import HistoryAnswers
from p2p_flock.daemon.session import AllianceSession
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import FakeDaemon
from tests.daemon.test_watch_answer import OWN, Past
from tests.unit.alliance_log import owner_of

ROUNDS = 9


def sample(before: int | None = None, limit: int = 200) -> dict[str, Any]:
    """What a daemon answers after nine rounds: adopted, rejected and void ones, this member absent in the last two."""
    past = Past(ROUNDS)
    past.session.purse = SimpleNamespace(ask=lambda: None, is_claimed=lambda number: number < 5)
    answer = HistoryAnswers(owner_of(OWN)).answer(cast(AllianceSession, past.session), before, limit)
    return cast(dict[str, Any], answer)


class Pages(dict[str, Any]):
    """Answers to one command in turn."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self._pages = iter(pages)

    def __getitem__(self, command: str) -> Any:
        assert command == "alliance.history"
        return next(self._pages)


def test_history__is_a_table_that_says_why(run: RunCommand, daemon: FakeDaemon) -> None:
    """An operator would see numbers without their reasons."""
    daemon.results["alliance.history"] = sample()
    ran = run("history", "--limit", "200")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].split() == ["round", "ended", "outcome", "you", "in", "votes", "score", "alone", "reward", "took"]
    assert [line.split()[0] for line in lines[1 : 1 + ROUNDS]] == [str(number) for number in reversed(range(ROUNDS))]
    assert "round 4: Void: the validators did not agree on chain in time" in ran.out
    assert "Rejected: 0 of 3 validators voted against it" in ran.out
    assert "Earned in these 9 rounds: " in ran.out
    assert daemon.requests == [("alliance.history", {"before": None, "limit": 200})]


def test_history__no_round_yet(run: RunCommand, daemon: FakeDaemon) -> None:
    """An empty table would look like a defect."""
    ran = run("history")
    assert ran.code == 0 and "No round has ended yet" in ran.out
    assert daemon.requests == [("alliance.history", {"before": None, "limit": 20})]


def test_history__one_round_in_full(run: RunCommand, daemon: FakeDaemon) -> None:
    """Neither the transactions nor a strike could be looked up."""
    rounds = sample()["rounds"]
    struck = next(entry for entry in rounds if entry["penalties"])
    daemon.results["alliance.history"] = {"rounds": [struck], "earliest": 0}
    ran = run("history", "--round", str(struck["round"]))
    assert ran.code == 0, ran.err
    assert daemon.requests == [("alliance.history", {"before": struck["round"] + 1, "limit": 1})]
    assert "a strike: " in ran.out and "two in a row suspend the seat" in ran.out
    for found in struck["transactions"]:
        assert found["transaction"] in ran.out
    for cohort, count in enumerate(struck["trainers_by_cohort"]):
        assert f"cohort {cohort}: {struck['survivors_by_cohort'][cohort]} of {count} trainers in; " in ran.out
    daemon.results["alliance.history"] = {"rounds": [], "earliest": 0}
    ran = run("history", "--round", "77")
    assert ran.code == 2 and "round 77 has not ended" in ran.err


def test_history__more_than_one_answer_holds(
    run: RunCommand, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long past would end at the daemon's bound."""
    monkeypatch.setattr("p2p_flock.cli.history.ROUNDS_PER_CALL", 4)
    daemon.results = Pages(sample(None, 4), sample(5, 4), sample(1, 4))
    ran = run("history", "--limit", "100", "--json")
    assert ran.code == 0, ran.err
    assert [entry["round"] for entry in json.loads(ran.out)["rounds"]] == list(reversed(range(ROUNDS)))
    assert [arguments for _, arguments in daemon.requests] == [
        {"before": None, "limit": 4}, {"before": 5, "limit": 4}, {"before": 1, "limit": 4}
    ]  # fmt: skip


def test_history__csv_has_a_column_for_each_field(run: RunCommand, daemon: FakeDaemon) -> None:
    """A spreadsheet would shift its columns."""
    daemon.results["alliance.history"] = sample()
    ran = run("history", "--csv")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert [row["round"] for row in rows] == [str(number) for number in reversed(range(ROUNDS))]
    by_round = {row["round"]: row for row in rows}
    assert by_round["4"]["outcome"] == "void" and by_round["4"]["reward_wei"] == ""
    assert by_round["3"]["outcome"] == "rejected" and by_round["3"]["votes_for"] == "2"
    assert by_round["4"]["survivors_by_cohort"] == "" and by_round["3"]["survivors_by_cohort"]
    assert all(None not in row and None not in row.values() for row in rows)


@pytest.mark.parametrize("arguments", [("--limit", "0"), ("--csv", "--json"), ("--round", "-1")])
def test_history__wrong_usage(run: RunCommand, daemon: FakeDaemon, arguments: tuple[str, ...]) -> None:
    """A typing error would be answered with something else than its cause."""
    assert run("history", *arguments).code == 2
    assert daemon.requests == []
