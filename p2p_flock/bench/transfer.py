"""Bulk transfer between two nodes on one machine, with raw TCP in the same run beside it.

Run as ``python -m p2p_flock.bench.transfer``. A child process serves, this process pulls, over loopback: many contents
of 1 MiB with `Net.fetch_each`, one large content with `Net.fetch_to_path`, both through Noise, the multiplexer and
verified by SHA-256, from files as the daemon serves them. Before, between and after stands a plain socket of trio that
sends as many bytes. On a busy machine MB/s say little; CPU-seconds per GB of both ends move far less.
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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import trio

from p2p_flock.net.adapter import Net, NetConfig, open_net

MIB = 1 << 20
BLOB_BYTES = MIB
TIMEOUT_S = 600.0
WAYS = ("raw TCP", "fetch_each", "fetch_to_path")


@dataclass(frozen=True)
class Measurement:
    """One transfer. MB and GB are decimal; CPU-seconds are user and system time of a whole process."""

    way: str
    run: int
    megabytes_per_second: float
    receiver_cpu_seconds_per_gigabyte: float
    sender_cpu_seconds_per_gigabyte: float


# The sending process.


def write_contents(directory: Path, mebibytes: int) -> tuple[list[bytes], bytes]:
    """Contents named by their digest: ``mebibytes`` of 1 MiB and one of them all; the digests."""
    digests = []
    whole = hashlib.sha256()
    with (directory / "whole").open("wb") as large:
        for _ in range(mebibytes):
            content = os.urandom(BLOB_BYTES)
            digests.append(hashlib.sha256(content).digest())
            (directory / digests[-1].hex()).write_bytes(content)
            large.write(content)
            whole.update(content)
    (directory / "whole").rename(directory / whole.hexdigest())
    return digests, whole.digest()


async def serve(directory: Path, mebibytes: int) -> None:
    """Serve until standard input ends; each line read from it is answered with our CPU time so far."""

    def find(digest: bytes) -> Path | None:
        path = directory / digest.hex()
        return path if path.exists() else None

    digests, whole = write_contents(directory, mebibytes)
    piece = os.urandom(MIB)

    async def send_raw(stream: trio.SocketStream) -> None:
        async with stream:
            for _ in range(mebibytes):
                await stream.send_all(piece)

    raw = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with open_net(make_config(find)) as net, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, send_raw, raw)
        nursery.start_soon(prefer_all, net)
        say(net.addresses[0], raw[0].socket.getsockname()[1], whole.hex(), *(digest.hex() for digest in digests))
        while await read_line():
            say(time.process_time())
        nursery.cancel_scope.cancel()


async def prefer_all(net: Net) -> None:
    """Whoever comes is a member: strangers are served slowly once they have had a quarter of a GiB."""
    async for event in net.peer_events:
        net.add_peer(event.peer_id, [])


async def read_line() -> str:
    """The next line of standard input."""
    return await trio.to_thread.run_sync(
        sys.stdin.readline,
        abandon_on_cancel=True,  # type: ignore[call-arg]  # trio-typing (libp2p's) is older than trio
    )


def say(*words: object) -> None:
    """One line to the parent process."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def make_config(find: Callable[[bytes], Path | None], bootstrap: tuple[str, ...] = ()) -> NetConfig:
    """A node on loopback with a fresh key."""
    return NetConfig(
        private_key=os.urandom(32), listen_host="127.0.0.1", listen_port=0, bootstrap=bootstrap, blob_source=find
    )


# The receiving process.


