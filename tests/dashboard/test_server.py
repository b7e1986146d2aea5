"""The page, the commands and what goes wrong with them, over real sockets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p_flock.daemon.control_messages import COMMANDS
from p2p_flock.dashboard.api import COMMANDS_AT_ONCE_MAX, READ_COMMANDS, command_path, parse_arguments
from p2p_flock.dashboard.server import serve_dashboard
from p2p_flock.dashboard.settings import DashboardSettings
from p2p_flock.errors import (
    ChainError,
    LocalProtocolError,
    ParameterError,
    PortTakenError,
    RpcError,
    StoreError,
    UsageError,
)
from tests.dashboard.client import TOKEN, FakeNode, open_dashboard, write_page

STATUS = "/api/v1/status"


async def test_page__is_given_with_its_files_and_kept_by_the_browser(tmp_path: Path) -> None:
    """The operator would see no page, or load all of it at each look."""
    async with open_dashboard(static_folder=write_page(tmp_path / "static")) as client:
        page = await client.get("/", {"Authorization": None})
        assert page.status == 200 and b"<title>page" in page.body
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        script = await client.get("/static/vendor/preact.mjs", {"Authorization": None})
        assert script.body == b"export {}" and script.headers["content-type"].startswith("text/javascript")
        again = await client.get("/static/vendor/preact.mjs", {"If-None-Match": script.headers["etag"]})
        assert again.status == 304 and again.body == b""
        assert (await client.get("/static/nothing.js")).status == 404


@pytest.mark.parametrize("what", ["nothing", "no index", "no libraries"])
async def test_page__that_was_not_built_says_so(tmp_path: Path, what: str) -> None:
    """The operator would look at an empty page and not know why."""
    folder = tmp_path / "static"
    if what != "nothing":
        write_page(folder)
        (folder / ("index.html" if what == "no index" else "vendor/preact.mjs")).unlink()
    async with open_dashboard(static_folder=folder) as client:
        page = await client.get("/")
        assert page.status == 503 and b"scripts/setup" in page.body
        assert page.headers["content-type"] == "text/html; charset=utf-8"


def test_commands__none_of_them_changes_anything() -> None:
    """A page could move money, change the membership or stop the node."""
    changing = {
        name
        for name in COMMANDS
        if name.split(".")[-1] not in ("status", "watch", "list", "show", "history", "mesh", "log")
    }
    assert {"alliance.join", "alliance.create", "alliance.leave", "wallet.claim", "stop"} <= changing
    assert not changing & set(READ_COMMANDS)
    assert set(READ_COMMANDS) <= set(COMMANDS)


async def test_commands__are_answered_with_their_results() -> None:
    """The page would show nothing."""
    async with open_dashboard(FakeNode({"status": {"peer_id": "x"}})) as client:
        reply = await client.get(STATUS)
        assert reply.status == 200 and reply.json == {"peer_id": "x"}
        assert reply.headers["content-type"] == "application/json"
        await client.get("/api/v1/alliance/show?alliance=flock%3A1")
        await client.get("/api/v1/node/log?level=warning&after=7")
        await client.get("/api/v1/alliance/history?before=4&limit=2")
        assert client.node.asked[-3:] == [
            ("alliance.show", {"alliance": "flock:1"}),
            ("node.log", {"after": 7, "level": "warning", "limit": 200}),
            ("alliance.history", {"before": 4, "limit": 2}),
        ]


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(READ_COMMANDS)))
async def test_commands__that_change_something_have_no_path(command: str) -> None:
    """A page could act instead of only looking."""
    async with open_dashboard() as client:
        for method in ("GET", "POST"):
            reply = await client.request(method, command_path(command), {"Origin": f"http://{client.host}"})
            assert reply.status in (404, 405)
        assert client.node.asked == []


@pytest.mark.parametrize(
    ("command", "query"),
    [
        ("status", "?x=1"),
        ("alliance.show", ""),
        ("alliance.show", "?alliance=a&alliance=b"),
        ("alliance.show", "?alliance=" + "x" * 257),
        ("alliance.show", "?alliance=%00"),
        ("node.log", "?limit=many"),
        ("node.log", "?limit=1.5"),
        ("node.log", "?limit="),
        ("node.log", "?after=" + "9" * 19),
        ("node.log", "?after=%D9%A3"),  # a digit, but no ASCII one
        ("alliance.history", "?before=none"),
    ],
)
async def test_arguments__wrong_ones_never_reach_the_node(command: str, query: str) -> None:
    """A mistyped link would be answered with something else, or would meet code that does not expect it."""
    async with open_dashboard() as client:
        reply = await client.get(command_path(command) + query)
        assert (reply.status, reply.kind) == (400, "UsageError") and "\n" in reply.json["error"]["message"]
        assert client.node.asked == []


def test_arguments__left_out_ones_have_their_defaults() -> None:
    """Every caller would have to name what hardly any changes."""
    hints: Mapping[str, Any] = {"before": int | None, "limit": int, "level": str}
    defaults = {"before": None, "limit": 50}
    assert parse_arguments(hints, defaults, [("level", "info")]) == {"before": None, "limit": 50, "level": "info"}
    assert parse_arguments(hints, defaults, [("level", "x"), ("before", "-3")])["before"] == -3


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("no such alliance\nlook at the list"), 400),
        (ParameterError("too few"), 400),
        (ChainError("no endpoint"), 502),
        (RpcError("eth_call", 3, "reverted", None), 502),
        (StoreError("disk full"), 500),
    ],
)
async def test_commands__expected_errors_become_answers(error: Exception, status: int) -> None:
    """The operator would not learn what is wrong, or a chain that is away would look like a defect."""
    async with open_dashboard(FakeNode({"wallet.show": error})) as client:
        reply = await client.get("/api/v1/wallet/show")
        assert (reply.status, reply.kind) == (status, type(error).__name__)
        assert reply.json["error"]["message"] == str(error)


@pytest.mark.parametrize("error", [KeyError("seat"), LocalProtocolError("broken rule"), {"score": float("nan")}])
async def test_commands__a_defect_is_loud_and_ends_nothing(error: object, caplog: pytest.LogCaptureFixture) -> None:
    """A defect of the page would end a node with a stake, or nobody would ever hear of it."""
    async with open_dashboard(FakeNode({"wallet.show": error}), expected_defects=1) as client:
        with caplog.at_level(logging.ERROR):
            reply = await client.get("/api/v1/wallet/show")
        assert (reply.status, reply.kind) == (500, "Defect")
        assert "Traceback" in caplog.text and "/api/v1/wallet/show" in caplog.text and TOKEN not in caplog.text
        assert (await client.get(STATUS)).status == 200


async def test_commands__are_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that ask again and again would pile up requests to the chain."""
    monkeypatch.setattr("p2p_flock.dashboard.api.COMMAND_SECONDS_MAX", 1.0)
    async with open_dashboard(FakeNode({"wallet.show": trio.sleep_forever})) as client:
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await client.get("/api/v1/wallet/show")).status)

        async with trio.open_nursery() as nursery:
            for _ in range(COMMANDS_AT_ONCE_MAX + 3):
                nursery.start_soon(ask)
        assert sorted(statuses) == [503] * 3 + [504] * COMMANDS_AT_ONCE_MAX
        assert (await client.get(STATUS)).status == 200


