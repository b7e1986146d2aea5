"""The follower: reorgs, two endpoints, ranges, outages."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
import trio

from p2p_flock.chain.adapter import ChainConfig, open_chain
from p2p_flock.chain.client import RpcClient
from p2p_flock.chain.devnet_deployment import Devnet
from p2p_flock.chain.events import LogReader
from p2p_flock.chain.follower import ChainFeed, Follower
from p2p_flock.chain.http import HttpEndpoint
from p2p_flock.chain.records import ChainUpdate
from p2p_flock.chain_events import ChainEvent, SeatJoined
from p2p_flock.errors import ChainError, EndpointsDisagreeError, TransactionFailedError
from tests.chain.committee import Committee, open_committee, small_params
from tests.chain.fake_rpc import serve_fake


def joined_owners(events: tuple[ChainEvent, ...]) -> list[bytes]:
    return [event.owner for event in events if isinstance(event, SeatJoined)]


async def next_with_events(feed: ChainFeed) -> ChainUpdate:
    """The next update that brings a log or a rewind."""
    with trio.fail_after(20):
        async for update in feed:
            if update.events or update.rewound_to is not None:
                return update
    raise AssertionError("a feed never ends")


async def test_follower__rewinds_on_a_reorg(own_devnet: Devnet) -> None:
    """A seat, key or seal that the chain took back must not stay in a node's books."""
    async with open_committee(own_devnet, small_params(), 2) as committee:
        first = committee.handles[0]
        feed = first.follow(first.terms.created_block)
        await committee.join(0)
        update = await next_with_events(feed)
        assert joined_owners(update.events) == [committee.chains[0].address]
        client = RpcClient([own_devnet.rpc_url])
        before = update.events[0].at.block
        await committee.join(1)
        update = await next_with_events(feed)
        assert joined_owners(update.events) == [committee.chains[1].address]
        # Take back the blocks from the second join on, with nothing in their place.
        head = await client.head()
        depth = head.number - update.events[0].at.block + 1
        assert head.number - depth > before
        await client.call("anvil_reorg", depth, [])
        rewound = await next_with_events(feed)
        assert rewound.rewound_to is not None
        assert before <= rewound.rewound_to < update.events[0].at.block
        assert joined_owners(rewound.events) == []
        assert len(await first.seats()) == 1
        # The second member's sender still knows its first join: it sends that one again, and no other.
        with pytest.raises(TransactionFailedError, match="AlreadySeated"):
            await committee.join(1)
        again = await next_with_events(feed)
        assert joined_owners(again.events) == [committee.chains[1].address]
        assert again.rewound_to is None
        client.close()


async def test_reader__joins_ranges_and_halves_them_where_a_provider_asks(devnet: Devnet) -> None:
    """Providers cap ranges; a node that joins an old alliance must still read all of its logs, once each."""
    upstream = HttpEndpoint(devnet.rpc_url, timeout_s=5.0, body_bytes_max=1 << 20)

    def capped(body: object) -> tuple[int, bytes]:
        calls = body if isinstance(body, list) else [body]
        for call in calls:
            if call["method"] == "eth_getLogs":
                span = int(call["params"][0]["toBlock"], 16) - int(call["params"][0]["fromBlock"], 16)
                if span >= 5:
                    error = {"code": -32000, "message": "query exceeds max block range 5"}
                    answers = [{"jsonrpc": "2.0", "id": c["id"], "error": error} for c in calls]
                    return 200, json.dumps(answers if isinstance(body, list) else answers[0]).encode()
        return upstream.request("POST", "", json.dumps(body).encode(), {"Content-Type": "application/json"})

    async with open_committee(devnet, small_params(), 3) as committee:
        for index in range(3):
            await committee.join(index)
        handle = committee.handles[0]
        head = (await committee.chains[0].client.head()).number
        whole = await handle.events(handle.terms.created_block, head)
        with serve_fake(capped) as endpoint:
            client = RpcClient([endpoint.url])
            pieces = await LogReader(client, handle.contract).read(handle.terms.created_block, head)
            client.close()
        assert pieces == whole
        assert len(joined_owners(whole)) == 3
    upstream.close()


