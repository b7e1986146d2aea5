"""``p2p-flock alliance leave``, ``withdraw`` and ``reactivate``: give a seat up, take the stake back, come back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import click

from p2p_flock.cli.options import alliance_argument, call, home_option, json_option, print_json
from p2p_flock.daemon.control_messages import LeaveResult, ReactivateResult


@click.command()
@alliance_argument
@home_option
@json_option
def leave(alliance: str, home: Path, as_json: bool) -> None:
    """Leave an alliance: the seat counts for the running round still; keep the node up until that has ended."""
    result = cast(LeaveResult, call(home, "alliance.leave", {"alliance": alliance}))
    if as_json:
        print_json(result)
        return
    if result["state"] == "leaving":
        click.echo("The seat is leaving. Keep the node running until the round has ended.")
    else:
        click.echo("The seat is given up.")
    if result["withdrawable_at_s"] is None:
        click.echo("The stake starts to unbond then.")
    else:
        moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(result["withdrawable_at_s"]))
        click.echo(f"The stake can be withdrawn from {moment} on.")
    click.echo(f"Take it back with `p2p-flock alliance withdraw {alliance}`.")


@click.command()
@alliance_argument
@home_option
@json_option
def withdraw(alliance: str, home: Path, as_json: bool) -> None:
    """Take the stake back, once it has unbonded. Needs no other member, nor any of their nodes."""
    result = cast(LeaveResult, call(home, "alliance.withdraw", {"alliance": alliance}))
    if as_json:
        print_json(result)
    else:
        click.echo("The stake is back in the account. Rewards stay until you claim them: `p2p-flock wallet claim`.")


@click.command()
@alliance_argument
@home_option
@json_option
def reactivate(alliance: str, home: Path, as_json: bool) -> None:
    """Take a suspended seat again. The node does so by itself, unless alliance.reactivate is off or it gave up."""
    result = cast(ReactivateResult, call(home, "alliance.reactivate", {"alliance": alliance}))
    if as_json:
        print_json(result)
    else:
        click.echo("The seat is taken again; it counts from the next round on.")
