"""``p2p-flock alliance create``: found an alliance; its parameters are fixed for ever.

What can be written is read by ``creating/sources.py``, what can be asked by ``creating/questions.py``; what the numbers
come to is shown from ``creating/consequences.py`` and ``creating/weaknesses.py`` before anything is sent.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import click

from p2p_flock.cli.alliance_admission import parse_join_deadline, parse_score_target, read_allowlist, read_owners
from p2p_flock.cli.alliance_risk import choose_bound
from p2p_flock.cli.alliance_security import Assumptions, choose_bounds
from p2p_flock.cli.alliance_show import price_options
from p2p_flock.cli.alliance_terms import describe_epsilon
from p2p_flock.cli.creating.presenting import choose_file, confirm, read_sizes, save, show_consequences
from p2p_flock.cli.creating.questions import ask_all
from p2p_flock.cli.creating.sources import (
    OPTIONAL,
    PRESETS,
    allowlist_root,
    build,
    choose_pool,
    parse_setting,
    read_json,
    read_toml,
    render,
    to_hex,
    without_digest,
)
from p2p_flock.cli.estimates import Prices
from p2p_flock.cli.failures import EXIT_DECLINED, EXIT_OK
from p2p_flock.cli.options import call, home_option, json_option, print_json
from p2p_flock.cli.task import installed_tasks
from p2p_flock.daemon.control_messages import CreateResult
from p2p_flock.errors import UsageError
from p2p_flock.params import SUSPICION_BOUND_MAX, AllianceParams

__all__ = ["PRESETS", "create"]


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where the numbers stand, as the command line names it."""

    task: str | None
    preset: str | None
    source: Path | None
    params_file: Path | None
    settings: tuple[str, ...]
    reward_pool: str | None
    allowlist: Path | None
    join_deadline: str | None
    score_target: str | None
    suspicion_bound: int | None

    @property
    def is_none(self) -> bool:
        """Nothing names any number, so that questions must."""
        return not (self.preset or self.source or self.params_file or self.settings)


@dataclass(frozen=True, slots=True)
class _Draft:
    """What is to be created."""

    task: str
    params: AllianceParams
    pool: int
    owners: tuple[bytes, ...]
    assumptions: Assumptions

    @property
    def toml(self) -> str:
        return render(self.task, self.pool, self.params, self.owners)


