"""A chain of one's own with the protocol contracts and an account that holds FLOCK. Test support only.

Blocks are mined on demand, so that the chain's clock stands where a test leaves it, give or take the seconds that pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p_flock.chain.account import Account
from p2p_flock.chain.anvil import FAUCET_KEY, open_anvil
from p2p_flock.chain.client import Json, RpcClient, as_quantity
from p2p_flock.chain.contracts import GENESIS, TOKEN, address_bytes, load_contract
from p2p_flock.chain.governance import View, read_views
from p2p_flock.chain.transactions import Sender
from p2p_flock.daemon.data_directory import DataDirectory, read_address
from tests.cli.conftest import RunCommand

FLOCK = 10**18
VOTING_DELAY_S, VOTING_PERIOD_S, TIMELOCK_DELAY_S = 3_600, 86_400, 7_200
THRESHOLD_WEI, QUORUM_PERCENT, QUORUM_WEI_MIN = 1_000 * FLOCK, 4, 10_000 * FLOCK
PASSWORD = "a password of a test"


@dataclass(frozen=True)
class GovernedHome:
    """Addresses as hex text; the home is the default one of ``run``."""

    rpc_url: str
    address: str
    token: str
    gm_flock: str
    governor: str
    timelock: str
    emission: str

    def rpc(self, method: str, *params: Json) -> Json:
        """One JSON-RPC call."""

        async def ask() -> Json:
            client = RpcClient([self.rpc_url])
            try:
                return await client.call(method, *params)
            finally:
                client.close()

        return trio.run(ask)

    def travel(self, seconds: int) -> None:
        """Turn the chain's clock forward."""
        self.rpc("evm_increaseTime", seconds)
        self.rpc("evm_mine")

    def flock_of(self, address: str) -> int:
        """FLOCK wei."""

        async def ask() -> int:
            client = RpcClient([self.rpc_url])
            try:
                view = View(TOKEN, address_bytes(self.token), "balanceOf", (address_bytes(address),))
                return int((await read_views(client, [view]))[0])
            finally:
                client.close()

        return trio.run(ask)


@contextmanager
def open_governed_home(run: RunCommand, home: Path, flock_wei: int = 100_000 * FLOCK) -> Iterator[GovernedHome]:
    """Start the chain, deploy, make the home with ``init`` and fund its account."""
    home.parent.mkdir(exist_ok=True, parents=True)
    with open_anvil("--prune-history", "64") as url:
        addresses, chain_id = trio.run(_deploy, url)
        # What is asked of the factory is which token is FLOCK; the emission answers that, too, and is there already.
        ran = run("init", "--light-keystore", "--rpc-url", url, "--chain-id", str(chain_id),
                  "--factory", addresses["emission"], "--set", "chain.poll_interval_ms=50",
                  "--set", f"chain.governor=\"{addresses['governor']}\"")  # fmt: skip
        assert ran.code == 0, ran.err
        address = read_address(DataDirectory(home))
        trio.run(_fund, url, chain_id, address_bytes(addresses["token"]), address_bytes(address), flock_wei)
        yield GovernedHome(url, address, **addresses)


async def _deploy(url: str) -> tuple[dict[str, str], int]:
    client = RpcClient([url])
    try:
        chain_id = as_quantity(await client.call("eth_chainId"))
        sender = Sender(client, Account.from_key(FAUCET_KEY), chain_id, 0.05)
        settings = (VOTING_DELAY_S, VOTING_PERIOD_S, THRESHOLD_WEI, QUORUM_PERCENT, QUORUM_WEI_MIN, TIMELOCK_DELAY_S)
        creation = load_contract(GENESIS).encode_constructor(sender.address, 400_000_000 * FLOCK, settings)
        genesis = (await sender.send("deploying Genesis", None, creation)).contract
        assert genesis is not None
        names = {"token": "token", "gm_flock": "gmFlock", "governor": "governor", "timelock": "timelock",
                 "emission": "emission"}  # fmt: skip
        found = await read_views(client, [View(GENESIS, genesis, function) for function in names.values()])
        return dict(zip(names, found, strict=True)), chain_id
    finally:
        client.close()


async def _fund(url: str, chain_id: int, token: bytes, address: bytes, flock_wei: int) -> None:
    client = RpcClient([url])
    try:
        sender = Sender(client, Account.from_key(FAUCET_KEY), chain_id, 0.05)
        await sender.send("funding with ETH", address, b"", value_wei=10**18)
        data = load_contract(TOKEN).functions["transfer"].encode(address, flock_wei)
        await sender.send("funding with FLOCK", token, data)
    finally:
        client.close()


def printed(text: str) -> dict[str, object]:
    """What a command printed with ``--json``."""
    found = json.loads(text)
    assert isinstance(found, dict)
    return found
