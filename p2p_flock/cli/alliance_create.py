"""``p2p-flock alliance create``: found an alliance; its parameters are fixed for ever."""

from __future__ import annotations

import dataclasses
import json
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import click

from p2p_flock.alliance.allowlist import NO_ALLOWLIST, compute_allowlist_root
from p2p_flock.cli.alliance_admission import parse_join_deadline, parse_score_target, read_allowlist, read_owners
from p2p_flock.cli.alliance_risk import choose_bound, describe_risk
from p2p_flock.cli.alliance_security import Assumptions, choose_bounds, describe_bounds, is_weak
from p2p_flock.cli.alliance_terms import describe_epsilon
from p2p_flock.cli.amounts import format_money, parse_flock
from p2p_flock.cli.options import call, home_option, json_option, print_json
from p2p_flock.daemon.control_messages import (
    DIGEST_PARAMS,
    MONEY_PARAMS,
    CreateResult,
    params_from_json,
    params_to_json,
)
from p2p_flock.errors import UsageError
from p2p_flock.params import SUSPICION_BOUND_MAX, AllianceParams, validate_params
from p2p_flock.types import DIGEST_BYTES

FILE_BYTES_MAX = 64 << 10
FLOCK = 10**18

# What an alliance may do without, so that a file of parameters need not name it. The root follows from the allowlist.
_OPTIONAL: dict[str, object] = {
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
    **_OPTIONAL,
}  # fmt: skip
_DEFAULT: dict[str, object] = {  # threshold and collusion bound come from the solver
    **{name: value for name, value in _TESTNET.items() if name not in ("threshold", "collusion_bound")},
    "round_count": 101, "seat_count_min": 23, "seat_count_max": 23, "validator_count": 7,
    "train_seconds": 3_600, "seal_seconds": 60, "unmask_seconds": 60,
    "evaluate_seconds": 600, "commit_seconds": 60, "settle_seconds": 60, "opening_slot_seconds": 60,
    "beacon_margin": 2, "redraw_rounds": 1, "penalty_window_seconds": 86_400, "unbonding_seconds": 604_800,
}  # fmt: skip
PRESETS = {"testnet": _TESTNET, "default": _DEFAULT}


