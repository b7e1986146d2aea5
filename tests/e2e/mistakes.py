"""One development chain and its members' homes for tests of mistakes: commands and daemons as processes of their own.

What a mistake shows is written down in a form that is the same on every machine, for ``docs/wrong-moves.md``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from p2p_flock.chain.devnet_deployment import Devnet
from p2p_flock.daemon.control_client import control_call
from p2p_flock.errors import ControlError
from p2p_flock.learning.tasks.heart_data import partition_of_node, write_partition
from p2p_flock.testnet.ports import choose_ports

PASSWORD = "a password of a test"
COMMAND_SECONDS_MAX = 60.0
START_SECONDS_MAX = 60.0
TRACEBACK = "Traceback (most recent call last)"
MEMBERS = 8


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed (both streams) and returned; no command of ours may show a traceback."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass(slots=True)
class Home:
    """A member's folder, with what its commands need."""

    folder: Path
    data: Path
    port: int
    address: str
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def change(self, section: str, key: str, value: str | None) -> None:
        """Set a key of config.toml, given as TOML, wherever it stands; ``None`` takes it away."""
        path = self.folder / "config.toml"
        lines = path.read_text().splitlines()
        head = lines.index(f"[{section}]")
        end = next((i for i in range(head + 1, len(lines)) if lines[i].startswith("[")), len(lines))
        body = [line for line in lines[head + 1 : end] if re.match(rf"{key}\s*=", line) is None]
        added = [] if value is None else [f"{key} = {value}"]
        path.write_text("\n".join([*lines[: head + 1], *added, *body, *lines[end:]]) + "\n")

    def read_log(self) -> str:
        """All that its daemon logged."""
        path = self.folder / "logs" / "node.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def status(self) -> dict[str, Any] | None:
        """What its daemon says; ``None`` while none answers."""
        try:
            return control_call(self.folder, "status", {}, timeout_s=10.0)
        except ControlError:
            return None


