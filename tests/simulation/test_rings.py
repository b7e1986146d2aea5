"""Whole rounds of the real machines in every ring: one set of integers, so one model."""

from __future__ import annotations

from functools import cache

import pytest

from p2p_flock.params import RINGS, validate_params
from p2p_flock.testing.alliance import make_params
from p2p_flock.testing.facts import ModelApplied
from tests.simulation.running import Recorder, run

LEVELS, WEIGHT_MAX = 15, 6  # 2 · 5 owners · 15 · 6 < 2^10


@cache
def models_in(lane_bits: int) -> tuple[bytes, ...]:
    """Digests of the model after a round of statistics and one of training, which every checker watched."""
    params = make_params(lane_bits=lane_bits, levels=LEVELS, weight_max=WEIGHT_MAX, round_count=2)
    validate_params(params)
    recorder = Recorder()
    _, result = run(1, rounds=2, params=params, plan=lambda simulation: simulation.watch(recorder))
    assert (result.rounds_settled, result.rounds_voided) == (2, 0)
    applied = {(f.round, f.after) for f in recorder.facts if isinstance(f, ModelApplied)}
    return tuple(digest for _, digest in sorted(applied))


@pytest.mark.parametrize("lane_bits", RINGS)
def test_rounds__give_the_same_models_in_every_ring(lane_bits: int) -> None:
    """P2: whoever founds an alliance in a cheaper ring would train another model, or none."""
    assert len(set(models_in(32))) == 2
    assert models_in(lane_bits) == models_in(32)
