"""``p2p-flock lock list``: the account's locks, gmFLOCK and votes."""

from __future__ import annotations

from pathlib import Path

import click

from p2p_flock.chain.governance import Governance
from p2p_flock.chain.locks import LockAccount, read_account
from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.gov_access import governance_options, read_chain
from p2p_flock.cli.gov_json import account_json
from p2p_flock.cli.gov_words import VOTES, moment
from p2p_flock.cli.options import print_json


@click.command("list")
@governance_options
def list_locks(home: Path, governor: str | None, as_json: bool) -> None:
    """List the account's locks, and who votes with them."""

    async def read(governance: Governance) -> tuple[bytes, LockAccount, int]:
        return governance.address, await read_account(governance), await governance.now_s()

    address, account, now_s = read_chain(home, governor, read)
    if as_json:
        print_json(account_json(address, account, now_s))
        return
    click.echo(f"account  0x{address.hex()}, {format_money(account.flock_wei, 'FLOCK')} free")
    staked = account.locked_gm_wei - account.gm_wei
    text = format_money(account.locked_gm_wei, VOTES)
    click.echo(f"locks    {text}" + (f", of which {format_money(staked, VOTES)} are staked" if staked > 0 else ""))
    click.echo(f"votes    {format_money(account.votes_wei, VOTES)} at proposals made from now on")
    if any(account.delegate) and account.delegate != address:
        click.echo(f"         the own locks vote through 0x{account.delegate.hex()}")
    if not account.locks:
        click.echo("There is no lock yet. Make one with `p2p-flock lock create 100 FLOCK --days 90`.")
    for lock in account.locks:
        state = "unlock it any time" if lock.unlocks_at_s <= now_s else f"until {moment(lock.unlocks_at_s, now_s)}"
        amount, gm = format_money(lock.amount_wei, "FLOCK"), format_money(lock.gm_wei, VOTES)
        click.echo(f"  lock {lock.id}: {amount}, {gm}, {state}")
