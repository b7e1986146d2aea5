"""Looks for private values in every byte that the nodes of a run have sent.

``python -m p2p_flock.testnet.leakcheck DIRECTORY`` after a run with ``--test-mode save_encodings,record_sent``. Each
node's recorded bytes (``recorded/sent.bin``: everything handed to the transport before it was encrypted) are searched
for that node's own unmasked encodings, raw updates and data records. A search that finds nothing proves little unless
it can find something: with ``disable_masks`` added to the test mode it must.

Exit code 0: nothing was found; 1: something was; 2: there was nothing to search.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_flock.errors import StoreError, UsageError
from p2p_flock.testnet.metrics import NodeMetrics
from p2p_flock.testnet.readd import read_homes, read_lanes

WINDOW = 4  # consecutive values: 16 bytes or more, which do not occur by chance
WINDOWS_MAX = 256  # per vector, evenly spread; a leak of a vector is a leak of nearly all of its windows
SENT_BYTES_MAX = 1 << 32


@dataclass(frozen=True, slots=True)
class Needle:
    """Bytes that must not be sent, and what they are."""

    what: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Leak:
    """A private value among the sent bytes."""

    node: str
    what: str
    offset: int


def find_leaks(nodes: list[NodeMetrics], data_paths: dict[str, Path]) -> tuple[list[Leak], int]:
    """All leaks (the first per vector or record), and how many needles were searched for.

    Raises:
        StoreError: a node recorded nothing, or a saved vector cannot be read.
    """
    leaks, searched = [], 0
    for node in nodes:
        sent = read_sent(node.home)
        found: set[str] = set()
        for needle in needles_of(node, data_paths[node.name]):
            searched += 1
            if needle.what in found:
                continue
            offset = sent.find(needle.data)
            if offset >= 0:
                found.add(needle.what)
                leaks.append(Leak(node.name, needle.what, offset))
    return leaks, searched


def read_sent(home: Path) -> bytes:
    """What a node sent.

    Raises:
        StoreError: it recorded nothing, so a search would be worthless.
    """
    path = home / "recorded" / "sent.bin"
    try:
        if not 0 < path.stat().st_size <= SENT_BYTES_MAX:
            raise StoreError(f"{path} has {path.stat().st_size} bytes; there is nothing sensible to search")
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error}; was the run made with --test-mode record_sent?") from error


def needles_of(node: NodeMetrics, data_path: Path) -> Iterator[Needle]:
    """Everything private of one node: encodings and updates of each round it trained in, and its records."""
    for path in sorted((node.home / "test" / "encodings").glob("*.npy")):
        for data in windows(read_lanes(path)):
            yield Needle(f"encoding {path.stem}", data)
    for path in sorted((node.home / "test" / "updates").glob("*.npy")):
        yield from _float_needles(f"update {path.stem}", np.load(path, allow_pickle=False))
    for number, line in enumerate(data_path.read_text(encoding="utf-8").splitlines()[1:], start=2):
        what = f"record in line {number} of {data_path.name}"
        yield Needle(what, line.encode())
        yield from _float_needles(what, np.array(list(_numbers(line)), dtype=np.float64))


def _float_needles(what: str, values: NDArray[Any]) -> Iterator[Needle]:
    for kind in (np.float64, np.float32):
        for data in windows(values.astype(kind)):
            yield Needle(what, data)


def windows(values: NDArray[Any]) -> Iterator[bytes]:
    """Little- and big-endian bytes of runs of :data:`WINDOW` values that are not all equal."""
    count = values.size - WINDOW + 1
    step = max(1, count // WINDOWS_MAX)
    for start in range(0, max(0, count), step):
        run = values[start : start + WINDOW]
        if len(set(run.tolist())) > 2:  # runs of zeros and flags occur everywhere
            yield run.astype(run.dtype.newbyteorder("<")).tobytes()
            yield run.astype(run.dtype.newbyteorder(">")).tobytes()


def _numbers(line: str) -> Iterator[float]:
    for cell in line.split(","):
        try:
            yield float(cell)
        except ValueError:
            continue


def main() -> int:
    """Print what was found; the exit code."""
    if len(sys.argv) != 2:
        sys.stderr.write(f"usage: {Path(sys.argv[0]).name} DIRECTORY\n")
        return 2
    directory = Path(sys.argv[1])
    try:
        nodes = read_homes(directory)
        leaks, searched = find_leaks(nodes, {node.name: directory / "data" / f"{node.name}.csv" for node in nodes})
    except (StoreError, UsageError, OSError) as error:
        sys.stderr.write(f"leakcheck: {error}\n")
        return 2
    for leak in leaks:
        sys.stdout.write(f"{leak.node} sent its {leak.what}, at byte {leak.offset}\n")
    sys.stdout.write(f"{len(leaks)} leaks; searched for {searched} pieces of private values\n")
    if not any(node.phases for node in nodes) or searched == 0:
        return 2
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
