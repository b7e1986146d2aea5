"""``p2p-flock lock unlock ID…`` and ``lock delegate ADDRESS``."""

from __future__ import annotations

from pathlib import Path

import click

from p2p_flock.chain import locks
from p2p_flock.chain.governance import Governance
from p2p_flock.chain.locks import Lock, read_account
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.gov_access import governance_options, parse_address, password_option, sign_and_send
from p2p_flock.cli.gov_json import lock_json, receipt_json
from p2p_flock.cli.gov_words import VOTES, moment
from p2p_flock.cli.options import print_json
from p2p_flock.errors import UsageError

SELF = "self"


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True, type=click.IntRange(min=1))
@governance_options
@password_option
def unlock(ids: tuple[int, ...], home: Path, governor: str | None, as_json: bool, password_file: Path | None) -> None:
    """Unlock locks whose time is over: burns their gmFLOCK, pays back their FLOCK. All or none."""

    async def send(governance: Governance) -> tuple[list[Lock], TransactionReceipt]:
        undone = await _ripe(governance, ids)
        return undone, await locks.unlock(governance, [lock.id for lock in undone])

    undone, receipt = sign_and_send(home, governor, password_file, send)
    if as_json:
        print_json({"unlocked": [lock_json(lock) for lock in undone], **receipt_json(receipt)})
        return
    amount = format_money(sum(lock.amount_wei for lock in undone), "FLOCK")
    gm = format_money(sum(lock.gm_wei for lock in undone), VOTES)
    click.echo(f"Unlocked {amount}; {gm} are burnt.")


async def _ripe(governance: Governance, ids: tuple[int, ...]) -> list[Lock]:
    """The locks of these IDs, each once.

    Raises:
        UsageError: one is not the account's, its time is not over, or its gm is staked elsewhere.
    """
    account, now_s = await read_account(governance), await governance.now_s()
    own = {lock.id: lock for lock in account.locks}
    chosen = []
    for number in dict.fromkeys(ids):
        lock = own.get(number)
        if lock is None:
            raise UsageError(f"this account has no lock {number}\n`p2p-flock lock list` shows those it has")
        if lock.unlocks_at_s > now_s:
            raise UsageError(f"lock {number} still holds\nunlock it from {moment(lock.unlocks_at_s, now_s)} on")
        chosen.append(lock)
    missing = sum(lock.gm_wei for lock in chosen) - account.gm_wei
    if missing > 0:
        raise UsageError(
            f"unlocking burns {format_money(missing, VOTES)} more than the account holds: they are staked\n"
            "take them back from the staking contract first"
        )
    return chosen


@click.command()
@click.argument("address", metavar="ADDRESS")
@governance_options
@password_option
def delegate(address: str, home: Path, governor: str | None, as_json: bool, password_file: Path | None) -> None:
    """Let somebody else vote with all your locks, now and later. ADDRESS: an address, or self to take it back.

    It gives votes only: nobody else can unlock or spend. Proposals whose voting has begun are not touched.
    """
    to = None if address == SELF else parse_address(address)
    if to is not None and not any(to):
        raise UsageError("the zero address cannot vote\nwrite self to vote yourself")

    async def send(governance: Governance) -> tuple[bytes, int, TransactionReceipt]:
        where = to or governance.address
        receipt = await locks.delegate(governance, where)
        return where, (await read_account(governance)).locked_gm_wei, receipt

    where, votes, receipt = sign_and_send(home, governor, password_file, send)
    if as_json:
        print_json({"delegate": f"0x{where.hex()}", "votes": str(votes), **receipt_json(receipt)})
    else:
        click.echo(f"0x{where.hex()} votes with {format_money(votes, VOTES)} of yours from now on.")
