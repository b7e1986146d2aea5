"""Eight members' data as the testnet deals it out, written once per run."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2p_flock.learning.task import prepare_torch
from p2p_flock.learning.tasks.heart import HeartTask
from p2p_flock.learning.tasks.heart_data import partition_of_node, write_partition

NODE_COUNT = 8
DATA_SEED = 1


@pytest.fixture(scope="session")
def data_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The CSV of each of eight members: two per hospital."""
    folder = tmp_path_factory.mktemp("heart")
    paths = [folder / f"{node}.csv" for node in range(NODE_COUNT)]
    for node, path in enumerate(paths):
        write_partition(*partition_of_node(node, NODE_COUNT), DATA_SEED, path)
    return paths


@pytest.fixture(scope="session")
def tasks(data_paths: list[Path]) -> list[HeartTask]:
    """The eight members' tasks, in this process."""
    prepare_torch()
    return [HeartTask.open(path, DATA_SEED) for path in data_paths]
