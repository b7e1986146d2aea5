"""The model's one file form and its arithmetic: the same bits everywhere, and nothing else is read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from p2p_flock.alliance.aggregates import decode_aggregate, encode_aggregate, open_aggregate
from p2p_flock.alliance.manifest import decode_manifest, encode_manifest
from p2p_flock.alliance.model import (
    AdoptedCohort,
    Model,
    apply_cohorts,
    decode_model,
    encode_model,
    open_model,
    write_model,
    write_next_model,
)
from p2p_flock.crypto.ring import Words
from p2p_flock.crypto.vectors import BLOCK_VALUES, MemorySink, MemorySource
from p2p_flock.errors import WireError
from p2p_flock.params import RINGS
from p2p_flock.secagg.context import compute_aggregate_digest
from p2p_flock.testing.alliance import make_model, make_params, make_setting, make_task
from p2p_flock.types import Stage


def test_model__file_is_read_by_safetensors() -> None:
    """Nobody else could use the model."""
    model = make_model()
    tensors = load(encode_model(model))
    assert sorted(tensors) == ["parameters", "statistics"]
    np.testing.assert_array_equal(tensors["parameters"], model.parameters)
    np.testing.assert_array_equal(tensors["statistics"], model.statistics)


def test_model__round_trip() -> None:
    """A model fetched from a peer would be another one."""
    for model in (make_model(), make_model(is_training=False), Model(np.zeros(0), np.array([-0.0, 5e-324, 1e308]))):
        read = decode_model(encode_model(model))
        assert read.digest == model.digest == hashlib.sha256(encode_model(model)).digest()
        assert read.parameters.tobytes() == model.parameters.tobytes()
    assert make_model().stage is Stage.TRAINING and make_model(is_training=False).stage is Stage.STATISTICS


def test_model__values_cannot_be_changed() -> None:
    """The digest would no longer be that of the values."""
    with pytest.raises(ValueError, match="read-only"):
        make_model().parameters[0] = 1


def header_of(text: str, body: bytes = bytes(72)) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode() + body


FILE = encode_model(make_model())
HEADER_BYTES = int.from_bytes(FILE[:8], "little")
TAMPERED = {
    "empty": b"",
    "shorter than its length": FILE[:7],
    "a byte too few": FILE[:-1],
    "a byte too many": FILE + b"\x00",
    "a lane too many": FILE + bytes(8),
    "a header longer than the file": (1 << 40).to_bytes(8, "little") + FILE[8:],
    "another header length": (HEADER_BYTES - 8).to_bytes(8, "little") + FILE[8:],
    "not a number": FILE[:-8] + np.array([np.nan]).tobytes(),
    "infinite": FILE[:-8] + np.array([-np.inf]).tobytes(),
    "spaces in the header": FILE[:8] + FILE[8 : 8 + HEADER_BYTES].replace(b",", b" ", 1) + FILE[8 + HEADER_BYTES :],
    "another type": FILE.replace(b"F64", b"F32"),
    "swapped tensors": FILE.replace(b"parameters", b"statistic_").replace(b"statistics", b"parameters"),
    "no header": header_of(""),
    "no JSON": header_of("{" * 8),
    "nested too deeply": header_of("[" * 1000),
    "an infinite offset": header_of('{"parameters":{"data_offsets":[0,Infinity]}}'),
    "a huge offset": header_of('{"parameters":{"data_offsets":[0,1' + "0" * 900 + "]}}"),
    "a textual offset": header_of('{"parameters":{"data_offsets":[0,"48"]}}'),
    "a list": header_of("[1]     "),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_model__refuses_file(name: str) -> None:
    """Two files would be one model, or a peer's file would end the process."""
    with pytest.raises(WireError):
        decode_model(TAMPERED[name])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(FILE) - 1), st.integers(0, 255))
def test_model__any_changed_byte_shows(index: int, value: int) -> None:
    """As above, for changes that nobody thought of: refused, or another model with another digest."""
    changed = FILE[:index] + bytes([value]) + FILE[index + 1 :]
    try:
        model = decode_model(changed)
    except WireError:
        return
    assert encode_model(model) == changed


def test_training__means_are_merged_by_weight() -> None:
    """P2: the formula of SPEC, with numbers that can be checked by hand."""
    task, model = make_task(parameter_count=2), Model(np.ones(1), np.array([1.0, 2.0]))
    one = AdoptedCohort(np.array([300, 400], dtype=np.int64), 2)  # norm 500 < 1000·2: plain mean
    two = AdoptedCohort(np.array([-6000, 8000], dtype=np.int64), 6)  # norm 10000 > 1000·6: limited
    after = apply_cohorts(model, task, 1000, (one, two))
    expected = np.array([1.0, 2.0]) + np.array([300.0, 400.0]) * (1.5 / 2000) * (2 / 8)
    expected = expected + np.array([-6000.0, 8000.0]) * (1.5 / 10000) * (6 / 8)
    assert after.parameters.tobytes() == expected.tobytes()
    assert after.statistics.tobytes() == model.statistics.tobytes()


def test_training__no_cohort_moves_further_than_the_clipping_norm() -> None:
    """A poisoned cohort could move the model as far as it likes."""
    task, model = make_task(parameter_count=3), Model(np.ones(1), np.zeros(3))
    total = np.array([2**27, -(2**27), 2**26], dtype=np.int64)
    moved = apply_cohorts(model, task, 10, (AdoptedCohort(total, 1),)).parameters
    assert sqrt(float(moved @ moved)) <= task.clip_norm


