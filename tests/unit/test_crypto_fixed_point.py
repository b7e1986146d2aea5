"""Fixed point: encoding on the trainer, decoding of sums on every node."""

from __future__ import annotations

import hashlib
from math import isqrt, sqrt

import numpy as np
import pytest

from p2p_flock.crypto import fixed_point
from p2p_flock.crypto.masking import Lanes, keystream
from p2p_flock.errors import ParameterError, UsageError

LEVELS = 1000


def dither(count: int, key: int = 1) -> bytes:
    return keystream(bytes([key]) * 32, 4 * count)


def encode(update: list[float], clip: float = 1.0, weight: int = 1, bits: int = 32, key: int = 1) -> list[int]:
    values = np.array(update, dtype=np.float64)
    lanes = fixed_point.encode_update(values, clip, LEVELS, weight, dither(len(update), key), bits)
    assert lanes.dtype.itemsize * 8 == bits
    signed: list[int] = fixed_point.lift(lanes).tolist()
    return signed


def test_encode_update__rounds_to_a_neighboring_level() -> None:
    """An error above one step is more noise than the parameters promise."""
    update = np.sin(np.arange(5000.0)) / 100
    lanes = encode(update.tolist())
    scaled = update * LEVELS
    assert all(abs(lane - real) < 1 for lane, real in zip(lanes, scaled.tolist(), strict=True))


def test_encode_update__has_no_bias() -> None:
    """Rounding the same way every time lets small updates vanish for ever."""
    total = sum(encode([0.00025] * 10_000, clip=10.0))
    assert abs(total / 10_000 - 0.025) < 0.006  # four standard deviations


def test_encode_update__clips_the_norm() -> None:
    """One member could drown all others."""
    assert encode([300.0, -400.0]) == pytest.approx([600, -800], abs=1)
    assert encode([1.0, 0.0]) == [1000, 0]
    assert encode([-1e30]) == [-1000]


def test_encode_update__weighs_after_rounding() -> None:
    """A weight inside the rounding would not be the public integer that the decoder divides by."""
    plain, weighted = encode([0.01] * 50), encode([0.01] * 50, weight=7)
    assert weighted == [7 * lane for lane in plain]


@pytest.mark.parametrize("bits", [16, 32])
def test_encode_update__writes_twos_complement(bits: int) -> None:
    """Negative values would be read as huge ones."""
    lanes = fixed_point.encode_update(np.array([-1.0]), 1.0, LEVELS, 3, dither(1), bits)
    assert lanes.tolist() == [2**bits - 3000]


