"""An alliance's numbers as a creator writes them: presets, TOML, JSON, single settings. For ``alliance create``.

What is read here is a user's, so every mistake is named with its remedy; nothing is sent.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from p2p_flock.alliance.allowlist import NO_ALLOWLIST, compute_allowlist_root
from p2p_flock.cli.amounts import format_money, parse_flock
from p2p_flock.daemon.control_messages import DIGEST_PARAMS, MONEY_PARAMS, params_from_json, params_to_json
from p2p_flock.errors import UsageError
from p2p_flock.params import AllianceParams, validate_params
from p2p_flock.types import DIGEST_BYTES

FILE_BYTES_MAX = 64 << 10
FLOCK = 10**18

# What an alliance may do without, so that a file of parameters need not name it. The root follows from the allowlist.
OPTIONAL: dict[str, object] = {
    "absence_slash_bps": 0, "score_target_micro": 0, "join_deadline_s": 0, "allowlist_root": "0x" + NO_ALLOWLIST.hex(),
    "suspicion_bound": 0,
}  # fmt: skip
# DESIGN §6, "Default parameters". Cohort sizes, thresholds and money have no default that fits all.
_TESTNET: dict[str, object] = {
    "seat_stake": 1_000 * FLOCK, "reward_per_round": 100 * FLOCK, "round_count": 11, "seat_count_min": 8,
    "seat_count_max": 8, "validator_count": 3, "cohort_count": 1, "threshold": 3, "collusion_bound": 0,
    "lane_bits": 32, "levels": 1 << 18, "weight_max": 64, "loss_tolerance_micro": 10_000, "train_seconds": 30,
    "seal_seconds": 5, "unmask_seconds": 5, "evaluate_seconds": 10, "commit_seconds": 5, "settle_seconds": 5,
    "opening_slot_seconds": 1, "beacon_margin": 1, "redraw_rounds": 1, "penalty_window_seconds": 60,
    "unbonding_seconds": 120, "provable_slash_bps": 1_000, "void_count_max": 10,
    **OPTIONAL,
}  # fmt: skip
_DEFAULT: dict[str, object] = {  # threshold and collusion bound come from the solver
    **{name: value for name, value in _TESTNET.items() if name not in ("threshold", "collusion_bound")},
    "round_count": 101, "seat_count_min": 23, "seat_count_max": 23, "validator_count": 7,
    "train_seconds": 3_600, "seal_seconds": 60, "unmask_seconds": 60,
    "evaluate_seconds": 600, "commit_seconds": 60, "settle_seconds": 60, "opening_slot_seconds": 60,
    "beacon_margin": 2, "redraw_rounds": 1, "penalty_window_seconds": 86_400, "unbonding_seconds": 604_800,
}  # fmt: skip
PRESETS = {"testnet": _TESTNET, "default": _DEFAULT}


def choose_pool(params: AllianceParams, reward_pool: str | None) -> int:
    """What is escrowed, FLOCK wei: enough for all rounds where no amount is named.

    Raises:
        UsageError: the amount named is none, or does not last.
    """
    need = params.reward_per_round * params.round_count
    pool = need if reward_pool is None else parse_flock(reward_pool)
    if pool < need:
        raise UsageError(
            "the reward pool does not last for all rounds\n"
            f"escrow at least {format_money(need, 'FLOCK')}, or lower reward_per_round"
        )
    return pool


def build(values: Mapping[str, object], owners: tuple[bytes, ...]) -> AllianceParams:
    """Parameters by name as a user writes them, checked; the task's digest is left to the daemon.

    Raises:
        UsageError: a value is missing or unreadable, or the allowlist's root is not that of ``owners``.
        ParameterError: a rule is broken.
    """
    amounts = {name: parse_flock(cast("str | int", values[name])) for name in MONEY_PARAMS if name in values}
    params = params_from_json({**values, **amounts}, bytes(DIGEST_BYTES))  # the daemon fills in the task's digest
    if params.allowlist_root != compute_allowlist_root(owners):
        raise UsageError(
            "allowlist_root is not that of the owners listed\npass the list with --allowlist, or drop allowlist_root"
        )
    validate_params(params)
    return params


def without_digest(params: AllianceParams) -> dict[str, object]:
    """By name, as ``alliance.create`` takes them."""
    return {name: value for name, value in params_to_json(params).items() if name != "manifest_digest"}


def parse_setting(setting: str) -> tuple[str, object]:
    """``NAME=VALUE``; whether the value fits the name, :func:`build` says.

    Raises:
        UsageError: no parameter has that name.
    """
    name, equals, value = setting.partition("=")
    known = [field.name for field in dataclasses.fields(AllianceParams) if field.name not in DIGEST_PARAMS]
    if not equals or name.strip() not in known:
        raise UsageError(f"--set {setting!r} names no alliance parameter\nknown: {', '.join(known)}")
    return name.strip(), value.strip()


def read_toml(path: Path) -> dict[str, object]:
    """What :func:`render` writes: task, reward_pool, allowlist and the table params, as far as they are there.

    Raises:
        UsageError: unreadable, too long, no TOML, or it holds something else.
    """
    try:
        document = tomllib.loads(_read(path))
    except (ValueError, RecursionError) as error:  # also of numbers and lists beyond what Python reads
        raise UsageError(
            f"{path} is not valid TOML: {error}\n`alliance create --preset testnet --dry-run` shows one"
        ) from error
    unknown = sorted(set(document) - {"task", "reward_pool", "allowlist", "params"})
    if unknown or not isinstance(document.get("params"), dict):
        what = f"does not know {', '.join(unknown)}" if unknown else "lacks the section [params]"
        raise UsageError(f"{path} {what}\nit holds task, reward_pool, allowlist and [params]")
    return document


def read_json(path: Path) -> dict[str, object]:
    """Parameters by name.

    Raises:
        UsageError: unreadable, too long, or not one JSON object.
    """
    try:
        document = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}\nit holds one object with the parameters") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not one JSON object\nit holds the parameters by name")
    return document


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise UsageError(f"{path} is longer than {FILE_BYTES_MAX} bytes\nname the right file")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}\nname the right file"
        ) from error


def render(task: str, pool: int, params: AllianceParams, owners: tuple[bytes, ...]) -> str:
    """TOML that ``--from`` reads back."""
    listed = ["allowlist = [", *(f'    "{to_hex(owner)}",' for owner in owners), "]"] if owners else []
    lines = [f"task = {json.dumps(task)}", f'reward_pool = "{pool}"', *listed, "", "[params]"]
    for name, value in without_digest(params).items():
        lines.append(f'{name} = "{value}"' if name in (*MONEY_PARAMS, *DIGEST_PARAMS) else f"{name} = {value}")
    return "\n".join(lines) + "\n"


def allowlist_root(owners: tuple[bytes, ...]) -> str:
    """Hex of the Merkle root over the owners' addresses; 32 zero bytes where there are none."""
    return to_hex(compute_allowlist_root(owners))


def to_hex(value: bytes) -> str:
    """``0x`` and lower-case hex."""
    return "0x" + value.hex()
