"""The ring that masked vectors live in: how integers become words, and what a sum of words says about the integers.

Two kinds. *Plain* lanes of 16 or 32 bits: a word is a lane, two's complement, added modulo 2^w; 4 bits of headroom show
garbling. *Packed* lanes of 10, 12, 15, 20 or 30 bits: F = 60 // w fields in one 64-bit word, field 0 lowest, added
modulo 2⁶⁴. A field is value + bias, never negative, and wide enough for the sum over the largest cohort, so that no
field of an honest sum ever carries into the next; the top 4 bits of its words are zero, which shows garbling. Words are
masked as they are: nothing is unpacked before the sum is open. Little-endian everywhere.

Called by whoever encodes, masks, opens and decodes; knows nothing of keys and of real numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from p2p_flock.errors import ParameterError
from p2p_flock.params import PLAIN_LANE_BITS, RINGS, compute_sum_bound_max

Words = npt.NDArray[np.uint16] | npt.NDArray[np.uint32] | npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

FIELD_BITS = 60  # of a 64-bit word; the other four are zero in an honest sum
_BLOCK_WORDS = 1 << 13  # words per pass: temporaries stay in cache


@dataclass(frozen=True)
class Ring:
    """One of :data:`RINGS` by the width of its lanes.

    Raises:
        ParameterError: there is no ring with such lanes.
    """

    lane_bits: int

    def __post_init__(self) -> None:
        if self.lane_bits not in RINGS:
            raise ParameterError(f"lanes have {', '.join(map(str, RINGS))} bits, not {self.lane_bits}")

    @property
    def is_packed(self) -> bool:
        """Whether several lanes share a word."""
        return self.lane_bits not in PLAIN_LANE_BITS

    @cached_property
    def dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32] | np.dtype[np.uint64]:
        """The little-endian unsigned type of a word."""
        if self.lane_bits == 16:
            return np.dtype("<u2")
        return np.dtype("<u4") if self.lane_bits == 32 else np.dtype("<u8")

    @property
    def word_bytes(self) -> int:
        """2, 4 or 8."""
        return self.dtype.itemsize

    @property
    def lanes_per_word(self) -> int:
        """F, 1 where lanes are plain."""
        return FIELD_BITS // self.lane_bits if self.is_packed else 1

    @property
    def sum_bound_max(self) -> int:
        """The largest magnitude of an honest sum that a lane has room for."""
        return compute_sum_bound_max(self.lane_bits)

    def word_count(self, lane_count: int) -> int:
        """Words that hold ``lane_count`` lanes."""
        return -(-lane_count // self.lanes_per_word)

    def vector_bytes(self, lane_count: int) -> int:
        """Size of a vector of ``lane_count`` lanes."""
        return self.word_count(lane_count) * self.word_bytes

    def lanes_in(self, size_bytes: int) -> int:
        """Lanes in the whole words that ``size_bytes`` hold."""
        return size_bytes // self.word_bytes * self.lanes_per_word

    def read(self, data: bytes | memoryview) -> Words:
        """The words that these bytes are, not copied.

        Raises:
            ValueError: not whole words.
        """
        words: Words = np.frombuffer(data, dtype=self.dtype)  # type: ignore[assignment]  # numpy widens the union
        return words

    def pack(self, integers: npt.NDArray[np.int32], bias: int, words: Words) -> None:
        """Write integers into ``words``. To go over cache-sized pieces is the caller's business.

        Args:
            integers: int32[n].
            bias: added to every lane, so that none is negative; unused where lanes are plain.
            words: :meth:`word_count` of n words of :attr:`dtype`. Fields behind the last lane become zero.
        """
        if not self.is_packed:
            np.copyto(words, integers, casting="unsafe")  # C's conversion: modulo 2^w
            return
        count, bits = self.lanes_per_word, self.lane_bits
        whole = integers.size // count
        # Σ integer · 2^(w·field) as a signed number, then all biases at once: the fields are what carries leave.
        unsigned, body = words[:whole], words[:whole].view(np.int64)  # one memory; no negative number is shifted
        np.copyto(body, integers[count - 1 :: count][:whole])
        for field in range(count - 2, -1, -1):
            np.left_shift(unsigned, np.uint64(bits), out=unsigned)
            np.add(body, integers[field::count][:whole], out=body)
        np.add(body, sum(bias << (n * bits) for n in range(count)), out=body)
        if whole < words.size:
            rest = integers[whole * count :].tolist()
            words[whole] = sum((value + bias) << (n * bits) for n, value in enumerate(rest))

    def lift(self, words: Words, lane_count: int, sum_bound: int) -> Integers:
        """The integers of a sum of words, int64[lane_count].

        Args:
            words: a whole vector, or words from the middle of one; ``lane_count`` says how many lanes they hold.
            sum_bound: what the biases of all summands add up to (``fixed_point.compute_sum_bound``); unused where lanes
                are plain: there it is the signed integer nearest zero.

        Raises:
            ParameterError: another number or type of words.
        """
        self._check(words, lane_count)
        if not self.is_packed:
            return words.view(f"<i{self.word_bytes}").astype(np.int64)
        count = self.lanes_per_word
        lifted = np.empty(words.size * count, dtype=np.int64)
        mask, fields = np.uint64((1 << self.lane_bits) - 1), np.empty(min(words.size, _BLOCK_WORDS), dtype=np.uint64)
        for start in range(0, words.size, _BLOCK_WORDS):
            block = words[start : start + _BLOCK_WORDS]
            part, field = lifted[start * count : (start + block.size) * count], fields[: block.size]
            for n in range(count):
                np.right_shift(block, np.uint64(n * self.lane_bits), out=field)
                np.bitwise_and(field, mask, out=field)
                np.subtract(field.view(np.int64), sum_bound, out=part[n::count])
        return lifted[:lane_count]

    def is_in_range(self, words: Words, lane_count: int, sum_bound: int) -> bool:
        """Whether ``words`` can be an honest sum: every integer within ±``sum_bound``, every bit besides zero.

        Garbled words are uniform. A plain lane of them passes with chance 2⁻³ at most (headroom rule), a packed word
        with 2⁻⁴ at most: a vector passes with none.

        Raises:
            ParameterError: as :meth:`lift`.
        """
        self._check(words, lane_count)
        if words.size == 0:
            return True
        if self.is_packed:
            return self._is_packed_in_range(words, lane_count, 2 * sum_bound)
        signed = words.view(f"<i{self.word_bytes}")
        return int(signed.max()) <= sum_bound and int(signed.min()) >= -sum_bound

    def _is_packed_in_range(self, words: Words, lane_count: int, field_max: int) -> bool:
        """All fields of a word at once: what each lacks to 2^w − field_max is added; a field beyond carries."""
        count, bits = self.lanes_per_word, self.lane_bits
        slack = (1 << bits) - 1 - field_max
        if slack < 0:
            raise ParameterError("the sum has no room in its fields")
        added = np.uint64(sum(slack << (n * bits) for n in range(count)))
        # A sum's bit differs from both operands' exclusive or where a carry came in from the field below.
        borders = np.uint64(sum(1 << ((n + 1) * bits) for n in range(count)))
        carries = np.empty(min(words.size, _BLOCK_WORDS), dtype=np.uint64)
        for start in range(0, words.size, _BLOCK_WORDS):
            block = words[start : start + _BLOCK_WORDS]
            found = carries[: block.size]
            np.add(block, added, out=found)
            np.bitwise_xor(found, block, out=found)
            np.bitwise_xor(found, added, out=found)
            np.bitwise_and(found, borders, out=found)
            if np.bitwise_or.reduce(found) or np.bitwise_or.reduce(block) >> FIELD_BITS:
                return False
        return not self._padding(words, lane_count)

    def _padding(self, words: Words, lane_count: int) -> int:
        """The fields behind the last lane."""
        used = lane_count - (words.size - 1) * self.lanes_per_word
        return int(words[-1]) >> (used * self.lane_bits)

    def _check(self, words: Words, lane_count: int) -> None:
        if words.dtype != self.dtype or words.ndim != 1 or words.size != self.word_count(lane_count):
            raise ParameterError(f"{lane_count} lanes of {self.lane_bits} bits are other words than these")
