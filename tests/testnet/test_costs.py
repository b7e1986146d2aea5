"""What the run costs: stages and processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from p2p_flock.testnet.costs import RunCosts, measure_cpu_seconds
from p2p_flock.testnet.processes import marked_environment
from p2p_flock.testnet.watch import AllianceView
from tests.testnet.makers import settled_log

WORKER = """
import subprocess, sys
command = [sys.executable, "-c", "import time; time.sleep(60)", "p2p_flock.learning.worker"]
child = subprocess.Popen(command, env={}, stdout=subprocess.DEVNULL)
print("up", flush=True)
sys.stdin.read()
child.kill()
"""


def test_costs__look_once_at_the_end_of_a_round(tmp_path: Path) -> None:
    """Each frame of the table would search all processes of the machine."""
    costs = RunCosts(tmp_path)
    costs.reach("homes made")
    first = costs.stages["homes made"]
    costs.reach("homes made")
    log = settled_log()
    view = AllianceView(rounds={log.opened.round: log})
    costs.note(view)
    seen = costs.round_cpu_seconds[log.opened.round]
    costs.note(view)
    assert costs.round_cpu_seconds == {log.opened.round: seen}
    assert costs.start_cpu_seconds == seen
    assert seen["launcher"] > 0
    assert costs.stages["homes made"] == first


def test_costs__find_a_daemons_worker(tmp_path: Path) -> None:
    """Half of a start's CPU time would belong to nobody: a worker's environment holds no mark of the run."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", WORKER],
        env=marked_environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert daemon.stdout is not None and daemon.stdin is not None
    assert daemon.stdout.readline() == b"up\n"
    try:
        assert "workers" in measure_cpu_seconds(tmp_path)
    finally:
        daemon.stdin.close()
        daemon.wait()
        daemon.stdout.close()
