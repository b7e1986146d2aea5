"""The estimates beside what was measured: bytes of bench/COST.md, gas of contracts/README.md."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from p2p_flock.bench.size import TASKS, compute_ideal_bytes
from p2p_flock.chain.fees import BASE_FEE_WEI, ETH_USD, TIP_WEI, WEI_PER_GWEI
from p2p_flock.cli import estimates
from p2p_flock.cli.estimates import Traffic, compute_vector_bytes, estimate_gas, estimate_traffic, usd
from p2p_flock.crypto.ring import Ring
from p2p_flock.learning.tasks.heart import MANIFEST as HEART
from p2p_flock.params import RINGS, AllianceParams
from p2p_flock.testnet.options import alliance_params
from p2p_flock.wire.messages import CHUNK_BYTES, SHARE_BYTES

ROOT = Path(__file__).resolve().parents[2]
COST = (ROOT / "p2p_flock" / "bench" / "COST.md").read_text()
CONTRACTS = (ROOT / "contracts" / "README.md").read_text()
GAS_ROW = re.compile(r"^\| (\d+) \| (\d+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", re.MULTILINE)


def _measured(name: str) -> tuple[int, int, int]:
    """Bytes of COST.md's table, as they are now: of a trainer, of a validator, of all nodes."""
    (row,) = re.findall(rf"^\| {name} +\|(.*)\|$", COST, re.MULTILINE)
    trainer, validator, everybody = (int(cell.split("→")[1].replace(",", "")) for cell in row.split("|"))
    return trainer, validator, everybody


def _traffic(nodes: int, parameter_count: int = HEART.parameter_count, cohorts: int = 1) -> Traffic:
    params = alliance_params(nodes, 10, cohorts=cohorts)
    return estimate_traffic(params, parameter_count, HEART.statistics_count, nodes)


def _sent(traffic: Traffic, params: AllianceParams, seats: int) -> int:
    return (
        params.validator_count * traffic.validator_up_bytes
        + (seats - params.validator_count) * traffic.trainer_up_bytes
    )


def test_traffic__as_measured_in_a_small_round() -> None:
    """A member would be told another number of bytes than its line carries; 8 nodes, the task heart."""
    traffic, params = _traffic(8), alliance_params(8, 10)
    sent, received = _measured("bytes_sent"), _measured("bytes_received")
    assert traffic.trainer_up_bytes == pytest.approx(sent[0], rel=0.25)
    assert traffic.trainer_down_bytes == pytest.approx(received[0], rel=0.25)
    assert traffic.validator_down_bytes == pytest.approx(received[1], rel=0.25)
    # Of the validators one serves most; the median of COST.md says little of it, the sum over all nodes does.
    assert _sent(traffic, params, 8) == pytest.approx(sent[2], rel=0.25)
    assert traffic.mean_bytes * 8 == pytest.approx(sent[2] + received[2], rel=0.25)


@pytest.mark.parametrize(("millions", "nodes"), [(1_000_000, 8), (50_000_000, 6)])
def test_traffic__as_measured_with_large_models(millions: int, nodes: int) -> None:
    """With the models that make traffic dear, the estimate would be off most."""
    lane_count = TASKS[millions][1]
    (row,) = re.findall(r"^\| bytes sent by all, over the ideal \|(.*)\|$", COST, re.MULTILINE)
    ratio = float(row.split("|")[millions != 1_000_000])
    params = alliance_params(nodes, 10)
    validators = params.validator_count
    ideal = compute_ideal_bytes(lane_count, params.lane_bits, nodes - validators, validators, nodes)
    assert _sent(_traffic(nodes, lane_count), params, nodes) == pytest.approx(ratio * ideal, rel=0.05)


