"""Real vectors to ring words and back: clip, quantise with stochastic rounding, weight, add noise; decode sums.

Called by trainers before masking (encode) and by validators after opening (decode). Encoding is local and may use
floats freely; from the opened sum on, everything is exact integers and then element-wise float64 in one fixed order, so
that every node gets the same bits (P2). Updates are clipped by L2 norm, statistics by a bound per coordinate.

A value v becomes X = round(v · levels · 2^k / bound) and, with a uniform k-bit integer u, ⌊(X + u) / 2^k⌋, whose mean
is X / 2^k exactly. All of it fits 32 bits. So the only bias is that of X: half a unit, that is 2^-17 of a step, or
2^-31 of the bound where levels are so many that this is more (k = min(16, 31 − bits of levels)); and the last bit of
the value itself, where it is multiplied as float32. Differential privacy counts on this: before weighting, a lane is
⌊x⌋ or ⌈x⌉ of the clipped, scaled value x, and the norm of all x is at most levels + 1, however floats were rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import isqrt

import numpy as np
import numpy.typing as npt

from p2p_flock.crypto.masking import Keystream
from p2p_flock.crypto.ring import Integers, Ring, Words
from p2p_flock.crypto.vectors import Vector, iterate_blocks
from p2p_flock.errors import LocalProtocolError, ParameterError, UsageError

DITHER_BYTES_PER_LANE = 2
DITHER_BITS = 8 * DITHER_BYTES_PER_LANE
NOISE_BLOCK = 1 << 13  # lanes; every call for noise but an update's last asks for a multiple of it
_BLOCK = 1 << 16  # lanes per pass: temporaries stay in cache
_NOISE_TAIL = 50  # t: e^-t is the chance that honest noise exceeds one of its bounds
_FLOAT32_BITS = 24  # levels of so many bits are exact in float32, times any power of two

Reals = npt.NDArray[np.float64]
MakeNoise = Callable[[int, int], npt.NDArray[np.int64]]
"""(start, count) → the integers to add to lanes start … start + count − 1."""
DrawDither = Callable[[int, int], bytes | memoryview]
"""(start, count) → two bytes for each of these lanes, to be read at once."""


def encode_update(
    update: npt.NDArray[np.floating], clip_norm: float, levels: int, weight: int, dither: bytes, lane_bits: int
) -> Words:
    """Run by the trainer. ``weight · round(clip(update) / step)`` in the words of a ring; step = clip_norm / levels.

    Args:
        update: one-dimensional, any float type, finite.
        clip_norm: the L2 norm the update is scaled down to if it exceeds it, > 0.
        levels: quantisation levels on either side of zero.
        weight: the seat's public weight, ≥ 1.
        dither: 2 bytes per coordinate, uniform and secret (the keystream of a fresh key).
        lane_bits: one of ``params.RINGS``.

    Returns:
        The ring's words; each coordinate within ±levels·weight, packed ones with the bias levels·weight.

    Raises:
        UsageError: the update holds a value that is not finite.
        ParameterError: a parameter out of range, or the wrong amount of dither.
    """
    if not clip_norm > 0 or update.ndim != 1:
        raise ParameterError("clip_norm is positive, the update one-dimensional")
    divisor, draw = _compute_divisor(update, clip_norm), _draw_from(dither, update.size)
    return _Grid(Ring(lane_bits), levels, weight, divisor, False, draw).encode(update)


def encode_statistics(
    values: npt.NDArray[np.floating], bounds: Reals | float, levels: int, weight: int, dither: bytes, lane_bits: int
) -> Words:
    """Run by the trainer. Like :func:`encode_update`, but coordinate j is clipped to ±bounds[j] and has its own step.

    Args:
        bounds: one positive number, or one per coordinate.

    Raises:
        UsageError, ParameterError: as :func:`encode_update`.
    """
    limits = np.asarray(bounds, dtype=np.float64)
    if values.ndim != 1 or (limits.ndim > 0 and limits.shape != values.shape):
        raise ParameterError("one dimension; one bound, or one per coordinate")
    if not np.all(limits > 0) or not np.all(np.isfinite(limits)):
        raise ParameterError("bounds are positive and finite")
    return _Grid(Ring(lane_bits), levels, weight, limits, True, _draw_from(dither, values.size)).encode(values)


@dataclass(frozen=True, slots=True)
class Encoder:
    """An update or local sums, encoded block by block as :func:`encode_update` or :func:`encode_statistics` would.

    Attributes:
        values: any float type; read twice where ``is_update``, else once.
        bound: the L2 norm that the whole update is clipped to, or the bound of every single coordinate.
        dither_key: 32 secret bytes, used for nothing else; the dither is its keystream.
        noise: integers added after quantising and weighting, for differential privacy. Called in ascending order for
            every lane once. While blocks are chunks (1 MiB), each call starts at a multiple of :data:`NOISE_BLOCK` and
            asks for at most 65,536 lanes, a multiple of it except at the end.
        noise_bound: that |noise| never exceeds, by its maker's promise; it is checked. 0 without noise.
    """

    values: Vector[np.floating]
    is_update: bool
    bound: float
    levels: int
    weight: int
    lane_bits: int
    dither_key: bytes = field(repr=False)
    noise: MakeNoise | None = field(default=None, repr=False)
    noise_bound: int = 0

    def encode(self, block_bytes: int) -> Iterator[Words]:
        """Fresh arrays of ``block_bytes`` bytes in order, the last one shorter. Memory: one block and temporaries.

        Args:
            block_bytes: whole words; a chunk where the vector is to be masked.

        Raises:
            UsageError, ParameterError: as :func:`encode_update`; before the first block where the norm shows it.
            LocalProtocolError: the noise is not what its maker promised.
        """
        if not 0 < self.bound < np.inf:
            raise ParameterError("clip_norm and bounds are positive and finite")
        ring, stream = Ring(self.lane_bits), Keystream(self.dither_key)
        divisor = _compute_divisor(self.values, self.bound) if self.is_update else np.float64(self.bound)

        def draw(first: int, count: int) -> memoryview:
            return stream.read(DITHER_BYTES_PER_LANE * first, DITHER_BYTES_PER_LANE * count)

        grid = _Grid(ring, self.levels, self.weight, divisor, not self.is_update, draw, self.noise, self.noise_bound)
        for start, values in iterate_blocks(self.values, ring.lanes_in(block_bytes)):
            yield grid.encode(values, start)


def _compute_divisor(update: Vector[np.floating], clip_norm: float) -> np.float64:
    """update / divisor · levels = clipped update / step; no coordinate is larger than the divisor."""
    total = 0.0
    squares = np.empty(_BLOCK)
    for _, values in iterate_blocks(update, _BLOCK):
        block = np.square(values, out=squares[: values.size], dtype=np.float64)
        total += float(block.sum())  # not np.dot: BLAS starts a thread per core, 100 times slower on a busy machine
    if not np.isfinite(total):
        raise UsageError("the update holds a value that is not finite; lower the learning rate or check the data")
    return np.float64(max(float(np.sqrt(total)), clip_norm))


class _Grid:
    """Encodes the blocks of one vector, and holds the buffers that they pass through: fresh ones cost page faults."""

    def __init__(
        self,
        ring: Ring,
        levels: int,
        weight: int,
        bounds: np.float64 | Reals,
        is_clipped: bool,
        draw: DrawDither,
        noise: MakeNoise | None = None,
        noise_bound: int = 0,
    ) -> None:
        """Take what all lanes have in common.

        Args:
            bounds: one, or one per coordinate. Where not ``is_clipped``, no value is larger.
        """
        if noise_bound < 0 or (noise is None and noise_bound):
            raise ParameterError("a bound of noise is positive, and zero where there is none")
        self.bias = levels * weight + noise_bound  # the largest magnitude of a lane; makes every packed one positive
        if levels < 1 or weight < 1 or self.bias >= 1 << (ring.lane_bits - 1):
            raise ParameterError("levels·weight + noise_bound is positive and fits a signed lane")
        self.ring, self.weight, self.is_clipped, self.draw = ring, weight, is_clipped, draw
        self.noise, self.noise_bound = noise, noise_bound
        self.dither_bits = min(DITHER_BITS, 31 - levels.bit_length())  # k: (levels + 1)·2^k ≤ 2³¹
        self.limit, self.levels_bits = levels << self.dither_bits, levels.bit_length()
        self.scale = np.asarray(self.limit / bounds)
        self._scaled: npt.NDArray[np.floating] = np.empty(_BLOCK, dtype=np.float32)
        self._integers = np.empty(_BLOCK, dtype=np.int32)

    def encode(self, values: npt.NDArray[np.floating], start: int = 0) -> Words:
        """The words of the lanes from ``start`` on."""
        ring = self.ring
        words: Words = np.empty(ring.word_count(values.size), dtype=ring.dtype)
        unit = NOISE_BLOCK * ring.lanes_per_word
        step = _BLOCK // unit * unit
        for first in range(0, values.size, step):
            block = values[first : first + step]
            part = words[first // ring.lanes_per_word :][: ring.word_count(block.size)]
            is_in_place = ring.lane_bits == 32  # the words are the integers
            integers = part.view(np.int32) if is_in_place else self._integers[: block.size]
            self._scale(block, self.scale if self.scale.ndim == 0 else self.scale[first : first + step], integers)
            self._round(integers, self.draw(start + first, block.size))
            if self.weight > 1:
                np.multiply(integers, self.weight, out=integers)
            if self.noise is not None:
                self._add_noise(integers, self.noise(start + first, block.size))
            if not is_in_place:
                ring.pack(integers, self.bias, part)
        return words

    def _scale(self, values: npt.NDArray[np.floating], scale: Reals, integers: npt.NDArray[np.int32]) -> None:
        """X: values · scale, clipped, rounded to the nearest integer."""
        factor: npt.NDArray[np.floating] | np.float32 = scale
        if (
            values.dtype.itemsize <= 4
            and scale.ndim == 0
            and self.levels_bits <= _FLOAT32_BITS
            and 1e-30 < scale < 1e30
        ):
            factor = _round_down(scale)
        kind = np.float64 if isinstance(factor, np.ndarray) else np.float32
        if self._scaled.dtype != kind:
            self._scaled = np.empty(_BLOCK, dtype=kind)
        scaled = self._scaled[: values.size]
        with np.errstate(over="ignore", invalid="ignore"):  # both show below
            np.multiply(values, factor, out=scaled, casting="same_kind")
            if self.is_clipped:
                if not np.isfinite(values).all():
                    raise UsageError("the values to encode are not finite; check the data")
                np.clip(scaled, -self.limit, self.limit, out=scaled)
            np.rint(scaled, out=scaled)
            np.copyto(integers, scaled, casting="unsafe")  # what is not finite becomes the least or greatest integer
        if int(integers.max()) > self.limit or int(integers.min()) < -self.limit:
            raise UsageError("the values to encode are not finite, or not those whose norm was computed")

    def _round(self, integers: npt.NDArray[np.int32], dither: bytes | memoryview) -> None:
        """Stochastic rounding: ⌊(X + u) / 2^k⌋ with u uniform in 0 … 2^k − 1 has the mean X / 2^k."""
        uniform = np.frombuffer(dither, dtype="<u2")
        if self.dither_bits < DITHER_BITS:
            uniform = uniform >> (DITHER_BITS - self.dither_bits)
        np.add(integers, uniform, out=integers)
        np.right_shift(integers, self.dither_bits, out=integers)

    def _add_noise(self, integers: npt.NDArray[np.int32], noise: npt.NDArray[np.int64]) -> None:
        if noise.dtype != np.int64 or noise.shape != integers.shape:
            raise LocalProtocolError("noise is one int64 for each lane asked for")
        if int(noise.max()) > self.noise_bound or int(noise.min()) < -self.noise_bound:
            raise LocalProtocolError("noise exceeds its bound; the sum would leave its range")
        np.add(integers, noise, out=integers, casting="unsafe")


def _round_down(scale: Reals) -> np.float32:
    """As float32. Rounded up, the product of a value at its bound could exceed the limit, which is a float32."""
    nearest = np.float32(scale)
    return nearest if nearest <= scale else np.nextafter(nearest, np.float32(0))


def _draw_from(dither: bytes, lane_count: int) -> DrawDither:
    if len(dither) != DITHER_BYTES_PER_LANE * lane_count:
        raise ParameterError(f"{DITHER_BYTES_PER_LANE} bytes of dither for each value")
    return lambda first, count: dither[DITHER_BYTES_PER_LANE * first : DITHER_BYTES_PER_LANE * (first + count)]


def compute_sum_bound(weights: tuple[int, ...], levels: int, noise_bound: int = 0) -> int:
    """The largest magnitude that a lane of an honest sum can have: levels · Σ weights + n · noise_bound.

    In packed words it is also what all biases add up to: :class:`_Grid` adds levels·weight + noise_bound to each lane.

    Args:
        weights: of the n sealed members.
    """
    return levels * sum(weights) + len(weights) * noise_bound


def compute_norm_max(levels: int, lane_count: int) -> int:
    """The L2 norm of an encoded update before weighting at most, in steps of the ring: levels + ⌈√d⌉ + 1.

    Clipping leaves a norm of ``levels``, and one more is for its float arithmetic (see the module). Rounding moves each
    of d lanes by less than one, the vector by less than √d; that worst case is counted.
    """
    return levels + isqrt(lane_count - 1) + 1 + 1


def compute_squared_norm_max(weight_total: int, levels: int, lane_count: int, noise_variance: int = 0) -> int:
    """The squared norm that an opened sum of clipped updates has at most. A longer one proves that somebody cheated.

    A = W · :func:`compute_norm_max` bounds the sum s of the weighted updates: norms add up. That is certain. With noise
    n of total variance v per lane, ‖s + n‖² = ‖s‖² + 2⟨s, n⟩ + ‖n‖², and only chance bounds it: discrete Gaussians and
    their sums are subgaussian with the proxy v (Canonne, Kamath and Steinke 2020), so ⟨s, n⟩ ≤ A·√(2tv) but for e^-t,
    and ‖n‖² ≤ v·(d + 2·√(dt) + 2t) but for e^-t (Hsu, Kakade and Zhang 2012, theorem 2.1). With t = 50 an honest cohort
    exceeds it with a chance below 2^-71, beside the sampler's own distance from the law (``crypto/noise.py``).

    Args:
        weight_total: W, the summed weights of the sealed members.
        lane_count: d ≥ 1.
        noise_variance: v, of all sealed members' shares together; 0 without noise.
    """
    longest = weight_total * compute_norm_max(levels, lane_count)
    if not noise_variance:
        return longest * longest
    across = 2 * longest * (isqrt(2 * _NOISE_TAIL * noise_variance) + 1)
    own = noise_variance * (lane_count + 2 * (isqrt(lane_count * _NOISE_TAIL) + 1) + 2 * _NOISE_TAIL)
    return longest * longest + across + own


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