@click.command()
@home_option
@click.option("--task", help="The installed task to train, for example heart.")
@click.option("--interactive", is_flag=True, help="Ask for the numbers [default: on a terminal without sources].")
@click.option("--preset", type=click.Choice(sorted(PRESETS)), help="Start from these parameters.")
@click.option("--from", "source", type=click.Path(path_type=Path), help="TOML as --dry-run prints it.")
@click.option("--params", "params_file", type=click.Path(path_type=Path), help="JSON object with parameters only.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="One parameter; may be repeated.")
@click.option("--reward-pool", help='Escrowed rewards, "1000 FLOCK" or wei [default: enough for all rounds].')
@click.option(
    "--allowlist", type=click.Path(path_type=Path), help="Owners that may join: addresses, one a line, # for comments."
)
@click.option("--join-deadline", metavar="TIME", help='Nobody joins after it: "2026-12-24T18:00Z" (UTC) or "+2d12h".')
@click.option("--score-target", metavar="SCORE", help="End early with this score of the model, between 0 and 1.")
@click.option("--corrupt-share", default=0.2, show_default=True, help="Share of owners that may collude.")
@click.option("--dropout-share", default=0.1, show_default=True, help="Share of owners that may fail in one round.")
@click.option("--privacy-bits", default=40, show_default=True, help="Chance of a leak in all rounds: 2^-this.")
@click.option("--delivery-bits", default=30, show_default=True, help="Chance of a void cohort in a round: 2^-this.")
@click.option(
    "--suspicion-bound", type=click.IntRange(0, SUSPICION_BOUND_MAX), metavar="NUMBER",
    help="Rejected cohorts in a row that suspend a seat, 0 for never [default: safe for the corrupt share].",
)  # fmt: skip
@price_options
@click.option("--parameters", type=click.IntRange(1), metavar="NUMBER", help="Of the model, if no daemon knows them.")
@click.option("--save", "save_to", type=click.Path(path_type=Path), help="Write the TOML here before asking.")
@click.option("--dry-run", is_flag=True, help="Check and print the TOML, send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def create(
    home: Path, interactive: bool, corrupt_share: float, dropout_share: float, privacy_bits: int, delivery_bits: int,
    eth_usd: float, gas_gwei: float, parameters: int | None, save_to: Path | None, dry_run: bool, yes: bool,
    as_json: bool, **named: object,
) -> int:  # fmt: skip
    """Create an alliance and escrow its rewards: by questions, or from a file. Later sources win: preset, --from,
    --params, --set.

    What the numbers come to is shown, then you are asked; nothing is sent before. Amounts are like "100 FLOCK", or
    whole wei. Threshold and collusion bound are chosen for the shares and levels below, unless you name both. Joining
    the alliance yourself is another command.

    lane_bits is what an update costs: 16 or 32 bits a value, or, packed, 10, 12, 15, 20 or 30 (1.33 to 4 bytes). The
    ring must have room for every owner of a cohort: owners · levels · weight_max ≤ 2^(lane_bits − 4), and
    < 2^(lane_bits − 1) where lanes are packed. Fewer levels are more rounding noise.
    """
    sources, prices = _Sources(**named), Prices(gas_gwei, eth_usd)  # type: ignore[arg-type]  # click checked them
    is_asked = interactive or (sources.is_none and sys.stdin.isatty())
    if is_asked:
        draft = _ask(sources, prices)
    else:
        shares = Assumptions.from_shares(corrupt_share, dropout_share, privacy_bits, delivery_bits)
        draft = _gather(sources, shares)
    sizes = read_sizes(home, draft.task, parameters, is_needed=not dry_run)
    show_consequences(draft.params, draft.pool, sizes, draft.assumptions, prices, to_stderr=dry_run or as_json)
    path = save_to or (choose_file() if is_asked and not dry_run else None)
    if path is not None:
        save(path, draft.toml)
    if dry_run:
        click.echo(draft.toml, nl=False)
        return EXIT_OK
    if not yes and not confirm(draft.pool, is_asked, as_json):
        return EXIT_DECLINED
    _send(home, draft, as_json)
    return EXIT_OK


def _ask(sources: _Sources, prices: Prices) -> _Draft:
    answered = ask_all(installed_tasks(), prices)
    params = build({**answered.values, "allowlist_root": allowlist_root(answered.owners)}, answered.owners)
    pool = choose_pool(params, sources.reward_pool)
    return _Draft(answered.task, params, pool, answered.owners, answered.assumptions)


def _gather(sources: _Sources, assumptions: Assumptions) -> _Draft:
    """Put the sources together, the later above the earlier ones."""
    task, reward_pool = sources.task, sources.reward_pool
    values: dict[str, object] = {**OPTIONAL, **(PRESETS[sources.preset] if sources.preset else {})}
    del values["suspicion_bound"]  # no preset fits all sizes
    owners: tuple[bytes, ...] = ()
    if sources.source is not None:
        document = read_toml(sources.source)
        task = task or cast("str | None", document.get("task"))
        reward_pool = reward_pool or cast("str | None", document.get("reward_pool"))
        owners = read_owners(document.get("allowlist", []), sources.source)
        values |= {"allowlist_root": allowlist_root(owners), **cast("Mapping[str, object]", document["params"])}
    if sources.params_file is not None:
        values.update(read_json(sources.params_file))
    values.update(parse_setting(setting) for setting in sources.settings)
    if sources.allowlist is not None:
        owners = read_allowlist(sources.allowlist)
        values["allowlist_root"] = allowlist_root(owners)
    if sources.join_deadline is not None:
        values["join_deadline_s"] = parse_join_deadline(sources.join_deadline, int(time.time()))
    if sources.score_target is not None:
        values["score_target_micro"] = parse_score_target(sources.score_target)
    if not isinstance(task, str) or not task:
        raise UsageError('no task is named\npass --task NAME, or write task = "NAME" in the --from file')
    values.update(choose_bounds(values, assumptions))
    if sources.suspicion_bound is not None:
        values["suspicion_bound"] = sources.suspicion_bound
    values.setdefault("suspicion_bound", choose_bound(values, assumptions))
    params = build(values, owners)
    return _Draft(task, params, choose_pool(params, reward_pool), owners, assumptions)


def _send(home: Path, draft: _Draft, as_json: bool) -> None:
    listed = [to_hex(owner) for owner in draft.owners]
    arguments = {
        "task": draft.task, "params": without_digest(draft.params), "reward_pool": str(draft.pool), "allowlist": listed,
    }  # fmt: skip
    if not as_json and sys.stdout.isatty():
        click.echo("Waiting for the chain (two transactions) …")
    result = cast(CreateResult, call(home, "alliance.create", arguments))
    if as_json:
        print_json(result)
        return
    click.echo(f"Created {result['alliance']}")
    if result["privacy"] is not None:
        click.echo(f"Every trainer adds noise: {describe_epsilon(result['privacy'])}.")
    click.echo(f"It starts when {draft.params.seat_count_min} members have joined, each with")
    click.echo(f"  p2p-flock alliance join {result['alliance']}")
