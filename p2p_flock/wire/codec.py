"""Canonical encoding of messages: frozen dataclasses to msgpack arrays and back, strictly.

Called by ``wire/messages.py`` alone. A message is the msgpack array of its fields in declaration order, nested messages
likewise, a union as ``[tag, fields…]``. There is exactly one encoding of each value: the decoder re-encodes what it
read and refuses any difference, so a digest over bytes is a digest over the value. Never pickles, never guesses a type,
never reads past the bound given for a field.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgpack

from p2p_flock.errors import WireError

Plain = Union[int, bytes, str, "list[Plain]"]
M = TypeVar("M")

NESTING_MAX = 8  # our deepest message nests five arrays; msgpack itself allows 1,024 levels


@dataclass(frozen=True, slots=True)
class Range:
    """An integer's inclusive bounds."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Length:
    """Inclusive bounds on the length of bytes, text (in UTF-8 bytes) or a tuple."""

    low: int
    high: int


def encode(message: object) -> bytes:
    """Canonical bytes of a message.

    Raises:
        WireError: a field lies outside its declared bounds (our own caller's mistake).
    """
    schema = _schema(type(message))
    return cast(bytes, msgpack.packb(schema.to_plain(message), use_bin_type=True))


def decode(kind: type[M], data: bytes, bytes_max: int) -> M:
    """Read exactly one canonical message of type ``kind``.

    Raises:
        WireError: longer than ``bytes_max``, not msgpack, not canonical, a wrong type or a bound broken.
    """
    if len(data) > bytes_max:
        raise WireError(f"{kind.__name__}: {len(data)} bytes exceed the limit of {bytes_max}")
    schema = _schema(kind)
    try:
        plain = msgpack.unpackb(
            data,
            raw=False,
            use_list=True,
            strict_map_key=True,
            # An array is allocated as long as its head says, before its items are read; and heads nest.
            max_array_len=schema.items_max,
            max_map_len=0,
            max_ext_len=0,
            max_bin_len=len(data),
            max_str_len=len(data),
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise WireError(f"{kind.__name__}: not msgpack: {error}") from error
    message = schema.from_plain(plain, kind.__name__, 0)
    if encode(message) != data:
        raise WireError(f"{kind.__name__}: not in canonical form")
    return cast(M, message)


@dataclass(frozen=True, slots=True)
class _Schema:
    """``items_max``: length of the longest array that a value may hold at any depth."""

    to_plain: Callable[[object], Plain]
    from_plain: Callable[[Plain, str, int], object]
    items_max: int = 0


_schemas: dict[type, _Schema] = {}


def _schema(kind: type) -> _Schema:
    if kind not in _schemas:
        _schemas[kind] = _make_schema(kind)
    return _schemas[kind]


def _make_schema(kind: type) -> _Schema:
    hints = get_type_hints(kind, include_extras=True)
    fields = [(field.name, _field_schema(hints[field.name])) for field in dataclasses.fields(kind)]

    def to_plain(message: object) -> Plain:
        return [schema.to_plain(getattr(message, name)) for name, schema in fields]

    def from_plain(plain: Plain, where: str, depth: int) -> object:
        if depth > NESTING_MAX:
            raise WireError(f"{where}: nested too deeply")
        if not isinstance(plain, list) or len(plain) != len(fields):
            raise WireError(f"{where}: expected an array of {len(fields)} fields")
        values = [
            schema.from_plain(item, f"{where}.{name}", depth + 1)
            for (name, schema), item in zip(fields, plain, strict=True)
        ]
        return kind(*values)

    return _Schema(to_plain, from_plain, max([len(fields), *(schema.items_max for _, schema in fields)]))


def _field_schema(hint: object) -> _Schema:
    bounds: Range | Length | None = None
    if get_origin(hint) is Annotated:
        hint, bounds = get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _schema(cast(type, hint))
    if get_origin(hint) is tuple:
        assert isinstance(bounds, Length), "every tuple declares its bounds"
        return _tuple_schema(_field_schema(get_args(hint)[0]), bounds)
    if get_origin(hint) in (Union, types.UnionType):
        return _union_schema(cast("tuple[type, ...]", get_args(hint)))
    if hint is int:
        assert isinstance(bounds, Range), "every integer declares its bounds"
        return _integer_schema(bounds)
    assert hint in (bytes, str) and isinstance(bounds, Length), f"no wire form for {hint}"
    return _blob_schema(cast(type, hint), bounds)


def _integer_schema(bounds: Range) -> _Schema:
    def check(value: object, where: str) -> int:
        if type(value) is not int or not bounds.low <= value <= bounds.high:
            raise WireError(f"{where}: expected an integer in {bounds.low}..{bounds.high}")
        return value

    return _Schema(lambda value: check(value, "integer"), lambda plain, where, _: check(plain, where))


def _blob_schema(kind: type, bounds: Length) -> _Schema:
    def check(value: object, where: str) -> Plain:
        if type(value) is not kind:
            raise WireError(f"{where}: expected {kind.__name__}")
        size = len(value.encode()) if isinstance(value, str) else len(cast(bytes, value))
        if not bounds.low <= size <= bounds.high:
            raise WireError(f"{where}: {size} bytes, allowed {bounds.low}..{bounds.high}")
        return cast(Plain, value)

    return _Schema(lambda value: check(value, kind.__name__), lambda plain, where, _: check(plain, where))


def _tuple_schema(item: _Schema, bounds: Length) -> _Schema:
    def check(count: int, where: str) -> None:
        if not bounds.low <= count <= bounds.high:
            raise WireError(f"{where}: {count} items, allowed {bounds.low}..{bounds.high}")

    def to_plain(value: object) -> Plain:
        if type(value) is not tuple:
            raise WireError("expected a tuple")
        check(len(value), "tuple")
        return [item.to_plain(entry) for entry in value]

    def from_plain(plain: Plain, where: str, depth: int) -> object:
        if depth > NESTING_MAX or not isinstance(plain, list):
            raise WireError(f"{where}: expected an array")
        check(len(plain), where)
        return tuple(item.from_plain(entry, f"{where}[{index}]", depth + 1) for index, entry in enumerate(plain))

    return _Schema(to_plain, from_plain, max(bounds.high, item.items_max))


def _union_schema(kinds: tuple[type, ...]) -> _Schema:
    def to_plain(value: object) -> Plain:
        if type(value) not in kinds:
            raise WireError(f"{type(value).__name__} is not a member of this union")
        return [kinds.index(type(value)), _schema(type(value)).to_plain(value)]

    def from_plain(plain: Plain, where: str, depth: int) -> object:
        if not isinstance(plain, list) or len(plain) != 2:
            raise WireError(f"{where}: expected [tag, fields]")
        tag = plain[0]
        if type(tag) is not int or not 0 <= tag < len(kinds):
            raise WireError(f"{where}: unknown tag")
        return _schema(kinds[tag]).from_plain(plain[1], f"{where}.{kinds[tag].__name__}", depth + 1)

    return _Schema(to_plain, from_plain, max([2, *(_schema(kind).items_max for kind in kinds)]))
