"""One real network: daemons as processes, real mesh, real chain, real hospital data. No part is a stand-in."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from p2p_flock.testnet.processes import find_processes
from p2p_flock.types import AllianceId
from tests.e2e.dashboards import check_dashboard
from tests.e2e.running import Testnet, inspect, processes_of, running_testnet, watch

RUN_SECONDS_MAX = 300
STOP_SECONDS_MAX = 30
NODES = 6
ROUNDS = 2


def assert_all_settled_and_agreed(testnet: Testnet, nodes: int, rounds: int) -> None:
    """Every round ended with a verdict, and with one model on all nodes."""
    report = testnet.read_report()
    assert [entry["round"] for entry in report["rounds"]] == list(range(rounds + 1))
    assert report["nodes"] == nodes
    # Validators may rightly reject a round by their own data; then it settles without changing the model.
    assert any(entry["cohorts"][0]["accepted"] for entry in report["rounds"][1:])
    for entry in report["rounds"]:
        assert entry["outcome"] == "settled"
        assert set(entry["model_digest_by_node"].values()) == {entry["model_digest"]}
        assert len(entry["model_digest_by_node"]) == nodes
        assert all(gas > 0 for gas in entry["gas"].values())
        assert all(sent > 0 for sent in entry["bytes_sent_by_node"].values())
        assert entry["seconds"]["total"] >= entry["seconds"]["overhead"] > 0


def assert_rounds_are_named(testnet: Testnet, rounds: int) -> None:
    """Every line about a round carries its ID: the daemon's log, the worker's, the metrics, the transactions."""
    names = {f"a{AllianceId.parse(testnet.network()['alliance']).number}-r{number}" for number in range(rounds + 1)}
    transactions = 0
    for home in sorted(testnet.directory.glob("node?")):
        entries = [json.loads(line) for line in (home / "logs" / "node.log").read_text().splitlines()]
        of_rounds = [entry for entry in entries if entry["logger"].endswith((".driver", ".judging"))]
        of_rounds += [entry for entry in entries if entry["round"] is not None]
        assert {entry["round_id"] for entry in of_rounds} == names, home
        transactions += sum("transaction 0x" in entry["message"] for entry in of_rounds)
        worker = (home / "logs" / "worker.log").read_text().splitlines()
        told = [
            line.split()[3]
            for line in worker
            if re.search(r" (train|statistics|judge_statistics|evaluate) took ", line)
        ]
        assert told and set(told) <= names, home
        lines = [json.loads(line) for line in (home / "rounds.jsonl").read_text().splitlines()]
        assert {line["round_id"] for line in lines} == names, home
        assert all(line["round_id"].endswith(f"-r{line['round']}") for line in lines)
    assert transactions >= 3 * (rounds + 1)  # each round's seal, commitments and settlement


def test_testnet__six_nodes_two_rounds(tmp_path: Path) -> None:
    """The whole main job: elect, train, mask, seal, unmask, judge, vote, settle, agree."""
    with running_testnet(
        tmp_path, "--nodes", str(NODES), "--rounds", str(ROUNDS), "--test-mode", "save_encodings,record_sent"
    ) as testnet:
        check_dashboard(testnet)
        assert testnet.wait(RUN_SECONDS_MAX) == 0, testnet.text()
        assert processes_of(testnet) == []
        assert testnet.read_report()["dashboards"]["node0"].startswith("http://127.0.0.1:")
        assert_all_settled_and_agreed(testnet, NODES, ROUNDS)
        assert_rounds_are_named(testnet, ROUNDS)
        report = testnet.read_report()
        assert report["rounds"][0]["score_after"] is not None
        assert abs(report["final_score"] - report["plain_fedavg_score"]) <= 0.02
        readd = inspect("readd", testnet.directory)
        assert readd.returncode == 0, readd.stdout + readd.stderr
        assert readd.stdout.count("equal in all") == (ROUNDS + 1) * 2  # every round, both validators
        leakcheck = inspect("leakcheck", testnet.directory)
        assert leakcheck.returncode == 0, leakcheck.stdout + leakcheck.stderr
        secretcheck = inspect("secretcheck", testnet.directory, testnet.report, testnet.output)
        assert secretcheck.returncode == 0, secretcheck.stdout + secretcheck.stderr


def test_testnet__without_masks_leaks(tmp_path: Path) -> None:
    """The recorder and its search could be blind: without masks they must see every trainer's values."""
    with running_testnet(
        tmp_path, "--nodes", str(NODES), "--rounds", "1", "--test-mode", "save_encodings,record_sent,disable_masks"
    ) as testnet:
        assert testnet.wait(RUN_SECONDS_MAX) == 0, testnet.text()
        leakcheck = inspect("leakcheck", testnet.directory)
        assert leakcheck.returncode == 1, leakcheck.stdout + leakcheck.stderr
        for entry in testnet.read_report()["rounds"]:
            for name in entry["cohorts"][0]["survivors"]:
                assert f"{name} sent its encoding {entry['round']}-" in leakcheck.stdout
        assert "record in line" not in leakcheck.stdout  # records stay at home with or without masks


def test_testnet__interrupted_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C would leave daemons with open ports and locked homes behind."""
    with running_testnet(tmp_path, "--nodes", str(NODES), "--rounds", "5") as testnet:
        testnet.network()  # the alliance exists, so everything runs
        testnet.wait_until(lambda: (watch(testnet, "node1")["alliance"] or {"running": None})["running"] is not None)
        watched = watch(testnet, "node1")["alliance"]
        secretcheck = inspect("secretcheck", testnet.directory, testnet.output)  # while keys are in living processes
        assert secretcheck.returncode == 0, secretcheck.stdout + secretcheck.stderr
        assert watched["alliance"] == testnet.network()["alliance"] and watched["activity"] != "not_seated"
        assert "p2p-flock alliance watch --home" in testnet.text()
        assert len(processes_of(testnet)) > NODES
        testnet.process.send_signal(signal.SIGINT)
        assert testnet.wait(STOP_SECONDS_MAX) == 130, testnet.text()
        assert processes_of(testnet) == []


def test_testnet__taken_port_leaves_nothing(tmp_path: Path) -> None:
    """A port that somebody takes between our look and the daemon's bind would leave half a network behind."""
    directory = tmp_path / "run"
    program = (
        "import sys; from pathlib import Path; from p2p_flock.testnet import network; "
        "from p2p_flock.testnet.launcher import run; from p2p_flock.testnet.options import Options; "
        "network.choose_ports = lambda count: (int(sys.argv[1]),) * count; "
        "sys.exit(run(Options(directory=Path(sys.argv[2]))))"
    )
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        port = str(holder.getsockname()[1])
        result = subprocess.run(
            [sys.executable, "-c", program, port, str(directory)],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert result.returncode == 1, result.stdout + result.stderr
    assert "taken" in result.stdout
    assert find_processes(directory) == []
