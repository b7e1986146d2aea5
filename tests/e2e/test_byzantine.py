"""Real networks with dishonest members: the honest agree and keep their stake, and the report says who did what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import running_testnet

RUN_SECONDS_MAX = 600.0
KINDS_FOR_LONG = [
    ("adaptive", "backdoor", "copies-votes"),
    ("colluder:3",),
    ("framer", "noisy-validator", "replayer"),
    ("labelflip:2", "always-yes"),
    ("never-speaks", "two-seals", "bad-bundle"),
    ("scale100", "garbage-vector", "claims-all"),
]


def run(folder: Path, *words: str) -> dict[str, Any]:
    """The report of a run that its launcher judges a success."""
    with running_testnet(folder, *words) as testnet:
        assert testnet.wait(RUN_SECONDS_MAX) == 0, testnet.text()
        report = testnet.read_report()
        text = testnet.output.read_text()
    assert "no honest node lost any of its stake" in text
    for cheat in report["byzantine"]:
        assert f"{cheat['node']} ({cheat['kind']}): " in text
    return report


def assert_honest_are_well(report: dict[str, Any]) -> None:
    """They hold one model after each round, and nobody took anything of their stake."""
    crooked = {cheat["node"] for cheat in report["byzantine"]}
    assert set(report["stake_lost_by_node"]) <= crooked
    for entry in report["rounds"]:
        told = {digest for name, digest in entry["model_digest_by_node"].items() if name not in crooked}
        assert len(told - {None}) <= 1
    assert report["complaints"] == [] and report["money"]["conserved"]


def sealed_rounds(report: dict[str, Any], node: str) -> list[dict[str, Any]]:
    """Cohorts in which the node was a sealed trainer."""
    return [cohort for entry in report["rounds"] for cohort in entry["cohorts"] if node in cohort["survivors"]]


def test_testnet__with_a_poisoner_and_an_equivocator(tmp_path: Path) -> None:
    """Dishonest members could split the honest ones, cost them stake, or go unnamed."""
    words = ("--nodes", "8", "--rounds", "2", "--byzantine", "signflip", "--byzantine", "equivocate")
    report = run(tmp_path, *words)
    assert_honest_are_well(report)
    equivocator, poisoner = sorted(report["byzantine"], key=lambda cheat: str(cheat["kind"]))
    assert (equivocator["kind"], poisoner["kind"]) == ("equivocate", "signflip")
    # It is caught in the first round in which it trains; whose validators saw both, or compared what they hold.
    trained = [entry for entry in report["rounds"] if equivocator["node"] in entry["trainers"]]
    assert equivocator["slashed_for"] == ["equivocation"] * bool(trained)
    assert (int(equivocator["lost"]) > 0) == bool(trained)
    assert (poisoner["slashed_for"], poisoner["lost"]) == ([], "0")  # what masks hide nobody can prove
    cohorts = sealed_rounds(report, poisoner["node"])
    assert poisoner["adopted"] == sum(cohort["accepted"] for cohort in cohorts)
    assert poisoner["rejected"] + poisoner["undecided"] == sum(not cohort["accepted"] for cohort in cohorts)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", KINDS_FOR_LONG, ids=" ".join)
def test_testnet__with_every_sort_of_liar(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """A lie that only real daemons, networks or contracts meet would stop a round, or strike the honest."""
    words = [word for kind in kinds for word in ("--byzantine", kind)]
    report = run(tmp_path, "--nodes", "11", "--cohorts", "2", "--rounds", "6", *words)
    assert_honest_are_well(report)
    assert sum(entry["outcome"] == "settled" for entry in report["rounds"]) >= 4
