"""The commands' side of the control socket: one request, one reply, synchronous, standard library only.

Called by ``cli/``. Imports nothing heavy: a command must start in a fraction of a second.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from p2p_flock import __version__
from p2p_flock.daemon.control_protocol import (
    CLIENT_TIMEOUT_S,
    REPLY_BYTES_MAX,
    REQUEST_BYTES_MAX,
    JsonObject,
    control_socket_path,
    decode_line,
    encode_line,
)
from p2p_flock.errors import CommandRefusedError, ControlError, NoDaemonError

_READ_BYTES = 64 << 10


def control_call(
    home: Path, command: str, arguments: Mapping[str, object], timeout_s: float = CLIENT_TIMEOUT_S
) -> JsonObject:
    """Ask the daemon of ``home`` to do ``command`` and return its result object.

    Raises:
        NoDaemonError: none runs there.
        CommandRefusedError: the daemon met an error; its ``kind`` names the class.
        ControlError: no answer in time, not our daemon, another version, or a broken answer.
    """
    request = encode_line({"command": command, "arguments": dict(arguments)})
    if len(request) > REQUEST_BYTES_MAX:
        raise ControlError(f"the request has {len(request)} bytes, {REQUEST_BYTES_MAX} are allowed\nask for less")
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _connect(connection, home, deadline)
        try:
            connection.sendall(request)
            line = _read_line(connection, deadline)
        except TimeoutError as error:
            raise ControlError(
                f"the daemon in {home} did not answer within {timeout_s:.0f} s\n"
                f"what it had begun may still happen: look with `p2p-flock status --home {home}` before trying again"
            ) from error
        except OSError as error:
            raise _ended(home) from error
    reply = decode_line(line)
    if reply.get("version") != __version__:
        raise ControlError(
            f"the daemon runs version {reply.get('version')}, this command is {__version__}\nrestart the daemon"
        )
    if reply.get("ok") is True and isinstance(reply.get("result"), dict):
        result: JsonObject = reply["result"]
        return result
    error_object = reply.get("error")
    if not isinstance(error_object, dict):
        raise ControlError("the daemon's answer cannot be read\nrestart the daemon; report it as a defect")
    raise CommandRefusedError(str(error_object.get("kind")), str(error_object.get("message")))


def _connect(connection: socket.socket, home: Path, deadline: float) -> None:
    path = control_socket_path(home)
    try:
        owner = path.lstat().st_uid
        if owner != os.getuid() and os.getuid() != 0:
            raise ControlError(f"{path} belongs to another user\nrun the command as the user who runs the daemon")
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        connection.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        raise NoDaemonError(f"no daemon runs in {home}\nstart it with `p2p-flock node --home {home}`") from error
    except PermissionError as error:
        raise ControlError(f"{path} is not accessible\nrun the command as the user who runs the daemon") from error
    except OSError as error:
        raise ControlError(
            f"cannot reach the daemon in {home}: {error.strerror or error}\nis it overloaded?"
        ) from error


def _read_line(connection: socket.socket, deadline: float) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        connection.settimeout(remaining)
        piece = connection.recv(_READ_BYTES)
        if not piece:
            raise ConnectionError("closed")
        received += piece
        if len(received) > REPLY_BYTES_MAX:
            raise ControlError(f"the daemon's answer exceeds {REPLY_BYTES_MAX} bytes\nask for less")
    return bytes(received)


def _ended(home: Path) -> ControlError:
    return ControlError(f"the daemon in {home} ended while it worked\nsee the log in {home}/logs, then start it again")
