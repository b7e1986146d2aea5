"""Which lines of ours an input reaches, by Python's own tracing: slow, but it needs nothing, and chooses the corpus."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import p2p_flock
from tests.fuzz.engine import Watch, try_input
from tests.fuzz.mutation import mutate
from tests.fuzz.target import Target

Line = tuple[str, int]
# The package itself: a checkout of that name has its libraries below it too, and their caches run lines only once.
OWN = str(Path(p2p_flock.__file__).parent) + os.sep


def trace(target: Target, data: bytes) -> frozenset[Line]:
    """The lines of the package that the input makes run."""
    lines: set[Line] = set()

    def note_line(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return note_line

    def note_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return note_line if frame.f_code.co_filename.startswith(OWN) else None

    former = sys.gettrace()  # a debugger's or a coverage tool's
    sys.settrace(note_call)
    try:
        try_input(target, data)
    finally:
        sys.settrace(former)
    return frozenset(lines)


def explore(target: Target, known: Iterable[bytes], *, inputs: int, seed: int) -> list[bytes]:
    """Inputs that each reach a line that none before it does, the shortest known ones first; the seeds are left out.

    Args:
        known: tried first. ``inputs``: mutations tried then, of all that reached something.
    """
    generator = random.Random(f"{target.name} {seed}")
    seeds = list(target.make_seeds())
    seen = {line for data in seeds for line in trace(target, data)}
    kept: list[bytes] = []
    watch = Watch()
    with watch.running():
        for data in sorted(set(known), key=len):
            watch.serial += 1
            _keep_if_new(target, data, seen, kept)
        for _ in range(inputs):
            watch.serial += 1
            _keep_if_new(target, mutate(generator, [*seeds, *kept], target), seen, kept)
    return kept


def _keep_if_new(target: Target, data: bytes, seen: set[Line], kept: list[bytes]) -> None:
    lines = trace(target, data)
    if not lines <= seen:
        seen |= lines
        kept.append(data)
