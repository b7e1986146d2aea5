"""What an open page costs its node: processor time with and without viewers, sizes and times of the answers.

Run as ``python -m p2p_flock.bench.dashboard``. It builds a testnet of six nodes, ends one of them in a round whose
training phase is long, so that the others sit and wait for it, and then watches node0 by turns with no viewer, one and
eight. ``--home DIR`` measures a running node instead, whatever it is at. Processor time is the daemon's own, of all its
threads, from the kernel's clock of the process; what the page costs is the difference to the turns without
a viewer just before and after. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import trio

from p2p_flock.daemon.control_client import control_call
from p2p_flock.daemon.dashboard_files import read_token, read_url
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import ControlError, P2PFlockError, StoreError, UsageError
from p2p_flock.testnet import network as building
from p2p_flock.testnet.bring_up import Members
from p2p_flock.testnet.options import Options
from p2p_flock.testnet.processes import Processes

NODES, ROUNDS = 6, 20
TRAIN_SECONDS = 1_200  # the round in which everybody waits
STEADY_SECONDS, SETTLE_SECONDS_MAX = 8, 180
VIEWERS = (1, 8)
TRIES = 20  # of each request
_CPUCLOCK_SCHED = 2  # include/linux/posix-timers_types.h: what clock_getcpuclockid(3) computes
PATHS = (
    "/", "/api/v1/status", "/api/v1/alliance/watch", "/api/v1/alliance/history", "/api/v1/node/mesh",
    "/api/v1/node/log", "/api/v1/openapi.json", "/metrics",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """One node's dashboard. ``pid`` is the daemon's."""

    home: Path
    url: str
    token: str
    pid: int

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Turn:
    """The daemon with so many viewers: processor time in % of one core, events and bytes that each viewer got."""

    viewers: int
    cpu_percent: float
    events: int
    bytes: int


def find_target(home: Path) -> Target:
    """The running node of ``home``.

    Raises:
        UsageError: none runs there, or it has no dashboard.
    """
    directory = DataDirectory(home)
    try:
        control_call(home, "status", {}, 15.0)
        pid = int(directory.lock.read_text())
        return Target(home, read_url(directory.dashboard_url), read_token(directory.dashboard_token), pid)
    except (StoreError, ControlError, OSError, ValueError) as error:
        raise UsageError(f"{home} has no running node with a dashboard: {error}") from error


def read_cpu_seconds(pid: int) -> float:
    """Of all threads of a process, ended ones too, in nanosecond steps: Linux's CPU clock of another process."""
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


# --- viewers ---------------------------------------------------------------------------------------------------------


async def view(target: Target, counts: list[int]) -> None:
    """One open page's stream of events; adds what came to ``counts``: [events, bytes]."""
    async with await trio.open_tcp_stream("127.0.0.1", target.port) as stream:
        head = f"Host: 127.0.0.1:{target.port}\r\nAuthorization: Bearer {target.token}"
        await stream.send_all(f"GET /api/v1/events HTTP/1.1\r\n{head}\r\n\r\n".encode())
        async for piece in stream:
            counts[0] += piece.count(b"event: ")
            counts[1] += len(piece)


