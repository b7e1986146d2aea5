"""What a development chain holds: deploying the committed artifacts, describing them in a file, funding accounts.

Called by ``devnet.py`` and by whoever starts a testnet. The faucet's key is anvil's well-known first key: it is no
secret, and nothing but a development chain may ever see it used.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p_flock.chain.account import Account
from p2p_flock.chain.adapter import ChainConfig
from p2p_flock.chain.anvil import FAUCET_KEY
from p2p_flock.chain.beacon import BeaconNetwork
from p2p_flock.chain.client import RpcClient, as_bytes
from p2p_flock.chain.contracts import TOKEN, address_text, load_contract
from p2p_flock.chain.deploy import Door, deploy_at_once
from p2p_flock.chain.deployment_plan import LOCAL, choose_parameters
from p2p_flock.chain.transactions import Sender
from p2p_flock.errors import ChainError, UsageError

FUND_ETH_WEI = 10**18
FUND_FLOCK_WEI = 100_000 * 10**18
POLL_INTERVAL_S = 0.05
READY_FILE = "devnet.json"
DEPLOYMENT_FILE = "deployment.json"
READY_BYTES_MAX = 16 << 10


@dataclass(frozen=True, slots=True)
class Deployment:
    """Addresses (hex text) of one deployment and the schedule of its beacon; kept beside the chain's state."""

    factory: str
    token: str
    beacon: str
    genesis: str
    gm_flock: str
    governor: str
    timelock: str
    emission: str
    beacon_genesis_s: int
    beacon_period_s: int


@dataclass(frozen=True, slots=True)
class Devnet:
    """A running development chain, as ``devnet.json`` describes it to everybody who wants to use it."""

    rpc_url: str
    chain_id: int
    factory: str
    token: str
    beacon: str
    genesis: str
    gm_flock: str
    governor: str
    timelock: str
    emission: str
    beacon_urls: tuple[str, ...]
    beacon_chain_hash: str
    beacon_public_key: str
    beacon_genesis_s: int
    beacon_period_s: int
    pid: int

    def chain_config(self, poll_interval_s: float = 0.2) -> ChainConfig:
        """Configuration for :func:`p2p_flock.chain.adapter.open_chain`."""
        return ChainConfig(
            (self.rpc_url,), self.chain_id, bytes.fromhex(self.factory.removeprefix("0x")), poll_interval_s
        )

    def beacon_network(self) -> BeaconNetwork:
        """Key and schedule of the beacon."""
        return BeaconNetwork(bytes.fromhex(self.beacon_public_key), self.beacon_genesis_s, self.beacon_period_s)


def write_document(path: Path, document: Deployment | Devnet) -> None:
    """Write as JSON, atomically: a reader sees the whole file or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(dataclasses.asdict(document), indent=2) + "\n")
    temporary.replace(path)


def read_devnet(directory: Path) -> Devnet:
    """The chain that runs in ``directory``.

    Raises:
        UsageError: none does.
    """
    try:
        values = json.loads((directory / READY_FILE).read_bytes()[:READY_BYTES_MAX])
        return Devnet(**{**values, "beacon_urls": tuple(values["beacon_urls"])})
    except FileNotFoundError as error:
        raise UsageError(
            f"No development chain runs in {directory}. Start one: "
            f"python -m p2p_flock.chain.devnet --directory {directory} --port 8545 --beacon-port 8546"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{directory / READY_FILE} is damaged; stop the development chain and start it again."
        ) from error


async def ensure_deployed(directory: Path, rpc_url: str, beacon_period_s: int) -> Deployment:
    """The deployment of ``directory``, made now unless the chain's saved state holds it already.

    Raises:
        UsageError: the directory is of another version of this program.
        ChainError: the chain failed or refused.
    """
    path = directory / DEPLOYMENT_FILE
    client = RpcClient([rpc_url])
    try:
        if path.exists():
            kept = _read_deployment(path)
            if as_bytes(await client.call("eth_getCode", kept.factory, "latest")):
                return kept
        deployment = await _deploy(client, beacon_period_s)
    finally:
        client.close()
    write_document(path, deployment)
    return deployment


def _read_deployment(path: Path) -> Deployment:
    try:
        return Deployment(**json.loads(path.read_bytes()[:READY_BYTES_MAX]))
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{path} was written by another version, whose contracts were others. Choose another directory, or remove "
            f"{path.parent} with the chain in it."
        ) from error


async def _deploy(client: RpcClient, beacon_period_s: int) -> Deployment:
    """All contracts of the plan in one block or two; the faucet holds the first FLOCK."""
    door = Door(client, Account.from_key(FAUCET_KEY), POLL_INTERVAL_S)
    parameters = choose_parameters(LOCAL, door.address, None, int(time.time()), beacon_period_s)
    addresses = (await deploy_at_once(door, LOCAL, parameters)).addresses
    text = {name: address_text(address) for name, address in addresses.items()}
    return Deployment(
        factory=text["factory"],
        token=text["token"],
        beacon=text["beacon"],
        genesis=text["genesis"],
        gm_flock=text["gm_flock"],
        governor=text["governor"],
        timelock=text["timelock"],
        emission=text["emission"],
        beacon_genesis_s=parameters.beacon.genesis_s,
        beacon_period_s=parameters.beacon.period_s,
    )


async def fund(
    devnet: Devnet,
    addresses: Sequence[bytes],
    eth_wei: int = FUND_ETH_WEI,
    flock_wei: int = FUND_FLOCK_WEI,
) -> None:
    """Send ETH and FLOCK from the faucet to every address (20 bytes each), all at once.

    Raises:
        ChainError: the chain failed or refused.
    """
    client = RpcClient([devnet.rpc_url])
    token = bytes.fromhex(devnet.token.removeprefix("0x"))
    transfer = load_contract(TOKEN).functions["transfer"]
    sender = Sender(client, Account.from_key(FAUCET_KEY), devnet.chain_id, POLL_INTERVAL_S)

    async def fund_one(address: bytes) -> None:
        await sender.send(f"funding 0x{address.hex()} with ETH", address, b"", value_wei=eth_wei)
        await sender.send(f"funding 0x{address.hex()} with FLOCK", token, transfer.encode(address, flock_wei))

    failures: list[ChainError] = []

    async def collect(address: bytes) -> None:
        try:
            await fund_one(address)
        except ChainError as error:
            failures.append(error)

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                nursery.start_soon(collect, address)
    finally:
        client.close()
    if failures:
        raise failures[0]
