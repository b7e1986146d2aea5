"""The grid of faults: every role in every phase, killed, restarted or frozen; and what a testnet's report says of each.

Called by ``bench/faults.py``; pure. A testnet takes some undisturbed rounds, then a faulted and an undisturbed one in
turn, so that every cell is measured against rounds of its own run, and what a fault leaves behind shows in the next.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from p2p_flock.errors import UsageError
from p2p_flock.params import AllianceParams

ROLES = ("trainer", "validator", "leader")
PHASES = ("TRAIN", "SEAL", "UNMASK", "EVALUATE", "COMMIT", "SETTLE")
# "kill": gone until the round has ended, and then started again so that the next cell has all nodes.
WAYS = ("kill", "restart", "freeze")
RESTART_SECONDS = 5.0
FREEZE_SECONDS = 10.0
# Undisturbed rounds before the first fault: the first trains with cold workers, and a median of few is a poor measure.
WARM_UP_ROUNDS = 3
# After the last cell: whoever was started again needs somebody that still serves what it missed.
TAIL_ROUNDS = 2
# Beyond the one timeout: a broken connection is noticed at once, forgiven for 1 s, and what is posted waits for blocks
# and pollers (testing/checkers/stalls.py). A stopped process is noticed by its pings instead (daemon/attention.py).
GRACE_SECONDS = 3.5
FREEZE_GRACE_SECONDS = GRACE_SECONDS + 2.0
# A process that was killed needs so long to be in its round: Python, keys, the log, connections.
START_SECONDS = 10.0


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
        """What P3 lets this fault cost: one phase timeout, and what it takes to notice.

        A trainer that has not contributed costs the train phase; later it can hold up its cohort's opening only. A
        validator costs a leader's turn, or the chain's countdown for the commitment or ballot that does not come.
        """
        timeout = max(params.seal_seconds, params.commit_seconds, params.settle_seconds)
        if self.role == "trainer":
            is_training = self.phase in ("TRAIN", "SEAL")  # it may be struck before it was heard by all
            timeout = params.train_seconds if is_training else params.unmask_seconds
        return timeout + (FREEZE_GRACE_SECONDS if self.way == "freeze" else GRACE_SECONDS)


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
        return WARM_UP_ROUNDS + 2 * len(self.cells) + TAIL_ROUNDS - 1

    @property
    def struck(self) -> dict[int, Cell]:
        """Cell by round number. Round 0 sums statistics and is never struck."""
        return {WARM_UP_ROUNDS + 1 + 2 * index: cell for index, cell in enumerate(self.cells)}

    def faults(self, freeze_seconds: float = FREEZE_SECONDS) -> list[str]:
        """The testnet's ``--fault`` arguments."""
        return [cell.fault(number, freeze_seconds) for number, cell in self.struck.items()]


def make_plans(cells: Sequence[Cell], cells_max: int) -> list[Plan]:
    """As few testnets of at most ``cells_max`` cells each as it takes, all about equally long."""
    count = -(-len(cells) // cells_max)
    size = -(-len(cells) // max(1, count))
    return [Plan(tuple(cells[start : start + size])) for start in range(0, len(cells), max(1, size))]


@dataclass(frozen=True, slots=True)
class CellResult:
    """What became of one cell.

    Attributes:
        outcome: "settled", "voided", "open", or "missed": the fault found no moment to strike.
        lost_seconds: the round's length less the median undisturbed round of the same run.
        next_outcome, next_lost_seconds: the same of the round after it.
        is_agreed: nobody reported another model for these two rounds, and after the second everybody reported one.
        stake_lost: FLOCK wei that honest nodes lost in the whole run.
    """

    cell: Cell
    round: int
    nodes: tuple[str, ...]
    outcome: str
    seconds: float | None
    lost_seconds: float | None
    allowed_seconds: float
    next_outcome: str
    next_lost_seconds: float | None
    is_agreed: bool
    stake_lost: int

    @property
    def keeps_p3(self) -> bool:
        """Whether the fault cost one phase timeout at most, once: the round after it is as any other."""
        next_allowed = GRACE_SECONDS + (START_SECONDS if self.cell.way == "kill" else 0.0)
        return (
            self.outcome == self.next_outcome == "settled"
            and self.lost_seconds is not None
            and self.lost_seconds <= self.allowed_seconds
            and self.next_lost_seconds is not None
            and self.next_lost_seconds <= next_allowed
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
            "next_outcome": self.next_outcome,
            "next_lost_seconds": _rounded(self.next_lost_seconds),
            "is_agreed": self.is_agreed,
            "stake_lost": str(self.stake_lost),
            "keeps_p3": self.keeps_p3,
            "is_good": self.is_good,
        }


def compute_undisturbed(report: Mapping[str, Any], struck: Iterable[int]) -> list[float]:
    """Seconds of the settled training rounds without a fault, and not right after one where there are others."""
    faulted = set(struck)
    plain = {
        entry["round"]: entry["seconds"]["total"]
        for entry in report["rounds"]
        if entry["outcome"] == "settled" and entry["stage"] == "training" and entry["round"] not in faulted
    }
    calm = [seconds for number, seconds in plain.items() if number - 1 not in faulted and number > 1]
    return [seconds for seconds in calm or plain.values() if seconds is not None]


def read_cells(report: Mapping[str, Any], plan: Plan, params: AllianceParams) -> list[CellResult]:
    """The cells of one testnet, from its report. A cell without a round is "missed"."""
    rounds = {entry["round"]: entry for entry in report["rounds"]}
    undisturbed = compute_undisturbed(report, plan.struck)
    median = statistics.median(undisturbed) if undisturbed else None
    stake_lost = sum(int(amount) for amount in report["stake_lost_by_node"].values())
    records = {fault["fault"]: fault for fault in report["faults"]}
    results = []
    for number, cell in plan.struck.items():
        entry, after = rounds.get(number), rounds.get(number + 1)
        record = next((known for text, known in records.items() if f"@{cell.phase}#{number}," in text), None)
        has_struck = record is not None and record["at"] is not None and bool(record["nodes"])
        results.append(
            CellResult(
                cell,
                number,
                tuple(record["nodes"]) if record is not None else (),
                "missed" if not has_struck or entry is None else str(entry["outcome"]),
                None if entry is None else entry["seconds"]["total"],
                _lost(entry, median),
                cell.allowed_seconds(params),
                "missing" if after is None else str(after["outcome"]),
                _lost(after, median),
                _agree(entry, after),
                stake_lost,
            )
        )
    return results


def _lost(entry: Mapping[str, Any] | None, median: float | None) -> float | None:
    total = None if entry is None else entry["seconds"]["total"]
    return None if total is None or median is None else float(total) - median


def _agree(entry: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> bool:
    if entry is None or after is None:
        return False
    told = [set(each["model_digest_by_node"].values()) for each in (entry, after)]
    return len(told[0] - {None}) <= 1 and len(told[1]) == 1 and None not in told[1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
