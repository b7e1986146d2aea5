"""Starting, finding and ending a run's processes, with stand-in programs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from p2p_flock.errors import UsageError
from p2p_flock.params import RINGS, compute_sum_bound_max
from p2p_flock.testnet.__main__ import parse_arguments
from p2p_flock.testnet.options import NODES_MAX, NODES_MIN, Options, alliance_params
from p2p_flock.testnet.ports import choose_ports, is_free
from p2p_flock.testnet.processes import Processes, find_processes, stop_directory

WAIT = "import signal; signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); {WAIT}; {WAIT}"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {WAIT!r}], start_new_session=True); {WAIT}"
SECONDS_MAX = 20.0


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    run = Processes(tmp_path)
    yield run
    run.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll a condition on other processes, for which there is no event to wait on."""
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        os.sched_yield()


def test_processes__end_with_their_children(processes: Processes) -> None:
    """A training worker in its own session would outlive the run."""
    child = processes.start("parent", [sys.executable, "-c", PARENT])
    wait_for(lambda: len(find_processes(processes.directory)) == 2)
    assert child.exit_code is None
    assert len(processes.stop()) == 2
    assert find_processes(processes.directory) == []


def test_processes__end_though_they_ignore_the_request(processes: Processes) -> None:
    """A hanging daemon would keep its port and its data directory's lock."""
    child = processes.start("stubborn", [sys.executable, "-c", STUBBORN])
    wait_for(lambda: "up" in child.log.read_text())
    processes.stop()
    assert child.exit_code == -9


def test_processes__outlive_the_launcher(tmp_path: Path) -> None:
    """SIGKILL of the launcher would end the rounds."""
    program = (
        "import os, signal, sys; from pathlib import Path; from p2p_flock.testnet.processes import Processes; "
        f"Processes(Path({str(tmp_path)!r})).start('child', [sys.executable, '-c', {WAIT!r}]); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    wait_for(lambda: len(find_processes(tmp_path)) == 1)
    assert len(stop_directory(tmp_path)) == 1
    assert find_processes(tmp_path) == []


def test_processes__of_another_run_are_left_alone(processes: Processes, tmp_path: Path) -> None:
    """Stopping one network would stop its neighbor."""
    other = Processes(tmp_path / "other")
    child = other.start("other", [sys.executable, "-c", WAIT])
    processes.stop()
    assert child.exit_code is None
    other.stop()
    assert child.exit_code is not None


def test_processes__keep_the_end_of_their_log(processes: Processes) -> None:
    """The operator would not learn why a daemon ended."""
    child = processes.start("failing", [sys.executable, "-c", "raise SystemExit('the port is taken')"])
    wait_for(lambda: child.exit_code is not None)
    assert child.exit_code == 1
    assert child.log_tail() == "the port is taken"
    assert processes.ended() == [child]


def test_ports__are_free_and_different() -> None:
    """Two daemons would be given the same port."""
    ports = choose_ports(40)
    assert len(set(ports)) == 40
    assert all(is_free(port) for port in ports)


@pytest.mark.parametrize("nodes", range(NODES_MIN, NODES_MAX + 1))
def test_options__give_valid_parameters(nodes: int) -> None:
    """A number of nodes that the help promises would be refused by the contract."""
    params = alliance_params(nodes, rounds=3)  # validates
    assert params.round_count == 4
    assert params.seat_count_min == nodes
    spare_seats = min(nodes // 2, NODES_MAX - nodes)
    Options(nodes=nodes, spare_seats=spare_seats).validate()
    assert alliance_params(nodes, 3, spare_seats).seat_count_max == nodes + spare_seats


def test_options__references_and_void_rounds_are_the_operators_choice() -> None:
    """A measurement would wait minutes for scores that nobody asked for, or ten void rounds for an alliance's end."""
    assert parse_arguments([]).references and parse_arguments([]).params.void_count_max == 10
    options = parse_arguments(["--no-references", "--void-count-max", "3"])
    options.validate()
    assert not options.references and options.params == replace(parse_arguments([]).params, void_count_max=3)
    with pytest.raises(UsageError, match="--void-count-max 0"):
        replace(options, void_count_max=0).validate()


@pytest.mark.parametrize("nodes", range(NODES_MIN, NODES_MAX + 1))
def test_options__give_valid_parameters_of_several_cohorts(nodes: int) -> None:
    """A number of cohorts that the launcher takes would be refused by the contract."""
    for cohorts in range(1, (nodes - 3) // 4 + 1):
        Options(nodes=nodes, cohorts=cohorts).validate()
        params = alliance_params(nodes, 3, cohorts=cohorts)  # validates
        assert params.cohort_owners_min(nodes) >= 4 and params.cohort_count == cohorts


@pytest.mark.parametrize("lane_bits", RINGS)
def test_options__give_as_many_levels_as_the_ring_has_room_for(lane_bits: int) -> None:
    """Half the resolution would be given away, or the contract would refuse the alliance."""
    params = alliance_params(6, 3, lane_bits=lane_bits)  # validates
    assert params.lane_bits == lane_bits
    assert params.levels == 1 << 18 or 2 * params.levels * params.weight_max * 4 > compute_sum_bound_max(lane_bits)


@pytest.mark.parametrize(
    "options",
    [
        Options(nodes=NODES_MIN - 1),
        Options(nodes=NODES_MAX + 1),
        Options(rounds=0),
        Options(nodes=8, spare_seats=5),
        Options(block_time=0.0),
        Options(seed=-1),
        Options(lane_bits=24),
        Options(cohorts=0),
        Options(nodes=10, cohorts=2),
        Options(nodes=12, cohorts=2, spare_seats=1),
        Options(directory=Path(__file__).parent),
    ],
)
def test_options__refuse_what_cannot_work(options: Options) -> None:
    """The run would fail later, with a worse message."""
    with pytest.raises(UsageError, match="--"):
        options.validate()
