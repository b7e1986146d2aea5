"""What both ends of the control socket agree on: where it lies, how a line looks, the limits. Standard library only.

Called by ``daemon/control.py`` (server) and ``daemon/control_client.py``. The messages are in ``control_messages.py``.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from p2p_flock.errors import ControlError
from p2p_flock.store.files import write_atomic

# Any: a JSON value; control_messages.py gives each command's objects their types.
JsonObject = dict[str, Any]

REQUEST_BYTES_MAX = 64 << 10
REPLY_BYTES_MAX = 4 << 20  # 4,096 seats at 300 bytes take 1.2 MiB
COMMAND_TIMEOUT_S = 120.0  # a join waits for two transactions and their confirmations
CLIENT_TIMEOUT_S = COMMAND_TIMEOUT_S + 10.0
SOCKET_NAME = "control.sock"
POINTER_NAME = "control.path"
# sun_path has 108 bytes on Linux, 104 on macOS, with the final zero.
SOCKET_PATH_BYTES_MAX = 103


def encode_line(message: Mapping[str, object]) -> bytes:
    """One JSON object and a newline."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode_line(line: bytes) -> JsonObject:
    """The JSON object on one line.

    Raises:
        ControlError: not exactly one JSON object.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ControlError(f"a control message is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise ControlError("a control message must be a JSON object")
    return cast(JsonObject, message)


def control_socket_path(home: Path) -> Path:
    """Where the daemon of ``home`` listens: there, or where ``control.path`` points to."""
    pointer = home / POINTER_NAME
    try:
        return Path(os.fsdecode(pointer.read_bytes()[:SOCKET_PATH_BYTES_MAX]))
    except OSError:
        return home / SOCKET_NAME


def prepare_control_socket(home: Path) -> Path:
    """Path to bind; call it with the data directory locked.

    A home whose path is too long for a socket gets a private folder under ``$XDG_RUNTIME_DIR`` or ``/tmp`` and a
    pointer file. The folder's name is random and its mode 0700: nobody can lie in wait at it.

    Raises:
        ControlError: no short folder can be made.
        StoreError: the pointer cannot be written.
    """
    pointer = home / POINTER_NAME
    path = home / SOCKET_NAME
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        pointer.unlink(missing_ok=True)
        return path
    former = control_socket_path(home)
    if former != path and _is_private_folder(former.parent):
        return former
    errors: list[str] = []
    for base in filter(None, (os.environ.get("XDG_RUNTIME_DIR"), "/tmp")):
        try:
            path = Path(tempfile.mkdtemp(prefix="p2p-flock-", dir=base)) / SOCKET_NAME
        except OSError as error:
            errors.append(f"{base}: {error.strerror}")
            continue
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
            write_atomic(pointer, os.fsencode(path))
            return path
        path.parent.rmdir()
        errors.append(f"{base}: too long")
    raise ControlError(
        f"no place for the control socket ({'; '.join(errors)})\nuse a shorter --home, or set XDG_RUNTIME_DIR"
    )


def remove_control_socket(path: Path) -> None:
    """Unlink the socket, and its folder where :func:`prepare_control_socket` made one. Missing ones do not matter."""
    path.unlink(missing_ok=True)
    if path.parent.name.startswith("p2p-flock-") and _is_private_folder(path.parent) and not any(path.parent.iterdir()):
        path.parent.rmdir()


def _is_private_folder(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
