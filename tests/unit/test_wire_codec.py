"""The canonical encoding: one form of each value, nothing beyond the bounds, no bytes that do more than fail."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_flock.errors import WireError
from p2p_flock.wire.codec import Length, Range, decode, encode
from p2p_flock.wire.messages import (
    KIND_OF_MESSAGE,
    MESSAGE_KINDS,
    UNMASKING_ITEMS_MAX,
    Contribution,
    Envelope,
    Have,
    Hint,
    Manifest,
    PairSeedShare,
    SelfMaskShare,
    Unmasking,
)
from tests.unit.wire_strategies import KINDS, values_of

BYTES_MAX = 1 << 21
SHARE = bytes(range(32))
UNMASKING = Unmasking(bytes(32), (SelfMaskShare(1, SHARE), PairSeedShare(1, 2, SHARE)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20, deadline=None, print_blob=True)
@given(data=st.data())
def test_codec__round_trip(kind: type, data: st.DataObject) -> None:
    """A message would not be read as what was written."""
    message = data.draw(values_of(kind))
    assert decode(kind, encode(message), BYTES_MAX) == message


def plain_values() -> st.SearchStrategy[Any]:
    """What msgpack can hold, in the shapes of our messages and others."""
    leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=70)
    leaves |= st.text(max_size=20)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(leaves, inner, max_size=3), max_leaves=30
    )


@settings(max_examples=150, deadline=None, print_blob=True)
@given(st.sampled_from(KINDS), st.binary(max_size=200) | plain_values().map(msgpack.packb))
def test_codec__random_bytes(kind: type, data: bytes) -> None:
    """P7: a stranger's bytes would end the process, or one value would have two encodings."""
    try:
        message = decode(kind, data, BYTES_MAX)
    except WireError:
        return
    assert encode(message) == data


@settings(max_examples=150, deadline=None, print_blob=True)
@given(st.sampled_from(KINDS), st.data())
def test_codec__one_changed_byte(kind: type, data: st.DataObject) -> None:
    """As above, near a valid message, where the interesting paths are."""
    encoded = bytearray(encode(data.draw(values_of(kind))))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3))
    try:
        message = decode(kind, bytes(encoded[: len(encoded) - cut]), BYTES_MAX)
    except WireError:
        return
    assert encode(message) == bytes(encoded[: len(encoded) - cut])


BAD_UNMASKINGS = {
    "trailing byte": encode(UNMASKING) + b"\x00",
    "empty": b"",
    "truncated": encode(UNMASKING)[:-1],
    "long form of the array head": b"\xdc\x00\x02" + encode(UNMASKING)[1:],
    "a map": msgpack.packb({0: bytes(32)}),
    "a missing field": msgpack.packb([bytes(32)]),
    "a field too many": msgpack.packb([bytes(32), [[0, [1, SHARE]]], 0]),
    "no items": msgpack.packb([bytes(32), []]),
    "too many items": msgpack.packb([bytes(32), [[0, [1, SHARE]]] * (UNMASKING_ITEMS_MAX + 1)]),
    "an unknown tag": msgpack.packb([bytes(32), [[2, [1, SHARE]]]]),
    "a boolean tag": msgpack.packb([bytes(32), [[False, [1, SHARE]]]]),
    "an item without tag": msgpack.packb([bytes(32), [[1, SHARE]]]),
    "a short share": msgpack.packb([bytes(32), [[0, [1, SHARE[:31]]]]]),
    "text for bytes": msgpack.packb(["a" * 32, [[0, [1, SHARE]]]]),
    "a float": msgpack.packb([bytes(32), [[0, [1.0, SHARE]]]]),
    "a boolean seat": msgpack.packb([bytes(32), [[0, [True, SHARE]]]]),
    "a negative seat": msgpack.packb([bytes(32), [[0, [-1, SHARE]]]]),
    "a seat beyond the table": msgpack.packb([bytes(32), [[0, [4096, SHARE]]]]),
    "nothing": msgpack.packb(None),
    "an extension": msgpack.packb(msgpack.ExtType(1, bytes(32))),
}


@pytest.mark.parametrize("name", BAD_UNMASKINGS)
def test_codec__refuses(name: str) -> None:
    """A second form of a message, or one outside its bounds, would be taken."""
    with pytest.raises(WireError):
        decode(Unmasking, BAD_UNMASKINGS[name], BYTES_MAX)


def test_codec__refuses_more_bytes_than_allowed() -> None:
    """A bound that the caller gives would not hold."""
    data = encode(UNMASKING)
    assert decode(Unmasking, data, len(data)) == UNMASKING
    with pytest.raises(WireError, match="exceed the limit"):
        decode(Unmasking, data, len(data) - 1)


def test_codec__nested_heads_allocate_little() -> None:
    """P7: a megabyte of array heads, each of which promises a million items, would allocate gigabytes."""
    head = b"\xdd" + (1 << 20).to_bytes(4, "big")
    tracemalloc.start()
    for kind in (Contribution, Have, Manifest):
        with pytest.raises(WireError):
            decode(kind, (head * 200_000)[: 1 << 20], BYTES_MAX)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 16 << 20


def test_codec__own_values_outside_bounds_are_refused() -> None:
    """A defect of ours would show at the peer instead of here."""
    for bad in (
        Contribution(bytes(31), bytes(32)),
        Hint(1, 2, ""),
        Hint(1, 2, "x" * 17),
        Hint(-1, 2, "sealed"),
        replace(UNMASKING, items=()),
        replace(UNMASKING, items=(Contribution(bytes(32), bytes(32)),)),
        replace(UNMASKING, items=[SelfMaskShare(1, SHARE)]),
    ):
        with pytest.raises(WireError):
            encode(bad)


@dataclass(frozen=True)
class Word:
    """Text, bounded in UTF-8 bytes."""

    text: Annotated[str, Length(1, 4)]
    number: Annotated[int, Range(0, 1)]


def test_codec__text_is_bounded_in_bytes() -> None:
    """Four characters of three bytes would pass a limit of four bytes."""
    assert decode(Word, encode(Word("abcd", 1)), 99) == Word("abcd", 1)
    with pytest.raises(WireError):
        encode(Word("∑∑", 1))
    with pytest.raises(WireError):
        decode(Word, msgpack.packb([b"\xff\xfe", 1]), 99)


def test_messages__kinds_are_numbered_once() -> None:
    """A message would be read as another one."""
    assert sorted(MESSAGE_KINDS) == list(range(1, 8))
    assert {KIND_OF_MESSAGE[kind]: kind for kind in KIND_OF_MESSAGE} == MESSAGE_KINDS


def test_messages__largest_fit_an_envelope() -> None:
    """Honest nodes of the largest alliance could not speak."""
    have = Have(bytes([255]) * 512, (bytes(32),) * 4096)
    items = tuple(SelfMaskShare(seat, SHARE) for seat in range(1024))
    for message in (have, Unmasking(bytes(32), items)):
        encode(Envelope(3, 2**32 - 1, 4095, encode(message), bytes(65)))
