"""Development chains for the tests of this folder: a shared one, and one for tests that turn time or blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p_flock.chain.devnet import DevnetOptions, run_devnet
from p2p_flock.chain.devnet_deployment import Devnet

LIFETIME_S = 300.0  # ends by itself even if the test run is killed


@pytest.fixture(scope="session")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    """A chain that all tests share: nobody turns its clock or its blocks."""
    with run_devnet(DevnetOptions(tmp_path_factory.mktemp("devnet"), lifetime_s=LIFETIME_S)) as running:
        yield running


@pytest.fixture
def own_devnet(tmp_path: Path) -> Iterator[Devnet]:
    """A chain for one test, which may do with it what it likes."""
    with run_devnet(DevnetOptions(tmp_path / "devnet", lifetime_s=LIFETIME_S)) as running:
        yield running
