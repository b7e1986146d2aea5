"""The control socket: private, bounded, errors as replies."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2p_flock import __version__
from p2p_flock.daemon import control
from p2p_flock.daemon.control import serve_control
from p2p_flock.daemon.control_client import control_call
from p2p_flock.daemon.control_protocol import (
    COMMAND_TIMEOUT_S,
    REQUEST_BYTES_MAX,
    JsonObject,
    control_socket_path,
    prepare_control_socket,
    remove_control_socket,
)
from p2p_flock.errors import (
    CommandRefusedError,
    ControlError,
    LocalProtocolError,
    NoDaemonError,
    TransactionFailedError,
)


async def show(arguments: JsonObject) -> Mapping[str, object]:
    return {"alliance": arguments["alliance"], "text": "ü\n"}


async def refuse(_arguments: JsonObject) -> Mapping[str, object]:
    raise TransactionFailedError("join", "NoSeatFree")


async def hang(_arguments: JsonObject) -> Mapping[str, object]:
    await trio.sleep_forever()
    return {}


async def flood(_arguments: JsonObject) -> Mapping[str, object]:
    return {"text": "x" * (5 << 20)}


HANDLERS: dict[str, control.Handler] = {"alliance.show": show, "wallet.show": refuse, "status": hang, "stop": flood}


@asynccontextmanager
async def serving(home: Path, command_timeout_s: float = COMMAND_TIMEOUT_S) -> AsyncIterator[Path]:
    path = prepare_control_socket(home)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: serve_control(path, HANDLERS, task_status, command_timeout_s))
        yield path
        nursery.cancel_scope.cancel()


async def call(home: Path, command: str, arguments: Mapping[str, object], timeout_s: float = 5.0) -> JsonObject:
    return await trio.to_thread.run_sync(lambda: control_call(home, command, arguments, timeout_s))


async def exchange(path: Path, sent: bytes) -> bytes:
    """What the server answers to raw bytes, until it closes."""
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(sent)
        received = b""
        while piece := await stream.receive_some():
            received += piece
        return received


async def test_control__answers_and_leaves_no_socket_behind(tmp_path: Path) -> None:
    """No command would work, or a stopped daemon would look alive."""
    async with serving(tmp_path) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        result = await call(tmp_path, "alliance.show", {"alliance": "A"})
        assert result == {"alliance": "A", "text": "ü\n"}
    assert not path.exists()
    with pytest.raises(NoDaemonError, match=f"p2p-flock node --home {tmp_path}"):
        control_call(tmp_path, "status", {}, 1.0)


async def test_control__expected_error_becomes_a_reply(tmp_path: Path) -> None:
    """A refused transaction would end the node or show a traceback."""
    async with serving(tmp_path):
        with pytest.raises(CommandRefusedError, match="NoSeatFree") as caught:
            await call(tmp_path, "wallet.show", {})
        assert caught.value.kind == "TransactionFailedError"
        assert await call(tmp_path, "alliance.show", {"alliance": "still up"})


@pytest.mark.parametrize("defect", [LocalProtocolError("broken invariant"), KeyError("defect")])
async def test_control__defect_ends_the_server(tmp_path: Path, defect: Exception) -> None:
    """A broken invariant would be shown to nobody and the node go on with it."""

    async def broken(_arguments: JsonObject) -> Mapping[str, object]:
        raise defect

    path = prepare_control_socket(tmp_path)
    with pytest.RaisesGroup(type(defect), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serve_control(path, {"status": broken}, task_status))
            await exchange(path, b'{"command": "status", "arguments": {}}\n')


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        ("no.such", {}, "no command"),
        ("wallet.claim", {"alliance": None}, "does not know"),
        ("alliance.show", {}, "takes the arguments"),
        ("alliance.show", {"alliance": "A", "more": 1}, "takes the arguments"),
        ("alliance.show", {"alliance": 7}, "wrong type"),
        ("alliance.leave", {"alliance": 1}, "wrong type"),
        ("alliance.join", {"alliance": "A", "weight": True, "params_hash": "", "maximum_loss": ""}, "wrong type"),
    ],
)
async def test_control__wrong_request_is_refused(
    tmp_path: Path, command: str, arguments: dict[str, object], says: str
) -> None:
    """A handler would meet arguments that it does not expect."""
    async with serving(tmp_path):
        with pytest.raises(CommandRefusedError, match=says) as caught:
            await call(tmp_path, command, arguments)
        assert caught.value.kind == "UsageError"


@pytest.mark.parametrize(
    "line",
    [b"\n", b"[]\n", b"{}\n", b"no json\n", b"\xff\n", b'{"command": 1, "arguments": {}}\n', b"[" * 60_000 + b"\n",
     b'{"command": "status", "arguments": {}, "more": 1}\n', b'{"command": "status", "arguments": []}\n'],
)  # fmt: skip
async def test_control__malformed_line_gets_an_error_reply(tmp_path: Path, line: bytes) -> None:
    """A script's mistake would end the node."""
    async with serving(tmp_path) as path:
        reply = json.loads(await exchange(path, line))
        assert reply["ok"] is False
        assert reply["error"]["kind"] == "ControlError"
        assert await call(tmp_path, "alliance.show", {"alliance": "still up"})


