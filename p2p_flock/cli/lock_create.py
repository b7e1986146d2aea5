"""``p2p-flock lock create AMOUNT --days N``: lock FLOCK for gmFLOCK; shows what it gives and until when, then asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from p2p_flock.chain.governance import Governance
from p2p_flock.chain.locks import DAY_S, LOCK_DAYS_MAX, LOCK_DAYS_MIN, Lock, create_lock, quote, read_account
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.cli.amounts import format_money, parse_flock
from p2p_flock.cli.failures import EXIT_DECLINED, EXIT_OK
from p2p_flock.cli.gov_access import governance_options, password_option, read_chain, sign_and_send
from p2p_flock.cli.gov_json import lock_json, receipt_json
from p2p_flock.cli.gov_words import VOTES, moment
from p2p_flock.cli.options import print_json, require_answerable
from p2p_flock.errors import UsageError


@click.command()
@click.argument("amount", nargs=-1, required=True)
@click.option(
    "--days", type=click.IntRange(LOCK_DAYS_MIN, LOCK_DAYS_MAX), required=True, help="How long it stays locked."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@governance_options
@password_option
def create(
    amount: tuple[str, ...],
    days: int,
    home: Path,
    governor: str | None,
    as_json: bool,
    password_file: Path | None,
    yes: bool,
) -> int:
    """Lock FLOCK. Nobody, you included, gets it back before its time.

    AMOUNT: like 100 FLOCK, or whole wei. It gives as much gmFLOCK up to 30 days, 3.01 times as much for 365; that does
    not decay, votes until you unlock, and unlocking burns it.
    """
    amount_wei = parse_flock(" ".join(amount))
    if not amount_wei:
        raise UsageError("a lock of nothing gives nothing\nname an amount, like 100 FLOCK")
    offer = read_chain(home, governor, lambda governance: _offer(governance, amount_wei, days))
    if not as_json or not yes:
        _show(offer, err=as_json)
    if not yes:
        require_answerable("locking", "--yes")
        if not click.confirm(f"Lock {format_money(amount_wei, 'FLOCK')} for {days} days?", err=as_json):
            click.echo("Nothing was sent.", err=True)
            return EXIT_DECLINED

    async def send(governance: Governance) -> tuple[Lock, TransactionReceipt]:
        return await create_lock(governance, amount_wei, days * DAY_S)

    made, receipt = sign_and_send(home, governor, password_file, send)
    if as_json:
        print_json({**lock_json(made), **receipt_json(receipt)})
        return EXIT_OK
    click.echo(f"Made lock {made.id}: {format_money(made.gm_wei, VOTES)}.")
    click.echo(f"Unlock it from {moment(made.unlocks_at_s, offer.now_s)} on: `p2p-flock lock unlock {made.id}`")
    return EXIT_OK


@dataclass(frozen=True, slots=True)
class Offer:
    """What a lock would give (wei), and who would vote with it: the account itself, or 20 bytes of somebody else."""

    amount_wei: int
    gm_wei: int
    days: int
    now_s: int
    own_delegate: bytes | None


async def _offer(governance: Governance, amount_wei: int, days: int) -> Offer:
    account = await read_account(governance)
    if account.flock_wei < amount_wei:
        want, have = format_money(amount_wei, "FLOCK"), format_money(account.flock_wei, "FLOCK")
        raise UsageError(
            f"the account holds {have}, less than {want}\nsend FLOCK to 0x{governance.address.hex()}, or lock less"
        )
    if not account.eth_wei:
        raise UsageError(f"the account holds no ETH to pay gas with\nsend some to 0x{governance.address.hex()}")
    elsewhere = any(account.delegate) and account.delegate != governance.address
    return Offer(
        amount_wei,
        await quote(governance, amount_wei, days * DAY_S),
        days,
        await governance.now_s(),
        account.delegate if elsewhere else None,
    )


def _show(offer: Offer, err: bool) -> None:
    amount, gm = format_money(offer.amount_wei, "FLOCK"), format_money(offer.gm_wei, VOTES)
    click.echo(
        f"Locking {amount} for {offer.days} days gives {gm} ({offer.gm_wei / offer.amount_wei:.4g} times).", err=err
    )
    click.echo(f"It can be unlocked from {moment(offer.now_s + offer.days * DAY_S, offer.now_s)} on.", err=err)
    if offer.own_delegate is not None:
        click.echo(f"Its votes go to 0x{offer.own_delegate.hex()}, to whom this account delegates.", err=err)
