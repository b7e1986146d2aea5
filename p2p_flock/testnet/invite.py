"""``scripts/testnet invite DIR``: a further member for a network that runs, on this machine or on another.

Here it makes a home as ``p2p-flock init`` does, with a share of the demo's data that no other member holds, and funds
its account. For another machine it makes nothing but that share: it prints what to type there, so that keys are made
where they are used, and funds the account afterwards. Called by ``__main__.py``. Starts nothing and joins nothing: that
is what the newcomer is to do.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import trio

from p2p_flock.chain.devnet_deployment import Devnet, fund, read_devnet
from p2p_flock.errors import UsageError
from p2p_flock.testnet.data import write_data
from p2p_flock.testnet.network import POLL_INTERVAL_MS, cli, run_command
from p2p_flock.testnet.options import Options
from p2p_flock.testnet.place import LOOPBACK, validate_listen_host
from p2p_flock.testnet.ports import choose_ports
from p2p_flock.types import ADDRESS_BYTES

NETWORK_BYTES_MAX = 1 << 20
NAME = "newcomer"


@dataclass(frozen=True, slots=True)
class RunningNetwork:
    """What is known of a network that runs in ``directory``; nothing secret."""

    directory: Path
    alliance: str
    devnet: Devnet
    bootstrap: tuple[str, ...]
    options: Options

    def share_path(self, number: int) -> Path:
        """Where the data of the ``number``-th newcomer, from 1, lies."""
        return self.directory / "data" / f"{NAME}{number}.csv"


def read_running(directory: Path) -> RunningNetwork:
    """The network that ``scripts/testnet --directory DIR`` runs.

    Raises:
        UsageError: none runs there, or its alliance does not exist yet.
    """
    directory = directory.resolve()
    try:
        with (directory / "network.json").open("rb") as file:
            document = json.loads(file.read(NETWORK_BYTES_MAX))
        bootstrap = tuple((directory / "bootstrap" / "addresses").read_text().split())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"No network with an alliance runs in {directory}. Start one, and wait until all have joined: "
            f"scripts/testnet --directory {directory} --spare-seats 1 --until-stopped"
        ) from error
    options = Options(
        nodes=len(document["nodes"]),
        spare_seats=document["spare_seats"],
        task=document["task"],
        partition=document["partition"],
        seed=document["seed"],
        data=None if document["source"] is None else Path(document["source"]),
        listen_host=document["listen_host"],
    )
    return RunningNetwork(directory, document["alliance"], read_devnet(directory / "chain"), bootstrap, options)


def take_share(network: RunningNetwork, file: Path | None) -> tuple[int, Path]:
    """Number of the next newcomer, from 1, and where its data is: ``file``, or a share of the demo's.

    Raises:
        UsageError: all spare seats have their newcomer, or there is no such file.
    """
    seats = network.options.spare_seats
    taken = sum(network.share_path(number).exists() for number in range(1, seats + 1))
    if taken == seats:
        raise UsageError(
            f"All {seats} spare seats of {network.directory} have their newcomer. "
            "Start another network, with more --spare-seats."
        )
    number = taken + 1
    path = network.share_path(number)
    if file is None:
        write_data(network.options, network.options.nodes + taken, path)
        path.chmod(0o600)
        return number, path
    if not file.is_file():
        raise UsageError(f"--data {file}: there is no such file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, path)
    path.chmod(0o600)  # records are nobody else's business, also in a demo; `doctor` says so
    return number, path


def init_words(network: RunningNetwork, data: Path, host: str, port: int | None) -> list[str]:
    """Arguments of ``p2p-flock init`` for a newcomer, home and password aside."""
    devnet = network.devnet
    return [
        *("--alliance", network.alliance, "--rpc-url", devnet.rpc_url),
        *(word for url in devnet.beacon_urls for word in ("--beacon-url", url)),
        *(
            "--beacon-scheme",
            "devnet",
            "--set",
            f'chain.beacon_public_key="0x{devnet.beacon_public_key.removeprefix("0x")}"',
        ),
        *("--set", f"chain.beacon_genesis={devnet.beacon_genesis_s}"),
        *("--set", f"chain.beacon_period_seconds={devnet.beacon_period_s}"),
        *("--set", f"chain.poll_interval_ms={POLL_INTERVAL_MS}", "--set", "dashboard.port=0"),
        *("--set", f'chain.governor="{devnet.governor}"', "--set", "net.register_addresses=true"),
        *(word for address in network.bootstrap for word in ("--bootstrap", address)),
        *("--listen-host", host, *(() if port is None else ("--listen-port", str(port)))),
        *("--task", network.options.task, "--data-path", str(data), "--data-seed", str(network.options.seed)),
    ]


def invite_here(network: RunningNetwork, home: Path | None, file: Path | None, host: str) -> str:
    """Make and fund a home on this machine; what to do next.

    Raises:
        UsageError: no seat is left, or the home is there already. ChainError: the account could not be funded.
    """
    number, data = take_share(network, file)
    name = f"{NAME}{number}"
    home = (home or network.directory / name).absolute()
    password = network.directory / "passwords" / name
    (port,) = choose_ports(1)
    command = cli(
        *("init", "--home", home, "--json", "--light-keystore", "--generate-password-file", password),
        *init_words(network, data, host, port),
    )
    try:
        made = json.loads(trio.run(run_command, network.directory, command))
    except UsageError:
        data.unlink()  # else its seat would count as given away
        raise
    fund_account(network, made["address"])
    at = f"--home {shlex.quote(str(home))}"
    return (
        f"Made a member in {home}, with a share of the data, ETH and FLOCK. Next, in a second terminal:\n"
        f"  p2p-flock node {at} --password-file {shlex.quote(str(password))}\n"
        f"and, while it runs, in a third:\n"
        f"  p2p-flock doctor {at}\n"
        f"  p2p-flock alliance join {network.alliance} {at}\n"
        f"  p2p-flock alliance watch {at}\n"
    )


def invite_elsewhere(network: RunningNetwork, file: Path | None, host: str) -> str:
    """Set a share of the data aside; what to type on the other machine, and here afterwards.

    Raises:
        UsageError: no seat is left, or nobody else can reach the network's nodes.
    """
    if network.options.listen_host == LOOPBACK and host != LOOPBACK:
        raise UsageError(
            "The nodes of this network listen on loopback, where no other machine reaches them. Start it anew with "
            "--listen-host and an address of this machine."
        )
    _, data = take_share(network, file)
    ports = sorted({urlsplit(url).port for url in (network.devnet.rpc_url, *network.devnet.beacon_urls)}, key=str)
    tunnel = " ".join(f"-L {port}:127.0.0.1:{port}" for port in ports)
    words = init_words(network, Path("share.csv"), host, None)
    return (
        "The chain stays on this machine's loopback. On the other machine, reach it through ssh, and fetch the data:\n"
        f"  ssh -N {tunnel} {network.options.listen_host}\n"
        f"  scp {network.options.listen_host}:{shlex.quote(str(data))} share.csv && chmod 600 share.csv\n"
        "make a node there:\n"
        f"  p2p-flock init {shlex.join(words)} --generate-password-file flock.password\n"
        "and fund the address that it prints, here:\n"
        f"  scripts/testnet invite {shlex.quote(str(network.directory))} --fund ADDRESS\n"
    )


def fund_account(network: RunningNetwork, address: str) -> None:
    """Send ETH and FLOCK of the local chain to an account.

    Raises:
        UsageError: this is no address. ChainError: the chain failed or refused.
    """
    try:
        account = bytes.fromhex(address.removeprefix("0x"))
    except ValueError:
        account = b""
    if len(account) != ADDRESS_BYTES:
        raise UsageError(f"--fund {address}: give the address that `p2p-flock init` printed, 0x and 40 hex digits.")
    trio.run(partial(fund, network.devnet, [account]))


def invite(arguments: Sequence[str]) -> int:
    """``invite DIR …``; the exit code.

    Raises:
        UsageError: as the functions above. ChainError: the account could not be funded.
    """
    parser = argparse.ArgumentParser(
        prog="scripts/testnet invite",
        description="Makes a further member for the network that runs in DIR (started with --spare-seats).",
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--home", type=Path, help="its data directory; must not exist yet [DIR/newcomer1, 2, …]")
    parser.add_argument("--data", type=Path, metavar="FILE", help="its records [a share that no other member has]")
    parser.add_argument(
        "--listen-host", default=LOOPBACK, metavar="ADDRESS", help="that it listens on, of its own machine [127.0.0.1]"
    )
    parser.add_argument("--elsewhere", action="store_true", help="for another machine: print what to type there")
    parser.add_argument("--fund", metavar="ADDRESS", help="only send ETH and FLOCK to an account made elsewhere")
    given = parser.parse_args(arguments)
    network = read_running(given.directory)
    if given.fund is not None:
        fund_account(network, given.fund)
        sys.stdout.write(f"{given.fund} holds ETH and FLOCK of the local chain\n")
    elif given.elsewhere:
        sys.stdout.write(invite_elsewhere(network, given.data, given.listen_host))
    else:
        if given.listen_host != LOOPBACK:
            validate_listen_host(given.listen_host)
        sys.stdout.write(invite_here(network, given.home, given.data, given.listen_host))
    return 0
