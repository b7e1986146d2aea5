"""Shamir's secret sharing over GF(2⁸), byte by byte, with polynomials that follow from the secret.

Called by ``secagg/`` and, for evidence, by ``alliance/``. Holder ``h`` (0-based) holds the polynomial's values at
x = h + 1. The coefficients are derived from the secret and a context: a dealer needs no further randomness and finds
its own shares again after a restart. Fewer than ``threshold`` shares still tell nothing, computationally and not
absolutely (a secret has 256 bits of entropy). Whether a dealing is right is told from shares alone, by interpolation.
Table look-ups are not constant in time: a local attacker who watches the cache is out of scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

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

    Says nothing about whether the shares are right: see :func:`find_wrong_shares`, or compare with a commitment.

    Raises:
        CryptoError: too few shares, a share of another length, or a holder out of range.
    """
    return _evaluate(shares, threshold, 0, 1)[0]


def extend_shares(shares: Mapping[int, bytes], threshold: int, holder_count: int) -> tuple[bytes, ...]:
    """Every holder's share on the polynomial through the ``threshold`` shares of the lowest holders, in holder order.

    Raises:
        CryptoError: as :func:`combine_shares`, or not 1 ≤ holder_count ≤ 255.
    """
    if not 1 <= holder_count <= HOLDERS_MAX:
        raise CryptoError(f"cannot share among {holder_count} holders")
    return _evaluate(shares, threshold, 1, holder_count + 1)


def find_wrong_shares(shares: Mapping[int, bytes], threshold: int) -> tuple[int, ...]:
    """Holders (ascending) whose share is not on the polynomial through the ``threshold`` shares of the lowest ones.

    Empty: all shares are of one dealing. Otherwise they are not, and which of them are wrong nobody can tell.

    Raises:
        CryptoError: as :func:`combine_shares`; any share of another length or holder out of range.
    """
    _check_shares(shares, threshold)
    right = extend_shares(shares, threshold, max(shares) + 1)
    return tuple(holder for holder in sorted(shares) if shares[holder] != right[holder])


def _check_shares(shares: Mapping[int, bytes], threshold: int) -> None:
    if len(shares) < threshold or threshold < 1:
        raise CryptoError(f"{len(shares)} shares are fewer than the threshold of {threshold}")
    if not all(0 <= holder < HOLDERS_MAX for holder in shares):
        raise CryptoError("a holder is out of range")
    if any(len(share) != SECRET_BYTES for share in shares.values()):
        raise CryptoError(f"a share has {SECRET_BYTES} bytes")


def _evaluate(shares: Mapping[int, bytes], threshold: int, start: int, stop: int) -> tuple[bytes, ...]:
    """The values at x = start..stop−1 of the polynomial through the ``threshold`` lowest holders' shares."""
    holders = tuple(sorted(shares)[:threshold])
    _check_shares({holder: shares[holder] for holder in holders}, threshold)
    weights = _compute_weights(holders, start, stop)
    values = np.zeros((stop - start, SECRET_BYTES), dtype=np.uint8)
    for column, holder in enumerate(holders):
        values ^= _PRODUCT[weights[:, column, None], np.frombuffer(shares[holder], dtype=np.uint8)]
    return tuple(row.tobytes() for row in values)


@lru_cache(maxsize=64)  # a cohort's secrets are nearly all rebuilt from the same holders' shares
def _compute_weights(holders: tuple[int, ...], start: int, stop: int) -> _Bytes:
    """Lagrange: Π_{m≠h} (x_m − x) / (x_m − x_h) for every x (rows) and holder h (columns); minus is XOR here."""
    points = np.arange(start, stop)
    weights = np.ones((stop - start, len(holders)), dtype=np.uint8)
    for column, holder in enumerate(holders):
        for other in holders:
            if other != holder:
                quotient = _PRODUCT[(other + 1) ^ points, _INVERSE[(other + 1) ^ (holder + 1)]]
                weights[:, column] = _PRODUCT[weights[:, column], quotient]
    return weights
