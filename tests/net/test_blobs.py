"""Pulling content: many small pieces, large files, sources that lack, stall, lie and vanish."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID

from p2p_flock.errors import NetError
from p2p_flock.net import blob_server, blobs
from p2p_flock.net.adapter import Net, open_net
from p2p_flock.net.blob_server import BLOB_PROTOCOL, ITEMS_MAX, Status
from p2p_flock.net.framing import FrameReader
from p2p_flock.net.hardening import HardenedHost
from tests.net.nodes import dial, make_config, open_hardened, until
from tests.net.test_net import open_child


def make_contents(count: int, size: int) -> dict[bytes, bytes]:
    """Random contents by digest."""
    contents = [os.urandom(size) for _ in range(count)]
    return {hashlib.sha256(content).digest(): content for content in contents}


@asynccontextmanager
async def open_fetcher(*sources: dict[bytes, object]) -> AsyncIterator[tuple[Net, list[str]]]:
    """A node that is connected with one node per source, and their peer IDs."""
    async with AsyncExitStack() as stack:
        nets = [await stack.enter_async_context(open_net(make_config(blob_source=source.get))) for source in sources]
        bootstrap = tuple(net.addresses[0] for net in nets)
        fetcher = await stack.enter_async_context(open_net(make_config(bootstrap=bootstrap)))
        await until(lambda: len(fetcher.connected()) >= len(nets))
        yield fetcher, [net.peer_id for net in nets]


async def test_fetch__many_pieces_from_one_source() -> None:
    """A masked update's chunks would need a round trip each."""
    contents = make_contents(2 * ITEMS_MAX + 3, 2_000)
    async with open_fetcher(contents) as (fetcher, sources):
        assert await fetcher.fetch(list(contents), sources, 2_000, 10.0) == contents


async def test_fetch__large_pieces_and_the_empty_one(tmp_path: Path) -> None:
    """Contents at the edges of frames, windows and files would be cut."""
    contents = {}
    for size in (0, 1, 65_507, 65_508, 262_144, 1_048_576, 5_000_001):
        contents |= make_contents(1, size)
    on_disk: dict[bytes, object] = {}
    for digest, content in contents.items():
        path = tmp_path / digest.hex()
        path.write_bytes(content)
        on_disk[digest] = path
    async with open_fetcher(contents, on_disk) as (fetcher, sources):
        for source in sources:
            assert await fetcher.fetch(list(contents), [source], 6_000_000, 10.0) == contents


async def test_fetch__what_is_missing_is_absent_at_once() -> None:
    """A missing piece would cost the whole deadline."""
    contents = make_contents(3, 100)
    (lost,) = make_contents(1, 100)
    (large,) = big = make_contents(1, 5_000)
    async with open_fetcher({**contents, **big}, contents) as (fetcher, sources):
        with trio.fail_after(3.0):
            assert await fetcher.fetch([lost, large, *contents], sources, 4_999, 30.0) == contents
            assert await fetcher.fetch([], sources, 100, 30.0) == {}
            assert await fetcher.fetch([lost], [], 100, 30.0) == {}


async def test_fetch__sources_share_the_work_and_fill_each_others_gaps() -> None:
    """Pieces that are spread over several holders could not be gathered."""
    contents = make_contents(60, 1_000)
    digests = list(contents)
    first = {digest: contents[digest] for digest in digests[:40]}
    second = {digest: contents[digest] for digest in digests[20:]}
    async with open_fetcher(first, second) as (fetcher, sources):
        assert await fetcher.fetch(digests, sources, 1_000, 10.0) == contents


async def test_fetch__corrupted_content_is_fetched_elsewhere() -> None:
    """A lying holder could poison what we hold, or keep us from it."""
    contents = make_contents(8, 1_500_000)
    lies = {digest: content[:-1] + bytes([content[-1] ^ 1]) for digest, content in contents.items()}
    async with open_fetcher(lies, contents) as (fetcher, sources):
        assert await fetcher.fetch(list(contents), sources, 2_000_000, 10.0) == contents
        assert set(fetcher._blobs.liars) == {sources[0]}
        assert await fetcher.fetch(list(contents), sources[:1], 2_000_000, 3.0) == {}