@dataclass(slots=True)
class Bench:
    """A running chain and a folder for homes."""

    folder: Path
    devnet: Devnet
    homes: list[Home] = field(default_factory=list)

    def environment(self, **extra: str) -> dict[str, str]:
        """Of every command: none of the caller's settings, the password only where it is given."""
        kept = {name: value for name, value in os.environ.items() if "P2P_FLOCK" not in name}
        return {**kept, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **extra}

    def run(self, *words: object, preexec: Callable[[], None] | None = None, **extra: str) -> Ran:
        """A command to its end. It reads nothing: nobody sits there to answer."""
        given = tuple(str(word) for word in words)
        done = subprocess.run(
            [sys.executable, "-m", "p2p_flock.cli.main", *given],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            env=self.environment(**extra),
            timeout=COMMAND_SECONDS_MAX,
            preexec_fn=preexec,
            text=True,
        )
        ran = Ran(given, done.returncode, done.stdout, done.stderr)
        assert TRACEBACK not in ran.text, ran.text
        return ran

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """A command that is left running; the caller waits for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "p2p_flock.cli.main", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=self.environment(),
            text=True,
        )

    def make_home(self, name: str, **settings: str) -> Home:
        """``init`` by the command, with everything right; ``settings`` (SECTION__KEY) in TOML change that."""
        devnet, index = self.devnet, len(self.homes)
        data = self.folder / "data" / f"{name}.csv"
        write_partition(*partition_of_node(index % MEMBERS, MEMBERS), 1, data)
        data.chmod(0o600)
        (port,) = choose_ports(1)
        ran = self.run(
            *("init", "--home", self.folder / name, "--json", "--light-keystore"),
            *("--rpc-url", devnet.rpc_url, "--chain-id", devnet.chain_id, "--factory", devnet.factory),
            *("--beacon-url", devnet.beacon_urls[0], "--beacon-scheme", "devnet"),
            *("--set", f'chain.beacon_public_key="0x{devnet.beacon_public_key}"'),
            *("--set", f"chain.beacon_genesis={devnet.beacon_genesis_s}"),
            *("--set", f"chain.beacon_period_seconds={devnet.beacon_period_s}"),
            *("--set", "chain.poll_interval_ms=100", "--set", "dashboard.port=0"),
            *("--listen-host", "127.0.0.1", "--listen-port", port),
            *("--task", "heart", "--data-path", data, "--data-seed", 1),
            *(word for key, value in settings.items() for word in ("--set", f"{key.replace('__', '.')}={value}")),
            P2P_FLOCK_PASSWORD=PASSWORD,
        )
        assert ran.code == 0, ran.text
        home = Home(self.folder / name, data, port, json.loads(ran.out)["address"])
        self.homes.append(home)
        return home

    def start(self, home: Home, **extra: str) -> subprocess.Popen[bytes]:
        """Its daemon, once it answers."""
        with (home.folder / "daemon.out").open("ab") as output:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "p2p_flock.cli.main", "node", "--home", str(home.folder)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment(P2P_FLOCK_PASSWORD=PASSWORD, **extra),
                cwd=self.folder,
                start_new_session=True,
            )
        home.daemons.append(daemon)
        wait_until(lambda: home.status() is not None or daemon.poll() is not None, "the daemon answers")
        assert daemon.poll() is None, (home.folder / "daemon.out").read_text()
        return daemon

    def stop(self, home: Home) -> None:
        """End its daemons, and see that none of them told a traceback."""
        for daemon in home.daemons:
            daemon.terminate()
            daemon.wait(START_SECONDS_MAX)
        output = home.folder / "daemon.out"
        told = home.read_log() + (output.read_text(errors="replace") if output.exists() else "")
        home.daemons.clear()
        assert "Traceback" not in told, told[-4000:]

    @contextmanager
    def running(self, home: Home, **extra: str) -> Iterator[subprocess.Popen[bytes]]:
        """Its daemon while the block runs."""
        daemon = self.start(home, **extra)
        try:
            yield daemon
        finally:
            self.stop(home)

    def normalise(self, text: str) -> str:
        """Without what differs from run to run and from machine to machine."""
        names = {
            str(self.folder): "~",
            self.devnet.factory: "0xFACTORY",
            self.devnet.token: "0xTOKEN",
            **{home.address: "0xACCOUNT" for home in self.homes},
            **{str(home.port): "PORT" for home in self.homes},
        }
        for found, name in names.items():
            text = text.replace(found, name)
        for pattern, name in _CHANGING:
            text = re.sub(pattern, name, text)
        return text


_CHANGING: Sequence[tuple[str, str]] = (
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"tcp/\d+", "tcp/PORT"),
    (r"process \d+", "process N"),
    (r"12D3KooW[1-9A-HJ-NP-Za-km-z]+", "PEER-ID"),
    (r"0x[0-9a-f]{40}\b", "0xADDRESS"),
    (r"config\.toml:\d+", "config.toml:LINE"),
    (r"\b\d+(\.\d+)? (s|ms)\b", r"N \2"),
)


def wait_until(condition: Callable[[], bool], what: str, seconds_max: float = START_SECONDS_MAX) -> None:
    """Poll other processes, as often as the machine allows."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        os.sched_yield()


@contextmanager
def changed(home: Home, section: str, key: str, value: str) -> Iterator[None]:
    """A setting for a while."""
    path = home.folder / "config.toml"
    kept = path.read_bytes()
    home.change(section, key, value)
    try:
        yield
    finally:
        path.write_bytes(kept)


def two_lines(ran: Ran, code: int, *names: str) -> None:
    """The shape of every failure: the exit code, ``error:`` and ``do:``, and all of ``names`` in them."""
    assert ran.code == code, ran.text
    what, remedy = ran.err.strip().splitlines()[-2:]
    assert what.startswith("error: ") and remedy.startswith("   do: "), ran.err
    for name in names:
        assert name in what + remedy, ran.err
    assert "--help` and the log" not in remedy  # no remedy at all


class _Page(BaseHTTPRequestHandler):
    """What a captive portal, or a URL without its path, answers."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<html><body>Welcome!</body></html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving_a_page() -> Iterator[str]:
    """The address of a web server that is no JSON-RPC endpoint."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def find_workers(daemon: int) -> list[int]:
    """Process IDs of the daemon's training workers."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            is_worker = entry.name.isdigit() and b"p2p_flock.learning.worker" in (entry / "cmdline").read_bytes()
            if is_worker and (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(daemon):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def kill(process: int) -> None:
    """SIGKILL."""
    os.kill(process, signal.SIGKILL)


def printed(ran: Ran) -> Mapping[str, Any]:
    """What a command printed with ``--json``."""
    found = json.loads(ran.out)
    assert isinstance(found, dict)
    return found
