"""Lists of bootstrap nodes in a file of their own, such as `bootstrap/peers.toml`, that many nodes can share.

Called by `daemon/node.py` and by the bootstrap node.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from p2p_flock.errors import ConfigError
from p2p_flock.net.discovery import parse_peer_id
from p2p_flock.net.framing import FrameError
from p2p_flock.net.peer_book import parse_address

FILE_BYTES_MAX = 64 * 1024
NODES_MAX = 64


def read_bootstrap_file(path: Path) -> tuple[str, ...]:
    """The multiaddrs under ``bootstrap``, the file's only key. Raises ConfigError, which names file and address."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError(f"{path} is longer than {FILE_BYTES_MAX} bytes; name the right file")
        document = tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigError(f"cannot read the list of bootstrap nodes {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also of UTF-8 and TOML
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    addresses = document.pop("bootstrap", None)
    if document or not isinstance(addresses, list) or len(addresses) > NODES_MAX:
        raise ConfigError(f"{path} must hold bootstrap = [...] with at most {NODES_MAX} multiaddrs, and nothing else")
    return tuple(_check(address, path) for address in addresses)


def _check(text: object, path: Path) -> str:
    try:
        if not isinstance(text, str):
            raise ValueError("it is no text")
        peer_id = parse_address(text)[1]
        if peer_id is None:
            raise ValueError("it lacks /p2p/ID, without which anyone could answer")
        parse_peer_id(peer_id)
    except (ValueError, FrameError) as error:
        raise ConfigError(f"{path}: bootstrap address {text!r}: {error}") from error
    return text
