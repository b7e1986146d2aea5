"""A restarted node reads only what is new, and believes its disk only where the chain still says the same."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from p2p_flock.chain.archive import ARCHIVE_DEPTH_BLOCKS, SEGMENT_BLOCKS_MIN, ArchivedLog, LogArchive
from p2p_flock.chain.client import RpcClient
from p2p_flock.chain.devnet_deployment import Devnet
from p2p_flock.chain.follower import Follower
from p2p_flock.chain.http import HttpEndpoint
from p2p_flock.chain_events import ChainEvent
from p2p_flock.errors import ChainError
from tests.chain.committee import open_committee, small_params
from tests.chain.fake_rpc import JsonObject, result, serve_fake, serve_proxy

CONTRACT = bytes(range(20))


class MemoryStore:
    """Pieces in memory; the same promises as ``store.segments.SegmentFile``."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.count_max = 1000

    def read(self) -> list[bytes]:
        return list(self.pieces)

    def append(self, piece: bytes) -> bool:
        if len(self.pieces) >= self.count_max:
            return False
        self.pieces.append(piece)
        return True

    def truncate(self, count: int) -> None:
        del self.pieces[count:]


def log_at(block: int) -> ArchivedLog:
    return ArchivedLog(block, 0, bytes(32), bytes(32), (bytes(32),), b"data", 1_700_000_000)


def filled(store: MemoryStore) -> LogArchive:
    archive = LogArchive(store, 1, CONTRACT, 10)
    assert archive.load() == []
    archive.append(19, b"\x01" * 32, [log_at(10), log_at(19)])
    archive.append(29, b"\x02" * 32, [])
    archive.append(39, b"\x03" * 32, [log_at(35)])
    return archive


def test_archive__comes_back_for_the_same_alliance_only() -> None:
    """A node would fold another alliance's log, or read all of its own again."""
    store = MemoryStore()
    assert filled(store).last_block == 39
    again = LogArchive(store, 1, CONTRACT, 10)
    segments = again.load()
    assert [segment.last_block for segment in segments] == [19, 29, 39]
    assert [log.block for segment in segments for log in segment.logs] == [10, 19, 35]
    assert again.last_block == 39
    for other in (LogArchive(store, 2, CONTRACT, 10), LogArchive(store, 1, bytes(20), 10)):
        kept = list(store.pieces)
        assert other.load() == []
        assert store.pieces == []
        store.pieces = kept
    assert LogArchive(store, 1, CONTRACT, 9).load() == []


def test_archive__forgets_what_a_reorganisation_reached() -> None:
    """Logs that the chain took back would come again with every restart."""
    store = MemoryStore()
    archive = filled(store)
    archive.drop_after(38)
    assert archive.last_block == 29
    archive.append(45, b"\x04" * 32, [log_at(40)])
    assert [s.last_block for s in LogArchive(store, 1, CONTRACT, 10).load()] == [19, 29, 45]
    archive.drop_after(9)
    assert store.pieces == []
    archive.append(20, b"\x05" * 32, [])
    assert [s.last_block for s in LogArchive(store, 1, CONTRACT, 10).load()] == [20]


@pytest.mark.parametrize("broken", [0, 1, 2, 3])
def test_archive__bad_piece_ends_it(broken: int) -> None:
    """A gap in the log would contradict itself later, and stop the node for ever."""
    store = MemoryStore()
    filled(store)
    store.pieces[broken] = b"\x93\x01\x02\x03"
    archive = LogArchive(store, 1, CONTRACT, 10)
    assert len(archive.load()) == max(0, broken - 1)
    store = MemoryStore()
    filled(store)
    if broken:
        del store.pieces[broken]  # a gap
        assert len(LogArchive(store, 1, CONTRACT, 10).load()) == broken - 1


def test_archive__stops_at_its_bound() -> None:
    """The disk would fill, or a gap would follow the first piece that did not fit."""
    store = MemoryStore()
    store.count_max = 3
    archive = filled(store)
    archive.append(60, b"\x06" * 32, [])
    assert archive.last_block == 29
    assert [s.last_block for s in LogArchive(store, 1, CONTRACT, 10).load()] == [19, 29]


class Counting:
    """An endpoint in front of the chain that counts eth_getLogs and the blocks asked for, and may cap or fail."""

    def __init__(self, devnet: Devnet) -> None:
        self.upstream = HttpEndpoint(devnet.rpc_url, timeout_s=5.0, body_bytes_max=1 << 20)
        self.ranges: list[tuple[int, str]] = []
        self.blocks_max: int | None = None
        self.pages_left: int | None = None

    def respond(self, body: object) -> tuple[int, bytes]:
        calls = body if isinstance(body, list) else [body]
        for call in calls:
            if call["method"] == "eth_getLogs":
                first, last = call["params"][0]["fromBlock"], call["params"][0]["toBlock"]
                self.ranges.append((int(first, 16), last))
                if self.pages_left is not None:
                    if self.pages_left == 0:
                        return 503, b"maintenance"
                    self.pages_left -= 1
                if self.blocks_max and last != "latest" and int(last, 16) - int(first, 16) >= self.blocks_max:
                    error = {"code": -32000, "message": "query exceeds max block range"}
                    answers = [{"jsonrpc": "2.0", "id": c["id"], "error": error} for c in calls]
                    return 200, json.dumps(answers if isinstance(body, list) else answers[0]).encode()
        return self.upstream.request("POST", "", json.dumps(body).encode(), {"Content-Type": "application/json"})


