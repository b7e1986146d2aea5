"""The figures of the size measurement, from rounds that were made up."""

from __future__ import annotations

from p2p_flock.bench.size import compute_ideal_bytes, compute_ratio, fit_params
from p2p_flock.params import validate_params
from p2p_flock.testnet.options import alliance_params


def test_ideal__counts_each_vector_once_to_each_validator_and_each_sum_once_to_each_other_node() -> None:
    """The goal would be measured against more than is needed, and be met by waste."""
    assert compute_ideal_bytes(1_000_000, 32, trainers=5, validators=3, nodes=8) == 4_000_000 * (15 + 5)
    assert compute_ideal_bytes(1_000_000, 16, trainers=4, validators=2, nodes=6) == 2_000_000 * (8 + 4)


def test_ratio__is_of_all_rounds_together() -> None:
    """What is served of one round's sum in the next would make one round look good and one bad."""
    assert compute_ratio([{"bytes_sent": 90, "bytes_ideal": 100}, {"bytes_sent": 130, "bytes_ideal": 100}]) == 1.1
    assert compute_ratio([]) is None


def test_params__deadlines_grow_with_the_model() -> None:
    """A large model on a small machine would only ever be void."""
    small = alliance_params(8, 3, 0, "digits-1m")
    large = fit_params(small, 50_000_000)
    validate_params(large)
    assert large.train_seconds > 400 and large.evaluate_seconds > 100 and large.settle_seconds == small.settle_seconds
