"""Masks: a keystream added to, or taken from, ring lanes.

Called by ``secagg/`` and, for dither, by whoever encodes an update. The byte stream is AES-256-CTR (NIST SP 800-38A
§6.5) of zeros with a 128-bit big-endian counter starting at 0; lane ``n`` takes bytes ``n·w/8 …`` of it, little-endian.
Any implementation of AES gives the same stream, so whoever re-executes an opened sum gets the same lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from p2p_flock.crypto.accelerator import Accelerator, AcceleratorUnavailableError, build_accelerator
from p2p_flock.crypto.ring import Words
from p2p_flock.errors import CryptoError

Lanes = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

# Keystream and accumulator of one block stay in a second-level cache; below 128 KiB the calls cost more than it saves.
BLOCK_BYTES = 256 * 1024
_LINE_BYTES = 64  # of a cache
_AES_BLOCK_BYTES = 16
_KEY_BYTES = 32
_ZEROS = memoryview(bytes(BLOCK_BYTES))


def lane_dtype(lane_bits: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """The little-endian unsigned type of 16- or 32-bit lanes.

    Raises:
        CryptoError: another width.
    """
    if lane_bits == 16:
        return np.dtype("<u2")
    if lane_bits == 32:
        return np.dtype("<u4")
    raise CryptoError(f"lanes have 16 or 32 bits, not {lane_bits}")


def _start_stream(key: bytes, offset_bytes: int) -> CipherContext:
    if len(key) != _KEY_BYTES:
        raise CryptoError(f"a mask key has {_KEY_BYTES} bytes, not {len(key)}")
    stream = Cipher(AES256(key), CTR(bytes(_AES_BLOCK_BYTES))).encryptor()
    if offset_bytes:
        _seek(stream, offset_bytes)
    return stream


def _seek(stream: CipherContext, offset_bytes: int) -> None:
    counter, rest = divmod(offset_bytes, _AES_BLOCK_BYTES)
    stream.reset_nonce(counter.to_bytes(_AES_BLOCK_BYTES, "big"))
    stream.update(bytes(rest))


def keystream(key: bytes, size_bytes: int, offset_bytes: int = 0) -> bytes:
    """Bytes ``offset_bytes .. offset_bytes + size_bytes`` of the stream under a 32-byte key.

    Raises:
        CryptoError: the key has another length, or an argument is negative.
    """
    if size_bytes < 0 or offset_bytes < 0:
        raise CryptoError("sizes and offsets are not negative")
    return _start_stream(key, offset_bytes).update(bytes(size_bytes))


class Keystream:
    """:func:`keystream` of one key, piece after piece into one buffer: half the time of a new stream for each."""

    def __init__(self, key: bytes) -> None:
        """Make the key ready.

        Raises:
            CryptoError: the key has another length than 32 bytes.
        """
        self._stream, self._at = _start_stream(key, 0), 0
        self._buffer = np.empty(BLOCK_BYTES + _AES_BLOCK_BYTES, dtype=np.uint8)  # update_into asks for a block of slack

    def read(self, offset_bytes: int, size_bytes: int) -> memoryview:
        """Bytes ``offset_bytes …`` of the stream, :data:`BLOCK_BYTES` at most; they stand until the next call."""
        if not 0 <= size_bytes <= BLOCK_BYTES or offset_bytes < 0:
            raise CryptoError(f"a piece of a keystream has at most {BLOCK_BYTES} bytes")
        if offset_bytes != self._at:
            _seek(self._stream, offset_bytes)
        self._stream.update_into(_ZEROS[:size_bytes], self._buffer.data)
        self._at = offset_bytes + size_bytes
        return self._buffer.data[:size_bytes]


class Masks:
    """Signed keys made ready once, to be added to one vector piece by piece.

    Holds the keys until it is let go. For one thread at a time; several threads take one each.
    """

    def __init__(self, signed_keys: Sequence[tuple[bytes, int]]) -> None:
        """Take (32-byte key, +1 or −1) in any order.

        Raises:
            CryptoError: a key of another length, or another sign.
        """
        if any(len(key) != _KEY_BYTES for key, _ in signed_keys):
            raise CryptoError(f"a mask key has {_KEY_BYTES} bytes")
        if any(sign not in (1, -1) for _, sign in signed_keys):
            raise CryptoError("a sign is +1 or −1")
        self.signed_keys = tuple(signed_keys)
        self._streams: tuple[CipherContext, ...] = ()
        self._buffer = np.empty(0, dtype=np.uint8)

    def add_to(self, accumulator: Words, offset_lanes: int = 0) -> None:
        """``accumulator += Σ sign · PRG(key)`` in place; see :func:`masks_into`."""
        _check_accumulator(accumulator)
        if offset_lanes < 0:
            raise CryptoError("an offset is not negative")
        offset_bytes = offset_lanes * accumulator.itemsize
        accelerator = _choice.get_accelerator(accumulator.itemsize, accumulator.nbytes * len(self.signed_keys))
        if accelerator is None:
            self._add_plainly(accumulator, offset_bytes)
        else:
            accelerator.add_masks(accumulator, self.signed_keys, offset_bytes)

    def _add_plainly(self, accumulator: Words, offset_bytes: int) -> None:
        """Blocks outside, keys inside, so that the second-level cache serves every key but the first."""
        if not self._streams:
            self._streams = tuple(_start_stream(key, 0) for key, _ in self.signed_keys)
            space = np.empty(BLOCK_BYTES + 2 * _LINE_BYTES, dtype=np.uint8)  # update_into asks for a block of slack
            self._buffer = space[-space.ctypes.data % _LINE_BYTES :]
        for stream in self._streams:
            _seek(stream, offset_bytes)
        lane_bytes = accumulator.itemsize
        end = BLOCK_BYTES - accumulator.ctypes.data % _LINE_BYTES // lane_bytes * lane_bytes
        start = 0
        while (
            start < accumulator.size
        ):  # all blocks but the first begin at a cache line: additions are 1.2 times faster
            block = accumulator[start : end // lane_bytes]
            zeros = _ZEROS[: block.nbytes]
            mask = self._buffer[: block.nbytes].view(block.dtype.newbyteorder("<"))
            for stream, (_, sign) in zip(self._streams, self.signed_keys, strict=True):
                stream.update_into(zeros, self._buffer.data)
                if sign == 1:
                    np.add(block, mask, out=block)
                else:
                    np.subtract(block, mask, out=block)
            start, end = end // lane_bytes, end + BLOCK_BYTES


def mask_into(accumulator: Words, key: bytes, sign: int, offset_lanes: int = 0) -> None:
    """``accumulator += sign · PRG(key)`` in place, modulo 2¹⁶, 2³² or 2⁶⁴. See :func:`masks_into`."""
    masks_into(accumulator, [(key, sign)], offset_lanes)


def masks_into(accumulator: Words, masks: Masks | Sequence[tuple[bytes, int]], offset_lanes: int = 0) -> None:
    """Add several masks to ``accumulator`` in place. The GIL is free nearly all the time.

    Args:
        accumulator: one-dimensional contiguous uint16, uint32 or uint64; its first lane (or packed word) is number
            ``offset_lanes`` of the vector.
        masks: (32-byte key, +1 or −1) each; or a :class:`Masks`, where the same keys go into many pieces.

    Raises:
        CryptoError: wrong dtype, shape, key length, sign or a negative offset.
    """
    (masks if isinstance(masks, Masks) else Masks(masks)).add_to(accumulator, offset_lanes)


def _check_accumulator(accumulator: Words) -> None:
    if accumulator.dtype not in (np.uint16, np.uint32, np.uint64) or accumulator.ndim != 1:
        raise CryptoError("masks go into one-dimensional lanes of uint16, uint32 or uint64")
    if not accumulator.flags.c_contiguous or not accumulator.flags.writeable:
        raise CryptoError("masks go into contiguous, writeable lanes")


# --- the engine ------------------------------------------------------------------------------------------------


class Engine(Enum):
    """Who computes masks. The bytes are the same."""

    AUTO = "auto"
    """The accelerator once a process has masked so much that loading it pays; else, or where there is none, plain."""
    PLAIN = "plain"
    ACCELERATED = "accelerated"
    """The accelerator from the first mask on; where there is none, plain."""


ACCELERATE_AFTER_BYTES = 256 << 20
"""Keystream after which AUTO loads the accelerator: 50 ms of plain work, against 90 ms for loading LLVM. So a small
alliance never pays for what it does not need, and nobody pays much more than twice the least."""


def choose_engine(engine: Engine) -> None:
    """Decide for the whole process, from now on. Run by whoever read the node's settings."""
    _choice.choose(engine)


