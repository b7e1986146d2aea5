"""Exact noise for differential privacy: discrete Gaussian integers from a secret key, at any place of the vector.

Called by the trainer's machine, which hands it to the encoder: integers are added to the quantised update before
masking. The discrete Gaussian N_Z(0, v), with P(x) proportional to exp(-x² / 2v), is the noise of Canonne, Kamath and
Steinke 2020 (arXiv 2004.00010); sums of such noise are as private as Gaussian noise of the summed variance (Kairouz,
Liu and Steinke 2021, arXiv 2102.06387, theorem 1). No float takes part: tables come from 50-digit decimals, draws are
comparisons of 64-bit integers. Which update the noise belongs to and how much of it is needed is not known here.

How it is drawn. Up to a deviation of 400 one table look-up by the alias method (Walker 1977, Vose 1991): every
probability is a multiple of 2⁻⁶⁴. A larger deviation is a sum x₁ + k·x₂ (+ K·x₃) of such draws of one variance v₀ =
v / (1 + k² + K²). For each sum the last summand runs over a shifted Gaussian of deviation τ = s₁s₂ / √(s₁² + k²s₂²),
whose total over the integers depends on the shift by a factor of 1 ± 2·exp(-2π²τ²) only (Poisson summation; Micciancio
and Walter 2017, ePrint 2017/259). With τ ≥ 2 that is 2⁻¹¹². Tails beyond 9.4 deviations of a table are cut off (mass
below 2⁻⁶⁶). Together one coordinate is within :data:`DISTANCE_PER_COORDINATE` of N_Z(0, v) in statistical distance;
``learning/privacy.py`` adds that to δ, once per coordinate, trainer and round.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from p2p_flock.crypto.masking import keystream
from p2p_flock.crypto.suite import derive_key
from p2p_flock.errors import ParameterError

VARIANCE_MAX: Final = 1 << 46  # deviations up to 8.4 million: more than 32-bit lanes have room for
DISTANCE_PER_COORDINATE: Final = 2.0**-52
BYTES_PER_DRAW: Final = 8
_TABLE_VARIANCE_MAX: Final = 400 * 400  # tables of 8,192 columns, 192 KiB: they stay in L2
_INNER_SCALE: Final = 140  # k where three layers are needed: v₀ ≥ 4·(1 + k²) holds with room
_TAIL_SQUARED: Final = Fraction(94, 10) ** 2
_BLOCK: Final = 1 << 14  # coordinates per pass: temporaries stay in cache

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Noise:
    """Integers of N_Z(0, ``variance``), the same for the same key; a call gives those of some coordinates.

    Attributes:
        key: 32 secret bytes, used for nothing else; whoever knows them can take the noise off.
        variance: whole, in 1 … :data:`VARIANCE_MAX`.
    """

    key: bytes = field(repr=False)
    variance: int

    def __post_init__(self) -> None:
        compute_layers(self.variance)

    @property
    def bound(self) -> int:
        """No integer is larger in size than this."""
        return compute_noise_bound(self.variance)

    def __call__(self, start: int, count: int) -> Integers:
        """int64 of shape (count,), for coordinates ``start`` … ``start + count - 1``.

        Raises:
            CryptoError: a negative argument, or a key of another length than 32 bytes.
        """
        total = np.zeros(count, dtype=np.int64)
        for layer, table in enumerate(_build_layers(self.variance)):
            key = derive_key(self.key, "noise layer", layer.to_bytes(1, "big"))
            stream = keystream(key, BYTES_PER_DRAW * count, BYTES_PER_DRAW * start)
            table.draw_into(total, np.frombuffer(stream, dtype="<u8"))
        return total


def compute_layers(variance: int) -> tuple[int, ...]:
    """The factors (1), (1, k) or (1, k, K) of the draws that add up to one coordinate. Integer arithmetic only.

    Raises:
        ParameterError: the variance lies outside 1 … :data:`VARIANCE_MAX`.
    """
    if not 1 <= variance <= VARIANCE_MAX:
        raise ParameterError(
            f"the noise's variance lies in 1..{VARIANCE_MAX}, not {variance}: change levels or weights"
        )
    squares = -(-variance // _TABLE_VARIANCE_MAX)  # 1 + k² + K² is at least this
    if squares == 1:
        return (1,)
    if squares <= _TABLE_VARIANCE_MAX // 8:  # two layers with τ ≥ 2 and room for rounding k up
        return (1, _root_up(squares - 1))
    return (1, _INNER_SCALE, _root_up(max(1, squares - 1 - _INNER_SCALE**2)))


def compute_noise_bound(variance: int) -> int:
    """The largest size of a coordinate's noise, about 9.4 deviations; the same on every machine.

    Raises:
        ParameterError: as :func:`compute_layers`.
    """
    return sum(compute_layers(variance)) * _radius(_table_variance(variance))


def _root_up(value: int) -> int:
    return isqrt(value - 1) + 1


def _table_variance(variance: int) -> Fraction:
    return Fraction(variance, sum(scale * scale for scale in compute_layers(variance)))


def _radius(variance: Fraction) -> int:
    """⌈9.4 · deviation⌉; the table of one layer holds -radius … radius."""
    squared = _TAIL_SQUARED * variance
    return _root_up(-(-squared.numerator // squared.denominator))


@dataclass(frozen=True, slots=True)
class AliasTable:
    """One look-up per draw: the top bits of a uniform 64-bit integer choose a column, the rest one of its two values.

    Attributes:
        shift: 64 less the number of column bits.
        last: per column the largest draw that means its first value, uint64.
        values: first and second value of each column in turn, int64.
    """

    shift: int
    last: npt.NDArray[np.uint64]
    values: Integers

    def draw_into(self, total: Integers, uniform: npt.NDArray[np.uint64]) -> None:
        """``total += value`` for each draw, in place."""
        for start in range(0, total.size, _BLOCK):
            draws = uniform[start : start + _BLOCK]
            column = (draws >> np.uint64(self.shift)).view(np.int64)
            is_second = draws > self.last.take(column)
            column <<= 1
            column += is_second
            total[start : start + _BLOCK] += self.values.take(column)


def compute_weights(variance: Fraction) -> list[int]:
    """2⁶⁴ · P(x) for x = 0 … radius, rounded; twice their sum less the first is exactly 2⁶⁴.

    What rounding leaves over goes to 0, the likeliest value, where it is relatively smallest.
    """
    with localcontext() as context:
        context.prec = 50
        doubled = 2 * Decimal(variance.numerator) / Decimal(variance.denominator)
        masses = [(-(Decimal(x * x) / doubled)).exp() for x in range(_radius(variance) + 1)]
        total = 2 * sum(masses) - masses[0]
        weights = [int((mass / total * (1 << 64)).to_integral_value()) for mass in masses]
    weights[0] = (1 << 64) - 2 * sum(weights[1:])
    return weights


@lru_cache(maxsize=4)
def _build_layers(variance: int) -> tuple[AliasTable, ...]:
    table = _build_table(_table_variance(variance))
    return tuple(replace(table, values=table.values * scale) for scale in compute_layers(variance))


def _build_table(variance: Fraction) -> AliasTable:
    half = compute_weights(variance)
    radius = len(half) - 1
    weights = half[:0:-1] + half
    column_bits = (len(weights) - 1).bit_length()
    capacity = 1 << (64 - column_bits)
    left = weights + [0] * ((1 << column_bits) - len(weights))
    light = [column for column, weight in enumerate(left) if weight < capacity]
    heavy = [column for column, weight in enumerate(left) if weight >= capacity]
    first, second, kept = list(range(len(left))), list(range(len(left))), [capacity] * len(left)
    while light:  # each light column is filled up by a heavy one, which may become light (Vose 1991), in whole numbers
        column, donor = light.pop(), heavy[-1]
        second[column], kept[column] = donor, left[column]
        left[donor] -= capacity - left[column]
        if left[donor] < capacity:
            light.append(heavy.pop())
    last = np.empty(len(left), dtype=np.uint64)
    values = np.empty(2 * len(left), dtype=np.int64)
    for column, count in enumerate(kept):
        if count == 0:  # its own value never comes
            first[column], count = second[column], capacity
        last[column] = column * capacity + count - 1
        values[2 * column], values[2 * column + 1] = first[column] - radius, second[column] - radius
    return AliasTable(64 - column_bits, last, values)
