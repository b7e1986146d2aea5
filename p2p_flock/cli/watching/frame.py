"""One frame of ``alliance watch``, fitted to a width and, on a screen, to a height. Imports rich; pure.

Called by ``loop.py``. Colours are the terminal's own sixteen, and none carries a meaning that the words do not.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.text import Text

from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.watching.curve import curve_lines
from p2p_flock.cli.watching.tables import LEGEND, align, judged_rounds_table, participants_table
from p2p_flock.cli.watching.words import (
    STEPS,
    cohort_text,
    cost_text,
    outcome_sentences,
    own_text,
    privacy_text,
    rounds_text,
    short_digest,
    standing_text,
    step_time,
    waiting_sentences,
    work_text,
)
from p2p_flock.daemon.watch_messages import (
    CostResult,
    RunningRoundResult,
    WatchedAllianceResult,
    WatchResult,
)

WIDE_COLUMNS = 110
COMPACT_ROWS = 30  # below it no blank lines
TINY_ROWS = 22  # below it no curve, and no explanation of the phase
ROUNDS_ROWS_MIN = 2
WHY_MAX = 2  # rounds of which it is told in words why nothing was adopted
PARTICIPANTS_ROWS_MIN = 3  # heading, one participant, how many more
STEP_COLUMNS = 9  # of a phase, so that the line stands still while seconds pass; seven fit 80 columns
STEP_MARKS = {"done": "✓", "running": "▶", "coming": "·", "hidden": "?"}
STEP_STYLES = {"done": "green", "running": "bold", "coming": "dim", "hidden": "dim"}


@dataclass(frozen=True, slots=True)
class View:
    """What a frame shows.

    Attributes:
        result: the daemon's last answer; ``None`` before the first.
        trouble: (what is wrong, what to do) where there is no answer now.
        before: an earlier answer's costs and the seconds between the two, for rates.
        note: the last line: how to end, when it was refreshed.
    """

    result: WatchResult | None
    trouble: tuple[str, str] | None = None
    before: tuple[CostResult, float] | None = None
    note: str = ""


def build_frame(view: View, console: Console, height: int | None) -> RenderableType:
    """The frame for ``console``'s width; at most ``height`` lines, or as many as there are."""
    blank = [] if height is not None and height < COMPACT_ROWS else [Text("")]
    head: list[Text] = [*(_trouble(view.trouble) if view.trouble is not None else [])]
    result = view.result
    if result is None:
        return Group(*head, *blank, *_note(view))
    head += [Text(f"warning: {warning}", "bold yellow") for warning in result["warnings"]]
    alliance, is_wide = result["alliance"], console.width >= WIDE_COLUMNS
    foot: list[Text] = [Text(cost_text(result["cost"], *(view.before or (None, 0.0)))), *_note(view)]
    if alliance is None:
        return Group(*head, *_no_alliance(result), *blank, *foot)
    head += [*_header(result, alliance, is_wide), *blank, *_own(result, alliance)]
    spent = [Text(privacy_text(alliance["privacy"]))] if alliance["privacy"] is not None else []
    is_tiny = height is not None and height < TINY_ROWS
    curve = [] if is_tiny else curve_lines(alliance, is_roomy=bool(blank))
    foot = [*blank, *curve, *blank[: len(curve)], _money(alliance, result["now_ms"] // 1000, is_wide), *spent, *foot]
    running = alliance["running"]
    if running is not None:
        head += [*blank, *_round(result, running, is_tiny)]
    room = None if height is None else height - _height(console, [*head, *foot])
    participants: list[Text] = []
    if running is not None and running["participants"]:
        reserve = min(len(alliance["rounds"]), ROUNDS_ROWS_MIN) + 1 + len(blank)
        rows_max = None if room is None else room - reserve
        if rows_max is None or rows_max >= PARTICIPANTS_ROWS_MIN:
            participants = [*blank, *_participants(result, running, is_wide, rows_max)]
        room = None if room is None else room - _height(console, participants)
    return Group(*head, *participants, *_ended(console, alliance, blank, is_wide, room), *foot)


def _ended(
    console: Console, alliance: WatchedAllianceResult, blank: list[Text], is_wide: bool, room: int | None
) -> list[Text]:
    """The last rounds, as many as fit, and in words why the newest of them adopted nothing."""
    rows_max = None if room is None else max(0, room - 1 - len(blank))
    rounds = alliance["rounds"][:rows_max]
    if not rounds:
        return []
    why = [Text(text, "dim") for text in outcome_sentences(rounds, WHY_MAX)]
    while rows_max is not None and why and len(rounds) + _height(console, why) > rows_max:
        if len(rounds) > ROUNDS_ROWS_MIN + len(why):
            rounds = rounds[:-1]
        else:
            why.pop()
    return [*blank, *judged_rounds_table(rounds, is_wide, alliance["score_name"]), *why]


def _height(console: Console, parts: list[Text]) -> int:
    """Lines that these take; what is shorter than the width need not be wrapped to know."""
    width = console.width
    return sum(
        1 if part.no_wrap or part.cell_len <= width else len(part.wrap(console, width, tab_size=8)) for part in parts
    )


def _note(view: View) -> list[Text]:
    return [Text(view.note, "dim")] if view.note else []


def _trouble(trouble: tuple[str, str]) -> list[Text]:
    what, remedy = trouble
    return [Text(what, "bold red"), Text(f"   do: {remedy}", "bold")]


def _no_alliance(result: WatchResult) -> list[Text]:
    return [
        Text("This node is in no alliance.", "bold"),
        Text("Find one: `p2p-flock alliance list`. Join it: `p2p-flock alliance join ID`."),
        Text(f"peer ID {result['peer_id']}, {result['connected_peers']} peers connected"),
    ]


def _header(result: WatchResult, alliance: WatchedAllianceResult, is_wide: bool) -> list[Text]:
    title = Text(no_wrap=True, overflow="ellipsis").append(alliance["alliance"], "bold")
    title.append(f"  task {alliance['task']}")
    facts = f"{rounds_text(alliance)} · {result['connected_peers']} peers"
    if is_wide:
        block = "no block seen" if result["block"] is None else f"block {result['block']}"
        facts += f" · {block} · model {short_digest(alliance['model_digest'])}"
    return [title, Text(facts)]


def _own(result: WatchResult, alliance: WatchedAllianceResult) -> list[Text]:
    works = [] if alliance["running"] is None else alliance["running"]["work"]
    return [
        Text(own_text(result, alliance), "bold"),
        *(Text(work_text(work, result["now_ms"]), "cyan", no_wrap=True, overflow="ellipsis") for work in works),
        *(Text(text, "bold red" if is_bad else "") for text, is_bad in waiting_sentences(result, alliance)),
    ]


def _round(result: WatchResult, running: RunningRoundResult, is_tiny: bool) -> list[Text]:
    """The phases side by side, each with its time; below it what the running one is."""
    names, times = [], []
    for step in running["steps"]:
        style = STEP_STYLES[step["state"]]
        time_text = step_time(result["now_ms"], step)
        is_over = step["state"] == "running" and time_text.endswith("over")
        names.append(Text(f"{STEP_MARKS[step['state']]} {step['step']}", "bold red" if is_over else style))
        times.append(Text(time_text, "bold red" if is_over else "" if step["state"] == "running" else "dim"))
    cohorts = cohort_text(running)
    explained = [] if is_tiny else [Text(f"{running['step']}: {STEPS[running['step']]}")]
    return [*align([names, times], width_min=STEP_COLUMNS), *explained, *([Text(cohorts)] if cohorts else [])]


def _participants(result: WatchResult, running: RunningRoundResult, is_wide: bool, rows_max: int | None) -> list[Text]:
    """Everybody in the round, or as many as fit: whoever is waited for comes first."""
    entries = running["participants"]
    is_cut = rows_max is not None and len(entries) + 1 > rows_max
    shown = entries[: rows_max - 2] if is_cut and rows_max is not None else entries
    table = participants_table(running, shown, result["now_ms"], is_wide)
    left_out = running["participant_count"] - len(shown)
    if not left_out:
        return table if rows_max is not None and len(entries) + 3 > rows_max else [*table, Text(LEGEND, "dim")]
    awaited = sum(entry["is_awaited"] for entry in entries[len(shown) :])
    words = f"and {left_out} more" + (f", {awaited} of them waited for" if awaited else "")
    return [*table, Text(f"      {words}", "dim")]


def _money(alliance: WatchedAllianceResult, now_s: int, is_wide: bool) -> Text:
    holdings = alliance["holdings"]
    if holdings is None:
        text = "stake and rewards: being read from the chain"
    else:
        stake, claimable = format_money(holdings["stake"], "FLOCK"), format_money(holdings["claimable"], "FLOCK")
        earned = f"earned {format_money(holdings['earned_total'], 'FLOCK')}, " if is_wide else ""
        text = f"stake {stake} · {earned}{claimable} to claim · gas {format_money(holdings['eth'], 'ETH')}"
        text += f" left, {format_money(holdings['gas_spent_wei'], 'ETH')} spent" if is_wide else ""
    trouble = standing_text(alliance, now_s)
    return (
        Text(f"{text} · ").append(trouble, "bold yellow")
        if trouble
        else Text(text if alliance["strikes"] is None else f"{text} · no strikes")
    )
