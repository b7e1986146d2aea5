"""A small network for many members at once: plain numpy, all members' batches in one product.

Called by ``bench/poison_members.py``. Pixels, 32 rectified units, 10 classes; parameters are one flat vector, as
everywhere. Losses are cut as a task's are, so that a model that blew up loses its vote instead of the process.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2p_flock.bench.poison_data import CLASSES, Images, Labels
from p2p_flock.learning.results import LOSS_MAX

HIDDEN: Final = 32
TAIL: Final = HIDDEN + HIDDEN * CLASSES + CLASSES  # parameters behind the first layer's weights

Reals = NDArray[np.float64]
Floats = NDArray[np.float32]


def make_initial(seed: int, pixels: int) -> Reals:
    """He initialisation, float64[pixels · HIDDEN + TAIL]."""
    chance = np.random.default_rng([seed, 7])
    values = np.zeros((1, pixels * HIDDEN + TAIL))
    first, _, second, _ = _layers(values)  # views
    first[:] = chance.standard_normal(first.shape) * np.sqrt(2 / pixels)
    second[:] = chance.standard_normal(second.shape) * np.sqrt(1 / HIDDEN)
    flat: Reals = values[0]
    return flat


def _layers(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Weights and biases of both layers: views of [m, D], whatever the type."""
    many, pixels = len(values), (values.shape[1] - TAIL) // HIDDEN
    cuts = np.cumsum([pixels * HIDDEN, HIDDEN, HIDDEN * CLASSES]).tolist()
    first, bias, second, last = np.split(values, cuts, axis=1)
    return (
        first.reshape(many, pixels, HIDDEN),
        bias.reshape(many, 1, HIDDEN),
        second.reshape(many, HIDDEN, CLASSES),
        last.reshape(many, 1, CLASSES),
    )


def train_many(
    start: Reals, images: Images, labels: Labels, chance: np.random.Generator, rate: float, batch: int, epochs: int
) -> Reals:
    """Every member's update after plain SGD from the same start; float64[m, D].

    One whose training diverged comes out as zeros: such a member contributes nothing.

    Args:
        images: float32[m, n, pixels]; labels: int64[m, n].
    """
    many, each = labels.shape
    values = np.repeat(start.astype(np.float32)[None], many, axis=0)
    layers = [np.ascontiguousarray(layer) for layer in _layers(values)]
    rows = np.arange(many)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(epochs):
            order = chance.permuted(np.tile(np.arange(each), (many, 1)), axis=1)
            for at in range(0, each - batch + 1, batch):
                chosen = order[:, at : at + batch]
                _descend(layers, images[rows, chosen], labels[rows, chosen], rate)
        trained = np.concatenate([layer.reshape(many, -1) for layer in layers], axis=1).astype(np.float64)
        updates: Reals = trained - start
    updates[~np.isfinite(updates).all(axis=1)] = 0.0
    return updates


def _descend(layers: list[Floats], images: Images, labels: Labels, rate: float) -> None:
    """One step for every member, in place."""
    first, bias, second, last = layers
    hidden = np.maximum(images @ first + bias, 0)
    slope = _softmax(hidden @ second + last)
    np.put_along_axis(slope, labels[..., None], np.take_along_axis(slope, labels[..., None], 2) - 1, 2)
    slope *= np.float32(rate / labels.shape[1])
    back = (slope @ second.transpose(0, 2, 1)) * (hidden > 0)
    second -= hidden.transpose(0, 2, 1) @ slope
    last -= slope.sum(axis=1, keepdims=True)
    first -= images.transpose(0, 2, 1) @ back
    bias -= back.sum(axis=1, keepdims=True)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def compute_logits(parameters: Reals, images: Images) -> Floats:
    """float32[n, 10] of images float32[n, pixels]."""
    first, bias, second, last = (layer[0] for layer in _layers(parameters.astype(np.float32)[None]))
    with np.errstate(over="ignore", invalid="ignore"):
        logits: Floats = np.maximum(images @ first + bias, 0) @ second + last
    return logits


def compute_losses(parameters: Reals, images: Images, labels: Labels) -> Reals:
    """Cross-entropy of each image, float64[n], within 0..LOSS_MAX; what is no number counts as LOSS_MAX."""
    logits = compute_logits(parameters, images).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        top = logits.max(axis=1)
        losses = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[np.arange(len(labels)), labels]
    bounded: Reals = np.clip(np.nan_to_num(losses, nan=LOSS_MAX, posinf=LOSS_MAX), 0.0, LOSS_MAX)
    return bounded


def compute_accuracy(parameters: Reals, images: Images, labels: Labels) -> float:
    """The share of images whose class it names; a model of numbers that are none names class 0."""
    return float((np.nan_to_num(compute_logits(parameters, images)).argmax(axis=1) == labels).mean())
