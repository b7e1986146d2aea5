"""Real vectors to ring lanes and back: clip, quantise with stochastic rounding, weight; lift, check, decode.

Called by trainers before masking (encode) and by validators after opening (decode). Encoding is local and may use
floats freely; from the opened sum on, everything is exact integers and then element-wise float64 in one fixed order, so
that every node gets the same bits (P2). Updates are clipped by L2 norm, statistics by a bound per coordinate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isqrt

import numpy as np
import numpy.typing as npt

from p2p_flock.crypto.masking import Lanes, keystream, lane_dtype
from p2p_flock.crypto.vectors import Vector, iterate_blocks
from p2p_flock.errors import ParameterError, UsageError

DITHER_BYTES_PER_LANE = 4  # the rounding's bias is below 2⁻³³ of a step
_BLOCK = 1 << 16  # coordinates per pass: temporaries stay in cache

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def encode_update(
    update: npt.NDArray[np.floating], clip_norm: float, levels: int, weight: int, dither: bytes, lane_bits: int
) -> Lanes:
    """Run by the trainer. ``weight · round(clip(update) / step)`` as two's complement lanes; step = clip_norm / levels.

    Args:
        update: one-dimensional, any float type, finite.
        clip_norm: the L2 norm the update is scaled down to if it exceeds it, > 0.
        levels: quantisation levels on either side of zero.
        weight: the seat's public weight, ≥ 1.
        dither: 4 bytes per coordinate, uniform and secret (the keystream of a fresh key).
        lane_bits: 16 or 32.

    Returns:
        uint16 or uint32 lanes; each coordinate within ±levels·weight.

    Raises:
        UsageError: the update holds a value that is not finite.
        ParameterError: a parameter out of range, or the wrong amount of dither.
    """
    if not clip_norm > 0 or update.ndim != 1:
        raise ParameterError("clip_norm is positive, the update one-dimensional")
    return _encode(update, _compute_divisor(update, clip_norm), levels, weight, dither, lane_bits)


def encode_statistics(
    values: npt.NDArray[np.floating], bounds: Reals | float, levels: int, weight: int, dither: bytes, lane_bits: int
) -> Lanes:
    """Run by the trainer. Like :func:`encode_update`, but coordinate j is clipped to ±bounds[j] and has its own step.

    Args:
        bounds: one positive number, or one per coordinate.

    Raises:
        UsageError, ParameterError: as :func:`encode_update`.
    """
    limits = np.asarray(bounds, dtype=np.float64)
    if limits.ndim > 0 and limits.shape != values.shape:
        raise ParameterError("one bound, or one per coordinate")
    if not np.all(limits > 0) or not np.all(np.isfinite(limits)):
        raise ParameterError("bounds are positive and finite")
    return _encode(values, limits, levels, weight, dither, lane_bits)


@dataclass(frozen=True, slots=True)
class Encoder:
    """An update or local sums, encoded block by block as :func:`encode_update` or :func:`encode_statistics` would.

    Attributes:
        values: any float type; read twice where ``is_update``, else once.
        bound: the L2 norm that the whole update is clipped to, or the bound of every single coordinate.
        dither_key: 32 secret bytes, used for nothing else; the dither is its keystream.
    """

    values: Vector[np.floating]
    is_update: bool
    bound: float
    levels: int
    weight: int
    lane_bits: int
    dither_key: bytes = field(repr=False)

    def encode(self, block_lanes: int) -> Iterator[Lanes]:
        """Fresh arrays of ``block_lanes`` lanes in order, the last one shorter. Memory: one block and temporaries.

        Raises:
            UsageError, ParameterError: as :func:`encode_update`; before the first block where the norm shows it.
        """
        if not 0 < self.bound < np.inf:
            raise ParameterError("clip_norm and bounds are positive and finite")
        divisor = _compute_divisor(self.values, self.bound) if self.is_update else np.float64(self.bound)
        for start, values in iterate_blocks(self.values, block_lanes):
            offset_bytes = DITHER_BYTES_PER_LANE * start
            dither = keystream(self.dither_key, DITHER_BYTES_PER_LANE * values.size, offset_bytes)
            yield _encode(values, divisor, self.levels, self.weight, dither, self.lane_bits)


def _compute_divisor(update: Vector[np.floating], clip_norm: float) -> np.float64:
    """update / divisor · levels = clipped update / step."""
    total = 0.0
    for _, values in iterate_blocks(update, _BLOCK):
        block = values.astype(np.float64)
        block *= block
        total += float(block.sum())  # not np.dot: BLAS starts a thread per core, 100 times slower on a busy machine
    if not np.isfinite(total):
        raise UsageError("the update holds a value that is not finite; lower the learning rate or check the data")
    return np.float64(max(float(np.sqrt(total)), clip_norm))


def _encode(
    values: npt.NDArray[np.floating],
    bounds: np.float64 | Reals,
    levels: int,
    weight: int,
    dither: bytes,
    lane_bits: int,
) -> Lanes:
    if values.ndim != 1 or len(dither) != DITHER_BYTES_PER_LANE * values.size:
        raise ParameterError("one-dimensional values and four bytes of dither for each")
    if levels < 1 or weight < 1 or levels * weight >= 2 ** (lane_bits - 1):
        raise ParameterError("levels·weight is positive and fits a signed lane")
    lanes = np.empty(values.size, dtype=lane_dtype(lane_bits))
    uniform = np.frombuffer(dither, dtype="<u4")
    limits = np.broadcast_to(bounds, values.shape)
    for start in range(0, values.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        scaled = values[part].astype(np.float64)
        scaled /= limits[part]
        scaled *= levels
        if not np.all(np.isfinite(scaled)):
            raise UsageError("the values to encode are not finite; lower the learning rate or check the data")
        np.clip(scaled, -levels, levels, out=scaled)
        # Stochastic rounding: ⌊x + u⌋ with u uniform in [0, 1) has the mean x.
        scaled += uniform[part] * 2.0**-32
        np.floor(scaled, out=scaled)
        np.clip(scaled, -levels, levels, out=scaled)  # x + u may round up to the next float
        scaled *= weight  # whole numbers below 2³¹: exact
        lanes[part] = scaled.astype(np.int64).astype(lanes.dtype)
    return lanes


def lift(lanes: Lanes) -> Integers:
    """The signed integer nearest zero for each lane (two's complement), int64."""
    signed = np.dtype(f"<i{lanes.dtype.itemsize}")
    return lanes.view(signed).astype(np.int64)


def compute_sum_bound(weights: tuple[int, ...], levels: int) -> int:
    """The largest magnitude a lane of an honest sum can have: levels · Σ weights."""
    return levels * sum(weights)


def is_in_range(total: Integers, sum_bound: int) -> bool:
    """Whether every lane lies within ±``sum_bound``. A garbled lane passes with chance 2⁻³ (headroom rule)."""
    return bool(np.all(total <= sum_bound) and np.all(total >= -sum_bound))


def compute_squared_norm(total: Vector[np.int64]) -> int:
    """Σ total², exactly, as a Python integer. Partial sums are short enough for int64."""
    return sum(_square_block(block) for _, block in iterate_blocks(total))


def _square_block(block: Integers) -> int:
    largest = max(abs(int(block.min())), abs(int(block.max())), 1)
    count = min((2**63 - 1) // largest**2, block.size)
    if count < 1:
        raise ParameterError("a lane of the sum exceeds 31 bits")
    sums = np.add.reduceat(block * block, np.arange(0, block.size, count))
    return sum(sums.tolist())


def compute_mean_factor(squared_norm: int, clip_norm: float, levels: int, weight_total: int) -> float:
    """What the lifted sum is multiplied by to give the cohort's weighted mean, its norm limited to ``clip_norm``.

    factor = clip_norm / max(levels · weight_total, ⌈√Σtotal²⌉). The first operand of max is plain decoding (step /
    weight_total); the second takes over exactly when the mean's norm would exceed ``clip_norm``, and limits it. The
    integer square root is exact, the quotient is one correctly rounded division: the same bits on every machine.

    Args:
        squared_norm: :func:`compute_squared_norm` of the lifted ring sum.
        weight_total: Σ weights of the cohort's survivors, ≥ 1.
    """
    if weight_total < 1 or levels < 1 or not clip_norm > 0:
        raise ParameterError("weights, levels and clip_norm are positive")
    root = isqrt(squared_norm)
    root += root * root < squared_norm
    return clip_norm / max(levels * weight_total, root)


def decode_mean(total: Integers, clip_norm: float, levels: int, weight_total: int) -> Reals:
    """The cohort's weighted mean update in one piece: one product per element with :func:`compute_mean_factor`."""
    factor = compute_mean_factor(compute_squared_norm(total), clip_norm, levels, weight_total)
    return total.astype(np.float64) * factor


def decode_statistics(total: Integers, bounds: Reals | float, levels: int) -> Reals:
    """Σ weight·value per coordinate, float64: total · bounds / levels, product first; everywhere the same bits."""
    return total.astype(np.float64) * np.asarray(bounds, dtype=np.float64) / levels
