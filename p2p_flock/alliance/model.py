"""The global model and how an adopted aggregate changes it, bit for bit the same on every machine (P2).

A model is two float64 vectors: ``statistics`` (the decoded secure sum of the first adopted round, from which everyone
derives imputation and standardisation) and ``parameters``. Its file is a safetensors file in one canonical form, so
that the sha-256 of the file is the model's digest, on chain and between peers. Arithmetic is element-wise float64 in a
fixed order on exact integers: no torch, no floating-point sum, no fused multiply-add.

So it may be done block by block, and is: parameters are read from the model's file and the next file is written as it
is computed, in the memory of a few blocks. Statistics are few and held.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.crypto.fixed_point import compute_mean_factor, compute_squared_norm, decode_statistics
from p2p_flock.crypto.vectors import (
    BLOCK_VALUES,
    BlobSink,
    ByteSource,
    MemorySource,
    SourceVector,
    Vector,
    iterate_blocks,
    view_bytes,
)
from p2p_flock.errors import WireError
from p2p_flock.types import Stage

MODEL_VALUES_MAX = 1 << 28  # 2 GiB of float64; a longer file is refused before it is read
_HEADER_BYTES_MAX = 1024


@dataclass(frozen=True, eq=False)
class Model:
    """The global model.

    Attributes:
        statistics: float64[S], empty until a round of local sums was adopted.
        parameters: float64[D]; an array, or where they lie.
        digest: sha-256 of the canonical file, 32 bytes; computed where it is not given.
    """

    statistics: NDArray[np.float64]
    parameters: Vector[np.float64]
    digest: bytes = b""

    def __post_init__(self) -> None:
        for values in (self.statistics, self.parameters):
            if isinstance(values, np.ndarray):
                assert values.dtype == np.float64 and values.ndim == 1
                values.flags.writeable = False
        if not self.digest:
            hasher = hashlib.sha256()
            for piece in _iterate_file(self.statistics, self.parameters.size, iterate_blocks(self.parameters)):
                hasher.update(piece)
            object.__setattr__(self, "digest", hasher.digest())

    @property
    def stage(self) -> Stage:
        """What the next round collects."""
        return Stage.TRAINING if self.statistics.size else Stage.STATISTICS


def encode_model(model: Model) -> bytes:
    """The canonical safetensors file in memory; see :func:`write_model`."""
    return b"".join(_iterate_file(model.statistics, model.parameters.size, iterate_blocks(model.parameters)))


def write_model(model: Model, sink: BlobSink) -> bytes:
    """Write the canonical safetensors file; its digest, which is the model's.

    Sorted keys, no spaces, header padded with spaces to eight bytes. Source: safetensors format, "8 bytes N, header
    JSON of N bytes, byte buffer".
    """
    for piece in _iterate_file(model.statistics, model.parameters.size, iterate_blocks(model.parameters)):
        sink.write(piece)
    return sink.finish()


def _iterate_file(
    statistics: NDArray[np.float64], count: int, blocks: Iterator[tuple[int, NDArray[np.float64]]]
) -> Iterator[bytes | memoryview]:
    header = _header(8 * count, statistics.nbytes)
    yield len(header).to_bytes(8, "little") + header
    for _, block in blocks:
        yield view_bytes(block)
    yield view_bytes(statistics)


def decode_model(data: bytes) -> Model:
    """Read a model file in memory that came from anywhere; see :func:`open_model`.

    Raises:
        WireError: not exactly the canonical file of some model, or longer than MODEL_VALUES_MAX values.
    """
    model = open_model(MemorySource(data))
    return Model(model.statistics, model.parameters[:].copy(), model.digest)


def open_model(source: ByteSource, digest: bytes = b"") -> Model:
    """A model that lies in ``source``, which must not change any more.

    Args:
        digest: the file's, where it is known that this is the file we wrote or checked under it. Without it everything
            is read once: its digest is computed and every value looked at.

    Raises:
        WireError: not exactly the canonical file of some model, longer than MODEL_VALUES_MAX values, or (without
            ``digest``) with a value that is not finite.
    """
    size = source.size
    if size < 8 or size > 8 + _HEADER_BYTES_MAX + 8 * MODEL_VALUES_MAX:
        raise WireError(f"a model file of {size} bytes is outside the limits")
    header_bytes = int.from_bytes(source.read(0, 8), "little")
    if header_bytes > min(_HEADER_BYTES_MAX, size - 8):
        raise WireError("the model file's header is longer than the file")
    text = source.read(8, header_bytes)
    try:
        header = json.loads(text)
        split = int(header["parameters"]["data_offsets"][1])
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise WireError(f"the model file's header cannot be read: {error}") from error
    start = 8 + header_bytes
    body_bytes = size - start
    if not 0 <= split <= body_bytes or split % 8 or body_bytes % 8:
        raise WireError("the model file's tensors do not fill it")
    if text != _header(split, body_bytes - split):
        raise WireError("the model file is not in canonical form")
    parameters = SourceVector(source, np.dtype("<f8"), split // 8, start)
    statistics = SourceVector(source, np.dtype("<f8"), (body_bytes - split) // 8, start + split)
    if not digest:
        digest = _check_values(source.read(0, start), (parameters, statistics))
    return Model(statistics[:].astype(np.float64), parameters, digest)


def _check_values(start: bytes, vectors: Sequence[Vector[np.float64]]) -> bytes:
    """The file's digest, if every value is finite."""
    hasher = hashlib.sha256(start)
    for vector in vectors:
        for _, block in iterate_blocks(vector):
            hasher.update(view_bytes(block))
            if not np.isfinite(block).all():
                raise WireError("the model file holds values that are not finite")
    return hasher.digest()


