"""``p2p-flock gov list`` and ``gov show ID``: proposals, and what exactly one of them would do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from p2p_flock.chain.governance import Governance, GovernanceContracts
from p2p_flock.chain.proposals import GovernedCall, Proposal, Standing, find_proposal, read_proposals, read_standing
from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.gov_access import governance_options, read_chain
from p2p_flock.cli.gov_json import proposal_json
from p2p_flock.cli.gov_words import (
    describe_call,
    describe_standing,
    describe_votes,
    description_lines,
    moment,
    short_id,
    title_of,
)
from p2p_flock.cli.options import print_json

LIMIT_DEFAULT = 20


@click.command("list")
@governance_options
@click.option("--limit", type=click.IntRange(1, 1_000), default=LIMIT_DEFAULT, show_default=True, help="Newest first.")
def list_proposals(home: Path, governor: str | None, limit: int, as_json: bool) -> None:
    """List proposals, newest first, and what each waits for."""

    async def read(
        governance: Governance,
    ) -> tuple[GovernanceContracts, int, list[tuple[Proposal, Standing]]]:
        found = (await read_proposals(governance, lambda proposals: len(proposals) >= limit))[:limit]
        standing = await read_standing(governance, found)
        return governance.contracts, await governance.now_s(), list(zip(found, standing, strict=True))

    contracts, now_s, proposals = read_chain(home, governor, read)
    if as_json:
        print_json({"now_s": now_s, "proposals": [proposal_json(contracts, p, s) for p, s in proposals]})
        return
    if not proposals:
        click.echo("There is no proposal yet. Make one with `p2p-flock gov propose --help`.")
    for proposal, standing in proposals:
        click.secho(f"{short_id(proposal.id)}  {title_of(proposal)}", bold=True)
        click.echo(f"  {describe_standing(proposal, standing, now_s)}")
        click.echo(f"  {describe_votes(standing)[0]}")


@click.command()
@click.argument("proposal", metavar="ID")
@governance_options
def show(proposal: str, home: Path, governor: str | None, as_json: bool) -> None:
    """Show one proposal: its calls in words, votes, quorum, times.

    ID: as `gov list` shows it, or the whole number. Calls are what counts: the description is its proposer's opinion.
    """

    async def read(governance: Governance) -> tuple[GovernanceContracts, int, Proposal, Standing]:
        found = await find_proposal(governance, proposal)
        (standing,) = await read_standing(governance, [found])
        return governance.contracts, await governance.now_s(), found, standing

    contracts, now_s, found, standing = read_chain(home, governor, read)
    if as_json:
        print_json({"now_s": now_s, **proposal_json(contracts, found, standing)})
    else:
        show_proposal(contracts, found, standing, now_s)


def show_proposal(contracts: GovernanceContracts, proposal: Proposal, standing: Standing, now_s: int) -> None:
    """Everything about one proposal, for a terminal."""
    click.secho(f"Proposal 0x{proposal.id:064x}", bold=True)
    click.echo(f"  {describe_standing(proposal, standing, now_s)}")
    click.echo(f"  proposed by 0x{proposal.proposer.hex()}")
    click.echo(f"  votes count as of {moment(proposal.vote_start_s, now_s)}")
    click.echo(f"  voting until {moment(proposal.vote_end_s, now_s)}")
    for line in describe_votes(standing):
        click.echo(f"  {line}")
    if standing.own_votes is not None:
        own = format_money(standing.own_votes, "gmFLOCK")
        click.echo(f"  you have {own} here" + (", and have voted" if standing.has_voted else ""))
    show_calls(contracts, proposal.calls)
    click.secho("What its proposer says", bold=True)
    for line in description_lines(proposal):
        click.echo(f"  {line}")


def show_calls(contracts: GovernanceContracts, calls: Sequence[GovernedCall], err: bool = False) -> None:
    """What a proposal would do, call by call."""
    click.secho("What it would do", bold=True, err=err)
    for index, call in enumerate(calls, 1):
        first, *others = describe_call(contracts, call)
        click.echo(f"  {index}. {first}", err=err)
        for line in others:
            click.echo(f"       {line}", err=err)
