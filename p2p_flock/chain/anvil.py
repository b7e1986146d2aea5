"""anvil, the local chain, as a supervised child process: found, started with Base's rules, waited for, stopped.

Called by ``devnet.py`` (a chain that stays) and ``deploy_cost.py`` (one for a rehearsal). anvil dies with its parent,
even if that is killed. Must never listen on anything but 127.0.0.1.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from p2p_flock.chain.http import HttpEndpoint
from p2p_flock.errors import ChainError, PortTakenError, UsageError

START_S_MAX = 30.0  # anvil answers after 0.05 s on an idle machine, after 1 s under a load of eight
STOP_S_MAX = 15.0  # anvil writes its state when it ends
# The rules that Base follows since its Azul upgrade: Osaka's, with EIP-7825's limit of gas in one transaction.
BASE_RULES = ("--hardfork", "osaka", "--enable-tx-gas-limit")
ANVIL_VARIABLE = "P2P_FLOCK_ANVIL"
ANVIL_IN_CHECKOUT = "contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
PR_SET_PDEATHSIG = 1  # linux/prctl.h
# anvil's first account, of its test mnemonic.
FAUCET_KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")


def find_anvil() -> Path:
    """The anvil binary: named by the environment, else of this checkout, else on the PATH.

    Raises:
        UsageError: there is none.
    """
    named = os.environ.get(ANVIL_VARIABLE)
    on_path = shutil.which("anvil")
    candidates = [
        Path(named) if named else None,
        Path(__file__).resolve().parents[2] / ANVIL_IN_CHECKOUT,
        Path(on_path) if on_path else None,
    ]
    for candidate in candidates:
        if candidate is not None and os.access(candidate, os.X_OK):
            return candidate
    raise UsageError(
        "anvil, the local chain, is not installed. Run `npm ci --ignore-scripts` in contracts/, "
        f"or set {ANVIL_VARIABLE} to the path of an anvil binary."
    )


def take_port(wanted: int | None, purpose: str) -> int:
    """The port itself if it is free on 127.0.0.1, or any free one for ``None``.

    Raises:
        PortTakenError: somebody listens there.
    """
    with closing(socket.socket()) as listener:
        # As servers set it: a port whose last connections linger in TIME_WAIT is free, one that is listened on is not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise PortTakenError(
                f"Port {wanted} for {purpose} is taken by another process. Stop that, or choose another port."
            ) from error
        return int(listener.getsockname()[1])


def start_anvil(port: int, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start it on 127.0.0.1; :func:`wait_until_ready` says when it answers.

    Args:
        arguments: all but host and port.
        log: appended to.

    Raises:
        UsageError: anvil is missing.
    """
    command = [str(find_anvil()), "--host", "127.0.0.1", "--port", str(port), "--silent", *arguments]
    parent = os.getpid()
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        if hasattr(libc, "prctl"):
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, preexec_fn=die_with_parent
        )


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """Terminate and wait; kill what does not end by itself."""
    process.terminate()
    try:
        process.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S_MAX)


def wait_until_ready(
    anvil: subprocess.Popen[bytes], endpoint: HttpEndpoint, log: Path, ending: threading.Event
) -> None:
    """Return when anvil answers.

    Args:
        ending: set where the caller is told to stop meanwhile.

    Raises:
        ChainError: it ended, it did not answer in time, or ``ending`` was set.
    """
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            anvil.wait(0.02)  # the pause between two attempts, cut short if anvil gives up
            tail = log.read_bytes()[-500:].decode(errors="replace")
            raise ChainError(f"anvil ended at once: {tail.strip() or 'no message'}")
        if ending.is_set():
            raise ChainError("The development chain was told to stop before it was ready.")
        with suppress(ChainError):
            ask(endpoint, "eth_chainId", [])
            return
    raise ChainError(f"anvil did not answer within {START_S_MAX:.0f} s; its log is {log}")


def ask(endpoint: HttpEndpoint, method: str, params: list[object]) -> dict[str, object]:
    """One JSON-RPC exchange without trio: the whole answer.

    Raises:
        ChainError: no answer.
    """
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    _, answer = endpoint.request("POST", "", body, {"Content-Type": "application/json"})
    return dict(json.loads(answer))


@contextmanager
def open_anvil(*arguments: str) -> Iterator[str]:
    """A chain for as long as the context lasts, in a temporary directory; its URL. Blocks are mined on demand.

    Only for one sender at a time: mining on demand stalls under bursts (interval mining does not).

    Raises:
        UsageError: anvil is missing.
        ChainError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="anvil") as directory:
        log, port = Path(directory) / "anvil.log", take_port(None, "a chain")
        anvil = start_anvil(port, arguments, log)
        url = f"http://127.0.0.1:{port}"
        try:
            with closing(HttpEndpoint(url, timeout_s=5.0, body_bytes_max=1 << 20)) as endpoint:
                wait_until_ready(anvil, endpoint, log, threading.Event())
            yield url
        finally:
            stop_process(anvil)
