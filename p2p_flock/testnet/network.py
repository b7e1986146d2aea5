"""Builds the network: chain, bootstrap node, homes, daemons, alliance; every step by the commands a member would use.

Called by ``launcher.py``. Makes data directories through ``p2p-flock init`` and joins through ``p2p-flock alliance
join``; never reads a key or a password file. A step that fails says which command and the end of its log.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p_flock.chain.devnet_deployment import READY_FILE, Devnet, read_devnet
from p2p_flock.cli.alliance_terms import round_seconds_max
from p2p_flock.daemon.config import TEST_MODE_VARIABLE
from p2p_flock.daemon.control_client import control_call
from p2p_flock.daemon.control_messages import params_to_json
from p2p_flock.daemon.dashboard_files import read_url
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import ControlError, StoreError, UsageError
from p2p_flock.params import AllianceParams
from p2p_flock.store.files import write_atomic
from p2p_flock.testnet.data import write_data
from p2p_flock.testnet.options import Options
from p2p_flock.testnet.place import HERE, Place
from p2p_flock.testnet.ports import choose_ports
from p2p_flock.testnet.processes import Child, Processes, marked_environment
from p2p_flock.types import AllianceId

START_SECONDS_MAX = 300.0  # for one process to answer; twelve daemons on two cores with a load of twenty took 80
COMMAND_SECONDS_MAX = 300.0  # creating waits for a training process that starts beside all the others
POLL_SECONDS = 0.1
WORDS_SHOWN_MAX = 5  # of a command that failed: module, subcommand and home
POLL_INTERVAL_MS = 50  # of the nodes; a quarter of the default block time
LIFETIME_EXTRA_SECONDS = 600
# One thread per process: N trainers share this machine, and torch would start one per core in each of them.
NODE_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, slots=True)
class Node:
    """One member as the launcher knows it: nothing secret. ``data``: where its records lie."""

    name: str
    home: Path
    data: Path
    port: int
    address: bytes
    peer_id: str
    place: Place = HERE


@dataclass(frozen=True, slots=True)
class Network:
    """A network that runs, with its alliance."""

    devnet: Devnet
    alliance: AllianceId
    contract: bytes
    nodes: tuple[Node, ...]


def node_name(index: int) -> str:
    """What the member of this index, from 0, is called."""
    return f"node{index}"


def cli(*arguments: object) -> list[str]:
    """Command line of ``p2p-flock`` with this interpreter."""
    return [sys.executable, "-m", "p2p_flock.cli.main", *(str(argument) for argument in arguments)]


async def run_command(directory: Path, command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run a short command and return what it printed.

    Raises:
        UsageError: it failed or did not end in time; its own words are in the text.
    """
    shown = " ".join(command[2 : 2 + WORDS_SHOWN_MAX]) + " …"
    result = None
    with trio.move_on_after(COMMAND_SECONDS_MAX):
        result = await trio.run_process(
            command,
            stdin=b"",
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=directory,
            env=marked_environment(directory, environment),
            start_new_session=True,
        )
    if result is None:
        raise UsageError(f"{shown}\ndid not end within {COMMAND_SECONDS_MAX:.0f} s")
    if result.returncode != 0:
        words = (result.stderr or result.stdout).decode(errors="replace").strip()
        raise UsageError(f"{shown}\nfailed with exit code {result.returncode}: {words[-2000:]}")
    return result.stdout.decode()


async def wait_until(child: Child, is_ready: Callable[[], bool], what: str) -> None:
    """Wait for a started process to answer.

    Raises:
        UsageError: it ended, or did not answer in time; the end of its log is in the text.
    """
    deadline = time.monotonic() + START_SECONDS_MAX
    while not await trio.to_thread.run_sync(is_ready):
        if child.exit_code is not None:
            raise UsageError(f"{what} ended with exit code {child.exit_code}; {child.log} ends:\n{child.log_tail()}")
        if time.monotonic() > deadline:
            raise UsageError(f"{what} did not answer within {START_SECONDS_MAX:.0f} s; see {child.log}")
        await trio.sleep(POLL_SECONDS)