def test_traffic__follows_the_numbers() -> None:
    """More validators, lanes or cohorts would look free."""
    small, large = _traffic(14, 10_000), _traffic(14, 1_000_000)
    assert large.mean_bytes > 50 * small.mean_bytes
    assert _traffic(14, 1_000_000, cohorts=2).trainer_down_bytes > 1.9 * large.trainer_down_bytes
    params = alliance_params(14, 10)
    packed = estimate_traffic(replace(params, lane_bits=16), 1_000_000, 0, 14)
    assert packed.trainer_up_bytes == pytest.approx(large.trainer_up_bytes / 2, rel=0.05)
    assert packed.first_round_bytes == 0 < small.first_round_bytes
    assert small.trainer_bytes == small.trainer_up_bytes + small.trainer_down_bytes
    assert small.validator_bytes == small.validator_up_bytes + small.validator_down_bytes


def test_traffic__knows_the_forms_of_wire_and_ring() -> None:
    """What the module repeats so that commands start quickly would no longer be what nodes send."""
    assert (estimates.SHARE_BYTES, estimates.CHUNK_BYTES) == (SHARE_BYTES, CHUNK_BYTES)
    for bits in RINGS:
        for lanes in (1, 7, 1_000_567):
            assert compute_vector_bytes(bits, lanes) == Ring(bits).vector_bytes(lanes)


def _params(validators: int, cohorts: int = 1) -> AllianceParams:
    return replace(alliance_params(14, 10), validator_count=validators, cohort_count=cohorts)


def test_gas__as_measured() -> None:
    """A creator would be told another price than its alliance pays: each cell of contracts/README.md, 3 %."""
    rows = [[int(cell.replace(",", "")) for cell in row] for row in GAS_ROW.findall(CONTRACTS)]
    assert len(rows) == 12
    for validators, trainers, seal, commit, settle, whole in rows:
        gas = estimate_gas(_params(validators), validators + trainers)
        assert gas.seal_gas == pytest.approx(seal, rel=0.03)
        assert gas.commit_gas == pytest.approx(commit, rel=0.03)
        assert gas.settle_gas == pytest.approx(settle, rel=0.06)
        assert gas.round_gas == pytest.approx(whole, rel=0.03)
        assert gas.validator_gas == gas.round_gas // validators
        assert gas.member_gas == gas.round_gas // (validators + trainers)


@pytest.mark.parametrize(
    ("validators", "trainers", "cohorts", "measured"),
    [(7, 16, 4, 562_063), (7, 50, 8, 624_748), (21, 50, 8, 992_763)],
)
def test_gas__with_cohorts(validators: int, trainers: int, cohorts: int, measured: int) -> None:
    """Cohorts would look free; measured by ``scripts/bench gas --validators V --trainers T --cohorts C``."""
    gas = estimate_gas(_params(validators, cohorts), validators + trainers)
    assert gas.round_gas == pytest.approx(measured, rel=0.03)


def test_gas__of_the_whole_alliance() -> None:
    """What an alliance costs from its creation to its last round would leave most of it out."""
    params = _params(3)
    gas = estimate_gas(params, 14)
    assert gas.alliance_gas > gas.round_gas * params.round_count + 14 * gas.join_gas + gas.create_gas
    assert gas.trainer_gas == 0


def test_usd__prices_are_those_of_the_chain_module() -> None:
    """Two commands would name two prices for the same gas."""
    assert pytest.approx((BASE_FEE_WEI + TIP_WEI) / WEI_PER_GWEI) == estimates.GAS_GWEI
    assert estimates.ETH_USD == ETH_USD
    assert usd(1_000_000, 1.0, 2_000.0) == pytest.approx(2.0)
    prices = estimates.Prices(gas_gwei=1.0, eth_usd=2_000.0)
    assert prices.usd(1_000_000) == pytest.approx(2.0)
    assert prices.eth(1_000_000) == pytest.approx(0.001)
    assert "your prices" in prices.describe()
    assert estimates.PRICES_DATE in estimates.DEFAULT_PRICES.describe()
