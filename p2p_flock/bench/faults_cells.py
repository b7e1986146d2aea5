"""The grid of faults: every role in every phase, killed, restarted or frozen; and what a testnet's report says of each.

Called by ``bench/faults.py``; pure. A testnet takes some undisturbed rounds, then a faulted one and five without a
fault in turn, so that every cell is measured against rounds of its own run. A round of the testnet takes two to four
seconds, so a node that is stopped for ten, or starts again, is missed in the rounds after the struck one too: those
*overlap*. Each is judged by what the node was in it, and the first round after them must be as any other.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from p2p_flock.errors import UsageError
from p2p_flock.params import AllianceParams

ROLES = ("trainer", "validator", "leader")
PHASES = ("TRAIN", "SEAL", "UNMASK", "EVALUATE", "COMMIT", "SETTLE")
# "kill": gone until the round has ended, and then started again so that the next cell has all nodes.
WAYS = ("kill", "restart", "freeze")
RESTART_SECONDS = 5.0
FREEZE_SECONDS = 10.0
ROUNDS_PER_CELL = 6
# Undisturbed rounds before the first fault: the first trains with cold workers, and a median of few is a poor measure.
WARM_UP_ROUNDS = 3
# Beyond the one timeout: a broken connection is noticed at once, forgiven for 1 s, and what is posted waits for blocks
# and pollers (testing/checkers/stalls.py). A stopped process is noticed by its pings instead (daemon/attention.py).
GRACE_SECONDS = 3.5
FREEZE_GRACE_SECONDS = GRACE_SECONDS + 2.0
# A process that was killed is back when it has trained or judged again, which the testnet tells: Python, keys, the log,
# connections, and torch. At the end of a run, when nothing is left to do, it counts as back after so long.
START_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault of the grid."""

    way: str
    role: str
    phase: str

    @property
    def name(self) -> str:
        return f"{self.way}:{self.role}@{self.phase}"

    def fault(self, round_number: int, freeze_seconds: float = FREEZE_SECONDS) -> str:
        """As ``scripts/testnet --fault`` reads it."""
        kind, length = {
            "kill": ("restart", "end"),
            "restart": ("restart", f"{RESTART_SECONDS:g}s"),
            "freeze": ("freeze", f"{freeze_seconds:g}s"),
        }[self.way]
        return f"{kind}:{self.role}@{self.phase}#{round_number},{length}"

    def allowed_seconds(self, params: AllianceParams) -> float:
        """What P3 lets this fault cost its round: one phase timeout, and what it takes to notice."""
        is_early = self.phase in ("TRAIN", "SEAL")  # it may be struck before it was heard by all
        grace = FREEZE_GRACE_SECONDS if self.way == "freeze" else GRACE_SECONDS
        return compute_timeout(self.role, is_early, params) + grace


def compute_timeout(role: str, is_early: bool, params: AllianceParams) -> float:
    """The one phase timeout that a member may cost a round, in seconds.

    A trainer that has not contributed costs the train phase; later it can hold up its cohort's opening only. A
    validator costs a leader's turn, or the chain's countdown for the commitment or ballot that does not come.
    """
    if role == "trainer":
        return params.train_seconds if is_early else params.unmask_seconds
    return 0.0 if role == "none" else max(params.seal_seconds, params.commit_seconds, params.settle_seconds)


def all_cells() -> tuple[Cell, ...]:
    """The whole grid: ways in the outer loop, so that each testnet has every role and phase."""
    return tuple(Cell(way, role, phase) for way in WAYS for role in ROLES for phase in PHASES)


def choose_cells(words: Sequence[str]) -> tuple[Cell, ...]:
    """Cells whose name holds one of the words: ``freeze``, ``leader@``, ``kill:trainer@TRAIN``; all without words.

    Raises:
        UsageError: a word fits no cell.
    """
    cells = all_cells()
    for word in words:
        if not any(word in cell.name for cell in cells):
            raise UsageError(f"--cells {word!r} fits no cell; they are called like {cells[0].name!r}")
    return tuple(cell for cell in cells if not words or any(word in cell.name for word in words))


