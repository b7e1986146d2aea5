"""Whatever a local program or a web page may send: the dashboard lives, stays bounded and ends when it is told to."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest
import trio
import trio.testing

from p2p_flock.dashboard import connections
from p2p_flock.dashboard.connections import HEAD_BYTES_MAX
from p2p_flock.dashboard.server import CONNECTIONS_MAX
from tests.dashboard.client import TOKEN, FakeNode, open_dashboard, parse_reply, read_all, write_page

STATUS = "/api/v1/status"
LARGE = {"text": "x" * 30_000_000}  # more than the kernel takes for a client that does not read


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/static/..%5cserver.py",
     "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/vendor/../../secret.js", "/static/%00", "/static/",
     "/static/start.js%00.html", "/static/secret.txt", "/static/link.js", "/static/linked/secret.js",
     "/static/%ff%fe", "/../../etc/passwd", "/static/vendor"],
)  # fmt: skip
async def test_static__no_path_leads_elsewhere(tmp_path: Path, path: str) -> None:
    """Every local program could read the node's keys through its page."""
    folder = write_page(tmp_path / "static")
    (tmp_path / "secret.js").write_text("secret")
    (folder / "secret.txt").write_text("secret")
    (folder / "link.js").symlink_to(tmp_path / "secret.js")
    (folder / "linked").symlink_to(tmp_path)
    async with open_dashboard(static_folder=folder) as client:
        reply = await client.get(path)
        assert reply.status == 404 and b"secret" not in reply.body


def rubbish() -> list[bytes]:
    """Bytes that are no request we answer, one that is half of another protocol's, and seeded noise."""
    generator = random.Random(4180)
    host = b"Host: 127.0.0.1:1\r\n"
    return [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n" + host + b"\r\n",
        b"G\x00T / HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /\xff HTTP/1.1\r\n" + host + b"\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\n" + host + b"\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\n" + host + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + host + b"\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Content-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: gzip\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        b"GET / HTTP/1.1\r\n" + host + b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + bytes(100),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        *[generator.randbytes(generator.randrange(1, 3_000)) + b"\r\n\r\n" for _ in range(20)],
    ]  # fmt: skip


async def test_rubbish__ends_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    """Any local program could end the page, or the node."""
    with caplog.at_level(logging.WARNING, logger="p2p_flock"):
        async with open_dashboard() as client:
            for data in rubbish():
                async with await client.connect() as stream:
                    await stream.send_all(data)
                    await stream.send_eof()
                    with trio.fail_after(10):
                        assert parse_reply(await read_all(stream)).status not in (200, 204), data
            assert (await client.get(STATUS)).status == 200
    assert caplog.text == ""  # whoever sends rubbish could fill the disk with warnings


async def test_head__is_bounded() -> None:
    """One request could fill the memory."""
    async with open_dashboard() as client:
        for headers in (
            {"X": "x" * (HEAD_BYTES_MAX + connections.RECEIVE_BYTES_MAX)},
            {f"X-{number}": "x" * 100 for number in range(300)},
        ):
            reply = await client.get(STATUS, headers)
            assert reply.status in (0, 400, 431) and client.node.asked == []
        assert (await client.get(STATUS, {"X": "x" * 4_000})).status == 200


async def test_connection__carries_one_request() -> None:
    """What bounds a connection would have to be bounded for each of its requests."""
    async with open_dashboard() as client:
        reply = await client.send(client.head("GET", STATUS) * 3)
        assert reply.status == 200 and reply.headers["connection"] == "close"
        assert client.node.count("status") == 1


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"\r\n"])
async def test_connection__of_a_client_that_dawdles_is_closed(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """A few programs that send a byte now and then could keep everybody out (slow loris)."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS_MAX", 0.3)
    async with open_dashboard() as client, await client.connect() as stream:
        await stream.send_all(sent)
        with trio.fail_after(10):
            await read_all(stream)
        assert (await client.get(STATUS)).status == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/v1/session"), ("POST", STATUS), ("GET", STATUS)])
async def test_body__that_nobody_takes_or_that_never_comes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    """hypercorn waits for ever where an answer was given before the body was taken: connections would pile up."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS_MAX", 0.5)
    monkeypatch.setattr(connections, "AFTER_ANSWER_SECONDS_MAX", 0.3)
    async with open_dashboard() as client:
        origin = {"Origin": f"http://{client.host}", "Content-Type": "application/json"}
        for body in (b"", b"x" * 1_000_000):
            head = client.head(method, path, {**origin, "Content-Length": "100000000"})
            async with await client.connect() as stream, trio.open_nursery() as nursery:
                nursery.start_soon(_send_what_is_taken, stream, head + body)
                with trio.fail_after(10):
                    await read_all(stream)
                nursery.cancel_scope.cancel()
        assert (await client.get(STATUS)).status == 200


async def _send_what_is_taken(stream: trio.SocketStream, data: bytes) -> None:
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        return


async def test_reader__that_stalls_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that stops reading would hold its answer in memory for ever."""
    monkeypatch.setattr(connections, "SEND_SECONDS_MAX", 0.3)
    async with open_dashboard(FakeNode({"status": LARGE})) as client, await client.connect() as stream:
        await stream.send_all(client.head("GET", STATUS))
        assert await stream.receive_some(100)
        await trio.testing.wait_all_tasks_blocked(0.6)
        with trio.fail_after(10):
            assert len(await read_all(stream)) < len(LARGE["text"])


async def test_connections__are_bounded_and_come_back() -> None:
    """A program that opens connections without end would take all the node's file descriptors."""
    async with open_dashboard() as client:
        streams = [await client.connect() for _ in range(CONNECTIONS_MAX)]
        for stream in streams:
            await stream.send_all(b"GET / HT")
        await trio.testing.wait_all_tasks_blocked()
        async with await client.connect() as one_more:
            with trio.fail_after(10):
                assert await read_all(one_more) == b""
        for stream in streams:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await client.get(STATUS)).status == 200


async def test_token__guesses_are_all_refused_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Guessing would work, or fill the log."""
    async with open_dashboard() as client:
        with caplog.at_level(logging.INFO, logger="p2p_flock"):
            for number in range(50):
                assert (await client.open_session(TOKEN[:-1] + chr(65 + number % 26))).status == 401
                assert (await client.get(STATUS, {"Authorization": f"Bearer {number}"})).status == 401
        assert caplog.text == "" and client.node.asked == []


async def test_cancellation__ends_it_whatever_clients_do() -> None:
    """The node could not be stopped while a client does not read: hypercorn's sends are shielded."""
    node = FakeNode({"status": LARGE, "wallet.show": trio.sleep_forever})
    with trio.CancelScope() as ended_late:
        async with open_dashboard(node) as client:
            streams = [await client.connect() for _ in range(4)]
            for stream, path in zip(streams, (STATUS, "/api/v1/events", "/api/v1/wallet/show"), strict=False):
                await stream.send_all(client.head("GET", path))
            await streams[3].send_all(b"GET / HT")
            await trio.testing.wait_all_tasks_blocked(0.1)
            # A stalled send would end by itself only after SEND_SECONDS_MAX.
            ended_late.deadline = trio.current_time() + connections.SEND_SECONDS_MAX / 2
    assert not ended_late.cancelled_caught and ended_late.deadline > trio.current_time()
    for stream in streams:
        await stream.aclose()
