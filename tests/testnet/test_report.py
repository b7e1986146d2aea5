"""From chain events and metrics to the summary, the report and what the operator sees."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from p2p_flock.testnet.report import References, RunTimes, build_report, write_report
from p2p_flock.testnet.scores import build_schedule, verify_agreement
from p2p_flock.testnet.summary import RoundSummary, summarise
from p2p_flock.testnet.table import Display, NodeLine, Snapshot, epsilon_text, render, round_line
from p2p_flock.testnet.watch import RoundCall, RoundLog
from tests.testnet.makers import (
    ASSIGNMENT,
    BASE_MODEL,
    MODEL,
    NAMES,
    PARAMS,
    closed_line,
    make_node,
    nodes_of_a_round,
    settled_log,
)

# The issue's list, word for word.
REPORT_KEYS = {
    *("version", "alliance", "task", "nodes", "set_up_seconds", "first_round_seconds", "wall_seconds"),
    *("local_only_score", "pooled_score", "plain_fedavg_score", "final_score", "rounds"),
}
ROUND_KEYS = {
    *("round", "seed", "trainers", "validators", "cohorts", "model_digest", "model_digest_by_node"),
    *("score_before", "score_after", "gas", "transactions", "seconds", "bytes_sent_by_node"),
}
COHORT_KEYS = ["trainers", "survivors", "aggregate_digest", "accepted", "votes_for", "votes_against"]
SECONDS_KEYS = ["beacon", "train", "seal", "unmask", "evaluate", "commit", "settle", "total", "overhead"]
SCORES = {MODEL: 0.85, BASE_MODEL: 0.8}


def test_line__tells_what_is_spent(tmp_path: Path) -> None:
    """One would not see on the testnet what ε its rounds cost."""
    summary = summary_of(tmp_path)
    assert epsilon_text(summary) == ""
    terms = {"epsilon": 8.0, "epsilon_spent": 2.3}
    by_node = {"node0": terms, "node1": {**terms, "epsilon_spent": 3.57}}
    assert epsilon_text(replace(summary, privacy_by_node=by_node)) == ", ε 3.6 of 8"
    unbounded = {"node0": {"epsilon": None, "epsilon_spent": None}}
    assert epsilon_text(replace(summary, privacy_by_node=unbounded)) == ", ε ∞ of ∞"


def summary_of(folder: Path) -> RoundSummary:
    return summarise(settled_log(), PARAMS, nodes_of_a_round(folder))


def test_summary__divides_the_wall_time(tmp_path: Path) -> None:
    """The overhead would hide time, or count training as overhead."""
    seconds = summary_of(tmp_path).seconds
    assert (seconds.beacon, seconds.train, seconds.evaluate) == (0.5, 1.25, 0.5)
    assert (seconds.seal, seconds.unmask, seconds.commit, seconds.settle) == (1.0, 0.5, 1.0, 1.0)
    assert seconds.total == 6.0
    assert seconds.overhead == 6.0 - 0.5 - 1.25 - 0.5


def test_summary__counts_gas_of_what_succeeded(tmp_path: Path) -> None:
    """A lost race would show as the price of a round, or a second commit would be forgotten."""
    summary = summary_of(tmp_path)
    assert summary.gas == {RoundCall.SEAL: 300_000, RoundCall.COMMIT: 100_000, RoundCall.SETTLE: 200_000}
    assert len(summary.transactions) == 5


def test_summary__takes_survivors_from_the_seal(tmp_path: Path) -> None:
    """A node could claim survivors that the chain does not hold."""
    summary = summarise(settled_log(survivors=0b1101), PARAMS, nodes_of_a_round(tmp_path))
    trainers = ASSIGNMENT.trainers
    assert summary.validators == ASSIGNMENT.validators
    assert summary.cohorts[0].trainers == trainers
    assert summary.cohorts[0].survivors == (trainers[0], trainers[2], trainers[3])


def test_summary__sees_a_node_with_another_model(tmp_path: Path) -> None:
    """A fork of the model would pass for agreement."""
    nodes = nodes_of_a_round(tmp_path)
    assert summarise(settled_log(), PARAMS, nodes).agreed
    forked = make_node(tmp_path, "forked", [closed_line(model_digest=BASE_MODEL)])
    silent = make_node(tmp_path, "silent", [])
    assert not summarise(settled_log(), PARAMS, [*nodes, forked]).agreed
    assert not summarise(settled_log(), PARAMS, [*nodes, silent]).agreed


def test_summary__of_a_round_that_only_opened() -> None:
    """The live table would crash at the start of every round."""
    summary = summarise(RoundLog(settled_log().opened, 10.0), PARAMS, [])
    assert summary.cohorts == ()
    assert not summary.settled
    assert summary.seconds.total is None


def test_report__holds_every_key_of_the_issue(tmp_path: Path) -> None:
    """Whoever reads reports would miss what was promised."""
    report = build_report(
        alliance="flock:1:0x00:1",
        task="heart",
        seed=1,
        rounds=[summary_of(tmp_path)],
        names=NAMES,
        scores=SCORES,
        references=References(0.83, 0.88, 0.87, {1: 0.86}),
        times=RunTimes(1.0, 2.0, 3.0),
    )
    path = tmp_path / "deep" / "report.json"
    write_report(report, path)
    read = json.loads(path.read_text())
    assert set(read) >= REPORT_KEYS
    (written,) = read["rounds"]
    assert set(written) >= ROUND_KEYS
    assert list(written["cohorts"][0]) == COHORT_KEYS
    assert list(written["seconds"]) == SECONDS_KEYS
    assert list(written["gas"]) == ["seal", "commit", "settle"]
    assert (written["score_before"], written["score_after"], read["final_score"]) == (0.8, 0.85, 0.85)
    assert written["trainers"] == [NAMES[seat] for seat in ASSIGNMENT.trainers]
    assert sum(transaction["succeeded"] for transaction in written["transactions"]) == 4


def test_schedule__repeats_who_moved_the_model(tmp_path: Path) -> None:
    """Plain FedAvg would be compared over other trainers or other batches than the alliance's."""
    nodes = nodes_of_a_round(tmp_path)
    training = summarise(settled_log(survivors=0b0111), PARAMS, nodes)
    assert build_schedule([training], NAMES, nodes) == []  # nobody knows the statistics it stood on
    statistics_nodes = [
        make_node(tmp_path / "statistics", name, [closed_line(stage="statistics")]) for name in NAMES.values()
    ]
    statistics = summarise(settled_log(), PARAMS, statistics_nodes)
    rejected = summarise(settled_log(outcome=2), PARAMS, nodes)
    first, second = build_schedule([statistics, rejected, training], NAMES, nodes)
    assert first == {"round": 1, "trainers": list(ASSIGNMENT.trainers), "seeds": []}
    survivors = list(ASSIGNMENT.trainers[:3])
    assert second == {"round": 1, "trainers": survivors, "seeds": [100 + seat for seat in survivors]}


