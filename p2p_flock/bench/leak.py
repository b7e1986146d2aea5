"""What opened sums leak over many rounds: how well a persistent update is estimated, with and without noise.

Run as ``python -m p2p_flock.bench.leak`` (``scripts/bench leak``); the table is in ``secagg/SPEC.md`` §11. Masks hide
everything but each cohort's sum, and roles are public, so whoever keeps the sums holds one linear equation per cohort
and round: Σ of the members' updates. Where members differ in the same way again and again (their data does), the
equations of different cohorts can be subtracted.

The model: member i's update in round r is p_i + f_i(r), a persistent and a fresh part of equal norm, independent
Gaussian coordinates: half of the update's energy comes again. What all members have in common moves the model, is no
secret, and is left out. The attack is the best linear one: least squares with the right ridge (it knows all variances),
over all sums so far. The measure is the correlation of its estimate of p_i with p_i over the coordinates, mean over the
members that have trained. With noise each sum also holds Gaussian noise of z times the norm of an update, which is what
clipping at just that norm costs (``alliance/privacy.py``).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from p2p_flock.learning.privacy import compute_noise_multiplier

SIZES = (5, 8, 16, 32)
REDRAWS = (1, 10, None)
ROUNDS = (10, 20, 50, 100, 200, 500)
EPSILON = 8.0
COORDINATES = 2000  # a correlation is known to 1/√2000

Matrix = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Alliance:
    """Cohorts of ``size`` trainers, ``cohorts`` of them at once, and validators beside them.

    Attributes:
        redraw: roles are drawn anew every so many rounds; ``None`` for never.
        noise_multiplier: z; 0 without noise.
    """

    size: int
    redraw: int | None
    cohorts: int = 2
    validators: int = 3
    noise_multiplier: float = 0.0

    @property
    def members(self) -> int:
        return self.size * self.cohorts + self.validators


def measure(alliance: Alliance, rounds: Sequence[int], seed: int = 1, coordinates: int = COORDINATES) -> list[float]:
    """The attack's mean correlation after each of these numbers of rounds (ascending)."""
    chance = np.random.default_rng([seed, alliance.size, alliance.redraw or 0])
    persistent = chance.standard_normal((alliance.members, coordinates))
    length = math.sqrt(2 * coordinates)  # the norm of an update
    noise_variance = (alliance.noise_multiplier * length) ** 2
    gram = np.zeros((alliance.members, alliance.members))
    right = np.zeros((alliance.members, coordinates))
    found, order = [], chance.permutation(alliance.members)
    for number in range(max(rounds)):
        if number and alliance.redraw is not None and number % alliance.redraw == 0:
            order = chance.permutation(alliance.members)
        for cohort in range(alliance.cohorts):
            seats = order[cohort * alliance.size : (cohort + 1) * alliance.size]
            fresh = math.sqrt(alliance.size + noise_variance) * chance.standard_normal(coordinates)
            gram[np.ix_(seats, seats)] += 1
            right[seats] += persistent[seats].sum(axis=0) + fresh
        if number + 1 in rounds:
            ridge = (alliance.size + noise_variance) * np.eye(alliance.members)
            trained = np.diag(gram) > 0
            found.append(_mean_correlation(np.linalg.solve(gram + ridge, right)[trained], persistent[trained]))
    return found


def _mean_correlation(estimate: Matrix, truth: Matrix) -> float:
    products = (estimate * truth).sum(axis=1)
    lengths = np.sqrt((estimate**2).sum(axis=1) * (truth**2).sum(axis=1))
    return float(np.mean(products / lengths))


def measure_all(sizes: Sequence[int], rounds: Sequence[int], epsilon: float) -> list[dict[str, Any]]:
    """Every size and redraw period without noise, then each size re-drawn every round with noise for ``epsilon``.

    The first is the testnet's alliance: one cohort of five of eight members.
    """
    z = compute_noise_multiplier(epsilon, max(rounds))
    alliances = [Alliance(5, 1, cohorts=1)]
    alliances += [Alliance(size, redraw) for redraw in REDRAWS for size in sizes]
    alliances += [Alliance(size, 1, noise_multiplier=z) for size in sizes]
    return [
        {
            "size": one.size, "cohorts": one.cohorts, "members": one.members, "redraw": one.redraw,
            "noise_multiplier": one.noise_multiplier, "epsilon": epsilon if one.noise_multiplier else None,
            "rounds": list(rounds), "correlation": measure(one, rounds),
        }
        for one in alliances
    ]  # fmt: skip


def render(found: Sequence[dict[str, Any]]) -> str:
    """A Markdown table: correlations after so many rounds."""
    rounds = found[0]["rounds"]
    head = ["cohort", "members", "re-drawn", "noise", *(f"{count}" for count in rounds)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for one in found:
        drawn = "never" if one["redraw"] is None else f"every {one['redraw']}" if one["redraw"] > 1 else "every round"
        noise = f"ε = {one['epsilon']:g}" if one["epsilon"] else "none"
        cohort = f"{one['cohorts']} of {one['size']}"
        cells = [f"{value:.2f}".replace("0.", ".").replace("-.00", ".00") for value in one["correlation"]]
        lines.append("| " + " | ".join([cohort, str(one["members"]), drawn, noise, *cells]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print the table, write the figures where asked."""
    parser = argparse.ArgumentParser(prog="scripts/bench leak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--epsilon", type=float, default=EPSILON, help=f"of the rows with noise, all rounds [{EPSILON}]"
    )
    parser.add_argument("--json", type=Path, help="write all figures here")
    given = parser.parse_args()
    found = measure_all(SIZES, ROUNDS, given.epsilon)
    sys.stdout.write(render(found))
    if given.json is not None:
        given.json.write_text(json.dumps({"alliances": found}, indent=1))


if __name__ == "__main__":
    main()
