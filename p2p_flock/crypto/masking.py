"""Masks: a keystream added to, or taken from, ring lanes.

Called by ``secagg/`` and, for dither, by whoever encodes an update. The byte stream is AES-256-CTR (NIST SP 800-38A
§6.5) of zeros with a 128-bit big-endian counter starting at 0; lane ``n`` takes bytes ``n·w/8 …`` of it, little-endian.
Any implementation of AES gives the same stream, so whoever re-executes an opened sum gets the same lanes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from p2p_flock.errors import CryptoError

Lanes = npt.NDArray[np.uint16] | npt.NDArray[np.uint32] | npt.NDArray[np.uint64]

BLOCK_BYTES = 256 * 1024  # keystream block and accumulator block stay in L2 while all keys pass over them
_AES_BLOCK_BYTES = 16
_ZEROS = bytes(BLOCK_BYTES)


def lane_dtype(lane_bits: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """The little-endian unsigned type of 16- or 32-bit lanes.

    Raises:
        CryptoError: another width.
    """
    if lane_bits == 16:
        return np.dtype("<u2")
    if lane_bits == 32:
        return np.dtype("<u4")
    raise CryptoError(f"lanes have 16 or 32 bits, not {lane_bits}")


def _start_stream(key: bytes, offset_bytes: int) -> CipherContext:
    if len(key) != 32:
        raise CryptoError(f"a mask key has 32 bytes, not {len(key)}")
    counter, rest = divmod(offset_bytes, _AES_BLOCK_BYTES)
    stream = Cipher(AES256(key), CTR(counter.to_bytes(_AES_BLOCK_BYTES, "big"))).encryptor()
    stream.update(bytes(rest))
    return stream


def keystream(key: bytes, size_bytes: int, offset_bytes: int = 0) -> bytes:
    """Bytes ``offset_bytes .. offset_bytes + size_bytes`` of the stream under a 32-byte key.

    Raises:
        CryptoError: the key has another length, or an argument is negative.
    """
    if size_bytes < 0 or offset_bytes < 0:
        raise CryptoError("sizes and offsets are not negative")
    return _start_stream(key, offset_bytes).update(bytes(size_bytes))


def mask_into(accumulator: Lanes, key: bytes, sign: int, offset_lanes: int = 0) -> None:
    """``accumulator += sign · PRG(key)`` in place, modulo 2¹⁶, 2³² or 2⁶⁴. See :func:`masks_into`."""
    masks_into(accumulator, [(key, sign)], offset_lanes)


def masks_into(accumulator: Lanes, signed_keys: Sequence[tuple[bytes, int]], offset_lanes: int = 0) -> None:
    """Add several masks to ``accumulator`` in place: blocks outside, keys inside, so each block is loaded once.

    Args:
        accumulator: one-dimensional contiguous uint16, uint32 or uint64 (packed words); its first lane is lane
            ``offset_lanes`` of the vector.
        signed_keys: (32-byte key, +1 or −1).

    Raises:
        CryptoError: wrong dtype, shape, key length, sign or a negative offset.
    """
    if accumulator.dtype not in (np.uint16, np.uint32, np.uint64) or accumulator.ndim != 1:
        raise CryptoError("masks go into one-dimensional uint16, uint32 or uint64 lanes")
    if not accumulator.flags.c_contiguous or not accumulator.flags.writeable:
        raise CryptoError("masks go into contiguous, writeable lanes")
    if offset_lanes < 0 or any(sign not in (1, -1) for _, sign in signed_keys):
        raise CryptoError("a sign is +1 or −1, an offset is not negative")
    lane_bytes = accumulator.dtype.itemsize
    streams = [(_start_stream(key, offset_lanes * lane_bytes), sign) for key, sign in signed_keys]
    buffer = np.empty(BLOCK_BYTES + _AES_BLOCK_BYTES, dtype=np.uint8)  # update_into asks for a block of slack
    block_lanes = BLOCK_BYTES // lane_bytes
    for start in range(0, accumulator.size, block_lanes):
        block = accumulator[start : start + block_lanes]
        zeros = memoryview(_ZEROS)[: block.nbytes]
        mask = buffer[: block.nbytes].view(f"<u{lane_bytes}")
        for stream, sign in streams:
            stream.update_into(zeros, buffer.data)
            if sign == 1:
                np.add(block, mask, out=block)
            else:
                np.subtract(block, mask, out=block)
