"""The rules that alliance parameters must keep."""

from __future__ import annotations

import dataclasses

import pytest

from p2p_flock.errors import ParameterError
from p2p_flock.params import (
    RINGS,
    SHARING_HOLDERS_MAX,
    compute_holder_count,
    compute_sum_bound_max,
    validate_joinable,
    validate_params,
)
from p2p_flock.testing.alliance import make_params


def test_params__the_testnets_are_good() -> None:
    """The rules would refuse the alliance that everything else is tested with."""
    validate_params(make_params())


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"manifest_digest": b"short"}, "32 bytes"),
        ({"seat_stake": 0}, "stake"),
        ({"round_count": 0}, "one round"),
        ({"validator_count": 0}, "validators"),
        ({"validator_count": 65, "seat_count_min": 100, "seat_count_max": 100}, "validators"),
        ({"cohort_count": 0}, "cohorts"),
        ({"seat_count_max": 7}, "seat_count_min"),
        ({"seat_count_min": 6}, "every cohort"),  # cohorts of three: nobody may drop out
        ({"threshold": 2}, "threshold"),
        ({"collusion_bound": 1}, "2t > n"),  # n = 5, t = 3: two seals could each gather a threshold
        ({"seat_count_max": 9}, "2t > n"),  # a later member would make n = 6
        # Above 32 owners a cohort may be sparse, but t = 5 of h = 5 holders would let nobody drop out.
        ({"seat_count_max": 43, "threshold": 5, "collusion_bound": 2, "levels": 1}, "serve no graph"),
        ({"lane_bits": 24}, "lanes"),
        ({"lane_bits": 16}, "lane_bits"),  # 5 · 1000 · 16 does not fit 12 bits
        ({"levels": 2**28}, "lane_bits"),
        ({"train_seconds": 2}, "train_seconds"),
        ({"settle_seconds": 0}, "settle_seconds"),
        ({"beacon_margin": 0}, "margin"),
        ({"redraw_rounds": 10}, "redraw_rounds"),
        ({"penalty_window_seconds": 120}, "unbonding"),
        ({"provable_slash_bps": 5001}, "half"),
        ({"void_count_max": 0}, "void_count_max"),
        ({"absence_slash_bps": 101, "unbonding_seconds": 200}, "basis points"),
        ({"absence_slash_bps": -1}, "basis points"),
        ({"absence_slash_bps": 1}, "absence"),  # unbonding of exactly two windows
        ({"absence_slash_bps": 1, "penalty_window_seconds": 2}, "absence"),
        ({"score_target_micro": 1_000_001}, "score"),
        ({"join_deadline_s": -1}, "join deadline"),
        ({"allowlist_root": bytes(31)}, "allowlist"),
        ({"suspicion_bound": 256}, "suspicion bound"),
        ({"suspicion_bound": -1}, "suspicion bound"),
        ({"suspicion_bound": 1}, "two cohorts"),
    ],
)
def test_params__refuses(change: dict[str, int | bytes], rule: str) -> None:
    """An alliance could be made whose privacy, liveness or money rules do not hold."""
    params = dataclasses.replace(make_params(), **change)  # type: ignore[arg-type]  # values of several fields' types
    with pytest.raises(ParameterError, match=rule):
        validate_params(params)


def test_params__of_the_economy_at_their_limits() -> None:
    """What the contract takes, the node would refuse."""
    changes = {"absence_slash_bps": 100, "unbonding_seconds": 121, "score_target_micro": 10**6, "join_deadline_s": 1}
    validate_params(dataclasses.replace(make_params(), **changes, allowlist_root=bytes([1] * 32)))
    validate_params(dataclasses.replace(make_params(3, 2, 13), suspicion_bound=255))


def test_joinable__challenges_of_absence_are_not_answered_yet() -> None:
    """A member would lose stake for being silent to a challenge that its node does not know."""
    validate_joinable(make_params(score_target_micro=900_000, join_deadline_s=1))
    with pytest.raises(ParameterError, match=r"0\.5 % of the stake.*cannot answer"):
        validate_joinable(make_params(absence_slash_bps=50, unbonding_seconds=200))


@pytest.mark.parametrize(("threshold", "seat_count_max"), [(5, 43), (27, 1003), (140, 4000), (255, 258)])
def test_params__large_cohorts_are_served_at_every_size(threshold: int, seat_count_max: int) -> None:
    """An alliance could grow into a size at which no cohort can be formed."""
    params = dataclasses.replace(
        make_params(), threshold=threshold, seat_count_min=threshold + 3, seat_count_max=seat_count_max, levels=1
    )
    validate_params(params)
    for owners in range(threshold, seat_count_max - 2):
        holders = compute_holder_count(owners, threshold, params.collusion_bound)
        assert threshold <= holders <= min(owners, SHARING_HOLDERS_MAX)


@pytest.mark.parametrize(("validators", "quorum", "verdict"), [(1, 1, 1), (2, 2, 2), (3, 2, 2), (4, 3, 3), (7, 4, 5)])
def test_params__quorums(validators: int, quorum: int, verdict: int) -> None:
    """Nodes and contract would count differently (DESIGN §6)."""
    params = dataclasses.replace(make_params(), validator_count=validators)
    assert (params.seal_quorum, params.verdict_quorum) == (quorum, verdict)


@pytest.mark.parametrize("lane_bits", RINGS)
def test_params__a_ring_has_room_for_the_largest_cohort(lane_bits: int) -> None:
    """A lane of an honest sum would wrap, or carry into the next one; the contract's rule is the same."""
    headroom = {16: 2**12, 32: 2**28}
    for levels in (1, compute_sum_bound_max(lane_bits) // 5, compute_sum_bound_max(lane_bits) // 5 + 1):
        params = dataclasses.replace(make_params(), lane_bits=lane_bits, levels=levels, weight_max=1)
        fits = 5 * levels <= headroom[lane_bits] if lane_bits in headroom else 2 * 5 * levels < 2**lane_bits
        if fits:
            validate_params(params)
        else:
            with pytest.raises(ParameterError, match="lane_bits"):
                validate_params(params)
