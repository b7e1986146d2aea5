"""The global model and how an adopted aggregate changes it, bit for bit the same on every machine (P2).

A model is two float64 vectors: ``statistics`` (the decoded secure sum of the first adopted round, from which everyone
derives imputation and standardisation) and ``parameters``. Its file is a safetensors file in one canonical form, so
that the sha-256 of the file is the model's digest, on chain and between peers. Arithmetic is element-wise float64 in a
fixed
order on exact integers: no torch, no floating-point sum, no fused multiply-add.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.crypto.fixed_point import decode_mean, decode_statistics
from p2p_flock.errors import WireError
from p2p_flock.types import Stage

MODEL_VALUES_MAX = 1 << 28  # 2 GiB of float64; a longer file is refused before it is read
_HEADER_BYTES_MAX = 1024


@dataclass(frozen=True, eq=False)
class Model:
    """The global model.

    Attributes:
        statistics: float64[S], empty until a round of local sums was adopted.
        parameters: float64[D].
        digest: sha-256 of the canonical file, 32 bytes.
    """

    statistics: NDArray[np.float64]
    parameters: NDArray[np.float64]
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        for values in (self.statistics, self.parameters):
            assert values.dtype == np.float64 and values.ndim == 1
            values.flags.writeable = False
        object.__setattr__(self, "digest", hashlib.sha256(encode_model(self)).digest())

    @property
    def stage(self) -> Stage:
        """What the next round collects."""
        return Stage.TRAINING if self.statistics.size else Stage.STATISTICS


def encode_model(model: Model) -> bytes:
    """The canonical safetensors file: sorted keys, no spaces, header padded with spaces to eight bytes.

    Source: safetensors format, "8 bytes N, header JSON of N bytes, byte buffer".
    """
    parameters = model.parameters.astype("<f8", copy=False).tobytes()
    statistics = model.statistics.astype("<f8", copy=False).tobytes()
    header = _header(len(parameters), len(statistics))
    return len(header).to_bytes(8, "little") + header + parameters + statistics


def decode_model(data: bytes) -> Model:
    """Read a model file that came from anywhere.

    Raises:
        WireError: not exactly the canonical file of some model, or longer than MODEL_VALUES_MAX values.
    """
    if len(data) < 8 or len(data) > 8 + _HEADER_BYTES_MAX + 8 * MODEL_VALUES_MAX:
        raise WireError(f"a model file of {len(data)} bytes is outside the limits")
    header_bytes = int.from_bytes(data[:8], "little")
    if header_bytes > min(_HEADER_BYTES_MAX, len(data) - 8):
        raise WireError("the model file's header is longer than the file")
    try:
        header = json.loads(data[8 : 8 + header_bytes])
        split = int(header["parameters"]["data_offsets"][1])
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise WireError(f"the model file's header cannot be read: {error}") from error
    body = memoryview(data)[8 + header_bytes :]
    if not 0 <= split <= len(body) or split % 8 or len(body) % 8:
        raise WireError("the model file's tensors do not fill it")
    if data[8 : 8 + header_bytes] != _header(split, len(body) - split):
        raise WireError("the model file is not in canonical form")
    parameters = np.frombuffer(body[:split], dtype="<f8").astype(np.float64)
    statistics = np.frombuffer(body[split:], dtype="<f8").astype(np.float64)
    if not (np.isfinite(parameters).all() and np.isfinite(statistics).all()):
        raise WireError("the model file holds values that are not finite")
    return Model(statistics=statistics, parameters=parameters)


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
    """

    integer_sum: NDArray[np.int64]
    weight_total: int


def apply_cohorts(model: Model, manifest: TaskManifest, levels: int, cohorts: Sequence[AdoptedCohort]) -> Model:
    """The model after a round that adopted ``cohorts`` (in cohort order). Without any it is the same model.

    STATISTICS: the decoded sum over all cohorts. TRAINING: each cohort's mean update, its norm limited to the clipping
    norm, merged by the cohorts' public weights. Products and sums are element-wise float64, cohort by cohort.
    """
    if not cohorts:
        return model
    if model.stage is Stage.STATISTICS:
        total = np.zeros(manifest.statistics_count, dtype=np.int64)
        for cohort in cohorts:
            total += cohort.integer_sum
        statistics = decode_statistics(total, manifest.statistics_clip, levels)
        return Model(statistics=statistics, parameters=model.parameters)
    weight_total = sum(cohort.weight_total for cohort in cohorts)
    parameters = model.parameters
    for cohort in cohorts:
        mean = decode_mean(cohort.integer_sum, manifest.clip_norm, levels, cohort.weight_total)
        parameters = parameters + mean * (cohort.weight_total / weight_total)
    return Model(statistics=model.statistics, parameters=parameters)
