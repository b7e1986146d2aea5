"""``p2p-flock gov parameters``: everything that can be changed, its value, and how; and what cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from p2p_flock.chain.contracts import EMISSION, GOVERNOR, TIMELOCK, TOKEN, address_bytes
from p2p_flock.chain.governance import Governance, View, read_views
from p2p_flock.chain.locks import read_staking_contracts
from p2p_flock.cli.amounts import format_money, format_seconds
from p2p_flock.cli.gov_access import governance_options, read_chain
from p2p_flock.cli.gov_words import VOTES, name_address
from p2p_flock.cli.options import print_json

# What no proposal, key or vote changes; said here so that nobody looks for it above.
FIXED = (
    "FLOCK's cap of 1,000,000,000 and its one minter, the emission",
    "the emission's schedule",
    "a lock: its time, its owner, what it gave",
    "the governor's least quorum, and its timelock, which is the treasury",
    "every alliance: its parameters, pool and stakes",
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that a proposal can change: value for scripts, value for people, the option of ``gov propose``."""

    name: str
    value: object
    text: str
    option: str


@click.command()
@governance_options
def parameters(home: Path, governor: str | None, as_json: bool) -> None:
    """Show every parameter of the protocol. Only the timelock changes them: nobody holds a key to one."""
    addresses, found, fixed_votes = read_chain(home, governor, _read)
    if as_json:
        print_json(
            {
                "contracts": addresses,
                "changed_by": addresses["timelock"],
                "parameters": {parameter.name: parameter.value for parameter in found},
                "quorum_votes_min": str(fixed_votes),
            }
        )
        return
    click.secho("Contracts", bold=True)
    for name, address in addresses.items():
        click.echo(f"  {name:<10} {address}")
    click.secho(
        f"Changed by the timelock {addresses['timelock']}, that is: by proposals, and by nobody else", bold=True
    )
    for parameter in found:
        click.echo(f"  {parameter.name}: {parameter.text}")
        click.echo(f"    gov propose {parameter.option}")
    click.secho("Changed by nobody", bold=True)
    click.echo(f"  least quorum: {format_money(fixed_votes, VOTES)}")
    for sentence in FIXED:
        click.echo(f"  {sentence}")


async def _read(governance: Governance) -> tuple[dict[str, str], list[Parameter], int]:
    c = governance.contracts
    names = ("votingDelay", "votingPeriod", "proposalThreshold", "quorumNumerator", "quorumVotesMin")
    delay, period, threshold, quorum, least, timelock_delay, gauges, treasury = await read_views(
        governance.client,
        (
            *(View(GOVERNOR, c.governor, name) for name in names),
            View(TIMELOCK, c.timelock, "getMinDelay"),
            View(EMISSION, c.emission, "gauges"),
            View(TOKEN, c.token, "balanceOf", (c.timelock,)),
        ),
    )
    staking = ["0x" + address.hex() for address in await read_staking_contracts(governance)]
    found = [
        Parameter("voting_delay_s", delay, format_seconds(delay), "--set-voting-delay DURATION"),
        Parameter("voting_period_s", period, format_seconds(period), "--set-voting-period DURATION"),
        Parameter("proposal_threshold", str(threshold), format_money(threshold, VOTES), "--set-threshold AMOUNT"),
        Parameter("quorum_percent", quorum, f"{quorum} % of all votes", "--set-quorum PERCENT"),
        Parameter("timelock_delay_s", timelock_delay, format_seconds(timelock_delay), "--set-timelock-delay DURATION"),
        _gauges(governance, gauges),
        Parameter("staking_contracts", staking, ", ".join(staking) or "none", "--allow-staking ADDRESS"),
        Parameter("treasury", str(treasury), format_money(treasury, "FLOCK"), "--spend ADDRESS=AMOUNT"),
    ]
    addresses = {
        "token": c.token, "gm_flock": c.gm_flock, "governor": c.governor, "timelock": c.timelock,
        "emission": c.emission,
    }  # fmt: skip
    return {name: "0x" + address.hex() for name, address in addresses.items()}, found, least


def _gauges(governance: Governance, listed: tuple[Any, ...]) -> Parameter:
    weights = {gauge: str(weight) for gauge, weight in listed}
    words = [f"{name_address(governance.contracts, address_bytes(gauge))} {weight}" for gauge, weight in listed]
    return Parameter("gauges", weights, ", ".join(words) or "none", "--set-gauge ADDRESS=WEIGHT")