def test_agreement__is_checked_in_the_stores(tmp_path: Path) -> None:
    """Nodes could report a model that they do not hold."""
    nodes = nodes_of_a_round(tmp_path)
    complaints = verify_agreement({node.name: node.home for node in nodes}, summarise(settled_log(), PARAMS, nodes))
    assert len(complaints) == len(nodes)
    assert all("does not hold" in complaint for complaint in complaints)


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return Snapshot(
        title="flock:84530:0x00:1",
        phase="round 1 trains; block 9",
        nodes=[NodeLine("node0", "trainer", "train", ""), NodeLine("node1", "", "", "ended (-9)")],
        rounds=[summary_of(tmp_path), summarise(RoundLog(settled_log().opened, 10.0), PARAMS, [])],
        names=NAMES,
        scores=SCORES,
        seconds=12.0,
    )


def test_table__shows_rounds_and_nodes(snapshot: Snapshot) -> None:
    """The operator would not see who does what, or that a node died."""
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render(snapshot))
    text = console.export_text()
    for expected in ("4/4", "2:0 adopted", ".800 → .850", "300/100/200", "6.0", "3.8", "ended (-9)", "train", "12 s"):
        assert expected in text


def test_line__tells_a_round(snapshot: Snapshot) -> None:
    """A log or a pipe would show nothing of the rounds."""
    line = round_line(snapshot.rounds[0], snapshot)
    assert line.startswith("round 1 (training): trainers ")
    assert line.endswith("score .800 → .850, gas k 300/100/200, 6.0 s of which 3.8 s overhead")


def test_line__waits_for_the_settlement(snapshot: Snapshot) -> None:
    """A round's line would lack votes and gas where the nodes know its end before we read the chain."""
    text = io.StringIO()
    display = Display(Console(width=200, file=text))
    whole = snapshot.rounds[0]
    for early in (replace(whole, settled=False), replace(whole, gas={**whole.gas, RoundCall.SETTLE: 0})):
        display.show(replace(snapshot, rounds=[early]))
        assert "round 1" not in text.getvalue()
    display.show(snapshot)
    display.show(snapshot)
    assert text.getvalue().count("round 1 (training)") == 1
