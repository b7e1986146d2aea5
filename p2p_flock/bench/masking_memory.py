"""What masking a long update takes beside the update itself: memory and CPU time, in a process of its own.

Run as ``python -m p2p_flock.bench.masking_memory`` and by ``bench/secagg``. The update lies in a file and goes chunk by
chunk through ``secagg.contributor.mask_blocks`` into a sink that throws it away, as the daemon's goes into its store.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from p2p_flock.crypto import suite
from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.crypto.masking import Engine, choose_engine, get_engine_name
from p2p_flock.crypto.ring import Words
from p2p_flock.crypto.vectors import view_bytes
from p2p_flock.errors import UsageError
from p2p_flock.secagg.context import CohortContext, CohortMember
from p2p_flock.secagg.contributor import mask_blocks, plan_masking
from p2p_flock.types import Domain

GROWTH_BYTES_MAX = 64 << 20
"""What a vector of any length may take beside itself in memory of the process's own. LLVM's code, some 60 MiB where
the accelerator is loaded, is not in it: these are pages of a file, shared and dropped as the system likes."""


@dataclasses.dataclass(frozen=True)
class MaskingMemory:
    """One measurement.

    Attributes:
        engine: what computed the masks (:func:`masking.get_engine_name`).
        vector_bytes: the masked update's size, which is in memory at no moment.
        private_growth_bytes: how much more memory of its own the process had, after the hungriest chunk, than before.
        growth_bytes: how much larger the process was at its largest than before, pages of mapped files included.
        nanoseconds: of CPU time per parameter and neighbor, reading included.
    """

    parameters: int
    neighbors: int
    lane_bits: int
    engine: str
    vector_bytes: int
    private_growth_bytes: int
    growth_bytes: int
    cpu_seconds: float
    nanoseconds: float


def measure_masking_memory(
    parameters: int = 100_000_000, neighbors: int = 31, lane_bits: int = 16, engine: Engine = Engine.AUTO
) -> MaskingMemory:
    """Measure in a new process, whose peak is of nothing else.

    Raises:
        subprocess.CalledProcessError: the process failed; what it wrote stands above. Not on Linux, it always does.
    """
    numbers = [str(number) for number in (parameters, neighbors, lane_bits)]
    command = [sys.executable, "-m", __name__ if __name__ != "__main__" else "p2p_flock.bench.masking_memory"]
    command += ["--parameters", numbers[0], "--neighbors", numbers[1], "--lane-bits", numbers[2]]
    answer = subprocess.run(
        [*command, "--engine", engine.value, "--json"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return MaskingMemory(**json.loads(answer))


def _make_context(neighbors: int, lane_bits: int, lane_count: int) -> tuple[CohortContext, list[bytes]]:
    secrets = [suite.sha256(b"mask secret %d" % seat) for seat in range(neighbors + 1)]
    members = [
        CohortMember(seat, suite.sha256(b"owner %d" % seat)[:20], mask_public_key(secret))
        for seat, secret in enumerate(secrets)
    ]
    domain, size = Domain(31_337, bytes(20), 0), len(members)
    return (
        CohortContext(domain, 0, bytes(32), 0, tuple(members), size // 2 + 2, 1, lane_bits, lane_count),
        secrets,
    )


def _read_blocks(path: Path, context: CohortContext) -> Iterator[Words]:
    chunk: Words = np.empty(context.chunk_bytes(0) // context.ring.word_bytes, dtype=context.ring.dtype)
    with path.open("rb") as file:
        for index in range(context.chunk_count):
            words = chunk[: context.chunk_bytes(index) // context.ring.word_bytes]
            file.readinto(view_bytes(words))
            yield words


def _measure_here(parameters: int, neighbors: int, lane_bits: int, engine: Engine) -> MaskingMemory:
    choose_engine(engine)
    context, secrets = _make_context(neighbors, lane_bits, parameters)
    masking = plan_masking(context, 0, secrets[0], bytes(32))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "update")
        with path.open("wb") as file:
            file.truncate(context.vector_bytes)  # sparse: zeros are as good as any update
        private = [_read_private_bytes()]

        def throw_away(chunk: memoryview) -> bytes:
            private.append(_read_private_bytes())
            return bytes(32)

        before_bytes, started = _read_status_bytes("VmRSS"), time.process_time()
        mask_blocks(masking, _read_blocks(path, context), throw_away)
        cpu_seconds = time.process_time() - started
    return MaskingMemory(
        parameters,
        neighbors,
        lane_bits,
        get_engine_name(),
        context.vector_bytes,
        max(private) - private[0],
        _read_status_bytes("VmHWM") - before_bytes,
        cpu_seconds,
        cpu_seconds / parameters / neighbors * 1e9,
    )


def _read_private_bytes() -> int:
    return _read_status_bytes("RssAnon")


def _read_status_bytes(name: str) -> int:
    """A figure of Linux's about this process: ``VmRSS`` resident now, ``VmHWM`` at most, ``RssAnon`` without files."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        field, _, value = line.partition(":")
        if field == name:
            return int(value.split()[0]) * 1024
    raise UsageError(f"this system does not tell {name}; measure on Linux")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--parameters", type=int, default=100_000_000)
    parser.add_argument("--neighbors", type=int, default=31)
    parser.add_argument("--lane-bits", type=int, default=16)
    parser.add_argument("--engine", choices=[engine.value for engine in Engine], default=Engine.AUTO.value)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a sentence")
    arguments = parser.parse_args()
    found = _measure_here(arguments.parameters, arguments.neighbors, arguments.lane_bits, Engine(arguments.engine))
    if arguments.json:
        sys.stdout.write(json.dumps(dataclasses.asdict(found)) + "\n")
    else:
        sys.stdout.write(
            f"{found.parameters:,} parameters in {found.vector_bytes / 1e6:.0f} MB, {found.neighbors} neighbors, "
            f"{found.engine}: {found.private_growth_bytes / 2**20:.1f} MiB beside the vector "
            f"({found.growth_bytes / 2**20:.1f} with pages of files), {found.cpu_seconds:.2f} s of CPU time, "
            f"{found.nanoseconds:.3f} ns per parameter and neighbor\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
