"""What a join cannot succeed with: each has its own sentence and remedy, said before anything is sent. Pure."""

from __future__ import annotations

from p2p_flock.cli.alliance_terms import expected_seats, params_of, rounds_left
from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.estimates import GWEI_PER_ETH, WEI_PER_GWEI, GasCost, Prices, estimate_gas
from p2p_flock.daemon.control_messages import AllianceShowResult
from p2p_flock.errors import DataSchemaError, ParameterError, UsageError
from p2p_flock.params import AllianceParams, validate_joinable


def check_joinable(result: AllianceShowResult, prices: Prices) -> None:
    """Refuse what cannot succeed: the alliance first, then this node's task, then its money.

    A member's data that does not fit is not refused here: the check of the data lists everything.

    Raises:
        UsageError: already a member, closed, full, not admitted, the task is missing or another, or too little money.
    """
    params = params_of(result)
    _check_alliance(result, params)
    _check_admission(result, params)
    _check_task(result)
    _check_money(result, params, prices)


def _check_alliance(result: AllianceShowResult, params: AllianceParams) -> None:
    alliance = result["alliance"]
    if result["closed"]:
        raise UsageError(f"{alliance} is closed: it has had all its rounds\nfind another: `p2p-flock alliance list`")
    if result["own_state"] in ("unbonding", "withdrawable"):
        raise UsageError(
            f"this node's account has left {alliance} and its former stake is still there\n"
            f"`p2p-flock alliance withdraw {alliance}` once it is unbonded, then join anew"
        )
    if result["own_state"] not in ("none", "withdrawn"):
        raise UsageError(
            f"this node's account is already in {alliance} (state: {result['own_state']})\n"
            "see `p2p-flock status`; another member needs another node"
        )
    if len(result["seats"]) >= params.seat_count_max:
        raise UsageError(
            f"{alliance} is full: all {params.seat_count_max} seats are taken\n"
            "wait until a member leaves, or find another: `p2p-flock alliance list`"
        )


def _check_admission(result: AllianceShowResult, params: AllianceParams) -> None:
    admission = result["admission"]
    if admission["is_over"]:
        raise UsageError(
            f"nobody joins {result['alliance']} any more: its join deadline has passed\n"
            "find another: `p2p-flock alliance list`"
        )
    if admission["is_listed"] is False:
        raise UsageError(
            f"this node's account is not on the allowlist of {result['alliance']}, which is fixed for ever\n"
            "ask the creator for a new alliance that lists it (`p2p-flock wallet` shows the address), or join another"
        )
    try:
        validate_joinable(params)
    except ParameterError as error:
        raise UsageError(str(error)) from error


def _check_task(result: AllianceShowResult) -> None:
    """The own task is the alliance's; a file that does not fit is left to the check of the data."""
    data, task = result["data"], result["task"]
    if data["task"] is None or data["path"] is None:
        raise UsageError(
            f"this node has no task and data, the alliance trains {task}\n"
            f'set task = "{task}" and data_path under [learning] in config.toml, then restart the node'
        )
    if data["task"] != task:
        raise UsageError(
            f"this node is set to the task {data['task']}, the alliance trains {task}\n"
            f'set task = "{task}" and its data_path under [learning] in config.toml, then restart the node'
        )
    if result["task_installed"] or data["error_is_of_data"]:
        return
    if data["error"] is not None:
        raise UsageError(
            f"the task {task} does not start here: {data['error'].splitlines()[0]}\n"
            "install the package that brings it (it is not installed where the node runs: `p2p-flock task list`), "
            "then restart the node"
        )
    raise UsageError(
        f"the task {task} is installed here in another version than the alliance's\n"
        "install the version that its creator used (ask; `p2p-flock task list` shows yours), then restart the node"
    )


def _check_money(result: AllianceShowResult, params: AllianceParams, prices: Prices) -> None:
    if int(result["flock"]) < params.seat_stake:
        need, have = format_money(params.seat_stake, "FLOCK"), format_money(result["flock"], "FLOCK")
        raise UsageError(
            f"the stake is {need}, the account holds {have}\nsend FLOCK to it: `p2p-flock wallet` shows it"
        )
    if int(result["eth"]) == 0:
        raise UsageError("the account holds no ETH to pay gas with\nsend it some: `p2p-flock wallet` shows its address")
    joining = _wei(_gas(result, params).join_gas, prices)
    if int(result["eth"]) < joining:
        need, have = format_money(joining, "ETH"), format_money(result["eth"], "ETH")
        raise UsageError(
            f"joining takes about {need} for gas, the account holds {have}\n"
            "send it more, and some for the rounds: `p2p-flock wallet` shows its address"
        )


def describe_obstacle(result: AllianceShowResult, prices: Prices) -> list[str]:
    """For ``alliance show``: what keeps this node from joining now, and what to do; none of a member or where nothing.

    The first obstacle only: mending it may change the rest.
    """
    if result["own_state"] in ("joined", "leaving"):
        return []
    try:
        check_joinable(result, prices)
    except UsageError as error:
        what, _, remedy = str(error).partition("\n")
        return [f"{_as_sentence(what)} {_as_sentence(remedy)}".strip()]
    if result["data"]["error_is_of_data"]:
        return [f"Your data does not fit the task: {result['data']['error']}. `p2p-flock task check` lists all of it."]
    return []


def _as_sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""


def find_warnings(result: AllianceShowResult, prices: Prices) -> list[str]:
    """What a member should know before it stakes although it could go on; each with what to do."""
    params = params_of(result)
    found = [*_unreachable(result)]
    gas = _gas(result, params)
    each, whole = _wei(gas.member_gas, prices), _wei(gas.join_gas, prices)
    left = rounds_left(result, params)
    rounds = (int(result["eth"]) - whole) // max(each, 1)
    if rounds < left:
        found.append(
            f"The account's ETH lasts for about {max(0, rounds):,} of the {left:,} rounds that are left. Send it more: "
            "a node without gas can neither send a round's transactions nor register a fresh mask key after a failed "
            "round."
        )
    return found


def _unreachable(result: AllianceShowResult) -> list[str]:
    members = [seat for seat in result["seats"] if seat["index"] != result["own_seat"]]
    if not members or any(seat["connected"] for seat in members):
        return []
    return [
        f"None of the {len(members)} members is connected to this node. If that stays so, it cannot take part, and its "
        "seat is suspended after two rounds. Before you stake: check bootstrap under [net] in config.toml, the "
        "firewall and the port (`p2p-flock doctor`), or wait until members are there (`p2p-flock alliance show ID`)."
    ]


def data_mismatch(task: str, path: str, count: int) -> DataSchemaError:
    """What stops a join, or ends ``task check``, after the mismatches were listed."""
    places = "one place does" if count == 1 else f"{count:,} places do"
    return DataSchemaError(
        f"{places} not fit the task {task} in {path}\n"
        "correct the file as listed above; `p2p-flock task check` looks again"
    )


def _gas(result: AllianceShowResult, params: AllianceParams) -> GasCost:
    return estimate_gas(params, expected_seats(result, params))


def _wei(gas: int, prices: Prices) -> int:
    return int(prices.eth(gas) * GWEI_PER_ETH * WEI_PER_GWEI)
