"""Endpoints that lie, lag, limit and drip: nothing is believed that only one of two says, and sending goes on.

On a bare anvil whose every contract answers with zeros; the liar is a server in front of it.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager

import pytest
import trio

from p2p_flock.chain import client as client_module
from p2p_flock.chain import follower as follower_module
from p2p_flock.chain.account import Account
from p2p_flock.chain.adapter import ChainConfig, open_chain
from p2p_flock.chain.anvil import BASE_RULES, FAUCET_KEY, open_anvil
from p2p_flock.chain.client import BATCH_CALLS_MAX, Call, RpcClient, as_quantity
from p2p_flock.chain.events import LogReader
from p2p_flock.chain.follower import Follower
from p2p_flock.chain.http import EXCHANGE_FACTOR, HttpEndpoint
from p2p_flock.chain.transactions import Sender
from p2p_flock.errors import AnswerTooLongError, ChainError, ConfigError, EndpointsDisagreeError, RpcError
from tests.chain.fake_rpc import HttpFailure, JsonObject, refusal, result, results, serve_fake, serve_proxy

CHAIN_ID = 84530
RECEIVER, CONTRACT = bytes(range(20)), bytes([7]) * 20
ZEROS_CODE = "0x6108006000f3"  # PUSH2 2048, PUSH1 0, RETURN: zeros, whatever is asked
POLL_S = 0.02
LAG_S_MAX = 0.5

Answer = Callable[[JsonObject, Callable[[], JsonObject]], JsonObject]


@pytest.fixture
def url() -> Iterator[str]:
    """A chain that mines each transaction at once."""
    with open_anvil(*BASE_RULES, "--chain-id", str(CHAIN_ID), "--base-fee", "5000000") as url:
        yield url


def changing(method: str, change: Callable[[JsonObject], None]) -> Answer:
    """A liar that changes the answers to one method."""

    def answer(call: JsonObject, pass_on: Callable[[], JsonObject]) -> JsonObject:
        found = pass_on()
        if call["method"] == method and found.get("result") is not None:
            change(found)
        return found

    return answer


def refusing(call: JsonObject, pass_on: Callable[[], JsonObject]) -> JsonObject:
    raise HttpFailure(429, b"slow down")


def swallowing(call: JsonObject, pass_on: Callable[[], JsonObject]) -> JsonObject:
    return result(call, "0x" + "00" * 32) if call["method"] == "eth_sendRawTransaction" else pass_on()


def reverting(call: JsonObject, pass_on: Callable[[], JsonObject]) -> JsonObject:
    return refusal(call, 3, "execution reverted") if call["method"] == "eth_estimateGas" else pass_on()


def forge_fee(found: JsonObject) -> None:
    found["result"]["baseFeePerGas"] = hex(10**15)


def forge_nonce(found: JsonObject) -> None:
    found["result"] = hex(as_quantity(found["result"]) + 7)


def forge_time(found: JsonObject) -> None:
    found["result"]["timestamp"] = hex(as_quantity(found["result"]["timestamp"]) + 3600)


def forge_state(found: JsonObject) -> None:
    found["result"] = found["result"][:65] + "1" + found["result"][66:]


def hide(found: JsonObject) -> None:
    found["result"] = None


def invent_receipt(call: JsonObject, pass_on: Callable[[], JsonObject]) -> JsonObject:
    """A transaction that was never passed on, and its receipt all the same."""
    if call["method"] == "eth_getTransactionReceipt":
        return result(call, {"gasUsed": "0x5208", "blockNumber": "0x1", "status": "0x1", "effectiveGasPrice": "0x1"})
    return swallowing(call, pass_on)


@asynccontextmanager
async def two_endpoints(url: str, answer: Answer, liar_first: bool) -> AsyncIterator[RpcClient]:
    """An honest endpoint and a liar."""
    with ExitStack() as stack:
        liar = stack.enter_context(serve_proxy(url, answer)).url
        client = RpcClient((liar, url) if liar_first else (url, liar), timeout_s=2.0, lag_s_max=LAG_S_MAX)
        stack.callback(client.close)
        yield client


either_first = pytest.mark.parametrize("liar_first", [True, False], ids=["liar_first", "liar_second"])


# --- sending -----------------------------------------------------------------------------------------------------


@either_first
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(changing("eth_getBlockByNumber", forge_fee), id="forged_base_fee"),
        pytest.param(swallowing, id="accepts_and_forgets"),
        pytest.param(reverting, id="says_that_it_reverts"),
        pytest.param(refusing, id="over_rate_limit"),
    ],
)
async def test_sender__goes_on_by_the_honest_endpoint(url: str, answer: Answer, liar_first: bool) -> None:
    """One lying or failing endpoint of two would silence a node, or make it pay a price that somebody invents."""
    async with two_endpoints(url, answer, liar_first) as client:
        sender = Sender(client, Account.from_key(FAUCET_KEY), CHAIN_ID, POLL_S)
        with trio.fail_after(20):
            receipt = await sender.send("paying", RECEIVER, b"", value_wei=1)
        assert receipt.status == 1
        assert receipt.gas_price_wei < 10**7


@either_first
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(changing("eth_getTransactionCount", forge_nonce), id="forged_nonce"),
        pytest.param(changing("eth_getTransactionReceipt", hide), id="hidden_receipt"),
        pytest.param(invent_receipt, id="forged_receipt"),
    ],
)
async def test_sender__says_when_two_endpoints_tell_different_things(
    url: str, answer: Answer, liar_first: bool
) -> None:
    """A node would take a transaction for mined that is not, or the other way round."""
    async with two_endpoints(url, answer, liar_first) as client:
        if answer is invent_receipt:
            await client.batch((Call("evm_setAutomine", (False,)),), int(liar_first))
        sender = Sender(client, Account.from_key(FAUCET_KEY), CHAIN_ID, POLL_S)
        with trio.fail_after(20), pytest.raises(EndpointsDisagreeError, match=r"chain\.rpc_urls"):
            await sender.send("paying", RECEIVER, b"", value_wei=1)


# --- following ---------------------------------------------------------------------------------------------------


async def follow(client: RpcClient) -> Follower:
    """A follower that has seen the newest block of a contract that answers with zeros."""
    await client.call("anvil_setCode", "0x" + CONTRACT.hex(), ZEROS_CODE)
    await client.call("evm_mine")
    return Follower(client, CONTRACT, 0)


@either_first
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(changing("eth_call", forge_state), id="state"),
        pytest.param(changing("eth_getBlockByNumber", forge_time), id="time"),
    ],
)
async def test_follower__state_and_time_are_agreed_on(url: str, answer: Answer, liar_first: bool) -> None:
    """One endpoint would tell a node that commits are over while others' ballots can still be copied from its own."""
    async with two_endpoints(url, answer, liar_first) as client:
        follower = await follow(client)
        with pytest.raises(EndpointsDisagreeError):
            await follower.poll()


