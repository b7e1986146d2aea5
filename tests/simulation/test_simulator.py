"""The simulator itself: it replays, it settles, it counts; and what its own runs found, as named scenarios."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from p2p_flock.testing.faults import parse_faults
from p2p_flock.testing.simulator import Config, Simulation

REPLAY = """
from p2p_flock.testing.simulator import Config, Simulation
print(Simulation(Config(seed=7, nodes=8, rounds=2)).run().digest)
"""


def run_in_process(code: str, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def test_simulation__without_faults() -> None:
    """Broken: an undisturbed alliance does not settle all its rounds with one model."""
    result = Simulation(Config(seed=1, nodes=8, rounds=3)).run()
    assert (result.rounds_settled, result.rounds_voided, result.is_complete) == (3, 0, True)
    assert result.counts["ModelApplied"] == 3 * 8


def test_simulation__same_digest_in_every_process() -> None:
    """Broken: something depends on the order of a set or on the clock, and no run can be replayed."""
    first, second = run_in_process(REPLAY, "1"), run_in_process(REPLAY, "2")
    assert len(first) == 64
    assert first == second


def test_simulation__other_seed_other_digest() -> None:
    """Broken: the seed decides nothing."""
    digests = {Simulation(Config(seed=seed, nodes=8, rounds=1)).run().digest for seed in range(3)}
    assert len(digests) == 3


@pytest.mark.parametrize("kinds", ["none", "crashes,network,reorgs,rpc"])
def test_simulation__sharing_changes_nothing(kinds: str) -> None:
    """Broken: a result that nodes share is not a pure function of what they share it by."""
    faults = parse_faults(kinds, 5, 8, 2)
    digests = {
        Simulation(Config(seed=5, nodes=8, rounds=2, faults=faults, is_sharing=shares)).run().digest
        for shares in (True, False)
    }
    assert len(digests) == 1


def test_simulation__suites_take_the_same_steps() -> None:
    """Broken: the fast suite's messages are not those of the real one, and what it finds is about itself."""
    counts = [Simulation(Config(seed=5, nodes=8, rounds=2, suite=suite)).run().counts for suite in ("fast", "real")]
    assert {kind: counts[0][kind] for kind in ("Persisted", "ModelApplied", "Logged")} == {
        kind: counts[1][kind] for kind in ("Persisted", "ModelApplied", "Logged")
    }
