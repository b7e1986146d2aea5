"""What the operator of a testnet sees: a live table on a terminal, one line per event elsewhere.

Called by ``launcher.py``. ``render`` is pure; ``Display`` owns the terminal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from p2p_flock.cli.watching.words import change_text, vote_text
from p2p_flock.testnet.summary import CohortSummary, RoundSummary
from p2p_flock.testnet.watch import RoundCall

ROUNDS_SHOWN_MAX = 12
REFRESHES_PER_SECOND = 4
SEAT_HEADINGS = ("trainers", "validators")
SEATS_NAMED_MAX = 12  # in a cell of the table; the log names all


@dataclass(frozen=True, slots=True)
class NodeLine:
    """A node's row: role in the running round, its latest phase, ``""`` or how its process ended."""

    name: str
    role: str
    phase: str
    trouble: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one frame shows. ``scores`` by model digest; ``names`` by seat."""

    title: str
    phase: str
    nodes: Sequence[NodeLine]
    rounds: Sequence[RoundSummary]
    names: Mapping[int, str]
    scores: Mapping[str, float | None]
    seconds: float
    score_name: str = "score"


def render(snapshot: Snapshot) -> RenderableType:
    """The frame: rounds above, nodes below, newest round last."""
    rounds = Table(title=snapshot.title, title_justify="left", expand=False)
    headings = (
        "round",
        "collects",
        "trainers",
        "survivors",
        "validators",
        "votes",
        snapshot.score_name,
        "gas k",
        "seconds",
        "overhead",
    )
    for heading in headings:
        rounds.add_column(heading, justify="right" if heading in ("round", "gas k", "seconds", "overhead") else "left")
    for summary in snapshot.rounds[-ROUNDS_SHOWN_MAX:]:
        cells = zip(headings, round_cells(summary, snapshot), strict=True)
        rounds.add_row(*(_shorten(cell) if heading in SEAT_HEADINGS else cell for heading, cell in cells))
    nodes = Columns([_node_cell(line) for line in snapshot.nodes], padding=(0, 3), equal=True)
    return Group(rounds, nodes, Text(f"{snapshot.phase}   {snapshot.seconds:.0f} s"))


def watch_hint(home: Path) -> str:
    """How to look at what one node sees."""
    return f"watch a node: p2p-flock alliance watch --home {home}"


def dashboard_hint(home: Path) -> str:
    """How to open one node's page; the link holds its secret, so it is not printed here."""
    return f"its page in a browser: p2p-flock dashboard --open --home {home}"


def _node_cell(line: NodeLine) -> Text:
    cell = Text(f"{line.name} ", no_wrap=True).append(f"{line.role} ", "dim")
    return cell.append(line.trouble or line.phase, "red" if line.trouble else "")


def _shorten(cell: str) -> str:
    """Many seats by their number: with 35 nodes their names would take the table's whole width."""
    names = cell.split(" ")
    return f"{len(names)} nodes" if len(names) > SEATS_NAMED_MAX else cell


def round_cells(summary: RoundSummary, snapshot: Snapshot) -> tuple[str, ...]:
    """One round's cells in the order of the headings; ``…`` for what is not known yet."""
    names = {seat: name.removeprefix("node") for seat, name in (summary.names or snapshot.names).items()}
    trainers = [seat for cohort in summary.cohorts for seat in cohort.trainers]
    survivors = [seat for cohort in summary.cohorts for seat in cohort.survivors]
    return (
        str(summary.round),
        summary.stage or "…",
        " ".join(names[seat] for seat in trainers) or "…",
        f"{len(survivors)}/{len(trainers)}" if trainers else "…",
        " ".join(names[seat] for seat in summary.validators) or "…",
        " ".join(_votes(cohort) for cohort in summary.cohorts) or "…",
        score_text(summary, snapshot.scores),
        "/".join(f"{summary.gas[call] / 1000:.0f}" for call in (RoundCall.SEAL, RoundCall.COMMIT, RoundCall.SETTLE)),
        "…" if summary.seconds.total is None else f"{summary.seconds.total:.1f}",
        "…" if summary.seconds.overhead is None else f"{summary.seconds.overhead:.1f}",
    )


def _votes(cohort: CohortSummary) -> str:
    outcome = None if cohort.outcome is None else cohort.outcome.name.lower()
    return vote_text(cohort.votes_for, cohort.votes_against, outcome)


def score_text(summary: RoundSummary, scores: Mapping[str, float | None]) -> str:
    """``.812 → .845``; a dash where a score is undefined, as before the statistics are known."""

    if summary.model_digest is None:
        return "voided" if summary.voided else "…"
    before = scores.get(summary.base_model_digest) if summary.base_model_digest is not None else None
    return change_text(before, scores.get(summary.model_digest))


def round_line(summary: RoundSummary, snapshot: Snapshot) -> str:
    """An ended round on one line, for logs and pipes."""
    _, stage, trainers, survivors, validators, votes, score, gas, seconds, overhead = round_cells(summary, snapshot)
    return (
        f"round {summary.round} ({stage}): trainers {trainers}, survivors {survivors}, validators {validators}, "
        f"votes {votes}, {snapshot.score_name} {score}, gas k {gas}, {seconds} s of which {overhead} s overhead"
        f"{epsilon_text(summary)}"
    )


def epsilon_text(summary: RoundSummary) -> str:
    """``, ε 3.6 of 8`` of the node that has spent most; empty without noise."""
    spent = [privacy["epsilon_spent"] for privacy in summary.privacy_by_node.values()]
    if not spent:
        return ""
    whole = next(iter(summary.privacy_by_node.values()))["epsilon"]
    return f", ε {'∞' if None in spent else f'{max(spent):.2g}'} of {'∞' if whole is None else f'{whole:.2g}'}"


@dataclass(slots=True)
class Display:
    """Shows steps while the network starts, then frames; ``close`` it at the end."""

    console: Console = field(default_factory=lambda: Console(file=sys.stdout, highlight=False))
    _live: Live | None = None
    _lines_shown: set[int] = field(default_factory=set)
    _started: float = field(default_factory=time.monotonic)

    def close(self) -> None:
        """Give the terminal back; the last frame stays on it."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(f"{time.monotonic() - self._started:6.1f} s  {text}", markup=False, soft_wrap=True)

    def show(self, snapshot: Snapshot) -> None:
        """The newest state; on a terminal in place, elsewhere one line per round that ended."""
        if self.console.is_terminal:
            if self._live is None:
                self._live = Live(console=self.console, refresh_per_second=REFRESHES_PER_SECOND, transient=False)
                self._live.start()
            self._live.update(render(snapshot))
            return
        for summary in snapshot.rounds:
            # The nodes may know the round's end before our own reading of the chain does.
            is_paid_for = summary.settled and summary.gas.get(RoundCall.SETTLE, 0) > 0
            is_told = summary.model_digest in snapshot.scores and is_paid_for
            is_told = is_told or (summary.voided and summary.stage is not None)
            if is_told and summary.round not in self._lines_shown:
                self._lines_shown.add(summary.round)
                self.say(round_line(summary, snapshot))
