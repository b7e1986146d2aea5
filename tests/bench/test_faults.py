"""From a testnet's report to what each fault cost, and the tables."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from p2p_flock.bench.faults import join
from p2p_flock.bench.faults_cells import (
    GRACE_SECONDS,
    PHASES,
    ROLES,
    ROUNDS_PER_CELL,
    WARM_UP_ROUNDS,
    WAYS,
    Cell,
    CellResult,
    Plan,
    all_cells,
    choose_cells,
    compute_undisturbed,
    make_plans,
    read_cells,
)
from p2p_flock.bench.faults_run import Run, describe_command, run_testnet
from p2p_flock.bench.faults_scenarios import SCENARIOS, VOIDS, choose_scenarios, judge_run
from p2p_flock.bench.faults_table import render
from p2p_flock.errors import UsageError
from p2p_flock.testnet.faults.grammar import FaultPhase, TargetKind, parse_fault, validate_faults
from p2p_flock.testnet.options import alliance_params

PARAMS = alliance_params(8, 10)
NODES = tuple(f"node{index}" for index in range(8))
CELL = Cell("freeze", "leader", "SEAL")
PLAN = Plan((CELL, Cell("kill", "trainer", "TRAIN")))
FIRST, SECOND = WARM_UP_ROUNDS + 1, WARM_UP_ROUNDS + 1 + ROUNDS_PER_CELL
LAST = FIRST + 3  # the freeze lasts ten seconds, two short rounds overlap with it


def entry(number: int, seconds: float = 4.0, outcome: str = "settled", **digests: str | None) -> dict[str, Any]:
    told: dict[str, str | None] = dict.fromkeys(NODES, f"0x{number}")
    return {
        "round": number, "outcome": outcome, "stage": "training" if number else "statistics",
        "seconds": {"total": seconds}, "opened_at": 1000.0 + 4.0 * number, "model_digest_by_node": {**told, **digests},
        "trainers": list(NODES[3:]), "validators": list(NODES[:3]),
    }  # fmt: skip


def report_of(*changed: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Everything settled in 4 s, round 0 in a minute, faulted rounds in 9 s; both faults struck and lasted ten seconds.

    Rounds open every four seconds, whatever they took.
    """
    lengths = {0: 60.0, FIRST: 9.0, SECOND: 9.0}
    rounds = {number: entry(number, lengths.get(number, 4.0)) for number in range(PLAN.rounds + 1)}
    rounds.update({each["round"]: each for each in changed})
    faults = [
        {
            "fault": text, "round": number, "at": 1.0, "nodes": ["node1"],
            "done": 1000.0 + 4.0 * number + (10.0 if text.startswith("freeze") else 4.0),
        }
        for number, text in zip(PLAN.struck, PLAN.faults(), strict=True)
    ]  # fmt: skip
    report = {"nodes": 8, "rounds": list(rounds.values()), "faults": faults, "stake_lost_by_node": {}, "complaints": []}
    return {**report, **more}


def first(report: dict[str, Any]) -> CellResult:
    return read_cells(report, PLAN, PARAMS)[0]


def test_grid__is_every_role_in_every_phase_in_every_way() -> None:
    """A cell would never be measured, or what is measured not be what the testnet understands."""
    assert len(all_cells()) == len(set(all_cells())) == len(ROLES) * len(PHASES) * len(WAYS)
    assert set(PHASES) == {phase.value for phase in FaultPhase} and set(ROLES) <= {kind.value for kind in TargetKind}
    for plan in make_plans(all_cells(), 18):
        faults = [parse_fault(text) for text in plan.faults()]
        validate_faults(faults, 8, plan.rounds)
        assert all(fault.ends for fault in faults), "the next cell has all nodes"


def test_plan__faulted_and_undisturbed_rounds_in_turn() -> None:
    """A fault's round would be measured against another one's."""
    for plan in make_plans(all_cells(), 18):
        assert len(plan.cells) == 18
        struck = sorted(plan.struck)
        assert struck[0] > WARM_UP_ROUNDS and {b - a for a, b in pairwise(struck)} == {ROUNDS_PER_CELL}
        assert plan.rounds == struck[-1] + ROUNDS_PER_CELL - 1
    assert [len(plan.cells) for plan in make_plans(all_cells()[:5], 2)] == [2, 2, 1]
    assert make_plans((), 18) == []


def test_cells__are_chosen_by_words() -> None:
    """Somebody who repeats one cell would wait for all of them, or measure none."""
    assert choose_cells([]) == all_cells() and choose_cells(["freeze:leader@SEAL"]) == (CELL,)
    assert len(choose_cells(["kill:leader", "freeze:leader"])) == 2 * len(PHASES)
    with pytest.raises(UsageError, match="fits no cell"):
        choose_cells(["leader@LUNCH"])


