"""The corpus that is kept: per target one JSON list of inputs in base64 that reached new code, shortest first."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
INPUT_BYTES_MAX = 2048
TARGET_BYTES_MAX = 32 << 10  # of one target's inputs; 40 targets stay below 2 MB as base64


def read_corpus(name: str) -> list[bytes]:
    """The kept inputs of a target; none where there are none yet."""
    path = FOLDER / f"{name}.json"
    return [base64.b64decode(text) for text in json.loads(path.read_text())] if path.exists() else []


def write_corpus(name: str, inputs: Iterable[bytes]) -> int:
    """Keep these inputs, shortest first, up to the bounds; how many were kept."""
    kept: list[bytes] = []
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        if not data or len(data) > INPUT_BYTES_MAX or sum(map(len, kept)) + len(data) > TARGET_BYTES_MAX:
            continue
        kept.append(data)
    if not kept:
        return 0
    FOLDER.mkdir(exist_ok=True)
    lines = [json.dumps(base64.b64encode(data).decode()) for data in kept]
    (FOLDER / f"{name}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return len(kept)
