"""Tables of participants and of ended rounds, for ``alliance watch`` and ``alliance show``. Imports rich.

Every row is one line: what does not fit is cut with an ellipsis, so that the caller knows a table's height.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from p2p_flock.cli.amounts import format_seconds
from p2p_flock.cli.watching.words import (
    RECEIPTS,
    STEP_OF_ITEM,
    change_text,
    late_seconds,
    link_text,
    short_digest,
    short_owner,
    short_peer,
)
from p2p_flock.daemon.watch_messages import (
    EndedRoundResult,
    ParticipantResult,
    RoundResult,
    RunningRoundResult,
    StepResult,
)

OUTCOME_STYLES = {"adopted": "green", "rejected": "red", "voided": "yellow", "void": "yellow", "undecided": "yellow"}
NAMES_OF_ITEMS = {
    "contribution": "update",
    "unmasking": "answer",
    "bundle": "shares",
    "have": "list",
    "commitment": "vote",
    "ballot": "ballot",
}
ITEMS_MAX = 3  # of one participant
DIGEST_CHARACTERS = 6
ROUND_HEADINGS = ("round", "outcome", "in", "votes", "model")
LEGEND = "✓ here or on chain  … waiting  ! late  ✗ missed  · not due  ? not seen from here"


def plain_table(*headings: str) -> Table:
    """Without lines; the heading dim, every row one line."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        is_number = heading in ("seat", "round")
        table.add_column(heading, no_wrap=True, overflow="ellipsis", justify="right" if is_number else "left")
    return table


def participants_table(
    running: RunningRoundResult, entries: Sequence[ParticipantResult], now_ms: int, is_wide: bool
) -> Table:
    """These participants of a round, each with what is known to have come from it."""
    with_cohorts = len(running["cohorts"]) > 1
    table = plain_table("seat", "role", "peer", *(["owner"] if is_wide else []), "link", "has given", "", "")
    for entry in entries:
        role = entry["role"] + (f" {entry['cohort']}" if with_cohorts and entry["cohort"] is not None else "")
        cells = [Text(str(entry["seat"])), Text(role), Text(short_peer(entry["peer_id"]))]
        if is_wide:
            cells.append(Text(short_owner(entry["owner"]), "dim"))
        cells.append(_link(entry))
        given = [_receipt(entry, item, now_ms, running["steps"], is_wide) for item in entry["items"]]
        cells += (given + [Text("")] * ITEMS_MAX)[:ITEMS_MAX]
        table.add_row(*cells, style="bold" if entry["is_own"] else "")
    return table


def _link(entry: ParticipantResult) -> Text:
    style = "" if entry["is_own"] or entry["is_connected"] else "bold red" if entry["is_awaited"] else "yellow"
    return Text(link_text(entry), style)


def _receipt(entry: ParticipantResult, item: str, now_ms: int, steps: Sequence[StepResult], is_wide: bool) -> Text:
    receipt, name = entry["items"][item], NAMES_OF_ITEMS.get(item, item)
    if item == "contribution" and not entry["is_eligible"]:
        return Text("– no mask key", "dim")  # spent: it cannot contribute in this round
    mark, word, style = RECEIPTS.get(receipt, ("?", receipt, ""))
    if entry["is_own"] and receipt in ("here", "awaited"):
        word = {"here": "sent", "awaited": ""}[receipt]
    elif receipt in ("awaited", "partial"):
        late = late_seconds(now_ms, steps, STEP_OF_ITEM.get(item, ""))
        if late is not None:
            return Text(f"! {name} late {format_seconds(late)}", "bold red")
    is_worded = is_wide or receipt in ("refused", "missed", "partial")
    return Text(f"{mark} {name} {word if is_worded else ''}".rstrip(), style)


def rounds_table(rounds: Sequence[RoundResult]) -> Table:
    """How rounds ended, in the order given."""
    table = plain_table(*ROUND_HEADINGS, "took")
    for entry in rounds:
        table.add_row(*_round_cells(entry), _took(entry))
    return table


def judged_rounds_table(rounds: Sequence[EndedRoundResult], is_wide: bool) -> Table:
    """The same with this node's part and its own judgement on private data, where it made one."""
    headings = (*ROUND_HEADINGS, "took") if is_wide else ROUND_HEADINGS
    table = plain_table(*headings, "you", "your loss", "your score")
    for entry in rounds:
        judgement = entry["judgement"]
        loss = score = ""
        if judgement is not None:
            loss = _changes(judgement["loss_before"], list(judgement["losses_after"].values()))
            score = _changes(judgement["score_before"], list(judgement["scores_after"].values()))
        cells = [*_round_cells(entry), *([_took(entry)] if is_wide else [])]
        table.add_row(*cells, Text(entry["role"] or "–"), Text(loss), Text(score))
    return table


def _changes(before: float | None, after: Sequence[float | None]) -> str:
    """One cohort's change; of several the first, marked."""
    return change_text(before, after[0]) + (" +" if len(after) > 1 else "") if after else ""


def _round_cells(entry: RoundResult) -> tuple[Text, ...]:
    outcomes = entry["cohort_outcomes"] or [entry["outcome"]]
    outcome = Text()
    for index, name in enumerate(outcomes):
        outcome.append(", " if index else "").append(name, OUTCOME_STYLES.get(name, ""))
    votes = zip(entry["votes_for"], entry["votes_against"], strict=True)
    return (
        Text(str(entry["round"])),
        outcome,
        Text(f"{entry['survivors']} of {entry['trainers']}"),
        Text("  ".join(f"{yes}:{no}" for yes, no in votes)),
        Text(short_digest(entry["model_digest"], DIGEST_CHARACTERS)),
    )


def _took(entry: RoundResult) -> Text:
    return Text("" if entry["seconds"] is None else format_seconds(entry["seconds"]))
