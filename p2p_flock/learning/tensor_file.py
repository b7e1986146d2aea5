"""A model as a safetensors file of named tensors, for whoever uses it outside of p2p_flock; written and strictly read.

Used by ``p2p-flock model``. The file holds the alliance's exact values: float64, in the order of the task's
``state_dict``, the statistics last (:data:`STATISTICS_NAME`). So its body is, byte for byte, the body of the alliance's
own model file (``alliance/model.py``), whose digest the chain knows: names and shapes are all that this file adds.
Needs no torch and no safetensors library, holds a block at a time, and believes nothing of a file that it reads.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2p_flock.errors import WireError

STATISTICS_NAME: Final = "p2p_flock.statistics"
STATISTICS_MAX: Final = 1 << 22  # what one frame of the worker holds; they are read into memory
VALUE_BYTES: Final = 8
TENSORS_MAX: Final = 1 << 16
DIMENSIONS_MAX: Final = 8
NAME_CHARACTERS_MAX: Final = 512
LAYOUT_BYTES_MAX: Final = 1 << 20  # of the worker's answer
HEADER_BYTES_MAX: Final = 16 << 20
METADATA: Final = {"format": "pt", "made_by": "p2p_flock"}
_SHAPES: Final = re.compile(r"(?P<name>[^\s,]{1,512}) (?P<shape>[0-9]{1,12}(?:x[0-9]{1,12})*)?")


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """One tensor: its name in ``state_dict`` and its shape; no dimension for a scalar."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Values."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class TensorFile:
    """A file that was read: its tensors in order, and where their values begin.

    Attributes:
        places: without the statistics.
        statistics_count: float64 values after those of ``places``.
        body_offset: bytes before the first value; the body reaches to the end of the file.
    """

    path: Path
    places: tuple[TensorPlace, ...]
    statistics_count: int
    body_offset: int

    @property
    def parameter_count(self) -> int:
        """Values of all tensors but the statistics."""
        return sum(place.size for place in self.places)


def read_layout(text: str) -> tuple[TensorPlace, ...]:
    """What the worker's ``layout`` answered: a JSON list of [name, [dimension, …]].

    Raises:
        WireError: too long, or not that.
    """
    if len(text) > LAYOUT_BYTES_MAX:
        raise WireError("the layout is too long")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"the layout is not JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(e, list) and len(e) == 2 for e in entries):
        raise WireError("the layout is no list of names and shapes")
    return _check_places([_place(name, shape) for name, shape in entries])


def find_layout(model_text: str, parameter_count: int) -> tuple[TensorPlace, ...] | None:
    """The layout that a task manifest tells: its ``model`` as ``weight 3x13, bias 3``; ``None`` where it tells none.

    Tasks that describe themselves (``learning.task.describe``) write it so, and the manifest's digest is on chain.
    """
    found = [_SHAPES.fullmatch(part) for part in model_text.split(", ")]
    if not all(found):
        return None
    places = [TensorPlace(one["name"], _shape_of(one["shape"])) for one in found if one is not None]
    try:
        checked = _check_places(places)
    except WireError:
        return None
    return checked if sum(place.size for place in checked) == parameter_count else None


def encode_header(places: Sequence[TensorPlace], statistics_count: int) -> bytes:
    """Length and header of the file: what stands before the values.

    Raises:
        WireError: two tensors of one name, or more than the bounds.
    """
    header: dict[str, object] = {"__metadata__": METADATA}
    offset = 0
    for place in (*_check_places(places), TensorPlace(STATISTICS_NAME, (statistics_count,))):
        end = offset + VALUE_BYTES * place.size
        header[place.name] = {"dtype": "F64", "shape": list(place.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % VALUE_BYTES)
    if len(text) > HEADER_BYTES_MAX:
        raise WireError("the header of the tensor file is too long")
    return len(text).to_bytes(8, "little") + text


def read_tensor_file(path: Path) -> TensorFile:
    """Open a file that may come from anybody and check its form; reads no more than the header.

    Raises:
        WireError: not exactly a file that :func:`encode_header` begins, or the values do not fill it.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if size < 8 or header_bytes > min(HEADER_BYTES_MAX, size - 8):
            raise WireError("its header is longer than the file, or than any that this program writes")
        text = file.read(header_bytes)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"its header is not JSON: {error}") from error
    if not isinstance(header, dict) or len(header) > TENSORS_MAX + 2:
        raise WireError("its header is no table of tensors")
    named = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
    if not named or named[-1][0] != STATISTICS_NAME:
        raise WireError(f"its last tensor is not {STATISTICS_NAME}: it was not written by `p2p-flock model export`")
    places = [_place(name, entry.get("shape") if isinstance(entry, dict) else None) for name, entry in named]
    statistics = places.pop()
    if statistics.size > STATISTICS_MAX:
        raise WireError("it holds more statistics than any task collects")
    if len(statistics.shape) != 1 or encode_header(places, statistics.size)[8:] != text:
        raise WireError("its header is not in the one form that `p2p-flock model export` writes")
    file_read = TensorFile(path, tuple(places), statistics.size, 8 + header_bytes)
    if size != file_read.body_offset + VALUE_BYTES * (file_read.parameter_count + statistics.size):
        raise WireError("its values are fewer or more than its header says")
    return file_read


def _place(name: object, shape: object) -> TensorPlace:
    if not isinstance(name, str) or not isinstance(shape, list) or len(shape) > DIMENSIONS_MAX:
        raise WireError("a tensor has no name, or no shape")
    if not all(type(count) is int and 0 <= count < 1 << 40 for count in shape):
        raise WireError(f"the tensor {name[:80]!r} has no shape")
    return TensorPlace(name, tuple(shape))


def _check_places(places: Sequence[TensorPlace]) -> tuple[TensorPlace, ...]:
    names = [place.name for place in places]
    if not 1 <= len(names) <= TENSORS_MAX:
        raise WireError(f"a model has 1 to {TENSORS_MAX} tensors, not {len(names)}")
    if len(set(names)) != len(names) or {STATISTICS_NAME, "__metadata__"} & set(names):
        raise WireError("two tensors have one name, or a name that this format keeps for itself")
    if not all(1 <= len(name) <= NAME_CHARACTERS_MAX and name.isprintable() for name in names):
        raise WireError("a tensor's name is empty, too long or not printable")
    return tuple(places)


def _shape_of(text: str | None) -> tuple[int, ...]:
    return tuple(int(count) for count in text.split("x")) if text else ()
