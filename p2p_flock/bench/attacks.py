"""What floods cost a node and its honest peers: each attack of ``bench/attackers.py`` against a live process.

Run as ``python -m p2p_flock.bench.attacks``. Three processes on loopback: the host (``bench/attacks_host.py``), the
attacker, and this one, which is an honest member that sends a signed message and pulls 1 MiB, again and again: before,
during and after. On a machine of two cores the attacker also takes processor time from those whom it attacks: latencies
hold that, the host's CPU time does not. Figures are of one run each; a CPU share above 100 % of a core cannot happen,
since a node's network lives in one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import trio

from p2p_flock.bench import attackers
from p2p_flock.bench.attackers import Attack, Target, open_hostile
from p2p_flock.bench.attacks_host import (
    ALLIANCE,
    CONTENT_BYTES,
    TOPIC,
    make_contents,
    make_round,
    peer_of,
    seed_of,
)
from p2p_flock.errors import NetError
from p2p_flock.net.adapter import Net, NetConfig, open_net
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import Contribution, Envelope, Have, Hint

PROBE_PAUSE_S = 0.05
PROBE_PATIENCE_S = 10.0
TABLE_BEGINS, TABLE_ENDS = "<!-- table begins -->", "<!-- table ends -->"
READMISSION_S = 5.0  # how long an attacker that was cut off tries to come back, for the table


# What attackers say.


def make_have(number: int) -> Have:
    """A validator's bitmap; each number another one, all of one size."""
    return Have(b"\x01", (hashlib.sha256(number.to_bytes(8, "big")).digest(),))


def message_makers() -> dict[str, Callable[[int], bytes]]:
    """Messages by name: envelopes that are well formed, each with something wrong (or nothing but their number)."""
    setting, context, seats = make_round()
    member = seats["member"]

    def valid(number: int) -> bytes:
        return encode(context.seal_envelope(member, make_have(number), setting.signer(member)))

    def changed(number: int, **changes: object) -> bytes:
        envelope = context.seal_envelope(member, make_have(0), setting.signer(member))
        fields = {"kind": envelope.kind, "round": envelope.round, "seat": envelope.seat, "body": envelope.body}
        fields |= {"signature": hashlib.shake_256(number.to_bytes(8, "big")).digest(64) + b"\x1b", **changes}
        return encode(Envelope(**fields))  # type: ignore[arg-type]

    trainer = context.assignment.trainers[0]
    contribution = context.seal_envelope(trainer, Contribution(bytes(32), bytes(32)), setting.signer(trainer))
    return {
        "valid": valid,
        "unsigned": lambda number: changed(number),
        "old": lambda number: changed(number, round=0),
        "early": lambda number: changed(number, round=context.round + 1 + number, body=os.urandom(1_000_000)),
        "passed on": lambda _number: encode(contribution),
        "hint": lambda number: encode(Hint(ALLIANCE, number % 1000, "sealed")),
        "none": lambda _number: b"",
    }


@dataclass(frozen=True)
class Case:
    """One attack: who does what, saying what."""

    attack: Attack
    who: str = "stranger"  # or "member", of the alliance
    says: str = "none"


CASES = {
    "TCP connections, silent": Case(attackers.half_open),
    "TCP connections, noise": Case(attackers.garbage),
    "connections, ever new identities": Case(attackers.identities),
    "streams": Case(attackers.stream_flood),
    "multiplexer pings": Case(attackers.frame_flood),
    "unread streams": Case(attackers.unread),
    "slow reader": Case(attackers.slow_reader),
    "slow reader, member": Case(attackers.slow_reader, "member"),
    "slow writer": Case(attackers.slow_writer),
    "oversize frames": Case(attackers.oversize),
    "messages, wrongly signed": Case(attackers.messages, "stranger", "unsigned"),
    "messages, wrongly signed, member": Case(attackers.messages, "member", "unsigned"),
    "messages, old round, member": Case(attackers.messages, "member", "old"),
    "messages, early, 1 MB, member": Case(attackers.messages, "member", "early"),
    "Have, valid, member": Case(attackers.messages, "member", "valid"),
    "Contribution, repeated, member": Case(attackers.messages, "member", "passed on"),
    "one content": Case(attackers.same_content),
    "one content, member": Case(attackers.same_content, "member"),
    "all contents, member": Case(attackers.all_contents, "member"),
    "unknown contents": Case(attackers.unknown_contents),
    "unknown contents, member": Case(attackers.unknown_contents, "member"),
    "gossip, valid": Case(attackers.gossip_valid, "stranger", "hint"),
    "gossip, valid, member": Case(attackers.gossip_valid, "member", "hint"),
    "gossip, other topic": Case(attackers.gossip_foreign),
    "DHT questions": Case(attackers.dht_questions),
    "identify and peer exchange": Case(attackers.identify),
}


