"""What both sides of ``scripts/bench secagg`` aggregate, and how both measure: imported in either environment.

Imports the standard library and numpy only, because Flower's environment has nothing else of ours.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLIENT = 0  # position of the client that is measured
VECTOR_VALUES_MAX = 128_000_000  # of distinct vectors together, 512 MB; beyond it members take turns with them
VALUE_BOUND = 1e-3
_MIB = 1 << 20

Floats = NDArray[np.float32]
Answer = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One cohort to measure, the same on both sides.

    Attributes:
        parameters: d; members: N; holders: of one secret, the owner among them: neighbors + 1; threshold: t.
        collusion_bound: c; dropouts: positions (0-based) of the members that drop out before they contribute, after
            their keys are known. Flower's drop out after sharing keys, which is the same moment for the sum.
        lane_bits: of our ring.
    """

    parameters: int
    members: int
    holders: int
    threshold: int
    collusion_bound: int
    dropouts: tuple[int, ...]
    lane_bits: int

    @property
    def survivors(self) -> tuple[int, ...]:
        """Positions of the others, ascending."""
        lost = set(self.dropouts)
        return tuple(position for position in range(self.members) if position not in lost)

    @property
    def vector_count(self) -> int:
        """Distinct input vectors; member m has vector m modulo this."""
        return min(self.members, max(8, VECTOR_VALUES_MAX // self.parameters))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Task:
        return cls(**{**fields, "dropouts": tuple(fields["dropouts"])})


@lru_cache(maxsize=1)
def make_vectors(parameters: int, count: int) -> tuple[Floats, ...]:
    """``count`` float32 vectors within ±``VALUE_BOUND``; the same in every process."""
    vectors = []
    for index in range(count):
        values = np.random.default_rng([parameters, index]).random(parameters, dtype=np.float32)
        values -= np.float32(0.5)
        values *= np.float32(2 * VALUE_BOUND)
        values.setflags(write=False)
        vectors.append(values)
    return tuple(vectors)


def digest_vectors(task: Task) -> str:
    """sha-256 over all input vectors, to show that both sides aggregate the same."""
    digest = hashlib.sha256()
    for vector in make_vectors(task.parameters, task.vector_count):
        digest.update(vector.data)
    return digest.hexdigest()


def count_turns(task: Task) -> list[int]:
    """How many survivors hold each distinct vector."""
    turns = [0] * task.vector_count
    for position in task.survivors:
        turns[position % task.vector_count] += 1
    return turns


def plain_mean(task: Task) -> NDArray[np.float64]:
    """The survivors' mean in float64: what both sides must come close to."""
    total = np.zeros(task.parameters)
    for vector, turns in zip(make_vectors(task.parameters, task.vector_count), count_turns(task), strict=True):
        total += vector * float(turns)
    return total / len(task.survivors)


# --- measuring -------------------------------------------------------------------------------------------------------


@dataclass
class Meter:
    """CPU (all threads of this process) and wall seconds by name: ``parts[name] = [cpu, wall]``."""

    parts: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds what the block takes to ``name``."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        known = self.parts.setdefault(name, [0.0, 0.0])
        known[0] += cpu
        known[1] += wall


def settle() -> None:
    """Before a measurement: what was made to measure with is no work for the garbage collector during it."""
    gc.collect()
    gc.freeze()


def measure_peak(work: Callable[[], object]) -> int | None:
    """Bytes by which resident memory rose at most while ``work`` ran. ``None`` where the system does not tell."""
    settle()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # give freed memory back, or the work would be served from it unseen
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak (VmHWM) to what is resident now
    except (OSError, AttributeError):
        return None
    before = _resident("VmRSS")
    work()
    return max(0, _resident("VmHWM") - before)


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


# --- the conversation with the process that asks ---------------------------------------------------------------------

Operation = Callable[..., Answer]


def serve(operations: Mapping[str, Operation]) -> None:
    """Answer one JSON object per line of standard input with one per line of standard output, until it ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        name = request.pop("operation")
        if "task" in request:
            request["task"] = Task.from_json(request["task"])
        answers.write(json.dumps(operations[name](**request)) + "\n")
        answers.flush()
