"""What a join declares."""

from __future__ import annotations

import pytest

from p2p_flock.daemon.member import compute_weight
from p2p_flock.testnet.options import alliance_params


@pytest.mark.parametrize(
    ("examples", "step", "weight"),
    [(0, 8, 1), (3, 8, 1), (41, 8, 5), (8_000_000, 8, 64), (41, 1, 41), (41, 16, 3)],
)
def test_weight__is_a_coarse_capped_bucket(examples: int, step: int, weight: int) -> None:
    """An exact count would be public, or a huge one would outweigh everybody."""
    params = alliance_params(8, 1)
    assert params.weight_max == 64
    assert compute_weight(examples, params, step) == weight
