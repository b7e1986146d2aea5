"""The ABI's encoding against eth-abi, and against bytes that nobody honest sends."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import decode as eth_decode
from eth_abi.abi import encode as eth_encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2p_flock.chain.abi import AbiError, decode, encode, kind_of

WORD = 32
Typed = tuple[str, Any]


def values_of(kind: str) -> st.SearchStrategy[Any]:
    """Values of a type, in the form that both encoders take and give."""
    if kind.endswith("[]"):
        return st.lists(values_of(kind[:-2]), max_size=3).map(tuple)
    if kind.startswith("("):
        return st.tuples(*(values_of(field) for field in STRUCTS[kind]))
    return PLAIN[kind]


PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "uint8": st.integers(0, 255),
    "uint64": st.integers(0, 2**64 - 1),
    "uint256": st.integers(0, 2**256 - 1),
    "bool": st.booleans(),
    "bytes32": st.binary(min_size=32, max_size=32),
    "bytes1": st.binary(min_size=1, max_size=1),
    "bytes": st.binary(max_size=70),
    "string": st.text(max_size=40),
    "address": st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
}
STRUCTS = {
    "(uint8,address)": ("uint8", "address"),
    "(bytes,uint256[])": ("bytes", "uint256[]"),
    "((uint8,address),string,bool)": ("(uint8,address)", "string", "bool"),
}
KINDS = [*PLAIN, *STRUCTS, "uint64[]", "bytes[]", "bytes32[]", "uint8[][]", "(uint8,address)[]", "(bytes,uint256[])[]"]


@st.composite
def typed_values(draw: st.DrawFn) -> list[Typed]:
    return [(kind, draw(values_of(kind))) for kind in draw(st.lists(st.sampled_from(KINDS), max_size=5))]


# Drawing nested values is slow on a busy machine; that is no fault of what is tested.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(typed=typed_values())
def test_encoding__is_that_of_eth_abi(typed: list[Typed]) -> None:
    """The contract would understand something else."""
    types, values = [kind for kind, _ in typed], [value for _, value in typed]
    encoded = encode(types, values)
    assert encoded == eth_encode(types, values)
    assert decode(types, encoded) == tuple(values) == eth_decode(types, encoded)
    assert decode(types, encoded + b"behind") == tuple(values)


@given(kind=st.sampled_from(KINDS), data=st.binary(max_size=320))
def test_decoding__of_any_bytes_gives_a_value_or_a_reason(kind: str, data: bytes) -> None:
    """An endpoint's bytes would end the node by some other error."""
    try:
        (value,) = decode([kind], data)
    except AbiError:
        return
    assert decode([kind], encode([kind], [value])) == (value,)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        pytest.param("uint8", (256).to_bytes(WORD, "big"), id="integer_too_large"),
        pytest.param("bool", (2).to_bytes(WORD, "big"), id="neither_true_nor_false"),
        pytest.param("address", b"\1" * WORD, id="address_too_long"),
        pytest.param("bytes1", b"ab" + bytes(30), id="something_behind_fixed_bytes"),
        pytest.param("bytes", encode(["uint8", "uint8"], [32, 1]) + b"ab" + bytes(30), id="padding_not_zero"),
        pytest.param("bytes", encode(["uint8", "uint256"], [32, 2**255]), id="length_without_end"),
        pytest.param("bytes", encode(["uint256"], [2**255]), id="offset_without_end"),
        pytest.param("uint8[]", encode(["uint8", "uint256"], [32, 2**64]), id="array_without_end"),
        pytest.param("string", encode(["bytes"], [b"\xff"]), id="no_utf8"),
        pytest.param("uint256", bytes(31), id="too_short"),
        pytest.param("uint256", b"", id="empty"),
    ],
)
def test_decoding__refuses(kind: str, data: bytes) -> None:
    """A value out of its range would pass for one of ours."""
    with pytest.raises(AbiError):
        decode([kind], data)


def test_decoding__reads_no_byte_twice() -> None:
    """A few kilobytes whose offsets all show the same array would unfold to gigabytes."""
    count = 64
    offsets = [WORD * count] * count  # every item of the outer array is the same inner one
    data = encode(["uint8"], [WORD]) + encode(["uint256"] * (1 + count), [count, *offsets])
    data += encode(["uint256"] * (1 + count), [count, *range(count)])
    with pytest.raises(AbiError, match=r"overlap|longer"):
        decode(["uint256[][]"], data)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint8", 256),
        ("uint8", -1),
        ("uint8", "1"),
        ("bytes32", b"short"),
        ("bytes", "text"),
        ("address", b"short"),
        ("address", "0xzz"),
        ("(uint8,address)", (1,)),
    ],
)
def test_encoding__refuses_what_does_not_fit(kind: str, value: object) -> None:
    """A value cut to size would be signed and sent."""
    with pytest.raises(AbiError):
        encode([kind], [value])


def test_types__that_no_contract_of_ours_has_are_refused() -> None:
    """A new type in a contract would be read as another one."""
    for text in ("int256", "uint8[3]", "function", "fixed128x18"):
        with pytest.raises(AbiError):
            kind_of(text)
