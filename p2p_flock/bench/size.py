"""What a large model costs: bytes sent against the least possible, memory, disk and time, on a testnet.

Run as ``python -m p2p_flock.bench.size --parameters 1000000``. It builds the network as ``scripts/testnet`` does, with
deadlines that fit the size (phases end when they are complete, so these cost nothing), and without what the testnet
does beside it: scores and references, which hold several models in memory and take the processor.

*Ideal* is what no protocol with these roles can do without: each trainer's masked vector once to each validator, and
the new model once to each node that did not compute it, as the sum it follows from. Counted against it are all bytes
that all nodes handed to the transport in a round: messages, gossip and repetitions included. A node counts up to the
moment at which it holds the round's model, so what it serves of a round's sum is counted to that round or to the next;
the ratio of the run is therefore that of all rounds from the second on together.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import trio

from p2p_flock.chain.client import RpcClient
from p2p_flock.cli.alliance_terms import round_seconds_max
from p2p_flock.crypto.ring import Ring
from p2p_flock.errors import P2PFlockError, UsageError
from p2p_flock.params import AllianceParams
from p2p_flock.testnet import network as building
from p2p_flock.testnet.bring_up import Members
from p2p_flock.testnet.metrics import NodeMetrics
from p2p_flock.testnet.options import Options, alliance_params
from p2p_flock.testnet.processes import Processes
from p2p_flock.testnet.summary import RoundSummary, summarise
from p2p_flock.testnet.watch import Watch

TASKS = {1_000_000: ("digits-1m", 1_000_567), 50_000_000: ("digits-50m", 49_997_607)}
# Seconds per million parameters on top of the testnet's, for two busy cores that all nodes share.
TRAIN_SECONDS_PER_MILLION, JUDGE_SECONDS_PER_MILLION, OPEN_SECONDS_PER_MILLION = 8, 2, 2
POLL_SECONDS = 1.0
EXIT_SECONDS_MAX = 300.0
JOIN_SECONDS_MAX = 600.0


def fit_params(params: AllianceParams, parameters: int) -> AllianceParams:
    """The same alliance with deadlines for a vector of ``parameters`` lanes on a small, busy machine."""
    millions = -(-parameters // 1_000_000)
    return replace(
        params,
        train_seconds=params.train_seconds + TRAIN_SECONDS_PER_MILLION * millions,
        unmask_seconds=params.unmask_seconds + OPEN_SECONDS_PER_MILLION * millions,
        evaluate_seconds=params.evaluate_seconds + JUDGE_SECONDS_PER_MILLION * millions,
    )


def compute_ideal_bytes(lane_count: int, lane_bits: int, trainers: int, validators: int, nodes: int) -> int:
    """Bytes that a round cannot do without; see the module."""
    return Ring(lane_bits).vector_bytes(lane_count) * (trainers * validators + nodes - validators)


def summarise_round(summary: RoundSummary, lane_count: int, lane_bits: int) -> dict[str, Any]:
    """The figures of one settled round of training."""
    trainers = sum(len(cohort.survivors) for cohort in summary.cohorts)
    nodes, validators = len(summary.model_digest_by_node), len(summary.validators)
    ideal = compute_ideal_bytes(lane_count, lane_bits, trainers, validators, nodes)
    sent = sum(summary.bytes_sent_by_node.values())
    costs = summary.cost_by_node.values()
    return {
        "round": summary.round,
        "agreed": summary.agreed,
        "adopted": summary.adopted,
        "trainers": trainers,
        "validators": validators,
        "bytes_sent": sent,
        "bytes_ideal": ideal,
        "ratio": round(sent / ideal, 3),
        "seconds": {name: value and round(value, 2) for name, value in asdict(summary.seconds).items()},
        "daemon_peak_bytes": max((cost.get("daemon_memory_peak_bytes") or 0 for cost in costs), default=0),
        "worker_peak_bytes": max((cost.get("worker_memory_peak_bytes") or 0 for cost in costs), default=0),
    }


class PeakWatch:
    """Reads the peak resident memory of every daemon and worker of a run from /proc while they live (VmHWM).

    Attributes:
        peaks: bytes by (node, "daemon" or "worker").
        disk_peaks: most bytes that a node's folder took, by node and kind of file.
    """

    def __init__(self, processes: Processes, homes: Mapping[str, Path]) -> None:
        self._processes, self._homes = processes, homes
        self.peaks: dict[tuple[str, str], int] = {}
        self.disk_peaks: dict[str, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.to_thread.run_sync(self.look)
            await trio.sleep(POLL_SECONDS)

    def look(self) -> None:
        for name, home in self._homes.items():
            daemon = self._processes.children[name].process.pid
            self._note(name, "daemon", daemon)
            for worker in _children_of(daemon):
                self._note(name, "worker", worker)
            for kind in ("blobs", "models"):
                # os.walk passes over a folder that is pruned while it is read.
                used = sum(_size_of(Path(folder, name)) for folder, _, files in os.walk(home / kind) for name in files)
                self.disk_peaks[kind] = max(used, self.disk_peaks.get(kind, 0))

    def _note(self, name: str, kind: str, process: int) -> None:
        try:
            text = Path(f"/proc/{process}/status").read_text()
        except OSError:
            return
        for line in text.splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
                self.peaks[name, kind] = max(peak, self.peaks.get((name, kind), 0))

    def largest(self, kind: str) -> int:
        """The largest peak of any node's process of this kind."""
        return max((peak for (_, what), peak in self.peaks.items() if what == kind), default=0)


