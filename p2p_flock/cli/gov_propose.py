"""``p2p-flock gov propose``: make a proposal out of typed changes; shows in words what it would do, then asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from p2p_flock.chain import governed_calls as calls
from p2p_flock.chain.governance import Governance, GovernanceContracts
from p2p_flock.chain.proposals import (
    DESCRIPTION_BYTES_MAX,
    GovernedCall,
    Proposal,
    read_own_votes,
    read_standing,
    simulate_calls,
)
from p2p_flock.chain.proposals import (
    propose as send_proposal,
)
from p2p_flock.cli.amounts import format_money, parse_flock
from p2p_flock.cli.failures import EXIT_DECLINED, EXIT_OK
from p2p_flock.cli.gov_access import (
    governance_options,
    parse_address,
    parse_duration,
    password_option,
    read_chain,
    sign_and_send,
)
from p2p_flock.cli.gov_json import call_json, proposal_json
from p2p_flock.cli.gov_list import show_calls
from p2p_flock.cli.gov_words import VOTES, describe_standing, safe_lines, short_id
from p2p_flock.cli.options import print_json, require_answerable
from p2p_flock.errors import UsageError

TREASURY = "treasury"  # stands for the timelock's address


@click.command()
@click.option("--set-gauge", "gauges", multiple=True, metavar="ADDRESS=WEIGHT", help="Emission's share; 0 removes it.")
@click.option("--spend", "payments", multiple=True, metavar="ADDRESS=AMOUNT", help='From the treasury: "5 FLOCK".')
@click.option("--allow-staking", "allowed", multiple=True, metavar="ADDRESS", help="Let gmFLOCK be staked there.")
@click.option("--forbid-staking", "forbidden", multiple=True, metavar="ADDRESS", help="No more than is there now.")
@click.option("--set-quorum", "quorum", type=int, metavar="PERCENT", help="Of all votes, for and abstaining.")
@click.option("--set-voting-delay", "voting_delay", metavar="DURATION", help="From proposal to vote, like 2d.")
@click.option("--set-voting-period", "voting_period", metavar="DURATION", help="How long a vote lasts, like 5d.")
@click.option("--set-threshold", "threshold", metavar="AMOUNT", help='Votes to propose: "1000 FLOCK" stands for gm.')
@click.option("--set-timelock-delay", "timelock_delay", metavar="DURATION", help="From queueing to execution.")
@click.option("--call", "raw", multiple=True, metavar="TO:SIGNATURE:ARGS", help="Any other call, without ETH.")
@click.option("--description", help="What voters read. Its first line is the title.")
@click.option("--description-file", type=click.Path(dir_okay=False, path_type=Path), help="The same, from a file.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what it would do, send nothing.")
@governance_options
@password_option
def propose(
    home: Path,
    governor: str | None,
    as_json: bool,
    password_file: Path | None,
    yes: bool,
    dry_run: bool,
    description: str | None,
    description_file: Path | None,
    **changes: Any,
) -> int:
    """Propose changes, all or none of which are executed in the order below.

    The word treasury stands for the treasury's address. Example:
    gov propose --set-gauge treasury=3 --set-gauge 0xADDRESS=1 --spend 0xADDRESS="500 FLOCK" --description "Fund it"
    """
    text = _description(description, description_file)
    wanted = Changes(**changes)
    plan = read_chain(home, governor, lambda governance: _plan(governance, wanted, not dry_run))
    if not as_json or not (yes or dry_run):
        _show(plan, err=as_json)
    if dry_run:
        if as_json:
            print_json({"calls": [call_json(plan.contracts, call) for call in plan.calls], "failures": plan.failures})
        return EXIT_OK
    if not yes:
        require_answerable("proposing", "--yes")
        if not click.confirm("Propose this?", err=as_json):
            click.echo("Nothing was sent.", err=True)
            return EXIT_DECLINED

    async def send(governance: Governance) -> tuple[Proposal, dict[str, object], str]:
        made = await send_proposal(governance, plan.calls, text)
        (standing,) = await read_standing(governance, [made])
        words = describe_standing(made, standing, await governance.now_s())
        return made, proposal_json(governance.contracts, made, standing), words

    made, as_object, words = sign_and_send(home, governor, password_file, send)
    if as_json:
        print_json(as_object)
    else:
        click.echo(f"Proposed {short_id(made.id)}.\nIt is {words}")
    return EXIT_OK


@dataclass(frozen=True, slots=True)
class Changes:
    """The typed changes as they were written; see the options."""

    gauges: tuple[str, ...]
    payments: tuple[str, ...]
    allowed: tuple[str, ...]
    forbidden: tuple[str, ...]
    quorum: int | None
    voting_delay: str | None
    voting_period: str | None
    threshold: str | None
    timelock_delay: str | None
    raw: tuple[str, ...]

    def build(self, contracts: GovernanceContracts) -> list[GovernedCall]:
        """The calls, in the options' order.

        Raises:
            UsageError: a change is malformed, or there is none.
        """
        c = contracts
        found: list[GovernedCall] = []
        if self.gauges:
            weights = [_pair(text, "--set-gauge", c) for text in self.gauges]
            found.append(calls.set_gauges(c, [(gauge, _whole(weight)) for gauge, weight in weights]))
        for text in self.payments:
            to, amount = _pair(text, "--spend", c)
            found.append(calls.spend(c, to, parse_flock(amount)))
        found += [calls.allow_staking(c, parse_address(text), True) for text in self.allowed]
        found += [calls.allow_staking(c, parse_address(text), False) for text in self.forbidden]
        if self.quorum is not None:
            found.append(calls.set_quorum(c, self.quorum))
        if self.voting_delay is not None:
            found.append(calls.set_voting_delay(c, parse_duration(self.voting_delay)))
        if self.voting_period is not None:
            found.append(calls.set_voting_period(c, parse_duration(self.voting_period)))
        if self.threshold is not None:
            found.append(calls.set_threshold(c, parse_flock(self.threshold)))
        if self.timelock_delay is not None:
            found.append(calls.set_timelock_delay(c, parse_duration(self.timelock_delay)))
        found += [calls.parse_call(text) for text in self.raw]
        if not found:
            raise UsageError("the proposal would change nothing\nname a change: `p2p-flock gov propose --help`")
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be proposed: the contracts, the calls, and by place (from 1) those that would fail today, and why."""

    contracts: GovernanceContracts
    calls: list[GovernedCall]
    failures: dict[int, str]


