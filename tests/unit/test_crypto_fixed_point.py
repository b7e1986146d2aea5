"""Fixed point: encoding on the trainer, decoding of sums on every node."""

from __future__ import annotations

import dataclasses
import hashlib
from math import isqrt, sqrt

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_flock.crypto import fixed_point
from p2p_flock.crypto.fixed_point import Encoder
from p2p_flock.crypto.masking import keystream
from p2p_flock.crypto.noise import Noise
from p2p_flock.crypto.ring import Ring
from p2p_flock.errors import LocalProtocolError, ParameterError, UsageError
from p2p_flock.params import RINGS
from p2p_flock.wire.messages import CHUNK_BYTES

LEVELS = 1000
KEY = bytes(32)


def dither(count: int, key: int = 1) -> bytes:
    return keystream(bytes([key]) * 32, fixed_point.DITHER_BYTES_PER_LANE * count)


def encode(update: list[float], clip: float = 1.0, weight: int = 1, bits: int = 32, key: int = 1) -> list[int]:
    values = np.array(update, dtype=np.float64)
    lanes = fixed_point.encode_update(values, clip, LEVELS, weight, dither(len(update), key), bits)
    assert lanes.dtype.itemsize * 8 == bits
    signed: list[int] = Ring(bits).lift(lanes, lanes.size, 0).tolist()
    return signed


def test_encode_update__rounds_to_a_neighboring_level() -> None:
    """An error above one step is more noise than the parameters promise."""
    update = np.sin(np.arange(5000.0)) / 100
    lanes = encode(update.tolist())
    scaled = update * LEVELS
    assert all(abs(lane - real) < 1 for lane, real in zip(lanes, scaled.tolist(), strict=True))


def test_encode_update__has_no_bias() -> None:
    """Rounding the same way every time lets small updates vanish for ever."""
    total = sum(encode([0.00025] * 10_000, clip=10.0))
    assert abs(total / 10_000 - 0.025) < 0.006  # four standard deviations


def test_encode_update__clips_the_norm() -> None:
    """One member could drown all others."""
    assert encode([300.0, -400.0]) == pytest.approx([600, -800], abs=1)
    assert encode([1.0, 0.0]) == [1000, 0]
    assert encode([-1e30]) == [-1000]


def test_encode_update__weighs_after_rounding() -> None:
    """A weight inside the rounding would not be the public integer that the decoder divides by."""
    plain, weighted = encode([0.01] * 50), encode([0.01] * 50, weight=7)
    assert weighted == [7 * lane for lane in plain]


@pytest.mark.parametrize("bits", [16, 32])
def test_encode_update__writes_twos_complement(bits: int) -> None:
    """Negative values would be read as huge ones."""
    lanes = fixed_point.encode_update(np.array([-1.0]), 1.0, LEVELS, 3, dither(1), bits)
    assert lanes.tolist() == [2**bits - 3000]


