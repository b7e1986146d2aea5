"""The dashboard's two files in the data directory: the secret that opens it, and the address it has now.

Called by ``daemon/dashboard.py`` and ``cli/dashboard.py``. Imports nothing heavy.
"""

from __future__ import annotations

import base64
import re
import secrets
from pathlib import Path

from p2p_flock.errors import StoreError
from p2p_flock.store.files import write_atomic, write_new

TOKEN_BYTES = 32
FILE_BYTES_MAX = 256
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def create_token(path: Path) -> str:
    """Write a fresh token (32 random bytes as base64url without padding, mode 0600) and return it.

    Raises:
        StoreError: the file exists or the disk refuses.
    """
    token = base64.urlsafe_b64encode(secrets.token_bytes(TOKEN_BYTES)).rstrip(b"=").decode()
    write_new(path, token.encode() + b"\n")
    return token


def read_token(path: Path) -> str:
    """The token, 43 characters.

    Raises:
        StoreError: missing, malformed, or readable by other users.
    """
    text = _read(path)
    if path.stat().st_mode & 0o077:
        raise StoreError(f"{path} can be read by other users\ndelete it and restart the node, which makes a new one")
    if _TOKEN.fullmatch(text) is None:
        raise StoreError(f"{path} holds no token\ndelete it and restart the node, which makes a new one")
    return text


def load_or_create_token(path: Path) -> str:
    """The node's token, made at its first start.

    Raises:
        StoreError: as in the two above.
    """
    return read_token(path) if path.exists() else create_token(path)


def write_url(path: Path, url: str) -> None:
    """Say where the dashboard listens; without the token. Raises StoreError."""
    write_atomic(path, url.encode() + b"\n")


def read_url(path: Path) -> str:
    """The address that a running node wrote.

    Raises:
        StoreError: missing or malformed.
    """
    url = _read(path)
    if re.fullmatch(r"http://127\.0\.0\.1:[0-9]{1,5}", url) is None:
        raise StoreError(f"{path} holds no address\nrestart the node, which writes it anew")
    return url


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX).decode("ascii", "replace").strip()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}\nstart the node, which writes it") from error
