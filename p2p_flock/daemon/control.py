"""The daemon's side of the control socket: a local unix socket, for the same user only.

Called by ``daemon/node.py``, which gives one handler per command. A command's expected errors become replies; any other
exception is a defect and ends the node loudly. Never listens on a network.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from p2p_flock import __version__
from p2p_flock.daemon.control_messages import validate_arguments
from p2p_flock.daemon.control_protocol import (
    COMMAND_TIMEOUT_S,
    REPLY_BYTES_MAX,
    REQUEST_BYTES_MAX,
    JsonObject,
    decode_line,
    encode_line,
    remove_control_socket,
)
from p2p_flock.errors import ControlError, LocalProtocolError, P2PFlockError, UsageError

if TYPE_CHECKING:
    # libp2p pulls in trio-typing, whose stubs hide trio's own types and lack this one.
    from trio_typing import TaskStatus

# A TypedDict of control_messages is a Mapping[str, object].
Handler = Callable[[JsonObject], Awaitable[Mapping[str, object]]]

COMMANDS_MAX = 16  # one operator and a few scripts; more are told to come later
REQUEST_TIMEOUT_S = 5.0
REPLY_TIMEOUT_S = 10.0
_BACKLOG = 16

logger = logging.getLogger(__name__)


async def serve_control(
    path: Path,
    handlers: Mapping[str, Handler],
    task_status: TaskStatus[Path] = trio.TASK_STATUS_IGNORED,
    command_timeout_s: float = COMMAND_TIMEOUT_S,
) -> None:
    """Listen at ``path`` (from ``prepare_control_socket``) until cancelled; reports ``path`` once it is reachable.

    The caller holds the data directory's lock, so a socket that lies there is a dead daemon's and is replaced.
    Handlers get checked arguments and may run at the same time; each has ``command_timeout_s``.

    Raises:
        ControlError: the socket cannot be bound.
        Exception: whatever a handler raises beyond :class:`P2PFlockError`, and LocalProtocolError: a defect here.
    """
    listener = await _listen(path)
    slots = trio.CapacityLimiter(COMMANDS_MAX)
    serve = partial(_serve_connection, handlers, slots, command_timeout_s)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_listeners, serve, [listener]))
            task_status.started(path)
    finally:
        remove_control_socket(path)


async def _listen(path: Path) -> trio.SocketListener:
    path.unlink(missing_ok=True)
    listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await listening.bind(os.fspath(path))
        path.chmod(0o600)  # before listen(): nobody can have connected in between
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ControlError(
            f"cannot open the control socket {path}: {error.strerror}\ncheck the folder's permissions and free space"
        ) from error
    return trio.SocketListener(listening)


async def _serve_connection(
    handlers: Mapping[str, Handler], slots: trio.CapacityLimiter, command_timeout_s: float, stream: trio.SocketStream
) -> None:
    async with stream:
        if not _is_same_user(stream):
            logger.warning("refused a control connection of another user")
            return
        # Read first, also where no slot is free: closing over unread bytes resets the connection and loses the reply.
        with trio.move_on_after(REQUEST_TIMEOUT_S) as reading:
            line = await _read_line(stream)
        if reading.cancelled_caught or line is None:
            return  # nobody is there, or nobody of ours
        try:
            slots.acquire_nowait()
        except trio.WouldBlock:
            await _send(stream, _error("ControlError", f"{COMMANDS_MAX} commands are running\ntry again later"))
            return
        try:
            await _send(stream, await _answer(handlers, line, command_timeout_s))
        finally:
            slots.release()


async def _answer(handlers: Mapping[str, Handler], line: bytes, command_timeout_s: float) -> bytes:
    try:
        command, arguments = _parse_request(line)
        if command not in handlers:
            raise UsageError(f"this daemon does not know the command {command!r}\nupdate it")
        with trio.move_on_after(command_timeout_s) as running:
            result = await handlers[command](arguments)
        if running.cancelled_caught:
            raise ControlError(
                f"{command} took longer than {command_timeout_s:.0f} s and was given up\n"
                "a transaction that was sent may still land: look with `p2p-flock status` before trying again"
            )
        reply = encode_line({"ok": True, "version": __version__, "result": dict(result)})
        if len(reply) > REPLY_BYTES_MAX:
            raise ControlError(f"the answer to {command} has {len(reply)} bytes, too many\nask for less")
    except LocalProtocolError:
        raise  # our own defect
    except P2PFlockError as error:
        return _error(type(error).__name__, str(error))
    return reply


def _parse_request(line: bytes) -> tuple[str, JsonObject]:
    request = decode_line(line)
    command, arguments = request.get("command"), request.get("arguments")
    if set(request) != {"command", "arguments"} or not isinstance(command, str) or not isinstance(arguments, dict):
        raise ControlError('a request must be {"command": text, "arguments": object}')
    validate_arguments(command, arguments)
    return command, arguments


def _error(kind: str, message: str) -> bytes:
    return encode_line({"ok": False, "version": __version__, "error": {"kind": kind, "message": message}})


async def _read_line(stream: trio.SocketStream) -> bytes | None:
    """One line without its newline; ``None`` where it is too long or the caller went away."""
    received = bytearray()
    while len(received) < REQUEST_BYTES_MAX:
        try:
            piece = await stream.receive_some(REQUEST_BYTES_MAX - len(received))
        except trio.BrokenResourceError:
            return None
        if not piece:
            return None
        received += piece
        if b"\n" in piece:
            return bytes(received.partition(b"\n")[0])  # one request a connection; the rest is nobody's
    return None


async def _send(stream: trio.SocketStream, reply: bytes) -> None:
    try:
        with trio.move_on_after(REPLY_TIMEOUT_S):
            await stream.send_all(reply)
    except trio.BrokenResourceError:
        logger.debug("a command was interrupted before its answer; what it had begun is done")


def _is_same_user(stream: trio.SocketStream) -> bool:
    """Whether the caller runs as this user or as root (who could read our memory anyway)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # not Linux: the socket's mode 0600 in a 0700 folder has to do
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid in (os.getuid(), 0)
