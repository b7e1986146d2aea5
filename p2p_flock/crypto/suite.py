"""Hashes and key derivation, each under one framing: the only place where bytes of several meanings are joined.

Called by all of ``crypto/``, ``secagg/`` and ``alliance/``. Pure: takes bytes, gives bytes; never draws randomness.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Protocol, cast

from Crypto.Hash import keccak

from p2p_flock.errors import CryptoError

DIGEST_BYTES = 32
KEY_BYTES = 32

_SIZES = tuple(size.to_bytes(8, "big") for size in range(256))  # made once: a document's frames are tens of thousands


class _Keccak(Protocol):
    def digest(self) -> bytes: ...


def frame(domain: str, *parts: bytes) -> bytes:
    """Join ``parts`` so that no two different inputs give the same bytes.

    Layout: u32 length of the domain, domain (ASCII), u32 number of parts, then per part its u64 length and its bytes;
    integers big-endian. Without lengths, ``("ab", "c")`` and ``("a", "bc")`` would hash alike.
    """
    framed = [_frame_head(domain, len(parts))]
    for part in parts:
        size = len(part)
        framed += (_SIZES[size] if size < len(_SIZES) else size.to_bytes(8, "big"), part)
    return b"".join(framed)


@lru_cache(maxsize=1024)  # the domains are literals of this package, far fewer
def _frame_head(domain: str, part_count: int) -> bytes:
    name = domain.encode("ascii")
    return len(name).to_bytes(4, "big") + name + part_count.to_bytes(4, "big")


def sha256(data: bytes | memoryview) -> bytes:
    """Plain sha-256, 32 bytes: the digest under which blobs are content-addressed (CIDv1, sha2-256)."""
    return hashlib.sha256(data).digest()


def hash32(domain: str, *parts: bytes) -> bytes:
    """sha-256 over :func:`frame`, 32 bytes. ``domain`` names the use and its version, ``p2p_flock <use> v<n>``."""
    return sha256(frame(domain, *parts))


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as the EVM computes it (not SHA3-256: the padding differs), 32 bytes."""
    return cast(_Keccak, keccak.new(digest_bits=256, data=data)).digest()


def derive_key(secret: bytes, purpose: str, *context: bytes) -> bytes:
    """A 32-byte key for one purpose: keyed BLAKE2b-256 (RFC 7693, §2.9 keyed mode) over :func:`frame`.

    ``secret`` is 32 bytes of full entropy or an X25519 result. Different purposes or contexts give independent keys.

    Raises:
        CryptoError: ``secret`` has another length.
    """
    if len(secret) != KEY_BYTES:
        raise CryptoError(f"a secret has {KEY_BYTES} bytes, not {len(secret)}")
    return hashlib.blake2b(frame(purpose, *context), key=secret, digest_size=KEY_BYTES).digest()
