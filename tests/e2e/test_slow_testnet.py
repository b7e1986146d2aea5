"""Longer runs of the real network, by name: ``scripts/test slow``."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import trio

from p2p_flock.chain.client import RpcClient
from p2p_flock.testnet.options import alliance_params
from p2p_flock.testnet.summary import RoundSummary, node_names, summarise
from p2p_flock.testnet.watch import RoundLog, Watch
from tests.e2e.running import Testnet, processes_of, running_testnet
from tests.e2e.test_testnet import assert_all_settled_and_agreed

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


async def follow(testnet: Testnet, watch: Watch, is_reached: object, seconds_max: float = 120.0) -> RoundLog:
    """Poll the chain until ``is_reached(newest round)``; that round."""
    assert callable(is_reached)
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
    params = alliance_params(NODES, rounds)
    with running_testnet(tmp_path, "--nodes", str(NODES), "--rounds", str(rounds)) as testnet:
        document = await trio.to_thread.run_sync(testnet.network)
        addresses = {bytes.fromhex(node["address"][2:]): node["name"] for node in document["nodes"]}
        watch = Watch(RpcClient([document["rpc_url"]]), bytes.fromhex(document["contract"][2:]), from_block=0)
        # Round 2: a trainer dies as soon as the beacon has made it one, before it can contribute.
        log = await follow(testnet, watch, lambda newest: newest.opened.round == 2)
        names = node_names(watch.view.owners, addresses)
        early, killed_round = await _kill_fresh_trainer(testnet, log.opened.round)
        # Same or next round: a survivor dies after the seal, two confirmations before it would unmask.
        log = await follow(
            testnet, watch, lambda newest: newest.opened.round >= killed_round and newest.sealed is not None
        )
        late_round = log.opened.round
        summary = summarise(log, params, [])
        late = next(names[seat] for seat in summary.cohorts[0].survivors if names[seat] != early)
        testnet.kill(late)
        await follow(testnet, watch, lambda newest: newest.opened.round > late_round)
        for name in (early, late):
            testnet.restart(name)
        await trio.to_thread.run_sync(testnet.wait, 400)
        await watch.poll()
        summaries = {number: summarise(log, params, testnet.nodes()) for number, log in watch.view.rounds.items()}
        _assert_survivors(summaries, names, early, killed_round, late, late_round)
        assert testnet.process.returncode == 0, testnet.text()
        assert_all_settled_and_agreed_despite_kills(testnet)


async def _kill_fresh_trainer(testnet: Testnet, round_number: int) -> tuple[str, int]:
    """Kill the first node that says it is a trainer of this round; its name and the round."""
    while True:
        for node in testnet.nodes():
            record = node.phases.get(round_number, {}).get("beacon")
            if record is not None and record.role == "trainer":
                testnet.kill(node.name)
                return node.name, round_number
        await trio.sleep(0.005)


def _assert_survivors(
    summaries: dict[int, RoundSummary], names: dict[int, str], early: str, early_round: int, late: str, late_round: int
) -> None:
    survivors = [names[seat] for seat in summaries[early_round].cohorts[0].survivors]
    assert early not in survivors
    assert late in [names[seat] for seat in summaries[late_round].cohorts[0].survivors]
    assert summaries[late_round].settled
    assert summaries[late_round].adopted
    after = [summary for number, summary in summaries.items() if number > late_round]
    took_part = {names[seat] for s in after for cohort in s.cohorts for seat in cohort.survivors}
    judged = {names[seat] for s in after for seat in s.validators if s.settled}
    assert {early, late} <= took_part | judged


def assert_all_settled_and_agreed_despite_kills(testnet: Testnet) -> None:
    for entry in testnet.read_report()["rounds"]:
        assert entry["outcome"] == "settled"
        assert set(entry["model_digest_by_node"].values()) == {entry["model_digest"]}


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
        assert abs(report["final_score"] - report["plain_fedavg_score"]) <= 0.005
        scores.append(report["final_score"])
        summary = {
            key: report[key] for key in ("final_score", "plain_fedavg_score", "pooled_score", "local_only_score")
        }
        print(json.dumps({"seed": seed, **summary, "at": time.time(), "load": os.getloadavg()[0]}))
    assert sum(scores) / len(scores) >= 0.86