async def start_foundations(
    processes: Processes, options: Options, params: AllianceParams, bootstrap_place: Place = HERE
) -> tuple[Devnet, tuple[str, ...]]:
    """Start the local chain and, beside it, the bootstrap node; the chain's description and the node's multiaddrs.

    Raises:
        UsageError: one of them did not start.
    """
    addresses: list[str] = []

    async def bootstrap() -> None:
        addresses.extend(await start_bootstrap(processes, bootstrap_place))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bootstrap)
        devnet = await start_chain(processes, options, params)
    return devnet, tuple(addresses)


async def start_chain(processes: Processes, options: Options, params: AllianceParams) -> Devnet:
    """Start the local chain with its contracts and beacon. It ends by itself some time after the last round could.

    Raises:
        UsageError: it did not start.
    """
    directory = processes.directory / "chain"
    lifetime = math.ceil(LIFETIME_EXTRA_SECONDS + 2 * params.round_count * round_seconds_max(params))
    port, beacon_port = choose_ports(2)
    child = processes.start(
        "chain",
        [
            *(sys.executable, "-m", "p2p_flock.chain.devnet", "--directory", str(directory)),
            *("--port", str(port), "--beacon-port", str(beacon_port)),
            *("--block-time", str(options.block_time), "--lifetime-seconds", str(lifetime)),
        ],
    )
    await wait_until(child, (directory / READY_FILE).exists, "the local chain")
    return read_devnet(directory)


async def start_bootstrap(processes: Processes, place: Place = HERE) -> tuple[str, ...]:
    """Start the bootstrap node; its multiaddrs.

    Raises:
        UsageError: it did not start.
    """
    directory = processes.directory / "bootstrap"
    addresses = directory / "addresses"
    (port,) = choose_ports(1)
    child = processes.start(
        "bootstrap",
        [
            *place.prefix,
            *(sys.executable, "-m", "p2p_flock.net.bootstrap", "--data", str(directory)),
            *("--listen-host", place.host, "--listen-port", str(port), "--address-file", str(addresses)),
        ],
    )
    await wait_until(child, addresses.exists, "the bootstrap node")
    return tuple(addresses.read_text().split())


async def make_node(
    processes: Processes,
    options: Options,
    devnet: Devnet,
    bootstrap: Sequence[str],
    index: int,
    port: int,
    place: Place = HERE,
) -> Node:
    """Make a member's home with ``p2p-flock init`` and its part of the demo data.

    Raises:
        UsageError: the command failed.
    """
    environment = {TEST_MODE_VARIABLE: "1"} if options.needs_test_mode else None
    name = node_name(index)
    home = processes.directory / name
    data = processes.directory / "data" / f"{name}.csv"
    write_data(options, index, data)
    printed = await run_command(
        processes.directory,
        cli(
            *("init", "--home", home, "--json", "--light-keystore"),
            *("--generate-password-file", processes.directory / "passwords" / name),
            *("--rpc-url", place.rpc_url or devnet.rpc_url, "--chain-id", devnet.chain_id, "--factory", devnet.factory),
            *("--set", f'chain.governor="{devnet.governor}"'),
            *(word for url in devnet.beacon_urls for word in ("--beacon-url", url)),
            *("--beacon-scheme", "devnet"),
            *("--set", f'chain.beacon_public_key="0x{devnet.beacon_public_key.removeprefix("0x")}"'),
            *("--set", f"chain.beacon_genesis={devnet.beacon_genesis_s}"),
            *("--set", f"chain.beacon_period_seconds={devnet.beacon_period_s}"),
            *("--set", f"chain.poll_interval_ms={POLL_INTERVAL_MS}"),
            *("--set", "net.register_addresses=true", "--set", "dashboard.port=0"),
            *(word for address in bootstrap for word in ("--bootstrap", address)),
            *("--listen-host", place.host, "--listen-port", port),
            *("--task", options.task, "--data-path", data, "--data-seed", options.seed),
            *(word for setting in (*_test_settings(options, home), *place.settings) for word in ("--set", setting)),
        ),
        environment,
    )
    made = json.loads(printed)
    return Node(name, home, data, port, bytes.fromhex(made["address"].removeprefix("0x")), made["peer_id"], place)


