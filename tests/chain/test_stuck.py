"""Transactions that do not get through: fees that rise, endpoints that forget, nonces in front, a second program.

On a bare anvil that mines when a test says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio

from p2p_flock.chain.account import Account
from p2p_flock.chain.anvil import BASE_RULES, FAUCET_KEY, open_anvil
from p2p_flock.chain.bidding import GWEI, TIP_WEI, Bid, choose_base_fee, describe_gwei, first_bid, next_bid
from p2p_flock.chain.client import Json, RpcClient, as_object, as_quantity
from p2p_flock.chain.records import ChainUpdate, RoundState, TransactionReceipt
from p2p_flock.chain.transactions import RESENDS_MAX, Sender
from p2p_flock.errors import ChainError
from tests.chain.fake_rpc import JsonObject, refusal, result, serve_proxy

CHAIN_ID = 84530
RECEIVER = bytes(range(20))
BASE_FEE_WEI = 5_000_000
REPLACE_AFTER_S = 0.25
POLL_S = 0.02


@pytest.fixture
def url() -> Iterator[str]:
    """A chain that mines only when it is told to; its first account is rich."""
    options = ("--chain-id", str(CHAIN_ID), "--base-fee", str(BASE_FEE_WEI), "--no-mining")
    with open_anvil(*BASE_RULES, *options) as url:
        yield url


@contextmanager
def sending(*urls: str, fee_wei_max: int = 5 * GWEI) -> Iterator[tuple[RpcClient, Sender]]:
    """A sender of the rich account: each one is a process of its own with the same key."""
    client = RpcClient(urls, timeout_s=2.0)
    try:
        account = Account.from_key(FAUCET_KEY)
        yield client, Sender(client, account, CHAIN_ID, POLL_S, REPLACE_AFTER_S, fee_wei_max)
    finally:
        client.close()


async def mine(client: RpcClient, base_fee_wei: int = BASE_FEE_WEI) -> None:
    """One block at this base fee."""
    await client.call("anvil_setNextBlockBaseFeePerGas", hex(base_fee_wei))
    await client.call("evm_mine")


async def mine_until(client: RpcClient, done: Callable[[], bool], base_fee_wei: int = BASE_FEE_WEI) -> None:
    """Blocks at this base fee, until something has happened."""
    with trio.fail_after(20):
        while not done():
            await mine(client, base_fee_wei)
            await trio.sleep(POLL_S)


async def pool_size(client: RpcClient) -> int:
    status = as_object(await client.call("txpool_status"))
    return as_quantity(status["pending"]) + as_quantity(status["queued"])


async def wait_for_pool(client: RpcClient, size: int) -> None:
    with trio.fail_after(10):
        while await pool_size(client) < size:
            await trio.sleep(POLL_S)


async def balance(client: RpcClient) -> int:
    return as_quantity(await client.call("eth_getBalance", "0x" + RECEIVER.hex(), "latest"))


async def pay(sender: Sender, amount: int, receipts: list[TransactionReceipt]) -> None:
    receipts.append(await sender.send(f"paying {amount}", RECEIVER, b"", value_wei=amount))


async def pay_mined(client: RpcClient, sender: Sender, amount: int, receipts: list[TransactionReceipt]) -> None:
    """Pay, and mine blocks until the receipt is there."""
    count = len(receipts)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pay, sender, amount, receipts)
        await wait_for_pool(client, 1)
        await mine_until(client, lambda: len(receipts) > count)


def update(block: int, rewound_to: int | None = None) -> ChainUpdate:
    """What a feed hands the sender."""
    state = RoundState.__new__(RoundState)  # the sender does not look at it
    return ChainUpdate(block, 0, state, (), rewound_to)


# --- fees --------------------------------------------------------------------------------------------------------


def test_bids__grow_with_the_base_fee_and_end_at_the_bound() -> None:
    """A stuck transaction would stay stuck when the base fee rises, or a node would pay without end."""
    bid = first_bid(BASE_FEE_WEI, 5 * GWEI)
    assert bid == Bid(TIP_WEI, 4 * BASE_FEE_WEI + TIP_WEI)
    spiked = next_bid(bid, 8 * BASE_FEE_WEI, 5 * GWEI)
    assert spiked == Bid(2 * TIP_WEI, 32 * BASE_FEE_WEI + 2 * TIP_WEI)
    bids = [bid]
    while (higher := next_bid(bids[-1], BASE_FEE_WEI, GWEI)) is not None:
        bids.append(higher)
    assert bids[-1].fee_wei_max == GWEI
    assert all(10 * later.fee_wei_max >= 11 * earlier.fee_wei_max for earlier, later in itertools.pairwise(bids))
    assert all(later.tip_wei <= later.fee_wei_max for later in bids)
    assert first_bid(GWEI - TIP_WEI, GWEI) == Bid(TIP_WEI, GWEI)


def test_base_fee__the_highest_within_the_bound_counts() -> None:
    """An endpoint that invents a base fee would stop the node, or make it offer all it has."""
    assert choose_base_fee([BASE_FEE_WEI, 10**6 * GWEI], 5 * GWEI) == BASE_FEE_WEI
    assert choose_base_fee([BASE_FEE_WEI, 2 * BASE_FEE_WEI], 5 * GWEI) == 2 * BASE_FEE_WEI
    with pytest.raises(ChainError, match=r"1000000 gwei .* at most 5 gwei.*chain\.fee_gwei_max"):
        choose_base_fee([10**6 * GWEI], 5 * GWEI)
    assert describe_gwei(BASE_FEE_WEI) == "0.005"


async def test_sender__sends_nothing_above_the_operators_bound(url: str) -> None:
    """A false or a true spike of the base fee would burn the node's ETH."""
    with sending(url) as (client, sender):
        await mine(client, 6 * GWEI)
        with pytest.raises(ChainError, match=r"raise chain\.fee_gwei_max"):
            await sender.send("paying", RECEIVER, b"", value_wei=1)
        assert await pool_size(client) == 0


