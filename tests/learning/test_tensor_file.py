"""Named tensors for whoever uses a model elsewhere: exact values, one form, and nothing believed of a hostile file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from p2p_flock.alliance.model import Model, encode_model
from p2p_flock.errors import WireError
from p2p_flock.learning.tensor_file import (
    STATISTICS_NAME,
    TensorPlace,
    encode_header,
    find_layout,
    read_layout,
    read_tensor_file,
)

PLACES = (TensorPlace("layers.0.weight", (2, 3)), TensorPlace("layers.0.bias", (2,)), TensorPlace("scale", ()))
MODEL = Model(np.array([4.0, 0.5]), np.arange(9, dtype=np.float64) / 7)


def write(path: Path, header: bytes | None = None, body: bytes | None = None) -> Path:
    values = MODEL.parameters[:].tobytes() + MODEL.statistics.tobytes()
    path.write_bytes((encode_header(PLACES, 2) if header is None else header) + (values if body is None else body))
    return path


def raw_header(table: object) -> bytes:
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def test_tensor_file__the_library_reads_it_exactly(tmp_path: Path) -> None:
    """Nobody could load an exported model, or it would be another one."""
    found = load_file(write(tmp_path / "model.safetensors"))
    assert {name: tensor.shape for name, tensor in found.items()} == {
        **{place.name: place.shape for place in PLACES}, STATISTICS_NAME: (2,)
    }  # fmt: skip
    joined = np.concatenate([found[place.name].reshape(-1) for place in PLACES])
    assert joined.tobytes() == MODEL.parameters[:].tobytes()
    assert found[STATISTICS_NAME].tobytes() == MODEL.statistics.tobytes()


def test_tensor_file__has_the_body_of_the_alliances_own_file(tmp_path: Path) -> None:
    """The digest on chain could not be recomputed from it."""
    path = write(tmp_path / "model.safetensors")
    read = read_tensor_file(path)
    assert (read.places, read.statistics_count, read.parameter_count) == (PLACES, 2, 9)
    assert encode_model(MODEL).endswith(path.read_bytes()[read.body_offset :])


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "empty": lambda path: write(path, b"", b""),
    "a header longer than the file": lambda path: write(path, (1 << 20).to_bytes(8, "little") + b"{}      "),
    "a header of 2^63 bytes": lambda path: write(path, (1 << 63).to_bytes(8, "little") + b"{}      "),
    "no JSON": lambda path: write(path, (8).to_bytes(8, "little") + b"{{{{{{{{"),
    "deep JSON": lambda path: write(path, (80_000).to_bytes(8, "little") + b"[" * 80_000),
    "a list": lambda path: write(path, raw_header([1, 2])),
    "no tensors": lambda path: write(path, raw_header({"__metadata__": {}})),
    "no statistics": lambda path: write(
        path, raw_header({"w": {"dtype": "F64", "shape": [11], "data_offsets": [0, 88]}})
    ),
    "no shape": lambda path: write(path, raw_header({"w": 3, STATISTICS_NAME: {"shape": [2]}})),
    "a negative shape": lambda path: write(path, raw_header({"w": {"shape": [-9]}, STATISTICS_NAME: {"shape": [2]}})),
    "a huge shape": lambda path: write(path, raw_header({"w": {"shape": [1 << 41]}, STATISTICS_NAME: {"shape": [2]}})),
    "another order of keys": lambda path: write(
        path, raw_header(dict(reversed(json.loads(encode_header(PLACES, 2)[8:]).items())))
    ),
    "too few values": lambda path: write(path, body=bytes(80)),
    "too many values": lambda path: write(path, body=bytes(96)),
    "a scalar as statistics": lambda path: write(
        path, raw_header({"w": {"shape": [10]}, STATISTICS_NAME: {"shape": []}})
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_tensor_file__anything_else_is_refused(name: str, tmp_path: Path) -> None:
    """A file from a stranger would fill the memory, or pass under another form."""
    with pytest.raises(WireError):
        read_tensor_file(HOSTILE[name](tmp_path / "model.safetensors"))


def test_tensor_file__every_bit_of_the_header_counts(tmp_path: Path) -> None:
    """A changed name or shape would be taken for the same file."""
    good = encode_header(PLACES, 2)
    read = read_tensor_file(write(tmp_path / "good"))
    for bit in range(0, 8 * len(good), 5):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            other = read_tensor_file(write(tmp_path / "changed", bytes(changed)))
        except WireError:
            continue
        assert other.places != read.places, "at least the name is another, which the caller compares"


@pytest.mark.parametrize(
    "places", [[], [PLACES[0]] * 2, [TensorPlace(STATISTICS_NAME, (1,))], [TensorPlace("a\n", ())]]
)
def test_tensor_file__names_that_cannot_be_told_apart(places: list[TensorPlace]) -> None:
    """Two tensors of one name would hide one of them."""
    with pytest.raises(WireError):
        encode_header(places, 1)


def test_layout__is_read_strictly() -> None:
    """A task of any origin answers it."""
    assert read_layout('[["w", [2, 3]], ["b", []]]') == (TensorPlace("w", (2, 3)), TensorPlace("b", ()))
    for bad in ("", "{}", "[1]", '[["w"]]', '[["w", 3]]', '[["w", [true]]]', "[[1, [2]]]", "[" * 100_000):
        with pytest.raises(WireError):
            read_layout(bad)


def test_layout__from_the_task_manifest() -> None:
    """Without the task installed nobody could tell which tensor is which."""
    text = "layers.0.weight 2x3, layers.0.bias 2, scale "
    assert find_layout(text, 9) == PLACES
    for other, count in [(text, 10), ("logistic regression: linear layer 35 to 1", 36), ("w 3, w 3", 6), ("", 0)]:
        assert find_layout(other, count) is None