def read_dashboard_url(home: Path) -> str | None:
    """Where a node's page is, without the token; ``None`` while it has none."""
    try:
        return read_url(DataDirectory(home).dashboard_url)
    except StoreError:
        return None


def _test_settings(options: Options, home: Path) -> list[str]:
    settings = {
        "save_encodings": "test.save_encodings=true",
        "record_sent": f"test.record_sent_path={home / 'recorded' / 'sent.bin'}",
        "disable_masks": "test.disable_masks=true",
    }
    chosen = [setting for name, setting in settings.items() if name in options.test_mode]
    return chosen if options.local_only else [*chosen, "learning.local_only=false"]


def node_command(directory: Path, options: Options, node: Node) -> list[str]:
    """How a member's daemon is started (and started again after a crash); a dishonest one is another program."""
    words = ["--home", node.home, "--password-file", directory / "passwords" / node.name, "--exit-when-closed"]
    command, kind = cli("node", *words), options.crooked.get(node.name)
    if kind is not None:
        crooked = ["-m", "p2p_flock.testnet.crooked_node", "--kind", kind, "--coalition", directory / "coalition"]
        command = [sys.executable, *map(str, [*crooked, *words])]
    return [*node.place.prefix, *command]


def node_environment(options: Options) -> dict[str, str]:
    """What a daemon's environment holds beside the launcher's."""
    return {**NODE_ENVIRONMENT, **({TEST_MODE_VARIABLE: "1"} if options.needs_test_mode else {})}


async def start_node(processes: Processes, options: Options, node: Node) -> None:
    """Start a member's daemon and wait until it answers on its control socket.

    Raises:
        UsageError: it ended or did not answer.
    """
    child = processes.start(node.name, node_command(processes.directory, options, node), node_environment(options))

    def answers() -> bool:
        try:
            control_call(node.home, "status", {}, timeout_s=5.0)
        except ControlError:
            return False
        return True

    await wait_until(child, answers, node.name)


async def create_alliance(
    processes: Processes, options: Options, params: AllianceParams, creator: Node
) -> tuple[AllianceId, bytes]:
    """Let one member create the alliance; its ID and contract.

    Raises:
        UsageError: the command failed.
    """
    path = processes.directory / "alliance-params.json"
    values = {name: value for name, value in params_to_json(params).items() if name != "manifest_digest"}
    path.write_text(json.dumps(values, indent=2) + "\n")
    printed = await run_command(
        processes.directory,
        cli(
            *("alliance", "create", "--home", creator.home, "--params", path, "--task", options.task),
            *("--reward-pool", params.reward_per_round * params.round_count, "--yes", "--json"),
        ),
    )
    made = json.loads(printed)
    return AllianceId.parse(made["alliance"]), bytes.fromhex(made["contract"].removeprefix("0x"))


async def join(processes: Processes, alliance: AllianceId, node: Node) -> None:
    """Let a member join with its stake.

    Raises:
        UsageError: the command failed.
    """
    # Without the dry run: a second process with torch per node, all at once on one machine, would take minutes.
    join = cli("alliance", "join", alliance, "--home", node.home, "--yes", "--no-dry-run", "--json")
    await run_command(processes.directory, join)


def write_network(directory: Path, network: Network, options: Options) -> None:
    """Describe the running network in ``network.json``, for whoever looks at it or restarts a node of it."""
    document = {
        "alliance": str(network.alliance),
        "contract": "0x" + network.contract.hex(),
        "rpc_url": network.devnet.rpc_url,
        "task": options.task,
        "partition": options.partition,
        "seed": options.seed,
        "source": None if options.data is None else str(options.data.absolute()),
        "spare_seats": options.spare_seats,
        "listen_host": options.listen_host,
        "nodes": [
            {
                "name": node.name,
                "home": str(node.home),
                "data": str(node.data),
                "address": "0x" + node.address.hex(),
                "peer_id": node.peer_id,
                "byzantine": options.crooked.get(node.name),
                "command": node_command(directory, options, node),
                "environment": node_environment(options),
            }
            for node in network.nodes
        ],
    }
    write_atomic(directory / "network.json", (json.dumps(document, indent=2) + "\n").encode())  # others wait for it
