"""The contract ABI's encoding (Solidity documentation, "Contract ABI Specification"), strict, for the types of ours.

Called by ``contracts.py`` only. Written here because eth-abi, with all that it imports, costs a node 0.5 s of CPU time
at every start and much of a poll's time at every decode; the tests compare every call, result, log and error of the
contracts with web3.py. Bytes come from an RPC endpoint: values must be in range and padding must be zero, bytes may
follow behind, and a decoder never reads more bytes than it was given, however cleverly the offsets overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from p2p_flock.errors import ChainError

WORD_BYTES = 32
ADDRESS_BYTES = 20
Value = object


class AbiError(ChainError):
    """The bytes are no encoding of the types, or the value does not fit its type."""


class _Reader:
    """Encoded bytes, and how many of them may still be read: a canonical encoding reads each at most once."""

    __slots__ = ("data", "left")

    def __init__(self, data: bytes) -> None:
        self.data, self.left = data, len(data)

    def take(self, offset: int, length: int) -> bytes:
        self.left -= length
        if self.left < 0 or offset + length > len(self.data):
            raise AbiError("the encoding ends too early, or its parts overlap")
        return self.data[offset : offset + length]

    def number(self, offset: int) -> int:
        return int.from_bytes(self.take(offset, WORD_BYTES), "big")


@dataclass(frozen=True, slots=True)
class Kind:
    """A type's two directions.

    Attributes:
        head_bytes: size in the head part: of the value itself, or of the offset to it.
        dynamic: whether the value stands in the tail part.
        encode: the value's own bytes.
        decode: the value that begins at an offset.
    """

    head_bytes: int
    dynamic: bool
    encode: Callable[[Any], bytes]
    decode: Callable[[_Reader, int], Any]


def encode(types: Sequence[str], values: Sequence[Value]) -> bytes:
    """The values one after the other, as calldata and results have them.

    Args:
        types: in the ABI's text form, structs as parentheses of their fields: ``("uint256", "(address,bytes)[]")``.
        values: integers, bools, bytes, text; addresses as 20 bytes or hex text; arrays and structs as sequences.

    Raises:
        AbiError: a value does not fit its type.
    """
    return _encode_all([kind_of(text) for text in types], values)


def decode(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """Inverse of :func:`encode`: addresses come as lower-case hex text, arrays and structs as tuples.

    Raises:
        AbiError: the bytes are not such an encoding.
    """
    return _decode_all(_Reader(data), [kind_of(text) for text in types], 0)


@cache
def kind_of(text: str) -> Kind:
    """Read a type's text form.

    Raises:
        AbiError: a type that the contracts do not use.
    """
    if text.endswith("[]"):
        return _array(kind_of(text[:-2]))
    if text.startswith("(") and text.endswith(")"):
        return _struct([kind_of(field) for field in split_types(text[1:-1])])
    if text.startswith("uint") and text[4:].isdigit():
        return _unsigned(int(text[4:]))
    if text.startswith("bytes") and text[5:].isdigit():
        return _fixed_bytes(int(text[5:]))
    if text in _PLAIN:
        return _PLAIN[text]
    raise AbiError(f"the ABI type {text!r} is unknown here")


def split_types(fields: str) -> list[str]:
    """The fields of a struct, at the commas outside inner parentheses."""
    found, depth, start = [], 0, 0
    for index, character in enumerate(fields):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            found.append(fields[start:index])
            start = index + 1
    return [*found, fields[start:]] if fields else []


# --- sequences -------------------------------------------------------------------------------------------------


def _encode_all(kinds: Sequence[Kind], values: Any) -> bytes:
    if isinstance(values, (str, bytes)) or len(values) != len(kinds):
        raise AbiError(f"{len(kinds)} values are needed")
    heads, tails = [], []
    offset = sum(kind.head_bytes for kind in kinds)
    for kind, value in zip(kinds, values, strict=True):
        encoded = kind.encode(value)
        if kind.dynamic:
            heads.append(offset.to_bytes(WORD_BYTES, "big"))
            tails.append(encoded)
            offset += len(encoded)
        else:
            heads.append(encoded)
    return b"".join(heads + tails)


def _decode_all(reader: _Reader, kinds: Sequence[Kind], base: int) -> tuple[Any, ...]:
    values, offset = [], base
    for kind in kinds:
        values.append(kind.decode(reader, base + reader.number(offset) if kind.dynamic else offset))
        offset += kind.head_bytes
    return tuple(values)


def _struct(fields: Sequence[Kind]) -> Kind:
    dynamic = any(field.dynamic for field in fields)
    size = WORD_BYTES if dynamic else sum(field.head_bytes for field in fields)
    return Kind(
        size, dynamic, lambda values: _encode_all(fields, values), lambda reader, at: _decode_all(reader, fields, at)
    )


def _array(item: Kind) -> Kind:
    def encode_items(values: Any) -> bytes:
        return len(values).to_bytes(WORD_BYTES, "big") + _encode_all([item] * len(values), values)

    def decode_items(reader: _Reader, at: int) -> tuple[Any, ...]:
        count = reader.number(at)
        if count * item.head_bytes > reader.left:
            raise AbiError("an array is longer than its encoding")
        return _decode_all(reader, [item] * count, at + WORD_BYTES)

    return Kind(WORD_BYTES, True, encode_items, decode_items)


# --- values ----------------------------------------------------------------------------------------------------


def _unsigned(bits: int) -> Kind:
    def encode_number(value: Any) -> bytes:
        if not isinstance(value, int) or value < 0 or value.bit_length() > bits:
            raise AbiError(f"{value!r} is no unsigned integer of {bits} bits")
        return value.to_bytes(WORD_BYTES, "big")

    def decode_number(reader: _Reader, at: int) -> int:
        value = reader.number(at)
        if value.bit_length() > bits:
            raise AbiError(f"an integer has more than {bits} bits")
        return value

    return Kind(WORD_BYTES, False, encode_number, decode_number)


def _fixed_bytes(length: int) -> Kind:
    def encode_bytes(value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) != length:
            raise AbiError(f"bytes{length} has {length} bytes")
        return value.ljust(WORD_BYTES, b"\0")

    def decode_bytes(reader: _Reader, at: int) -> bytes:
        word = reader.take(at, WORD_BYTES)
        if any(word[length:]):
            raise AbiError(f"something stands behind bytes{length}")
        return word[:length]

    return Kind(WORD_BYTES, False, encode_bytes, decode_bytes)


def _encode_blob(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise AbiError("bytes are needed")
    return len(value).to_bytes(WORD_BYTES, "big") + value + bytes(-len(value) % WORD_BYTES)


def _decode_blob(reader: _Reader, at: int) -> bytes:
    length = reader.number(at)
    padded = reader.take(at + WORD_BYTES, length + -length % WORD_BYTES)
    if any(padded[length:]):
        raise AbiError("something stands in the padding")
    return padded[:length]


def _decode_text(reader: _Reader, at: int) -> str:
    try:
        return _decode_blob(reader, at).decode()
    except UnicodeDecodeError as error:
        raise AbiError("a text is not UTF-8") from error


def _encode_address(value: Any) -> bytes:
    try:
        address = value if isinstance(value, bytes) else bytes.fromhex(value.removeprefix("0x"))
    except (ValueError, AttributeError) as error:
        raise AbiError(f"{value!r} is no address") from error
    if len(address) != ADDRESS_BYTES:
        raise AbiError(f"an address has {ADDRESS_BYTES} bytes")
    return address.rjust(WORD_BYTES, b"\0")


def _decode_address(reader: _Reader, at: int) -> str:
    word = reader.take(at, WORD_BYTES)
    if any(word[:-ADDRESS_BYTES]):
        raise AbiError("an address has more than 20 bytes")
    return "0x" + word[-ADDRESS_BYTES:].hex()


def _decode_bool(reader: _Reader, at: int) -> bool:
    value = reader.number(at)
    if value > 1:
        raise AbiError("a bool is neither 0 nor 1")
    return bool(value)


_PLAIN = {
    "address": Kind(WORD_BYTES, False, _encode_address, _decode_address),
    "bool": Kind(WORD_BYTES, False, lambda value: int(bool(value)).to_bytes(WORD_BYTES, "big"), _decode_bool),
    "bytes": Kind(WORD_BYTES, True, _encode_blob, _decode_blob),
    "string": Kind(WORD_BYTES, True, lambda value: _encode_blob(value.encode()), _decode_text),
}
