"""Pulling from sources that keep their connection and give nothing: a process that was stopped, a host that hangs.

None of them may hold up what another source has, nor the pulls of others.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
from libp2p.abc import INetStream

from p2p_flock.net import blobs
from p2p_flock.net.adapter import Net, open_net
from p2p_flock.net.blob_server import BLOB_PROTOCOL, Status
from p2p_flock.net.framing import FrameReader
from p2p_flock.net.muxer import Liveness
from tests.net.nodes import dial, make_config, open_hardened, until
from tests.net.test_blobs import make_contents, open_fetcher
from tests.net.test_net import open_child

PATIENCE_SECONDS = 5.0  # far below STALL_SECONDS_MAX


@pytest.fixture(autouse=True)
def quick_hedge(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested takes a hedge, not a second."""
    monkeypatch.setattr(blobs, "HEDGE_SECONDS", 0.2)
    monkeypatch.setattr(blobs, "LOOK_SECONDS", 0.05)


class Sleeper:
    """A source that takes questions and answers when it is woken; of its content it sends a beginning at once."""

    def __init__(self, contents: dict[bytes, bytes], begun_bytes: int = 0) -> None:
        self.woken = trio.Event()
        self.asked = 0
        self._contents, self._begun_bytes = contents, begun_bytes

    async def serve(self, stream: INetStream) -> None:
        question = await FrameReader(stream).read_frame(1 << 20)
        self.asked += 1
        if self._begun_bytes:
            content = self._contents[question[:32]]
            await stream.write(_found(content) + content[: self._begun_bytes])
        await self.woken.wait()
        for start in range(0, len(question), 48):
            content = self._contents.get(question[start : start + 32], b"")
            await stream.write(
                _found(content) + content if content else Status.MISSING.value.to_bytes(1, "big") + bytes(8)
            )


def _found(content: bytes) -> bytes:
    return Status.FOUND.value.to_bytes(1, "big") + len(content).to_bytes(8, "big")


@asynccontextmanager
async def open_sleeper(fetcher: Net, sleeper: Sleeper) -> AsyncIterator[str]:
    """A host that serves as ``sleeper`` does, connected with the fetcher; its peer ID."""
    async with open_hardened() as host:
        host.set_stream_handler(BLOB_PROTOCOL, sleeper.serve)
        await dial(host, fetcher._blobs._host)
        peer_id = host.get_id().to_base58()
        await until(lambda: peer_id in fetcher.connected())
        yield peer_id


@contextmanager
def stopped(process_id: int) -> Iterator[None]:
    """While the process is stopped; its kernel goes on to take bytes."""
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


async def test_fetch__stopped_process_as_first_source_costs_a_hedge() -> None:
    """P3: one member that is stopped would hold every pull that begins with it for ten seconds."""
    content = b"\x07" * 3_000_000
    contents = {hashlib.sha256(content).digest(): content}
    async with (
        open_fetcher(contents) as (fetcher, sources),
        open_child(fetcher.addresses[0], len(content), 7) as (process_id, address),
    ):
        await until(lambda: len(fetcher.connected()) == 2)
        with stopped(process_id), trio.fail_after(PATIENCE_SECONDS):
            found = await fetcher.fetch(list(contents), [address.partition("/p2p/")[2], *sources], 1 << 22, 30.0)
        assert found == contents


async def test_fetch__what_only_the_sleeper_has_is_taken_when_it_wakes() -> None:
    """A source that is merely slow would be given up, or its pieces be taken twice."""
    contents = make_contents(6, 10_000)
    rare = next(iter(contents))
    common = {digest: content for digest, content in contents.items() if digest != rare}
    taken: list[bytes] = []
    sleeper = Sleeper(contents)

    async def take(digest: bytes, _content: bytes) -> None:
        taken.append(digest)
        if len(taken) == len(common):
            sleeper.woken.set()

    async with open_fetcher(common) as (fetcher, sources), open_sleeper(fetcher, sleeper) as slow:
        with trio.fail_after(PATIENCE_SECONDS):
            found = await fetcher.fetch_each(list(contents), [slow, *sources], 10_000, 30.0, take)
    assert found == set(contents) and sorted(taken) == sorted(contents)


