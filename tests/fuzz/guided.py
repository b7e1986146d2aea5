"""The guided loop: atheris (libFuzzer) over one target, in a process of its own, which atheris ends itself.

    python -m tests.fuzz.guided TARGET RESULT-FILE [libFuzzer's own arguments: -runs=… corpus folders]

Called by `tests/fuzz/run.py`. Findings are counted and written to the file instead of ending the process at the first.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from pathlib import Path

import atheris
import trio

with atheris.instrument_imports(include=["p2p_flock"]):
    from tests.fuzz.engine import Finding, MemoryWatch, Watch, try_input
    from tests.fuzz.registry import TARGETS

from tests.fuzz.mutation import mutate

SAVE_EVERY = 2000
BLIND_RATIO = 0.3  # of libFuzzer's own mutations, which know the comparisons that failed


async def main(name: str, result: Path, arguments: list[str]) -> None:
    """Fuzz until libFuzzer has had enough; it ends the process."""
    target = TARGETS[name]
    findings: dict[str, Finding] = {}
    counts = {"inputs": 0, "taken": 0}
    watch, memory = Watch(), MemoryWatch(target)

    def save() -> None:
        listed = [[f.signature, base64.b64encode(f.data).decode(), f.trace] for f in findings.values()]
        result.write_text(json.dumps({**counts, "findings": listed}))

    def test_one_input(data: bytes) -> None:
        watch.serial += 1
        taken, finding = try_input(target, data)
        finding = memory.note(data) or finding
        counts["inputs"] += 1
        counts["taken"] += taken
        if finding is not None and finding.signature not in findings:
            findings[finding.signature] = finding
            save()
        elif counts["inputs"] % SAVE_EVERY == 0:
            save()

    def change(data: bytes, bytes_max: int, seed: int) -> bytes:
        generator = random.Random(seed)
        if generator.random() < BLIND_RATIO:
            return bytes(atheris.Mutate(data, bytes_max))
        return mutate(generator, (data,), target)[:bytes_max]

    atheris.Setup([sys.argv[0], *arguments], test_one_input, custom_mutator=change)
    with watch.running():
        atheris.Fuzz()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
