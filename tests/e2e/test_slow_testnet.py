"""Longer runs of the real network, by name: ``scripts/test slow``."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p_flock.chain.client import RpcClient
from p2p_flock.testnet.options import alliance_params
from p2p_flock.testnet.summary import node_names, summarise
from p2p_flock.testnet.watch import RoundLog, Watch
from tests.e2e.running import Testnet, inspect, processes_of, running_testnet
from tests.e2e.test_testnet import RUN_SECONDS_MAX, assert_all_settled_and_agreed

pytestmark = pytest.mark.slow
NODES = 8


def assert_one_model(testnet: Testnet, rounds: int) -> None:
    """Every node closed every round with the same model."""
    for number in range(rounds + 1):
        digests = {node.closed[number].model_digest for node in testnet.nodes()}
        assert len(digests) == 1, f"round {number}: {digests}"


def test_testnet__goes_on_without_its_launcher(tmp_path: Path) -> None:
    """The launcher would be a central part (P4)."""
    rounds = 3
    with running_testnet(tmp_path, "--nodes", "6", "--rounds", str(rounds)) as testnet:
        testnet.network()
        testnet.wait_until(lambda: any(0 in node.closed for node in testnet.nodes()))
        testnet.process.send_signal(signal.SIGKILL)
        testnet.wait_until(lambda: all(rounds in node.closed for node in testnet.nodes()))
        assert_one_model(testnet, rounds)
        # The daemons end by themselves; chain and bootstrap node stay until stopped or until their time is over.
        testnet.wait_until(lambda: len(processes_of(testnet)) <= 3)


def test_testnet__trains_in_a_packed_ring(tmp_path: Path) -> None:
    """Sums of packed words would not open between real nodes, or nobody would adopt them."""
    rounds = 3
    options = ("--nodes", "6", "--rounds", str(rounds), "--lane-bits", "20", "--test-mode", "save_encodings")
    with running_testnet(tmp_path, *options) as testnet:
        assert testnet.wait(RUN_SECONDS_MAX) == 0, testnet.text()
        assert_all_settled_and_agreed(testnet, 6, rounds)
        added = inspect("readd", testnet.directory)
        assert added.returncode == 0, added.stdout


async def follow(watch: Watch, is_reached: Callable[[RoundLog], bool], seconds_max: float = 120.0) -> RoundLog:
    """Poll the chain until ``is_reached(newest round)``; that round."""
    with trio.fail_after(seconds_max):
        while True:
            await watch.poll()
            if watch.view.rounds:
                newest = watch.view.rounds[max(watch.view.rounds)]
                if is_reached(newest):
                    return newest
            await trio.sleep(0.01)


async def test_testnet__two_trainers_killed_at_the_worst_moments(tmp_path: Path) -> None:
    """A crash would stall the round, or the restarted node would not find back (P3, P8)."""
    rounds = 6
    with running_testnet(tmp_path, "--nodes", str(NODES), "--rounds", str(rounds)) as testnet:
        document = await trio.to_thread.run_sync(testnet.network)
        addresses = {bytes.fromhex(node["address"][2:]): node["name"] for node in document["nodes"]}
        client = RpcClient([document["rpc_url"]])
        watch = Watch(client, bytes.fromhex(document["contract"][2:]), from_block=0)
        # A trainer dies as soon as the beacon has made it one, before it can contribute.
        await follow(watch, lambda newest: newest.opened.round == 2)
        early = await kill_fresh_trainer(testnet, 2)
        # A survivor dies after the seal, two confirmations before it would unmask.
        log = await follow(watch, lambda newest: newest.opened.round >= 2 and newest.sealed is not None)
        names = node_names(watch.view.owners, addresses)
        survivors = summarise(log, alliance_params(NODES, rounds), []).cohorts[0].survivors
        late_round, late = log.opened.round, next(names[seat] for seat in survivors if names[seat] != early)
        testnet.kill(late)
        await follow(watch, lambda newest: newest.opened.round > late_round)
        client.close()
        for name in (early, late):
            testnet.restart(name)
        exit_code = await trio.to_thread.run_sync(testnet.wait, 400)
        assert exit_code == 0, testnet.text()
        assert_survivors_are_right(testnet.read_report()["rounds"], early, late, late_round)


async def kill_fresh_trainer(testnet: Testnet, round_number: int) -> str:
    """Kill the first node that says it is a trainer of this round; its name."""
    with trio.fail_after(60):
        while True:
            for node in testnet.nodes():
                record = node.phases.get(round_number, {}).get("beacon")
                if record is not None and record.role == "trainer":
                    testnet.kill(node.name)
                    return node.name
            await trio.sleep(0.005)


def assert_survivors_are_right(rounds: list[dict[str, Any]], early: str, late: str, late_round: int) -> None:
    for entry in rounds:
        assert entry["outcome"] == "settled"
        assert set(entry["model_digest_by_node"].values()) == {entry["model_digest"]}
    cohort = rounds[2]["cohorts"][0]
    assert early in cohort["trainers"]
    assert early not in cohort["survivors"]
    assert len(cohort["survivors"]) == len(cohort["trainers"]) - 1
    assert late in rounds[late_round]["cohorts"][0]["survivors"]
    after = rounds[late_round + 1 :]
    took_part = {name for entry in after for name in entry["validators"] + entry["cohorts"][0]["survivors"]}
    assert {early, late} <= took_part


def test_testnet__second_start_in_a_taken_directory(tmp_path: Path) -> None:
    """Two networks in one folder would mix their members' homes."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "something").touch()
    with running_testnet(tmp_path, "--nodes", "6") as testnet:
        assert testnet.wait(60) == 1
        assert "not empty" in testnet.output.read_text()


def test_heart__twenty_rounds_five_seeds(tmp_path: Path) -> None:
    """Secure aggregation or the votes would cost accuracy against plain FedAvg on the same schedule."""
    rounds, scores = 20, []
    for seed in range(1, 6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with running_testnet(folder, "--nodes", str(NODES), "--rounds", str(rounds), "--seed", str(seed)) as testnet:
            assert testnet.wait(1200) == 0, testnet.text()
            assert_all_settled_and_agreed(testnet, NODES, rounds)
            report = testnet.read_report()
        assert sum(entry["cohorts"][0]["accepted"] for entry in report["rounds"]) >= 0.8 * (rounds + 1)
        assert abs(report["final_score"] - report["plain_fedavg_score"]) <= 0.005
        scores.append(report["final_score"])
        summary = {
            key: report[key] for key in ("final_score", "plain_fedavg_score", "pooled_score", "local_only_score")
        }
        print(json.dumps({"seed": seed, **summary, "at": time.time(), "load": os.getloadavg()[0]}))
    assert sum(scores) / len(scores) >= 0.86
