"""Keystream and masks, by the plain path and by the accelerator."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from Crypto.Cipher import AES

from p2p_flock.crypto import masking
from p2p_flock.crypto.accelerator import (
    Accelerator,
    AcceleratorUnavailableError,
    build_accelerator,
    find_variants,
)
from p2p_flock.crypto.aes_kernel import WORD_BITS, write_module
from p2p_flock.crypto.masking import (
    BLOCK_BYTES,
    Engine,
    EngineChoice,
    Keystream,
    Lanes,
    Masks,
    choose_engine,
    get_engine_name,
    is_right,
    keystream,
    lane_dtype,
    mask_into,
    masks_into,
)
from p2p_flock.crypto.ring import Words
from p2p_flock.errors import CryptoError

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture(params=[Engine.PLAIN, Engine.ACCELERATED])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    choose_engine(request.param)
    yield request.param
    choose_engine(Engine.AUTO)


def slow_keystream(key: bytes, size: int) -> bytes:
    """The documented stream from AES in ECB mode, block by block."""
    cipher = AES.new(key, AES.MODE_ECB)
    return b"".join(cipher.encrypt(counter.to_bytes(16, "big")) for counter in range(-(-size // 16)))[:size]


def test_keystream__is_aes_256_ctr_from_zero() -> None:
    """Another implementation would expand other masks, and sums would not open."""
    assert keystream(KEY, 1000) == slow_keystream(KEY, 1000)


def test_keystream__is_read_in_pieces() -> None:
    """Dither would be used twice, or differ from what the reference draws."""
    whole, stream = keystream(KEY, 100_000), Keystream(KEY)
    for offset, size in ((0, 10), (10, 33), (43, 99_957), (5, 0), (7, 1000), (0, 100_000)):
        assert bytes(stream.read(offset, size)) == whole[offset : offset + size]
    for offset, size in ((-1, 1), (0, -1), (0, BLOCK_BYTES + 1)):
        with pytest.raises(CryptoError):
            stream.read(offset, size)
    with pytest.raises(CryptoError):
        Keystream(KEY[:31])


@pytest.mark.parametrize("offset", [1, 15, 16, 17, 999])
def test_keystream__starts_anywhere(offset: int) -> None:
    """A chunk could not be opened on its own."""
    assert keystream(KEY, 100, offset) == slow_keystream(KEY, offset + 100)[offset:]


@pytest.mark.parametrize("width", [2, 4, 8])
def test_mask_into__adds_little_endian_lanes(width: int, engine: Engine) -> None:
    """Lanes of another byte order or a carry between lanes would spoil the sum."""
    lanes: Words = np.arange(300).astype(f"<u{width}")
    mask_into(lanes, KEY, 1)
    stream = slow_keystream(KEY, 300 * width)
    words = [int.from_bytes(stream[n * width : (n + 1) * width], "little") for n in range(300)]
    assert lanes.tolist() == [(n + word) % 2 ** (8 * width) for n, word in enumerate(words)]


@pytest.mark.parametrize("width", [2, 4, 8])
def test_masks_into__opposite_signs_cancel(width: int, engine: Engine) -> None:
    """Pair masks would stay in the sum. Sizes cross the block border."""
    size = 2 * BLOCK_BYTES // width + 77
    lanes: Words = np.zeros(size, dtype=f"<u{width}")
    masks_into(lanes, [(KEY, 1), (OTHER, -1)])
    assert np.count_nonzero(lanes) > size * 0.99
    masks_into(lanes, [(OTHER, 1), (KEY, -1)])
    assert not lanes.any()


def test_mask_into__in_pieces_equals_the_whole(engine: Engine) -> None:
    """Validators that open chunk by chunk would get another sum."""
    whole: Lanes = np.zeros(100_003, dtype=np.uint32)
    mask_into(whole, KEY, 1)
    pieces: Lanes = np.zeros(100_003, dtype=np.uint32)
    masks = Masks([(KEY, 1)])
    for start, end in [(40_006, 100_003), (0, 1), (1, 40_006)]:  # in any order
        masks_into(pieces[start:end], masks, start)
    assert np.array_equal(whole, pieces)


@pytest.mark.parametrize("misalignment", [1, 5, 31])
def test_masks_into__takes_lanes_at_any_address(misalignment: int, engine: Engine) -> None:
    """A slice of a vector would be masked with other bytes than the vector."""
    whole: Lanes = np.zeros(200_000, dtype=np.uint16)
    part = whole[misalignment : misalignment + 150_000]
    masks_into(part, [(KEY, 1), (OTHER, -1)])
    expected = np.frombuffer(keystream(KEY, 300_000), "<u2") - np.frombuffer(keystream(OTHER, 300_000), "<u2")
    assert np.array_equal(part, expected)
    assert not whole[:misalignment].any() and not whole[misalignment + 150_000 :].any()


def test_masks_into__of_nothing_or_by_nobody_changes_nothing(engine: Engine) -> None:
    """An empty last piece, or a trainer without neighbors, would end the node."""
    lanes: Lanes = np.arange(5).astype(np.uint16)
    masks_into(lanes, [])
    masks_into(lanes[:0], [(KEY, 1)])
    assert lanes.tolist() == [0, 1, 2, 3, 4]


def test_masks_into__bad_arguments_are_refused(engine: Engine) -> None:
    """A silent copy of the accumulator would be masked instead of it, and the update published bare."""
    good: Lanes = np.zeros(8, dtype=np.uint32)
    frozen: Lanes = np.zeros(8, dtype=np.uint32)
    frozen.flags.writeable = False
    bad: list[tuple[Lanes, bytes, int, int]] = [
        (np.zeros(8, dtype=np.int32), KEY, 1, 0),  # type: ignore[list-item]  # that is the point
        (np.zeros(8, dtype=np.uint8), KEY, 1, 0),  # type: ignore[list-item]  # that is the point
        (np.zeros((2, 4), dtype=np.uint32), KEY, 1, 0),
        (np.zeros(16, dtype=np.uint32)[::2], KEY, 1, 0),
        (frozen, KEY, 1, 0),
        (good, KEY[:16], 1, 0),
        (good, KEY, 2, 0),
        (good, KEY, 1, -1),
    ]
    for lanes, key, sign, offset in bad:
        with pytest.raises(CryptoError):
            mask_into(lanes, key, sign, offset)
    with pytest.raises(CryptoError):
        keystream(KEY, -1)
    with pytest.raises(CryptoError):
        lane_dtype(64)


# --- the accelerator -------------------------------------------------------------------------------------------


def find_accelerators() -> list[Accelerator]:
    """All kernels that this machine can run, the widest first; none where the processor is of another family."""
    try:
        found = {accelerator.name: accelerator for accelerator in map(build_accelerator, (512, 256, 128))}
    except AcceleratorUnavailableError:
        return []
    return list(found.values())


@pytest.mark.parametrize("width", [2, 4, 8])
def test_accelerator__gives_the_plain_path_s_lanes(width: int) -> None:
    """Masks of two machines would not cancel. Pieces of every kind, all kernels that this machine can run."""
    randomness = np.random.default_rng(width)
    for accelerator, count in itertools.product(find_accelerators(), (1, 2, 3, 40)):
        keys = [(randomness.bytes(32), int(randomness.choice([1, -1]))) for _ in range(count)]
        offset, size = int(randomness.integers(0, 10_000)), int(randomness.integers(1, 5_000))
        given: Words = randomness.integers(0, 2**16, size).astype(f"<u{width}")
        expected = given.copy()
        choose_engine(Engine.PLAIN)
        masks_into(expected, keys, offset)
        choose_engine(Engine.AUTO)
        accelerator.add_masks(given, keys, offset * width)
        assert np.array_equal(given, expected), (count, offset, size)


def test_engine__is_accelerated_where_the_tests_run() -> None:
    """The tests above would compare the plain path with itself; scripts/setup --test installs llvmlite."""
    assert importlib.util.find_spec("llvmlite") is not None
    choose_engine(Engine.ACCELERATED)
    mask_into(np.zeros(1, dtype=np.uint16), KEY, 1)
    name = get_engine_name()
    choose_engine(Engine.AUTO)
    fastest = [accelerator.name for accelerator in find_accelerators()[:1]]
    assert name in [f"accelerated ({name})" for name in fastest] or (name.startswith("plain (") and not fastest)


def test_engine__loads_the_accelerator_only_when_it_pays() -> None:
    """Every small node would spend a tenth of a second and 50 MiB on LLVM."""
    built = []

    def build() -> Accelerator:
        built.append(1)
        raise AcceleratorUnavailableError("not on this machine")

    choice = EngineChoice(build)
    for _ in range(4):
        assert choice.get_accelerator(2, masking.ACCELERATE_AFTER_BYTES // 4) is None
    assert not built and choice.name == "plain"
    for _ in range(3):
        assert choice.get_accelerator(2, 1) is None
    assert len(built) == 1 and choice.name == "plain (not on this machine)"
    choice.choose(Engine.PLAIN)
    assert choice.get_accelerator(2, 1 << 60) is None and len(built) == 1


class PlainAccelerator(Accelerator):
    """The plain path in an accelerator's place."""

    def __init__(self) -> None:
        self.name = "plain"

    def add_masks(self, words: Words, signed_keys: Sequence[tuple[bytes, int]], offset_bytes: int) -> None:
        masks_into(words, signed_keys, offset_bytes // words.itemsize)


class CarryingAccelerator(Accelerator):
    """Adds the right masks, but for one lane once in a long while."""

    def __init__(self, right: Accelerator) -> None:
        self.name, self._right = "faulty", right

    def add_masks(self, words: Words, signed_keys: Sequence[tuple[bytes, int]], offset_bytes: int) -> None:
        self._right.add_masks(words, signed_keys, offset_bytes)
        words[20_000:20_001] += 1


def test_engine__refuses_a_kernel_that_differs() -> None:
    """A processor with a fault would publish masks that no neighbor can take off."""
    right: Accelerator = PlainAccelerator()
    assert is_right(right, 2) and not is_right(CarryingAccelerator(right), 2)
    choice = EngineChoice(lambda: CarryingAccelerator(right))
    choice.choose(Engine.ACCELERATED)
    assert choice.get_accelerator(2, 1) is None
    assert choice.name == "plain (the faulty kernel gives wrong masks on this machine)"
    assert choice.get_accelerator(4, 1) is None


def test_find_variants__widest_that_the_processor_knows() -> None:
    """An unknown instruction would end the node, a missed one would cost half the speed."""
    zen_4 = dict.fromkeys(["aes", "sse4.1", "avx2", "vaes", "avx512f", "avx512bw"], True)
    assert [name for name, _ in find_variants(zen_4)] == ["VAES-512", "VAES-256", "AES-NI"]
    assert [name for name, _ in find_variants(zen_4 | {"avx512bw": False})] == ["VAES-256", "AES-NI"]
    assert [name for name, _ in find_variants(zen_4 | {"vaes": False})] == ["AES-NI"]
    assert find_variants({"neon": True}) == ()


@pytest.mark.parametrize("word_bits", WORD_BITS)
def test_write_module__is_the_code_meant_for_wide_vectors(word_bits: int) -> None:
    """The kernel for AVX-512 would be slow or not compile, unseen where no machine with it runs the tests."""
    llvm = importlib.import_module("llvmlite.binding")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("x86_64-unknown-linux-gnu")
    machine = target.create_target_machine(cpu="znver4", features="", opt=3)
    assembly = machine.emit_assembly(llvm.parse_assembly(write_module(512, word_bits), llvm.create_context()))
    group = [line for line in assembly.splitlines() if "vaesenc" in line]
    assert len(group) == 8 * 14 and all("%zmm" in line for line in group)
    assert assembly.count("vaeskeygenassist") == 13
