"""How long an opened sum of updates can be, as a round's validators see it; the bound: test_crypto_fixed_point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from p2p_flock.alliance.aggregates import encode_aggregate
from p2p_flock.alliance.voting import is_possible_sum
from p2p_flock.crypto.noise import Noise
from p2p_flock.crypto.suite import sha256
from p2p_flock.testing.alliance import digest_of, make_setting
from p2p_flock.testing.learning import Learning
from p2p_flock.types import Stage
from tests.unit.alliance_round import make_round

CONTEXT = make_setting().context


def test_sum__longer_than_clipped_updates_can_be_is_impossible() -> None:
    """Validators with another idea of the longest sum would disagree; a statistic, bounded per lane, would be lost."""
    seats = CONTEXT.assignment.cohorts[0]
    weight_total = sum(CONTEXT.weight_of(seat) for seat in seats)
    longest = weight_total * (1000 + 3 + 1)  # levels, ⌈√6⌉ for rounding, one for floats
    lanes = np.array([longest, 0, 0, 0, 0, 0], dtype=np.int64)
    assert is_possible_sum(CONTEXT, 0, seats, lanes)
    assert not is_possible_sum(CONTEXT, 0, seats, -lanes - 1)
    assert not is_possible_sum(CONTEXT, 0, seats[1:], lanes), "the sealed ones' weights count"
    statistics = replace(CONTEXT, stage=Stage.STATISTICS)
    assert is_possible_sum(statistics, 0, seats, 2 * lanes)


def test_sum__may_hold_the_noise_of_a_private_alliance() -> None:
    """A private alliance would reject every honest sum, or none."""
    task = replace(CONTEXT.manifest, noise_multiplier=2.0)
    private = replace(CONTEXT, manifest=task)
    seats = private.assignment.cohorts[0]
    share = private.noise_shares[0]
    assert share is not None
    total = np.array([1000 * sum(private.weight_of(seat) for seat in seats), 0, 0, 0, 0, 0], dtype=np.int64)
    for seat in seats:
        total += Noise(digest_of("noise", seat), share.variance)(0, 6)
    assert is_possible_sum(private, 0, seats, total)
    assert private.squared_norm_max(0, seats) > CONTEXT.squared_norm_max(0, seats)
    assert private.squared_norm_max(0, seats[1:]) < private.squared_norm_max(0, seats)


def test_simulated_member__judges_by_the_same_rule() -> None:
    """Simulations would adopt what real nodes reject."""
    crowd = make_round()
    learning, manifest = Learning(1, crowd.setting.model), crowd.manifest()
    longest = sum(crowd.context.weight_of(seat) for seat in crowd.trainers) * (1000 + 3 + 1)
    for lane, is_taken in ((int(longest / 6**0.5), True), (int(longest / 6**0.5) + 1, False)):
        blob = encode_aggregate(crowd.context.cohorts[0], np.full(6, lane, dtype=np.uint32))
        found = learning.apply_one(crowd.context, crowd.setting.model, 0, sha256(blob), blob, manifest)
        assert (found is not None) is is_taken