def test_result__is_what_was_lost_against_the_runs_own_median() -> None:
    """The first round's cold start, or one in which the node was still away, would be the measure."""
    report = report_of(entry(1, 30.0), entry(FIRST + 1, 30.0))
    assert compute_undisturbed(report, PLAN) == [4.0] * 8
    result = first(report)
    assert (result.outcome, result.lost_seconds, result.next_lost_seconds) == ("settled", 5.0, 0.0)
    good = first(report_of())
    assert good.keeps_p3 and good.is_agreed and good.is_good and good.nodes == ("node1",)


def test_overlap__lasts_until_a_killed_node_works_again() -> None:
    """A node whose process loads its libraries would count as there, or one that is never called upon as away."""
    report = report_of()
    kill = report["faults"][1]
    assert len(read_cells(report, PLAN, PARAMS)[1].overlaps) == 2, "eight seconds after a start in the struck round"
    kill["back"] = kill["done"] + 15.0
    assert len(read_cells(report, PLAN, PARAMS)[1].overlaps) == 4


def test_overlap__is_judged_by_what_the_node_was_in_it() -> None:
    """A stopped node that is drawn again would break P3 by being away; or every round after a fault be excused."""
    (one, two), another = first(report_of(entry(FIRST + 1, 12.0))).overlaps, first(report_of(entry(LAST, 12.0)))
    assert (one.round, one.role, one.lost_seconds, one.is_good) == (FIRST + 1, "validator", 8.0, True)
    assert two.round == FIRST + 2 and not another.keeps_p3 and another.next_lost_seconds == 8.0
    as_trainer = {**entry(FIRST + 1, 38.0), "trainers": ["node1"], "validators": []}
    away = {**entry(FIRST + 1, 16.0), "trainers": [], "validators": []}
    assert first(report_of(as_trainer)).keeps_p3 and not first(report_of(entry(FIRST + 1, 38.0))).keeps_p3
    assert not first(report_of(away)).keeps_p3 and first(report_of(away)).overlaps[0].role == "none"


@pytest.mark.parametrize(
    ("changed", "is_agreed", "keeps_p3"),
    [
        (entry(FIRST, 4.0 + 5.0 + GRACE_SECONDS + 2.1), True, False),
        (entry(FIRST, outcome="voided"), True, False),
        (entry(FIRST, node1=None), True, True),
        (entry(FIRST, node1="0xother"), False, True),
        (entry(LAST, node1=None), False, True),
        (entry(LAST, outcome="voided"), True, False),
        (entry(FIRST + 1, outcome="voided"), True, False),
    ],
    ids=["too long", "void", "away", "another model", "still away", "next is void", "overlap is void"],
)
def test_result__tells_what_does_not_hold(changed: dict[str, Any], is_agreed: bool, keeps_p3: bool) -> None:
    """A fault that breaks a promise would pass."""
    result = first(report_of(changed))
    assert (result.is_agreed, result.keeps_p3) == (is_agreed, keeps_p3)
    assert result.is_good == (is_agreed and keeps_p3)


def test_result__lost_stake_and_missed_faults_are_no_success() -> None:
    """A fault that never struck would count as survived, and a slashed node as none."""
    assert not first(report_of(stake_lost_by_node={"node1": "5"})).is_good
    missed = report_of()
    missed["faults"][0]["at"] = None
    assert first(missed).outcome == "missed" and not first(missed).is_good
    assert first({**report_of(), "rounds": []}).outcome == "missed"


def test_allowed__is_one_timeout_and_what_it_takes_to_notice() -> None:
    """P3 would be judged by another phase's timeout."""
    allowed = {cell.name: cell.allowed_seconds(PARAMS) - GRACE_SECONDS for cell in all_cells()}
    assert allowed["kill:trainer@TRAIN"] == PARAMS.train_seconds
    assert allowed["kill:trainer@UNMASK"] == PARAMS.unmask_seconds
    assert allowed["restart:leader@SEAL"] == allowed["kill:validator@SETTLE"] == 5


def figures_of(report: dict[str, Any]) -> dict[str, Any]:
    cells = [result.describe() for result in read_cells(report, PLAN, PARAMS)]
    run = {"rounds": 8, "undisturbed": [4.0, 4.5], "median": 4.25, "seconds": 99.0, "stake_lost": "0", "complaints": []}
    head = {"command": "scripts/bench faults", "date": "2026-11-23", "commit": "abc", "machine": "a machine"}
    return {**head, "runs": [run], "cells": cells, "scenarios": []}


