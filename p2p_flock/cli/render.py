"""Results as tables for a terminal. The only importer of rich in ``cli/``; loaded when something is shown."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from p2p_flock.cli.alliance_admission import summarise_admission
from p2p_flock.cli.alliance_refusals import describe_obstacle
from p2p_flock.cli.alliance_terms import describe_terms, params_of
from p2p_flock.cli.amounts import format_money, format_seconds
from p2p_flock.cli.data_columns import describe_columns
from p2p_flock.cli.estimates import DEFAULT_PRICES, Prices
from p2p_flock.cli.trial_words import describe_data, describe_more, describe_rehearsal, group_mismatches
from p2p_flock.cli.watching.tables import rounds_table
from p2p_flock.cli.watching.words import change_text, privacy_text, short_digest, standing_sentences
from p2p_flock.daemon.control_messages import (
    AllianceListResult,
    AllianceShowResult,
    StatusResult,
    WalletResult,
)

if TYPE_CHECKING:  # loads numpy and trio
    from p2p_flock.cli.rehearsal import Outcome
    from p2p_flock.learning.schema_report import SchemaReport


def show_status(result: StatusResult) -> None:
    """What the node is doing, warnings last."""
    table = _pairs()
    _row(table, "node", f"up {format_seconds(result['uptime_s'])}, {result['connected_peers']} peers connected")
    _row(table, "peer ID", result["peer_id"])
    _row(table, "address", result["address"])
    _row(table, "listening", "  ".join(result["listen_addresses"]) or "nowhere")
    block = "no block seen" if result["block"] is None else f"block {result['block']}"
    _row(table, "chain", f"{result['chain_id']}, {block}{_age(result['chain_time_s'])}")
    if result["alliance"] is None:
        _row(table, "alliance", "none: join one with `p2p-flock alliance join ID`")
    else:
        _row(table, "alliance", result["alliance"])
        _row(table, "task", result["task"] or "?")
        _row(table, "seat", "none" if result["seat"] is None else str(result["seat"]))
        for sentence in standing_sentences(result, result["chain_time_s"]):
            _row(table, "standing", sentence)
        _row(table, "settled", f"{result['settled_rounds']} of {result['round_count']} rounds")
        _row(table, "round", _phase(result))
        if result["syncing"] is not None:
            _row(table, "catching up", f"{result['rounds_behind']} rounds behind; {result['syncing']}")
        _row(table, "model", short_digest(result["model_digest"]))
        if result["score_after"] is not None:
            _row(table, "score", change_text(result["score_before"], result["score_after"]))
        if result["privacy"] is not None:
            _row(table, "privacy", privacy_text(result["privacy"]))
    console = _console()
    console.print(table)
    for warning in result["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))


def show_alliances(result: AllianceListResult) -> None:
    """The ID on one line, the rest below it."""
    console = _console()
    if not result["alliances"]:
        console.print("The factory has no alliance yet. Create one with `p2p-flock alliance create`.")
        return
    for entry in result["alliances"]:
        state = "closed" if entry["closed"] else "joined" if entry["joined"] else "open"
        task = entry["task"] if entry["task_installed"] else f"{entry['task']} (not installed)"
        console.print(Text(entry["alliance"], style="bold"), soft_wrap=True)  # whole, to be copied
        console.print(
            Text(
                f"  {state}; task {task}; {entry['seats']} of {entry['seat_count_max']} seats, "
                f"starts at {entry['seat_count_min']}; {entry['settled_rounds']} of {entry['round_count']} rounds; "
                f"stake {format_money(entry['seat_stake'], 'FLOCK')}{summarise_admission(entry['admission'])}"
            )
        )


def show_alliance(result: AllianceShowResult, prices: Prices = DEFAULT_PRICES) -> None:
    """Terms, seats, last rounds."""
    show_terms(result, prices)
    if obstacle := describe_obstacle(result, prices):
        show_section("What keeps this node from joining", [f"Note: {sentence}" for sentence in obstacle])
    console = _console()
    console.print()
    seats = Table(box=None, header_style="bold", pad_edge=False, title="Seats", title_justify="left")
    for heading in ("seat", "owner", "peer ID", "weight", "state"):
        seats.add_column(heading, overflow="fold")
    for seat in result["seats"]:
        state = "you" if seat["index"] == result["own_seat"] else "connected" if seat["connected"] else "away"
        state += ", leaving" if seat["leaving"] else ""
        state += "" if seat["binding_valid"] else ", peer ID not proved: ignored"
        seats.add_row(str(seat["index"]), seat["owner"], Text(seat["peer_id"]), str(seat["weight"]), state)
    console.print(seats)
    if result["rounds"]:
        console.print(Text("\nLast rounds", style="italic"), *rounds_table(result["rounds"]), sep="\n")


def show_terms(result: AllianceShowResult, prices: Prices = DEFAULT_PRICES, to_stderr: bool = False) -> None:
    """What a member gives and gets, in sentences, and the columns of its data."""
    show_heading(result, to_stderr)
    for number, (heading, sentences) in enumerate(describe_terms(result, prices).items()):
        show_section(heading, sentences, to_stderr)
        if number == 0:
            show_columns(result, to_stderr)


def show_heading(result: AllianceShowResult, to_stderr: bool = False) -> None:
    """The ID, whole, and how far it is."""
    console = _console(to_stderr)
    params = params_of(result)
    console.print(Text(f"{result['alliance']}", style="bold"), soft_wrap=True)
    state = "closed" if result["closed"] else result["phase"]
    number = "no round yet" if result["round"] is None else f"round {result['round']}"
    cohorts = "1 cohort" if params.cohort_count == 1 else f"{params.cohort_count} cohorts"
    console.print(f"{number}, {state}; threshold {params.threshold}, {cohorts} a round")


def show_section(heading: str, sentences: Sequence[str], to_stderr: bool = False) -> None:
    """A heading and indented lines; a line that is broken goes on indented."""
    console = _console(to_stderr)
    console.print()
    console.print(Text(heading, style="bold"))
    for sentence in (each.replace(" %", "\u00a0%") for each in sentences):  # a number and its sign on one line
        style = "yellow" if sentence.startswith(("Warning:", "Note:")) else ""
        lines = textwrap.wrap(sentence, max(console.width - 2, 40), break_long_words=False, break_on_hyphens=False)
        console.print(Text("\n".join(f"  {line}" for line in lines), style=style), soft_wrap=True)


def show_summary(pairs: Sequence[tuple[str, str]], to_stderr: bool = False) -> None:
    """What is told last, before the question."""
    console = _console(to_stderr)
    console.print()
    console.print(Text("In short", style="bold"))
    table = _pairs()
    for name, value in pairs:
        _row(table, f"  {name}", value)
    console.print(table)
    console.print()


def show_columns(result: AllianceShowResult, to_stderr: bool = False) -> None:
    """What a member's file must hold, where the installed task says it."""
    rows = describe_columns(result)
    if not rows:
        return
    console = _console(to_stderr)
    console.print()
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("column of your file", "holds", "empty"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(Padding(table, (0, 0, 0, 2)))


def show_outcome(outcome: Outcome, train_seconds: int | None = None, to_stderr: bool = False) -> None:
    """What the check of the data found, and the dry run where there was one."""
    if outcome.mismatches is not None:
        _show_mismatches(outcome.mismatches, to_stderr)
    if outcome.data is not None:
        data = outcome.data if outcome.rehearsal is None else replace(outcome.data, problems=())  # told again below
        show_section("Your data", describe_data(data), to_stderr)
    if outcome.rehearsal is not None:
        show_section("Dry run: one epoch", describe_rehearsal(outcome.rehearsal, train_seconds), to_stderr)


def _show_mismatches(report: SchemaReport, to_stderr: bool) -> None:
    console = _console(to_stderr)
    console.print()
    console.print(Text("Your data does not fit the task (row 1 is the header)", style="bold"))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("row", "column", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for line in group_mismatches(report):
        table.add_row(*(Text(cell) for cell in (line.rows or "-", line.column or "-", line.problem, line.remedy)))
    console.print(Padding(table, (0, 0, 0, 2)))
    for sentence in describe_more(report):
        console.print(Padding(Text(sentence), (0, 0, 0, 2)))


def show_wallet(result: WalletResult) -> None:
    """Address and balances."""
    table = _pairs()
    _row(table, "address", result["address"])
    _row(table, "peer ID", result["peer_id"])
    _row(table, "chain", str(result["chain_id"]))
    _row(table, "gas money", format_money(result["eth"], "ETH"))
    _row(table, "FLOCK", format_money(result["flock"], "FLOCK"))
    _row(table, "staked", format_money(result["staked"], "FLOCK"))
    _row(table, "rewards", f"{format_money(result['unclaimed'], 'FLOCK')} to claim")
    _row(table, "withdrawable", format_money(result["withdrawable"], "FLOCK"))
    claimed = format_money(result["claimed_total"], "FLOCK")
    _row(table, "earned", f"{format_money(result['earned_total'], 'FLOCK')} in this alliance, {claimed} of it claimed")
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(result["gas_since_s"]))
    _row(table, "gas paid", f"{format_money(result['gas_spent_wei'], 'ETH')} by this node since {since}")
    _console().print(table)


def _phase(result: StatusResult) -> str:
    if result["round"] is None:
        return result["phase"]
    text = f"{result['round']}, {result['phase']}, you are {result['role']}"
    if result["phase_ends_at_s"] is not None and result["chain_time_s"] is not None:
        left = result["phase_ends_at_s"] - result["chain_time_s"]
        text += f", ends in {format_seconds(left)} at the latest" if left > 0 else ", overdue"
    return text


def _age(chain_time_s: int | None) -> str:
    """Says so where the chain's clock stands still (or ours is wrong)."""
    if chain_time_s is None:
        return ""
    age = int(time.time()) - chain_time_s
    return f", {format_seconds(abs(age))} {'old' if age > 0 else 'ahead'}" if abs(age) > 30 else ""


def _console(to_stderr: bool = False) -> Console:
    return Console(stderr=to_stderr, highlight=False, markup=False)  # texts of others are never markup


def _pairs() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def _row(table: Table, name: str, value: str) -> None:
    table.add_row(name, Text(value))
