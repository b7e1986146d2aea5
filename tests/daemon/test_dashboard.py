"""The node and its dashboard: where it is written down, and that the node lives whatever happens to it."""

from __future__ import annotations

import logging
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2p_flock.daemon.control import Handler
from p2p_flock.daemon.control_protocol import JsonObject
from p2p_flock.daemon.dashboard import DashboardDoor
from p2p_flock.daemon.dashboard_files import create_token, load_or_create_token, read_token, read_url, write_url
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.daemon.observability import process_secrets
from p2p_flock.dashboard.access import Access
from p2p_flock.errors import StoreError

HTTP_OK = b"HTTP/1.1 200"


async def status(_arguments: JsonObject) -> dict[str, object]:
    await trio.lowlevel.checkpoint()
    return {"peer_id": "x"}


HANDLERS: dict[str, Handler] = {"status": status}


@asynccontextmanager
async def open_door(home: Path, port: int = 0) -> AsyncIterator[tuple[DashboardDoor, DataDirectory]]:
    """A node's dashboard in a home."""
    door, directory = DashboardDoor(), DataDirectory(home)
    async with trio.open_nursery() as nursery:
        await nursery.start(door.run, port, directory, HANDLERS, None)
        yield door, directory
        nursery.cancel_scope.cancel()


async def ask_status(door: DashboardDoor, token: str) -> bytes:
    assert door.dashboard is not None
    async with await trio.open_tcp_stream("127.0.0.1", door.dashboard.port) as stream:
        head = f"Host: 127.0.0.1:{door.dashboard.port}\r\nAuthorization: Bearer {token}"
        await stream.send_all(f"GET /api/v1/status HTTP/1.1\r\n{head}\r\n\r\n".encode())
        return b"".join([piece async for piece in stream])


async def test_door__writes_down_where_it_is_and_what_opens_it(tmp_path: Path) -> None:
    """`p2p-flock dashboard` could not find the page, or everybody could."""
    async with open_door(tmp_path) as (door, directory):
        assert read_url(directory.dashboard_url) == door.url and door.warnings == []
        token = read_token(directory.dashboard_token)
        assert token not in directory.dashboard_url.read_text()
        for path in (directory.dashboard_token, directory.dashboard_url):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await ask_status(door, token)).startswith(HTTP_OK)
        assert not (await ask_status(door, token[:-1])).startswith(HTTP_OK)
        cookie = Access(token, int(str(door.url).rpartition(":")[2])).cookie_value
        assert process_secrets.clean(f"{token} {cookie}") == "[hidden] [hidden]"
        directory.dashboard_link.touch()
    assert not directory.dashboard_url.exists() and not directory.dashboard_link.exists()
    async with open_door(tmp_path):
        assert read_token(directory.dashboard_token) == token  # a link that was kept stays good


async def test_door__a_taken_port_leaves_the_node_without_a_page(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A node with a stake would not start because another program has the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken, caplog.at_level(logging.WARNING):
        port = taken.getsockname()[1]
        async with open_door(tmp_path, port) as (door, directory):
            assert door.url is None and not directory.dashboard_url.exists()
            (warning,) = door.warnings
            assert warning.startswith("the dashboard cannot listen") and f"port {port}" in warning
            assert "[dashboard]" in warning and "\n" not in warning and warning in caplog.text


async def test_door__a_token_that_others_can_read_opens_nothing(tmp_path: Path) -> None:
    """Whoever has read it would look at the node for ever."""
    directory = DataDirectory(tmp_path)
    create_token(directory.dashboard_token)
    directory.dashboard_token.chmod(0o644)
    async with open_door(tmp_path) as (door, _):
        assert door.url is None and "other users" in door.warnings[0]


async def test_door__a_defect_leaves_the_node_without_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect of the page would end a node with a stake, or would go unnoticed."""

    async def broken(*_arguments: object, **_more: object) -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("planted")

    monkeypatch.setattr("p2p_flock.daemon.dashboard.serve_dashboard", broken)
    with caplog.at_level(logging.ERROR):
        async with open_door(tmp_path) as (door, _):
            assert door.url is None and "one defect" in door.warnings[0]
    assert "planted" in caplog.text and "Traceback" in caplog.text


def test_token__is_new_each_time_and_never_overwritten(tmp_path: Path) -> None:
    """Two nodes would open with one link."""
    one, other = create_token(tmp_path / "one"), create_token(tmp_path / "other")
    assert one != other and len(one) == 43
    assert load_or_create_token(tmp_path / "one") == one
    with pytest.raises(StoreError):
        create_token(tmp_path / "one")


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 44, b"\xff" * 43, b"a b" * 14 + b"a", b"x" * 100_000])
def test_token__that_is_damaged_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty token would let everybody in."""
    path = tmp_path / "dashboard.token"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="delete it"):
        read_token(path)


@pytest.mark.parametrize(
    "url", ["", "http://evil.example:80", "http://127.0.0.1:1/x", "https://127.0.0.1:1", "x" * 999]
)
def test_url__that_is_none_of_ours_is_refused(tmp_path: Path, url: str) -> None:
    """The token would be sent to wherever the file says."""
    write_url(tmp_path / "url", url)
    with pytest.raises(StoreError, match="no address"):
        read_url(tmp_path / "url")
    with pytest.raises(StoreError, match="start the node"):
        read_url(tmp_path / "none")
