"""The task manifest: one encoding, strictly read."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from p2p_flock.errors import TaskError
from p2p_flock.learning.task_manifest import MANIFEST_BYTES_MAX, manifest_from_plain, read_manifest
from p2p_flock.learning.tasks.heart import MANIFEST

Edit = Callable[[dict[str, object]], object]


def test_read_manifest__round_trip() -> None:
    """Two nodes compare bytes; a second encoding of the same task would keep them apart."""
    assert read_manifest(MANIFEST.to_bytes()) == MANIFEST
    assert manifest_from_plain(json.loads(MANIFEST.to_bytes())) == MANIFEST


def set_field(name: str, value: object) -> Edit:
    return lambda plain: plain.__setitem__(name, value)


BAD_EDITS: dict[str, Edit] = {
    "missing field": lambda plain: plain.pop("clip_norm"),
    "unknown field": set_field("code", "import os"),
    "bool for int": set_field("local_epochs", True),
    "int for float": set_field("clip_norm", 1),
    "infinite": set_field("clip_norm", 1e999),
    "zero epochs": set_field("local_epochs", 0),
    "huge model": set_field("parameter_count", 1 << 40),
    "negative clip": set_field("statistics_clip", -1.0),
    "all for testing": set_field("test_ratio", 1.0),
    "short digest": set_field("initial_parameters_sha256", "ab"),
    "upper-case digest": set_field("initial_parameters_sha256", "A" * 64),
    "columns not a list": set_field("columns", "age"),
    "column not a map": set_field("columns", ["age"]),
    "column value not text": lambda plain: plain["columns"][6]["values"].append(1),  # type: ignore[index]
    "too many columns": lambda plain: plain.__setitem__("columns", plain["columns"] * 400),  # type: ignore[operator]
}


@pytest.mark.parametrize("case", BAD_EDITS)
def test_read_manifest__bad_field(case: str) -> None:
    """A manifest comes from a stranger: whatever is odd is refused before a node stakes on it."""
    plain = json.loads(MANIFEST.to_bytes())
    BAD_EDITS[case](plain)
    with pytest.raises(TaskError):
        read_manifest(json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b"\xff", b"[" * 5000, MANIFEST.to_bytes() + b" ", b" " * (MANIFEST_BYTES_MAX + 1)],
    ids=["empty", "list", "cut", "not utf-8", "deep", "not canonical", "too long"],
)
def test_read_manifest__bad_bytes(data: bytes) -> None:
    """Hostile bytes end in one kind of error (P7)."""
    with pytest.raises(TaskError):
        read_manifest(data)
