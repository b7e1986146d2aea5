"""Frames between daemon and worker: exact round trips, and every malformed one refused."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_flock.errors import WireError
from p2p_flock.learning import frames
from p2p_flock.learning.frames import FRAME_BYTES_MAX, Value, decode_body, decode_length, encode_frame

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()


@given(st.dictionaries(st.text(), scalars | st.lists(scalars, max_size=5), max_size=8))
def test_frame__round_trip(body: dict[str, Value]) -> None:
    """What the daemon asks must be what the worker does."""
    frame = encode_frame(body)
    assert decode_length(frame[:4]) == len(frame) - 4
    assert decode_body(frame[4:]) == body


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_frame__arrays_keep_every_bit(dtype: type[np.floating]) -> None:
    """Models are agreed on bit for bit (P2): a frame must not round, nor drop the sign of zero or a NaN."""
    array = np.array([0.0, -0.0, 1 / 3, np.nan, np.inf, 5e-324], dtype)
    body = decode_body(encode_frame({"one": array, "many": [array, array[:0]]})[4:])
    one, many = body["one"], body["many"]
    assert isinstance(one, np.ndarray)
    assert one.dtype == dtype
    assert one.tobytes() == array.tobytes()
    assert isinstance(many, list)
    assert [len(item) for item in many if isinstance(item, np.ndarray)] == [6, 0]


BAD_VALUES = (np.zeros((2, 2)), np.zeros(3, np.int64), object(), 2**80, {1, 2})


@pytest.mark.parametrize("value", BAD_VALUES, ids=["matrix", "integers", "object", "large", "set"])
def test_encode_frame__refuses(value: object) -> None:
    """A matrix or an integer array would lose its shape or type on the way."""
    with pytest.raises(WireError):
        encode_frame({"value": value})  # type: ignore[dict-item]


BAD_BODIES = {
    "empty": b"",
    "not msgpack": b"\xc1",
    "cut": encode_frame({"array": np.zeros(4)})[4:-1],
    "two values": msgpack.packb({}) * 2,
    "list": msgpack.packb([1]),
    "number key": msgpack.packb({1: 2}),
    "binary key": msgpack.packb({b"a": 2}),
    "raw bytes": msgpack.packb({"a": b"b"}),
    "unknown extension": msgpack.packb({"a": msgpack.ExtType(3, b"12345678")}),
    "odd array": msgpack.packb({"a": msgpack.ExtType(2, b"1234567")}),
    "timestamp": msgpack.packb({"a": msgpack.Timestamp(1)}),
    "too many items": msgpack.packb({"a": [0] * 1025}),
    "too deep": msgpack.packb({"a": 1})[:2] + b"a" + b"\x91" * 3000 + b"\xc0",
    "bad utf-8": b"\x81\xa1\xff\xc0",
}


@pytest.mark.parametrize("case", BAD_BODIES)
def test_decode_body__malformed(case: str) -> None:
    """A worker that a task has broken must not break the daemon with it."""
    with pytest.raises(WireError):
        decode_body(BAD_BODIES[case])


@pytest.mark.parametrize("header", [b"", b"\0\0\0", (FRAME_BYTES_MAX + 1).to_bytes(4, "little"), b"\xff" * 4])
def test_decode_length__malformed(header: bytes) -> None:
    """The length is bounded before a byte of the body is read."""
    with pytest.raises(WireError):
        decode_length(header)


def test_fields__wrong_type() -> None:
    """Each reader refuses a missing field and its nearest false friend."""
    array32 = np.zeros(1, np.float32)
    false_friends: list[tuple[object, Value]] = [
        (frames.get_text, 1),
        (frames.get_int, True),
        (frames.get_int, 1.0),
        (frames.get_float, 1),
        (frames.get_float, float("nan")),
        (frames.get_bool, 1),
        (frames.get_list, "ab"),
        (frames.get_float64, array32),
    ]
    for read, value in false_friends:
        assert callable(read)
        for body in ({}, {"field": value}):
            with pytest.raises(WireError):
                read(body, "field")
