"""What a fuzz target is: bytes in, "taken" or "refused" out, and nothing else.

Every reader of outside bytes has one. Its ``run`` catches exactly the errors that the reader promises; whatever else
comes out, and every broken promise it asserts, is a finding (`tests/fuzz/engine.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum


class Form(Enum):
    """How an input is read by mutations that know its structure."""

    BYTES = "bytes"
    MSGPACK = "msgpack"
    JSON = "json"
    WORDS = "words"  # 32 bytes each, as in the contract ABI
    TEXT = "text"


@dataclass(frozen=True)
class Target:
    """One reader of outside bytes.

    Attributes:
        run: true where the input was taken, false where it was refused as promised.
        make_seeds: real messages, made by the code that writes them.
        prefix_bytes: bytes at the beginning that choose what reads the rest.
        weight: how many of the inputs it gets beside others; slow readers get fewer.
        tokens: words that the reader looks for.
    """

    name: str
    run: Callable[[bytes], bool]
    make_seeds: Callable[[], Sequence[bytes]]
    form: Form = Form.BYTES
    bytes_max: int = 4096
    prefix_bytes: int = 0
    weight: float = 1.0
    tokens: tuple[bytes, ...] = ()
