"""How much noise each trainer adds: enough in every sum that can be opened, and never more than the ring holds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_flock.alliance.manifest import Json, TaskManifest, decode_manifest, encode_manifest
from p2p_flock.alliance.privacy import (
    SPARSE_SHARERS,
    compute_largest_noise_bound,
    compute_noise_share,
    compute_noise_sharers,
    compute_sensitivity,
    validate_privacy,
)
from p2p_flock.crypto.fixed_point import DITHER_BYTES_PER_LANE, encode_update
from p2p_flock.errors import ParameterError, WireError
from p2p_flock.testing.alliance import make_params
from p2p_flock.types import Stage
from tests.simulation.running import run

TASK: dict[str, Json] = {
    "name": "tiny", "version": "1", "statistics_count": 3, "parameter_count": 6, "statistics_clip": 100.0,
    "clip_norm": 1.5, "noise_multiplier": 4.0, "privacy_delta": 1e-5,
}  # fmt: skip


def make_private_task(**changes: Json) -> TaskManifest:
    return decode_manifest(encode_manifest({**TASK, **changes}))


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 7), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_sensitivity__covers_every_rounding(count: int, levels: int, weight: int, seed: int) -> None:
    """If this failed, some update would move the sum further than the noise is made for."""
    chance = np.random.default_rng(seed)
    update = chance.normal(0, 1, count) if seed % 3 else np.eye(1, count)[0]
    lanes = (
        encode_update(update, 0.5, levels, weight, chance.bytes(DITHER_BYTES_PER_LANE * count), 32)
        .view(np.int32)
        .astype(np.float64)
    )
    assert float(np.sqrt((lanes**2).sum())) <= compute_sensitivity(levels, weight, count)
    # All coordinates rounded away from zero: the worst that the bound must hold.
    worst = levels / sqrt(count) + 1
    assert weight * worst * sqrt(count) <= compute_sensitivity(levels, weight, count)


@pytest.mark.parametrize(("validators", "seats", "collusion_bound"), [(3, 8, 0), (3, 8, 1), (7, 23, 3), (3, 35, 5)])
def test_noise_shares__of_the_fewest_honest_trainers_suffice(validators: int, seats: int, collusion_bound: int) -> None:
    """If this failed, dropouts and colluders could leave less noise in an opened sum than ε is told for."""
    owners = seats - validators
    params = make_params(
        validators, 1, seats, collusion_bound=collusion_bound, threshold=(owners + collusion_bound) // 2 + 1
    )
    task, weights = make_private_task(), [1, 16] + [3] * (owners - 2)
    share = compute_noise_share(params, task, Stage.TRAINING, weights)
    assert share is not None
    honest = params.survivors_min - max(collusion_bound, 1)  # with c = 0 the curious trainer takes its own share off
    assert compute_noise_sharers(params, owners) == honest >= 2
    needed = (Fraction(4) * compute_sensitivity(params.levels, 16, task.parameter_count)) ** 2
    assert honest * share.variance >= needed > honest * (share.variance - 1)


def test_noise_shares__sparse_graph() -> None:
    """If this failed, a sparse cohort would count on honest shares that two seals need not leave in a sum."""
    params = make_params(threshold=10, collusion_bound=2)
    assert compute_noise_sharers(params, 17) == 10 - 2
    assert compute_noise_sharers(params, 40) == SPARSE_SHARERS
    assert compute_noise_sharers(make_params(threshold=10), 40) == SPARSE_SHARERS - 1


def test_noise_share__none() -> None:
    """If this failed, an alliance without privacy would lose accuracy, or statistics would be noise."""
    params, weights = make_params(), [1, 2, 3, 4, 5]
    plain = {name: value for name, value in TASK.items() if name not in ("noise_multiplier", "privacy_delta")}
    assert compute_noise_share(params, decode_manifest(encode_manifest(plain)), Stage.TRAINING, weights) is None
    assert compute_noise_share(params, make_private_task(), Stage.STATISTICS, weights) is None
    assert compute_largest_noise_bound(params, decode_manifest(encode_manifest(plain))) == 0


def test_validate_privacy__room_in_the_ring() -> None:
    """If this failed, honest noise would leave the range and void rounds, or carry into the next packed field."""
    validate_privacy(make_params(), make_private_task())
    with pytest.raises(ParameterError, match="have no room for noise"):
        validate_privacy(make_params(), make_private_task(noise_multiplier=700.0))
    with pytest.raises(ParameterError, match="set levels to 500 at most"):
        validate_privacy(make_params(), make_private_task(noise_multiplier=700.0))
    validate_privacy(make_params(levels=500), make_private_task(noise_multiplier=700.0))
    with pytest.raises(ParameterError, match="have no room for noise"):
        validate_privacy(make_params(lane_bits=16, levels=45), make_private_task())
    validate_privacy(make_params(lane_bits=16, levels=45), make_private_task(noise_multiplier=0.01))


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
        {"noise_multiplier": 1e5},
        {"noise_multiplier": "4"},
        {"privacy_delta": 1.0},
        {"privacy_delta": 0.0},
    ],
)
def test_manifest__bad_privacy(changes: dict[str, Json]) -> None:
    """If this failed, a manifest could look private without being it."""
    with pytest.raises(WireError):
        make_private_task(**changes)


@pytest.mark.parametrize("missing", ["noise_multiplier", "privacy_delta"])
def test_manifest__half_of_privacy(missing: str) -> None:
    """If this failed, ε would be told at no δ, or a δ shown where there is no noise."""
    with pytest.raises(WireError):
        decode_manifest(encode_manifest({name: value for name, value in TASK.items() if name != missing}))


def test_private_rounds__agree_with_the_reference() -> None:
    """If this failed, validators would refuse honest noise, or sum another noise than the trainers drew."""
    task = make_private_task()
    params = replace(make_params(round_count=2), manifest_digest=task.digest)
    _, result = run(3, rounds=2, params=params, task=task, is_calm=True)  # one round of statistics, one of training
    assert (result.rounds_settled, result.rounds_voided) == (2, 0)
