"""A local chain with Base's rules in one supervised process: anvil, the contracts, a beacon.

``python -m p2p_flock.chain.devnet --directory DIR --port P --beacon-port B`` starts it and keeps it until SIGTERM,
SIGINT or the end of its lifetime; ``... devnet fund --directory DIR ADDRESS...`` funds accounts. The process leads its
own session where it can, so that its launcher may die; anvil dies with it, even if it is killed. Must never listen on
anything but 127.0.0.1.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p_flock.chain.anvil import (
    BASE_RULES,
    START_S_MAX,
    ask,
    start_anvil,
    stop_process,
    take_port,
    wait_until_ready,
)
from p2p_flock.chain.beacon import BeaconNetwork
from p2p_flock.chain.client import as_object, as_quantity
from p2p_flock.chain.deployment_plan import LOCAL, NETWORKS
from p2p_flock.chain.devnet_beacon import PUBLIC_KEY, DevnetBeacon, devnet_chain_hash
from p2p_flock.chain.devnet_deployment import READY_FILE, Devnet, ensure_deployed, fund, read_devnet, write_document
from p2p_flock.chain.http import HttpEndpoint
from p2p_flock.errors import ChainError, DataDirectoryLockedError, P2PFlockError, UsageError

CHAIN_ID = NETWORKS[LOCAL].chain_id
BASE_FEE_WEI = 5_000_000  # Base's minimum
BLOCK_GAS = 180_000_000  # about Base's: the whole deployment fits one block
CLOCK_S_MAX = 0.5  # for the chain to tell the beacon its time
STATE_INTERVAL_S = 2  # what a SIGKILL of anvil can lose


@dataclass(frozen=True, slots=True)
class DevnetOptions:
    """How to run; ``None`` for a port takes a free one."""

    directory: Path
    port: int | None = None
    beacon_port: int | None = None
    block_time_s: float = 0.2
    beacon_period_s: int = 1
    lifetime_s: float = 7200.0


def supervise(options: DevnetOptions, announce: Callable[[Devnet], None]) -> None:
    """Run a development chain until a signal or the end of its lifetime; nothing is left running afterwards.

    Args:
        announce: called once everything answers and ``devnet.json`` is written.

    Raises:
        UsageError: anvil is missing, a port is taken, or the directory is in use.
        ChainError: anvil failed.
    """
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    ends_at = time.monotonic() + options.lifetime_s
    with ExitStack() as stack:
        options.directory.mkdir(parents=True, exist_ok=True)
        _lock(options.directory, stack)
        ready = options.directory / READY_FILE
        ready.unlink(missing_ok=True)
        port, beacon_port = take_port(options.port, "the chain"), take_port(options.beacon_port, "the beacon")
        anvil = _start_anvil(options, port, stack)
        # The signal also comes when anvil is stopped (a test's chain that stands still); that is no end.
        signal.signal(signal.SIGCHLD, lambda *_: ending.set() if anvil.poll() is not None else None)
        endpoint = HttpEndpoint(f"http://127.0.0.1:{port}", timeout_s=5.0, body_bytes_max=1 << 20)
        stack.callback(endpoint.close)
        wait_until_ready(anvil, endpoint, options.directory / "anvil.log", ending)
        deployment = trio.run(ensure_deployed, options.directory, f"http://127.0.0.1:{port}", options.beacon_period_s)
        network = BeaconNetwork(PUBLIC_KEY, deployment.beacon_genesis_s, deployment.beacon_period_s)
        clock = HttpEndpoint(f"http://127.0.0.1:{port}", timeout_s=CLOCK_S_MAX, body_bytes_max=1 << 20)
        stack.callback(clock.close)
        # Wall clock and chain clock are one, unless somebody turned the chain's forward.
        server = DevnetBeacon(beacon_port, network, lambda: max(time.time(), _chain_time_s(clock)))
        stack.callback(server.server_close)
        server.start()
        stack.callback(server.shutdown)
        devnet = Devnet(
            rpc_url=f"http://127.0.0.1:{port}",
            chain_id=CHAIN_ID,
            factory=deployment.factory,
            token=deployment.token,
            beacon=deployment.beacon,
            genesis=deployment.genesis,
            gm_flock=deployment.gm_flock,
            governor=deployment.governor,
            timelock=deployment.timelock,
            emission=deployment.emission,
            beacon_urls=(f"http://127.0.0.1:{beacon_port}",),
            beacon_chain_hash=devnet_chain_hash(network),
            beacon_public_key=PUBLIC_KEY.hex(),
            beacon_genesis_s=network.genesis_s,
            beacon_period_s=network.period_s,
            pid=os.getpid(),
        )
        stack.callback(ready.unlink, missing_ok=True)
        write_document(ready, devnet)
        announce(devnet)
        ending.wait(max(0.0, ends_at - time.monotonic()))
        if anvil.poll() is not None:
            raise ChainError(f"anvil ended by itself; its log is {options.directory / 'anvil.log'}")


def _lock(directory: Path, stack: ExitStack) -> None:
    """Lock the directory itself: the lock leaves no file and ends with the process, however that ends."""
    descriptor = os.open(directory, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DataDirectoryLockedError(
            f"A development chain runs in {directory} already. Stop it, or choose another directory."
        ) from error


def _start_anvil(options: DevnetOptions, port: int, stack: ExitStack) -> subprocess.Popen[bytes]:
    """anvil as facts demand: Base's rules, interval mining (automine stalls under load), state saved as it goes."""
    arguments = [
        *(*BASE_RULES, "--chain-id", str(CHAIN_ID)),
        *("--block-time", str(options.block_time_s), "--base-fee", str(BASE_FEE_WEI), "--gas-limit", str(BLOCK_GAS)),
        # States kept in memory. With none, a call at "latest" fails when the next block prunes it meanwhile.
        *("--prune-history", "64"),
        *("--accounts", "1", "--balance", "1000000"),
        *("--state", str(options.directory / "anvil-state.json"), "--state-interval", str(STATE_INTERVAL_S)),
    ]
    anvil = start_anvil(port, arguments, options.directory / "anvil.log")
    stack.callback(stop_process, anvil)
    return anvil