def _header(parameters_bytes: int, statistics_bytes: int) -> bytes:
    tensors = {
        "parameters": _tensor(0, parameters_bytes),
        "statistics": _tensor(parameters_bytes, parameters_bytes + statistics_bytes),
    }
    text = json.dumps(tensors, separators=(",", ":"), sort_keys=True).encode()
    return text + b" " * (-len(text) % 8)


def _tensor(start: int, end: int) -> dict[str, object]:
    return {"data_offsets": [start, end], "dtype": "F64", "shape": [(end - start) // 8]}


@dataclass(frozen=True, eq=False)
class AdoptedCohort:
    """One adopted aggregate.

    Attributes:
        integer_sum: int64[width], the opened ring sum lifted to integers: Σ w_i · round(x_i / step).
        weight_total: Σ w_i over the sealed trainers of the cohort.
        aggregate_digest: names the sum; empty where nobody needs its name.
    """

    integer_sum: Vector[np.int64]
    weight_total: int
    aggregate_digest: bytes = b""


def apply_cohorts(model: Model, manifest: TaskManifest, levels: int, cohorts: Sequence[AdoptedCohort]) -> Model:
    """The model after a round that adopted ``cohorts`` (in cohort order), in memory. Without any it is the same model.

    STATISTICS: the decoded sum over all cohorts. TRAINING: each cohort's mean update, its norm limited to the clipping
    norm, merged by the cohorts' public weights. Products and sums are element-wise float64, cohort by cohort.
    """
    if not cohorts:
        return model
    if model.stage is Stage.STATISTICS:
        return Model(sum_statistics(manifest, levels, cohorts), model.parameters)
    parameters = np.empty(model.parameters.size, dtype=np.float64)
    for start, block in _iterate_next(model, manifest, levels, cohorts):
        parameters[start : start + block.size] = block
    return Model(model.statistics, parameters)


def write_next_model(
    model: Model, manifest: TaskManifest, levels: int, cohorts: Sequence[AdoptedCohort], sink: BlobSink
) -> bytes:
    """Write what :func:`apply_cohorts` gives, bit for bit, without holding it; its digest. Needs a cohort.

    Memory: a few blocks. Each sum is read twice (its exact norm comes first), the model once.
    """
    assert cohorts
    statistics, blocks = model.statistics, iterate_blocks(model.parameters)
    if model.stage is Stage.STATISTICS:
        statistics = sum_statistics(manifest, levels, cohorts)
    else:
        blocks = _iterate_next(model, manifest, levels, cohorts)
    for piece in _iterate_file(statistics, model.parameters.size, blocks):
        sink.write(piece)
    return sink.finish()


def sum_statistics(manifest: TaskManifest, levels: int, cohorts: Sequence[AdoptedCohort]) -> NDArray[np.float64]:
    """The statistics that these cohorts' sums come to; float64[S]."""
    total = np.zeros(manifest.statistics_count, dtype=np.int64)
    for cohort in cohorts:
        total += cohort.integer_sum[:]
    return decode_statistics(total, manifest.statistics_clip, levels)


def _iterate_next(
    model: Model, manifest: TaskManifest, levels: int, cohorts: Sequence[AdoptedCohort]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """(index of its first value, block) of the next model's parameters in order."""
    weight_total = sum(cohort.weight_total for cohort in cohorts)
    factors = [
        (
            compute_mean_factor(
                compute_squared_norm(cohort.integer_sum), manifest.clip_norm, levels, cohort.weight_total
            ),
            cohort.weight_total / weight_total,
        )
        for cohort in cohorts
    ]
    for start, parameters in iterate_blocks(model.parameters):
        for cohort, (factor, share) in zip(cohorts, factors, strict=True):
            step = cohort.integer_sum[start : start + BLOCK_VALUES].astype(np.float64)
            step *= factor  # the cohort's mean update
            step *= share
            parameters = parameters + step
        yield start, parameters
