"""A real network with noise, by name: ``scripts/test slow``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from p2p_flock.learning.privacy import compute_epsilon
from tests.e2e.running import inspect, running_testnet

pytestmark = pytest.mark.slow
ROUNDS = 2


def test_private_testnet__adds_noise_and_tells_what_it_costs(tmp_path: Path) -> None:
    """An operator would be told an ε that no noise stands behind, or honest noise would void the rounds."""
    options = ("--nodes", "6", "--rounds", str(ROUNDS), "--privacy", "8", "--test-mode", "save_encodings", "--keep")
    with running_testnet(tmp_path, *options) as testnet:
        assert testnet.wait(240.0) == 0, testnet.text()
        readd = inspect("readd", testnet.directory)
        assert readd.returncode == 0 and readd.stdout.count("equal in all") == (ROUNDS + 1) * 2, readd.stdout
        noisy = 0
        for node in testnet.nodes():
            last = node.closed[ROUNDS].privacy
            assert last is not None and last["rounds"] == ROUNDS and last["epsilon"] <= 8
            z, spent = last["noise_multiplier"], last["rounds_spent"]
            assert last["epsilon_spent"] == pytest.approx(compute_epsilon(z, spent, last["delta"]), rel=1e-3)
            for path in (node.home / "test" / "updates").glob("*.npy"):
                update = np.load(path)
                encoding = np.load(node.home / "test" / "encodings" / path.name).view(np.int32).astype(np.float64)
                if path.stem.startswith("0-"):
                    continue
                # What is left beside the update's own direction is noise: many times the update, at this z.
                along = float(encoding @ update) / float(update @ update) * update
                assert np.linalg.norm(encoding - along) > np.linalg.norm(along)
                noisy += 1
        assert noisy == ROUNDS * 4  # four trainers of six members
        assert ", ε " in testnet.output.read_text()
