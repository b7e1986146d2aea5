"""Keystream and masks."""

from __future__ import annotations

import numpy as np
import pytest
from Crypto.Cipher import AES

from p2p_flock.crypto.masking import BLOCK_BYTES, Lanes, keystream, lane_dtype, mask_into, masks_into
from p2p_flock.errors import CryptoError

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def slow_keystream(key: bytes, size: int) -> bytes:
    """The documented stream from AES in ECB mode, block by block."""
    cipher = AES.new(key, AES.MODE_ECB)
    return b"".join(cipher.encrypt(counter.to_bytes(16, "big")) for counter in range(-(-size // 16)))[:size]


def test_keystream__is_aes_256_ctr_from_zero() -> None:
    """Another implementation would expand other masks, and sums would not open."""
    assert keystream(KEY, 1000) == slow_keystream(KEY, 1000)


@pytest.mark.parametrize("offset", [1, 15, 16, 17, 999])
def test_keystream__starts_anywhere(offset: int) -> None:
    """A chunk could not be opened on its own."""
    assert keystream(KEY, 100, offset) == slow_keystream(KEY, offset + 100)[offset:]


@pytest.mark.parametrize("lane_bits", [16, 32])
def test_mask_into__adds_little_endian_lanes(lane_bits: int) -> None:
    """Lanes of another byte order or a carry between lanes would spoil the sum."""
    dtype = lane_dtype(lane_bits)
    lanes: Lanes = np.zeros(300, dtype=dtype)
    lanes[:] = np.arange(300)
    mask_into(lanes, KEY, 1)
    stream = slow_keystream(KEY, 300 * lane_bits // 8)
    width = lane_bits // 8
    expected = [(n + int.from_bytes(stream[n * width : (n + 1) * width], "little")) % 2**lane_bits for n in range(300)]
    assert lanes.tolist() == expected


@pytest.mark.parametrize("lane_bits", [16, 32])
def test_masks_into__opposite_signs_cancel(lane_bits: int) -> None:
    """Pair masks would stay in the sum. Sizes cross the block border."""
    size = 2 * BLOCK_BYTES // (lane_bits // 8) + 77
    lanes: Lanes = np.zeros(size, dtype=lane_dtype(lane_bits))
    masks_into(lanes, [(KEY, 1), (OTHER, -1)])
    assert np.count_nonzero(lanes) > size * 0.99
    masks_into(lanes, [(OTHER, 1), (KEY, -1)])
    assert not lanes.any()


def test_mask_into__in_pieces_equals_the_whole() -> None:
    """Validators that open chunk by chunk would get another sum."""
    whole: Lanes = np.zeros(100_003, dtype=np.uint32)
    mask_into(whole, KEY, 1)
    pieces: Lanes = np.zeros(100_003, dtype=np.uint32)
    for start, end in [(0, 1), (1, 40_006), (40_006, 100_003)]:
        mask_into(pieces[start:end], KEY, 1, start)
    assert np.array_equal(whole, pieces)


def test_masks_into__bad_arguments_are_refused() -> None:
    """A silent copy of the accumulator would be masked instead of it, and the update published bare."""
    good: Lanes = np.zeros(8, dtype=np.uint32)
    frozen: Lanes = np.zeros(8, dtype=np.uint32)
    frozen.flags.writeable = False
    bad: list[tuple[Lanes, bytes, int, int]] = [
        (np.zeros(8, dtype=np.int32), KEY, 1, 0),  # type: ignore[list-item]  # that is the point
        (np.zeros(8, dtype=np.uint8), KEY, 1, 0),  # type: ignore[list-item]  # that is the point
        (np.zeros((2, 4), dtype=np.uint32), KEY, 1, 0),
        (np.zeros(16, dtype=np.uint32)[::2], KEY, 1, 0),
        (frozen, KEY, 1, 0),
        (good, KEY[:16], 1, 0),
        (good, KEY, 2, 0),
        (good, KEY, 1, -1),
    ]
    for lanes, key, sign, offset in bad:
        with pytest.raises(CryptoError):
            mask_into(lanes, key, sign, offset)
    with pytest.raises(CryptoError):
        keystream(KEY, -1)
    with pytest.raises(CryptoError):
        lane_dtype(64)