def liar_about_logs(devnet: Devnet, stack: ExitStack) -> str:
    """An endpoint that passes everything on but hides all logs and seats."""
    upstream = HttpEndpoint(devnet.rpc_url, timeout_s=5.0, body_bytes_max=1 << 20)
    stack.callback(upstream.close)

    def respond(body: object) -> tuple[int, bytes]:
        status, data = upstream.request("POST", "", json.dumps(body).encode(), {"Content-Type": "application/json"})
        calls = body if isinstance(body, list) else [body]
        answers = json.loads(data)
        for call, answer in zip(calls, answers if isinstance(answers, list) else [answers], strict=True):
            if call["method"] == "eth_getLogs" and call["params"][0]["address"] != devnet.factory:
                answer["result"] = []
        return status, json.dumps(answers).encode()

    return stack.enter_context(serve_fake(respond)).url


async def joined_committee_behind_two(devnet: Devnet, urls: tuple[str, ...], committee: Committee) -> list[ChainUpdate]:
    """What a feed over two endpoints makes of one join."""
    config = ChainConfig(urls, devnet.chain_id, bytes.fromhex(devnet.factory[2:]), 0.05)
    async with open_chain(config, committee.accounts[0]) as chain:
        handle = await chain.alliance(committee.domain.alliance)
        return [await next_with_events(handle.follow(handle.terms.created_block))]


async def test_two_endpoints__that_agree_are_followed(devnet: Devnet) -> None:
    """The second opinion must not stop an honest node, although the two are never quite at the same block."""
    async with open_committee(devnet, small_params(), 1) as committee:
        await committee.join(0)
        (update,) = await joined_committee_behind_two(devnet, (devnet.rpc_url, devnet.rpc_url), committee)
        assert joined_owners(update.events) == [committee.chains[0].address]


@pytest.mark.parametrize("liar_first", [True, False], ids=["liar_first", "liar_second"])
async def test_two_endpoints__one_that_hides_a_seat_is_noticed(devnet: Devnet, liar_first: bool) -> None:
    """An endpoint that shows a node other members than the chain holds could pick its neighbors."""
    with ExitStack() as stack:
        liar = liar_about_logs(devnet, stack)
        urls = (liar, devnet.rpc_url) if liar_first else (devnet.rpc_url, liar)
        async with open_committee(devnet, small_params(), 1) as committee:
            await committee.join(0)
            client = RpcClient(urls, lag_s_max=0.5)
            handle = committee.handles[0]
            follower = Follower(client, handle.contract, handle.terms.created_block)
            with pytest.raises(EndpointsDisagreeError):
                await follower.poll()
            client.close()


async def test_feed__bears_an_outage_and_goes_on(devnet: Devnet) -> None:
    """An endpoint that fails for seconds must not end a node, nor make it miss what happened meanwhile."""
    upstream = HttpEndpoint(devnet.rpc_url, timeout_s=5.0, body_bytes_max=1 << 20)
    down = [False]

    def respond(body: object) -> tuple[int, bytes]:
        if down[0]:
            return 503, b"maintenance"
        return upstream.request("POST", "", json.dumps(body).encode(), {"Content-Type": "application/json"})

    async with open_committee(devnet, small_params(), 2) as committee:
        handle = committee.handles[0]
        with serve_fake(respond) as endpoint:
            client = RpcClient([endpoint.url])
            follower = Follower(client, handle.contract, handle.terms.created_block)
            feed = ChainFeed(follower, 0.05)
            await committee.join(0)
            assert joined_owners((await next_with_events(feed)).events) == [committee.chains[0].address]
            down[0] = True
            with pytest.raises(ChainError):
                await follower.poll()
            await committee.join(1)
            down[0] = False
            assert joined_owners((await next_with_events(feed)).events) == [committee.chains[1].address]
            client.close()
    upstream.close()
