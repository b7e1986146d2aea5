"""Shamir's secret sharing over GF(2⁸), byte by byte, with polynomials that follow from the secret.

Called by ``secagg/`` and, for evidence, by ``alliance/``. Holder ``h`` (0-based) holds the polynomial's values at
x = h + 1. The coefficients are derived from the secret and a context: a dealer needs no further randomness and finds
its own shares again after a restart. Fewer than ``threshold`` shares still tell nothing, computationally and not
absolutely (a secret has 256 bits of entropy). Whether a dealing is right is told from shares alone, by interpolation.
Table look-ups are not constant in time: a local attacker who watches the cache is out of scope.

Many secrets at once cost far less than one by one: a dealer's secrets have the same threshold and holders, and those
rebuilt from one set of answers the same weights, so both are one product of matrices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from p2p_flock.crypto import galois, suite
from p2p_flock.crypto.masking import keystream
from p2p_flock.errors import CryptoError

SECRET_BYTES = 32
HOLDERS_MAX = 255  # x = 0 is the secret; GF(2⁸) has 255 other points

_Bytes = npt.NDArray[np.uint8]


# --- many secrets ----------------------------------------------------------------------------------------------


def split_secrets(secrets: Sequence[bytes], contexts: Sequence[bytes], threshold: int, holder_count: int) -> _Bytes:
    """The shares of every secret, uint8 of shape (secrets, holder_count, 32), holders in order.

    Coefficient k = 1..threshold−1 is bytes 32(k−1)..32k of the keystream under
    ``derive_key(secret, "p2p_flock sharing polynomial v1", context, threshold, holder_count)``.

    Args:
        contexts: one for each secret, of any length.

    Raises:
        CryptoError: a secret has not 32 bytes, there are more or fewer contexts than secrets, or not
            1 ≤ threshold ≤ holder_count ≤ 255.
    """
    if not 1 <= threshold <= holder_count <= HOLDERS_MAX:
        raise CryptoError(f"cannot share among {holder_count} holders with threshold {threshold}")
    if len(secrets) != len(contexts):
        raise CryptoError(f"{len(secrets)} secrets cannot have {len(contexts)} contexts")
    coefficients = np.empty((threshold, len(secrets), SECRET_BYTES), dtype=np.uint8)
    for position, (secret, context) in enumerate(zip(secrets, contexts, strict=True)):
        key = suite.derive_key(
            secret, "p2p_flock sharing polynomial v1", context, bytes([threshold]), bytes([holder_count])
        )
        polynomial = secret + keystream(key, SECRET_BYTES * (threshold - 1))
        coefficients[:, position] = np.frombuffer(polynomial, dtype=np.uint8).reshape(threshold, SECRET_BYTES)
    values = galois.multiply_matrices(_compute_powers(holder_count, threshold), coefficients.reshape(threshold, -1))
    return np.ascontiguousarray(values.reshape(holder_count, -1, SECRET_BYTES).swapaxes(0, 1))


def combine_many(holders: Sequence[int], shares: _Bytes) -> _Bytes:
    """Every secret, uint8 of shape (m, 32), from the same holders' shares.

    Args:
        holders: t different holders (0-based), in the order of the shares; t is the threshold.
        shares: uint8 of shape (m, t, 32).

    Says nothing about whether the shares are right: extend them and compare with the commitments.

    Raises:
        CryptoError: a holder is out of range or named twice, or ``shares`` has another shape or type.
    """
    return evaluate_many(holders, shares, (0,))[:, 0]


def extend_many(holders: Sequence[int], shares: _Bytes, holder_count: int) -> _Bytes:
    """Every holder's share of every secret, uint8 of shape (m, holder_count, 32); arguments as :func:`combine_many`.

    Raises:
        CryptoError: as :func:`combine_many`, or not 1 ≤ holder_count ≤ 255.
    """
    if not 1 <= holder_count <= HOLDERS_MAX:
        raise CryptoError(f"cannot share among {holder_count} holders")
    return evaluate_many(holders, shares, range(1, holder_count + 1))


def evaluate_many(holders: Sequence[int], shares: _Bytes, points: Sequence[int]) -> _Bytes:
    """The values of every polynomial at the given x, uint8 of shape (m, points, 32); arguments as :func:`combine_many`.

    At 0 it is the secret, at h + 1 the share of holder h: whoever knows most shares need not compute those again.

    Raises:
        CryptoError: as :func:`combine_many`.
    """
    if not all(0 <= holder < HOLDERS_MAX for holder in holders) or not 1 <= len(set(holders)) == len(holders):
        raise CryptoError("holders are at least one, different and in range")
    if shares.dtype != np.uint8 or shares.ndim != 3 or shares.shape[1:] != (len(holders), SECRET_BYTES):
        raise CryptoError(f"shares are an array of bytes with shape (any, {len(holders)}, {SECRET_BYTES})")
    columns = shares.swapaxes(0, 1).reshape(len(holders), -1)
    values = galois.multiply_matrices(_compute_weights(tuple(holders), tuple(points)), columns)
    return np.ascontiguousarray(values.reshape(len(points), -1, SECRET_BYTES).swapaxes(0, 1))


# --- one secret ------------------------------------------------------------------------------------------------


def split_secret(secret: bytes, context: bytes, threshold: int, holder_count: int) -> tuple[bytes, ...]:
    """The shares of ``secret`` in holder order, ``holder_count`` times 32 bytes; see :func:`split_secrets`.

    Raises:
        CryptoError: the secret has not 32 bytes, or not 1 ≤ threshold ≤ holder_count ≤ 255.
    """
    return _list_rows(split_secrets([secret], [context], threshold, holder_count)[0])


def combine_shares(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret through the ``threshold`` shares of the lowest holders, 32 bytes.

    Args:
        shares: holder (0-based) to share. More than ``threshold`` are allowed; the others are not looked at.

    Says nothing about whether the shares are right: see :func:`find_wrong_shares`, or compare with a commitment.

    Raises:
        CryptoError: too few shares, a share of another length, or a holder out of range.
    """
    return combine_many(*_stack_lowest(shares, threshold)).tobytes()


