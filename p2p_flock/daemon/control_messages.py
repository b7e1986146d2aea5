"""Arguments and results of every control command, as types; ``CONTROL.md`` says what they mean.

Called by the commands (which send arguments and show results) and by the daemon's handlers. Money is wei as a decimal
text, times are Unix seconds, digests, hashes and addresses are ``0x`` and lower-case hex.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, TypedDict, Union, get_args, get_origin, get_type_hints

from p2p_flock.daemon.history_messages import HistoryArguments, HistoryResult
from p2p_flock.daemon.node_messages import LogArguments, LogResult, MeshResult
from p2p_flock.daemon.watch_messages import PrivacyResult, RoundResult, SlashResult, WatchResult
from p2p_flock.errors import UsageError
from p2p_flock.params import AllianceParams
from p2p_flock.types import DIGEST_BYTES

MONEY_PARAMS = ("seat_stake", "reward_per_round")
DIGEST_PARAMS = ("manifest_digest", "allowlist_root")


class NoArguments(TypedDict):
    pass


class AllianceArguments(TypedDict):
    alliance: str


class CreateArguments(TypedDict):
    task: str
    params: dict[str, Any]  # params_to_json without manifest_digest; params_from_json checks it
    reward_pool: str
    allowlist: list[str]


class JoinArguments(TypedDict):
    alliance: str
    weight: int | None
    params_hash: str
    maximum_loss: str


class ClaimArguments(TypedDict):
    alliance: str | None


class StatusResult(TypedDict):
    peer_id: str
    address: str
    uptime_s: int
    listen_addresses: list[str]
    connected_peers: int
    chain_id: int
    block: int | None
    chain_time_s: int | None
    alliance: str | None
    task: str | None
    seat: int | None
    round: int | None
    settled_rounds: int | None
    round_count: int | None
    rounds_behind: int | None
    syncing: str | None
    standing: str
    release_at_s: int | None
    suspended_for: list[int]
    suspected_for: list[int]
    slashed: SlashResult | None
    role: str
    phase: str
    phase_ends_at_s: int | None
    model_digest: str | None
    score_before: float | None
    score_after: float | None
    privacy: PrivacyResult | None
    warnings: list[str]
    dashboard: str | None


class SeatResult(TypedDict):
    index: int
    owner: str
    peer_id: str
    weight: int
    leaving: bool
    binding_valid: bool
    connected: bool


class AdmissionResult(TypedDict):
    """Who may join, and until when: ``null`` where everybody may, or at any time."""

    listed_owners: int | None
    is_listed: bool | None
    join_deadline_s: int | None
    is_over: bool


class AllianceListEntry(TypedDict):
    alliance: str
    task: str
    task_installed: bool
    seats: int
    seat_count_min: int
    seat_count_max: int
    settled_rounds: int
    round_count: int
    seat_stake: str
    closed: bool
    joined: bool
    admission: AdmissionResult


class AllianceListResult(TypedDict):
    alliances: list[AllianceListEntry]


class ColumnResult(TypedDict):
    """One column of a member's file: a number from ``low`` to ``high``, or one of ``values``."""

    name: str
    kind: str
    unit: str
    low: float
    high: float
    values: list[str]
    value_count: int
    required: bool


class TaskResult(TypedDict):
    """The installed task in its own words, where it is the alliance's."""

    name: str
    version: str
    model: str
    loss: str
    optimiser: str
    preprocessing: str
    score_name: str | None
    parameter_count: int
    statistics_count: int
    local_epochs: int
    batch_size: int
    learning_rate: float
    test_ratio: float
    examples_per_weight: int
    has_holdout: bool
    column_count: int
    columns: list[ColumnResult]


class OwnDataResult(TypedDict):
    """This node's own task and data, whichever the alliance's is."""

    task: str | None
    path: str | None
    seed: str
    memory_bytes_max: int
    train_count: int | None
    test_count: int | None
    problems: list[str]
    error: str | None
    error_is_of_data: bool


class AllianceShowResult(TypedDict):
    alliance: str
    contract: str
    task: str
    task_installed: bool
    about: TaskResult | None
    data: OwnDataResult
    manifest_digest: str
    params: dict[str, Any]
    params_hash: str
    admission: AdmissionResult
    privacy: PrivacyResult | None
    seats: list[SeatResult]
    round: int | None
    settled_rounds: int
    phase: str
    phase_ends_at_s: int | None
    closed: bool
    model_digest: str | None
    own_seat: int | None
    own_state: str
    weight_suggested: int | None
    eth: str
    flock: str
    rounds: list[RoundResult]


class CreateResult(TypedDict):
    alliance: str
    contract: str
    manifest_digest: str
    privacy: PrivacyResult | None
    transactions: list[str]


