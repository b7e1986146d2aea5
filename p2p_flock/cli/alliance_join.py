"""``p2p-flock alliance join ID``: stake and take part, after seeing the terms in plain words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import click

from p2p_flock.cli.alliance_show import SHOW_TIMEOUT_S
from p2p_flock.cli.alliance_terms import params_of
from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.failures import EXIT_DECLINED, EXIT_OK
from p2p_flock.cli.options import alliance_argument, call, home_option, json_option, print_json, require_answerable
from p2p_flock.daemon.control_messages import AllianceShowResult, JoinResult
from p2p_flock.errors import ParameterError, UsageError
from p2p_flock.params import validate_joinable


@click.command()
@alliance_argument
@home_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--weight",
    default="auto",
    show_default=True,
    metavar="auto|NUMBER",
    help="Public weight of your data; auto takes it from the number of examples.",
)
@json_option
def join(alliance: str, home: Path, yes: bool, weight: str, as_json: bool) -> int:
    """Join an alliance with the daemon's account: shows the terms, asks, stakes.

    What is sent binds the parameters that were shown and the stake as the most that can be lost.
    """
    declared = _parse_weight(weight)
    result = cast(AllianceShowResult, call(home, "alliance.show", {"alliance": alliance}, SHOW_TIMEOUT_S))
    _check(result)
    if not as_json or not yes:
        from p2p_flock.cli.render import show_terms  # noqa: PLC0415  start-up cost

        show_terms(result, to_stderr=as_json)
    if not yes:
        require_answerable("joining", "--yes")
        stake = format_money(result["params"]["seat_stake"], "FLOCK")
        if not click.confirm(f"Join and stake {stake}?", err=as_json):
            click.echo("Nothing was sent.", err=True)
            return EXIT_DECLINED
    arguments = {
        "alliance": alliance,
        "weight": declared,
        "params_hash": result["params_hash"],
        "maximum_loss": str(result["params"]["seat_stake"]),
    }
    if not as_json and sys.stdout.isatty():
        click.echo("Waiting for the chain (two transactions) …")
    joined = cast(JoinResult, call(home, "alliance.join", arguments))
    if as_json:
        print_json(joined)
    else:
        click.echo(f"Joined {alliance} with seat {joined['seat']}, weight {joined['weight']}.")
        click.echo(
            "Your seat counts from the next round on. Keep the node running: `p2p-flock status` shows how it goes."
        )
    return EXIT_OK


def _parse_weight(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 32:
        raise UsageError(f"--weight {text!r} is neither auto nor a positive whole number\nleave it out to take auto")
    return int(text)


def _check_admission(result: AllianceShowResult) -> None:
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
        validate_joinable(params_of(result))
    except ParameterError as error:
        raise UsageError(str(error)) from error


def _check(result: AllianceShowResult) -> None:
    """Refuse what cannot succeed before anything is sent.

    Raises:
        UsageError: already a member, closed, not admitted, the task is missing, or too little money.
    """
    alliance = result["alliance"]
    if result["closed"]:
        raise UsageError(f"{alliance} is closed: it has had all its rounds\nfind another: `p2p-flock alliance list`")
    if result["own_state"] not in ("none", "withdrawn"):
        raise UsageError(
            f"this node's account is already in {alliance} (state: {result['own_state']})\n"
            "see `p2p-flock status`; another member needs another node"
        )
    _check_admission(result)
    if not result["task_installed"]:
        raise UsageError(
            f"the task {result['task']} is not installed in the daemon's environment, or has another version\n"
            "install the package that brings it, then restart the daemon"
        )
    stake = int(result["params"]["seat_stake"])
    if int(result["flock"]) < stake:
        need, have = format_money(stake, "FLOCK"), format_money(result["flock"], "FLOCK")
        raise UsageError(
            f"the stake is {need}, the account holds {have}\nsend FLOCK to it: `p2p-flock wallet` shows it"
        )
    if int(result["eth"]) == 0:
        raise UsageError("the account holds no ETH to pay gas with\nsend it some: `p2p-flock wallet` shows its address")
