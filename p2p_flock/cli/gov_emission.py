"""``p2p-flock gov emission`` and ``gov mint GAUGE``: what the schedule releases, and having a gauge paid."""

from __future__ import annotations

from pathlib import Path

import click

from p2p_flock.chain.emission import MONTHS, Emission, Gauge, read_emission, read_gauge
from p2p_flock.chain.emission import mint as send_mint
from p2p_flock.chain.governance import Governance, GovernanceContracts
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.gov_access import governance_options, parse_address, password_option, read_chain, sign_and_send
from p2p_flock.cli.gov_json import emission_json, receipt_json
from p2p_flock.cli.gov_propose import TREASURY
from p2p_flock.cli.gov_words import moment, name_address
from p2p_flock.cli.options import print_json
from p2p_flock.errors import UsageError


@click.command()
@governance_options
def emission(home: Path, governor: str | None, as_json: bool) -> None:
    """Show the emission's schedule and what each gauge has accrued."""

    async def read(governance: Governance) -> tuple[GovernanceContracts, Emission]:
        return governance.contracts, await read_emission(governance)

    contracts, found = read_chain(home, governor, read)
    if as_json:
        print_json(emission_json(found))
        return
    if found.month > MONTHS:
        click.echo(f"The schedule has ended {moment(found.ends_at_s, found.now_s)}.")
    else:
        click.echo(f"Month {found.month} of {MONTHS} (30 days each); ends {moment(found.ends_at_s, found.now_s)}")
    click.echo(f"  next 24 h  {format_money(found.next_day_wei, 'FLOCK')}")
    click.echo(f"  released   {format_money(found.released_wei, 'FLOCK')} of {format_money(found.total_wei, 'FLOCK')}")
    click.echo(f"  minted     {format_money(found.minted_wei, 'FLOCK')}")
    if not found.total_weight:
        click.secho("No gauge has weight: what is released now is nobody's.", fg="yellow")
    click.secho("Gauges", bold=True)
    for gauge in found.gauges:
        _show_gauge(contracts, gauge, found.total_weight)


def _show_gauge(contracts: GovernanceContracts, gauge: Gauge, total_weight: int) -> None:
    share = (
        f"weight {gauge.weight} of {total_weight} ({gauge.weight / total_weight:.1%})" if gauge.weight else "removed"
    )
    click.echo(f"  {name_address(contracts, gauge.address)}: {share}")
    accrued, minted = format_money(gauge.accrued_wei, "FLOCK"), format_money(gauge.minted_wei, "FLOCK")
    click.echo(f"    accrued {accrued}, minted before {minted}")


@click.command()
@click.argument("gauge", metavar="GAUGE")
@governance_options
@password_option
def mint(gauge: str, home: Path, governor: str | None, as_json: bool, password_file: Path | None) -> None:
    """Mint to a gauge all that it has accrued. Anyone may; only the gauge gets it. GAUGE: an address, or treasury."""
    address = None if gauge == TREASURY else parse_address(gauge)

    async def send(governance: Governance) -> tuple[bytes, int, TransactionReceipt]:
        where = address or governance.contracts.timelock
        if not (await read_gauge(governance, where)).accrued_wei:
            raise UsageError(
                f"nothing has accrued to 0x{where.hex()} since its last mint\n"
                "a gauge accrues from the moment that governance gives it weight: `p2p-flock gov emission`"
            )
        return where, *await send_mint(governance, where)

    where, minted, receipt = sign_and_send(home, governor, password_file, send)
    if as_json:
        print_json({"gauge": f"0x{where.hex()}", "minted": str(minted), **receipt_json(receipt)})
    else:
        click.echo(f"Minted {format_money(minted, 'FLOCK')} to 0x{where.hex()}.")