def get_engine_name() -> str:
    """What computed the latest masks, for logs and reports.

    ``plain``, ``accelerated (<instructions>)``, or ``plain (<why there is no accelerator>)`` once that was found out.
    """
    return _choice.name


class EngineChoice:
    """Which engine is used; the process has one. Two threads that load the accelerator at once load two, one stays."""

    def __init__(self, build: Callable[[], Accelerator] = build_accelerator) -> None:
        """Start with AUTO; ``build`` loads the accelerator, or raises AcceleratorUnavailableError."""
        self._build = build
        self.choose(Engine.AUTO)

    def choose(self, engine: Engine) -> None:
        """See :func:`choose_engine`."""
        self._engine = engine
        self._accelerator: Accelerator | None = None
        self._compared: frozenset[int] = frozenset()  # widths in bytes whose lanes were right
        self._failure = ""
        self._masked_bytes = 0

    @property
    def name(self) -> str:
        """See :func:`get_engine_name`."""
        if self._accelerator is not None:
            return f"accelerated ({self._accelerator.name})"
        return f"plain ({self._failure})" if self._failure else "plain"

    def get_accelerator(self, lane_bytes: int, size_bytes: int) -> Accelerator | None:
        """The accelerator, if one is to add ``size_bytes`` of keystream to lanes of this width."""
        if self._engine is Engine.PLAIN or self._failure:
            return None
        if lane_bytes not in self._compared:
            self._masked_bytes += size_bytes
            if self._engine is Engine.AUTO and self._masked_bytes <= ACCELERATE_AFTER_BYTES:
                return None
            self._load(lane_bytes)
        return self._accelerator

    def _load(self, lane_bytes: int) -> None:
        try:
            accelerator = self._accelerator or self._build()
            if is_right(accelerator, lane_bytes):
                self._accelerator, self._compared = accelerator, self._compared | {lane_bytes}
                return
            self._failure = f"the {accelerator.name} kernel gives wrong masks on this machine"
        except AcceleratorUnavailableError as error:
            self._failure = str(error)
        self._accelerator = None


_choice = EngineChoice()


def is_right(accelerator: Accelerator, lane_bytes: int) -> bool:
    """Whether it gives the plain path's lanes: both signs, pieces that begin and end anywhere.

    A kernel that is wrong on one machine (a processor's fault, a compiler's) would make masks that never cancel.
    """
    masks = Masks([(bytes([n]) * _KEY_BYTES, 1 - 2 * (n % 2)) for n in range(3)])
    for offset, size in ((0, 24_576), (1, 24_580), (7, 3), (10**12, 700)):
        expected: Words = np.arange(size).astype(f"<u{lane_bytes}")
        given = expected.copy()
        masks._add_plainly(expected, offset * lane_bytes)
        accelerator.add_masks(given, masks.signed_keys, offset * lane_bytes)
        if not np.array_equal(expected, given):
            return False
    return True
