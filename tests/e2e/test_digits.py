"""Digits in a real network, and a task that a newcomer installs."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from p2p_flock.cli.main import main
from p2p_flock.learning.tasks.lending_data import source_path, write_partition
from tests.e2e.running import ROOT, running_testnet
from tests.e2e.test_testnet import assert_all_settled_and_agreed

pytestmark = pytest.mark.slow


def test_digits__curve_equals_plain_fedavg(tmp_path: Path) -> None:
    """Secure aggregation, quantising or declared weights would cost accuracy at some round."""
    nodes, rounds = 10, 20
    options = ("--task", "digits", "--partition", "dirichlet:0.3", "--nodes", str(nodes), "--rounds", str(rounds))
    with running_testnet(tmp_path, *options) as testnet:
        assert testnet.wait(1800) == 0, testnet.text()
        assert_all_settled_and_agreed(testnet, nodes, rounds)
        curve = testnet.read_report()["curve"]
    assert curve["score_name"] == "accuracy"
    assert len(curve["alliance"]) == len(curve["plain_fedavg"]) == rounds
    assert curve["difference_max"] <= 0.01
    assert len(curve["unadopted_rounds"]) <= rounds // 4  # honest validators: mostly those of an overloaded machine


def test_template__passes_its_own_test_when_installed(tmp_path: Path) -> None:
    """The first thing a newcomer does would fail."""
    package, environment = tmp_path / "parts", tmp_path / "venv"
    assert main(["task", "new", "parts", "--directory", str(package)]) == 0
    venv.create(environment, with_pip=False)
    # An environment of its own on top of this one, so that the package enters no other's.
    (folder,) = environment.glob("lib/python*/site-packages")
    (folder / "below.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT}\n")
    python = environment / "bin" / "python"
    install = ("-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--no-build-isolation")
    subprocess.run([sys.executable, *install, "-e", str(package)], check=True, capture_output=True, timeout=300)
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."], cwd=package, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stdout.decode()
    listed = subprocess.run(
        [python, "-m", "p2p_flock.cli.main", "task", "list"], cwd=package, capture_output=True, text=True, check=True
    )
    assert "parts_task:PartsTask  (p2p-flock-task-parts 1)" in listed.stdout


def test_lending__loans_are_converted_once(tmp_path: Path) -> None:
    """``scripts/testnet --task lending`` would find no data, or another than was measured."""
    subprocess.run([ROOT / "scripts" / "convert_lending"], check=True, timeout=600)
    assert source_path().stat().st_size < 4 << 20
    counts = [write_partition(state, tmp_path / f"{state}.csv") for state in range(8)]
    assert counts == [1324, 900, 767, 731, 421, 349, 328, 320]
