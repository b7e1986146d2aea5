"""The two programs that look at a run's disks afterwards: readd and leakcheck. Each must find what is planted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.testnet.makers import ASSIGNMENT, nodes_of_a_round, save_lanes

LANES = 40
RECORDS = "age,chol,thalach\n63.5,233.25,150.0,1.5\n41.0,204.0,172.5,0.25\n"


class Run:
    """The folder of a run whose nodes trained, masked and opened round 1 as they should."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes = nodes_of_a_round(folder)
        random = np.random.default_rng(5)
        self.encodings = {seat: random.integers(0, 2**32, LANES, dtype=np.uint32) for seat in ASSIGNMENT.trainers}
        self.updates = {seat: random.normal(size=LANES) for seat in ASSIGNMENT.trainers}
        self.masks = {seat: random.integers(0, 2**32, LANES, dtype=np.uint32) for seat in ASSIGNMENT.trainers}
        opened = np.zeros(LANES, dtype=np.uint32)
        for seat, encoding in self.encodings.items():
            opened += encoding
            save_lanes(self.home(seat), "encodings", f"1-{seat}", encoding)
            (self.home(seat) / "test" / "updates").mkdir()
            np.save(self.home(seat) / "test" / "updates" / f"1-{seat}.npy", self.updates[seat])
        for seat in ASSIGNMENT.validators:
            save_lanes(self.home(seat), "opened", "1-0", opened)
        (folder / "data").mkdir()
        entries = []
        for node in self.nodes:
            (folder / "data" / f"{node.name}.csv").write_text(RECORDS)
            entries.append({"name": node.name, "home": str(node.home)})
            (node.home / "recorded").mkdir()
            self.record(node.home, b"hello")
        for seat in ASSIGNMENT.trainers:
            self.record(self.home(seat), (self.encodings[seat] + self.masks[seat]).astype("<u4").tobytes())
        (folder / "network.json").write_text(json.dumps({"nodes": entries}))

    def home(self, seat: int) -> Path:
        return self.folder / f"node{seat}"

    def record(self, home: Path, data: bytes) -> None:
        with (home / "recorded" / "sent.bin").open("ab") as file:
            file.write(data)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def call(program: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"p2p_flock.testnet.{program}", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_readd__agrees_with_an_honest_run(run: Run) -> None:
    """Two right sums would count as different."""
    result = call("readd", [str(run.folder)])
    assert result.returncode == 0, result.stderr
    assert f"{len(ASSIGNMENT.validators)} of {len(ASSIGNMENT.validators)} opened sums equal" in result.stdout


def test_readd__finds_one_wrong_lane(run: Run) -> None:
    """A sum that is off by one would pass as exact."""
    path = run.home(ASSIGNMENT.validators[0]) / "test" / "opened" / "1-0.npy"
    opened = np.load(path)
    opened[7] += 1
    np.save(path, opened)
    result = call("readd", [str(run.folder)])
    assert result.returncode == 1
    assert "1 of 40 lanes differ; lane 7" in result.stdout


def test_readd__needs_every_survivors_encoding(run: Run) -> None:
    """A comparison over fewer trainers than the chain's survivors would be meaningless."""
    seat = ASSIGNMENT.trainers[0]
    (run.home(seat) / "test" / "encodings" / f"1-{seat}.npy").unlink()
    result = call("readd", [str(run.folder)])
    assert result.returncode == 2
    assert "on 0 nodes" in result.stderr


def test_readd__is_no_success_without_a_sum(run: Run) -> None:
    """A run outside the test mode would pass for a proof."""
    for seat in ASSIGNMENT.validators:
        (run.home(seat) / "test" / "opened" / "1-0.npy").unlink()
    assert call("readd", [str(run.folder)]).returncode == 1


def test_leakcheck__finds_nothing_behind_masks(run: Run) -> None:
    """The check would cry wolf."""
    result = call("leakcheck", [str(run.folder)])
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 leaks" in result.stdout


def test_leakcheck__finds_an_encoding_without_masks(run: Run) -> None:
    """Sending the encoding itself would go unnoticed."""
    seat = ASSIGNMENT.trainers[1]
    run.record(run.home(seat), b"frame" + run.encodings[seat].astype("<u4").tobytes())
    result = call("leakcheck", [str(run.folder)])
    assert result.returncode == 1
    assert f"node{seat} sent its encoding 1-{seat}" in result.stdout


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8"])
def test_leakcheck__finds_a_piece_of_a_raw_update(run: Run, kind: str) -> None:
    """A few raw parameters in any float format would go unnoticed."""
    seat = ASSIGNMENT.trainers[2]
    run.record(run.home(seat), run.updates[seat].astype(kind)[10:16].tobytes())
    result = call("leakcheck", [str(run.folder)])
    assert result.returncode == 1
    assert f"node{seat} sent its update 1-{seat}" in result.stdout


@pytest.mark.parametrize("data", [b"41.0,204.0,172.5,0.25", np.array([63.5, 233.25, 150.0, 1.5], "<f4").tobytes()])
def test_leakcheck__finds_a_record(run: Run, data: bytes) -> None:
    """A patient's record in text or numbers would go unnoticed."""
    run.record(run.home(ASSIGNMENT.validators[0]), data)
    result = call("leakcheck", [str(run.folder)])
    assert result.returncode == 1
    assert "record in line" in result.stdout


def test_leakcheck__is_no_success_without_a_recording(run: Run) -> None:
    """A run without the recorder would pass for a proof."""
    (run.home(0) / "recorded" / "sent.bin").unlink()
    assert call("leakcheck", [str(run.folder)]).returncode == 2
