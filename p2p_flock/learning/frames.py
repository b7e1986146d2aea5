"""Frames between the daemon and its worker process: length-prefixed msgpack over pipes, strictly read.

Used by ``worker.py`` and ``worker_client.py``, the two ends of one pair of pipes. A frame is a 4-byte little-endian
length and one msgpack map with string keys; an array is an extension of type 1 (float32) or 2 (float64) whose data are
its little-endian bytes, one-dimensional. Parameters and updates are too long for a frame and go through files in the
node's directory, which the daemon names; a frame says where in the file (:func:`pack_file`). Between a request and its
answer the worker may tell how far it is (:func:`encode_progress`).

No pickle: the worker runs a task's code, and a mistake there must not become code in the process that holds the keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Union, cast

import msgpack
import numpy as np

from p2p_flock.errors import WireError
from p2p_flock.learning.results import Float32, Float64, VectorFile

HEADER_BYTES: Final = 4
FRAME_BYTES_MAX: Final = 1 << 25  # 32 MiB: the statistics of round 0; parameters and updates go by file
ITEMS_MAX: Final = 1024  # entries of one map or list; the longest list is the candidates, at most 16 cohorts
TEXT_BYTES_MAX: Final = 1 << 20

# A frame that only tells how far a request is: small, so that a flood of them cannot cost what one answer may.
PROGRESS_BYTES_MAX: Final = 128
PROGRESS_COUNT_MAX: Final = 1 << 53  # JSON readers hold whole numbers up to here

FLOAT32_CODE: Final = 1
FLOAT64_CODE: Final = 2

Value = Union[None, bool, int, float, str, Float32, Float64, "list[Value]", "dict[str, Value]"]


def encode_frame(body: dict[str, Value]) -> bytes:
    """Header and body.

    Raises:
        WireError: longer than FRAME_BYTES_MAX, or a value no frame can hold: our own caller's mistake.
    """
    try:
        data = cast(bytes, msgpack.packb(body, default=_pack_array, use_bin_type=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"not a frame: {error}") from error
    if len(data) > FRAME_BYTES_MAX:
        raise WireError(f"a frame of {len(data)} bytes exceeds the limit of {FRAME_BYTES_MAX}")
    return len(data).to_bytes(HEADER_BYTES, "little") + data


def encode_progress(request: int, done: int, total: int) -> bytes:
    """A frame that says how far a request is: ``done`` of ``total`` pieces."""
    return encode_frame({"request": request, "progress": [done, total]})


def is_progress(body: dict[str, Value]) -> bool:
    """Whether a frame tells how far a request is, and is not its answer."""
    return "progress" in body


def decode_progress(body: dict[str, Value], length: int) -> tuple[int, int]:
    """(done, total) of a frame of ``length`` bytes that :func:`is_progress`.

    Raises:
        WireError: too long, with other fields, or counts that are no counts.
    """
    if length > PROGRESS_BYTES_MAX or set(body) != {"request", "progress"}:
        raise WireError("a frame tells progress and something else")
    counts = get_list(body, "progress")
    if len(counts) != 2:
        raise WireError("progress is not two counts")
    done, total = counts
    if not (type(done) is int and type(total) is int and 0 <= done <= total <= PROGRESS_COUNT_MAX and total):
        raise WireError("progress is not a count of a count")
    return done, total


def decode_length(header: bytes) -> int:
    """The body's length in bytes.

    Raises:
        WireError: not four bytes, or beyond FRAME_BYTES_MAX; checked before anything of the body is read.
    """
    if len(header) != HEADER_BYTES:
        raise WireError(f"a frame header has {HEADER_BYTES} bytes, not {len(header)}")
    length = int.from_bytes(header, "little")
    if length > FRAME_BYTES_MAX:
        raise WireError(f"a frame of {length} bytes exceeds the limit of {FRAME_BYTES_MAX}")
    return length


def decode_body(data: bytes) -> dict[str, Value]:
    """The map of one frame; arrays are copies in the machine's byte order.

    Raises:
        WireError: not one msgpack map with string keys, or an array of unknown type or odd length.
    """
    try:
        body = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            ext_hook=_unpack_array,
            max_map_len=ITEMS_MAX,
            max_array_len=ITEMS_MAX,
            max_str_len=TEXT_BYTES_MAX,
            max_bin_len=0,
            max_ext_len=FRAME_BYTES_MAX,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise WireError(f"a frame's body is not msgpack: {error}") from error
    if not isinstance(body, dict):
        raise WireError("a frame's body is not a map")
    _validate_types(body)
    return cast("dict[str, Value]", body)


def _validate_types(body: object) -> None:
    """Refuse what msgpack can carry and ``Value`` cannot: bytes, timestamps, keys that are no text."""
    pending = [body]  # a stack, because nesting may be deeper than Python's recursion
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise WireError("a frame's map has a key that is no text")
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif not (value is None or isinstance(value, (bool, int, float, str, np.ndarray))):
            raise WireError(f"a frame holds a {type(value).__name__}")


def _pack_array(value: object) -> msgpack.ExtType:
    if isinstance(value, np.ndarray) and value.ndim == 1:
        if value.dtype == np.float32:
            return msgpack.ExtType(FLOAT32_CODE, value.astype("<f4").tobytes())
        if value.dtype == np.float64:
            return msgpack.ExtType(FLOAT64_CODE, value.astype("<f8").tobytes())
    raise TypeError(f"{type(value).__name__} cannot travel in a frame")


def _unpack_array(code: int, data: bytes) -> Float32 | Float64:
    # astype copies, which also makes the array writable and aligned; frombuffer refuses an odd length.
    if code == FLOAT32_CODE:
        return np.frombuffer(data, "<f4").astype(np.float32)
    if code == FLOAT64_CODE:
        return np.frombuffer(data, "<f8").astype(np.float64)
    raise ValueError(f"extension type {code} is unknown")


# Strict readers of one field. Each raises WireError when the field is missing or of another type.


def get_text(body: dict[str, Value], name: str) -> str:
    """A string field."""
    value = body.get(name)
    if not isinstance(value, str):
        raise WireError(f"field {name} is not text")
    return value


def get_int(body: dict[str, Value], name: str) -> int:
    """An integer field; a bool is none."""
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WireError(f"field {name} is not an integer")
    return value


def get_float(body: dict[str, Value], name: str) -> float:
    """A finite float field."""
    value = body.get(name)
    if not isinstance(value, float) or not np.isfinite(value):
        raise WireError(f"field {name} is not a finite float")
    return value


def get_bool(body: dict[str, Value], name: str) -> bool:
    """A boolean field."""
    value = body.get(name)
    if not isinstance(value, bool):
        raise WireError(f"field {name} is not a boolean")
    return value


def get_list(body: dict[str, Value], name: str) -> list[Value]:
    """A list field; its items are still to be checked."""
    value = body.get(name)
    if not isinstance(value, list):
        raise WireError(f"field {name} is not a list")
    return value


def pack_file(file: VectorFile) -> dict[str, Value]:
    """The field that says where parameters lie."""
    return {"path": str(file.path), "offset_bytes": file.offset_bytes, "count": file.count}


def as_file(value: Value, name: str) -> VectorFile:
    """``value`` as where parameters lie, or WireError."""
    if not isinstance(value, dict):
        raise WireError(f"{name} does not say where parameters lie")
    file = VectorFile(Path(get_text(value, "path")), get_int(value, "offset_bytes"), get_int(value, "count"))
    if file.offset_bytes < 0 or file.count < 0:
        raise WireError(f"{name} lies nowhere")
    return file


def get_float64(body: dict[str, Value], name: str) -> Float64:
    """A float64 array field."""
    return as_float64(body.get(name), name)


def as_float64(value: Value, name: str) -> Float64:
    """``value`` as a float64 array, or WireError."""
    if not isinstance(value, np.ndarray) or value.dtype != np.float64:
        raise WireError(f"{name} is not a float64 array")
    return cast(Float64, value)