async def measure_turn(target: Target, viewers: int, seconds: float) -> Turn:
    """Watch for a while; the first two seconds, in which viewers come, are not counted."""
    counts = [0, 0]
    async with trio.open_nursery() as nursery:
        for _ in range(viewers):
            nursery.start_soon(view, target, counts)
        await trio.sleep(2)
        counts[:] = [0, 0]
        before, began_at = read_cpu_seconds(target.pid), time.monotonic()
        await trio.sleep(seconds)
        used, passed = read_cpu_seconds(target.pid) - before, time.monotonic() - began_at
        nursery.cancel_scope.cancel()
    each = max(viewers, 1)
    return Turn(viewers, round(100 * used / passed, 2), counts[0] // each, counts[1] // each)


def measure_answers(target: Target) -> dict[str, dict[str, float | int]]:
    """Size, and median time to the first byte and to the last, of each path."""
    found = {}
    for path in PATHS:
        request = urllib.request.Request(target.url + path, headers={"Authorization": f"Bearer {target.token}"})
        first_ms, all_ms, size = [], [], 0
        for _ in range(TRIES):
            began_at = time.perf_counter()
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    first_ms.append(1e3 * (time.perf_counter() - began_at))
                    size = len(answer.read())
            except OSError:  # also HTTPError: this node has no such path
                break
            all_ms.append(1e3 * (time.perf_counter() - began_at))
        if all_ms:
            found[path] = {
                "bytes": size,
                "first_byte_ms": round(statistics.median(first_ms), 2),
                "last_byte_ms": round(statistics.median(all_ms), 2),
            }
    return found


async def measure(target: Target, seconds: float, turns: int) -> dict[str, Any]:
    """All of it, as the JSON report holds it."""
    answers = await trio.to_thread.run_sync(measure_answers, target)
    found: list[Turn] = []
    for viewers in [*(count for _ in range(turns) for watched in VIEWERS for count in (0, watched)), 0]:
        found.append(await measure_turn(target, viewers, seconds))
        say(f"{found[-1].viewers} viewers: {found[-1].cpu_percent} % of a core")
    costs = {
        str(viewers): round(
            statistics.median(
                turn.cpu_percent - (found[index - 1].cpu_percent + found[index + 1].cpu_percent) / 2
                for index, turn in enumerate(found)
                if turn.viewers == viewers
            ),
            2,
        )
        for viewers in VIEWERS
    }
    idle = statistics.median(turn.cpu_percent for turn in found if not turn.viewers)
    with_one = statistics.median(turn.cpu_percent for turn in found if turn.viewers == 1)
    return {
        "cores": os.cpu_count(),
        "seconds_each": seconds,
        "idle_cpu_percent": idle,
        "page_cpu_percent": costs,
        "ratio_with_one_viewer": round(with_one / idle, 2) if idle else None,
        "turns": [asdict(turn) for turn in found],
        "answers": answers,
    }


# --- a network that waits -------------------------------------------------------------------------------------------


async def measure_own(processes: Processes, seconds: float, turns: int) -> dict[str, Any]:
    """Build a testnet, let it come to rest, and measure its first node.

    Raises:
        UsageError: it could not be built, or did not come to rest.
    """
    options = Options(nodes=NODES, rounds=ROUNDS, references=False, directory=processes.directory)
    params = replace(options.params, train_seconds=TRAIN_SECONDS)
    foundations = await building.start_foundations(processes, options, params)
    members = Members(processes, options, params, foundations, say)
    await members.run()
    network = await members.network()
    homes = {node.name: node.home for node in network.nodes}
    processes.children[f"node{NODES - 1}"].process.kill()
    await _wait_for_rest(homes["node0"])
    return await measure(find_target(homes["node0"]), seconds, turns)


async def _wait_for_rest(home: Path) -> None:
    """Until node0 has waited in one round's training phase for a while.

    Raises:
        UsageError: that did not happen.
    """
    rest, last = 0, None
    for _ in range(SETTLE_SECONDS_MAX):
        await trio.sleep(1)
        alliance = control_call(home, "alliance.watch", {}, 15.0)["alliance"]
        running = None if alliance is None else alliance["running"]
        now = None if running is None else (running["round"], running["step"], alliance["activity"])
        rest = rest + 1 if now is not None and now == last and now[1] == "train" else 0
        last = now
        if rest >= STEADY_SECONDS:
            say(f"node0 waits in round {now[0] if now else None}: {now[2] if now else None}")
            return
    raise UsageError(f"node0 did not come to rest within {SETTLE_SECONDS_MAX} s: {last}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show(report: dict[str, Any]) -> None:
    """The table."""
    say(f"daemon without a viewer: {report['idle_cpu_percent']} % of a core")
    for viewers, percent in report["page_cpu_percent"].items():
        say(f"  {viewers} open page(s) cost {percent} % more")
    for path, answer in report["answers"].items():
        times = f"first {answer['first_byte_ms']} ms, all {answer['last_byte_ms']} ms"
        say(f"  {path:28} {answer['bytes']:>9,} bytes   {times}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/bench dashboard", description=__doc__)
    parser.add_argument("--home", type=Path, help="measure the node that runs there")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each turn (default 15)")
    parser.add_argument("--turns", type=int, default=1, help="how often each number of viewers comes (default 1)")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    given = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="p2p_flock-dashboard-"))
    processes = Processes(directory)
    try:
        if given.home is not None:
            report = trio.run(measure, find_target(given.home), given.seconds, given.turns)
        else:
            report = trio.run(measure_own, processes, given.seconds, given.turns)
    except P2PFlockError as error:
        say(str(error))
        return 1
    finally:
        processes.stop()
        shutil.rmtree(directory, ignore_errors=True)
    show(report)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
