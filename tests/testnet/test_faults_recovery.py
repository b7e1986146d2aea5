"""When a struck node is of use again."""

from __future__ import annotations

from pathlib import Path

from p2p_flock.testnet.faults.recovery import find_back
from tests.testnet.makers import closed_line, make_node, phase_line


def test_back__is_when_the_last_struck_node_worked_again(tmp_path: Path) -> None:
    """A measurement would take a process that still loads for a member that is there."""
    quick = make_node(tmp_path, "quick", [phase_line(ended_at=12.0), phase_line(round=2, ended_at=31.0), closed_line()])
    slow = make_node(tmp_path, "slow", [phase_line(phase="unmask", ended_at=32.0), phase_line(round=3, ended_at=45.0)])
    gone = make_node(tmp_path, "gone", [phase_line(ended_at=12.0)])
    nodes = (quick, slow, gone)
    assert find_back(["quick"], 20.0, nodes) == 31.0 and find_back(["quick", "slow"], 20.0, nodes) == 45.0
    assert find_back(["quick", "gone"], 20.0, nodes) is None
    assert find_back([], 20.0, nodes) is None and find_back(["quick"], None, nodes) is None
