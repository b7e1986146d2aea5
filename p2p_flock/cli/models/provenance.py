"""``provenance.json`` of an exported model: where it comes from, and the digests of all files beside it.

Written by ``model export``, read by ``model verify``, which believes nothing of it: it is what the exporter claims. The
file has one form only (sorted keys, two blanks of indent, one line feed at the end) and holds the sha-256 of its own
content, so that every damaged bit shows, wherever it is; whoever forges it is caught by the chain.
"""

from __future__ import annotations

import hashlib
import json
import re
import types
from pathlib import Path
from typing import Any, TypedDict, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from p2p_flock.errors import WireError

PROVENANCE_NAME = "provenance.json"
CARD_NAME = "README.md"
MODEL_NAME = "model.safetensors"
REPLAY_FOLDER = "replay"
FORMAT = 1
PROVENANCE_BYTES_MAX = 64 << 20  # a hundred thousand rounds of sixteen survivors
FILES_MAX = 1 << 17
_FILE_NAME = re.compile(
    rf"{re.escape(CARD_NAME)}|{re.escape(MODEL_NAME)}|{REPLAY_FOLDER}/[0-9a-f]{{64}}\.(?:safetensors|aggregate|manifest)"
)
_HEX = re.compile(r"0x(?:[0-9a-f]{2})*")


class TaskClaim(TypedDict):
    name: str
    version: str
    manifest_digest: str
    manifest: str  # canonical JSON, whose sha-256 is the digest


class ModelClaim(TypedDict):
    round: int  # the model after this round
    digest: str  # of the alliance's own model file
    parameter_count: int
    statistics_count: int


class RoundClaim(TypedDict):
    round: int
    outcome: str  # settled, voided
    cohort_outcomes: list[str]
    votes_for: list[int]
    votes_against: list[int]
    transaction: str  # that ended it


class ParticipantClaim(TypedDict):
    owner: str
    rounds: list[int]  # whose adopted sum its update is in


class ScoreClaim(TypedDict):
    round: int
    own_score: float | None
    local_only_score: float | None


class PrivacyClaim(TypedDict):
    noise_multiplier: float
    delta: float
    rounds: int
    epsilon: float | None


class BeaconClaim(TypedDict):
    round: int
    signature: str


class ReplayClaim(TypedDict):
    """What the model can be computed from: a model that the chain names (or the initial one), and adopted sums."""

    base_round: int  # the base is the model before this round
    base_digest: str
    base_is_initial: bool
    beacons: list[BeaconClaim]  # of rounds that ended without a seal: keys depend on their roles


class Provenance(TypedDict):
    format: int
    version: str
    alliance: str
    contract: str
    task: TaskClaim
    model: ModelClaim
    rounds: list[RoundClaim]
    participants: list[ParticipantClaim]
    scores: list[ScoreClaim]  # of the exporter, on its private test data
    privacy: PrivacyClaim | None
    replay: ReplayClaim | None
    exported_by: str
    exported_at_s: int
    files: dict[str, str]  # name -> sha-256


def encode_provenance(provenance: Provenance) -> bytes:
    """The file's bytes."""
    whole = {"provenance": provenance, "sha256": _self_digest(provenance)}
    return (json.dumps(whole, sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode()


def read_provenance(path: Path) -> Provenance:
    """Read the file that an exporter wrote.

    Raises:
        WireError: too long, not in its one form, a field missing, unknown or of another type, or damaged.
        OSError: it cannot be read.
    """
    if path.stat().st_size > PROVENANCE_BYTES_MAX:
        raise WireError(f"it is longer than {PROVENANCE_BYTES_MAX} bytes")
    data = path.read_bytes()
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError(f"it is not JSON: {error}") from error
    if not isinstance(whole, dict) or set(whole) != {"provenance", "sha256"}:
        raise WireError("it is not what `p2p-flock model export` writes")
    claimed = whole["provenance"]
    if isinstance(claimed, dict) and type(claimed.get("format")) is int and claimed["format"] != FORMAT:
        raise WireError(f"its format is {claimed['format']}, this version reads {FORMAT}")
    _check(claimed, Provenance, "provenance")
    provenance = cast(Provenance, claimed)
    try:
        is_whole = whole["sha256"] == _self_digest(provenance) and encode_provenance(provenance) == data
    except ValueError:  # a number that JSON does not know
        is_whole = False
    if not is_whole:
        raise WireError("it was changed since it was written: its content does not have the digest that it names")
    _check_values(provenance)
    return provenance


def from_hex(text: str) -> bytes:
    """The bytes of ``0x…``; of anything else none, which no digest equals."""
    return bytes.fromhex(text[2:]) if _HEX.fullmatch(text) else b""


def to_hex(value: bytes) -> str:
    """``0x`` and lower-case hex."""
    return "0x" + value.hex()


def _self_digest(provenance: Provenance) -> str:
    text = json.dumps(provenance, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return to_hex(hashlib.sha256(text.encode()).digest())


def _check_values(provenance: Provenance) -> None:
    names = provenance["files"]
    if len(names) > FILES_MAX or not all(_FILE_NAME.fullmatch(name) for name in names):
        raise WireError("it names a file that no export has")
    if not {CARD_NAME, MODEL_NAME} <= set(names):
        raise WireError("it does not name all of its files")
    if provenance["model"]["round"] < 0 or [entry["round"] for entry in provenance["rounds"]] != list(
        range(provenance["model"]["round"] + 1)
    ):
        raise WireError("it does not tell every round up to its model's")


# Any: a value that JSON gave, and the annotation that it is held against.
def _check(value: Any, hint: Any, where: str) -> None:
    """Whether ``value`` is of the type, exactly; names the first place where it is not."""
    origin = get_origin(hint)
    if is_typeddict(hint):
        hints = get_type_hints(hint)
        if not isinstance(value, dict) or set(value) != set(hints):
            raise WireError(f"{where} has other fields than it must have")
        for name, kind in hints.items():
            _check(value[name], kind, f"{where}.{name}")
    elif origin in (Union, types.UnionType):
        plain = [kind for kind in get_args(hint) if not is_typeddict(kind)]
        typed = [kind for kind in get_args(hint) if is_typeddict(kind)]
        if type(value) not in plain:
            if not typed:
                raise WireError(f"{where} has the wrong type")
            _check(value, typed[0], where)
    elif origin is list:
        if not isinstance(value, list):
            raise WireError(f"{where} is no list")
        for index, item in enumerate(value):
            _check(item, get_args(hint)[0], f"{where}[{index}]")
    elif origin is dict:
        if not isinstance(value, dict):
            raise WireError(f"{where} is no table")
        for item in value.values():
            _check(item, get_args(hint)[1], where)
    elif type(value) is not hint:
        raise WireError(f"{where} has the wrong type")
