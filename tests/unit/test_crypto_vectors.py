"""Vectors in blocks: the same values, and the same bits, as in one piece."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from p2p_flock.crypto.fixed_point import DITHER_BYTES_PER_LANE, Encoder, encode_statistics, encode_update
from p2p_flock.crypto.masking import keystream
from p2p_flock.crypto.vectors import MemorySink, MemorySource, SourceVector, Vector, iterate_blocks, view_bytes
from p2p_flock.errors import UsageError

KEY = hashlib.sha256(b"dither").digest()


def test_source_vector__reads_what_lies_there() -> None:
    """A model would be read from the wrong place in its file."""
    values = np.arange(10, dtype="<f8")
    vector = SourceVector(MemorySource(b"header!!" + values.tobytes() + b"behind"), np.dtype("<f8"), 10, 8)
    assert vector.size == 10
    assert vector[:].tolist() == values.tolist()
    assert vector[3:5].tolist() == [3.0, 4.0]
    assert vector[8:99].tolist() == [8.0, 9.0]
    assert vector[5:2].tolist() == []


def test_source_vector__longer_than_its_source_is_refused() -> None:
    """The worker's short file would be read as far as it goes."""
    for size, offset in ((3, 0), (2, 1), (2, -1), (-1, 0)):
        with pytest.raises(UsageError):
            SourceVector(MemorySource(bytes(8)), np.dtype("<f4"), size, offset)


def test_blocks__cover_a_vector_in_order() -> None:
    """Lanes would be left out or come twice."""
    values = np.arange(10)
    found = [(start, block.tolist()) for start, block in iterate_blocks(values, 4)]
    assert found == [(0, [0, 1, 2, 3]), (4, [4, 5, 6, 7]), (8, [8, 9])]
    assert list(iterate_blocks(values[:0])) == []


def test_view_bytes__is_little_endian() -> None:
    """Two machines would hash the same model differently."""
    assert bytes(view_bytes(np.array([1, 2], dtype=">u4"))) == b"\x01\0\0\0\x02\0\0\0"
    assert bytes(view_bytes(np.empty(0))) == b""


def test_memory_sink__gives_the_digest_of_all_pieces() -> None:
    """The simulator's blobs would stand under other names than a node's."""
    sink = MemorySink()
    sink.write(b"ab")
    sink.write(memoryview(b"c"))
    assert sink.finish() == hashlib.sha256(b"abc").digest()


@pytest.mark.parametrize("is_update", [True, False])
@pytest.mark.parametrize("is_in_source", [True, False])
def test_encoder__in_blocks_gives_the_lanes_of_one_piece(is_update: bool, is_in_source: bool) -> None:
    """The reference, and whoever replays a run, would get other lanes than the node (P2)."""
    values = np.random.default_rng(1).normal(0, 3, 1000).astype(np.float32)
    lanes_at_once = encode_update if is_update else encode_statistics
    expected = lanes_at_once(values, 2.0, 1000, 3, keystream(KEY, DITHER_BYTES_PER_LANE * values.size), 32)
    vector: Vector[np.floating] = values
    if is_in_source:
        vector = SourceVector(MemorySource(values.tobytes()), np.dtype("<f4"), values.size)
    encoder = Encoder(vector, is_update, 2.0, 1000, 3, 32, KEY)
    blocks = list(encoder.encode(4 * 96))
    assert [block.size for block in blocks] == [96] * 10 + [40]
    assert np.concatenate(blocks).tobytes() == expected.tobytes()
    assert KEY.hex() not in repr(encoder) and repr(KEY) not in repr(encoder)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("is_update", [True, False])
def test_encoder__values_that_are_not_finite_are_refused(bad: float, is_update: bool) -> None:
    """One diverged member would garble the cohort's sum."""
    values = np.zeros(200)
    values[150] = bad
    with pytest.raises(UsageError):
        list(Encoder(values, is_update, 2.0, 10, 1, 32, KEY).encode(4 * 64))
