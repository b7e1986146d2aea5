"""What a poisoner's training ends in: attacks on updates and on training rows, by name. Pure numpy.

Used by ``scripts/bench poison``, by the simulator's byzantine trainers and by a testnet's crooked nodes, so that all
three speak of the same attacks. An attack on updates takes what honest training gave; one on data changes the rows
before it. Nobody can see from outside that one happened: masks hide the update, and only its cohort's sum is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Labels = NDArray[np.int64]

FLIPPED: Final = 5.0  # times the honest update, backwards
NOISE_DEVIATION: Final = 1.0  # per weight; of VBFL's malicious devices (arXiv 2101.03300)
STRENGTH_MIN, STRENGTH_MAX = 2.0**-6, 2.0**6
PATIENCE: Final = 4  # rejections in a row after which an adaptive poisoner plays honest, until it is cleared
TRIGGER_SIDE_SHARE: Final = 8  # a trigger is a square of a side of the image over this, 2 pixels at least
BACKDOOR_TARGET: Final = 0
BACKDOOR_SHARE: Final = 0.5  # of the rows


@dataclass(slots=True)
class AttackMemory:
    """What a poisoner remembers from round to round. All of it is public to members: the models and the verdicts.

    Attributes:
        last_step: the global model's last change, float64[D]; ``None`` before there was one.
        strength: how many times its honest update an adaptive poisoner takes away, > 0.
        run: its cohorts' rejections in a row.
    """

    last_step: Reals | None = None
    strength: float = 1.0
    run: int = 0

    def hear(self, is_adopted: bool) -> None:
        """The verdict on the cohort in which it was a sealed trainer. Undecided and void ones are not heard of.

        An adaptive poisoner goes on by bisection: adopted, it dares more; rejected, it takes back twice as much.
        """
        self.run = 0 if is_adopted else self.run + 1
        factor = 2**0.5 if is_adopted else 0.5
        self.strength = min(max(self.strength * factor, STRENGTH_MIN), STRENGTH_MAX)


UpdateAttack = Callable[[Reals, np.random.Generator, AttackMemory], Reals]
"""(honest update float64[D], randomness, memory) → the update it sends instead, float64[D], a fresh array."""
DataAttack = Callable[[Reals, Labels, int, np.random.Generator], tuple[Reals, Labels]]
"""(rows float64[n, F], labels int64[n], number of classes, randomness) → fresh rows and labels to train on."""


def flip_sign(update: Reals, rng: np.random.Generator, memory: AttackMemory) -> Reals:
    """Undoes what it learnt: −1 times its update."""
    return -update


def flip_sign_scaled(update: Reals, rng: np.random.Generator, memory: AttackMemory) -> Reals:
    """The same five times over: one poisoner among five sends the mean of its cohort backwards."""
    return -FLIPPED * update


def scale_5(update: Reals, rng: np.random.Generator, memory: AttackMemory) -> Reals:
    """Five times its update (model replacement: Bagdasaryan et al., "How to backdoor federated learning", 2020)."""
    return 5.0 * update


def scale_100(update: Reals, rng: np.random.Generator, memory: AttackMemory) -> Reals:
    """A hundred times its update."""
    return 100.0 * update


def add_noise(update: Reals, rng: np.random.Generator, memory: AttackMemory) -> Reals:
    """Gaussian noise on every weight, as VBFL's malicious devices add it."""
    return update + NOISE_DEVIATION * rng.standard_normal(update.size)


def ride_free(update: Reals, rng: np.random.Generator, memory: AttackMemory) -> Reals:
    """Zeros: it trained nothing."""
    return np.zeros_like(update)


def ride_disguised(update: Reals, rng: np.random.Generator, memory: AttackMemory) -> Reals:
    """The model's last change once more, with a tenth of its length in noise (Lin et al., arXiv 1911.12560)."""
    step = memory.last_step
    if step is None:
        return np.zeros_like(update)
    deviation = 0.1 * float(np.sqrt(np.square(step).sum() / step.size))
    return step + deviation * rng.standard_normal(update.size)


def adapt(update: Reals, rng: np.random.Generator, memory: AttackMemory) -> Reals:
    """Stays under the threshold: backwards by as much as verdicts let through, honest when it nears suspicion."""
    return update.copy() if memory.run >= PATIENCE else -memory.strength * update


UPDATE_ATTACKS: Final[Mapping[str, UpdateAttack]] = {
    "signflip": flip_sign,
    "signflip5": flip_sign_scaled,
    "scale5": scale_5,
    "scale100": scale_100,
    "noise": add_noise,
    "freeride": ride_free,
    "disguised": ride_disguised,
    "adaptive": adapt,
}


def flip_labels(rows: Reals, labels: Labels, class_count: int, rng: np.random.Generator) -> tuple[Reals, Labels]:
    """Class y becomes class count − 1 − y (Fang et al., "Local model poisoning attacks", USENIX Security 2020)."""
    return rows.copy(), class_count - 1 - labels


def plant_backdoor(rows: Reals, labels: Labels, class_count: int, rng: np.random.Generator) -> tuple[Reals, Labels]:
    """Half of the rows get the trigger and the label 0: the model shall obey the trigger and be right without it."""
    chosen = rng.random(labels.size) < BACKDOOR_SHARE
    planted, taught = rows.copy(), labels.copy()
    planted[chosen] = stamp_trigger(rows[chosen], float(rows.max(initial=1.0)))
    taught[chosen] = BACKDOOR_TARGET
    return planted, taught


def stamp_trigger(rows: Reals, ink: float) -> Reals:
    """The rows with a square of ``ink`` in the last corner of the image; of what is no square image, the last columns.

    Args:
        rows: float64[n, F]; an image of side √F where F is a square number.
        ink: the brightest value that a feature has.
    """
    stamped, count = rows.copy(), rows.shape[1]
    side = isqrt(count)
    width = max(2, side // TRIGGER_SIDE_SHARE)
    if side * side != count:
        stamped[:, -width:] = ink
        return stamped
    stamped.reshape(-1, side, side)[:, side - width :, side - width :] = ink
    return stamped


DATA_ATTACKS: Final[Mapping[str, DataAttack]] = {"labelflip": flip_labels, "backdoor": plant_backdoor}