async def test_fetch_each__slow_taker_slows_the_pull_and_gets_all_once() -> None:
    """A model larger than memory would be read into memory, or pieces arrive twice."""
    contents = make_contents(60, 500_000)
    async with open_fetcher(contents, contents) as (fetcher, sources):
        gate = trio.Event()
        taken: list[bytes] = []

        async def take(digest: bytes, content: bytes) -> None:
            await gate.wait()
            assert contents[digest] == content
            taken.append(digest)

        async def open_the_gate() -> None:
            received = -1
            while received != fetcher.bytes_received:  # until nothing moves any more
                received = fetcher.bytes_received
                await trio.testing.wait_all_tasks_blocked(0.1)
            assert fetcher.bytes_received < 2 * (blobs.WINDOW_BYTES + 2_000_000)
            gate.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_the_gate)
            assert await fetcher.fetch_each(list(contents), sources, 500_000, 10.0, take) == set(contents)
        assert sorted(taken) == sorted(contents)


async def test_fetch_each__error_of_the_taker_comes_out() -> None:
    """A full disk would look like a missing piece."""
    contents = make_contents(3, 1_000)
    async with open_fetcher(contents) as (fetcher, sources):

        async def take(_digest: bytes, _content: bytes) -> None:
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            await fetcher.fetch_each(list(contents), sources, 1_000, 10.0, take)


async def test_fetch__bad_digest_is_an_error() -> None:
    """A caller's mistake would look like a missing piece."""
    async with open_fetcher({}) as (fetcher, sources):
        with pytest.raises(NetError, match="32 bytes"):
            await fetcher.fetch([b"short"], sources, 100, 1.0)


