"""What goes into a support bundle, and what stays out; gathers and cleans it, writes nothing.

Only what is named here goes in: no folder is copied. Whatever cannot be read is left out, and the bundle says why.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from p2p_flock import __version__
from p2p_flock.cli.options import STATUS_TIMEOUT_S, call
from p2p_flock.cli.supporting.scrub import HIDDEN, Scrubber, shorten_url
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import ConfigError, P2PFlockError

LIBRARIES = ("trio", "libp2p", "torch", "numpy", "coincurve", "cryptography", "PyNaCl", "msgpack", "httpx", "rich",
             "starlette", "hypercorn", "prometheus_client", "safetensors", "click")  # fmt: skip
COMMANDS = ("status", "alliance.watch", "node.mesh")
DOCTOR_SECONDS_MAX = 90
DOCTOR_BYTES_MAX = 1 << 20
LINES_BYTES_MAX = 1 << 20  # of rounds.jsonl
LOG_FILES = (*(f"node.log.{number}" for number in range(4, 0, -1)), "node.log")
URL_SETTINGS = ("rpc_urls", "beacon_urls")
HIDDEN_SETTINGS = ("data_seed",)  # decides the private test part
NEVER = (
    "keystore.json, identity.key, secrets.key, round_secrets/: keys",
    "journal.sqlite: promises, among them sealed secrets",
    "dashboard.token, dashboard.html, control.sock: whoever has them acts as you",
    "passwords, and RPC URLs beyond their host",
    "your data, models/, blobs/, scratch/",
)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the bundle."""

    name: str
    what: str
    data: bytes


@dataclass(slots=True)
class Gathered:
    """The bundle before it is written: its files, and what was left out and why."""

    parts: list[Part] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def gather(
    home: Path, scrubber: Scrubber, clean_text: Callable[[str], str], log_bytes_max: int, with_doctor: bool,
    with_worker_log: bool, environment: Mapping[str, str],
) -> Gathered:  # fmt: skip
    """Everything, cleaned.

    Args:
        clean_text: the log's filter, for fields that are named like secrets.
        log_bytes_max: of the newest log lines.
        with_worker_log: a task may have written there what stands in the data.
    """
    found = Gathered()

    def add(name: str, what: str, read: Callable[[], bytes]) -> None:
        try:
            data = read()
        except (OSError, P2PFlockError, subprocess.SubprocessError) as error:
            reason = str(error).split("\n", 1)[0]
            found.left_out.append(clean_text(f"{name}: {reason}"))
            return
        cleaned = clean_text(scrubber.clean(data).decode("utf-8", "backslashreplace"))
        found.parts.append(Part(name, what, scrubber.clean(cleaned.encode("utf-8", "backslashreplace"))))

    directory = DataDirectory(home)
    add("versions.json", "versions of p2p-flock, Python, the system and the libraries", _versions)
    add("machine.json", "processors, memory, disk, limits", lambda: _machine(home))
    add("config.json", "settings; URLs without keys", lambda: _config(directory, environment))
    for command in COMMANDS:
        add(f"{command}.json", f"what the running node says to {command}", lambda name=command: _ask(home, name))  # type: ignore[misc]
    if with_doctor:
        add("doctor.json", "what `p2p-flock doctor --no-password` finds", lambda: _doctor(home))
    else:
        found.left_out.append("doctor.json: you asked to leave it out")
    add("node.log", f"the newest {log_bytes_max:,} bytes of the log", lambda: _logs(directory.logs, log_bytes_max))
    add("rounds.jsonl", "measurements of the last rounds", lambda: read_tail(home / "rounds.jsonl", LINES_BYTES_MAX))
    if with_worker_log:
        path = directory.logs / "worker.log"
        add("worker.log", "the newest lines of the training process", lambda: read_tail(path, LINES_BYTES_MAX))
    else:
        found.left_out.append("worker.log: a task may have written there what stands in your data (--with-worker-log)")
    found.left_out += NEVER
    return found


def read_tail(path: Path, bytes_max: int) -> bytes:
    """The newest whole lines of a file. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - bytes_max))
        data = file.read(bytes_max)
    return data if size <= bytes_max else data.partition(b"\n")[2]


def _logs(folder: Path, bytes_max: int) -> bytes:
    found: list[bytes] = []
    left = bytes_max
    for name in reversed(LOG_FILES):
        path = folder / name
        if left <= 0 or not path.exists():
            continue
        found.insert(0, read_tail(path, left))
        left -= len(found[0])
    if not found:
        raise FileNotFoundError(f"there is no log in {folder}")
    return b"".join(found)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False).encode() + b"\n"


def _versions() -> bytes:
    libraries: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = None
    return _json(
        {"p2p_flock": __version__, "python": sys.version, "platform": platform.platform(), "libraries": libraries}
    )


def _machine(home: Path) -> bytes:
    import resource  # noqa: PLC0415  not on every system

    disk = shutil.disk_usage(home)
    limits = {
        name: resource.getrlimit(getattr(resource, name))
        for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_FSIZE")
    }
    memory = Path("/proc/meminfo").read_text().splitlines()[:5] if Path("/proc/meminfo").exists() else []
    sizes = {entry.name: _size(entry) for entry in sorted(home.iterdir())}
    return _json(
        {"cores": os.cpu_count(), "load": os.getloadavg(), "memory": memory, "disk_bytes": disk._asdict(),
         "limits": limits, "bytes_in_home": sizes}
    )  # fmt: skip


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)


def _config(directory: DataDirectory, environment: Mapping[str, str]) -> bytes:
    """Values only: a comment may hold anything. A file that cannot be read is left out, with the reason."""
    from p2p_flock.daemon.config import SECTIONS  # noqa: PLC0415  start-up cost of other commands
    from p2p_flock.daemon.config_file import load_config  # noqa: PLC0415

    try:
        config = load_config(directory.config, environment)
    except ConfigError as error:
        # The reason may quote a value.
        raise ConfigError("the settings cannot be read: `p2p-flock config check` says why") from error
    sections: dict[str, dict[str, object]] = {}
    for section, kind in SECTIONS.items():
        settings, names = getattr(config, section), [field.name for field in dataclasses.fields(kind)]
        sections[section] = {name: _setting(name, getattr(settings, name)) for name in names}
    variables = sorted(name for name in environment if name.startswith("P2P_FLOCK_"))
    return _json({**sections, "set by the environment": variables})


def _setting(name: str, value: object) -> object:
    if name in URL_SETTINGS and isinstance(value, tuple):
        return [shorten_url(str(url).encode()).decode() for url in value]
    return HIDDEN.decode() if name in HIDDEN_SETTINGS else value


def _ask(home: Path, command: str) -> bytes:
    return _json(call(home, command, {}, STATUS_TIMEOUT_S))


def _doctor(home: Path) -> bytes:
    """In a process of its own: it loads libp2p and torch."""
    command = [sys.executable, "-m", "p2p_flock.cli.main", "doctor", "--no-password", "--json", "--home", str(home)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DOCTOR_SECONDS_MAX, check=False
    )
    return done.stdout[:DOCTOR_BYTES_MAX] or done.stderr[:DOCTOR_BYTES_MAX]
