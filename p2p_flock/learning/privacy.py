"""What differential privacy an alliance gives: ε over its rounds, and the noise that a wanted ε needs.

Called by the daemon (terms, status, round report), the launcher of a testnet and ``scripts/bench privacy``. Imports
neither torch nor scipy: a node shows ε thousands of times, and ``dp-accounting`` takes three seconds to import, so the
formula is here and the tests hold it against that library. Method, table and limits: ``PRIVACY.md``.

**What is protected**: one member's whole contribution in every round, that is all its records at once. Two runs are
adjacent when they differ in one member's updates, which are replaced by zeros; who takes part and with which public
weight is the same in both. **Against whom**: everybody who sees every opened sum, c colluding trainers of the cohort
included, and who cannot break the masks (computational privacy, Mironov et al. 2009).

**Accounting.** In each round the opened sum holds discrete Gaussian noise of z sensitivities at least
(``alliance/privacy.py``), which is ρ = 1 / 2z² concentrated differential privacy (Canonne, Kamath and Steinke 2020,
theorem 4; sums of shares: Kairouz, Liu and Steinke 2021, theorem 1, whose correction is below 10⁻⁵⁰ here). ρ adds up
over rounds, whatever later rounds make of earlier ones. Amplification by sampling is **not** claimed: it needs that
nobody knows who took part, and roles are public. ε at δ follows by Canonne et al. 2020, proposition 12.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from p2p_flock.crypto.noise import DISTANCE_PER_COORDINATE
from p2p_flock.errors import ParameterError

DELTA: Final = 1e-5  # where a task or a command says nothing else
_ORDERS: Final = tuple(1 + 10 ** (step / 100 - 3) for step in range(1000))  # 1.001 … 10⁷
_STEPS_MAX: Final = 100
_EXPONENT_MAX: Final = 700.0  # e^700 is still a float


@dataclass(frozen=True, slots=True)
class PrivacyTerms:
    """A private alliance's terms, as a member sees them before it joins.

    Attributes:
        noise_multiplier: z, from the task's manifest.
        delta: δ, from there.
        rounds: training rounds that there can be at most; a member is counted as a trainer in all of them.
        noisy_values: coordinates times trainers of a cohort, for the sampler's share of δ.
    """

    noise_multiplier: float
    delta: float
    rounds: int
    noisy_values: int

    def epsilon(self, rounds: int | None = None) -> float:
        """ε after so many rounds as a trainer; after all of them by default. Infinite where δ is used up."""
        counted = self.rounds if rounds is None else rounds
        spent = counted * self.noisy_values * DISTANCE_PER_COORDINATE
        return compute_epsilon(self.noise_multiplier, counted, self.delta, spent)


@lru_cache(maxsize=4096)
def compute_epsilon(noise_multiplier: float, rounds: int, delta: float, distance: float = 0.0) -> float:
    """ε of ``rounds`` rounds at ``delta``; an upper bound, for any order α gives one.

    Args:
        noise_multiplier: z > 0.
        distance: statistical distance of all noise drawn from what the theorem assumes. It costs (1 + e^ε)·distance of
            δ (triangle inequality on either side), so the rest must do; infinite where nothing is left.

    Raises:
        ParameterError: a number out of range.
    """
    if not (noise_multiplier > 0 and rounds >= 0 and 0 < delta < 1 and distance >= 0):
        raise ParameterError("a positive noise multiplier, rounds ≥ 0 and δ strictly between 0 and 1")
    if rounds == 0:
        return 0.0
    rho = rounds / (2 * noise_multiplier**2)
    epsilon = _convert(rho, delta)
    for _ in range(_STEPS_MAX):  # from below to the smallest ε that its own share of δ gives
        left = delta - (1 + math.exp(min(epsilon, _EXPONENT_MAX))) * distance
        if left <= 0:
            return math.inf
        found = _convert(rho, left)
        if found <= epsilon * (1 + 1e-9):
            return found
        epsilon = found
    return math.inf


def _convert(rho: float, delta: float) -> float:
    """From ρ-zCDP to (ε, δ): the least over orders α of Rényi differential privacy."""
    found = (
        order * rho + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1) for order in _ORDERS
    )
    return max(0.0, min(found))


def compute_noise_multiplier(epsilon: float, rounds: int, delta: float = DELTA) -> float:
    """The smallest z, rounded up to three digits, with which ``rounds`` rounds cost at most ``epsilon``.

    Raises:
        ParameterError: a number out of range.
    """
    if not (epsilon > 0 and rounds >= 1):
        raise ParameterError("a positive ε and at least one round")
    low, high = 1e-3, 1e6
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if compute_epsilon(middle, rounds, delta) <= epsilon else (middle, high)
    step = 10 ** (math.floor(math.log10(high)) - 2)
    return float(f"{math.ceil(high / step) * step:.3g}")