async def poll_for_ever(follower: Follower) -> None:
    while True:
        assert await follower.poll() is None
        await trio.sleep(POLL_S)


@either_first
async def test_follower__an_endpoint_that_stands_still_is_noticed(
    url: str, liar_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stale head hides all news: seals, slashes, one's own suspension."""
    monkeypatch.setattr(follower_module, "LAG_S_MAX", 0.3)
    stale: list[JsonObject] = []

    def stand_still(call: JsonObject, pass_on: Callable[[], JsonObject]) -> JsonObject:
        if call["method"] != "eth_getBlockByNumber" or call["params"][0] != "latest":
            return pass_on()
        if not stale:
            stale.append(pass_on()["result"])
        return result(call, stale[0])

    async with two_endpoints(url, stand_still, liar_first) as client:
        follower = await follow(client)
        assert await follower.poll() is not None
        await client.call("evm_mine")
        with trio.fail_after(10), pytest.raises(EndpointsDisagreeError, match="stands still"):
            await poll_for_ever(follower)


async def test_follower__an_error_or_an_older_head_is_no_reorganisation(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several servers behind one address lag behind each other; each step back would end a node's running round."""
    monkeypatch.setattr(follower_module, "QUIET_BLOCKS_MAX", 0)  # the place moves with every block
    lie: list[str] = []
    heads: list[JsonObject] = []

    def answer(call: JsonObject, pass_on: Callable[[], JsonObject]) -> JsonObject:
        is_latest = call["method"] == "eth_getBlockByNumber" and call["params"][0] == "latest"
        if call["method"] == "eth_getBlockByNumber" and not is_latest and "error" in lie:
            return refusal(call, -32000, "header not found")
        if is_latest and "older" in lie:
            return result(call, heads[0])
        found = pass_on()
        if is_latest:
            heads.append(found["result"])
        return found

    with serve_proxy(url, answer) as proxy:
        client = RpcClient([proxy.url])
        follower = await follow(client)
        assert await follower.poll() is not None
        await client.call("evm_mine")
        lie.append("error")
        with pytest.raises(RpcError):
            await follower.poll()
        lie.clear()
        update = await follower.poll()
        assert update is not None
        assert update.rewound_to is None
        lie.append("older")
        assert await follower.poll() is None
        monkeypatch.setattr(follower_module, "BEHIND_S_MAX", 0.0)
        update = await follower.poll()  # it lasts: then the chain is shorter
        assert update is not None
        assert update.block == as_quantity(heads[0]["number"])
        client.close()


@either_first
async def test_chain__of_another_number_is_refused(url: str, liar_first: bool) -> None:
    """A node would sign for one chain and read another's books."""
    with serve_proxy(url, changing("eth_chainId", lambda found: found.update(result="0x2105"))) as liar:
        urls = (liar.url, url) if liar_first else (url, liar.url)
        with pytest.raises(ConfigError, match=r"is on chain 8453, the settings say 84530\ncorrect chain\.rpc_urls"):
            async with open_chain(ChainConfig(urls, CHAIN_ID, CONTRACT), Account.from_key(FAUCET_KEY)):
                pass


# --- the client --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"], ids=["head", "body"])
def test_endpoint__that_drips_is_cut_off(after: bytes) -> None:
    """A server that sends a byte now and then would hold a thread, and with it the node, for ever."""
    ending = threading.Event()

    def drip(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(after)
                while not ending.wait(0.05):
                    connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        url, timeout_s = f"http://127.0.0.1:{listener.getsockname()[1]}", 0.2
        endpoint = HttpEndpoint(url, timeout_s=timeout_s, body_bytes_max=1 << 20)
        started = time.monotonic()
        with pytest.raises(ChainError, match=r"took too long as a whole|timed out"):
            endpoint.request("POST", "", b"{}", {})
        assert time.monotonic() - started < 4 * EXCHANGE_FACTOR * timeout_s
        ending.set()
        thread.join()


async def test_answer__of_very_many_parts_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body within its bound, of empty lists, takes fifty times as much memory once it is read."""
    monkeypatch.setattr(client_module, "BODY_PARTS_MAX", 1_000)
    with serve_fake(lambda _: (200, b"[" + b"[]," * 1_000 + b"[]]")) as endpoint:
        client = RpcClient([endpoint.url])
        with pytest.raises(AnswerTooLongError):
            await client.call("eth_chainId")
        assert len(endpoint.bodies) == 1  # asking again would not make it shorter
        client.close()


async def test_batch__is_no_longer_than_providers_allow() -> None:
    """Base's public endpoint takes ten calls at once; a reorganisation compares hundreds of blocks."""
    with serve_fake(results(lambda method: method)) as endpoint:
        client = RpcClient([endpoint.url])
        names = [f"m{number}" for number in range(2 * BATCH_CALLS_MAX + 1)]
        assert await client.batch([Call(name) for name in names]) == names
        assert [len(body) for body in endpoint.bodies if isinstance(body, list)] == [BATCH_CALLS_MAX] * 2
        client.close()


@pytest.mark.parametrize(
    ("code", "message", "asked_again"),
    [
        (-32005, "query returned more than 10000 results", False),
        (-32005, "block range is too wide", False),
        (-32005, "daily request count exceeded, request rate limited", True),
        (-32016, "over rate limit", True),
        (-32000, "429 Too Many Requests", True),
    ],
)
async def test_logs__a_rate_limit_is_waited_out_and_a_range_cap_halves(
    code: int, message: str, asked_again: bool
) -> None:
    """Halving on a rate limit asks more often; asking again for too long a range never succeeds."""
    spans: list[int] = []

    def answer(body: object) -> tuple[int, bytes]:
        calls: list[JsonObject] = body if isinstance(body, list) else [body]  # type: ignore[list-item]
        spans.extend(
            int(call["params"][0]["toBlock"], 16) - int(call["params"][0]["fromBlock"], 16) + 1
            for call in calls
            if call["method"] == "eth_getLogs"
        )
        return results(lambda _: {"code": code, "message": message})(body)

    with serve_fake(answer) as endpoint:
        client = RpcClient([endpoint.url])
        with pytest.raises(RpcError):
            await LogReader(client, CONTRACT).read(1, 8)
        client.close()
    assert spans == ([8] * 4 if asked_again else [8, 4, 2, 1])


async def test_logs__a_halved_range_grows_again() -> None:
    """One crowded range would make a newcomer read millions of blocks one by one."""
    spans: list[int] = []

    def one(call: JsonObject) -> JsonObject:
        if call["method"] == "eth_getLogs":
            first, last = (int(call["params"][0][key], 16) for key in ("fromBlock", "toBlock"))
            spans.append(last - first + 1)
            too_long = first <= 10 and last > first
            return refusal(call, -32000, "response size exceeded") if too_long else result(call, [])
        number = call["params"][0]
        block = {"number": number, "hash": "0x" + "11" * 32, "parentHash": "0x" + "22" * 32, "timestamp": "0x1"}
        return result(call, block)

    def answer(call: JsonObject, _: Callable[[], JsonObject]) -> JsonObject:
        return one(call)

    with serve_proxy("http://127.0.0.1:1", answer) as endpoint:
        client = RpcClient([endpoint.url])
        await LogReader(client, CONTRACT).read(1, 200)
        client.close()
    assert max(spans) > 32
    assert all(later <= 3 * earlier for earlier, later in itertools.pairwise(spans))
