"""The sender: nonces under concurrency, stuck transactions, refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from p2p_flock.chain.account import Account
from p2p_flock.chain.bidding import TIP_WEI
from p2p_flock.chain.client import RpcClient, as_object, as_quantity
from p2p_flock.chain.contracts import TOKEN, load_contract
from p2p_flock.chain.devnet_deployment import FAUCET_KEY, Devnet, fund
from p2p_flock.chain.keystore import create_account
from p2p_flock.chain.transactions import GAS_PER_TRANSACTION_MAX, Sender
from p2p_flock.errors import ChainError, TransactionFailedError

RECEIVER = bytes(range(20))


@asynccontextmanager
async def open_sender(
    devnet: Devnet, account: Account | None = None, replace_after_s: float = 15.0
) -> AsyncIterator[tuple[RpcClient, Sender]]:
    """A sender with a funded key."""
    if account is None:
        account = create_account()
        await fund(devnet, [bytes.fromhex(account.address[2:])])
    client = RpcClient([devnet.rpc_url])
    try:
        yield client, Sender(client, account, devnet.chain_id, 0.05, replace_after_s)
    finally:
        client.close()


async def test_sender__concurrent_tasks_share_a_key(devnet: Devnet) -> None:
    """web3's own nonces made 19 of 32 concurrent sends fail; a node seals, registers keys and claims at once."""
    async with open_sender(devnet) as (_, sender):
        blocks: list[int] = []

        async def send() -> None:
            receipt = await sender.send("paying", RECEIVER, b"", value_wei=1)
            blocks.append(receipt.block)

        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(send)
        assert len(blocks) == 16
        assert len(set(blocks)) < 16  # they did not queue for receipts, only for nonces


async def test_sender__recovers_when_another_program_uses_the_key(devnet: Devnet) -> None:
    """A CLI command and the daemon may hold one key; the nonce counter must follow the chain."""
    account = create_account()
    await fund(devnet, [bytes.fromhex(account.address[2:])])
    async with open_sender(devnet, account) as (_, one), open_sender(devnet, account) as (_, other):
        await one.send("paying", RECEIVER, b"", value_wei=1)
        await other.send("paying", RECEIVER, b"", value_wei=1)
        await other.send("paying", RECEIVER, b"", value_wei=1)
        assert (await one.send("paying", RECEIVER, b"", value_wei=1)).status == 1


async def test_sender__pays_what_base_asks(devnet: Devnet) -> None:
    """The library's default tip is two hundred times Base's base fee."""
    async with open_sender(devnet) as (client, sender):
        receipt = await sender.send("paying", RECEIVER, b"", value_wei=1)
        transaction = as_object(await client.call("eth_getTransactionByHash", "0x" + receipt.hash.hex()))
        assert as_quantity(transaction["maxPriorityFeePerGas"]) == TIP_WEI
        base_fee_wei = (as_quantity(transaction["maxFeePerGas"]) - TIP_WEI) // 4
        assert base_fee_wei <= 5_000_000
        assert receipt.gas_used == 21_000
        assert receipt.gas_price_wei <= base_fee_wei + TIP_WEI


async def test_sender__names_refusals_and_spends_nothing(devnet: Devnet) -> None:
    """A user must read what to do, not "execution reverted", and must not pay for reading it."""
    async with open_sender(devnet) as (client, sender):
        token = bytes.fromhex(devnet.token[2:])
        transfer = load_contract(TOKEN).functions["transfer"]
        before = await client.call("eth_getBalance", "0x" + sender.address.hex(), "latest")
        with pytest.raises(TransactionFailedError, match="too little FLOCK") as refused:
            await sender.send("paying", token, transfer.encode(RECEIVER, 10**30))
        assert refused.value.reason == "ERC20InsufficientBalance"
        assert await client.call("eth_getBalance", "0x" + sender.address.hex(), "latest") == before
        with pytest.raises(ChainError, match="too little ETH"):
            await sender.send("paying", RECEIVER, b"", value_wei=10**30)
        assert (await sender.send("paying", RECEIVER, b"", value_wei=1)).status == 1


async def test_sender__of_an_empty_account_says_so(devnet: Devnet) -> None:
    """The first thing that goes wrong for a newcomer is an account without ETH."""
    async with open_sender(devnet, create_account()) as (_, sender):
        with pytest.raises(ChainError, match="too little ETH"):
            await sender.send("paying", RECEIVER, b"", value_wei=1)


async def test_sender__caps_gas_at_the_chains_limit(devnet: Devnet) -> None:
    """Base refuses transactions above 2^24 gas; generous headroom must not run into that."""
    async with open_sender(devnet) as (client, sender):
        receipt = await sender.send("paying", RECEIVER, b"", value_wei=1, gas_headroom=10**9)
        transaction = as_object(await client.call("eth_getTransactionByHash", "0x" + receipt.hash.hex()))
        assert as_quantity(transaction["gas"]) == GAS_PER_TRANSACTION_MAX


async def test_sender__replaces_a_stuck_transaction_and_gives_up_in_the_end(own_devnet: Devnet) -> None:
    """A fee that was right a minute ago must not keep a seal out, nor a dead chain hold a node for ever."""
    account = Account.from_key(FAUCET_KEY)
    async with open_sender(own_devnet, account, replace_after_s=0.4) as (client, sender):
        await client.call("evm_setIntervalMining", 0)
        hashes: list[bytes] = []

        async def send() -> None:
            hashes.append((await sender.send("paying", RECEIVER, b"", value_wei=1)).hash)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            with trio.fail_after(10):
                while (pending := await pending_of(client)) is None or as_quantity(pending["nonce"]) < 0:
                    await trio.sleep(0.05)
                original = pending["hash"]
                while (pending := await pending_of(client)) is not None and pending["hash"] == original:
                    await trio.sleep(0.05)
            assert pending is not None
            assert as_quantity(pending["maxPriorityFeePerGas"]) == 2 * TIP_WEI
            await client.call("evm_mine")
        assert "0x" + hashes[0].hex() != original
        # The chain stands still from here on.
        with trio.fail_after(20), pytest.raises(ChainError, match="no block took"):
            await sender.send("paying", RECEIVER, b"", value_wei=1)


async def pending_of(client: RpcClient):  # type: ignore[no-untyped-def]
    """The one transaction that waits for a block, if there is one."""
    block = as_object(await client.call("eth_getBlockByNumber", "pending", True))
    transactions = block["transactions"]
    assert isinstance(transactions, list)
    return as_object(transactions[0]) if transactions else None
