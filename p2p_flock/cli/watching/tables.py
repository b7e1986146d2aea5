"""Tables of participants and of ended rounds, for ``alliance watch`` and ``alliance show``. Imports rich.

A table is a list of lines, the heading first: what does not fit is cut, so that the caller knows its height.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from p2p_flock.cli.amounts import format_seconds
from p2p_flock.cli.watching.words import (
    PARTICIPANT_STATES,
    RECEIPTS,
    STEP_OF_ITEM,
    change_text,
    late_seconds,
    link_text,
    participant_state,
    score_text,
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
GAP = 2  # blanks between columns
DIGEST_CHARACTERS = 6
ROUND_HEADINGS = ("round", "outcome", "in", "votes", "model")
LEGEND = "✓ here or on chain  … waiting  ! late  ✗ missed  · not due  ? not seen from here"


def align(rows: Sequence[Sequence[Text]], right: frozenset[int] = frozenset(), width_min: int = 0) -> list[Text]:
    """One line a row, its cells in columns; ``right``: columns of numbers. A line that is too long is cut at the edge.

    rich's own table takes ten times as long for the same, and a watch draws it every second.
    """
    widths = [max(width_min, *(cell.cell_len for cell in column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        line = Text(no_wrap=True, overflow="ellipsis", end="")
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = width - cell.cell_len
            line.append(" " * blank if index in right else "").append_text(cell)
            line.append(" " * (GAP + (0 if index in right else blank)))
        line.rstrip()
        line.end = "\n"
        lines.append(line)
    return lines


def _table(headings: Sequence[str], rows: Sequence[Sequence[Text]]) -> list[Text]:
    right = frozenset(index for index, heading in enumerate(headings) if heading in ("seat", "round"))
    return align([[Text(heading, "dim") for heading in headings], *rows], right)


def participants_table(
    running: RunningRoundResult, entries: Sequence[ParticipantResult], now_ms: int, is_wide: bool
) -> list[Text]:
    """These participants of a round, each with what is known to have come from it."""
    with_cohorts = len(running["cohorts"]) > 1
    rows = []
    for entry in entries:
        own = "bold" if entry["is_own"] else ""
        role = entry["role"] + (f" {entry['cohort']}" if with_cohorts and entry["cohort"] is not None else "")
        cells = [Text(str(entry["seat"]), own), Text(role, own), Text(short_peer(entry["peer_id"]), own)]
        if is_wide:
            cells.append(Text(short_owner(entry["owner"]), "dim"))
        cells += [_state(entry, running, now_ms), _link(entry)]
        given = [_receipt(entry, item, now_ms, running["steps"], is_wide) for item in entry["items"]]
        cells += (given + [Text()] * ITEMS_MAX)[:ITEMS_MAX]
        rows.append(cells)
    return _table(["seat", "role", "peer", *(["owner"] if is_wide else []), "state", "link", "has given", "", ""], rows)


def _state(entry: ParticipantResult, running: RunningRoundResult, now_ms: int) -> Text:
    mark, word, style = PARTICIPANT_STATES[participant_state(entry, running, now_ms)]
    return Text(f"{mark} {word}", style)


def _link(entry: ParticipantResult) -> Text:
    style = "bold" if entry["is_own"] else ""
    if not entry["is_own"] and not entry["is_connected"]:
        style = "bold red" if entry["is_awaited"] else "yellow"
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


def rounds_table(rounds: Sequence[RoundResult]) -> list[Text]:
    """How rounds ended, in the order given."""
    return _table([*ROUND_HEADINGS, "took"], [[*_round_cells(entry), _took(entry)] for entry in rounds])


def judged_rounds_table(rounds: Sequence[EndedRoundResult], is_wide: bool, score_name: str | None) -> list[Text]:
    """The same with this node's part, its own judgement where it made one, and its scores: the alliance's and alone."""
    rows = []
    for entry in rounds:
        judgement, loss = entry["judgement"], ""
        if judgement is not None:
            loss = _changes(judgement["loss_before"], list(judgement["losses_after"].values()))
        cells = [*_round_cells(entry)]
        cells[-1:] = [cells[-1], _took(entry)] if is_wide else []
        scores = [Text(score_text(entry["own_score"])), Text(score_text(entry["local_only_score"]), "dim")]
        rows.append([*cells, Text(entry["role"] or "–"), Text(loss), *scores])
    headings = [*ROUND_HEADINGS, "took"] if is_wide else list(ROUND_HEADINGS[:-1])
    name = score_name or "score"
    return _table([*headings, "you", "your loss", f"your {name}", "alone"], rows)


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
