"""Disk space and speed, open files, memory: is the machine up to it?"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from p2p_flock.cli.checks.findings import Finding, broken, fine, warning
from p2p_flock.cli.checks.scene import Scene, in_thread

MIB, GIB = 1 << 20, 1 << 30
FREE_BYTES_MIN = 256 * MIB  # below it a model and its vectors do not fit beside the journal
FREE_BYTES_WISHED = 2 * GIB
PROBE_BYTES = 16 * MIB
SYNCS = 5
WRITE_MIB_S_WISHED = 20.0  # a model of 1 M parameters has 8 MiB, and a validator writes every contribution
SYNC_MS_WISHED = 100.0  # before each message that must survive a crash
OPEN_FILES_MIN, OPEN_FILES_WISHED = 256, 1_024  # a connection, a blob or a segment takes one each
MEMORY_BYTES_MIN, MEMORY_BYTES_WISHED = 512 * MIB, GIB  # daemon 150 MB, worker with torch 250 MB and the training
CGROUP_LIMIT, CGROUP_USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


async def check_disk(scene: Scene) -> list[Finding]:
    """Space where the home lies, and how long it takes to have something on the disk for sure."""
    return [await in_thread(lambda: _check_disk(scene.directory.home))]


def _check_disk(home: Path) -> Finding:
    folder = next(path for path in (home, *home.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    space = f"{free / GIB:.1f} GiB are free" if free >= GIB else f"{free / MIB:.0f} MiB are free"
    room = f"make room on the disk of {folder}, or move the node's folder"
    if free < FREE_BYTES_MIN:
        return broken(space, room)
    if not os.access(folder, os.W_OK):
        return broken(f"{folder} cannot be written by this user", f"run as its owner, or `chmod u+w {folder}`")
    try:
        write_mib_s, sync_ms = _measure(folder)
    except OSError as error:
        advice = room if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "check the disk and its mount"
        return broken(f"{folder} cannot be written: {error.strerror}", advice)
    text = f"{space}; {write_mib_s:.0f} MiB/s, {sync_ms:.1f} ms until a small write is safe"
    if write_mib_s < WRITE_MIB_S_WISHED or sync_ms > SYNC_MS_WISHED:
        return warning(f"{text}: slow", "use a local disk for the node's folder, no network share")
    if free < FREE_BYTES_WISHED:
        return warning(text, f"{room}; {FREE_BYTES_WISHED // GIB} GiB are enough for most alliances")
    return fine(text)


def _measure(folder: Path) -> tuple[float, float]:
    """MiB/s of one long write with its sync, and the median of some short ones in ms. Leaves nothing behind."""
    piece = os.urandom(MIB)
    with tempfile.TemporaryFile(dir=folder, prefix=".doctor-", buffering=0) as file:
        started = time.perf_counter()
        for _ in range(PROBE_BYTES // MIB):
            file.write(piece)
        os.fsync(file.fileno())
        seconds = time.perf_counter() - started
        syncs = []
        for _ in range(SYNCS):
            before = time.perf_counter()
            file.write(piece[:4096])
            os.fsync(file.fileno())
            syncs.append(time.perf_counter() - before)
    return PROBE_BYTES / MIB / max(seconds, 1e-9), statistics.median(syncs) * 1000


async def check_machine(_scene: Scene) -> list[Finding]:
    """Open files and memory."""
    return [_check_open_files(), _check_memory()]


def _check_open_files() -> Finding:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return fine("any number of open files")
    remedy = "raise it: `ulimit -n 4096` in the shell that starts the node, or LimitNOFILE=4096 in its service"
    if limit < OPEN_FILES_MIN:
        return broken(f"{limit} open files are allowed", remedy)
    if limit < OPEN_FILES_WISHED:
        return warning(f"{limit} open files are allowed", remedy)
    return fine(f"{limit} open files are allowed")


def _check_memory() -> Finding:
    available = available_memory_bytes()
    if available is None:
        return fine("how much memory is free cannot be told on this system")
    text = f"{available / GIB:.1f} GiB of memory are free"
    remedy = "end other programs, or use a machine with more memory: torch alone takes 0.25 GiB"
    if available < MEMORY_BYTES_MIN:
        return broken(text, remedy)
    if available < MEMORY_BYTES_WISHED:
        return warning(text, remedy)
    return fine(text)


def available_memory_bytes() -> int | None:
    """What a new process could use, a container's limit included; ``None`` where the system does not say."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
        limit = CGROUP_LIMIT.read_text().strip()
        if limit != "max":
            found.append(max(0, int(limit) - int(CGROUP_USED.read_text())))
    except (OSError, ValueError, IndexError):
        pass
    return min(found, default=None)
