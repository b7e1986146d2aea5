"""The digits tasks: fixed data and bits, and an accuracy curve that equals plain federated averaging."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from p2p_flock.crypto.fixed_point import DITHER_BYTES_PER_LANE, decode_mean, encode_update
from p2p_flock.crypto.ring import Ring
from p2p_flock.daemon.member import compute_weight
from p2p_flock.errors import DataSchemaError, UsageError
from p2p_flock.learning.check import check_task
from p2p_flock.learning.task import find_task, prepare_torch
from p2p_flock.learning.tasks.digits import Digits1mTask, Digits50mTask, DigitsTask
from p2p_flock.learning.tasks.digits_data import (
    CLASSES,
    HOLDOUT_PER_CLASS,
    IMAGES,
    PIXELS,
    deal_dirichlet,
    deal_iid,
    holdout_rows,
    load_images,
    write_member,
)
from p2p_flock.learning.vectorize import count_parameters
from p2p_flock.testnet.options import alliance_params

NODES = 10
VALIDATORS = 3
ROUNDS = 6  # enough for the coarse weights to show


def open_members(folder: Path, seed: int) -> list[DigitsTask]:
    """Ten members of a Dirichlet(.3) partition."""
    prepare_torch()
    paths = [folder / f"{node}.csv" for node in range(NODES)]
    for rows, path in zip(deal_dirichlet(NODES, 0.3, seed), paths, strict=True):
        write_member(rows, path)
    return [DigitsTask.open(path, seed) for path in paths]


def test_holdout__is_the_same_for_ever_and_nobodys() -> None:
    """Members that train on the holdout would make every vote and every score worthless."""
    public = holdout_rows()
    assert np.bincount(load_images()[public, PIXELS]).tolist() == [HOLDOUT_PER_CLASS] * CLASSES
    assert DigitsTask({}).manifest().holdout_sha256.startswith("e7dcf4939e912088")
    for dealt in (deal_iid(NODES, 1), deal_dirichlet(NODES, 0.3, 1)):
        assert sorted(row for rows in dealt for row in rows) == sorted(set(range(IMAGES)) - set(public))


def test_deal__iid_is_even_and_dirichlet_is_not() -> None:
    """A partition that is not what its name says measures something else."""
    digits = load_images()[:, PIXELS]
    for rows in deal_iid(NODES, 1):
        assert len(rows) in (143, 144)
        assert len(set(digits[rows].tolist())) == CLASSES
    uneven = deal_dirichlet(NODES, 0.3, 1)
    largest = [np.bincount(digits[rows]).max() / len(rows) for rows in uneven]
    assert max(largest) > 0.4
    assert uneven != deal_dirichlet(NODES, 0.3, 2)


def test_deal__too_small_alpha() -> None:
    """A member with three images could not even be split."""
    with pytest.raises(UsageError, match=r"Dirichlet\(0.001\).*larger value"):
        deal_dirichlet(CLASSES + 2, 0.001, 1)


def test_member__file_is_checked(tmp_path: Path) -> None:
    """A pixel beyond the scale would be trained on as it is."""
    path = tmp_path / "member.csv"
    assert write_member(deal_iid(NODES, 1)[0], path) == 144
    check_task(DigitsTask, path)
    rows = path.read_text().splitlines()
    rows[2] = "17" + rows[2][rows[2].index(",") :]
    path.write_text("\n".join(rows))
    with pytest.raises(DataSchemaError, match=r"row 3, column pixel_0_0: 17 lies outside 0..16"):
        DigitsTask.open(path, 1)


@pytest.mark.parametrize(
    ("kind", "count"), [(DigitsTask, 2_410), (Digits1mTask, 1_000_567), (Digits50mTask, 49_997_607)]
)
def test_model__has_the_promised_size(kind: type[DigitsTask], count: int) -> None:
    """A cost measured on a model of another size would be reported."""
    with torch.device("meta"):
        assert count_parameters(kind({}).layers()) == count
    assert find_task(kind.name) is kind


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        (DigitsTask, "345b54d228203432db66fafd29f61f47a7c9226c2bbeb6ea50d1ae582072588b"),
        (Digits1mTask, "511d6f583cac197f16183e09ffd53564e0bea5b6a2198f1b08db212753ed598d"),
    ],
)
def test_init__has_the_same_bits_everywhere(kind: type[DigitsTask], digest: str) -> None:
    """Two machines that start from different bits never agree on a model again (P2)."""
    task = kind({})
    task.initial_parameters()  # raises where the bits are not the manifest's
    assert task.manifest().initial_parameters_sha256 == digest


def curves(tasks: list[DigitsTask], seed: int, examples_per_weight: int) -> tuple[list[float], list[float]]:
    """Accuracy after each round: encoded, summed and decoded as an alliance does, and plain FedAvg."""
    params = alliance_params(NODES, ROUNDS, task="digits")
    clip_norm, levels = DigitsTask.training.clip_norm, params.levels
    draw = np.random.default_rng(1000 + seed)
    statistics = np.array([1000.0])
    ours = plain = tasks[0].initial_parameters()
    scores: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        trainers = draw.permutation(NODES)[: NODES - VALIDATORS]
        total, weights = np.zeros(ours.size, dtype=np.int64), 0
        mean, examples = np.zeros(ours.size), 0
        for trainer in trainers:
            batch_seed = int(draw.integers(2**62))
            result = tasks[trainer].train(statistics, ours, batch_seed)
            weight = compute_weight(result.example_count, params, examples_per_weight)
            dither = draw.bytes(DITHER_BYTES_PER_LANE * ours.size)
            encoded = encode_update(result.update, clip_norm, levels, weight, dither, params.lane_bits)
            total += Ring(params.lane_bits).lift(encoded, ours.size, levels * weight)
            weights += weight
            result = tasks[trainer].train(statistics, plain, batch_seed)
            mean += result.example_count * result.update.astype(np.float64)
            examples += result.example_count
        ours, plain = ours + decode_mean(total, clip_norm, levels, weights), plain + mean / examples
        for model, curve in zip((ours, plain), scores, strict=True):
            score = tasks[0].measure(statistics, model)[1]
            assert score is not None
            curve.append(score)
    return scores


def test_curve__equals_plain_fedavg_on_the_same_schedule(tmp_path: Path) -> None:
    """Quantising, clipping or declared weights would cost accuracy; in steps of 8 examples the weights do."""
    tasks = open_members(tmp_path, seed=9)
    ours, plain = curves(tasks, 9, DigitsTask.training.examples_per_weight)
    assert max(abs(a - b) for a, b in zip(ours, plain, strict=True)) <= 0.01
    assert plain[-1] > 0.2
    coarse, _ = curves(tasks, 9, 8)
    assert max(abs(a - b) for a, b in zip(coarse, plain, strict=True)) > 0.01
