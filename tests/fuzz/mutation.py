"""Changes to inputs: blind ones of bytes, and ones that keep a form (msgpack, JSON, ABI words, text) so as to get deep.

Pure: a generator and inputs in, an input out; the same seed gives the same inputs on every machine.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

import msgpack

from tests.fuzz.target import Form, Target

Node = list[object] | dict[object, object]

INTERESTING_NUMBERS = (
    0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 65, 127, 128, 255, 256, 257, 511, 512, 1023, 1024, 4095, 4096, 65535,
    65536, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -1, -128, -(2**31),
    -(2**63),
)  # fmt: skip
TEXTS = (
    "", "0", "1", "-1", "0x", "0x0", "0x00", "1e999", "NaN", "null", "[", "[[", "{", "}", "]", '"', "'", "\\", "\n",
    "\x00", "\ud800", "é", "٣", "²", "a" * 300, "0" * 300, "9" * 5000, "[" * 3000, " " * 3000, "..", "/", "//", "::",
    "%00", "true", "false", "#", "=", ".", ",", "1_000", "\t", "1979-05-27T07:32:00Z",
)  # fmt: skip
NODES_MAX = 400  # of a tree that is changed; larger ones are changed as bytes
CROWDED_NODES = 60
STRUCTURED_RATIO = 0.6


def mutate(generator: random.Random, pool: Sequence[bytes], target: Target) -> bytes:
    """A changed copy of one of the inputs in ``pool``, at most ``target.bytes_max`` long."""
    data = pool[generator.randrange(len(pool))]
    prefix, body = data[: target.prefix_bytes], data[target.prefix_bytes :]
    if prefix and generator.random() < 0.15:
        prefix = bytes(generator.randrange(256) for _ in prefix)
    for _ in range(generator.choice((1, 1, 1, 2, 3, 6))):
        if target.form is not Form.BYTES and generator.random() < STRUCTURED_RATIO:
            body = _STRUCTURED[target.form](generator, body)
        else:
            body = change_bytes(generator, body, pool, target.tokens)
    return (prefix + body)[: target.bytes_max]


def change_bytes(
    generator: random.Random, data: bytes, pool: Sequence[bytes] = (b"",), tokens: Sequence[bytes] = ()
) -> bytes:
    """One blind change: of a bit, a byte, a number, a range, a splice of two inputs, or a word put in."""
    changed = bytearray(data)
    at = generator.randrange(len(changed) + 1)
    size = min(len(changed) - at, generator.choice((1, 1, 2, 4, 8, 32, 128)))
    match generator.randrange(9):
        case 0 if changed:
            at %= len(changed)
            changed[at] ^= 1 << generator.randrange(8)
        case 1 if changed:
            changed[at % len(changed)] = generator.randrange(256)
        case 2:
            del changed[at : at + size]
        case 3:
            changed[at:at] = generator.randbytes(size or 1)
        case 4:
            changed[at:at] = changed[at : at + size] * generator.choice((1, 1, 2, 16))
        case 5:
            width = generator.choice((1, 2, 4, 8))
            number = generator.choice(INTERESTING_NUMBERS) % (1 << 8 * width)
            changed[at : at + width] = number.to_bytes(width, generator.choice(("big", "little")))
        case 6:
            other = pool[generator.randrange(len(pool))]
            changed[at:] = other[generator.randrange(len(other) + 1) :]
        case 7 if tokens:
            changed[at : at + generator.choice((0, size))] = generator.choice(tokens)
        case _:
            changed = changed[:at]
    return bytes(changed)


def _change_msgpack(generator: random.Random, data: bytes) -> bytes:
    try:
        tree = msgpack.unpackb(data, raw=False, strict_map_key=False, max_array_len=4096)
        return bytes(msgpack.packb(_change_tree(generator, tree), use_bin_type=True))
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        return change_bytes(generator, data)


def _change_json(generator: random.Random, data: bytes) -> bytes:
    try:
        tree = json.loads(data)
        text = json.dumps(_change_tree(generator, tree, blobs=False), separators=(",", ":"), sort_keys=True)
        return text.encode(errors="surrogatepass")
    except (ValueError, TypeError, OverflowError, RecursionError):
        return change_bytes(generator, data)


def _change_words(generator: random.Random, data: bytes) -> bytes:
    words = [bytearray(data[start : start + 32].ljust(32, b"\0")) for start in range(0, len(data), 32)] or [
        bytearray(32)
    ]
    at = generator.randrange(len(words))
    match generator.randrange(6):
        case 0:
            words[at][:] = (generator.choice(INTERESTING_NUMBERS) % 2**256).to_bytes(32, "big")
        case 1:  # an offset or a count that is a little off, or points elsewhere
            value = int.from_bytes(words[at], "big") + generator.choice((-64, -32, -1, 1, 32, 64, 1024))
            words[at][:] = (value % 2**256).to_bytes(32, "big")
        case 2:
            words[at][:] = (32 * generator.randrange(len(words) + 4)).to_bytes(32, "big")
        case 3:
            words.insert(at, bytearray(words[generator.randrange(len(words))]))
        case 4 if len(words) > 1:
            del words[at]
        case _:
            words[at][generator.randrange(32)] = generator.randrange(256)
    return b"".join(map(bytes, words))


def _change_text(generator: random.Random, data: bytes) -> bytes:
    text = data.decode(errors="replace")
    lines = text.splitlines(keepends=True) or [""]
    at = generator.randrange(len(lines))
    line = lines[at]
    cut = generator.randrange(len(line) + 1)
    match generator.randrange(6):
        case 0:
            lines[at] = line[:cut] + generator.choice(TEXTS) + line[cut:]
        case 1:
            lines[at] = line[:cut] + generator.choice(TEXTS) + line[cut + generator.randrange(8) :]
        case 2:
            lines.insert(at, lines[generator.randrange(len(lines))])
        case 3:
            del lines[at]
        case 4:
            key, equals, _ = line.partition("=")
            lines[at] = f"{key}{equals} {generator.choice((*TEXTS, *map(str, INTERESTING_NUMBERS)))}\n"
        case _:
            other = generator.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
    return "".join(lines).encode(errors="surrogatepass")


_STRUCTURED: dict[Form, Callable[[random.Random, bytes], bytes]] = {
    Form.MSGPACK: _change_msgpack,
    Form.JSON: _change_json,
    Form.WORDS: _change_words,
    Form.TEXT: _change_text,
}


# --- trees -----------------------------------------------------------------------------------------------------


def _change_tree(generator: random.Random, tree: object, blobs: bool = True) -> object:
    """The tree with one value, item or key changed, moved, repeated, removed or wrapped."""
    root: list[object] = [tree]
    slots = _slots(root)
    holder, key = slots[generator.randrange(len(slots))]
    value = holder[key]  # type: ignore[index]  # a list's index or a map's key
    match generator.randrange(8):
        case 0:
            holder[key] = _any_value(generator, blobs)  # type: ignore[index]
        case 1 | 2:
            holder[key] = _near_value(generator, value, blobs)  # type: ignore[index]
        case 3:
            other, place = slots[generator.randrange(len(slots))]
            holder[key] = other[place] if holder is not root else value  # type: ignore[index]
        case 4 if isinstance(value, list) and value:
            del value[generator.randrange(len(value))]
        case 5 if isinstance(value, list) and value:
            many = (1, 1, 2, 16, 70) if len(slots) < CROWDED_NODES else (1,)  # else six changes make millions
            value += [value[generator.randrange(len(value))]] * generator.choice(many)
        case 6 if isinstance(value, dict) and value:
            chosen = generator.choice(list(value))
            moved = value.pop(chosen)
            if generator.random() < 0.5:
                value[generator.choice(("", "x", str(chosen) + "_", chosen))] = moved
        case _:
            holder[key] = [value]  # type: ignore[index]
    return root[0]


def _slots(root: list[object]) -> list[tuple[Node, object]]:
    found: list[tuple[Node, object]] = []
    pending: list[Node] = [root]
    while pending and len(found) < NODES_MAX:
        node = pending.pop()
        for key in range(len(node)) if isinstance(node, list) else list(node):
            found.append((node, key))
            value = node[key]  # type: ignore[index,call-overload]
            if isinstance(value, (list, dict)):
                pending.append(value)
    return found


def _any_value(generator: random.Random, blobs: bool) -> object:
    values: list[object] = [
        None, True, False, 0.5, float("inf"), float("nan"), [], {}, [[]], generator.choice(INTERESTING_NUMBERS),
        generator.choice(TEXTS).encode(errors="replace").decode(), generator.choice(TEXTS),
    ]  # fmt: skip
    if blobs:
        values += [b"", generator.randbytes(generator.choice((1, 31, 32, 33, 64, 65))), bytes(32)]
    else:
        values += ["0x" + generator.randbytes(generator.choice((1, 20, 31, 32, 33))).hex(), 10**400, "0x1_0"]
    return values[generator.randrange(len(values))]


def _near_value(generator: random.Random, value: object, blobs: bool) -> object:
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return _any_value(generator, blobs)
    if isinstance(value, int):
        return generator.choice((value + 1, value - 1, -value, value * 2, value ^ 1 << generator.randrange(64)))
    if isinstance(value, bytes):
        return change_bytes(generator, value)
    if isinstance(value, str):
        return change_bytes(generator, value.encode(errors="replace")).decode(errors="replace")
    return _any_value(generator, blobs)
