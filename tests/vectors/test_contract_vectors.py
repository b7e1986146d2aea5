"""Runs sortition.json, which the contract runs too (contracts/test/Sortition.t.sol), and checks that its generator and
beacon.json's still write what is committed. ``tests/chain/test_beacon.py`` runs beacon.json."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from p2p_flock.alliance.sortition import compute_cohort_range, compute_seat_at, compute_seed
from p2p_flock.types import Domain

FOLDER = Path(__file__).parent
GENERATOR = FOLDER.parents[1] / "contracts" / "script" / "make_vectors.py"
VECTORS: dict[str, Any] = json.loads((FOLDER / "sortition.json").read_text(encoding="utf-8"))


def cases_of(name: str) -> list[object]:
    return [pytest.param(case, id=case["name"]) for case in VECTORS[name]]


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def seed_of(case: dict[str, Any]) -> bytes:
    domain = Domain(case["chain_id"], unhex(case["contract"]), int(case["alliance"]))
    return compute_seed(domain, case["round"], unhex(case["randomness"]))


def roles_of(case: dict[str, Any]) -> tuple[list[int], list[list[int]]]:
    count = case["seat_count"]
    order = [compute_seat_at(unhex(case["seed"]), count, position) for position in range(count)]
    trainers = order[case["validator_count"] :]
    ranges = [compute_cohort_range(len(trainers), case["cohort_count"], c) for c in range(case["cohort_count"])]
    return order, [[trainers[index] for index in indexes] for indexes in ranges]


@pytest.mark.parametrize("case", cases_of("seeds"))
def test_seed__vectors(case: dict[str, Any]) -> None:
    """A node would derive other roles than the contract from the same beacon value."""
    assert seed_of(case) == unhex(case["seed"])


@pytest.mark.parametrize("case", cases_of("bad_seeds"))
def test_seed__bad_vectors(case: dict[str, Any]) -> None:
    """A seed would not be bound to its chain, alliance and round."""
    assert seed_of(case) != unhex(case["seed"])


@pytest.mark.parametrize("case", cases_of("orders"))
def test_order__vectors(case: dict[str, Any]) -> None:
    """A node would take a role that the contract gave to another."""
    assert roles_of(case) == (case["order"], case["cohorts"])


@pytest.mark.parametrize("case", cases_of("bad_orders"))
def test_order__bad_vectors(case: dict[str, Any]) -> None:
    """The comparison would accept any order."""
    assert roles_of(case) != (case["order"], case["cohorts"])


@pytest.mark.parametrize("case", cases_of("positions"))
def test_position__vectors(case: dict[str, Any]) -> None:
    """A large alliance would be ordered differently on chain."""
    assert compute_seat_at(unhex(case["seed"]), case["seat_count"], case["position"]) == case["seat"]


@pytest.mark.parametrize("case", cases_of("bad_positions"))
def test_position__bad_vectors(case: dict[str, Any]) -> None:
    """Nobody stands at a position beyond the seats, yet somebody would be given its role."""
    with pytest.raises(ValueError, match="outside"):
        compute_seat_at(unhex(case["seed"]), case["seat_count"], case["position"])


def test_generator__writes_what_is_committed() -> None:
    """Vectors edited by hand would prove nothing about the specification."""
    done = subprocess.run([sys.executable, str(GENERATOR), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
