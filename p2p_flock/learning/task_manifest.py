"""The task manifest: everything that must be equal on all nodes for them to train the same model.

Written by the alliance's creator from its installed task, published content-addressed, and compared by each member
with the manifest of its own installed task before it joins. It is also the task's one configuration object: ``train``
reads its hyperparameters from here. Never holds code, and never imports torch.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Final, cast

from p2p_flock.errors import TaskError

MANIFEST_BYTES_MAX: Final = 1 << 20  # heart's has about 4 kB; far above it somebody is filling our memory
VECTOR_COUNT_MAX: Final = 1 << 28  # 1 GiB of float32: beyond the transport's and the ring's design
COLUMNS_MAX: Final = 4096
ENTRY_POINT_GROUP: Final = "p2p_flock.tasks"  # under which packages install tasks
EXAMPLES_PER_WEIGHT_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the data schema: a number with unit and inclusive range, or one of ``values``."""

    name: str
    kind: str  # "number" or "category"
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    values: tuple[str, ...] = ()
    required: bool = False  # an empty cell is an error
    zero_is_missing: bool = False  # the recorded 0 stands for "not measured"
    center: float = 0.0  # public constants: statistics are summed over (value - center) / scale
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class TaskManifest:
    """The public description of a task; two nodes work on the same task iff the canonical bytes are equal."""

    name: str
    version: str
    model: str
    loss: str
    optimiser: str
    preprocessing: str
    statistics_count: int  # S
    parameter_count: int  # D
    statistics_clip: float  # every |statistics()[k]| is at most this
    clip_norm: float  # the protocol scales a longer update down to this L2 norm
    local_epochs: int
    batch_size: int
    learning_rate: float
    test_ratio: float  # part of the member's records that is never trained on
    initial_parameters_sha256: str  # hex, over the float64 little-endian bytes of Task.initial_parameters()
    columns: tuple[Column, ...]
    # Later additions: left out of the document at their default, so that older tasks keep their digest.
    examples_per_weight: int = (
        8  # example counts are declared in steps of this; finer is truer, coarser is more private
    )
    holdout_sha256: str = ""  # hex, of the public records every validator also judges by; empty without any
    noise_multiplier: float = 0.0  # z, see privacy.py: deviation of the noise in a sum over its L2 sensitivity; 0: none
    privacy_delta: float = 0.0  # the δ at which ε is told; 0 without noise

    def to_plain(self) -> dict[str, object]:
        """Plain str, int, float, bool, list and dict values only; keys in declaration order."""
        return {name: value for name, value in asdict(self).items() if value != _OPTIONAL.get(name)}

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8, floats in Python's shortest round-trip form."""
        return json.dumps(
            self.to_plain(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()


@dataclass(frozen=True, slots=True)
class Variant:
    """A private variant of an installed task, as its name tells: ``heart+noise12.5``, ``digits+noise8clip0.5``.

    The name alone makes the manifest, so every member of the alliance can make the same one from the task it has.

    Attributes:
        base: the installed task.
        noise_multiplier: z, see ``privacy.py``.
        clip_norm: in place of the task's own; ``None`` keeps that. Noise is proportional to it.
    """

    base: str
    noise_multiplier: float
    clip_norm: float | None = None

    @property
    def name(self) -> str:
        clip = "" if self.clip_norm is None else f"clip{self.clip_norm:g}"
        return f"{self.base}+noise{self.noise_multiplier:g}{clip}"


def read_variant(name: str) -> Variant | None:
    """The variant that a task's name means; ``None`` for the name of a task as it is installed.

    Raises:
        TaskError: a number that is not in its one shortest form, or out of range: one variant would have two names.
    """
    if "+" not in name:
        return None
    found = _VARIANT.fullmatch(name)
    if found is None:
        raise TaskError(f"{name!r} is no task: a private variant is called like heart+noise8 or heart+noise8clip0.5")
    variant = Variant(found[1], float(found[2]), None if found[3] is None else float(found[3]))
    if variant.name != name or not 0.01 <= variant.noise_multiplier <= 10_000 or variant.clip_norm == 0:
        raise TaskError(
            f"{name!r} is no task: the noise multiplier lies in 0.01..10000, a clip is positive, and both have no "
            "needless zeros and six digits at most"
        )
    return variant


def base_of(name: str) -> str:
    """The installed task that a name means: without the ending of a private variant."""
    return name.partition("+")[0]


_NUMBER: Final = r"([0-9]{1,5}(?:\.[0-9]{1,5})?)"
_VARIANT: Final = re.compile(rf"([^+]{{1,48}})\+noise{_NUMBER}(?:clip{_NUMBER})?")

_OPTIONAL: Final[dict[str, object]] = {
    field.name: field.default for field in fields(TaskManifest) if field.default is not MISSING
}


def read_manifest(data: bytes) -> TaskManifest:
    """Read canonical bytes back, strictly: re-encoding must give the same bytes.

    Raises:
        TaskError: too long, not JSON, an unknown or missing field, a wrong type, a value out of bounds.
    """
    if len(data) > MANIFEST_BYTES_MAX:
        raise TaskError(f"the task manifest has {len(data)} bytes; at most {MANIFEST_BYTES_MAX} are read")
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"the task manifest is not JSON: {error}") from error
    manifest = manifest_from_plain(plain)
    if manifest.to_bytes() != data:
        raise TaskError("the task manifest is not in canonical form")
    return manifest


def manifest_from_plain(plain: object) -> TaskManifest:
    """Build a manifest from what :meth:`TaskManifest.to_plain` gave, checking types and bounds.

    Raises:
        TaskError: naming the first field that is wrong.
    """
    values = _typed_fields(TaskManifest, plain, "task manifest")
    columns = values["columns"]
    assert isinstance(columns, (list, tuple))
    if len(columns) > COLUMNS_MAX:
        raise TaskError(f"task manifest: {len(columns)} columns; at most {COLUMNS_MAX}")
    values["columns"] = tuple(_column_from_plain(column) for column in columns)
    manifest = TaskManifest(**values)  # type: ignore[arg-type]  # _typed_fields has checked each field's type
    _validate(manifest)
    return manifest


def _column_from_plain(plain: object) -> Column:
    values = _typed_fields(Column, plain, "column")
    strings = cast("list[object]", values["values"])
    if not all(isinstance(value, str) for value in strings):
        raise TaskError(f"column {values['name']}: values must be strings")
    values["values"] = tuple(strings)
    return Column(**values)  # type: ignore[arg-type]  # likewise


# The annotations are strings (``from __future__``); they are the whole schema.
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "float": (float,),
    "bool": (bool,),
    "tuple[str, ...]": (list, tuple),
    "tuple[Column, ...]": (list, tuple),
}


