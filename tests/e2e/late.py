"""A member that joins a running testnet late, by the commands an operator would use, and what a test asks of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p_flock.chain.devnet_deployment import read_devnet
from p2p_flock.daemon.control_client import control_call
from p2p_flock.errors import ControlError
from p2p_flock.learning.tasks.heart_data import partition_of_node, write_partition
from p2p_flock.testnet.metrics import NodeMetrics
from p2p_flock.testnet.network import NODE_ENVIRONMENT, cli
from p2p_flock.testnet.ports import choose_ports
from p2p_flock.testnet.processes import marked_environment
from tests.e2e.running import Testnet

NAME = "newcomer"
COMMAND_SECONDS_MAX = 120.0


@dataclass(slots=True)
class Newcomer:
    """A home of its own beside the run, and its daemon."""

    testnet: Testnet
    home: Path
    peer_id: str
    address: str

    def status(self) -> dict[str, Any] | None:
        """What its daemon says; ``None`` while it does not answer."""
        return status_of(self.home)

    def metrics(self) -> NodeMetrics:
        return metrics_of(self.home)

    def join(self) -> None:
        """By ID; returns once the join is in a block."""
        alliance = self.testnet.network()["alliance"]
        run(self.testnet, cli("alliance", "join", alliance, "--home", self.home, "--yes", "--no-dry-run"))


def status_of(home: Path) -> dict[str, Any] | None:
    """A daemon's ``status``; ``None`` while it does not answer."""
    try:
        return control_call(home, "status", {}, timeout_s=10.0)
    except ControlError:
        return None


def metrics_of(home: Path) -> NodeMetrics:
    """What a node wrote about its rounds, as of now."""
    metrics = NodeMetrics(home.name, home)
    metrics.refresh()
    return metrics


def run(testnet: Testnet, command: Sequence[str]) -> str:
    """A short command beside the run; what it printed."""
    result = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_SECONDS_MAX,
        env=marked_environment(testnet.directory, NODE_ENVIRONMENT),
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}\n{testnet.text()}"
    return result.stdout


def address_of(testnet: Testnet, name: str) -> str:
    """A member's multiaddr with peer ID, as its operator would tell it to a friend."""
    entry = next(node for node in testnet.network()["nodes"] if node["name"] == name)
    status = status_of(Path(entry["home"]))
    assert status is not None
    return str(status["listen_addresses"][0])


def start_newcomer(testnet: Testnet, nodes: int, bootstrap: str) -> Newcomer:
    """Make a home that knows the chain and one member's address and nothing else, fund it, start its daemon."""
    network = testnet.network()
    devnet = read_devnet(testnet.directory / "chain")
    home, data = testnet.directory / NAME, testnet.directory / "data" / f"{NAME}.csv"
    write_partition(*partition_of_node(0, nodes), int(network["seed"]) + 1, data)
    password = testnet.directory / "passwords" / NAME
    (port,) = choose_ports(1)
    printed = run(
        testnet,
        cli(
            *("init", "--home", home, "--json", "--light-keystore", "--generate-password-file", password),
            *("--rpc-url", network["rpc_url"], "--alliance", network["alliance"], "--bootstrap", bootstrap),
            *("--beacon-url", devnet.beacon_urls[0], "--beacon-scheme", "devnet"),
            *("--set", f'chain.beacon_public_key="0x{devnet.beacon_public_key.removeprefix("0x")}"'),
            *("--set", f"chain.beacon_genesis={devnet.beacon_genesis_s}"),
            *("--set", f"chain.beacon_period_seconds={devnet.beacon_period_s}"),
            *("--set", "chain.poll_interval_ms=100", "--listen-host", "127.0.0.1", "--listen-port", port),
            *("--task", network["task"], "--data-path", data, "--data-seed", network["seed"]),
        ),
    )
    made = json.loads(printed)
    faucet = [sys.executable, "-m", "p2p_flock.chain.devnet", "fund", "--directory", str(testnet.directory / "chain")]
    run(testnet, [*faucet, made["address"]])
    command = cli("node", "--home", home, "--password-file", password, "--exit-when-closed")
    with (testnet.directory / "logs" / f"{NAME}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=marked_environment(testnet.directory, NODE_ENVIRONMENT),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    testnet.restarted.append(process)
    newcomer = Newcomer(testnet, home, made["peer_id"], made["address"])
    testnet.wait_until(lambda: newcomer.status() is not None)
    return newcomer


def caught_up(testnet: Testnet, name: str) -> tuple[float, int] | None:
    """(seconds, bytes fetched) of a node's latest catching up, from its log; ``None`` before it has."""
    text = (testnet.directory / "logs" / f"{name}.log").read_text(errors="replace")
    found = re.findall(r"caught up with round \d+ in ([0-9.]+) s; fetched (\d+) bytes", text)
    return (float(found[-1][0]), int(found[-1][1])) if found else None
