"""Whoever comes late, or slept, stands where all stand, and takes part."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from p2p_flock.testnet.metrics import NodeMetrics
from tests.e2e.late import address_of, caught_up, metrics_of, start_newcomer, status_of
from tests.e2e.running import Testnet, running_testnet

NODES = 7
SLEEPER = "node6"
CATCH_UP_SECONDS_MAX = 20.0  # from the first look at the chain to the newest model, on two busy cores
RUN_SECONDS_MAX = 900.0
MANIFEST_BYTES_MAX = 16 + 112 * NODES


def rounds_closed(testnet: Testnet) -> int:
    """How many rounds the fastest node has closed."""
    return max((max(node.closed, default=-1) + 1 for node in testnet.nodes()), default=0)


def has_taken_part(metrics: NodeMetrics, first_round: int) -> bool:
    """Whether the node was sealed as a trainer, or voted to the end, in some round from ``first_round`` on, by now."""
    metrics.refresh()
    return any(
        record.round >= first_round
        and (
            (record.role == "trainer" and any(record.seat in cohort for cohort in record.survivors))
            or (record.role == "validator" and "settle" in metrics.phases.get(record.round, {}))
        )
        for record in metrics.closed.values()
    )


def assert_agrees(testnet: Testnet, metrics: NodeMetrics, first_round: int) -> None:
    """The late one holds the others' model after every round that it closed."""
    others = [node for node in testnet.nodes() if node.name not in (metrics.name, SLEEPER)]
    compared = 0
    for number, record in metrics.closed.items():
        known = {node.closed[number].model_digest for node in others if number in node.closed}
        if number >= first_round and known:
            assert known == {record.model_digest}, f"round {number}"
            compared += 1
    assert compared


def model_bytes(home: Path) -> int:
    return max(path.stat().st_size for path in (home / "models").glob("*.safetensors"))


def check_late_ones(folder: Path, rounds: int, asleep: int) -> None:
    """One member is killed, ``asleep`` rounds pass; then a stranger joins, and the member starts again."""
    with running_testnet(folder, "--nodes", str(NODES), "--rounds", str(rounds), "--spare-seats", "1") as testnet:
        testnet.wait_until(lambda: rounds_closed(testnet) >= 1)
        sleeper_home = next(Path(n["home"]) for n in testnet.network()["nodes"] if n["name"] == SLEEPER)
        testnet.kill(SLEEPER)
        slept_from = rounds_closed(testnet)
        newcomer = start_newcomer(testnet, NODES, address_of(testnet, "node1"))
        testnet.wait_until(lambda: rounds_closed(testnet) >= slept_from + asleep, RUN_SECONDS_MAX)
        joined_in = rounds_closed(testnet)
        newcomer.join()
        started_at = time.monotonic()
        testnet.restart(SLEEPER)
        testnet.wait_until(
            lambda: caught_up(testnet, SLEEPER) is not None and caught_up(testnet, newcomer.home.name) is not None
        )
        seconds = time.monotonic() - started_at
        for metrics in (newcomer.metrics(), metrics_of(sleeper_home)):
            testnet.wait_until(lambda metrics=metrics: has_taken_part(metrics, joined_in), RUN_SECONDS_MAX)
        for home in (newcomer.home, sleeper_home):
            status = status_of(home)
            assert status is not None
            assert status["rounds_behind"] <= 1
            assert status["seat"] is not None
            assert_agrees(testnet, metrics_of(home), joined_in)
        seated = [record.round for record in newcomer.metrics().closed.values() if record.seat is not None]
        assert min(seated) <= joined_in + 2  # the next to open after the join was in a block
        for name, home in ((SLEEPER, sleeper_home), (newcomer.home.name, newcomer.home)):
            told = caught_up(testnet, name)
            assert told is not None
            took, fetched = told
            print(
                json.dumps(
                    {"who": name, "behind": asleep, "seconds": took, "bytes": fetched, "all_s": round(seconds, 1)}
                )
            )
            assert took <= CATCH_UP_SECONDS_MAX
            # The model, two aggregates of half its size, and a manifest for each round.
            assert fetched <= 2 * model_bytes(home) + 4096 + MANIFEST_BYTES_MAX * (joined_in + 3)


@pytest.mark.slow
def test_late_ones__stand_where_all_stand(tmp_path: Path) -> None:
    """Nobody could join a running alliance, or come back to it."""
    check_late_ones(tmp_path, rounds=40, asleep=3)


@pytest.mark.slow
def test_late_ones__after_fifty_rounds(tmp_path: Path) -> None:
    """Catching up would cost what the past is long."""
    check_late_ones(tmp_path, rounds=90, asleep=50)
