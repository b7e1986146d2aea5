"""Checks of single setting values. Each raises ValueError whose text completes "must be …"; pure.

Called by ``daemon/config.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from p2p_flock.crypto.peer_identity import public_key_of
from p2p_flock.errors import CryptoError

_MULTIADDR = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/[^/\s]{1,255}/tcp/(\d{1,5})(/p2p/([^/\s]+))?")


def any_of(*choices: str) -> Callable[[str], None]:
    """One of these words."""

    def check(value: str) -> None:
        if value not in choices:
            raise ValueError("one of " + ", ".join(choices))

    return check


def between(low: int, high: int) -> Callable[[int], None]:
    """An integer in low..high, both included."""

    def check(value: int) -> None:
        if not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")

    return check


def name(characters_max: int) -> Callable[[str], None]:
    """Non-empty text without white space."""

    def check(value: str) -> None:
        if not 1 <= len(value) <= characters_max or any(character.isspace() for character in value):
            raise ValueError(f"1 to {characters_max} characters without spaces")

    return check


def hex_bytes(count: int) -> Callable[[str], None]:
    """``0x`` and the hex digits of ``count`` bytes."""

    def check(value: str) -> None:
        if re.fullmatch(rf"0x[0-9a-fA-F]{{{2 * count}}}", value) is None:
            raise ValueError(f"0x and {2 * count} hex digits")

    return check


def each(check: Callable[[str], None], count_min: int, count_max: int) -> Callable[[tuple[str, ...]], None]:
    """A list whose every item passes ``check``."""

    def check_all(values: tuple[str, ...]) -> None:
        if not count_min <= len(values) <= count_max:
            raise ValueError(f"a list of {count_min} to {count_max} items")
        for value in values:
            check(value)

    return check_all


def http_url(value: str) -> None:
    """An http or https URL with a host."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("a URL like https://host:8545/path")


def multiaddr(value: str) -> None:
    """A TCP multiaddr, with or without a peer ID."""
    match = _MULTIADDR.fullmatch(value)
    if match is None or not 0 < int(match[2]) <= 65_535:
        raise ValueError("an address like /ip4/203.0.113.7/tcp/4101")
    if match[4] is not None:
        try:
            public_key_of(match[4])
        except CryptoError as error:
            raise ValueError(f"an address whose peer ID is valid: {error}") from error


def peer_multiaddr(value: str) -> None:
    """A TCP multiaddr that ends in a peer ID: without it nobody could tell an impostor."""
    multiaddr(value)
    if "/p2p/" not in value:
        raise ValueError("an address with a peer ID, like /ip4/203.0.113.7/tcp/4101/p2p/12D3KooW…")
