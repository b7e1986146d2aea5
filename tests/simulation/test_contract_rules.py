"""The simulated contract against the vectors and the sortition that Solidity and the node are held to."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from p2p_flock.alliance.sortition import compute_assignment
from p2p_flock.alliance.voting import compute_tally
from p2p_flock.testing.alliance import DOMAIN, make_params
from p2p_flock.testing.contract import Contract
from p2p_flock.testing.contract_rounds import NOTHING, _leading, count_by_cohort
from p2p_flock.testing.contract_state import Refused
from p2p_flock.testing.simulator import CREATOR, make_default_params
from p2p_flock.testing.suites import Suite
from p2p_flock.wire.messages import Ballot

FOLDER = Path(__file__).parents[1] / "vectors"
VOTING, SEALING = (json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in ("voting", "sealing"))


@pytest.mark.parametrize("case", VOTING["tallies"], ids=lambda case: case["name"])
def test_tally__vector(case: dict[str, Any]) -> None:
    """Broken: the simulated contract names another sum as the leading one than the votes do."""
    ballots = {
        position: Ballot(bytes(32), bytes(32), bytes([vote]), bytes(1), 0, (bytes.fromhex(digest),), bytes(32))
        for position, (vote, digest) in enumerate(case["votes"])
    }
    leading = _leading(ballots, 0)
    votes = sum(ballot.verdicts == b"\x01" and ballot.aggregate_digests[0] == leading for ballot in ballots.values())
    assert votes == case["votes_for"]
    assert (leading == NOTHING) == (case["votes_for"] == 0)
    quorum = make_params(case["validators"], seat_count=case["validators"] + 5).verdict_quorum
    tally = compute_tally(quorum, ballots, 0, is_void=False)
    assert tally.outcome.name == case["outcome"]
    assert tally.aggregate_digest in (leading, NOTHING)


@pytest.mark.parametrize("seat_count", [8, 30, 45, 100, 1000])
def test_survivors__are_counted_in_the_cohorts_of_the_sortition(seat_count: int) -> None:
    """Broken: the contract counts a trainer in another cohort than the one that it was drawn into."""
    params = make_default_params(seat_count, 1, 6)
    contract = Contract(DOMAIN, params, CREATOR, Suite("fast").recover, lambda number: bytes(32))
    cohorts = compute_assignment(bytes(32), seat_count, params).cohorts
    order = [seat for cohort in cohorts for seat in cohort]
    chance = random.Random(seat_count)
    survivors = {seat for seat in order if chance.random() < 0.7}
    bits = sum(1 << index for index, seat in enumerate(order) if seat in survivors)
    words = tuple(bits >> 256 * word & (1 << 256) - 1 for word in range(-(-len(order) // 256)))
    counts = count_by_cohort(contract, len(order), words)
    assert counts == [len(survivors.intersection(cohort)) for cohort in cohorts]


def test_survivors__vector() -> None:
    """Broken: the simulated contract refuses a bitmap that the real one takes, or takes one beyond the trainers."""
    contract = Contract(DOMAIN, make_params(3), CREATOR, Suite("fast").recover, lambda number: bytes(32))
    count = len(SEALING["trainers"])
    for seal in SEALING["seals"]:
        words = tuple(int(word, 16) for word in seal["survivors"])
        assert sum(count_by_cohort(contract, count, words)) == words[0].bit_count()
    for refused in ((), (1 << count,), (1, 0), (-1,)):
        with pytest.raises(Refused):
            count_by_cohort(contract, count, refused)