async def test_control__endless_or_cut_line_is_closed(tmp_path: Path) -> None:
    """A caller could fill the daemon's memory."""
    async with serving(tmp_path) as path:
        assert await exchange(path, b"x" * REQUEST_BYTES_MAX) == b""
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b'{"command"')
        assert await call(tmp_path, "alliance.show", {"alliance": "still up"})
    with pytest.raises(ControlError, match="the request has"):
        control_call(tmp_path, "status", {"x": "y" * REQUEST_BYTES_MAX}, 1.0)


async def test_control__silent_caller_is_closed(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Sixteen silent callers would lock every command out."""
    async with serving(tmp_path) as path:
        started = trio.current_time()
        assert await exchange(path, b'{"command"') == b""
        assert trio.current_time() - started == pytest.approx(control.REQUEST_TIMEOUT_S)
        assert autojump_clock.autojump_threshold == 0


async def test_control__long_command_is_given_up(tmp_path: Path) -> None:
    """A handler that hangs would hold its connection for ever."""
    async with serving(tmp_path, command_timeout_s=0.05):
        with pytest.raises(CommandRefusedError, match="took longer"):
            await call(tmp_path, "status", {})


async def test_control__client_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A script would hang on a daemon that hangs."""
    async with serving(tmp_path):
        with pytest.raises(ControlError, match=r"did not answer within .* s\nwhat it had begun"):
            await call(tmp_path, "status", {}, 0.1)


async def test_control__running_commands_are_bounded(tmp_path: Path) -> None:
    """A runaway script would exhaust the daemon's file descriptors."""
    request = b'{"command": "status", "arguments": {}}\n'
    async with serving(tmp_path) as path, AsyncExitStack() as opened:
        for _ in range(control.COMMANDS_MAX):
            stream = await opened.enter_async_context(await trio.open_unix_socket(path))
            await stream.send_all(request)
        with trio.fail_after(5):
            reply = json.loads(await exchange(path, request))
        assert "try again later" in reply["error"]["message"]


async def test_control__interrupted_command_does_not_hurt(tmp_path: Path) -> None:
    """Ctrl-C in a command would end the node."""
    async with serving(tmp_path, command_timeout_s=0.05) as path:
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b'{"command": "status", "arguments": {}}\n')
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b'{"command": "stop", "arguments": {}}\n')
        assert await call(tmp_path, "alliance.show", {"alliance": "still up"})


async def test_control__too_long_answer_is_an_error(tmp_path: Path) -> None:
    """The client would read without bound."""
    async with serving(tmp_path):
        with pytest.raises(CommandRefusedError, match="too many"):
            await call(tmp_path, "stop", {})


async def test_control__other_version_is_refused(tmp_path: Path) -> None:
    """After an update, a command would show a KeyError of fields that the old daemon lacks."""

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b'{"ok": true, "version": "0.0.0", "result": {}}\n')
        await stream.aclose()

    sock = trio.socket.socket(socket.AF_UNIX)
    await sock.bind(str(tmp_path / "control.sock"))
    sock.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(sock)])
        with pytest.raises(ControlError, match=f"0.0.0, this command is {__version__}\nrestart"):
            await call(tmp_path, "status", {})
        nursery.cancel_scope.cancel()


async def test_control__replaces_the_socket_of_a_killed_daemon(tmp_path: Path) -> None:
    """A node could not start again after a crash."""
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "control.sock"))
    dead.close()
    with pytest.raises(NoDaemonError):
        control_call(tmp_path, "status", {}, 1.0)
    async with serving(tmp_path):
        assert await call(tmp_path, "alliance.show", {"alliance": "A"})


async def test_control__long_home_gets_a_short_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node in a deep folder could not be commanded."""
    runtime = tmp_path / "r"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    home = tmp_path / ("deep" * 30)
    home.mkdir()
    async with serving(home) as path:
        assert len(os.fsencode(path)) < 104
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert control_socket_path(home) == path
        assert await call(home, "alliance.show", {"alliance": "A"})
    assert not path.parent.exists()
    with pytest.raises(NoDaemonError):
        control_call(home, "status", {}, 1.0)
    async with serving(home) as path:
        assert await call(home, "alliance.show", {"alliance": "A"})
        path.touch()
        assert prepare_control_socket(home) == path, "a killed daemon's folder is used again"
    remove_control_socket(path)


async def test_control__unusable_runtime_folder_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service without a login session has no runtime folder."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    home = tmp_path / ("deep" * 30)
    home.mkdir()
    path = prepare_control_socket(home)
    assert path.parent.parent == Path("/tmp")
    remove_control_socket(path)
    assert not path.parent.exists()