class Liar:
    """A source that speaks the protocol badly, in one way of several."""

    def __init__(self, way: str, content: bytes) -> None:
        self.way = way
        self.content = content
        self.offsets: list[int] = []

    async def serve(self, stream: INetStream) -> None:
        """Answer one question."""
        question = await FrameReader(stream).read_frame(1 << 20)
        self.offsets.append(int.from_bytes(question[32:40], "big"))
        size = len(self.content)
        match self.way:
            case "stops half way":
                await stream.write(_header(Status.FOUND, size) + self.content[: size // 2])
                await stream.reset()
            case "ends half way":
                await stream.write(_header(Status.FOUND, size) + self.content[: size // 2])
                await stream.close()
            case "announces more":
                await stream.write(_header(Status.FOUND, 1 << 60) + self.content)
            case "talks nonsense":
                await stream.write(b"\xff" * 1000)
            case "stalls":
                await stream.write(_header(Status.FOUND, size) + self.content[: size // 2])
                await trio.sleep_forever()


def _header(status: Status, size: int) -> bytes:
    return status.value.to_bytes(1, "big") + size.to_bytes(8, "big")


@asynccontextmanager
async def open_liar(fetcher: Net, liar: Liar) -> AsyncIterator[HardenedHost]:
    """A host that serves as ``liar`` does, connected with the fetcher."""
    async with open_hardened() as host:
        host.set_stream_handler(BLOB_PROTOCOL, liar.serve)
        await dial(host, fetcher._blobs._host)
        yield host


@pytest.mark.parametrize("way", ["stops half way", "ends half way", "announces more", "talks nonsense", "stalls"])
async def test_fetch__bad_source_costs_no_more_than_itself(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad holder could keep us from a piece that others have."""
    monkeypatch.setattr(blobs, "STALL_SECONDS_MAX", 0.3)
    monkeypatch.setattr(blobs, "FAILURES_MAX", 1)
    contents = make_contents(1, 400_000)
    ((digest, content),) = contents.items()
    async with open_fetcher(contents) as (fetcher, sources):
        liar = Liar(way, content)
        async with open_liar(fetcher, liar) as host:
            bad = host.get_id().to_base58()
            with trio.fail_after(5.0):
                assert await fetcher.fetch([digest], [bad], 1 << 20, 5.0) == {}
                assert await fetcher.fetch([digest], [bad, *sources], 1 << 20, 5.0) == contents


async def test_fetch__goes_on_where_a_source_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large piece over a weak link would start anew for ever."""
    monkeypatch.setattr(blobs, "RETRY_SECONDS", 0.01)
    (content,) = make_contents(1, 400_000).values()
    digest = hashlib.sha256(content).digest()
    async with open_net(make_config()) as fetcher:
        liar = Liar("stops half way", content)
        async with open_liar(fetcher, liar) as host:
            assert await fetcher.fetch([digest], [host.get_id().to_base58()], 1 << 20, 5.0) == {}
    assert len(liar.offsets) == blobs.FAILURES_MAX
    assert liar.offsets[0] == 0
    assert liar.offsets[1] > 100_000


async def test_fetch_to_path__resumes_and_verifies(tmp_path: Path) -> None:
    """A model of gigabytes would start anew after each restart, or be believed unchecked."""
    contents = make_contents(1, 3_000_000)
    ((digest, content),) = contents.items()
    path = tmp_path / "model"
    lie: dict[bytes, object] = {digest: bytes(3_000_000)}
    async with open_fetcher(lie, contents) as (fetcher, sources):
        assert not await fetcher.fetch_to_path(digest, path, sources[:1], 1 << 22, 5.0)
        assert not path.exists()
        (tmp_path / "model.part").write_bytes(content[:1_000_000])
        before = fetcher.bytes_received
        assert await fetcher.fetch_to_path(digest, path, sources[1:], 1 << 22, 5.0)
        assert fetcher.bytes_received - before < 2_100_000
        assert path.read_bytes() == content
        path.unlink()
        (tmp_path / "model.part").write_bytes(b"the start of something else")
        assert await fetcher.fetch_to_path(digest, path, sources, 1 << 22, 5.0)
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]


async def test_serve__streams_of_one_peer_are_bounded() -> None:
    """One peer could hold all our serving slots."""
    contents = make_contents(1, 100)
    async with open_net(make_config(blob_source=contents.get)) as server, open_hardened() as greedy:
        await dial(greedy, server._blobs._host)
        streams = [await greedy.new_stream(server._blobs._host.get_id(), [BLOB_PROTOCOL]) for _ in range(8)]
        item = next(iter(contents)) + bytes(8) + (100).to_bytes(8, "big")
        answered = 0
        for stream in streams:
            with trio.move_on_after(0.3):
                try:
                    await stream.write(len(item).to_bytes(4, "big") + item)
                    answered += bool(await stream.read(1))
                except blob_server.STREAM_FAILURES:
                    pass
        assert answered == blob_server.SERVED_STREAMS_PER_PEER_MAX


async def test_fetch__streams_are_used_again_until_they_are_too_old() -> None:
    """Each of a round's dozen pulls from one peer would open and negotiate a stream of its own."""
    contents = make_contents(3, 100)
    opened: list[ID] = []
    async with open_fetcher(contents) as (fetcher, sources):
        host = fetcher._blobs._host
        open_stream = host.new_stream

        async def count(peer: ID, protocols: Sequence[TProtocol]) -> INetStream:
            if BLOB_PROTOCOL in protocols:
                opened.append(peer)
            return await open_stream(peer, protocols)

        host.new_stream = count  # type: ignore[method-assign, assignment]  # a counter around the real one
        for digest in contents:
            assert await fetcher.fetch([digest], sources, 100, 5.0) == {digest: contents[digest]}
        assert len(opened) == 1
        (source,) = fetcher._blobs._idle
        idle = fetcher._blobs._idle[source]
        fetcher._blobs._idle[source] = replace(idle, since=idle.since - 2 * blobs.IDLE_SECONDS_MAX)
        assert await fetcher.fetch(list(contents), sources, 100, 5.0) == contents
        assert len(opened) == 2


async def test_fetch__a_stream_that_died_meanwhile_costs_nothing() -> None:
    """A peer that restarted between two pulls would count as failing, and the pull would wait."""
    contents = make_contents(2, 100)
    async with open_fetcher(contents) as (fetcher, sources):
        first, second = contents
        assert await fetcher.fetch([first], sources, 100, 5.0)
        for idle in fetcher._blobs._idle.values():
            await idle.stream.reset()
        with trio.fail_after(blobs.RETRY_SECONDS * 5):
            assert await fetcher.fetch([second], sources, 100, 5.0)


async def test_fetch__from_another_process_survives_its_death() -> None:
    """A holder that is killed while it sends would hang the pull, or end it with half a piece."""
    size = 30_000_000
    content = b"\x07" * size
    digest = hashlib.sha256(content).digest()
    found: dict[bytes, bytes] = {}
    async with (
        open_fetcher({digest: content}) as (fetcher, sources),
        open_child(fetcher.addresses[0], size, 7) as (process_id, address),
        trio.open_nursery() as nursery,
    ):
        await until(lambda: len(fetcher.connected()) == 2)
        victim = address.partition("/p2p/")[2]

        async def pull() -> None:
            found.update(await fetcher.fetch([digest], [victim, *sources], 1 << 25, 10.0))

        received = fetcher.bytes_received
        nursery.start_soon(pull)
        await until(lambda: fetcher.bytes_received > received + 1_000_000)
        os.kill(process_id, 9)
    assert found == {digest: content}
