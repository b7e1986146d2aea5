"""The rules to compare with: they all see every single update, which ours never does. Pure.

Called by ``bench/poison.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from p2p_flock.bench.poison_model import Reals

Rule = Callable[[Reals, int], Reals]
"""(updates float64[n, D], how many of them are bad at most) → the model's change float64[D]."""


def average(updates: Reals, bad: int) -> Reals:
    """Plain federated averaging of equal weights (McMahan et al. 2017)."""
    mean: Reals = updates.mean(axis=0)
    return mean


def take_median(updates: Reals, bad: int) -> Reals:
    """The median of every coordinate (Yin et al., "Byzantine-robust distributed learning", ICML 2018)."""
    middle: Reals = np.median(updates, axis=0)
    return middle


def compute_krum_scores(updates: Reals, bad: int) -> Reals:
    """For each update the sum of squared distances to its n − bad − 2 closest others (Blanchard et al., NIPS 2017)."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(updates).sum(axis=1)
        distances = np.maximum(squares[:, None] + squares - 2 * updates @ updates.T, 0)
    np.fill_diagonal(distances, np.inf)
    closest = np.sort(distances, axis=1)[:, : max(1, len(updates) - bad - 2)]
    scores: Reals = closest.sum(axis=1)
    return scores


def take_krum(updates: Reals, bad: int) -> Reals:
    """The one update that is closest to the others."""
    best: Reals = updates[int(compute_krum_scores(updates, bad).argmin())]
    return best.copy()


def take_multi_krum(updates: Reals, bad: int) -> Reals:
    """The mean of the n − bad updates with the best Krum scores: m = n − f of the same paper, its strongest choice."""
    scores = compute_krum_scores(updates, bad)
    chosen = np.argsort(scores, kind="stable")[: max(1, len(updates) - bad)]
    mean: Reals = updates[np.sort(chosen)].mean(axis=0)
    return mean


RULES: Final[Mapping[str, Rule]] = {
    "fedavg": average,
    "median": take_median,
    "krum": take_krum,
    "multikrum": take_multi_krum,
}