def test_table__shows_what_does_not_hold() -> None:
    """A reader would find only what went well."""
    good = render(figures_of(report_of()), remark="It was a busy machine.")
    assert "It was a busy machine." in good
    assert "**2 of 2 cells hold; 2 rounds settled, 2 on one digest, 0 FLOCK wei" in good
    assert "+5.0 (10.5)" in good and "+0.0v, +0.0v, +0.0" in good and "do not hold" not in good
    text = render(figures_of(report_of(entry(FIRST, 90.0), entry(SECOND, outcome="voided"))))
    assert "**+86.0 (10.5)**" in text and "it lost 86.0 s where 10.5 s are due" in text and "**voided**" in text


def test_join__the_last_measurement_of_a_cell_counts() -> None:
    """A repeated cell would stand twice in the table, or in vain."""
    before, after = figures_of(report_of(entry(FIRST, 90.0))), figures_of(report_of())
    joined = join([before, after])
    assert len(joined["cells"]) == 2 and len(joined["runs"]) == 2 and joined["cells"] == after["cells"]
    assert joined["command"] == ["scripts/bench faults"] and joined["commit"] == "abc"
    assert render(join([joined, after])).count("`scripts/bench faults`") == 1


def test_command__is_without_the_places_that_only_this_machine_has() -> None:
    """A table would tell where somebody keeps files, and a reader could not repeat it."""
    words = ["--cells", "kill:", "--json", "/here/a.json", "--keep", "/here/kept", "--seconds", "9"]
    assert describe_command("faults", words) == "scripts/bench faults --cells kill: --seconds 9"


# --- beside the grid ---------------------------------------------------------------------------------------------


def test_scenarios__speak_the_testnets_language() -> None:
    """A scenario would end with a usage error after half an hour of grid."""
    for scenario in SCENARIOS:
        validate_faults([parse_fault(text) for text in scenario.faults], 8, scenario.rounds)
        assert scenario.arguments(8)[:4] == ["--nodes", "8", "--rounds", str(scenario.rounds)]
    assert choose_scenarios(["all"]) == SCENARIOS and choose_scenarios(["none"]) == ()
    with pytest.raises(UsageError, match="there is no scenario"):
        choose_scenarios(["lunch"])


def run_of(report: dict[str, Any] | None, is_late: bool = False) -> Run:
    return Run("scripts/testnet", 0, 100.0, is_late, report)


@pytest.mark.parametrize(
    ("name", "report", "is_good"),
    [
        ("all-killed", report_of(), True),
        ("all-killed", report_of(entry(2, outcome="voided")), True),
        ("all-killed", report_of(entry(PLAN.rounds, outcome="voided")), False),
        ("all-killed", report_of(complaints=["node1 still ran"]), False),
        ("bootstrap-down", report_of(entry(2, outcome="voided")), False),
        ("two-gone", report_of(), False),
        ("two-gone", report_of({**entry(PLAN.rounds), "trainers": list(NODES[3:6])}), True),
        ("disk-full", report_of(), False),
        ("disk-full", report_of(entry(3, node3=None), complaints=["node3 ended with exit code 1; see"]), True),
        ("disk-full", report_of(entry(3, node4=None), complaints=["node3 ended with exit code 1; see"]), False),
        ("half-gone", None, False),
        ("half-gone", report_of(money={}), False),
        ("half-gone", report_of(*(entry(PLAN.rounds - i, outcome="voided") for i in range(VOIDS)), money={}), True),
        ("half-gone", report_of(*(entry(PLAN.rounds - i, outcome="voided") for i in range(VOIDS)), money=None), False),
    ],
)
def test_scenario__is_judged_by_what_it_asks(name: str, report: dict[str, Any] | None, is_good: bool) -> None:
    """An alliance that does not recover would count as one that does."""
    (scenario,) = choose_scenarios([name])
    judged = judge_run(scenario, run_of(report))
    assert judged["is_good"] is is_good, judged["complaints"]
    assert not judge_run(scenario, run_of(report, is_late=True))["is_good"], "it hung"
    assert scenario.title in render({**figures_of(report_of()), "scenarios": [judged]})


def test_run__a_testnet_that_refuses_is_a_result(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An hour of cells would be lost with the first testnet that fails."""
    kept = tmp_path / "kept"
    run = run_testnet(["--nodes", "1"], 60.0, kept=kept)
    assert (run.exit_code, run.report, run.is_late) == (1, None, False)
    assert "--nodes 1" in capfd.readouterr().err and run.command == "scripts/testnet --nodes 1"
    assert len(list(kept.iterdir())) == 1, "what went wrong could not be looked up"
