"""Faults in a real network, asked for on the command line; needs no root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e.running import Testnet, processes_of, running_testnet

RUN_SECONDS_MAX = 300
NODES, ROUNDS = 7, 2  # the fewest with three validators
RESTART, RPC_DOWN, PARTITION = "restart:leader@SEAL#1,1s", "rpc-down:trainer@TRAIN#1,2s", "partition:2/5@UNMASK#2,2s"


def assert_survived(testnet: Testnet) -> dict[str, Any]:
    """Exit code 0, nothing left, every fault struck; the report."""
    assert testnet.wait(RUN_SECONDS_MAX) == 0, testnet.text()
    assert processes_of(testnet) == []
    report = testnet.read_report()
    assert report["complaints"] == [] and report["stake_lost_by_node"] == {}
    assert all(entry["outcome"] in ("settled", "voided") for entry in report["rounds"])
    for fault in report["faults"]:
        assert fault["at"] is not None and fault["nodes"], fault
        opened_at = report["rounds"][fault["round"]]["opened_at"]
        assert fault["kind"] == "clock" or fault["at"] >= opened_at
        assert f"fault {fault['fault']}" in testnet.output.read_text() or fault["kind"] == "clock"
    return report


def test_testnet__survives_a_restart_a_closed_door_and_a_cut(tmp_path: Path) -> None:
    """One node's trouble would be everybody's (P3), or a fault that was asked for would not happen."""
    faults = (word for fault in (RESTART, RPC_DOWN, PARTITION) for word in ("--fault", fault))
    options = ("--nodes", str(NODES), "--rounds", str(ROUNDS), "--cut-by", "fault-port", *faults)
    with running_testnet(tmp_path, *options) as testnet:
        report = assert_survived(testnet)
    restart, rpc_down, partition = report["faults"]
    first = report["rounds"][1]
    assert first["faults"] == [RESTART, RPC_DOWN] and report["rounds"][2]["faults"] == [PARTITION]
    assert restart["nodes"] == first["validators"][:1]
    assert set(rpc_down["nodes"]) <= set(first["trainers"])
    assert sorted(map(len, partition["groups"])) == [2, 5]
    assert report["network_faults_by"] == "fault port"
    assert report["nodes_gone"] == []
    for fault, seconds in ((restart, 1.0), (rpc_down, 2.0), (partition, 2.0)):
        assert fault["done"] - fault["at"] >= seconds
    assert set(report["rounds"][-1]["model_digest_by_node"].values()) == {report["rounds"][-1]["model_digest"]}