def test_encode_update__takes_float32() -> None:
    """Torch gives float32."""
    values = np.array([0.5, -0.25], dtype=np.float32)
    assert fixed_point.lift(fixed_point.encode_update(values, 1.0, 4, 1, bytes(8), 32)).tolist() == [2, -1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_encode__bad_values_are_refused(value: float) -> None:
    """A diverged training would poison the whole cohort's sum."""
    values = np.array([0.0, value])
    with pytest.raises(UsageError):
        fixed_point.encode_update(values, 1.0, LEVELS, 1, dither(2), 32)
    with pytest.raises(UsageError):
        fixed_point.encode_statistics(values, 1.0, LEVELS, 1, dither(2), 32)


def test_encode__bad_parameters_are_refused() -> None:
    """An overflowing lane or recycled dither would go unnoticed."""
    values = np.zeros(2)
    bad: list[tuple[float, int, int, bytes, int]] = [
        (0.0, LEVELS, 1, dither(2), 32),
        (-1.0, LEVELS, 1, dither(2), 32),
        (1.0, 0, 1, dither(2), 32),
        (1.0, LEVELS, 0, dither(2), 32),
        (1.0, LEVELS, 33, dither(2), 16),
        (1.0, LEVELS, 1, dither(1), 32),
        (1.0, LEVELS, 1, dither(3), 32),
    ]
    for clip, levels, weight, noise, bits in bad:
        with pytest.raises(ParameterError):
            fixed_point.encode_update(values, clip, levels, weight, noise, bits)
    with pytest.raises(ParameterError):
        fixed_point.encode_statistics(values, np.ones(3), LEVELS, 1, dither(2), 32)
    with pytest.raises(ParameterError):
        fixed_point.encode_statistics(values, np.array([1.0, 0.0]), LEVELS, 1, dither(2), 32)
    with pytest.raises(ParameterError):
        fixed_point.encode_update(np.zeros((2, 1)), 1.0, LEVELS, 1, dither(2), 32)


def test_encode_statistics__clips_each_coordinate_by_its_bound() -> None:
    """A count and a mean have different ranges; one bound for both loses one of them."""
    values, bounds = np.array([50.0, 0.5, -9.0]), np.array([100.0, 1.0, 3.0])
    lanes = fixed_point.encode_statistics(values, bounds, LEVELS, 1, bytes(12), 32)
    assert fixed_point.lift(lanes).tolist() == [500, 500, -1000]
    total = fixed_point.lift(lanes) * 4
    assert fixed_point.decode_statistics(total, bounds, LEVELS).tolist() == [200.0, 2.0, -12.0]


@pytest.mark.parametrize("bits", [16, 32])
def test_lift__is_centered(bits: int) -> None:
    """The sign of a sum would be lost."""
    half = 2 ** (bits - 1)
    lanes: Lanes = np.array([0, 1, half - 1, half, 2 * half - 1], dtype=f"<u{bits // 8}")
    assert fixed_point.lift(lanes).tolist() == [0, 1, half - 1, -half, -1]


def test_is_in_range__knows_both_ends() -> None:
    """Garbled sums would be voted on."""
    bound = fixed_point.compute_sum_bound((1, 2, 3), LEVELS)
    assert bound == 6000
    assert fixed_point.is_in_range(np.array([6000, -6000]), bound)
    assert not fixed_point.is_in_range(np.array([6001, 0]), bound)
    assert not fixed_point.is_in_range(np.array([0, -6001]), bound)


@pytest.mark.parametrize("largest", [1, 2**15, 2**28, 2**31])
def test_compute_squared_norm__is_exact(largest: int) -> None:
    """A norm that overflows or rounds would clip differently on two machines."""
    total = np.random.default_rng(1).integers(-largest, largest, 1001, endpoint=True)
    total[0] = -largest
    assert fixed_point.compute_squared_norm(total) == sum(value**2 for value in total.tolist())
    assert fixed_point.compute_squared_norm(np.zeros(0, dtype=np.int64)) == 0


def test_decode_mean__is_the_weighted_mean() -> None:
    """The model would move by something else than what the members computed."""
    mean = fixed_point.decode_mean(np.array([300, -600]), 2.0, LEVELS, 3)
    assert mean.tolist() == [300 * (2.0 / 3000), -600 * (2.0 / 3000)]


def test_decode_mean__limits_the_norm() -> None:
    """Members that together lie about their norm could drive the model anywhere."""
    total = np.array([3_000_000, 4_000_000])
    mean = fixed_point.decode_mean(total, 1.0, LEVELS, 3)
    assert sqrt(float(np.dot(mean, mean))) == pytest.approx(1.0)
    assert float(np.dot(mean, mean)) <= 1.0
    # Just inside, nothing is scaled.
    inside = np.array([3000, 0])
    assert fixed_point.decode_mean(inside, 1.0, LEVELS, 3).tolist() == [1.0, 0.0]
    assert isqrt(fixed_point.compute_squared_norm(total)) == 5_000_000


def test_decode_mean__has_the_same_bits_everywhere() -> None:
    """Two nodes would hold models that differ in the last bit, and vote for different digests (P2)."""
    total = np.random.default_rng(7).integers(-(2**20), 2**20, 4096)
    clipped = fixed_point.decode_mean(total, 3.7, LEVELS, 5)
    plain = fixed_point.decode_mean(total, 3.7, 2**20, 999)
    digest = hashlib.sha256(clipped.astype("<f8").tobytes() + plain.astype("<f8").tobytes()).hexdigest()
    root = isqrt(fixed_point.compute_squared_norm(total) - 1) + 1
    by_hand = [value * (3.7 / root) for value in total.tolist()] + [
        value * (3.7 / (2**20 * 999)) for value in total.tolist()
    ]
    assert digest == hashlib.sha256(np.array(by_hand, dtype="<f8").tobytes()).hexdigest()


@pytest.mark.parametrize(("clip", "levels", "weights"), [(0.0, 1, 1), (1.0, 0, 1), (1.0, 1, 0)])
def test_decode_mean__bad_parameters_are_refused(clip: float, levels: int, weights: int) -> None:
    """A division by zero would end the node."""
    with pytest.raises(ParameterError):
        fixed_point.decode_mean(np.array([1]), clip, levels, weights)
