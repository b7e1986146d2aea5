"""The task manifest: what is trained, as a content-addressed document that every member holds.

Its sha-256 is fixed on chain when the alliance is created. It names a task implementation that the member has
installed; code is
never taken from a peer. The document is canonical JSON (sorted keys, no spaces): equal tasks have equal digests.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from p2p_flock.errors import WireError
from p2p_flock.types import Stage

MANIFEST_BYTES_MAX = 1 << 20
NOISE_MULTIPLIER_MIN, NOISE_MULTIPLIER_MAX = 0.01, 10_000.0  # less protects nothing, more leaves nothing of the update
WIDTH_MAX = 1 << 28

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class TaskManifest:
    """The fields the protocol itself needs, and the whole document for the task implementation.

    Attributes:
        task, version: name of the entry point and the version both sides must have.
        statistics_count, parameter_count: widths S and D of the two stages.
        statistics_clip: bound on every local sum's absolute value.
        clip_norm: L2 bound on a training update.
        noise_multiplier: z, deviation of the noise in every opened update sum over its L2 sensitivity; 0 for none.
        privacy_delta: δ at which the alliance's ε is told; 0 without noise.
        document: the canonical JSON bytes; ``digest`` is their sha-256.
    """

    task: str
    version: str
    statistics_count: int
    parameter_count: int
    statistics_clip: float
    clip_norm: float
    document: bytes
    noise_multiplier: float = 0.0
    privacy_delta: float = 0.0
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.document).digest())

    def width(self, stage: Stage) -> int:
        """Lanes of a contribution in this stage."""
        return self.statistics_count if stage is Stage.STATISTICS else self.parameter_count


def encode_manifest(document: Mapping[str, Json]) -> bytes:
    """Canonical bytes of a manifest.

    Raises:
        WireError: a value has no canonical JSON form (NaN, infinity, a key that is not text).
    """
    try:
        return json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(f"the task manifest cannot be encoded: {error}") from error


def decode_manifest(data: bytes) -> TaskManifest:
    """Read a manifest.

    Raises:
        WireError: too long, not canonical, or one of the protocol's fields is missing or out of range.
    """
    if len(data) > MANIFEST_BYTES_MAX:
        raise WireError(f"a task manifest has at most {MANIFEST_BYTES_MAX} bytes")
    try:
        document = cast(Json, json.loads(data))
    except (ValueError, RecursionError) as error:
        raise WireError(f"the task manifest is not JSON: {error}") from error
    if not isinstance(document, dict) or encode_manifest(document) != data:
        raise WireError("the task manifest is not canonical JSON")
    # Absent means none, and nothing else does: a zero or a lone δ is a mistake, or an attempt to look private.
    noise_multiplier = _noise_multiplier(document) if "noise_multiplier" in document else 0.0
    if not noise_multiplier and "privacy_delta" in document:
        raise WireError("task manifest: privacy_delta without noise_multiplier")
    return TaskManifest(
        task=_text(document, "name"),
        version=_text(document, "version"),
        statistics_count=_whole(document, "statistics_count", 1, WIDTH_MAX),
        parameter_count=_whole(document, "parameter_count", 1, WIDTH_MAX),
        statistics_clip=_positive(document, "statistics_clip"),
        clip_norm=_positive(document, "clip_norm"),
        document=data,
        noise_multiplier=noise_multiplier,
        privacy_delta=_ratio(document, "privacy_delta") if noise_multiplier else 0.0,
    )


def _text(document: dict[str, Json], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not 1 <= len(value) <= 64:
        raise WireError(f"task manifest: {key} must be text of 1 to 64 characters")
    return value


def _whole(document: dict[str, Json], key: str, low: int, high: int) -> int:
    value = document.get(key)
    if type(value) is not int or not low <= value <= high:
        raise WireError(f"task manifest: {key} must be a whole number in {low}..{high}")
    return value


def _positive(document: dict[str, Json], key: str) -> float:
    value = document.get(key)
    try:
        number = float(value) if type(value) in (int, float) else math.nan  # type: ignore[arg-type]  # checked here
    except OverflowError:
        number = math.inf  # a whole number of hundreds of digits
    if not (math.isfinite(number) and number > 0):
        raise WireError(f"task manifest: {key} must be a positive finite number")
    return number


def _noise_multiplier(document: dict[str, Json]) -> float:
    number = _positive(document, "noise_multiplier")
    if not NOISE_MULTIPLIER_MIN <= number <= NOISE_MULTIPLIER_MAX:
        raise WireError(f"task manifest: noise_multiplier lies in {NOISE_MULTIPLIER_MIN}..{NOISE_MULTIPLIER_MAX}")
    return number


def _ratio(document: dict[str, Json], key: str) -> float:
    number = _positive(document, key)
    if not number < 1:
        raise WireError(f"task manifest: {key} lies strictly between 0 and 1")
    return number
