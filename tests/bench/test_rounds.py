"""From a testnet's report to the figures of a round, and the tables."""

from __future__ import annotations

from typing import Any

from p2p_flock.bench.rounds import compute_medians, spread, summarise
from p2p_flock.bench.rounds_table import render

SECONDS = dict.fromkeys(("beacon", "train", "seal", "unmask", "evaluate", "commit", "settle"), 0.5)


def round_entry(number: int, *, sent: int, outcome: str = "settled") -> dict[str, Any]:
    cost = {"bytes_sent": sent, "messages_sent": {"Have": 2}, "worker_memory_peak_bytes": None}
    return {
        "round": number,
        "stage": "training" if number else "statistics",
        "outcome": outcome,
        "seconds": {**SECONDS, "total": 4.0, "overhead": 2.5},
        "role_by_node": {"node0": "trainer", "node1": "validator"},
        "cost_by_node": {"node0": cost, "node1": {**cost, "messages_sent": {}}},
        "cpu_seconds_by_kind": {"daemons": 1.0},
        "gas": {"seal": 300_000, "commit": 0},
        "transactions": [{"succeeded": True}, {"succeeded": False}],
    }


def report_of(*rounds: dict[str, Any]) -> dict[str, Any]:
    start = {"stages": {"daemons answer": 12.5}, "cpu_seconds_by_kind": {"daemons": 20.0}}
    return {"nodes": 2, "rounds": rounds, "start": start, "set_up_seconds": 0.5, "first_round_seconds": 30.0}


def test_summary__leaves_out_round_0_and_what_was_not_settled() -> None:
    """The start of the processes, or a void round's minute, would count as the price of a round."""
    figures = summarise(
        report_of(round_entry(0, sent=10**9), round_entry(1, sent=100), round_entry(2, sent=10**9, outcome="voided"))
    )
    assert figures["rounds"] == 1
    assert figures["per_node"]["trainer"]["bytes_sent"] == 100
    assert figures["all_nodes"]["bytes_sent"] == 200
    assert figures["overhead"] == {"median": 2.5, "min": 2.5, "max": 2.5}
    assert figures["wall_without_work"]["median"] == 3.0
    assert (figures["transactions"]["median"], figures["transactions_refused"]) == (1, 1)
    assert figures["first_settled_seconds"] == 30.5


def test_medians__count_a_missing_counter_as_zero() -> None:
    """One node that sent a kind of message would make it look as if all had."""
    samples: list[dict[str, Any]] = [{"messages_sent": {"Have": 2}}, {"messages_sent": {}}, {"messages_sent": {}}]
    assert compute_medians(samples) == {"messages_sent": 0, "messages_sent.Have": 0}
    assert spread([None, None]) is None


def test_tables__show_both_runs_side_by_side() -> None:
    """A comparison would hide one of its sides, or fail where only one of them knows a counter."""
    now, before = summarise(report_of(round_entry(1, sent=100))), summarise(report_of(round_entry(1, sent=900)))
    del before["per_node"]["validator"]["bytes_sent"], before["start"]["stages"]["daemons answer"]
    text = render(now, before)
    assert "900 → 100 |   0 → 100 |" in text
    assert "– → 12.50" in text
    assert len({len(line) for line in text.splitlines() if line.startswith(("| bytes", "| messages"))}) == 1
    assert "→" not in render(now)
