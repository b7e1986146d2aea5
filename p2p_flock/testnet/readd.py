"""Re-adds the encodings saved on every node's disk and compares with the sums that the validators opened, exactly.

``python -m p2p_flock.testnet.readd DIRECTORY`` after a run of ``scripts/testnet --test-mode save_encodings --directory
DIRECTORY``. Shares no code with secure aggregation: numpy's addition over the survivors that the chain holds, per round
and cohort. Exit code 0 only if at least one sum was compared and all were equal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_flock.errors import StoreError, UsageError
from p2p_flock.testnet.metrics import NodeMetrics

Lanes = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One validator's opened sum against the re-added one; ``difference`` is empty if they are equal."""

    round: int
    cohort: int
    validator: str
    lane_count: int
    difference: str


def read_homes(directory: Path) -> list[NodeMetrics]:
    """The nodes of a run by its ``network.json``, metrics read.

    Raises:
        UsageError: no such file.
    """
    try:
        document = json.loads((directory / "network.json").read_text())
    except OSError as error:
        raise UsageError(f"{directory} holds no network.json; name the --directory of a testnet's run") from error
    nodes = [NodeMetrics(entry["name"], Path(entry["home"])) for entry in document["nodes"]]
    for node in nodes:
        node.refresh()
    return nodes


def read_lanes(path: Path) -> Lanes:
    """A saved vector of ring lanes.

    Raises:
        StoreError: missing, or not unsigned integers in one dimension.
    """
    try:
        lanes = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    if lanes.ndim != 1 or lanes.dtype.kind != "u":
        raise StoreError(f"{path} holds {lanes.dtype} of {lanes.ndim} dimensions, no ring lanes")
    return lanes  # type: ignore[no-any-return]  # numpy types np.load as Any


def add_encodings(nodes: Sequence[NodeMetrics], round_number: int, survivors: Sequence[int]) -> Lanes:
    """The plain sum modulo the ring of what the survivors encoded; each encoding lies on its own node's disk only.

    Raises:
        StoreError: an encoding is missing, or there are two.
    """
    total: Lanes | None = None
    for seat in survivors:
        name = f"{round_number}-{seat}.npy"
        paths = [path for node in nodes if (path := node.home / "test" / "encodings" / name).exists()]
        if len(paths) != 1:
            raise StoreError(f"encodings/{name} lies on {len(paths)} nodes instead of one")
        lanes = read_lanes(paths[0])
        total = lanes.copy() if total is None else np.add(total, lanes, dtype=lanes.dtype)
    if total is None:
        raise StoreError(f"round {round_number} has no survivors")
    return total


def compare_all(nodes: Sequence[NodeMetrics]) -> list[Comparison]:
    """Every opened sum on every validator's disk against the re-added encodings.

    Raises:
        StoreError: a file that must be there is not.
    """
    found = []
    for node in nodes:
        for path in sorted((node.home / "test" / "opened").glob("*.npy")):
            round_number, cohort = (int(part) for part in path.stem.split("-"))
            sealed = {other.closed[round_number].survivors for other in nodes if round_number in other.closed}
            if len(sealed) != 1:
                raise StoreError(f"round {round_number}: the nodes name {len(sealed)} different sets of survivors")
            expected = add_encodings(nodes, round_number, sealed.pop()[cohort])
            opened = read_lanes(path)
            found.append(
                Comparison(round_number, cohort, node.name, opened.size, describe_difference(opened, expected))
            )
    return found


def describe_difference(opened: Lanes, expected: Lanes) -> str:
    """Empty if equal in type, length and every lane."""
    if opened.dtype != expected.dtype or opened.shape != expected.shape:
        return f"{opened.dtype}[{opened.size}] instead of {expected.dtype}[{expected.size}]"
    wrong = np.flatnonzero(opened != expected)
    if wrong.size == 0:
        return ""
    first = wrong[0]
    return f"{wrong.size} of {opened.size} lanes differ; lane {first} is {opened[first]} instead of {expected[first]}"


def main() -> int:
    """Print one line per comparison; the exit code."""
    if len(sys.argv) != 2:
        sys.stderr.write(f"usage: {Path(sys.argv[0]).name} DIRECTORY\n")
        return 2
    try:
        comparisons = compare_all(read_homes(Path(sys.argv[1])))
    except (StoreError, UsageError) as error:
        sys.stderr.write(f"readd: {error}\n")
        return 2
    for c in comparisons:
        result = c.difference or f"equal in all {c.lane_count} lanes"
        sys.stdout.write(f"round {c.round} cohort {c.cohort} opened by {c.validator}: {result}\n")
    equal = sum(not comparison.difference for comparison in comparisons)
    sys.stdout.write(f"{equal} of {len(comparisons)} opened sums equal the re-added encodings\n")
    return 0 if comparisons and equal == len(comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