def _typed_fields(kind: type[TaskManifest] | type[Column], plain: object, what: str) -> dict[str, object]:
    if not isinstance(plain, dict):
        raise TaskError(f"{what}: not a map")
    expected = {field.name: _TYPES[str(field.type)] for field in fields(kind)}
    plain = {**(_OPTIONAL if kind is TaskManifest else {}), **plain}
    if plain.keys() != expected.keys():
        odd = sorted(str(key) for key in plain.keys() ^ expected.keys())
        raise TaskError(f"{what}: unknown or missing field {odd[0]}")
    for name, types in expected.items():
        # bool is a subclass of int; the manifest must not take True for 1.
        if type(plain[name]) not in types:
            raise TaskError(f"{what}: field {name} has the wrong type")
    return dict(plain)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _validate(manifest: TaskManifest) -> None:
    m = manifest
    rules = {
        # Without a single statistic round 0 would never be over: the core tells the stages apart by it.
        f"statistics_count lies in 1..{VECTOR_COUNT_MAX}": 1 <= m.statistics_count <= VECTOR_COUNT_MAX,
        f"parameter_count lies in 1..{VECTOR_COUNT_MAX}": 1 <= m.parameter_count <= VECTOR_COUNT_MAX,
        "statistics_clip is positive and finite": 0 < m.statistics_clip < math.inf,
        "clip_norm is positive and finite": 0 < m.clip_norm < math.inf,
        "local_epochs lies in 1..1000": 1 <= m.local_epochs <= 1000,
        "batch_size lies in 1..65536": 1 <= m.batch_size <= 65536,
        "learning_rate is positive and finite": 0 < m.learning_rate < math.inf,
        "test_ratio lies strictly between 0 and 1": 0 < m.test_ratio < 1,
        "initial_parameters_sha256 has 64 hex digits": _is_digest(m.initial_parameters_sha256),
        f"examples_per_weight lies in 1..{EXAMPLES_PER_WEIGHT_MAX}": 1
        <= m.examples_per_weight
        <= EXAMPLES_PER_WEIGHT_MAX,
        "noise_multiplier lies in 0.01..10000, privacy_delta strictly between 0 and 1; or neither is given": (
            0.01 <= m.noise_multiplier <= 10_000 and 0 < m.privacy_delta < 1
        )
        or (m.noise_multiplier == 0 and m.privacy_delta == 0),
        "holdout_sha256 has 64 hex digits or none": not m.holdout_sha256 or _is_digest(m.holdout_sha256),
    }
    for rule, holds in rules.items():
        if not holds:
            raise TaskError(f"task manifest: {rule}")