async def test_paths__unknown_ones_and_methods_are_refused() -> None:
    """A mistyped path would show Starlette's words, or a redirect to wherever the Host header says."""
    async with open_dashboard() as client:
        for path in ("/api/v1/nothing", "/api/v1/", "/api/v1/status/", "/metrics", "//status", "/api/v2/status", "*"):
            reply = await client.get(path)
            assert (reply.status, reply.kind) == (404, "NotFound"), path
        reply = await client.request("PUT", STATUS, {"Origin": f"http://{client.host}"})
        assert (reply.status, reply.kind) == (405, "MethodNotAllowed") and "GET" in reply.headers["allow"]
        head = await client.request("HEAD", STATUS)
        assert head.status == 200 and head.body == b""


async def test_metrics__need_the_token() -> None:
    """Every user of the machine could read them, or Prometheus could not."""
    async with open_dashboard(render_metrics=lambda: b"up 1\n") as client:
        reply = await client.get("/metrics")
        assert (
            reply.status == 200 and reply.body == b"up 1\n" and reply.headers["content-type"].startswith("text/plain")
        )
        assert (await client.get("/metrics", {"Authorization": None})).status == 401


async def test_port__that_is_taken_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The operator would search for a page that another program serves."""
    async with open_dashboard() as client:
        settings = DashboardSettings(port=client.dashboard.port, token=TOKEN, ask=client.node.ask, commands=COMMANDS)
        with pytest.raises(PortTakenError, match=r"port \d+: .*\nset another port under \[dashboard\]"):
            await serve_dashboard(settings)


async def test_server__listens_on_loopback_only() -> None:
    """The whole network could try tokens."""
    async with open_dashboard() as client:
        assert client.dashboard.url == f"http://127.0.0.1:{client.dashboard.port}"
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.2", client.dashboard.port)


async def test_log__never_holds_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """A log that is sent to support would open the node's page."""
    with caplog.at_level(logging.DEBUG):
        async with open_dashboard() as client:
            await client.get(STATUS)
            await client.open_session()
            await client.get(f"/?token={TOKEN}")
            await client.get(f"/api/v1/{TOKEN}")
            await client.send(f"GET /{TOKEN} HTTP/1.1\r\nbad header {TOKEN}\r\n\r\n".encode())
    assert TOKEN not in caplog.text
