"""Arithmetic of GF(2⁸) modulo x⁸+x⁴+x³+x+1 (the field of AES, FIPS 197 §4) on whole arrays.

Called by ``crypto/secret_sharing.py``. Addition is XOR. Indices depend on the numbers: not constant in time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_ORDER = 255  # of the multiplicative group
_COLUMN_BYTES = 4096  # per pass of multiply_matrices: the tables, the sums and one gather of 128 rows fit into 1 MiB


def _build_tables() -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Powers of the generator x + 1 (uint8, one period), and their logarithms (int64 of 256; entry 0 is 0)."""
    exponential = np.zeros(_ORDER, dtype=np.uint8)
    logarithm = np.zeros(256, dtype=np.int64)
    value = 1
    for power in range(_ORDER):
        exponential[power] = value
        logarithm[value] = power
        value ^= value << 1
        if value & 0x100:
            value ^= 0x11B
    return exponential, logarithm


_EXPONENTIAL, _LOGARITHM = _build_tables()
_PRODUCTS: Bytes = _EXPONENTIAL[(_LOGARITHM[:, None] + _LOGARITHM) % _ORDER]
_PRODUCTS[0, :] = _PRODUCTS[:, 0] = 0


def compute_logs(values: Bytes) -> npt.NDArray[np.int64]:
    """Logarithms (0..254) of non-zero elements. A zero has none; it gives 0, which the caller must mind."""
    return _LOGARITHM[values]


def compute_elements(logs: npt.NDArray[np.int64]) -> Bytes:
    """The elements with these logarithms, of any size and sign."""
    return _EXPONENTIAL[logs % _ORDER]


def multiply_matrices(left: Bytes, right: Bytes) -> Bytes:
    """The matrix product, uint8 (rows, inner) by (inner, columns) to (rows, columns).

    By two tables per row of ``right``, its 16 multiples by low and by high nibbles (the "four Russians"): a product is
    then two rows looked up and added, 8 bytes at a time, some fifteen times as fast as a look-up per byte.
    """
    rows, inner = left.shape
    columns = right.shape[1]
    if rows < 8 or rows * columns < 4096:  # the tables would cost more than they save
        return _multiply_by_look_up(left, right)
    result = np.empty((rows, columns), dtype=np.uint8)
    low = np.ascontiguousarray(left.T & 15, dtype=np.intp)
    high = np.ascontiguousarray(left.T >> 4, dtype=np.intp) + 16
    for start in range(0, columns, _COLUMN_BYTES):
        words = _view_words(right[:, start : start + _COLUMN_BYTES])
        multiples = _compute_multiples(words)
        width = words.shape[1]
        tables = np.zeros((2, 16, width), dtype=np.uint64)
        flat = tables.reshape(32, width)
        total, gathered = np.zeros((rows, width), dtype=np.uint64), np.empty((rows, width), dtype=np.uint64)
        for k in range(inner):
            for bit in range(4):
                half = 1 << bit
                np.bitwise_xor(tables[:, :half], multiples[:, bit, k, None], out=tables[:, half : 2 * half])
            for indices in (low[k], high[k]):
                np.take(flat, indices, axis=0, out=gathered, mode="clip")
                np.bitwise_xor(total, gathered, out=total)
        result[:, start : start + _COLUMN_BYTES] = total.view(np.uint8)[:, : columns - start]
    return result


def _multiply_by_look_up(left: Bytes, right: Bytes) -> Bytes:
    result = np.zeros((left.shape[0], right.shape[1]), dtype=np.uint8)
    for k in range(left.shape[1]):
        result ^= _PRODUCTS[left[:, k, None], right[k]]
    return result


def _view_words(values: Bytes) -> npt.NDArray[np.uint64]:
    """The rows as words of 8 bytes, the last one filled up with zeros."""
    padded = np.zeros((values.shape[0], -values.shape[1] % 8 + values.shape[1]), dtype=np.uint8)
    padded[:, : values.shape[1]] = values
    return padded.view(np.uint64)


def _compute_multiples(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """``words`` times 2⁰..2⁷, byte by byte: shape (2, 4, *words.shape), low nibble's bits first."""
    multiples = np.empty((8, *words.shape), dtype=np.uint64)
    multiples[0] = words
    for bit in range(1, 8):
        shifted = (multiples[bit - 1] & np.uint64(0x7F7F7F7F7F7F7F7F)) << np.uint64(1)
        carries = (multiples[bit - 1] >> np.uint64(7)) & np.uint64(0x0101010101010101)
        np.bitwise_xor(shifted, carries * np.uint64(0x1B), out=multiples[bit])
    return multiples.reshape(2, 4, *words.shape)
