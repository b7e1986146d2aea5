"""Whole rounds of the real machines in every ring: one set of integers, so one model."""

from __future__ import annotations

import pytest

from p2p_flock.params import RINGS, validate_params
from p2p_flock.testing.alliance import make_params, make_setting
from p2p_flock.testing.checkers.one_round import check_all, check_settled, get_reference
from p2p_flock.testing.swarm import Swarm

LEVELS, WEIGHT_MAX = 15, 6  # 2 · 5 owners · 15 · 6 < 2^10


def run_in(lane_bits: int, is_training: bool) -> bytes:
    """The digest of the model after a quiet round."""
    params = make_params(lane_bits=lane_bits, levels=LEVELS, weight_max=WEIGHT_MAX)
    validate_params(params)
    swarm = Swarm(make_setting(params, is_training=is_training), 1)
    swarm.run()
    check_all(swarm)
    check_settled(swarm, 50_000)
    return get_reference(swarm).model.digest  # that of the machines as well, or check_all had complained


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("lane_bits", RINGS)
def test_round__gives_the_same_model_in_every_ring(lane_bits: int, is_training: bool) -> None:
    """P2: whoever founds an alliance in a cheaper ring would train another model, or none."""
    assert run_in(lane_bits, is_training) == run_in(32, is_training)
