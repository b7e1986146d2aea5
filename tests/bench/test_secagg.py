"""The benchmark of secure aggregation: it makes real cohorts, and what it says follows from what it measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from p2p_flock.bench import secagg_figures as figures
from p2p_flock.bench import secagg_ours
from p2p_flock.bench.secagg import is_chosen
from p2p_flock.bench.secagg_cells import QUICK_ROWS, Effort, alternate, list_cells, list_rows, make_task, summarise
from p2p_flock.bench.secagg_cohort import SEAL, contribute_all, make_answers, make_cohort
from p2p_flock.bench.secagg_environment import PINS
from p2p_flock.bench.secagg_inputs import CLIENT, Task, digest_vectors, plain_mean
from p2p_flock.bench.secagg_table import render
from p2p_flock.crypto.masking import Engine, choose_engine
from p2p_flock.secagg.answer import Answered, compute_answer
from p2p_flock.wire.messages import Unmasking

COMPLETE = Task(3000, 6, 6, 4, 1, (2,), 16)
SPARSE = Task(3000, 12, 7, 5, 0, (3,), 32)


@pytest.fixture(autouse=True)
def _engine() -> Iterator[None]:
    yield
    choose_engine(Engine.AUTO)


@pytest.mark.parametrize("task", [COMPLETE, SPARSE], ids=["complete", "sparse"])
def test_cohort__answers_are_those_that_members_give(task: Task) -> None:
    """A validator would be measured on answers that nobody gives."""
    cohort = make_cohort(task)
    contribute_all(cohort, with_vectors=False)
    said: dict[int, Unmasking] = {}
    for seat, made in cohort.made.items():
        bundles = cohort.bundles_for(seat)
        answer = compute_answer(cohort.context, made.secrets, SEAL, cohort.manifest, cohort.documents, bundles)
        assert isinstance(answer, Answered) and not answer.faults, answer
        said[seat] = answer.unmasking
    assert make_answers(cohort) == said


@pytest.mark.parametrize("task", [COMPLETE, SPARSE], ids=["complete", "sparse"])
def test_cohort__simulated_vectors_add_up_as_real_ones(task: Task) -> None:
    """Opening simulated vectors would not be opening a real cohort."""
    sums = []
    known = make_cohort(replace(task, dropouts=()))
    contribute_all(known, real_mask_bytes_max=0)
    for real_mask_bytes_max in (1 << 40, 0):
        cohort = make_cohort(task)
        contribute_all(cohort, real_mask_bytes_max=real_mask_bytes_max, known=known)
        total = np.zeros_like(cohort.total)
        for digests in cohort.chunks.values():
            total += cohort.context.ring.read(b"".join(cohort.blobs[digest] for digest in digests))
        sums.append(total)
        reused = [seat for seat, made in cohort.made.items() if made is known.made[seat]]
        assert reused == ([CLIENT] if real_mask_bytes_max else list(task.survivors[:-1]))
        assert len(cohort.blobs) == len(task.survivors), "every member has a vector of its own"
    assert np.array_equal(*sums)


def test_ours__measures_a_whole_round() -> None:
    """The parts that the tables add up would be missing, or the opened sum be wrong unseen."""
    task = COMPLETE
    assert secagg_ours.answer_inputs(task)["digest"] == digest_vectors(task)
    client = secagg_ours.answer_client(task, "plain")
    validator, server = secagg_ours.answer_validator(task), secagg_ours.answer_server(task, "plain")
    answer = secagg_ours.answer_answer(task)
    assert set(figures.CLIENT_PARTS) <= client["parts"].keys()
    assert set(figures.UNMASKING_PARTS) <= validator["parts"].keys() | server["parts"].keys()
    assert validator["masks"] == 5 + 5 and server["error_steps"] < 1
    assert answer["bytes_by_kind"]["chunks"] == 6000
    grown = secagg_ours.answer_growth(Task(500, 12, 7, 5, 0, (), 16))
    assert grown["messages"] == {"sent": 2 + 2 + 11 + 1, "received": 12}
    assert "unserved" in secagg_ours.answer_inputs(Task(10, 12, 11, 5, 0, (), 16))


def test_inputs__mean_is_of_the_survivors() -> None:
    """Both sides would be compared with another mean than they are to give."""
    task = Task(50, 4, 4, 3, 0, (1,), 16)
    vectors = [np.random.default_rng([50, index]).random(50, dtype=np.float32) for index in (0, 2, 3)]
    expected = np.mean([(vector - np.float32(0.5)) * np.float32(2e-3) for vector in vectors], axis=0)
    assert np.allclose(plain_mean(task), expected, atol=1e-9)


def test_rows__keep_the_client_and_can_be_opened() -> None:
    """A row would measure a client that dropped out, or a cohort that cannot be opened."""
    for row in (*list_rows(), *QUICK_ROWS):
        task = make_task(row)
        assert CLIENT not in task.dropouts
        assert len(task.dropouts) == round(row.members * row.dropout_percent / 100)
        assert len(task.survivors) >= task.threshold
        assert (task.holders < task.members) == (row.graph == "solver")
    names = [name for name, _ in list_cells(quick=False)]
    assert len(set(names)) == len(names) and {"client/1e6/128/solver/0%", "server/1e6/128/complete/10%"} <= set(names)


def test_rows__are_picked_by_name() -> None:
    """``--rows`` would measure everything, or nothing."""
    assert is_chosen("server/1e6/128/solver/10%", [])
    assert is_chosen("server/1e6/128/solver/10%", ["1e6/128"]) and is_chosen("growth/10", ["growth"])
    assert is_chosen("client/1e7/32/complete/0%", ["1e?/32/*/0%"])
    assert not is_chosen("server/1e6/128/solver/10%", ["1e6/12", "10%"])


def test_alternate__asks_in_turn_and_stops_what_takes_long() -> None:
    """One side would be measured while the machine was busy with something else, the other not."""
    asked: list[str] = []

    def turn(name: str) -> dict[str, Any]:
        asked.append(name)
        return {"parts": {"work": [float(len(asked)), 1.0]}, "bytes": len(asked)}

    found = alternate({name: lambda name=name: turn(name) for name in "ab"}, Effort(3, 1, 10.0, 1.0))
    assert asked == ["a", "b"] * 3
    assert summarise(found["a"])["parts"] == {"work": [3.0, 1.0]} and summarise(found["a"])["repeats"] == 3
    asked.clear()
    alternate({name: lambda name=name: turn(name) for name in "ab"}, Effort(5, 2, 0.0, 1.0))
    assert asked == ["a", "b"], "no time at all: once each"


def _side(repeats: int, **seconds: float) -> dict[str, Any]:
    samples = {name: [[value * (turn + 1), 0.0] for turn in range(repeats)] for name, value in seconds.items()}
    return {**summarise([{"parts": {name: s[turn] for name, s in samples.items()}} for turn in range(repeats)])}


def _made_up_cells() -> dict[str, Any]:
    task = Task(1_000_000, 128, 53, 41, 25, (), 16).to_json()
    sizes = {"chunks": 2_000_000, "document": 50_000, "bundles": 40_000, "messages": 10_000}
    server = {
        "task": task,
        "answer": {**_side(1, answer=0.01), "bytes_by_kind": sizes},
        "validator": {
            **_side(3, documents=1, chunk_digests=1, answer_checks=0.1, rebuild=0.1),
            "masks": 128,
        },
        "plain": _side(3, open=0.2, decode=0.1, plain_sum=0.1),
        "accelerated": _side(3, open=0.1, decode=0.1, plain_sum=0.1),
        "flower": {**_side(1, sum=1, secrets_self=38, masks_self=0.5, decode=0.5), "steps": {"sum": [1, 4]}},
        "memory": 1 << 20,
        "flower_memory": None,
    }
    client = {
        "task": task,
        "plain": _side(3, plan=0.01, mask=0.02, finish=0.01),
        "accelerated": _side(3, plan=0.01, mask=0.01, finish=0.01),
        "flower": {**_side(3, setup=0.1, share=0.6, mask=0.3, answer=0.0), "bytes": 8_000_000},
    }
    masks = {"parameters": 1_000_000, "neighbors": 100, "plain": _side(1, masks=0.05)}
    return {
        "client/1e6/128/solver/0%": client,
        "server/1e6/128/solver/10%": server,
        "masks/1e6/100/16bit": masks,
        "server/1e7/32/complete/0%": {"unserved": "too many owners"},
    }


def test_figures__follow_from_the_cells() -> None:
    """A target would be called met that was missed."""
    cells = _made_up_cells()
    name, server = "1e6/128/solver/10%", cells["server/1e6/128/solver/10%"]
    # Turn by turn: 1, 2, 3 s against 0.04, 0.08, 0.12 s and the answer's 0.01 s each time.
    assert figures.client_ratio(cells, name, "plain") == pytest.approx(2 / 0.09)
    assert figures.client_ratio(cells, name, "plain", with_answer=False) == pytest.approx(25)
    # Flower was repeated once: 40 s against the first turn's 0.3 s and the medians of checks and rebuilding.
    assert figures.unmasking_ratio(server, "plain") == pytest.approx(40 / (0.4 + 0.3))
    assert figures.unmasking_ratio(server, "accelerated") == pytest.approx(40 / (0.4 + 0.2))
    assert figures.unmasking_ratio(server, "plain", with_collecting=True) == pytest.approx(40 / (0.4 + 0.3 + 4))
    assert figures.bytes_per_parameter(server) == pytest.approx(2.1)
    found = {figure.name: figure for figure in figures.list_figures(cells)}
    masking = found["masking, u16, d ≥ 1e6, per parameter and neighbor"]
    assert masking.measured == {"plain": pytest.approx(0.5)}
    assert masking.judge(0.4, 0.5).startswith("missed (1.2") and masking.judge(0.6, 0.5).startswith("met (1.2")
    ratio = found["client CPU against Flower, d = 1e6, N = 128, solver"]
    assert ratio.judge(15, 20.0).startswith("met") and ratio.judge(50, 20.0) == "missed (2.5× off)"
    assert not any("N = 32, d = 1e7" in name for name in found), "nothing was measured there"


def test_exponent__is_that_of_a_power_law() -> None:
    """A cost that grows faster than the neighbors would pass for one that does not."""
    sizes = [10.0, 30.0, 100.0]
    assert figures.fit_exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert figures.fit_exponent([10.0], [1.0]) is None


def test_table__shows_what_was_measured_and_what_was_not() -> None:
    """A reader could not tell where, when and against what; or would miss that a row is not there."""
    head = {"commit": "abc", "date": "2026-01-01", "machine": "a machine", "cores": 2, "quick": True}
    report = {**head, "flower": "Flower 1.41.0", "accelerator": "accelerated (x)", "cells": _made_up_cells()}
    text = render(report)
    assert "Commit abc, 2026-01-01, quick run; a machine" in text and "Flower 1.41.0" in text
    line = next(line for line in text.splitlines() if line.startswith("| 1e6/128/solver/10% |") and "~" in line)
    assert "~1,000" in line, "a loop that was broken off is marked"
    assert "server/1e7/32/complete/0%: too many owners" in text
    assert render({**report, "cells": {}}).startswith("Commit abc")


def test_environment__is_pinned() -> None:
    """The comparison would be with whatever versions are newest."""
    assert PINS[0].startswith("flwr==1.41.") and all("==" in pin for pin in PINS)