# The attacker's process.


async def run_attack(case: Case, address: str, seconds: float) -> dict[str, object]:
    """Attack for so long; what was done, and when the target first cut us off (seconds), if it did."""
    target = Target(
        address,
        seed=seed_of("member") if case.who == "member" else None,
        topic=TOPIC,
        digests=tuple(make_contents()),
        make_message=message_makers()[case.says],
    )
    began, cut_off = trio.current_time(), None
    async with open_hostile(target) as hostile:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(case.attack, hostile, target)
                was_connected = False
                while True:
                    await trio.sleep(0.02)
                    is_connected = hostile.is_connected
                    if target.done["refused"] or (was_connected and not is_connected):
                        cut_off = cut_off or trio.current_time() - began
                    was_connected = is_connected
        is_back = False
        if cut_off is not None:
            with trio.move_on_after(READMISSION_S):
                while not await hostile.connect():
                    await trio.sleep(0.5)
                is_back = True
    return {"done": dict(target.done), "cut_off_seconds": cut_off, "is_back": is_back}


# This process: an honest member.


class Child:
    """A process of this measurement that speaks JSON lines."""

    def __init__(self, arguments: list[str]) -> None:
        self.name = arguments[0]
        command = [sys.executable, "-m", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self) -> dict[str, float | str | dict[str, int] | None]:
        """The next line. Raises RuntimeError if the process has ended: it did not survive."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}")
        answer: dict[str, float | str | dict[str, int] | None] = json.loads(line)
        return answer

    def ask(self) -> dict[str, float]:
        """What the host has used so far."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return {name: value for name, value in self.read().items() if isinstance(value, float | int)}

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def running(arguments: list[str]) -> Iterator[Child]:
    """A child that is gone afterwards."""
    child = Child(arguments)
    try:
        yield child
    finally:
        child.close()


@dataclass
class Latencies:
    """Of the honest member, milliseconds; what did not come within PROBE_PATIENCE_S counts as failed."""

    messages: list[float]
    pulls: list[float]
    failed: int = 0


async def probe(net: Net, host: str, seconds: float, first_number: int) -> Latencies:
    """Send a valid message and pull a content, in turns."""
    setting, context, seats = make_round()
    seat = seats["honest"]
    digests = list(make_contents())
    found = Latencies([], [])
    deadline = trio.current_time() + seconds
    number = first_number
    while trio.current_time() < deadline:
        number += 1
        message = encode(context.seal_envelope(seat, make_have(number), setting.signer(seat)))
        began = time.perf_counter()
        with trio.move_on_after(PROBE_PATIENCE_S) as scope:
            await net.send(host, message)
            await net.messages.receive()
            found.messages.append(1e3 * (time.perf_counter() - began))
        began = time.perf_counter()
        pulled = await net.fetch([digests[number % len(digests)]], [host], CONTENT_BYTES, PROBE_PATIENCE_S)
        if pulled:
            found.pulls.append(1e3 * (time.perf_counter() - began))
        found.failed += scope.cancelled_caught + (not pulled)
        await trio.sleep(PROBE_PAUSE_S)
    return found


@dataclass(frozen=True)
class Row:
    """One attack. Ratios are medians under attack over medians in quiet; CPU is the host's share of one core."""

    name: str
    done: dict[str, int]
    cpu_quiet: float
    cpu: float
    rss_growth_bytes: int
    message_ms: float
    message_ratio: float
    pull_ms: float
    pull_ratio: float
    failed: int
    cut_off_seconds: float | None
    is_back: bool
    taken: int
    log_bytes: int


async def measure(name: str, seconds: float) -> Row:
    """One attack against a fresh host. Raises RuntimeError if the host did not survive."""
    with (
        tempfile.TemporaryDirectory(prefix="p2p-flock-attack-") as folder,
        running(["p2p_flock.bench.attacks_host", folder]) as host,
    ):
        address = str(host.read()["address"])
        config = NetConfig(seed_of("honest"), "127.0.0.1", 0, (address,), lambda _digest: None)
        async with open_net(config) as net:
            await _until_connected(net, peer_of("host"))
            return await _measure(name, seconds, host, address, net)


async def _until_connected(net: Net, peer_id: str) -> None:
    with trio.fail_after(30.0):
        while peer_id not in net.connected():
            await net.peer_events.receive()


