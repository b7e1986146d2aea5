"""Shamir's secret sharing over GF(2⁸), byte by byte, with polynomials that follow from the secret.

Called by ``secagg/``. Holder ``h`` (0-based) holds the polynomial's values at x = h + 1. The coefficients are derived
from the secret and a context, so that whoever reconstructs a secret re-derives every share and sees who lied; fewer
than ``threshold`` shares still tell nothing, now computationally and not absolutely (a secret has 256 bits of entropy).
Table look-ups are not constant in time: a local attacker who watches the cache is out of scope.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from p2p_flock.crypto import suite
from p2p_flock.crypto.masking import keystream
from p2p_flock.errors import CryptoError

SECRET_BYTES = 32
HOLDERS_MAX = 255  # x = 0 is the secret; GF(2⁸) has 255 other points

_Bytes = npt.NDArray[np.uint8]


def _build_product_table() -> _Bytes:
    """All products of GF(2⁸) modulo x⁸+x⁴+x³+x+1 (the field of AES, FIPS 197 §4), uint8 of shape (256, 256)."""
    exponential = np.zeros(510, dtype=np.uint8)
    logarithm = np.zeros(256, dtype=np.int64)
    value = 1
    for power in range(255):
        exponential[power] = exponential[power + 255] = value
        logarithm[value] = power
        value ^= value << 1  # times the generator, x + 1
        if value & 0x100:
            value ^= 0x11B
    table: _Bytes = exponential[logarithm[:, None] + logarithm[None, :]]
    table[0, :] = 0
    table[:, 0] = 0
    return table


_PRODUCT = _build_product_table()
# Fermat: a⁻¹ is the b with a·b = 1; entry 0 is unused.
_INVERSE: _Bytes = np.argmax(_PRODUCT == 1, axis=1).astype(np.uint8)


def split_secret(secret: bytes, context: bytes, threshold: int, holder_count: int) -> tuple[bytes, ...]:
    """The shares of ``secret`` in holder order, ``holder_count`` times 32 bytes.

    Coefficient k = 1..threshold−1 is bytes 32(k−1)..32k of the keystream under
    ``derive_key(secret, "p2p_flock sharing polynomial v1", context, threshold, holder_count)``.

    Raises:
        CryptoError: the secret has not 32 bytes, or not 1 ≤ threshold ≤ holder_count ≤ 255.
    """
    if not 1 <= threshold <= holder_count <= HOLDERS_MAX:
        raise CryptoError(f"cannot share among {holder_count} holders with threshold {threshold}")
    key = suite.derive_key(
        secret, "p2p_flock sharing polynomial v1", context, bytes([threshold]), bytes([holder_count])
    )
    tail = np.frombuffer(keystream(key, SECRET_BYTES * (threshold - 1)), dtype=np.uint8)
    coefficients = np.concatenate([np.frombuffer(secret, dtype=np.uint8), tail]).reshape(threshold, SECRET_BYTES)
    points = np.arange(1, holder_count + 1)[:, None]
    values = np.zeros((holder_count, SECRET_BYTES), dtype=np.uint8)
    for coefficient in coefficients[::-1]:  # Horner's rule, all holders at once
        values = _PRODUCT[points, values] ^ coefficient
    return tuple(row.tobytes() for row in values)


def combine_shares(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret through the ``threshold`` shares of the lowest holders, 32 bytes.

    Args:
        shares: holder (0-based) to share. More than ``threshold`` are allowed; the others are not looked at.

    Says nothing about whether the shares are right: compare with :func:`split_secret` or a commitment.

    Raises:
        CryptoError: too few shares, a share of another length, or a holder out of range.
    """
    if len(shares) < threshold or threshold < 1:
        raise CryptoError(f"{len(shares)} shares are fewer than the threshold of {threshold}")
    holders = sorted(shares)[:threshold]
    if not all(0 <= holder < HOLDERS_MAX for holder in holders):
        raise CryptoError("a holder is out of range")
    if any(len(shares[holder]) != SECRET_BYTES for holder in holders):
        raise CryptoError(f"a share has {SECRET_BYTES} bytes")
    secret = np.zeros(SECRET_BYTES, dtype=np.uint8)
    for holder in holders:
        weight = 1  # Lagrange at 0: Π x_m / (x_m − x_h); minus is XOR here
        for other in holders:
            if other != holder:
                quotient = _PRODUCT[other + 1, _INVERSE[(other + 1) ^ (holder + 1)]]
                weight = int(_PRODUCT[weight, quotient])
        secret ^= _PRODUCT[weight, np.frombuffer(shares[holder], dtype=np.uint8)]
    return secret.tobytes()


def find_wrong_shares(
    secret: bytes, context: bytes, threshold: int, holder_count: int, shares: Mapping[int, bytes]
) -> tuple[int, ...]:
    """Holders (ascending) whose share is not the one that ``secret`` and ``context`` lead to.

    Raises:
        CryptoError: as :func:`split_secret`.
    """
    right = split_secret(secret, context, threshold, holder_count)
    return tuple(h for h in sorted(shares) if not 0 <= h < holder_count or shares[h] != right[h])