def _children_of(process: int) -> list[int]:
    """Of all its threads: the kernel lists a child at the thread that started it."""
    found: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found += [int(word) for word in path.read_text().split()]
        except OSError:  # the thread has ended
            continue
    return found


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:  # pruned meanwhile
        return 0


async def run_network(options: Options, params: AllianceParams, processes: Processes) -> dict[str, Any]:
    """Build a network, let it run all rounds, and measure it.

    Raises:
        UsageError: it could not be built, or did not end in time.
    """
    foundations = await building.start_foundations(processes, options, params)
    members = Members(processes, options, params, foundations, lambda stage: say(stage))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(members.run)
        network = await members.network()
        metrics = [NodeMetrics(node.name, node.home) for node in network.nodes]
        peaks = PeakWatch(processes, {node.name: node.home for node in network.nodes})
        client = RpcClient([network.devnet.rpc_url])
        watch = Watch(client, network.contract, from_block=0)
        seconds_max = params.round_count * (round_seconds_max(params) + 10) + JOIN_SECONDS_MAX
        try:
            async with trio.open_nursery() as watching:
                watching.start_soon(peaks.run)
                watching.start_soon(_tell_rounds, watch)
                with trio.fail_after(seconds_max):
                    await watch.run_until_closed()
                await _wait_for_ends(metrics, params.round_count)
                watching.cancel_scope.cancel()
        finally:
            client.close()
    rounds = [summarise(log, params, metrics) for _, log in sorted(watch.view.rounds.items())]
    return describe_run(options, params, rounds, peaks)


async def _tell_rounds(watch: Watch) -> None:
    told = 0
    while True:
        ended = sum(log.settled is not None or log.voided is not None for log in watch.view.rounds.values())
        if ended > told:
            told = ended
            say(f"{told} rounds ended")
        await trio.sleep(POLL_SECONDS)


async def _wait_for_ends(metrics: Sequence[NodeMetrics], round_count: int) -> None:
    """Until every node has written how the last round ended."""
    with trio.move_on_after(EXIT_SECONDS_MAX):
        while True:
            for node in metrics:
                node.refresh()
            if all(len(node.closed) >= round_count for node in metrics):
                return
            await trio.sleep(POLL_SECONDS)
    raise UsageError(f"a node did not hold the last model {EXIT_SECONDS_MAX:.0f} s after the alliance was closed")


