"""The contract against the reference: random rounds equal to the wei, and no alliance ends with a wei too many."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from p2p_flock.types import CohortOutcome
from tests.chain.differential import RandomAlliance, draw_params
from tests.chain.rehearsal import open_rehearsal


def play(alliances: int, rounds: int, seed: int) -> tuple[Counter[str], set[CohortOutcome]]:
    """Play so many alliances to their end; how often what happened."""
    counts: Counter[str] = Counter()
    outcomes: set[CohortOutcome] = set()
    for index in range(alliances):
        generator = random.Random(f"{seed} {index}")
        with open_rehearsal() as chain:  # a fresh one: anvil mines ever more slowly as a chain grows
            alliance = RandomAlliance(chain, generator, draw_params(generator, rounds))
            while alliance.is_open:
                alliance.play_round()
            alliance.claim_everything()
        counts.update(alliance.counts)
        outcomes |= alliance.outcomes
    return counts, outcomes


def test_differential__random_rounds() -> None:
    """Contract and reference would pay differently, or the books of an alliance would not close."""
    counts, _ = play(alliances=3, rounds=6, seed=1)
    assert counts["settled"] == 18


@pytest.mark.slow
def test_differential__thousands_of_random_rounds() -> None:
    """The same, often enough to meet what is rare: every outcome, bonuses, ballots that are recorded first."""
    counts, outcomes = play(alliances=30, rounds=100, seed=2)
    print(dict(counts))
    assert counts["settled"] == 3000
    assert outcomes == set(CohortOutcome)
    assert min(counts.values()) > 30, counts
