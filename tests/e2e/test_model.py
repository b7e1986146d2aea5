"""The history and the model of a network that runs: exported, verified, and caught when they are changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from p2p_flock.types import AllianceId
from tests.e2e.running import Testnet, running_testnet

pytestmark = pytest.mark.slow
NODES = 6
ROUNDS = 40  # it is ended before
SETTLED = 3
SECONDS_MAX = 180


def p2p_flock(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "p2p_flock.cli.main", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS_MAX)


def answer(*arguments: str | Path) -> Any:
    ran = p2p_flock(*arguments, "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def home_of(testnet: Testnet, name: str) -> Path:
    return next(Path(node["home"]) for node in testnet.network()["nodes"] if node["name"] == name)


def check_history(home: Path) -> None:
    rounds = answer("history", "--home", home)["rounds"]
    assert [entry["round"] for entry in rounds] == list(reversed(range(len(rounds))))
    settled = [entry for entry in rounds if entry["outcome"] == "settled"]
    assert settled and all(entry["reasons"] and entry["money"] is not None for entry in settled)
    whats = {found["what"] for entry in settled for found in entry["transactions"]}
    assert whats >= {"open", "seal", "commit", "settle"}
    assert sum(event["what"] == "joined" for event in rounds[-1]["events"]) == NODES
    wallet = answer("wallet", "--home", home)
    assert int(wallet["earned_total"]) >= sum(int(entry["money"]["total"]) for entry in settled)
    assert wallet["claimed_total"] == "0" and int(wallet["gas_spent_wei"]) > 0, "it joined"
    assert (
        f"Round {rounds[0]['round']}:"
        in p2p_flock("history", "--home", home, "--round", str(rounds[0]["round"])).stdout
    )


def test_model__exported_and_verified_while_the_network_runs(tmp_path: Path) -> None:
    """Nobody could use what was trained, or know that it is that."""
    with running_testnet(tmp_path, "--nodes", str(NODES), "--rounds", str(ROUNDS)) as testnet:
        home, stranger = home_of(testnet, "node0"), tmp_path / "nobody"
        testnet.wait_until(lambda: all(SETTLED in node.closed for node in testnet.nodes()))
        check_history(home)
        folder, whole = tmp_path / "model", tmp_path / "whole"
        exported = answer("model", "export", folder, "--home", home)
        number = exported["model"]["round"]
        assert number >= SETTLED - 1
        found = answer("model", "verify", folder, "--home", home)
        assert found["is_verified"] and found["round"] == number
        tensors = load_file(folder / "model.safetensors")
        assert set(tensors) == {"weight", "bias", "p2p_flock.statistics"} and np.abs(tensors["weight"]).max() > 0
        url = testnet.network()["rpc_url"]
        told = p2p_flock("model", "verify", folder, "--home", stranger, "--rpc-url", url)
        assert told.returncode == 0 and "names and shapes" in told.stdout, told.stdout + told.stderr
        testnet.kill("node0")  # neither needs a daemon
        answer("model", "export", whole, "--home", home, "--from-start")
        assert answer("model", "verify", whole, "--home", home, "--from-start")["is_verified"]
        for name in ("model.safetensors", "provenance.json"):
            changed = tmp_path / "changed"
            shutil.copytree(folder, changed)
            data = bytearray((changed / name).read_bytes())
            data[len(data) // 2] ^= 1
            (changed / name).write_bytes(bytes(data))
            told = p2p_flock("model", "verify", changed, "--home", home)
            assert told.returncode == 1 and f"{name}: it" in told.stdout, told.stdout + told.stderr
            shutil.rmtree(changed)
        this = AllianceId.parse(exported["alliance"])
        other = str(AllianceId(this.chain_id, this.factory, this.number + 1))
        assert p2p_flock("model", "verify", folder, "--home", home, "--alliance", other).returncode == 1