@click.command()
@home_option
@click.option("--task", help="The installed task to train, for example heart.")
@click.option("--preset", type=click.Choice(sorted(PRESETS)), help="Start from these parameters.")
@click.option("--from", "source", type=click.Path(path_type=Path), help="TOML as --dry-run prints it.")
@click.option("--params", "params_file", type=click.Path(path_type=Path), help="JSON object with parameters only.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="One parameter; may be repeated.")
@click.option("--reward-pool", help='Escrowed rewards, "1000 FLOCK" or wei [default: enough for all rounds].')
@click.option(
    "--allowlist", type=click.Path(path_type=Path), help="Owners that may join: addresses, one a line, # for comments."
)
@click.option("--join-deadline", metavar="TIME", help='Nobody joins after it: "2026-12-24T18:00Z" (UTC) or "+2d12h".')
@click.option("--score-target", metavar="SCORE", help="End early with this score of the model, between 0 and 1.")
@click.option("--corrupt-share", default=0.2, show_default=True, help="Share of owners that may collude.")
@click.option("--dropout-share", default=0.1, show_default=True, help="Share of owners that may fail in one round.")
@click.option("--privacy-bits", default=40, show_default=True, help="Chance of a leak in all rounds: 2^-this.")
@click.option("--delivery-bits", default=30, show_default=True, help="Chance of a void cohort in a round: 2^-this.")
@click.option(
    "--suspicion-bound", type=click.IntRange(0, SUSPICION_BOUND_MAX), metavar="NUMBER",
    help="Rejected cohorts in a row that suspend a seat, 0 for never [default: safe for the corrupt share].",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Check and print the TOML, send nothing.")
@json_option
def create(
    home: Path,
    task: str | None,
    preset: str | None,
    source: Path | None,
    params_file: Path | None,
    settings: tuple[str, ...],
    reward_pool: str | None,
    allowlist: Path | None,
    join_deadline: str | None,
    score_target: str | None,
    corrupt_share: float,
    dropout_share: float,
    privacy_bits: int,
    delivery_bits: int,
    suspicion_bound: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Create an alliance and escrow its rewards. Later sources win: preset, --from, --params, --set.

    Amounts are like "100 FLOCK", or whole wei. Threshold and collusion bound are chosen for the shares and levels
    below, unless you name both; what members that cheat can do is shown before anything is sent. Joining the alliance
    yourself is another command.

    lane_bits is what an update costs: 16 or 32 bits a value, or, packed, 10, 12, 15, 20 or 30 (1.33 to 4 bytes). The
    ring must have room for every owner of a cohort: owners · levels · weight_max ≤ 2^(lane_bits − 4), and
    < 2^(lane_bits − 1) where lanes are packed. Fewer levels are more rounding noise.
    """
    assumptions = Assumptions.from_shares(corrupt_share, dropout_share, privacy_bits, delivery_bits)
    values: dict[str, object] = {**_OPTIONAL, **(PRESETS[preset] if preset else {})}
    del values["suspicion_bound"]  # no preset fits all sizes
    owners: tuple[bytes, ...] = ()
    if source is not None:
        document = _read_toml(source)
        task = task or cast("str | None", document.get("task"))
        reward_pool = reward_pool or cast("str | None", document.get("reward_pool"))
        owners = read_owners(document.get("allowlist", []), source)
        values |= {"allowlist_root": _root(owners), **cast("Mapping[str, object]", document["params"])}
    if params_file is not None:
        values.update(_read_json(params_file))
    values.update(_parse_setting(setting) for setting in settings)
    if allowlist is not None:
        owners = read_allowlist(allowlist)
        values["allowlist_root"] = _root(owners)
    if join_deadline is not None:
        values["join_deadline_s"] = parse_join_deadline(join_deadline, int(time.time()))
    if score_target is not None:
        values["score_target_micro"] = parse_score_target(score_target)
    if not isinstance(task, str) or not task:
        raise UsageError('no task is named\npass --task NAME, or write task = "NAME" in the --from file')
    values.update(choose_bounds(values, assumptions))
    if suspicion_bound is not None:
        values["suspicion_bound"] = suspicion_bound
    values.setdefault("suspicion_bound", choose_bound(values, assumptions))
    params = _build(values, owners)
    pool = _pool(params, reward_pool)
    _show_security(params, assumptions, to_stderr=dry_run or as_json)
    if dry_run:
        click.echo(_render(task, pool, params, owners), nl=False)
        return
    listed = [_hex(owner) for owner in owners]
    arguments = {"task": task, "params": _without_digest(params), "reward_pool": str(pool), "allowlist": listed}
    result = cast(CreateResult, call(home, "alliance.create", arguments))
    if as_json:
        print_json(result)
    else:
        _show_created(result, params)


def _pool(params: AllianceParams, reward_pool: str | None) -> int:
    need = params.reward_per_round * params.round_count
    pool = need if reward_pool is None else parse_flock(reward_pool)
    if pool < need:
        raise UsageError(
            "the reward pool does not last for all rounds\n"
            f"escrow at least {format_money(need, 'FLOCK')}, or lower reward_per_round"
        )
    return pool


def _show_created(result: CreateResult, params: AllianceParams) -> None:
    click.echo(f"Created {result['alliance']}")
    if result["privacy"] is not None:
        click.echo(f"Every trainer adds noise: {describe_epsilon(result['privacy'])}.")
    click.echo(f"It starts when {params.seat_count_min} members have joined, each with")
    click.echo(f"  p2p-flock alliance join {result['alliance']}")


def _show_security(params: AllianceParams, assumptions: Assumptions, to_stderr: bool) -> None:
    """Before anything is sent. To stderr where ``--from`` or a program reads what is printed."""
    if is_weak(params, assumptions):
        click.echo("Weaker than asked for:", err=to_stderr)
    for line in (*describe_bounds(params, assumptions), *describe_risk(params)):
        click.echo(f"  {line}", err=to_stderr)


def _build(values: Mapping[str, object], owners: tuple[bytes, ...]) -> AllianceParams:
    amounts = {name: parse_flock(cast("str | int", values[name])) for name in MONEY_PARAMS if name in values}
    params = params_from_json({**values, **amounts}, bytes(DIGEST_BYTES))  # the daemon fills in the task's digest
    if params.allowlist_root != compute_allowlist_root(owners):
        raise UsageError(
            "allowlist_root is not that of the owners listed\npass the list with --allowlist, or drop allowlist_root"
        )
    validate_params(params)
    return params


def _without_digest(params: AllianceParams) -> dict[str, object]:
    return {name: value for name, value in params_to_json(params).items() if name != "manifest_digest"}


def _parse_setting(setting: str) -> tuple[str, object]:
    name, equals, value = setting.partition("=")
    known = [field.name for field in dataclasses.fields(AllianceParams) if field.name not in DIGEST_PARAMS]
    if not equals or name.strip() not in known:
        raise UsageError(f"--set {setting!r} names no alliance parameter\nknown: {', '.join(known)}")
    return name.strip(), value.strip()


def _read_toml(path: Path) -> dict[str, object]:
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


def _read_json(path: Path) -> dict[str, object]:
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


def _render(task: str, pool: int, params: AllianceParams, owners: tuple[bytes, ...]) -> str:
    """TOML that ``--from`` reads back."""
    listed = ["allowlist = [", *(f'    "{_hex(owner)}",' for owner in owners), "]"] if owners else []
    lines = [f"task = {json.dumps(task)}", f'reward_pool = "{pool}"', *listed, "", "[params]"]
    for name, value in _without_digest(params).items():
        lines.append(f'{name} = "{value}"' if name in (*MONEY_PARAMS, *DIGEST_PARAMS) else f"{name} = {value}")
    return "\n".join(lines) + "\n"


def _root(owners: tuple[bytes, ...]) -> str:
    return _hex(compute_allowlist_root(owners))


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