def test_encode_update__takes_float32() -> None:
    """Torch gives float32."""
    values = np.array([0.5, -0.25], dtype=np.float32)
    lanes = fixed_point.encode_update(values, 1.0, 4, 1, bytes(4), 32)
    assert Ring(32).lift(lanes, 2, 0).tolist() == [2, -1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_encode__bad_values_are_refused(value: float) -> None:
    """A diverged training would poison the whole cohort's sum."""
    values = np.array([0.0, value])
    with pytest.raises(UsageError):
        fixed_point.encode_update(values, 1.0, LEVELS, 1, dither(2), 32)
    with pytest.raises(UsageError):
        fixed_point.encode_statistics(values, 1.0, LEVELS, 1, dither(2), 32)


def test_encode__bad_parameters_are_refused() -> None:
    """An overflowing lane or recycled dither would go unnoticed."""
    values = np.zeros(2)
    bad: list[tuple[float, int, int, bytes, int]] = [
        (0.0, LEVELS, 1, dither(2), 32),
        (-1.0, LEVELS, 1, dither(2), 32),
        (1.0, 0, 1, dither(2), 32),
        (1.0, LEVELS, 0, dither(2), 32),
        (1.0, LEVELS, 33, dither(2), 16),
        (1.0, LEVELS, 1, dither(1), 32),
        (1.0, LEVELS, 1, dither(3), 32),
    ]
    for clip, levels, weight, noise, bits in bad:
        with pytest.raises(ParameterError):
            fixed_point.encode_update(values, clip, levels, weight, noise, bits)
    with pytest.raises(ParameterError):
        fixed_point.encode_statistics(values, np.ones(3), LEVELS, 1, dither(2), 32)
    with pytest.raises(ParameterError):
        fixed_point.encode_statistics(values, np.array([1.0, 0.0]), LEVELS, 1, dither(2), 32)
    with pytest.raises(ParameterError):
        fixed_point.encode_update(np.zeros((2, 1)), 1.0, LEVELS, 1, dither(2), 32)


def test_encode_statistics__clips_each_coordinate_by_its_bound() -> None:
    """A count and a mean have different ranges; one bound for both loses one of them."""
    values, bounds = np.array([50.0, 0.5, -9.0]), np.array([100.0, 1.0, 3.0])
    lanes = fixed_point.encode_statistics(values, bounds, LEVELS, 1, bytes(6), 32)
    lifted = Ring(32).lift(lanes, 3, 0)
    assert lifted.tolist() == [500, 500, -1000]
    total = lifted * 4
    assert fixed_point.decode_statistics(total, bounds, LEVELS).tolist() == [200.0, 2.0, -12.0]


@pytest.mark.parametrize("largest", [1, 2**15, 2**28, 2**31])
def test_compute_squared_norm__is_exact(largest: int) -> None:
    """A norm that overflows or rounds would clip differently on two machines."""
    total = np.random.default_rng(1).integers(-largest, largest, 1001, endpoint=True)
    total[0] = -largest
    assert fixed_point.compute_squared_norm(total) == sum(value**2 for value in total.tolist())
    assert fixed_point.compute_squared_norm(np.zeros(0, dtype=np.int64)) == 0


def test_decode_mean__is_the_weighted_mean() -> None:
    """The model would move by something else than what the members computed."""
    mean = fixed_point.decode_mean(np.array([300, -600]), 2.0, LEVELS, 3)
    assert mean.tolist() == [300 * (2.0 / 3000), -600 * (2.0 / 3000)]


def test_decode_mean__limits_the_norm() -> None:
    """Members that together lie about their norm could drive the model anywhere."""
    total = np.array([3_000_000, 4_000_000])
    mean = fixed_point.decode_mean(total, 1.0, LEVELS, 3)
    assert sqrt(float(np.dot(mean, mean))) == pytest.approx(1.0)
    assert float(np.dot(mean, mean)) <= 1.0
    # Just inside, nothing is scaled.
    inside = np.array([3000, 0])
    assert fixed_point.decode_mean(inside, 1.0, LEVELS, 3).tolist() == [1.0, 0.0]
    assert isqrt(fixed_point.compute_squared_norm(total)) == 5_000_000


def test_decode_mean__has_the_same_bits_everywhere() -> None:
    """Two nodes would hold models that differ in the last bit, and vote for different digests (P2)."""
    total = np.random.default_rng(7).integers(-(2**20), 2**20, 4096)
    clipped = fixed_point.decode_mean(total, 3.7, LEVELS, 5)
    plain = fixed_point.decode_mean(total, 3.7, 2**20, 999)
    digest = hashlib.sha256(clipped.astype("<f8").tobytes() + plain.astype("<f8").tobytes()).hexdigest()
    root = isqrt(fixed_point.compute_squared_norm(total) - 1) + 1
    by_hand = [value * (3.7 / root) for value in total.tolist()] + [
        value * (3.7 / (2**20 * 999)) for value in total.tolist()
    ]
    assert digest == hashlib.sha256(np.array(by_hand, dtype="<f8").tobytes()).hexdigest()


@pytest.mark.parametrize(("clip", "levels", "weights"), [(0.0, 1, 1), (1.0, 0, 1), (1.0, 1, 0)])
def test_decode_mean__bad_parameters_are_refused(clip: float, levels: int, weights: int) -> None:
    """A division by zero would end the node."""
    with pytest.raises(ParameterError):
        fixed_point.decode_mean(np.array([1]), clip, levels, weights)


# --- in blocks, with noise -----------------------------------------------------------------------------------------


def lanes_of(encoder: Encoder, block_bytes: int) -> list[int]:
    """What is encoded, as integers."""
    ring = Ring(encoder.lane_bits)
    words = np.concatenate(list(encoder.encode(block_bytes)))
    bias = fixed_point.compute_sum_bound((encoder.weight,), encoder.levels, encoder.noise_bound)
    assert ring.is_in_range(words, encoder.values.size, bias)
    lifted: list[int] = ring.lift(words, encoder.values.size, bias).tolist()
    return lifted


@pytest.mark.parametrize("bits", RINGS)
def test_encoder__encodes_alike_in_every_ring(bits: int) -> None:
    """An alliance that saves bytes would train another model."""
    values = np.random.default_rng(1).normal(0, 0.1, 200_000).astype(np.float32)
    narrow = lanes_of(Encoder(values, True, 10.0, 15, 3, bits, KEY), CHUNK_BYTES)
    assert narrow == lanes_of(Encoder(values, True, 10.0, 15, 3, 32, KEY), CHUNK_BYTES)
    assert narrow == lanes_of(Encoder(values, True, 10.0, 15, 3, bits, KEY), 8 * 1021)
    assert {-3, 0, 3} <= set(narrow)


@pytest.mark.parametrize("levels", [15, 127, 1 << 18, 1 << 27])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_encoder__is_within_a_step_and_its_bias_as_promised(levels: int, kind: type[np.floating]) -> None:
    """Rounding that leans one way adds up over members and rounds."""
    values = np.full(200_000, 0.3, dtype=kind)
    encoded = np.array(lanes_of(Encoder(values, False, 1.0, levels, 1, 32, KEY), CHUNK_BYTES))
    real = float(values[0]) * levels
    assert np.all(np.abs(encoded - real) <= 1)
    # Five standard deviations of the mean, and the documented bias.
    allowed = 5 * 0.5 / sqrt(values.size) + max(2.0**-17, levels * 2.0**-31) + abs(real) * 2.0**-23
    assert abs(float(encoded.mean()) - real) < allowed


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_encoder__the_largest_coordinate_stays_within_levels(kind: type[np.floating]) -> None:
    """One lane beyond its bound carries into the next, and the whole cohort is out of range."""
    draw = np.random.default_rng(3)
    for value in draw.uniform(1e-3, 1e3, 200):
        for levels in (1, 127, 1000, 1 << 18):
            one = np.array([value, 0], dtype=kind)
            for sign in (1, -1):
                assert abs(lanes_of(Encoder(sign * one, True, 1e-3, levels, 1, 32, KEY), 64)[0]) in (levels - 1, levels)


def fake_noise(start: int, count: int) -> npt.NDArray[np.int64]:
    return (np.arange(start, start + count) % 41) - 20


@pytest.mark.parametrize("bits", [12, 16, 20, 32])
def test_encoder__adds_noise_to_every_lane(bits: int) -> None:
    """A lane without noise is a lane without privacy."""
    values = np.random.default_rng(1).normal(0, 0.1, 700_001)
    quiet = Encoder(values, True, 10.0, 15, 3, bits, KEY)
    noisy = dataclasses.replace(quiet, noise=fake_noise, noise_bound=20)
    expected = np.array(lanes_of(quiet, CHUNK_BYTES)) + fake_noise(0, values.size)
    assert lanes_of(noisy, CHUNK_BYTES) == expected.tolist()
    assert lanes_of(noisy, 8 * 1021) == expected.tolist()


@pytest.mark.parametrize("bits", RINGS)
def test_encoder__asks_for_noise_in_order_and_in_whole_blocks(bits: int) -> None:
    """Its maker could not cut its stream, and two lanes would get one noise."""
    asked: list[tuple[int, int]] = []

    def record(start: int, count: int) -> npt.NDArray[np.int64]:
        asked.append((start, count))
        return np.zeros(count, dtype=np.int64)

    values = np.zeros(1_600_000, dtype=np.float32)
    list(Encoder(values, True, 1.0, 15, 3, bits, KEY, record, 1).encode(CHUNK_BYTES))
    ends = [start + count for start, count in asked]
    assert [start for start, _ in asked] == [0, *ends[:-1]]
    assert ends[-1] == values.size
    assert all(start % fixed_point.NOISE_BLOCK == 0 and count <= 1 << 16 for start, count in asked)


@pytest.mark.parametrize(
    "noise",
    [
        lambda start, count: np.full(count, 21),
        lambda start, count: np.full(count, -21),
        lambda start, count: np.full(count, 2**62),
        lambda start, count: np.zeros(count + 1, dtype=np.int64),
        lambda start, count: np.zeros(count, dtype=np.int32),
    ],
)
def test_encoder__noise_beyond_its_bound_is_refused(noise: fixed_point.MakeNoise) -> None:
    """The sum would leave its range, or a packed field would carry, and nobody would know why."""
    with pytest.raises(LocalProtocolError):
        list(Encoder(np.zeros(100), True, 1.0, 15, 3, 20, KEY, noise, 20).encode(CHUNK_BYTES))


@pytest.mark.parametrize(
    "change",
    [
        {"noise_bound": -1, "noise": fake_noise},
        {"noise_bound": 1},
        {"noise_bound": 512 - 45, "noise": fake_noise},
        {"weight": 35},
        {"lane_bits": 11},
        {"bound": float("inf")},
    ],
)
def test_encoder__bad_numbers_are_refused(change: dict[str, object]) -> None:
    """A lane would not fit its field."""
    good = Encoder(np.zeros(9), True, 1.0, 15, 3, 10, KEY)
    with pytest.raises(ParameterError):
        list(dataclasses.replace(good, **change).encode(CHUNK_BYTES))  # type: ignore[arg-type]  # of several fields


def test_encoder__a_vector_that_changes_between_its_readings_is_refused() -> None:
    """A worker that rewrites its file would put a lane out of range that no cohort could open."""

    class Growing:
        size = 4
        reads = 0

        def __getitem__(self, part: slice) -> npt.NDArray[np.float64]:
            self.reads += 1
            return np.full(4, 1.0 if self.reads == 1 else 3.0)[part]

    with pytest.raises(UsageError):
        list(Encoder(Growing(), True, 1.0, 15, 3, 32, KEY).encode(CHUNK_BYTES))


def test_compute_sum_bound__counts_everybody_s_noise() -> None:
    """Biases would not come off, or honest noise would be out of range."""
    assert fixed_point.compute_sum_bound((1, 2, 3), 10) == 60
    assert fixed_point.compute_sum_bound((1, 2, 3), 10, 7) == 81


ALL_UP, ALL_DOWN = b"\xff", b"\x00"  # of dither: every lane is rounded up, or down


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.integers(1, 20),
    st.integers(1, 60),
    st.sampled_from([ALL_UP, ALL_DOWN]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_norm_max__holds_whatever_honest_members_do(
    weights: list[int], side: int, steps: int, dither_byte: bytes, seed: int
) -> None:
    """Honest cohorts would be rejected, and after some such rounds their members suspected of poisoning."""
    count, levels, chance = side * side, steps * side + 1, np.random.default_rng(seed)
    sign = 1.0 if dither_byte == ALL_UP else -1.0
    # Nobody's norm is below the clip. All alike, and every lane is rounded away from zero: as long as a sum can be.
    alike = np.full(count, sign)
    unlike = [chance.normal(0, 1, count) * 10 ** chance.uniform(0, 3) for _ in weights]
    longest = fixed_point.compute_squared_norm_max(sum(weights), levels, count)
    for updates in ([alike] * len(weights), unlike):
        total = np.zeros(count, dtype=np.int64)
        for update, weight in zip(updates, weights, strict=True):
            bits = dither_byte * (fixed_point.DITHER_BYTES_PER_LANE * count)
            words = fixed_point.encode_update(update.astype(np.float32), 0.5, levels, weight, bits, 32)
            total += words.view(np.int32)
        found = fixed_point.compute_squared_norm(total)
        assert found <= longest
        if updates[0] is alike:  # the bound is not much above what can happen: by two steps for each member
            assert isqrt(found) + 2 * sum(weights) + 1 >= isqrt(longest)


def test_norm_max__a_member_that_does_not_clip_exceeds_it() -> None:
    """A sum that is mostly one member's would pass for honest."""
    chance = np.random.default_rng(1)
    updates = [chance.normal(0, 1, 2000) for _ in range(4)]
    clips = [1.0, 1.0, 1.0, 5.0]
    words = [
        fixed_point.encode_update(update, clip, round(LEVELS * clip), 1, dither(2000, key), 32).view(np.int32)
        for key, (update, clip) in enumerate(zip(updates, clips, strict=True))
    ]
    longest = fixed_point.compute_squared_norm_max(4, LEVELS, 2000)
    assert fixed_point.compute_squared_norm(np.sum(words, axis=0, dtype=np.int64)) > longest
    assert fixed_point.compute_squared_norm(4 * words[0].astype(np.int64)) <= longest


@pytest.mark.parametrize(("lanes", "variance"), [(1, 16), (50, 10_000), (20_000, 16), (20_000, 10**9)])
def test_norm_max__leaves_room_for_noise(lanes: int, variance: int) -> None:
    """Private alliances would reject each other's honest noise, or take any vector that hides in it."""
    members = 3
    shares = [Noise(bytes([key]) * 32, variance)(0, lanes) for key in range(members)]
    signal = np.full(lanes, members * LEVELS // isqrt(lanes), dtype=np.int64)
    longest = fixed_point.compute_squared_norm_max(members, LEVELS, lanes, members * variance)
    noisy = signal + sum(shares)
    assert fixed_point.compute_squared_norm(noisy) <= longest
    if lanes > 10_000:  # close to what there is on average; norms that add up would give more
        deviation = sqrt(members * variance * lanes)
        assert longest < (members * fixed_point.compute_norm_max(LEVELS, lanes) + 1.1 * deviation) ** 2
    hidden = np.full(lanes, isqrt(longest // lanes) + 1, dtype=np.int64)
    assert fixed_point.compute_squared_norm(hidden + sum(shares)) > longest or lanes == 1