class JoinResult(TypedDict):
    alliance: str
    seat: int
    weight: int
    transactions: list[str]


class LeaveResult(TypedDict):
    alliance: str
    state: str
    withdrawable_at_s: int | None
    transactions: list[str]


class ReactivateResult(TypedDict):
    alliance: str
    transactions: list[str]


class WalletResult(TypedDict):
    address: str
    peer_id: str
    chain_id: int
    eth: str
    flock: str
    staked: str
    unclaimed: str
    withdrawable: str
    earned_total: str
    claimed_total: str
    gas_spent_wei: str
    gas_since_s: int


class ClaimResult(TypedDict):
    claimed: str
    transactions: list[str]


class StopResult(TypedDict):
    stopping: bool


# Every command there is: the server checks arguments by the first type before a handler sees them.
COMMANDS: dict[str, tuple[type, type]] = {
    "status": (NoArguments, StatusResult),
    "alliance.create": (CreateArguments, CreateResult),
    "alliance.list": (NoArguments, AllianceListResult),
    "alliance.show": (AllianceArguments, AllianceShowResult),
    "alliance.watch": (NoArguments, WatchResult),
    "alliance.history": (HistoryArguments, HistoryResult),
    "alliance.join": (JoinArguments, JoinResult),
    "alliance.leave": (AllianceArguments, LeaveResult),
    "alliance.withdraw": (AllianceArguments, LeaveResult),
    "alliance.reactivate": (AllianceArguments, ReactivateResult),
    "node.mesh": (NoArguments, MeshResult),
    "node.log": (LogArguments, LogResult),
    "task.show": (NoArguments, TaskResult),
    "wallet.show": (NoArguments, WalletResult),
    "wallet.claim": (ClaimArguments, ClaimResult),
    "stop": (NoArguments, StopResult),
}


def validate_arguments(command: str, arguments: Mapping[str, object]) -> None:
    """Check names and types of a command's arguments.

    Raises:
        UsageError: no such command, an argument is missing, unknown, or of the wrong type.
    """
    if command not in COMMANDS:
        raise UsageError(f"there is no command {command!r}\nknown: {', '.join(sorted(COMMANDS))}")
    hints = get_type_hints(COMMANDS[command][0])
    if set(arguments) != set(hints):
        raise UsageError(f"{command} takes the arguments {sorted(hints)}, not {sorted(arguments)}\nsee CONTROL.md")
    for name, hint in hints.items():
        kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        if type(arguments[name]) not in [get_origin(kind) or kind for kind in kinds]:
            raise UsageError(f"{command}: the argument {name} has the wrong type\nsee CONTROL.md")


def params_to_json(params: AllianceParams) -> dict[str, Any]:
    """Field names and values; money as decimal text, digests as ``0x`` hex."""
    values = dataclasses.asdict(params)
    for name in DIGEST_PARAMS:
        values[name] = "0x" + values[name].hex()
    for name in MONEY_PARAMS:
        values[name] = str(values[name])
    return values


def params_from_json(values: Mapping[str, object], manifest_digest: bytes) -> AllianceParams:
    """The inverse, with the manifest digest given apart (32 bytes); an entry of that name is ignored.

    Whole numbers may be numbers or decimal text. Does not check the rules: see ``params.validate_params``.

    Raises:
        UsageError: a field is missing, unknown, no whole number, or no digest.
    """
    fields = [field.name for field in dataclasses.fields(AllianceParams) if field.name != "manifest_digest"]
    given = {name: value for name, value in values.items() if name != "manifest_digest"}
    missing, unknown = sorted(set(fields) - set(given)), sorted(set(given) - set(fields))
    if missing or unknown:
        what = f"lack {', '.join(missing)}" if missing else f"do not know {', '.join(unknown)}"
        raise UsageError(f"the alliance parameters {what}\nthe fields are: {', '.join(fields)}")
    allowlist_root = _digest("allowlist_root", given.pop("allowlist_root"))
    numbers: dict[str, int] = {}
    for name, value in given.items():
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 40:
            numbers[name] = int(value)
        elif type(value) is int and value >= 0:
            numbers[name] = value
        else:
            raise UsageError(f"the alliance parameter {name} must be a whole number, not {value!r}\ncorrect it")
    return AllianceParams(manifest_digest=manifest_digest, **numbers, allowlist_root=allowlist_root)


def _digest(name: str, value: object) -> bytes:
    digits = value.removeprefix("0x") if isinstance(value, str) else ""
    try:
        digest = bytes.fromhex(digits)
    except ValueError:
        digest = b""
    if len(digest) != DIGEST_BYTES or len(digits) != 2 * DIGEST_BYTES:
        raise UsageError(f"the alliance parameter {name} must be 0x and 64 hex digits, not {value!r}\ncorrect it")
    return digest