@pytest.mark.parametrize("is_training", [True, False])
def test_next_model__written_from_files_has_the_same_bits(is_training: bool) -> None:
    """P2: a node that cannot hold the model would compute another one than those that can."""
    width = 2 * BLOCK_VALUES + 17
    task = make_task(statistics_count=3, parameter_count=width)
    generator = np.random.default_rng(5)
    model = Model(np.ones(3 if is_training else 0), generator.normal(0, 1, width))
    count = task.width(model.stage)
    sums = [generator.integers(-(2**27), 2**27, count) for _ in range(2)]
    cohorts = [AdoptedCohort(sums[0], 7), AdoptedCohort(sums[1] // 2**20, 3)]
    expected = apply_cohorts(model, task, 1000, cohorts)
    data, sink = encode_model(model), MemorySink()
    in_file = open_model(MemorySource(data))
    assert in_file.digest == model.digest
    digest = write_next_model(in_file, task, 1000, cohorts, sink)
    assert digest == expected.digest and bytes(sink.data) == encode_model(expected)
    copy = MemorySink()
    assert write_model(in_file, copy) == model.digest and bytes(copy.data) == data


def test_statistics__are_the_sum_of_all_cohorts() -> None:
    """The second stage would start from wrong means."""
    task, model = make_task(statistics_count=2), make_model(is_training=False)
    cohorts = [AdoptedCohort(np.array([10, -20], dtype=np.int64), 3), AdoptedCohort(np.array([5, 5]), 4)]
    after = apply_cohorts(model, task, 1000, cohorts)
    assert after.statistics.tolist() == [15 * 100.0 / 1000, -15 * 100.0 / 1000]
    assert after.stage is Stage.TRAINING and after.parameters.tobytes() == model.parameters.tobytes()


def test_nothing_adopted__same_model() -> None:
    """A void round would change the digest."""
    model = make_model()
    assert apply_cohorts(model, make_task(), 1000, ()) is model


def test_aggregate__blob_is_named_by_the_ballots_digest() -> None:
    """Whoever missed the opening could not fetch the sum."""
    context = make_setting().context.cohorts[0]
    ring_sum = np.array([1, 2, 3, 2**32 - 1, 2**31, 0], dtype=np.uint32)
    blob = encode_aggregate(context, ring_sum)
    assert hashlib.sha256(blob).digest() == compute_aggregate_digest(context, ring_sum.tobytes())
    assert decode_aggregate(context, blob, 0).tolist() == [1, 2, 3, -1, -(2**31), 0]
    other = make_setting(salt=1).context.cohorts[0]
    for bad in (blob[:-1], blob + b"\x00", b"", b"x" + blob[1:], encode_aggregate(other, ring_sum)):
        with pytest.raises(WireError):
            decode_aggregate(context, bad, 0)


@pytest.mark.parametrize("lane_bits", RINGS)
def test_aggregate__is_read_slice_by_slice(lane_bits: int) -> None:
    """A model applied in blocks would move by other lanes than one applied at once (P2)."""
    width, bias = 131, 400
    context = make_setting(make_params(lane_bits=lane_bits, levels=1, weight_max=1)).context.cohorts[0]
    context = replace(context, lane_count=width)
    integers = np.random.default_rng(1).integers(-bias, bias, width, endpoint=True)
    words: Words = np.empty(context.ring.word_count(width), dtype=context.ring.dtype)
    context.ring.pack(integers.astype(np.int32), bias, words)
    total = open_aggregate(context, MemorySource(encode_aggregate(context, words)), bias)
    assert total.size == width
    for start, stop in ((0, width), (0, 1), (1, 2), (5, 6), (7, 64), (60, 131), (130, 999), (9, 9), (9, 3), (131, 140)):
        assert total[start:stop].tolist() == integers[start:stop].tolist(), (start, stop)


# --- the task manifest -------------------------------------------------------------------------------------------

DOCUMENT = json.loads(make_task().document)
BAD_MANIFESTS = {
    "too long": b" " * ((1 << 20) + 1),
    "no JSON": b"{",
    "not canonical": json.dumps(DOCUMENT).encode(),
    "no object": b"[]",
    "nested too deeply": b"[" * 100_000,
    "a lone surrogate": b'{"name":"\\ud800"}',
    "not a number": make_task().document.replace(b"1.5", b"NaN"),
    **{
        f"{key} is {value!r:.20}": json.dumps({**DOCUMENT, key: value}, sort_keys=True, separators=(",", ":")).encode()
        for key, value in (
            ("name", ""), ("name", 7), ("name", "x" * 65), ("version", None), ("statistics_count", -1),
            ("statistics_count", True), ("parameter_count", 0), ("parameter_count", 2**28 + 1),
            ("parameter_count", 1.0), ("clip_norm", 0), ("clip_norm", -1.0), ("clip_norm", "1"), ("clip_norm", True),
            ("clip_norm", 10**400), ("statistics_clip", -0.0),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_manifest__refuses(name: str) -> None:
    """Two documents would be one task, or a bad number would surface in the middle of a round."""
    with pytest.raises(WireError):
        decode_manifest(BAD_MANIFESTS[name])


def test_manifest__canonical_bytes_are_its_name() -> None:
    """Two members would disagree on what they train."""
    task = make_task()
    assert decode_manifest(encode_manifest(dict(reversed(DOCUMENT.items())))) == task
    assert task.width(Stage.STATISTICS) == 3 and task.width(Stage.TRAINING) == 6
    with pytest.raises(WireError):
        encode_manifest({"x": float("nan")})
