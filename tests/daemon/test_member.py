"""What a join declares."""

from __future__ import annotations

import pytest

from p2p_flock.daemon.member import EXAMPLES_PER_WEIGHT, compute_weight
from p2p_flock.testnet.options import alliance_params


@pytest.mark.parametrize(
    ("examples", "weight"),
    [(0, 1), (3, 1), (EXAMPLES_PER_WEIGHT * 5 + 1, 5), (EXAMPLES_PER_WEIGHT * 1_000_000, 64)],
)
def test_weight__is_a_coarse_capped_bucket(examples: int, weight: int) -> None:
    """An exact count would be public, or a huge one would outweigh everybody."""
    params = alliance_params(8, 1)
    assert params.weight_max == 64
    assert compute_weight(examples, params) == weight
