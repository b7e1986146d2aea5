"""Vectors too long to hold: read in blocks from wherever they lie, written piece by piece to wherever they go.

The core computes on these and does no I/O itself: ``store/`` gives it files, tests give it memory. A numpy array is a
:class:`Vector` as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from p2p_flock.errors import UsageError

BLOCK_VALUES = 1 << 17  # per pass over a long vector: 1 MiB of float64, so that a few temporaries stay in cache

Scalar_co = TypeVar("Scalar_co", bound=np.generic, covariant=True)
Scalar = TypeVar("Scalar", bound=np.generic)


class ByteSource(Protocol):
    """Bytes that stay where they are and never change: a file, or memory."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def read(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``offset`` on; the caller stays within :attr:`size`."""


class BlobSink(Protocol):
    """Takes one blob in pieces; it stands under its digest when it is finished, and not before."""

    def write(self, data: bytes | memoryview) -> None:
        """Append; ``data`` may be overwritten afterwards."""

    def finish(self) -> bytes:
        """The blob's sha-256, 32 bytes."""


class Vector(Protocol[Scalar_co]):
    """A one-dimensional vector that is read by slices (start:stop, no step)."""

    @property
    def size(self) -> int:
        """How many values there are."""

    def __getitem__(self, part: slice, /) -> NDArray[Scalar_co]:
        """These values; not to be written to."""


class SourceVector(Generic[Scalar]):
    """Little-endian values in a source, from ``offset_bytes`` on. A slice is read when it is asked for.

    Raises:
        UsageError: on construction, where the source is shorter than that.
    """

    def __init__(self, source: ByteSource, dtype: np.dtype[Scalar], size: int, offset_bytes: int = 0) -> None:
        if offset_bytes < 0 or size < 0 or offset_bytes + size * dtype.itemsize > source.size:
            raise UsageError(f"{size} values of {dtype} from byte {offset_bytes} on are more than {source.size} bytes")
        self.source = source
        self.offset_bytes = offset_bytes
        self.dtype = dtype.newbyteorder("<")
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> NDArray[Scalar]:
        start, stop, _ = part.indices(self._size)
        width = self.dtype.itemsize
        data = self.source.read(self.offset_bytes + start * width, max(0, stop - start) * width)
        return np.frombuffer(data, dtype=self.dtype)


class MemorySource:
    """A :class:`ByteSource` over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]


class MemorySink:
    """A :class:`BlobSink` that keeps the blob in memory.

    Attributes:
        data: what was written so far.
    """

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self.data += data

    def finish(self) -> bytes:
        return hashlib.sha256(self.data).digest()


def iterate_blocks(vector: Vector[Scalar], block_values: int = BLOCK_VALUES) -> Iterator[tuple[int, NDArray[Scalar]]]:
    """(index of its first value, block) in order, ``block_values`` at a time, the last block shorter."""
    for start in range(0, vector.size, block_values):
        yield start, vector[start : min(start + block_values, vector.size)]


def view_bytes(values: NDArray[np.generic]) -> memoryview:
    """The little-endian bytes of a contiguous one-dimensional array; copied only on a big-endian machine."""
    ordered = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(ordered).view(np.uint8).data
