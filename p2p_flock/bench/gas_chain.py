"""An anvil with Base's rules for ``bench/gas.py``: funded keys, signed transactions by the hundred, their receipts.

Mines when it is told to, so that hundreds of transactions go into a block, and by its own clock: every run draws the
same committees and uses the same gas. Synchronous: one thing happens at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import trio

from p2p_flock.chain.account import Account, Transaction
from p2p_flock.chain.anvil import BASE_RULES, FAUCET_KEY, open_anvil
from p2p_flock.chain.beacon import BeaconNetwork
from p2p_flock.chain.bidding import first_bid
from p2p_flock.chain.client import RpcClient
from p2p_flock.chain.contracts import address_text, load_contract
from p2p_flock.chain.deploy import Door, deploy_at_once
from p2p_flock.chain.deployment_plan import LOCAL, choose_parameters
from p2p_flock.chain.http import HttpEndpoint

CHAIN_ID = 84530
BASE_FEE_WEI = 5_000_000
BLOCK_GAS_MAX = 10**9  # a block holds all the joins of a cell
GAS_MAX = 1 << 24  # of one transaction, EIP-7825
CALLS_PER_EXCHANGE = 250
ETH_EACH_WEI = 10**21
START_S = 1_700_000_000  # chain time of the deployment; the first block of ours is a quarter of an hour later
FIRST_BLOCK_S = START_S + 900


@dataclass(frozen=True, slots=True)
class Order:
    """A transaction to send; ``to`` is ``None`` for a creation."""

    sender: Account
    to: bytes | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction that succeeded: gas used, its signed bytes, the contract it created if any."""

    gas: int
    raw: bytes
    contract: bytes


class GasChain:
    """See the module.

    Attributes:
        addresses: of the deployed contracts by their name in the deployment's plan.
        beacon: schedule of the beacon that the contracts verify.
        faucet: holds all FLOCK.
    """

    def __init__(self, endpoint: HttpEndpoint, addresses: dict[str, bytes], beacon: BeaconNetwork) -> None:
        self._endpoint, self.addresses, self.beacon = endpoint, addresses, beacon
        self.faucet = Account.from_key(FAUCET_KEY)
        self._nonces: dict[str, int] = {}
        self._next_s = FIRST_BLOCK_S

    def call(self, method: str, *params: object) -> Any:
        """One JSON-RPC call; RuntimeError where the chain refuses."""
        (answer,) = self.many([(method, params)])
        return answer

    def many(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Any]:
        """Calls in batches, answers in their order; RuntimeError where the chain refuses one."""
        answers: list[Any] = []
        for start in range(0, len(calls), CALLS_PER_EXCHANGE):
            part = calls[start : start + CALLS_PER_EXCHANGE]
            requests = [{"jsonrpc": "2.0", "id": i, "method": m, "params": p} for i, (m, p) in enumerate(part)]
            _, data = self._endpoint.request(
                "POST", "", json.dumps(requests).encode(), {"Content-Type": "application/json"}
            )
            for answer in sorted(json.loads(data), key=lambda item: int(item["id"])):
                if "error" in answer:
                    raise RuntimeError(f"{part[answer['id']][0]}: {answer['error']}")
                answers.append(answer["result"])
        return answers

    def view(self, contract: str, address: bytes, function: str, *arguments: object) -> Any:
        """A view call; the bare value where it returns one."""
        view = load_contract(contract).functions[function]
        request = {"to": address_text(address), "data": "0x" + view.encode(*arguments).hex()}
        values = view.decode(bytes.fromhex(self.call("eth_call", request, "latest")[2:]))
        return values[0] if len(values) == 1 else values

    def make_accounts(self, label: str, count: int) -> list[Account]:
        """Accounts with ETH; the same label gives the same ones."""
        keys = [hashlib.sha256(f"p2p_flock bench gas {label} {index}".encode()).digest() for index in range(count)]
        accounts = [Account.from_key(key) for key in keys]
        self.many([("anvil_setBalance", (account.address, hex(ETH_EACH_WEI))) for account in accounts])
        return accounts

    def send(self, orders: Sequence[Order], at_s: int = 0) -> list[Mined]:
        """Sign, send and mine all of them in one block, a second after the last, or at chain time ``at_s``.

        Raises:
            RuntimeError: one failed.
        """
        raws = []
        for order in orders:
            nonce = self._nonces.setdefault(order.sender.address, self._nonce(order.sender))
            self._nonces[order.sender.address] = nonce + 1
            bid = first_bid(BASE_FEE_WEI, 10**10)
            fields = (nonce, bid.tip_wei, bid.fee_wei_max, GAS_MAX, order.to, 0, order.data)
            raws.append(order.sender.sign_transaction(Transaction(CHAIN_ID, *fields)))
        self.many([("eth_sendRawTransaction", ("0x" + raw.hex(),)) for raw, _ in raws])
        self._next_s = max(self._next_s, at_s)
        self.call("evm_setNextBlockTimestamp", self._next_s)
        self.call("evm_mine")
        self._next_s += 1
        receipts = self.many([("eth_getTransactionReceipt", ("0x" + digest.hex(),)) for _, digest in raws])
        for receipt, order in zip(receipts, orders, strict=True):
            if receipt is None or receipt["status"] != "0x1":
                raise RuntimeError(f"a transaction of the measurement failed: {order.data[:4].hex()}, {receipt}")
        return [
            Mined(int(receipt["gasUsed"], 16), raw, bytes.fromhex((receipt["contractAddress"] or "0x")[2:]))
            for receipt, (raw, _) in zip(receipts, raws, strict=True)
        ]

    def _nonce(self, account: Account) -> int:
        if account.address in self._nonces:
            return self._nonces[account.address]
        return int(self.call("eth_getTransactionCount", account.address, "latest"), 16)


@contextmanager
def open_gas_chain() -> Iterator[GasChain]:
    """A fresh chain with the committed contracts for as long as the context lasts.

    Raises:
        UsageError: anvil is missing.
        ChainError: it did not start.
    """
    options = ("--chain-id", str(CHAIN_ID), "--base-fee", str(BASE_FEE_WEI), "--gas-limit", str(BLOCK_GAS_MAX))
    with open_anvil(*BASE_RULES, *options, "--timestamp", str(START_S)) as url:
        addresses, beacon = trio.run(_deploy, url)
        with closing(HttpEndpoint(url, timeout_s=120.0, body_bytes_max=1 << 26)) as endpoint:
            chain = GasChain(endpoint, addresses, beacon)
            chain.call("evm_setAutomine", False)
            yield chain


async def _deploy(url: str) -> tuple[dict[str, bytes], BeaconNetwork]:
    client = RpcClient([url])
    try:
        door = Door(client, Account.from_key(FAUCET_KEY), 0.05)
        parameters = choose_parameters(LOCAL, door.address, None, START_S)
        record = await deploy_at_once(door, LOCAL, parameters)
        return dict(record.addresses), parameters.beacon
    finally:
        client.close()