def describe_run(
    options: Options, params: AllianceParams, rounds: Sequence[RoundSummary], peaks: PeakWatch
) -> dict[str, Any]:
    """The report of a run as one JSON object; sizes in bytes, times in seconds."""
    lane_count = next(count for name, count in TASKS.values() if name == options.task)
    trained = [summarise_round(one, lane_count, params.lane_bits) for one in rounds if one.settled and one.round]
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}",
        "parameters": lane_count,
        "lane_bits": params.lane_bits,
        "nodes": options.nodes,
        "rounds_settled": sum(one.settled for one in rounds),
        "rounds_wanted": params.round_count,
        "rounds": trained,
        "ratio": compute_ratio(trained[1:]),
        "seconds_median": statistics.median(one["seconds"]["total"] for one in trained) if trained else None,
        "daemon_peak_bytes": peaks.largest("daemon"),
        "worker_peak_bytes": peaks.largest("worker"),
        "disk_peak_bytes_per_node": peaks.disk_peaks,
    }


def compute_ratio(rounds: Sequence[Mapping[str, Any]]) -> float | None:
    """Bytes sent over the ideal, all rounds together; ``None`` without any."""
    ideal = sum(one["bytes_ideal"] for one in rounds)
    return round(sum(one["bytes_sent"] for one in rounds) / ideal, 3) if ideal else None


def render(report: Mapping[str, Any]) -> str:
    """The report for the terminal."""
    mega = 1e6
    lines = [
        f"{report['parameters']:,} parameters, {report['nodes']} nodes, {report['machine']}",
        "round  sent MB  ideal MB  ratio  train  seal  unmask  evaluate  commit  settle  total s",
    ]
    for one in report["rounds"]:
        seconds = one["seconds"]
        names = ("train", "seal", "unmask", "evaluate", "commit", "settle", "total")
        times = "  ".join("–" if seconds[name] is None else f"{seconds[name]:.1f}" for name in names)
        lines.append(
            f"{one['round']:5}  {one['bytes_sent'] / mega:7.1f}  {one['bytes_ideal'] / mega:8.1f}  {one['ratio']:5.2f}"
            f"  {times}{'' if one['adopted'] else '  (not adopted)'}{'' if one['agreed'] else '  (nodes differ!)'}"
        )
    disk = ", ".join(f"{kind} {size / mega:.0f} MB" for kind, size in report["disk_peak_bytes_per_node"].items())
    if report["ratio"] is not None:
        lines.append(f"bytes sent over ideal, from the second round on: {report['ratio']:.2f}")
    lines.append(
        f"peak memory: daemon {report['daemon_peak_bytes'] / mega:.0f} MB, worker "
        f"{report['worker_peak_bytes'] / mega:.0f} MB; peak disk of one node: {disk}"
    )
    return "\n".join(lines)


def say(text: str) -> None:
    """A line of progress."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def _first_of(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def main() -> int:
    """Exit code 0 only if every round settled and all nodes hold the same model after each."""
    parser = argparse.ArgumentParser(prog="scripts/bench size", description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, choices=sorted(TASKS), default=1_000_000)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument(
        "--rounds", type=int, default=3, help="of training, at least 2; one more collects statistics [3]"
    )
    parser.add_argument("--directory", type=Path, help="where to run, on a disk with room [a temporary one]")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    task, lane_count = TASKS[given.parameters]
    directory = given.directory or Path(tempfile.mkdtemp(prefix="p2p_flock-size-"))
    directory.mkdir(parents=True, exist_ok=True)
    options = Options(nodes=given.nodes, rounds=given.rounds, task=task, directory=directory, local_only=False)
    processes = Processes(directory.resolve())
    report: dict[str, Any] | None = None
    try:
        replace(options, directory=None).validate()
        params = fit_params(alliance_params(given.nodes, given.rounds, 0, task), lane_count)
        report = trio.run(run_network, options, params, processes)
    except* P2PFlockError as group:
        say(f"failed: {_first_of(group)}; the logs are in {directory}")
    finally:
        processes.stop()
    if report is None:
        return 1
    sys.stdout.write(render(report) + "\n")
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n")
    is_good = report["rounds_settled"] == report["rounds_wanted"] and all(one["agreed"] for one in report["rounds"])
    if given.directory is None and is_good:
        shutil.rmtree(directory)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