async def read_all(follower: Follower) -> tuple[ChainEvent, ...]:
    update = await follower.poll()
    assert update is not None
    return update.events


async def test_follower__restarted_reads_only_what_is_new(own_devnet: Devnet) -> None:
    """Every restart would read the chain from the alliance's beginning: minutes of calls after a month."""
    endpoint, store = Counting(own_devnet), MemoryStore()
    async with open_committee(own_devnet, small_params(), 3) as committee:
        handle = committee.handles[0]
        first = handle.terms.created_block
        for index in range(2):
            await committee.join(index)
        await committee.chains[0].client.call("anvil_mine", hex(SEGMENT_BLOCKS_MIN + ARCHIVE_DEPTH_BLOCKS + 10))
        with serve_fake(endpoint.respond) as server:
            client = RpcClient([server.url])
            archive = LogArchive(store, own_devnet.chain_id, handle.contract, first)
            before = Follower(client, handle.contract, first, archive)
            events = await read_all(before)
            # One page is one segment, and its end is too near the head: the next head's page is kept with it.
            await committee.chains[0].client.call("anvil_mine", hex(ARCHIVE_DEPTH_BLOCKS + 1))
            assert await read_all(before) == ()
            kept = LogArchive(store, own_devnet.chain_id, handle.contract, first).load()
            assert len(kept) == 1
            await committee.join(2)
            endpoint.ranges.clear()
            archive = LogArchive(store, own_devnet.chain_id, handle.contract, first)
            after = await read_all(Follower(client, handle.contract, first, archive))
            assert after[: len(events)] == events
            assert len(after) == len(events) + 1
            assert [start for start, _ in endpoint.ranges] == [kept[0].last_block + 1]
            client.close()
    endpoint.upstream.close()


async def test_follower__archive_of_another_history_is_read_anew(own_devnet: Devnet) -> None:
    """A development chain that began anew, or a deep reorganisation, would leave a node with the old log."""
    store = MemoryStore()
    async with open_committee(own_devnet, small_params(), 1) as committee:
        handle = committee.handles[0]
        first = handle.terms.created_block
        await committee.join(0)
        client = RpcClient([own_devnet.rpc_url])
        true = await read_all(Follower(client, handle.contract, first))
        false = LogArchive(store, own_devnet.chain_id, handle.contract, first)
        false.load()
        false.append(first, b"\x07" * 32, [])
        false.append(10**9, b"\x07" * 32, [])
        archive = LogArchive(store, own_devnet.chain_id, handle.contract, first)
        assert await read_all(Follower(client, handle.contract, first, archive)) == true
        assert store.pieces == []
        client.close()


async def test_follower__goes_on_where_a_failing_endpoint_stopped_it(own_devnet: Devnet) -> None:
    """A long log over a bad endpoint would be begun anew with every failure, for ever."""
    endpoint, store = Counting(own_devnet), MemoryStore()
    async with open_committee(own_devnet, small_params(), 2) as committee:
        handle = committee.handles[0]
        first = handle.terms.created_block
        await committee.join(0)
        for _ in range(10):  # a busy machine takes seconds for a thousand at once
            await committee.chains[0].client.call("anvil_mine", hex(50))
        await committee.join(1)
        whole = await handle.events(first, (await committee.chains[0].client.head()).number)
        endpoint.blocks_max, endpoint.pages_left = 130, 6  # halved from 500; what is refused counts, too
        with serve_fake(endpoint.respond) as server:
            client = RpcClient([server.url])
            archive = LogArchive(store, own_devnet.chain_id, handle.contract, first)
            follower = Follower(client, handle.contract, first, archive)
            with pytest.raises(ChainError):
                await follower.poll()
            kept = LogArchive(store, own_devnet.chain_id, handle.contract, first).load()
            assert 1 <= len(kept) <= 3  # a request that a busy machine repeats counts as one of the six
            endpoint.pages_left = None
            endpoint.ranges.clear()
            assert await read_all(follower) == whole
            assert min(start for start, _ in endpoint.ranges) == kept[-1].last_block + 1
            endpoint.ranges.clear()
            again = LogArchive(store, own_devnet.chain_id, handle.contract, first)
            assert await read_all(Follower(client, handle.contract, first, again)) == whole
            assert min(start for start, _ in endpoint.ranges) > kept[-1].last_block
            client.close()
    endpoint.upstream.close()


async def test_follower__a_rewind_into_a_kept_segment_leaves_no_hole() -> None:
    """The logs of a dropped segment's lower blocks would be missing from the file, and from the node's next start."""
    store = MemoryStore()
    archive = filled(store)

    def header(number: int) -> dict[str, object]:
        fork = number if number <= 25 else number + 100  # reorganised above 25
        return {"hash": f"0x{fork:064x}", "number": hex(number)}

    def answer(call: JsonObject, _: Callable[[], JsonObject]) -> JsonObject:
        return result(call, header(int(call["params"][0], 16)))

    with serve_proxy("http://127.0.0.1:1", answer) as endpoint:
        client = RpcClient([endpoint.url])
        follower = Follower(client, CONTRACT, 10, archive)
        follower._heads.extend((number, number.to_bytes(32, "big")) for number in (12, 25, 37, 45))
        follower._cursor = 45
        await follower._rewind()
        client.close()
    # Block 25 still stands, but the segment 20 to 29 is gone from the file: it is read again from its start.
    assert archive.last_block == 19
    assert follower._cursor == 19
    assert follower._rewound_to == 19
    assert [number for number, _ in follower._heads] == [12]
