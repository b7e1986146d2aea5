"""Hashes and key derivation."""

from __future__ import annotations

import pytest

from p2p_flock.crypto import suite
from p2p_flock.errors import CryptoError


def test_frame__tells_where_a_part_ends() -> None:
    """Two different inputs with one hash would let a commitment be opened two ways."""
    inputs: list[tuple[str, *tuple[bytes, ...]]] = [
        ("d", b"ab", b"c"),
        ("d", b"a", b"bc"),
        ("d", b"abc"),
        ("d", b"ab", b"c", b""),
        ("da", b"b", b"c"),
    ]
    assert len({suite.frame(domain, *parts) for domain, *parts in inputs}) == len(inputs)


@pytest.mark.parametrize("sizes", [(), (0,), (1, 32), (255, 256), (70_000, 3)])
def test_frame__is_the_documented_layout(sizes: tuple[int, ...]) -> None:
    """Another implementation, and this one in another version, would hash other bytes."""
    parts = [bytes([n + 1]) * size for n, size in enumerate(sizes)]
    expected = b"\0\0\0\x03use" + len(parts).to_bytes(4, "big")
    expected += b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert suite.frame("use", *parts) == expected == suite.frame("use", *parts)


def test_keccak256__is_the_evm_one() -> None:
    """SHA3-256 pads differently; with it no digest would match the contract's."""
    assert suite.keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_hash32__is_domain_separated() -> None:
    """The same bytes under two uses must not give the same digest."""
    assert suite.hash32("one", b"x") != suite.hash32("two", b"x")


def test_derive_key__differs_by_purpose_and_context() -> None:
    """A bundle key equal to a pair seed would be opened together with it."""
    secret = bytes(range(32))
    derived = [
        suite.derive_key(secret, "one", b"ctx"),
        suite.derive_key(secret, "two", b"ctx"),
        suite.derive_key(secret, "one", b"other"),
        suite.derive_key(secret, "one"),
        suite.derive_key(bytes(32), "one", b"ctx"),
    ]
    assert len(set(derived)) == len(derived)
    assert all(len(key) == 32 for key in derived)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_derive_key__refuses_other_lengths(size: int) -> None:
    """A truncated secret would go unnoticed for ever."""
    with pytest.raises(CryptoError):
        suite.derive_key(bytes(size), "one")
