"""``p2p-flock wallet``: the account's address, balances and rewards; ``wallet claim`` collects rewards."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.options import call, home_option, json_option, print_json
from p2p_flock.daemon.control_messages import ClaimResult, WalletResult
from p2p_flock.daemon.data_directory import DataDirectory, read_address, read_peer_id, require_initialised
from p2p_flock.errors import NoDaemonError
from p2p_flock.types import AllianceId

WALLET_TIMEOUT_S = 60.0


@click.group(invoke_without_command=True)
@home_option
@json_option
@click.pass_context
def wallet(context: click.Context, home: Path, as_json: bool) -> None:
    """Show address, ETH, FLOCK, stake and rewards. Without a running daemon: address and peer ID only."""
    if context.invoked_subcommand is not None:
        context.obj = home
        return
    directory = DataDirectory(home)
    require_initialised(directory)
    try:
        result = cast(WalletResult, call(home, "wallet.show", {}, WALLET_TIMEOUT_S))
    except NoDaemonError:
        local = {"address": read_address(directory), "peer_id": read_peer_id(directory)}
        if as_json:
            print_json(local)
            return
        click.echo(f"address  {local['address']}\npeer ID  {local['peer_id']}")
        click.echo(f"For balances start the daemon: p2p-flock node --home {home}", err=True)
        return
    if as_json:
        print_json(result)
        return
    from p2p_flock.cli.render import show_wallet  # noqa: PLC0415  start-up cost

    show_wallet(result)


@wallet.command()
@click.option("--home", "own_home", type=click.Path(file_okay=False, path_type=Path), help="As for wallet itself.")
@click.option("--alliance", metavar="ID", help="Rewards of this alliance only [default: all].")
@json_option
@click.pass_obj
def claim(home: Path, own_home: Path | None, alliance: str | None, as_json: bool) -> None:
    """Collect rewards into the account. They never expire."""
    named = None if alliance is None else str(AllianceId.parse(alliance))
    directory = home if own_home is None else own_home.expanduser().absolute()
    result = cast(ClaimResult, call(directory, "wallet.claim", {"alliance": named}))
    if as_json:
        print_json(result)
    elif int(result["claimed"]):
        click.echo(f"Claimed {format_money(result['claimed'], 'FLOCK')}.")
    else:
        click.echo("There is nothing to claim.")