@dataclass(frozen=True, slots=True)
class Plan:
    """One testnet: which cell strikes in which round."""

    cells: tuple[Cell, ...]

    @property
    def rounds(self) -> int:
        """Rounds of training, the last of them undisturbed."""
        return WARM_UP_ROUNDS + ROUNDS_PER_CELL * len(self.cells)

    @property
    def struck(self) -> dict[int, Cell]:
        """Cell by round number. Round 0 sums statistics and is never struck."""
        return {WARM_UP_ROUNDS + 1 + ROUNDS_PER_CELL * index: cell for index, cell in enumerate(self.cells)}

    def faults(self, freeze_seconds: float = FREEZE_SECONDS) -> list[str]:
        """The testnet's ``--fault`` arguments."""
        return [cell.fault(number, freeze_seconds) for number, cell in self.struck.items()]


def make_plans(cells: Sequence[Cell], cells_max: int) -> list[Plan]:
    """As few testnets of at most ``cells_max`` cells each as it takes, all about equally long."""
    count = -(-len(cells) // cells_max)
    size = -(-len(cells) // max(1, count))
    return [Plan(tuple(cells[start : start + size])) for start in range(0, len(cells), max(1, size))]


@dataclass(frozen=True, slots=True)
class Overlap:
    """A round that was open while the node of the round before was still away."""

    round: int
    role: str
    outcome: str
    lost_seconds: float | None
    allowed_seconds: float

    @property
    def is_good(self) -> bool:
        return self.outcome == "settled" and (self.lost_seconds or 0.0) <= self.allowed_seconds


@dataclass(frozen=True, slots=True)
class CellResult:
    """What became of one cell.

    Attributes:
        outcome: "settled", "voided", "open", or "missed": the fault found no moment to strike.
        lost_seconds: the round's length less the median undisturbed round of the same run.
        phases: seconds of the round's phases.
        overlaps: rounds in which the struck node was still away.
        next_outcome, next_lost_seconds: of the first round after them.
        is_agreed: nobody reported another model for these rounds, and after the last of them everybody reported one.
        stake_lost: FLOCK wei that honest nodes lost in the whole run.
    """

    cell: Cell
    round: int
    nodes: tuple[str, ...]
    outcome: str
    seconds: float | None
    lost_seconds: float | None
    allowed_seconds: float
    phases: Mapping[str, float | None]
    overlaps: tuple[Overlap, ...]
    next_outcome: str
    next_lost_seconds: float | None
    is_agreed: bool
    stake_lost: int

    @property
    def keeps_p3(self) -> bool:
        """Whether the fault cost one phase timeout at most, and nothing once the node was back."""
        return (
            self.outcome == self.next_outcome == "settled"
            and self.lost_seconds is not None
            and self.lost_seconds <= self.allowed_seconds
            and self.next_lost_seconds is not None
            and self.next_lost_seconds <= GRACE_SECONDS
            and all(overlap.is_good for overlap in self.overlaps)
        )

    @property
    def is_good(self) -> bool:
        """Whether everything holds that is asked of a cell."""
        return self.keeps_p3 and self.is_agreed and not self.stake_lost

    def describe(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "cell": self.cell.name,
            "round": self.round,
            "nodes": list(self.nodes),
            "outcome": self.outcome,
            "seconds": self.seconds,
            "lost_seconds": _rounded(self.lost_seconds),
            "allowed_seconds": self.allowed_seconds,
            "phases": dict(self.phases),
            "overlaps": [asdict(overlap) for overlap in self.overlaps],
            "next_outcome": self.next_outcome,
            "next_lost_seconds": _rounded(self.next_lost_seconds),
            "is_agreed": self.is_agreed,
            "stake_lost": str(self.stake_lost),
            "keeps_p3": self.keeps_p3,
            "is_good": self.is_good,
        }


def find_overlaps(report: Mapping[str, Any], plan: Plan) -> dict[int, list[int]]:
    """By struck round: the rounds after it that opened before its node was there again."""
    opened = {entry["round"]: entry["opened_at"] for entry in report["rounds"]}
    found: dict[int, list[int]] = {}
    for number, cell in plan.struck.items():
        record = _record_of(report, number, cell)
        done = None if record is None else record["done"]
        back = None if record is None or done is None else _back(record, done, cell)
        after = range(number + 1, number + ROUNDS_PER_CELL)
        found[number] = [each for each in after if back is not None and (opened.get(each) or back) < back]
    return found


def _back(record: Mapping[str, Any], done: float, cell: Cell) -> float:
    if cell.way == "freeze":
        return done
    told = record.get("back")
    return done + START_SECONDS if told is None else float(told)


def _record_of(report: Mapping[str, Any], number: int, cell: Cell) -> Mapping[str, Any] | None:
    """What the testnet tells of the cell's fault, if it has struck."""
    for record in report["faults"]:
        if f"@{cell.phase}#{number}," in record["fault"] and record["at"] is not None and record["nodes"]:
            known: Mapping[str, Any] = record
            return known
    return None


def compute_undisturbed(report: Mapping[str, Any], plan: Plan) -> list[float]:
    """Seconds of the settled training rounds that no fault touched; the first, with cold workers, is left out."""
    touched = {each for number, after in find_overlaps(report, plan).items() for each in (number, *after)}
    return [
        float(entry["seconds"]["total"])
        for entry in report["rounds"]
        if entry["outcome"] == "settled" and entry["stage"] == "training" and entry["seconds"]["total"] is not None
        if entry["round"] not in touched and entry["round"] > 1
    ]


def read_cells(report: Mapping[str, Any], plan: Plan, params: AllianceParams) -> list[CellResult]:
    """The cells of one testnet, from its report. A cell whose fault found no moment is "missed"."""
    rounds = {entry["round"]: entry for entry in report["rounds"]}
    undisturbed = compute_undisturbed(report, plan)
    median = statistics.median(undisturbed) if undisturbed else None
    stake_lost = sum(int(amount) for amount in report["stake_lost_by_node"].values())
    overlaps = find_overlaps(report, plan)
    results = []
    for number, cell in plan.struck.items():
        entry, record = rounds.get(number), _record_of(report, number, cell)
        node = "" if record is None else record["nodes"][0]
        touched = [rounds[each] for each in overlaps[number] if each in rounds]
        after = rounds.get(number + 1 + len(touched)) if len(touched) < ROUNDS_PER_CELL - 1 else None
        results.append(
            CellResult(
                cell=cell,
                round=number,
                nodes=() if record is None else tuple(record["nodes"]),
                outcome="missed" if record is None or entry is None else str(entry["outcome"]),
                seconds=None if entry is None else entry["seconds"]["total"],
                lost_seconds=_lost(entry, median),
                allowed_seconds=cell.allowed_seconds(params),
                phases={} if entry is None else entry["seconds"],
                overlaps=tuple(_overlap(each, node, cell, median, params) for each in touched),
                next_outcome="missing" if after is None else str(after["outcome"]),
                next_lost_seconds=_lost(after, median),
                is_agreed=_agree([entry, *touched, after]),
                stake_lost=stake_lost,
            )
        )
    return results


def _overlap(entry: Mapping[str, Any], node: str, cell: Cell, median: float | None, params: AllianceParams) -> Overlap:
    role = "trainer" if node in entry["trainers"] else "validator" if node in entry["validators"] else "none"
    grace = FREEZE_GRACE_SECONDS if cell.way == "freeze" else GRACE_SECONDS
    allowed = compute_timeout(role, True, params) + grace
    return Overlap(entry["round"], role, str(entry["outcome"]), _rounded(_lost(entry, median)), allowed)


def _lost(entry: Mapping[str, Any] | None, median: float | None) -> float | None:
    total = None if entry is None else entry["seconds"]["total"]
    return None if total is None or median is None else float(total) - median


def _agree(entries: Sequence[Mapping[str, Any] | None]) -> bool:
    told = [set(entry["model_digest_by_node"].values()) for entry in entries if entry is not None]
    is_one = all(len(digests - {None}) <= 1 for digests in told)
    return is_one and None not in entries and len(told[-1]) == 1 and None not in told[-1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