async def test_fetch__goes_on_where_the_stalled_source_stopped() -> None:
    """A large piece would be pulled anew whenever its source pauses."""
    contents = make_contents(1, 3_000_000)
    sleeper = Sleeper(contents, begun_bytes=2_000_000)
    async with open_fetcher(contents) as (fetcher, sources), open_sleeper(fetcher, sleeper) as slow:
        before = fetcher.bytes_received
        with trio.fail_after(PATIENCE_SECONDS):
            assert await fetcher.fetch(list(contents), [slow, *sources], 1 << 22, 30.0) == contents
        assert fetcher.bytes_received - before < 3_200_000


async def test_fetch__stalled_source_is_asked_last_for_a_while() -> None:
    """P3: each of a round's dozen pulls would cost a hedge more."""
    contents = make_contents(3, 1_000)
    sleeper = Sleeper(contents)
    async with open_fetcher(contents) as (fetcher, sources), open_sleeper(fetcher, sleeper) as slow:
        for digest in contents:
            with trio.fail_after(PATIENCE_SECONDS):
                assert await fetcher.fetch([digest], [slow, *sources], 1_000, 30.0)
        assert sleeper.asked == 1
        sleeper.woken.set()
        assert await fetcher.fetch(list(contents), [slow], 1_000, 30.0) == contents
        assert not fetcher._blobs._stalled_until, "heard again"


async def test_fetch__stalled_sources_hold_no_streams() -> None:
    """One hanging member, asked for as many things as we pull at once, would end all other pulls."""
    contents = make_contents(1, 1_000)
    lost = make_contents(blobs.STREAMS_MAX, 1_000)
    sleeper = Sleeper({})
    async with open_fetcher(contents) as (fetcher, sources), open_sleeper(fetcher, sleeper) as slow:
        async with trio.open_nursery() as nursery:
            for digest in lost:
                nursery.start_soon(fetcher.fetch, [digest], [slow], 1_000, 30.0)
            await until(lambda: sleeper.asked == blobs.STREAMS_MAX)
            with trio.fail_after(PATIENCE_SECONDS):
                assert await fetcher.fetch(list(contents), sources, 1_000, 30.0) == contents
            nursery.cancel_scope.cancel()
        assert fetcher._blobs._streams.value == blobs.STREAMS_MAX


async def test_fetch_to_path__stalled_source_is_left_for_the_next(tmp_path: Path) -> None:
    """A newcomer's model would wait ten seconds for each member that hangs, and start anew."""
    contents = make_contents(1, 3_000_000)
    ((digest, content),) = contents.items()
    sleeper = Sleeper(contents, begun_bytes=2_000_000)
    async with open_fetcher(contents) as (fetcher, sources), open_sleeper(fetcher, sleeper) as slow:
        before = fetcher.bytes_received
        with trio.fail_after(PATIENCE_SECONDS):
            assert await fetcher.fetch_to_path(digest, tmp_path / "model", [slow, *sources], 1 << 22, 30.0)
        assert fetcher.bytes_received - before < 3_200_000
    assert (tmp_path / "model").read_bytes() == content


async def test_silence__of_a_stopped_process_is_heard_before_its_connection_breaks() -> None:
    """P3: a stopped leader would be waited for until its connection is given up, or its timeout is over."""
    liveness = Liveness(interval_s=0.3, timeout_s=30.0)
    async with open_net(make_config(liveness=liveness)) as net, open_child(net.addresses[0]) as (process_id, address):
        peer_id = address.partition("/p2p/")[2]
        await until(lambda: peer_id in net.connected())
        with stopped(process_id):
            await until(lambda: net.silence_s(peer_id) >= 0.5)
            assert peer_id in net.connected()
        await until(lambda: net.silence_s(peer_id) == 0.0)
    assert net.silence_s(peer_id) == 0.0