async def test_sender__a_rising_base_fee_is_followed(url: str) -> None:
    """A base fee eight times as high would keep a seal out for ever: bumps counted from the old one do not reach it."""
    receipts: list[TransactionReceipt] = []
    with sending(url) as (client, sender):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pay, sender, 1, receipts)
            await wait_for_pool(client, 1)
            await mine_until(client, lambda: bool(receipts), 8 * BASE_FEE_WEI)
        assert receipts[0].gas_price_wei == 8 * BASE_FEE_WEI + 2 * TIP_WEI  # replaced once
        assert await balance(client) == 1


# --- endpoints that lose it --------------------------------------------------------------------------------------


async def test_sender__what_an_endpoint_took_and_forgot_is_sent_again(url: str) -> None:
    """A transaction would be lost by an endpoint that says "accepted" and drops it; the same bytes, never new ones."""
    raws: list[Json] = []

    def forget_first(call: JsonObject, pass_on: Callable[[], JsonObject]) -> JsonObject:
        if call["method"] != "eth_sendRawTransaction":
            return pass_on()
        raws.append(call["params"][0])
        return result(call, "0x" + "00" * 32) if len(raws) == 1 else pass_on()

    receipts: list[TransactionReceipt] = []
    with serve_proxy(url, forget_first) as proxy, sending(proxy.url) as (client, sender):
        await pay_mined(client, sender, 1, receipts)
        assert await balance(client) == 1
    assert len(raws) == 2
    assert raws[0] == raws[1]


async def test_sender__waits_out_an_endpoint_that_fails_meanwhile(url: str) -> None:
    """A sender that gives up while its transaction is on its way would let its caller send another."""
    failing: list[bool] = []
    refused: set[str] = set()

    def fail(call: JsonObject, pass_on: Callable[[], JsonObject]) -> JsonObject:
        if not failing:
            return pass_on()
        refused.add(call["method"])
        return refusal(call, -32000, "overloaded")

    receipts: list[TransactionReceipt] = []
    with serve_proxy(url, fail) as proxy, sending(proxy.url) as (_, sender), sending(url) as (client, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pay, sender, 1, receipts)
            await wait_for_pool(client, 1)
            failing.append(True)
            with trio.fail_after(10):
                while not {"eth_getTransactionReceipt", "eth_getTransactionByHash"} <= refused:
                    await trio.sleep(POLL_S)
            failing.clear()
            await mine_until(client, lambda: bool(receipts))
        assert await balance(client) == 1


# --- nonces ------------------------------------------------------------------------------------------------------


async def test_sender__frees_a_nonce_that_a_crash_left_stuck(url: str) -> None:
    """A node that restarts behind its own stuck transaction would never send again."""
    receipts: list[TransactionReceipt] = []
    with sending(url) as (client, crashed), sending(url) as (_, restarted):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pay, crashed, 1, [])
            await wait_for_pool(client, 1)
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pay, restarted, 2, receipts)
            freed = f"0x{restarted.address.hex()}: 0 wei + 21000 gas"
            with trio.fail_after(10):  # no block takes anything: anvil drops what is too cheap for one, others keep it
                while freed not in str(await client.call("txpool_inspect")).lower():
                    await trio.sleep(POLL_S)
            await mine_until(client, lambda: bool(receipts))
        assert await balance(client) == 2  # a transfer of nothing took the place of the first
        assert as_quantity(await client.call("eth_getTransactionCount", "0x" + crashed.address.hex(), "latest")) == 2