class Sender:
    """The other process, and what it has to give."""

    def __init__(self, directory: Path, mebibytes: int) -> None:
        command = [sys.executable, "-m", "p2p_flock.bench.transfer", "--serve", str(directory)]
        self.process = subprocess.Popen(
            [*command, "--mebibytes", str(mebibytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        words = self._read()
        self.address, self.raw_port = words[0], int(words[1])
        self.whole, *self.digests = (bytes.fromhex(word) for word in words[2:])
        self.peer_id = self.address.rpartition("/")[2]

    def cpu_seconds(self) -> float:
        """What the process has used so far."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._read()[0])

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _read(self) -> list[str]:
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        if not words:
            raise RuntimeError("the sending process ended")
        return words


async def pull_raw(sender: Sender) -> int:
    """The yardstick: one socket, 1 MiB at a time; the bytes received."""
    received = 0
    async with await trio.open_tcp_stream("127.0.0.1", sender.raw_port) as stream:
        while data := await stream.receive_some(MIB):
            received += len(data)
    return received


async def pull_each(net: Net, sender: Sender) -> int:
    """Many contents of 1 MiB; the bytes received."""
    received = 0

    async def take(_digest: bytes, content: bytes) -> None:
        nonlocal received
        received += len(content)

    await net.fetch_each(sender.digests, [sender.peer_id], BLOB_BYTES, TIMEOUT_S, take)
    return received


async def pull_whole(net: Net, sender: Sender, directory: Path) -> int:
    """One large content, to a file; the bytes received."""
    path = directory / "received"
    size = len(sender.digests) * BLOB_BYTES
    is_here = await net.fetch_to_path(sender.whole, path, [sender.peer_id], size, TIMEOUT_S)
    size = path.stat().st_size if is_here else 0
    path.unlink(missing_ok=True)
    return size


async def measure(way: str, run: int, sender: Sender, pull: Callable[[], Awaitable[int]], size: int) -> Measurement:
    """One transfer. Raises RuntimeError if less than ``size`` bytes came."""
    theirs, ours, began = sender.cpu_seconds(), time.process_time(), time.perf_counter()
    received = await pull()
    seconds = time.perf_counter() - began
    ours, theirs = time.process_time() - ours, sender.cpu_seconds() - theirs
    if received != size:
        raise RuntimeError(f"{way}: {received} bytes of {size} came")
    gigabytes = size / 1e9
    return Measurement(way, run, size / 1e6 / seconds, ours / gigabytes, theirs / gigabytes)


async def run_all(mebibytes: int, runs: int, directory: Path) -> list[Measurement]:
    """All transfers: in each run raw TCP first, and once more at the end."""
    sender = await trio.to_thread.run_sync(Sender, directory, mebibytes)
    size = mebibytes * BLOB_BYTES
    done = []
    try:
        async with open_net(make_config(lambda _digest: None, (sender.address,))) as net:
            with trio.fail_after(30.0):
                while sender.peer_id not in net.connected():
                    await net.peer_events.receive()
            for run in range(1, runs + 1):
                ways: list[Callable[[], Awaitable[int]]] = [
                    lambda: pull_raw(sender),
                    lambda: pull_each(net, sender),
                    lambda: pull_whole(net, sender, directory),
                ]
                for way, pull in zip(WAYS, ways, strict=True):
                    done.append(await measure(way, run, sender, pull, size))
            done.append(await measure(WAYS[0], runs + 1, sender, lambda: pull_raw(sender), size))
    finally:
        await trio.to_thread.run_sync(sender.close)
    return done


def summarise(done: Sequence[Measurement]) -> str:
    """A table: the median of each way, its range, and its ratio to the median of raw TCP."""
    raw = statistics.median(one.megabytes_per_second for one in done if one.way == WAYS[0])
    lines = ["way            MB/s (median, range)      of raw TCP   CPU-s/GB receiver  sender"]
    for way in WAYS:
        ones = [one for one in done if one.way == way]
        rates = [one.megabytes_per_second for one in ones]
        rate = statistics.median(rates)
        receiver = statistics.median(one.receiver_cpu_seconds_per_gigabyte for one in ones)
        sender = statistics.median(one.sender_cpu_seconds_per_gigabyte for one in ones)
        spread = f"{min(rates):.0f}–{max(rates):.0f}"
        lines.append(f"{way:<14} {rate:6.0f}  {spread:<18} {rate / raw:10.3f} {receiver:17.2f} {sender:8.2f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 0 when all was measured."""
    parser = argparse.ArgumentParser(prog="bench.transfer", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mebibytes", type=int, default=512, help="size of each transfer (default: 512)")
    parser.add_argument("--runs", type=int, default=3, help="how often each way is measured (default: 3)")
    parser.add_argument("--json", type=Path, help="file that gets all measurements")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve is not None:
        trio.run(serve, options.serve, options.mebibytes)
        return 0
    with tempfile.TemporaryDirectory(prefix="p2p-flock-bench-") as directory:
        done = trio.run(run_all, options.mebibytes, options.runs, Path(directory))
    sys.stdout.write(
        f"{options.mebibytes} MiB a transfer, {os.cpu_count()} cores, Python {platform.python_version()}\n"
    )
    sys.stdout.write(summarise(done) + "\n")
    if options.json is not None:
        report = {
            "mebibytes": options.mebibytes,
            "cores": os.cpu_count(),
            "measurements": [asdict(one) for one in done],
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
