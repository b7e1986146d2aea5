"""Rings: words, their sums, and what is seen in them."""

from __future__ import annotations

import numpy as np
import pytest

from p2p_flock.crypto.ring import FIELD_BITS, Ring, Words
from p2p_flock.errors import ParameterError
from p2p_flock.params import PLAIN_LANE_BITS, RINGS
from p2p_flock.wire.messages import CHUNK_BYTES

PACKED = [bits for bits in RINGS if bits not in PLAIN_LANE_BITS]
COUNTS = [1, 2, 7, 60, 61, 100_003]


def pack(ring: Ring, integers: list[int], bias: int) -> Words:
    words: Words = np.empty(ring.word_count(len(integers)), dtype=ring.dtype)
    ring.pack(np.array(integers, dtype=np.int32), bias, words)
    return words


def inputs_of(ring: Ring, count: int, members: int) -> tuple[list[list[int]], int]:
    """Per member ``count`` integers up to the ring's room, both ends among them; the bias of each."""
    bias = min(ring.sum_bound_max // members, 2**24)
    draw = np.random.default_rng(count)
    values = [draw.integers(-bias, bias, count, endpoint=True).tolist() for _ in range(members)]
    for row in values:
        row[0], row[-1] = bias, -bias
    return values, bias


def test_ring__the_fields_fill_sixty_bits() -> None:
    """The top four bits of a sum would not be zero, or a field would be wasted."""
    assert {bits: Ring(bits).lanes_per_word for bits in PACKED} == {10: 6, 12: 5, 15: 4, 20: 3, 30: 2}
    assert all(Ring(bits).lanes_per_word * bits == FIELD_BITS for bits in PACKED)
    assert [(Ring(bits).lanes_per_word, Ring(bits).word_bytes) for bits in PLAIN_LANE_BITS] == [(1, 2), (1, 4)]


@pytest.mark.parametrize("bits", [0, 8, 24, 64])
def test_ring__other_widths_are_refused(bits: int) -> None:
    """Two nodes would cut words differently."""
    with pytest.raises(ParameterError):
        Ring(bits)


@pytest.mark.parametrize("bits", RINGS)
def test_ring__sizes(bits: int) -> None:
    """Chunks would have other sizes than their trainer gave them."""
    ring = Ring(bits)
    per_chunk = ring.lanes_in(CHUNK_BYTES)
    assert ring.vector_bytes(per_chunk) == CHUNK_BYTES
    assert ring.vector_bytes(per_chunk + 1) == CHUNK_BYTES + ring.word_bytes
    assert ring.vector_bytes(1) == ring.word_bytes == ring.dtype.itemsize
    assert ring.word_count(ring.lanes_per_word + 1) == 2


@pytest.mark.parametrize("bits", PACKED)
def test_pack__puts_field_zero_lowest(bits: int) -> None:
    """Another implementation would read other integers."""
    ring, integers, bias = Ring(bits), [3, -2, 0, 7, -7, 1, 5], 9
    expected = [0] * ring.word_count(len(integers))
    for n, value in enumerate(integers):
        expected[n // ring.lanes_per_word] |= (value + bias) << (n % ring.lanes_per_word * bits)
    assert pack(ring, integers, bias).tolist() == expected


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("bits", RINGS)
def test_lift__gives_the_sum_of_the_integers(bits: int, count: int) -> None:
    """A field would carry into the next, or lose its sign."""
    ring, members = Ring(bits), 3
    values, bias = inputs_of(ring, count, members)
    total: Words = np.zeros(ring.word_count(count), dtype=ring.dtype)
    for row in values:
        total += pack(ring, row, bias)
    sum_bound = members * bias
    assert ring.is_in_range(total, count, sum_bound)
    assert ring.lift(total, count, sum_bound).tolist() == np.sum(values, axis=0).tolist()


@pytest.mark.parametrize("bits", PLAIN_LANE_BITS)
def test_lift__is_centered(bits: int) -> None:
    """The sign of a sum would be lost."""
    half = 2 ** (bits - 1)
    lanes = Ring(bits).read(np.array([0, 1, half - 1, half, 2 * half - 1], dtype=f"<u{bits // 8}").tobytes())
    assert Ring(bits).lift(lanes, 5, 0).tolist() == [0, 1, half - 1, -half, -1]


@pytest.mark.parametrize("bits", RINGS)
def test_is_in_range__knows_both_ends(bits: int) -> None:
    """Garbled sums would be voted on."""
    ring, bound = Ring(bits), 100
    for count in (1, 13, 60_000):
        for place in {0, count // 2, count - 1}:
            for value in (bound, -bound, bound + 1, -bound - 1):
                integers = [0] * count
                integers[place] = value
                # A field below zero borrows from its neighbors: that is how a cheat's too small value arrives.
                lanes = np.array(integers, dtype=np.int64) + (bound if ring.is_packed else 0)
                words = sum_fields(ring, lanes)
                assert ring.is_in_range(words, count, bound) is (abs(value) <= bound), (count, place, value)


def sum_fields(ring: Ring, fields: np.ndarray) -> Words:
    """Σ field · 2^(w·place) per word, whatever the fields are, modulo the word."""
    padded = np.zeros(ring.word_count(fields.size) * ring.lanes_per_word, dtype=np.int64)
    padded[: fields.size] = fields
    weights = np.array([1 << (n * ring.lane_bits) for n in range(ring.lanes_per_word)], dtype=np.int64)
    return ring.read((padded.reshape(-1, ring.lanes_per_word) * weights).sum(axis=1).astype(ring.dtype).tobytes())


@pytest.mark.parametrize("bits", PACKED)
def test_is_in_range__every_bit_that_an_honest_sum_lacks_shows(bits: int) -> None:
    """A bit in the top of a word, or behind the last lane, would make two blobs of one sum."""
    ring = Ring(bits)
    count, bound = ring.lanes_per_word + 1, 5
    good = pack(ring, [0] * count, bound)
    assert ring.is_in_range(good, count, bound)
    bad = [(0, bit) for bit in range(FIELD_BITS, 64)] + [(1, bit) for bit in range(bits, 64)]
    for place, bit in bad:
        words = good.copy()
        words[place] |= np.uint64(1 << bit)
        assert not ring.is_in_range(words, count, bound), (place, bit)


@pytest.mark.parametrize("bits", RINGS)
def test_is_in_range__garbled_vectors_fail(bits: int) -> None:
    """A mask that is left in the sum would be adopted as an update."""
    ring = Ring(bits)
    for seed in range(20):
        garbled = ring.read(np.random.default_rng(seed).bytes(ring.vector_bytes(600)))
        assert not ring.is_in_range(garbled, 600, ring.sum_bound_max)


@pytest.mark.parametrize("bits", PACKED)
def test_is_in_range__full_fields(bits: int) -> None:
    """The largest bound that parameters may have would be refused, or a larger one accepted."""
    ring = Ring(bits)
    bound = ring.sum_bound_max
    words = pack(ring, [bound] * 61, bound)
    assert ring.is_in_range(words, 61, bound)
    with pytest.raises(ParameterError):
        ring.is_in_range(words, 61, bound + 1)


@pytest.mark.parametrize("bits", RINGS)
def test_ring__other_words_are_refused(bits: int) -> None:
    """A vector of another length or type would be read beyond its end."""
    ring = Ring(bits)
    good: Words = np.zeros(4, dtype=ring.dtype)
    count = 4 * ring.lanes_per_word
    other: Words = np.zeros(4, dtype=np.uint32) if bits == 16 else np.zeros(4, dtype=np.uint16)
    bad: list[tuple[Words, int]] = [(good[:3], count), (good, count + 1), (other, count), (good[None], count)]
    for words, lanes in bad:
        with pytest.raises(ParameterError):
            ring.is_in_range(words, lanes, 1)
        with pytest.raises(ParameterError):
            ring.lift(words, lanes, 1)
    assert ring.is_in_range(good[:0], 0, 1)
    assert ring.lift(good[:0], 0, 1).size == 0