async def _measure(name: str, seconds: float, host: Child, address: str, net: Net) -> Row:
    async def timed(work: Callable[[], Awaitable[Latencies]]) -> tuple[Latencies, dict[str, float], float]:
        before, began = host.ask(), time.perf_counter()
        latencies = await work()
        after, elapsed = host.ask(), time.perf_counter() - began
        return latencies, after, (after["cpu_seconds"] - before["cpu_seconds"]) / elapsed

    peer = peer_of("host")
    await probe(net, peer, 1.0, 0)
    quiet, rested, cpu_quiet = await timed(lambda: probe(net, peer, max(2.0, seconds / 3), 1_000))
    arguments = ["p2p_flock.bench.attacks", "--attack", name, "--address", address, "--seconds", str(seconds)]
    with running(arguments) as attacker:
        await trio.to_thread.run_sync(attacker.read)  # it is ready
        loud, used, cpu = await timed(lambda: probe(net, peer, seconds, 10_000))
        answer = await trio.to_thread.run_sync(attacker.read)
    done, cut_off = answer["done"], answer["cut_off_seconds"]
    assert isinstance(done, dict) and not isinstance(cut_off, str | dict)
    return Row(
        name=name,
        done=done,
        cpu_quiet=cpu_quiet,
        cpu=cpu,
        rss_growth_bytes=int(used["rss_bytes"] - rested["rss_bytes"]),
        message_ms=_median(loud.messages),
        message_ratio=_median(loud.messages) / _median(quiet.messages),
        pull_ms=_median(loud.pulls),
        pull_ratio=_median(loud.pulls) / _median(quiet.pulls),
        failed=loud.failed,
        cut_off_seconds=cut_off,
        is_back=bool(answer["is_back"]),
        taken=int(used["taken"] - rested["taken"]) - len(loud.messages),
        log_bytes=int(used["log_bytes"] - rested["log_bytes"]),
    )


def _median(values: list[float]) -> float:
    return statistics.median(values) if values else float("inf")


def render(rows: list[Row]) -> str:
    """The table as Markdown."""
    lines = [
        "| attack | offered | node's CPU (quiet) | memory | message | pull | failed | cut off after | log |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(render_row, rows)])


def render_row(row: Row) -> str:
    """One line of the table."""
    offered = ", ".join(f"{_short(count)} {what}" for what, count in sorted(row.done.items()))
    cut_off = "–" if row.cut_off_seconds is None else f"{row.cut_off_seconds:.1f} s"
    if row.is_back:
        cut_off += ", let in again"
    return (
        f"| {row.name} | {offered} | {row.cpu:.0%} ({row.cpu_quiet:.0%}) | {row.rss_growth_bytes / 1e6:+.0f} MB | "
        f"{row.message_ms:.0f} ms ×{row.message_ratio:.1f} | {row.pull_ms:.0f} ms ×{row.pull_ratio:.1f} | "
        f"{row.failed} | {cut_off} | {row.log_bytes / 1e3:.1f} kB |"
    )


def write_table(path: Path, conditions: str, table: str) -> None:
    """Replace what stands between the two marks of the file. Raises ValueError if it has no marks."""
    before, _, rest = path.read_text().partition(TABLE_BEGINS)
    _, mark, after = rest.partition(TABLE_ENDS)
    if not mark:
        raise ValueError(f"{path} has no place for the table")
    path.write_text(f"{before}{TABLE_BEGINS}\n{conditions}\n\n{table}\n{TABLE_ENDS}{after}")


def _short(count: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)


def attack_alone(name: str, address: str, seconds: float) -> int:
    """The attacker's process: says that it is ready, and afterwards what it did."""
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps(trio.run(run_attack, CASES[name], address, seconds)) + "\n")
    sys.stdout.flush()
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 0 when every attack was measured, 1 if a host did not survive one."""
    parser = argparse.ArgumentParser(prog="bench.attacks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="of each attack (default: 6)")
    parser.add_argument("--only", action="append", choices=CASES, help="one attack (repeatable; default: all)")
    parser.add_argument("--table", type=Path, help="Markdown file whose table is replaced, such as docs/attacks.md")
    parser.add_argument("--json", type=Path, help="file that gets all figures")
    parser.add_argument("--attack", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.attack:
        return attack_alone(options.attack, options.address, options.seconds)
    rows, dead = [], Counter[str]()
    for name in options.only or CASES:
        try:
            rows.append(trio.run(measure, name, options.seconds))
            sys.stderr.write(render_row(rows[-1]) + "\n")
        except (RuntimeError, NetError, trio.TooSlowError) as error:
            dead[name] += 1
            sys.stdout.write(f"{name}: {error}\n")
    conditions = (
        f"{options.seconds:.0f} s an attack, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end, "
        f"Python {platform.python_version()}"
    )
    sys.stdout.write(f"{conditions}\n{render(rows)}\n")
    if options.table is not None:
        write_table(options.table, f"{conditions}.", render(rows))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 1 if dead else 0


if __name__ == "__main__":
    raise SystemExit(main())
