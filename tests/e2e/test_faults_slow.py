"""Faults of network and chain on a real testnet, in namespaces where this user may make them: ``scripts/test slow``."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from p2p_flock.testnet.faults.namespaces import RUN_FOLDER, explain_unusable, run_prefix
from tests.e2e.running import Testnet, processes_of, running_testnet
from tests.e2e.test_faults import assert_survived

pytestmark = pytest.mark.slow
PARTITION = ("--fault", "partition:2/4@TRAIN#1,5s")


def namespaces_of(testnet: Testnet) -> list[str]:
    """What the run has left of its namespaces."""
    prefix = run_prefix(testnet.directory)
    return [path.name for path in RUN_FOLDER.glob(f"{prefix}*")] if RUN_FOLDER.is_dir() else []


def test_testnet__survives_a_cut_and_a_chain_in_trouble(tmp_path: Path) -> None:
    """A round would hang, or the members would end with different books."""
    faults = ("partition:3/5@TRAIN#1,20s", "reorg:3@SETTLE#1", "chain-down@UNMASK#2,10s", "clock:+5s,node3")
    words = (word for fault in (*faults, "bootstrap-down@SEAL#1") for word in ("--fault", fault))
    with running_testnet(tmp_path, "--nodes", "8", "--rounds", "3", *words) as testnet:
        report = assert_survived(testnet)
        assert namespaces_of(testnet) == []
    assert report["network_faults_by"] == ("namespaces" if explain_unusable() is None else "fault port")
    assert set(report["rounds"][-1]["model_digest_by_node"].values()) == {report["rounds"][-1]["model_digest"]}


def test_testnet__stop_removes_what_a_killed_launcher_left(tmp_path: Path) -> None:
    """Namespaces with their cables would stay on the machine until it is started again."""
    with running_testnet(tmp_path, "--nodes", "6", "--rounds", "5", *PARTITION) as testnet:
        testnet.network()
        assert bool(namespaces_of(testnet)) is (explain_unusable() is None)
        testnet.process.send_signal(signal.SIGKILL)
        testnet.process.wait()
        command = [sys.executable, "-m", "p2p_flock.testnet", "stop", str(testnet.directory)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        assert processes_of(testnet) == []
        assert namespaces_of(testnet) == []


def test_testnet__goes_on_in_namespaces_without_its_launcher(tmp_path: Path) -> None:
    """The forwarder, or the namespaces, would be a central part that dies with the launcher (P4)."""
    with running_testnet(tmp_path, "--nodes", "6", "--rounds", "1", *PARTITION) as testnet:
        testnet.wait_until(lambda: any(0 in node.closed for node in testnet.nodes()))
        testnet.process.send_signal(signal.SIGKILL)
        testnet.process.wait()
        testnet.wait_until(lambda: all(1 in node.closed for node in testnet.nodes()))
        testnet.wait_until(lambda: namespaces_of(testnet) == [])
