"""``p2p-flock gov vote``, ``queue``, ``execute`` and ``cancel``: move a proposal along.

What the governor would refuse is refused here first, with the reason, the time or the amount that it lacks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from p2p_flock.chain import proposals
from p2p_flock.chain.governance import Governance, GovernanceContracts
from p2p_flock.chain.proposals import Proposal, ProposalState, Standing, Support, find_proposal, read_standing
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.gov_access import governance_options, password_option, sign_and_send
from p2p_flock.cli.gov_json import proposal_json, receipt_json
from p2p_flock.cli.gov_words import describe_standing, describe_votes
from p2p_flock.cli.options import print_json
from p2p_flock.errors import TransactionFailedError, UsageError

REASON_BYTES_MAX = 1_024
Step = Callable[[Governance, Proposal], Awaitable[TransactionReceipt]]
Check = Callable[[Governance, Proposal, Standing, int], None]


@click.command()
@click.argument("proposal", metavar="ID")
@click.argument("support", metavar="for|against|abstain", type=click.Choice(["for", "against", "abstain"]))
@click.option("--reason", default="", help="Published with the vote.")
@governance_options
@password_option
def vote(
    proposal: str,
    support: str,
    reason: str,
    home: Path,
    governor: str | None,
    as_json: bool,
    password_file: Path | None,
) -> None:
    """Vote with all gmFLOCK that the account had when voting began. A vote is final and public.

    Abstaining counts for the quorum, not for the outcome. Locks made after voting began do not count here.
    """
    if len(reason.encode()) > REASON_BYTES_MAX:
        raise UsageError(f"the reason has more than {REASON_BYTES_MAX} bytes\nshorten it")
    chosen = Support[support.upper()]
    done = _step(
        home, governor, password_file, proposal, _check_vote, lambda g, found: proposals.vote(g, found, chosen, reason)
    )
    if as_json:
        print_json({**_json(done), "support": support, "votes": str(done[1][1].own_votes)})
        return
    own = format_money(done[1][1].own_votes or 0, "gmFLOCK")
    click.echo(f"Voted {support} with {own}.")
    _show_after(done)


@click.command()
@click.argument("proposal", metavar="ID")
@governance_options
@password_option
def queue(proposal: str, home: Path, governor: str | None, as_json: bool, password_file: Path | None) -> None:
    """Hand a proposal that passed to the timelock, whose delay begins. Anyone may."""
    _report(_step(home, governor, password_file, proposal, _check_queue, proposals.queue), as_json, "Queued.")


@click.command()
@click.argument("proposal", metavar="ID")
@governance_options
@password_option
def execute(proposal: str, home: Path, governor: str | None, as_json: bool, password_file: Path | None) -> None:
    """Have the timelock do what a queued proposal says, once its delay is over. Anyone may."""
    _report(_step(home, governor, password_file, proposal, _check_execute, _execute), as_json, "Executed.")


@click.command()
@click.argument("proposal", metavar="ID")
@governance_options
@password_option
def cancel(proposal: str, home: Path, governor: str | None, as_json: bool, password_file: Path | None) -> None:
    """Take back an own proposal, before voting begins. Nobody else can, and not later."""
    _report(_step(home, governor, password_file, proposal, _check_cancel, proposals.cancel), as_json, "Cancelled.")


Done = tuple[GovernanceContracts, tuple[Proposal, Standing, Standing], TransactionReceipt, int]


def _step(home: Path, governor: str | None, password_file: Path | None, text: str, check: Check, step: Step) -> Done:
    """Find the proposal, check, send, look again: contracts, (proposal, standing before, after), receipt, time."""

    async def work(governance: Governance) -> Done:
        found = await find_proposal(governance, text)
        (before,) = await read_standing(governance, [found])
        check(governance, found, before, await governance.now_s())
        receipt = await step(governance, found)
        (after,) = await read_standing(governance, [found])
        return governance.contracts, (found, before, after), receipt, await governance.now_s()

    return sign_and_send(home, governor, password_file, work)


def _report(done: Done, as_json: bool, word: str) -> None:
    if as_json:
        print_json(_json(done))
        return
    click.echo(word)
    _show_after(done)


def _json(done: Done) -> dict[str, object]:
    contracts, (found, _, after), receipt, now_s = done
    return {"now_s": now_s, **receipt_json(receipt), "proposal": proposal_json(contracts, found, after)}


def _show_after(done: Done) -> None:
    _, (found, _, after), _, now_s = done
    click.echo(f"It is {describe_standing(found, after, now_s)}")
    for line in describe_votes(after):
        click.echo(f"  {line}")


async def _execute(governance: Governance, proposal: Proposal) -> TransactionReceipt:
    """As ``proposals.execute``; what a call of it meets is the treasury's trouble, not the sending account's."""
    try:
        return await proposals.execute(governance, proposal)
    except TransactionFailedError as error:
        raise UsageError(
            f"a call of the proposal is refused now: {error.reason}\n"
            "its calls are made together or not at all: see `p2p-flock gov show ID`, and try again once it can pass"
        ) from error


# --- what would be refused -------------------------------------------------------------------------------------


def _check_vote(governance: Governance, proposal: Proposal, standing: Standing, now_s: int) -> None:
    if standing.state is not ProposalState.ACTIVE:
        raise _not_now("voted on", proposal, standing, now_s)
    if standing.has_voted:
        raise UsageError(
            "this account has voted on it already\na vote is final; `p2p-flock gov show ID` shows the tally"
        )
    if not standing.own_votes:
        raise UsageError(
            "this account had no votes when voting on this proposal began\n"
            "lock FLOCK for the next one: `p2p-flock lock create`; locks delegated to another vote there"
        )


def _check_queue(governance: Governance, proposal: Proposal, standing: Standing, now_s: int) -> None:
    if standing.state is not ProposalState.SUCCEEDED:
        raise _not_now("queued", proposal, standing, now_s)


def _check_execute(governance: Governance, proposal: Proposal, standing: Standing, now_s: int) -> None:
    if standing.state is not ProposalState.QUEUED or standing.executable_at_s > now_s:
        raise _not_now("executed", proposal, standing, now_s)


def _check_cancel(governance: Governance, proposal: Proposal, standing: Standing, now_s: int) -> None:
    if proposal.proposer != governance.address:
        raise UsageError(f"only its proposer can cancel it: 0x{proposal.proposer.hex()}\nvote against it instead")
    if standing.state is not ProposalState.PENDING:
        raise _not_now("cancelled", proposal, standing, now_s)


def _not_now(what: str, proposal: Proposal, standing: Standing, now_s: int) -> UsageError:
    """The proposal's state forbids it: which it is, until when, and the command that is next."""
    return UsageError(f"the proposal cannot be {what} now\nit is {describe_standing(proposal, standing, now_s)}")
