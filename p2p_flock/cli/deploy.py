"""``scripts/deploy``: puts the contracts on a chain, shows what that would cost, or checks what stands there.

Not a command of ``p2p-flock``: nobody who takes part in an alliance needs it. The key comes from a keystore, its
password from a file, the environment or a prompt, as everywhere; the local chain's faucet is no secret. What is done
stands in ``chain/deploy.py`` and its neighbors.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import trio

from p2p_flock.chain.account import Account
from p2p_flock.chain.anvil import FAUCET_KEY
from p2p_flock.chain.client import RpcClient
from p2p_flock.chain.deploy import Door, deploy, require_chain, require_funds
from p2p_flock.chain.deploy_check import check_deployment
from p2p_flock.chain.deploy_cost import estimate, format_costs, read_fees, rehearse
from p2p_flock.chain.deployment_plan import BASE, LOCAL, NETWORKS, choose_parameters
from p2p_flock.chain.deployment_record import DeploymentRecord, lock_record, read_record, write_record
from p2p_flock.chain.fees import ETH_USD, WEI_PER_GWEI, BaseFees
from p2p_flock.chain.keystore import read_keystore
from p2p_flock.chain.verification import write_inputs
from p2p_flock.cli.waiting import waiting
from p2p_flock.daemon.passwords import read_password
from p2p_flock.errors import P2PFlockError, UsageError

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
LOCAL_URL = "http://127.0.0.1:8545"
POLL_INTERVAL_S = {LOCAL: 0.05}
POLL_INTERVAL_DEFAULT_S = 1.0  # half a block of Base


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/deploy", description=__doc__)
    parser.add_argument("--network", choices=tuple(NETWORKS), required=True)
    parser.add_argument("--rpc-url", action="append", default=[], help=f"one or two; local: {LOCAL_URL}")
    parser.add_argument("--keystore", type=Path, help="of the deployer; local: the faucet")
    parser.add_argument("--password-file", type=Path, help="else P2P_FLOCK_PASSWORD, or a prompt")
    parser.add_argument("--initial-holder", type=_address, help="of the first FLOCK; else the deployer, but on base")
    parser.add_argument("--directory", type=Path, help="of the record; default contracts/deployments, none for local")
    parser.add_argument("--yes", action="store_true", help="spend real ETH on base")
    parser.add_argument("--check", action="store_true", help="send nothing: compare what stands with the record")
    parser.add_argument("--dry-run", action="store_true", help="send nothing: show gas and cost; needs no key")
    parser.add_argument("--verification", type=Path, help="write the compiler's inputs for explorers into this folder")
    for name, what, default in (
        ("--base-fee-gwei", "of L2", "0.005"),
        ("--l1-base-fee-gwei", "of L1", "1"),
        ("--blob-base-fee-gwei", "of L1's blobs", "1/16"),
    ):
        parser.add_argument(name, type=float, help=f"price {what} in the dry run [the endpoint's, or {default}]")
    parser.add_argument("--eth-usd", type=float, default=ETH_USD, help="price of ETH in the dry run [%(default)s]")
    return parser


def _address(text: str) -> bytes:
    address = bytes.fromhex(text.removeprefix("0x"))
    if len(address) != 20:
        raise ValueError
    return address


def main(arguments: Sequence[str]) -> int:
    """Entry point; the exit code."""
    given = _parser().parse_args(arguments)
    try:
        if given.dry_run:
            trio.run(_dry_run, given)
        elif given.check:
            trio.run(_check, given)
        else:
            trio.run(_deploy, given)
        if given.verification is not None or not (given.dry_run or given.check or given.network == LOCAL):
            folder = given.verification or CONTRACTS / "deployments" / "verification"
            written = write_inputs(CONTRACTS, folder)
            click.echo(f"{len(written)} inputs for explorers in {folder}")
    except P2PFlockError as error:
        click.echo(str(error), err=True)
        return 1
    except KeyboardInterrupt:
        click.echo("interrupted; what was sent is written down: run this again to go on", err=True)
        return 130
    return 0


async def _dry_run(given: argparse.Namespace) -> None:
    if given.rpc_url:
        client = _client(given)
        try:
            await require_chain(client, given.network)
            with waiting("the chain: each transaction is estimated"):
                costs, fees = await estimate(client, given.network, given.initial_holder), await read_fees(client)
        finally:
            client.close()
        click.echo(f"{given.network}: gas as the endpoint estimates it")
    else:
        with waiting("a rehearsal on a chain of its own"):
            costs, fees = await rehearse(given.network, given.initial_holder), BaseFees()
        click.echo(f"{given.network}: gas as a rehearsal on a chain of its own took it; its check passed")
    click.echo(format_costs(costs, _with_prices(fees, given), given.eth_usd))


def _with_prices(fees: BaseFees, given: argparse.Namespace) -> BaseFees:
    prices = {
        "base_fee_wei": given.base_fee_gwei,
        "l1_base_fee_wei": given.l1_base_fee_gwei,
        "blob_base_fee_wei": given.blob_base_fee_gwei,
    }
    stated = {name: round(gwei * WEI_PER_GWEI) for name, gwei in prices.items() if gwei is not None}
    return dataclasses.replace(fees, **stated)


def _client(given: argparse.Namespace) -> RpcClient:
    urls = given.rpc_url or ([LOCAL_URL] if given.network == LOCAL else [])
    if not urls:
        raise UsageError(f"Where is {given.network}? Pass --rpc-url, at best two of two providers.")
    return RpcClient(urls)


def _record_path(given: argparse.Namespace) -> Path:
    if given.directory is None and given.network == LOCAL:
        raise UsageError("Where shall the record of a local deployment lie? Pass --directory.")
    directory: Path = given.directory or CONTRACTS / "deployments"
    return directory / f"{given.network}.json"


async def _check(given: argparse.Namespace) -> None:
    path = _record_path(given)
    record = read_record(path)
    if record is None:
        raise UsageError(f"There is no {path}: nothing was deployed, or --directory is another.")
    client = _client(given)
    try:
        await require_chain(client, given.network)
        await _report_check(client, record)
    finally:
        client.close()


async def _report_check(client: RpcClient, record: DeploymentRecord) -> None:
    with waiting("the chain: what was deployed is compared with the artifacts"):
        sentences = await check_deployment(client, record)
    for sentence in sentences:
        click.echo(f"  ok: {sentence}")
    for name, address in record.addresses.items():
        click.echo(f"{name:<16}0x{address.hex()}")


async def _deploy(given: argparse.Namespace) -> None:
    if given.network == BASE and not given.yes:
        raise UsageError("This spends real ETH for good. See --dry-run first, then pass --yes.")
    path = _record_path(given)
    client = _client(given)
    try:
        await require_chain(client, given.network)
        account = _account(given)
        interval_s = POLL_INTERVAL_S.get(given.network, POLL_INTERVAL_DEFAULT_S)
        door = Door(client, account, interval_s)
        with lock_record(path):
            record = _begin(given, path, door)
            await require_funds(door, record, await read_fees(client))
            with waiting("the chain: contract after contract gets into a block") as say:
                record = await deploy(door, record, lambda newest: write_record(path, newest), say)
            await _report_check(client, record)
        click.echo(f"{given.network} is deployed; {path} says where")
    finally:
        client.close()


def _account(given: argparse.Namespace) -> Account:
    if given.keystore is None:
        if given.network != LOCAL:
            raise UsageError("Whose ETH pays for this? Pass --keystore; `p2p-flock init` makes one.")
        return Account.from_key(FAUCET_KEY)
    return read_keystore(
        given.keystore, read_password(given.password_file, os.environ, _prompt if sys.stdin.isatty() else None)
    )


def _prompt() -> str:
    return str(click.prompt("Password of the keystore", hide_input=True, err=True))


def _begin(given: argparse.Namespace, path: Path, door: Door) -> DeploymentRecord:
    """The record to go on with, or a new one."""
    record = read_record(path)
    if record is None:
        parameters = choose_parameters(given.network, door.address, given.initial_holder, int(time.time()))
        return DeploymentRecord(given.network, door.address, parameters)
    if record.network != given.network:
        raise UsageError(f"{path} is the record of {record.network}; give another --directory.")
    if given.initial_holder not in (None, record.parameters.initial_holder):
        raise UsageError(
            f"{path} began with 0x{record.parameters.initial_holder.hex()} as holder of the first FLOCK; leave "
            "--initial-holder away to go on, or move the record away to begin anew."
        )
    return record


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