async def _plan(governance: Governance, changes: Changes, sending: bool) -> Plan:
    """Build and try the calls; refuse early what the governor would refuse."""
    built = changes.build(governance.contracts)
    if sending:
        votes, needed = await read_own_votes(governance)
        if votes < needed:
            raise UsageError(
                f"proposing takes {format_money(needed, VOTES)}, the account votes with {format_money(votes, VOTES)}: "
                f"{format_money(needed - votes, VOTES)} are missing\n"
                "lock FLOCK with `p2p-flock lock create`, or have others delegate to you; it counts a second later"
            )
    return Plan(governance.contracts, built, await simulate_calls(governance, built))


def _show(plan: Plan, err: bool) -> None:
    show_calls(plan.contracts, plan.calls, err=err)
    for place, reason in plan.failures.items():
        click.secho(
            f"Call {place} would fail if it were executed now: {' '.join(safe_lines(reason.encode()))}",
            fg="yellow",
            err=err,
        )


def _description(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise UsageError("a proposal needs a description\npass --description TEXT or --description-file FILE")
    if file is not None:
        try:
            with file.open("rb") as opened:
                text = opened.read(DESCRIPTION_BYTES_MAX + 1).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {file}: {error}\nname a text file") from error
    assert text is not None
    if not text.strip():
        raise UsageError("the description is empty\nsay what the proposal is for")
    return text


def _pair(text: str, option: str, contracts: GovernanceContracts) -> tuple[bytes, str]:
    """``ADDRESS=VALUE``, where the word treasury stands for its address."""
    where, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{option} {text[:80]!r} is not ADDRESS=VALUE\nsee `p2p-flock gov propose --help`")
    return contracts.timelock if where.strip() == TREASURY else parse_address(where), value


def _whole(text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit() or len(text) > 40:
        raise UsageError(f"{text[:80]!r} is no weight\nwrite a whole number; 0 removes the gauge")
    return int(text)
