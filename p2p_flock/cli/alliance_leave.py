"""``p2p-flock alliance leave ID``: give the seat up, and later take the stake back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import click

from p2p_flock.cli.options import alliance_argument, call, home_option, json_option, print_json
from p2p_flock.daemon.control_messages import LeaveResult


@click.command()
@alliance_argument
@home_option
@click.option("--withdraw", is_flag=True, help="Take the stake back, once it has unbonded.")
@json_option
def leave(alliance: str, home: Path, withdraw: bool, as_json: bool) -> None:
    """Leave an alliance: the seat counts for the running round still; keep the node up until that has ended."""
    result = cast(LeaveResult, call(home, "alliance.leave", {"alliance": alliance, "withdraw": withdraw}))
    if as_json:
        print_json(result)
    elif result["state"] == "withdrawn":
        click.echo("The stake is back in the account.")
    else:
        click.echo("The seat is leaving. Keep the node running until the round has ended.")
        if result["withdrawable_at_s"] is None:
            click.echo("The stake starts to unbond then.")
        else:
            moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(result["withdrawable_at_s"]))
            click.echo(f"The stake can be withdrawn from {moment} on.")
        click.echo(f"Take it back with `p2p-flock alliance leave {alliance} --withdraw`.")
