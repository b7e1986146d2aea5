"""Ended rounds for a terminal and for a spreadsheet. Imports rich; loaded when something is shown."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from p2p_flock.cli.amounts import format_money, format_seconds
from p2p_flock.cli.watching.tables import OUTCOME_STYLES, align
from p2p_flock.cli.watching.words import change_text, short_owner
from p2p_flock.daemon.history_messages import HistoryMoneyResult, HistoryResult, HistoryRoundResult

HEADINGS = ("round", "ended", "outcome", "you", "in", "votes", "score", "alone", "reward", "took")
RIGHT = frozenset({0, 8})
WIDE_COLUMNS = 96  # of a terminal; in a narrower one the last column is left out
TRANSACTION_WORDS = {
    "open": "opened",
    "seal": "sealed: whose updates are in",
    "commit": "votes committed, hidden",
    "reveal": "ballots shown early",
    "settle": "settled: votes counted",
    "void": "ended without a result",
}
CSV_FIELDS = (
    *("round", "started", "ended", "outcome", "role", "trainers", "survivors", "survivors_by_cohort"),
    *("votes_for", "votes_against", "abstentions", "own_score", "local_only_score"),
    *("reward_wei", "is_claimed", "penalties", "model_digest", "ending_transaction", "reasons"),
)


def show_history(result: HistoryResult) -> None:
    """A table, newest round first; below it why those rounds failed that did, and what befell this node."""
    console, rounds = _console(), result["rounds"]
    if not rounds:
        console.print("No round has ended yet, or this node is in no alliance: see `p2p-flock status`.")
        return
    columns = len(HEADINGS) if console.width >= WIDE_COLUMNS else len(HEADINGS) - 1
    rows = [[Text(heading, "dim") for heading in HEADINGS], *(_cells(entry) for entry in rounds)]
    for line in align([row[:columns] for row in rows], RIGHT):
        console.print(line)
    total = sum(int(entry["money"]["total"]) for entry in rounds if entry["money"] is not None)
    console.print(Text(f"\nEarned in these {len(rounds)} rounds: {format_money(total, 'FLOCK')}.", "bold"))
    for entry in rounds:
        for sentence in _remarks(entry):
            console.print(Text(f"round {entry['round']}: {sentence}"))
    console.print(Text("One round in full: `p2p-flock history --round N`.", "dim"))


def show_round(entry: HistoryRoundResult) -> None:
    """Everything about one round."""
    console = _console()
    console.print(Text(f"Round {entry['round']}: {outcome_words(entry)}", "bold"))
    took = "" if entry["seconds"] is None else f", it took {format_seconds(entry['seconds'])}"
    console.print(f"  from {_time(entry['started_at_s'])} to {_time(entry['ended_at_s'])}{took}")
    for reason in entry["reasons"]:
        console.print(Text(f"  {reason}"))
    _show_cohorts(console, entry)
    role = entry["role"]
    console.print(Text("\nYou", "bold"))
    console.print(f"  {'held no seat' if role is None else f'were a {role}'}")
    if entry["own_score"] is not None or entry["local_only_score"] is not None:
        alone = _score(entry["local_only_score"])
        console.print(f"  the alliance's model on your private test data: {_score(entry['own_score'])}; alone: {alone}")
    judgement = entry["judgement"]
    for cohort, loss in (judgement["losses_after"] if judgement is not None else {}).items():
        assert judgement is not None
        change = change_text(judgement["loss_before"], loss)
        vote = "for" if judgement["accepted"].get(cohort) else "against"
        console.print(f"  you voted {vote} cohort {cohort}: loss {change} on your private test data")
    console.print(f"  {_money_sentence(entry['money'])}")
    for penalty in entry["penalties"]:
        console.print(Text(f"  {penalty['text']}", "red"))
    if entry["events"]:
        console.print(Text("\nMembers", "bold"))
    for event in entry["events"]:
        who = "you" if event["is_own"] else short_owner(event["owner"])
        seat = "" if event["seat"] is None else f" (seat {event['seat']})"
        console.print(Text(f"  {who}{seat}: {event['text']}"))
        console.print(Text(f"    {_time(event['at_s'])}, transaction {event['transaction']}", "dim"), soft_wrap=True)
    if entry["events_left_out"]:
        console.print(f"  and {entry['events_left_out']} more")
    console.print(Text("\nTransactions", "bold"))
    for found in entry["transactions"]:
        sender = found["sender"]
        by = "" if sender is None else f", by {'you' if found['is_own'] else sender}"
        what = TRANSACTION_WORDS.get(found["what"], found["what"])
        console.print(Text(f"  block {found['block']}, {what}{by}"), soft_wrap=True)
        console.print(Text(f"    {found['transaction']}", "dim"), soft_wrap=True)
    if entry["transactions_left_out"]:
        console.print(f"  and {entry['transactions_left_out']} more")
    if entry["model_digest"] is not None:
        console.print(Text(f"\nModel after it: {entry['model_digest']}"), soft_wrap=True)


def _show_cohorts(console: Console, entry: HistoryRoundResult) -> None:
    """Survivors and votes of each cohort."""
    trained, survived = entry["trainers_by_cohort"], entry["survivors_by_cohort"]
    if not trained:
        return
    console.print(Text("\nCohorts", "bold"))
    for cohort, count in enumerate(trained):
        told = f"{survived[cohort]} of {count} trainers in" if survived else f"{count} trainers, nothing was sealed"
        if entry["votes_for"]:
            told += f"; {entry['votes_for'][cohort]} votes for it, {entry['votes_against'][cohort]} against"
            silent = entry["abstentions"][cohort]
            told += f", {silent} neither" if silent else ""
            told += f": {entry['cohort_outcomes'][cohort]}"
        console.print(Text(f"  cohort {cohort}: {told}"))


def show_csv(result: HistoryResult) -> None:
    """One line a round under a line of names; money in wei, times in UTC, lists separated by semicolons."""
    writer = csv.writer(sys.stdout)
    writer.writerow(CSV_FIELDS)
    for entry in result["rounds"]:
        money = entry["money"]
        writer.writerow(
            [
                entry["round"],
                _utc(entry["started_at_s"]),
                _utc(entry["ended_at_s"]),
                outcome_words(entry),
                entry["role"] or "",
                entry["trainers"],
                entry["survivors"],
                _list(entry["survivors_by_cohort"]),
                _list(entry["votes_for"]),
                _list(entry["votes_against"]),
                _list(entry["abstentions"]),
                _empty(entry["own_score"]),
                _empty(entry["local_only_score"]),
                "" if money is None else money["total"],
                "" if money is None else _empty(money["is_claimed"]),
                _list([penalty["what"] for penalty in entry["penalties"]]),
                entry["model_digest"] or "",
                entry["transactions"][-1]["transaction"] if not entry["transactions_left_out"] else "",
                " ".join(entry["reasons"]),
            ]
        )


def outcome_words(entry: HistoryRoundResult) -> str:
    """``adopted``; of several cohorts each; ``void`` for a round that nothing came of."""
    if entry["outcome"] == "voided":
        return "void"
    names = entry["cohort_outcomes"]
    return names[0] if len(set(names)) == 1 else ", ".join(names)


def _cells(entry: HistoryRoundResult) -> list[Text]:
    outcome = Text()
    for index, name in enumerate(outcome_words(entry).split(", ")):
        outcome.append(", " if index else "").append(name, OUTCOME_STYLES.get(name, ""))
    votes = zip(entry["votes_for"], entry["votes_against"], entry["abstentions"], strict=True)
    told = "  ".join(f"{yes}:{no}" + (f" ({silent} none)" if silent else "") for yes, no, silent in votes)
    return [
        Text(str(entry["round"])),
        Text(_time(entry["ended_at_s"])[5:-3]),
        outcome,
        Text(entry["role"] or "–"),
        Text(f"{entry['survivors']} of {entry['trainers']}"),
        Text(told),
        Text(_score(entry["own_score"])),
        Text(_score(entry["local_only_score"])),
        Text("" if entry["money"] is None else format_money(entry["money"]["total"], "").strip()),
        Text("" if entry["seconds"] is None else format_seconds(entry["seconds"])),
    ]


def _remarks(entry: HistoryRoundResult) -> list[str]:
    """What the table cannot say in a word."""
    failed = outcome_words(entry) != "adopted"
    return [*(entry["reasons"] if failed else []), *(f"you got {penalty['text']}" if penalty["what"] == "absent"
            else f"you were {penalty['text']}" for penalty in entry["penalties"])]  # fmt: skip


def _money_sentence(money: HistoryMoneyResult | None) -> str:
    if money is None:
        return "nothing was paid in this round"
    if money["total"] == "0":
        return "you earned nothing in this round"
    told = ((money["trainer"], "as trainer"), (money["validator"], "as validator"), (money["refunds"], "back for gas"))
    parts = [f"{format_money(wei, 'FLOCK')} {words}" for wei, words in told if wei != "0"]
    claimed = {True: "; claimed", False: "; to be claimed with `p2p-flock wallet claim`", None: ""}[money["is_claimed"]]
    return f"you earned {', '.join(parts)}{claimed}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _time(seconds: int) -> str:
    """The reader's own time."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _list(values: Sequence[object]) -> str:
    return ";".join(str(value) for value in values)


def _empty(value: object) -> object:
    return "" if value is None else value


def _console() -> Console:
    return Console(highlight=False, markup=False)  # texts of others are never markup