async def test_sender__fills_a_gap_in_front_of_its_transactions(url: str) -> None:
    """Transactions behind one that the endpoint lost would wait for ever."""
    dropped: list[Json] = []

    def drop_first(call: JsonObject, pass_on: Callable[[], JsonObject]) -> JsonObject:
        if call["method"] == "eth_sendRawTransaction" and not dropped:
            dropped.append(call["params"][0])
            return result(call, "0x" + "00" * 32)
        return pass_on()

    receipts: list[TransactionReceipt] = []
    with serve_proxy(url, drop_first) as proxy, sending(proxy.url) as (client, sender):
        async with trio.open_nursery() as nursery:
            for amount in (1, 2, 4):
                nursery.start_soon(pay, sender, amount, receipts)
            await mine_until(client, lambda: len(receipts) == 3)
        assert await balance(client) == 7


async def test_sender__says_when_another_program_took_its_nonce(url: str) -> None:
    """A transaction that can never be mined would be waited for; sent under a second nonce it could be done twice."""
    errors: list[str] = []

    async def lose(sender: Sender) -> None:
        try:
            await sender.send("paying", RECEIVER, b"", value_wei=1)
        except ChainError as error:
            errors.append(str(error))

    with sending(url) as (client, sender), sending(url) as (_, other):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose, sender)
            await wait_for_pool(client, 1)
            await client.call("anvil_dropAllTransactions")
            nursery.start_soon(pay, other, 2, [])
            await wait_for_pool(client, 1)
            await mine_until(client, lambda: bool(errors))
        assert "took the place of ours" in errors[0]
        assert await balance(client) == 2


async def test_sender__two_programs_with_one_key_lose_and_double_nothing(url: str) -> None:
    """The daemon and a command may send at once: each transaction is mined once, or its caller hears of it."""
    receipts: list[TransactionReceipt] = []
    failed: list[str] = []
    amounts = [1 << power for power in range(8)]

    async def try_pay(sender: Sender, amount: int) -> None:
        try:
            await pay(sender, amount, receipts)
        except ChainError as error:
            failed.append(str(error))

    with sending(url) as (client, one), sending(url) as (_, other):
        async with trio.open_nursery() as nursery:
            for index, amount in enumerate(amounts):
                nursery.start_soon(try_pay, (one, other)[index % 2], amount)
            await mine_until(client, lambda: len(receipts) + len(failed) == len(amounts))
        nonces = as_quantity(await client.call("eth_getTransactionCount", "0x" + one.address.hex(), "latest"))
        assert nonces == len(receipts)
        assert (await balance(client)).bit_count() == len(receipts)
        assert len(receipts) >= len(amounts) // 2


# --- reorganisations ---------------------------------------------------------------------------------------------


async def take_back(client: RpcClient, receipt: TransactionReceipt) -> None:
    """Other blocks, empty ones, from the receipt's on."""
    await client.call("anvil_reorg", (await client.head()).number - receipt.block + 1, [])
    assert await client.call("eth_getTransactionReceipt", "0x" + receipt.hash.hex()) is None


async def test_sender__sends_again_what_a_reorganisation_took_back(url: str) -> None:
    """A mask key, a join or a seal that was mined would be gone, and its sender would never know."""
    receipts: list[TransactionReceipt] = []
    with sending(url) as (client, sender):
        await mine(client)
        await pay_mined(client, sender, 1, receipts)
        await take_back(client, receipts[0])
        await sender.look_after(update((await client.head()).number, receipts[0].block - 1))
        assert await pool_size(client) == 1
        await mine(client)
        assert await balance(client) == 1
        again = as_object(await client.call("eth_getTransactionReceipt", "0x" + receipts[0].hash.hex()))
        assert as_quantity(again["status"]) == 1


async def test_sender__looks_back_less_and_less_often(url: str) -> None:
    """Each transaction would cost every later block a call."""
    receipts: list[TransactionReceipt] = []
    with sending(url) as (client, sender):
        await pay_mined(client, sender, 1, receipts)
        block, looks = receipts[0].block, []
        for number in range(block, block + 200):
            before = client.exchange_count
            await sender.look_after(update(number))
            looks += [number - block] if client.exchange_count > before else []
    assert looks == [1, 2, 4, 8, 16, 32, 64]


async def test_sender__gives_up_what_no_block_takes(url: str) -> None:
    """What the chain does not want any more would be sent to it for ever."""
    receipts: list[TransactionReceipt] = []
    with sending(url) as (client, sender):
        await mine(client)
        await pay_mined(client, sender, 1, receipts)
        await take_back(client, receipts[0])
        for _ in range(RESENDS_MAX + 1):
            await sender.look_after(update(receipts[0].block, receipts[0].block - 1))
        before = client.exchange_count
        await sender.look_after(update(receipts[0].block, receipts[0].block - 1))
        assert client.exchange_count == before


async def test_sender__the_next_transaction_does_not_push_out_a_lost_one(url: str) -> None:
    """After a reorganisation the next transaction would get the nonce of the lost one and bury it."""
    receipts: list[TransactionReceipt] = []
    with sending(url) as (client, sender):
        await mine(client)
        await pay_mined(client, sender, 1, receipts)
        await take_back(client, receipts[0])
        await pay_mined(client, sender, 2, receipts)
        assert await balance(client) == 3