def _chain_time_s(endpoint: HttpEndpoint) -> int:
    """The newest block's time; 0 where the chain does not answer: drand goes on when a chain stands still."""
    try:
        answer = as_object(ask(endpoint, "eth_getBlockByNumber", ["latest", False]).get("result"))  # type: ignore[arg-type]
    except ChainError:
        return 0
    return as_quantity(answer.get("timestamp"))


@contextmanager
def run_devnet(options: DevnetOptions) -> Iterator[Devnet]:
    """A development chain in a process of its own for as long as the context lasts (tests; a testnet's launcher).

    Raises:
        ChainError: it did not start; the text is its own.
    """
    process = start_devnet(options)
    try:
        yield read_devnet(options.directory)
    finally:
        stop_process(process)


def start_devnet(options: DevnetOptions) -> subprocess.Popen[bytes]:
    """Start the supervising process and return once everything answers; SIGTERM ends it.

    Raises:
        ChainError: it did not start; the text is its own.
    """
    options.directory.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "p2p_flock.chain.devnet", "--directory", str(options.directory)),
        *("--port", str(options.port or 0), "--beacon-port", str(options.beacon_port or 0)),
        *("--block-time", str(options.block_time_s), "--beacon-period", str(options.beacon_period_s)),
        *("--lifetime-seconds", str(options.lifetime_s)),
    ]
    with (options.directory / "devnet.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector, process.stdout:
        selector.register(process.stdout, selectors.EVENT_READ)
        # Readable means the line that says "ready", or the end of the process.
        if selector.select(2 * START_S_MAX) and process.stdout.readline():
            return process
    stop_process(process)
    reason = (options.directory / "devnet.log").read_text(errors="replace").strip()
    raise ChainError(f"The development chain did not start: {reason or 'it gave no reason'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m p2p_flock.chain.devnet", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="state, log and devnet.json live here")
    parser.add_argument("--port", type=int, default=0, help="of the chain's JSON-RPC; 0 takes a free one")
    parser.add_argument("--beacon-port", type=int, default=0, help="of the beacon; 0 takes a free one")
    parser.add_argument("--block-time", type=float, default=0.2, help="seconds")
    parser.add_argument("--beacon-period", type=int, default=1, help="seconds")
    parser.add_argument("--lifetime-seconds", type=float, default=7200.0, help="ends by itself after this")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Entry point; the exit code."""
    try:
        if arguments[:1] == ["fund"]:
            parser = argparse.ArgumentParser(prog="python -m p2p_flock.chain.devnet fund")
            parser.add_argument("--directory", type=Path, required=True)
            parser.add_argument("addresses", nargs="+", metavar="ADDRESS")
            given = parser.parse_args(arguments[1:])
            trio.run(fund, read_devnet(given.directory), [_address(text) for text in given.addresses])
            return 0
        given = _parser().parse_args(arguments)
        with suppress(PermissionError):  # started from a shell we lead a group already, and Ctrl-C must reach us
            os.setsid()
        options = DevnetOptions(
            given.directory,
            given.port or None,
            given.beacon_port or None,
            given.block_time,
            given.beacon_period,
            given.lifetime_seconds,
        )
        supervise(options, _announce)
    except P2PFlockError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _announce(devnet: Devnet) -> None:
    sys.stdout.write(f"ready {devnet.rpc_url} factory {devnet.factory}\n")
    sys.stdout.flush()


def _address(text: str) -> bytes:
    try:
        address = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        address = b""
    if len(address) != 20:
        raise UsageError(f"{text!r} is not an address; it has the form 0x and 40 hex digits.")
    return address


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