def extend_shares(shares: Mapping[int, bytes], threshold: int, holder_count: int) -> tuple[bytes, ...]:
    """Every holder's share on the polynomial through the ``threshold`` shares of the lowest holders, in holder order.

    Raises:
        CryptoError: as :func:`combine_shares`, or not 1 ≤ holder_count ≤ 255.
    """
    return _list_rows(extend_many(*_stack_lowest(shares, threshold), holder_count)[0])


def find_wrong_shares(shares: Mapping[int, bytes], threshold: int) -> tuple[int, ...]:
    """Holders (ascending) whose share is not on the polynomial through the ``threshold`` shares of the lowest ones.

    Empty: all shares are of one dealing. Otherwise they are not, and which of them are wrong nobody can tell.

    Raises:
        CryptoError: as :func:`combine_shares`; any share of another length or holder out of range.
    """
    _check_shares(shares, threshold)
    right = extend_shares(shares, threshold, max(shares) + 1)
    return tuple(holder for holder in sorted(shares) if shares[holder] != right[holder])


def _list_rows(rows: _Bytes) -> tuple[bytes, ...]:
    return tuple(row.tobytes() for row in rows)


def _check_shares(shares: Mapping[int, bytes], threshold: int) -> None:
    if len(shares) < threshold or threshold < 1:
        raise CryptoError(f"{len(shares)} shares are fewer than the threshold of {threshold}")
    if not all(0 <= holder < HOLDERS_MAX for holder in shares):
        raise CryptoError("a holder is out of range")
    if any(len(share) != SECRET_BYTES for share in shares.values()):
        raise CryptoError(f"a share has {SECRET_BYTES} bytes")


def _stack_lowest(shares: Mapping[int, bytes], threshold: int) -> tuple[tuple[int, ...], _Bytes]:
    """The ``threshold`` lowest holders and their shares, shape (1, threshold, 32)."""
    holders = tuple(sorted(shares)[:threshold])
    _check_shares({holder: shares[holder] for holder in holders}, threshold)
    joined = b"".join(shares[holder] for holder in holders)
    return holders, np.frombuffer(joined, dtype=np.uint8).reshape(1, threshold, SECRET_BYTES)


# --- polynomials -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)  # all cohorts of a round have nearly the same size
def _compute_powers(holder_count: int, threshold: int) -> _Bytes:
    """x⁰..x^(threshold−1) in columns, for x = 1..holder_count in rows."""
    logs = galois.compute_logs(np.arange(1, holder_count + 1, dtype=np.uint8))
    return galois.compute_elements(logs[:, None] * np.arange(threshold))


@lru_cache(maxsize=64)  # a cohort's secrets are nearly all rebuilt from the same holders' shares
def _compute_weights(holders: tuple[int, ...], at: tuple[int, ...]) -> _Bytes:
    """Lagrange: Π_{m≠h} (x_m − x) / (x_m − x_h) for every x (rows) and holder h (columns); minus is XOR here."""
    xs, points = np.array(holders, dtype=np.uint8) + np.uint8(1), np.array(at, dtype=np.uint8)
    between = galois.compute_logs(xs[:, None] ^ xs)  # a zero's logarithm is taken as 0, so m = h adds nothing
    distances = points[:, None] ^ xs
    logs = galois.compute_logs(distances)
    weights = galois.compute_elements(logs.sum(axis=1, keepdims=True) - logs - between.sum(axis=0))
    on_holder = (distances == 0).any(axis=1)
    weights[on_holder] = distances[on_holder] == 0
    return weights
