"""What the check of the data and the dry run found, in words and table rows: for ``task check`` and join. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p_flock.cli.alliance_terms import format_cpu
from p2p_flock.cli.amounts import format_seconds
from p2p_flock.cli.watching.words import format_bytes
from p2p_flock.errors import UsageError

if TYPE_CHECKING:  # the modules themselves would load numpy
    from p2p_flock.learning.results import DataReport, Rehearsal
    from p2p_flock.learning.schema_report import SchemaReport

RUNS_SHOWN_MAX = 6  # of rows with the same mismatch; what follows is counted
TEST_COUNT_FEW = 30  # an AUC on so few has a standard error of a tenth


@dataclass(frozen=True, slots=True)
class MismatchLine:
    """Mismatches of one column with the same text: ``rows`` is ``4-30, 32`` or empty for the whole file."""

    rows: str
    column: str
    problem: str
    remedy: str


def group_mismatches(report: SchemaReport) -> list[MismatchLine]:
    """A line for each different mismatch, in the order of their first rows."""
    rows: dict[tuple[str, str, str], list[int]] = {}
    for one in report.listed:
        same = rows.setdefault((one.column, one.problem, one.remedy), [])
        same += [] if one.row is None else [one.row]
    return [MismatchLine(_ranges(numbers), *key) for key, numbers in rows.items()]


def _ranges(rows: Iterable[int]) -> str:
    runs: list[tuple[int, int]] = []
    for row in rows:
        if runs and row == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], row)
        else:
            runs.append((row, row))
    texts = [f"{first}" if first == last else f"{first}-{last}" for first, last in runs[:RUNS_SHOWN_MAX]]
    hidden = sum(last - first + 1 for first, last in runs[RUNS_SHOWN_MAX:])
    return ", ".join(texts) + (f" and {hidden} more" if hidden else "")


def describe_more(report: SchemaReport) -> list[str]:
    """``… 23 more in column oldpeak``, for what is not listed."""
    listed = [
        f"… {count:,} more in {f'column {name}' if name else 'whole rows'}" for name, count in report.more.items()
    ]
    unnamed = report.count - len(report.listed) - sum(report.more.values())
    return [*listed, *([f"… {unnamed:,} more in other columns"] if unnamed else [])]


def describe_data(data: DataReport) -> list[str]:
    """Counts of a file that fits, then what is odd about it."""
    return [
        f"The file fits: {data.train_count:,} records to train on, {data.test_count:,} to judge by, which are never "
        "trained on.",
        *(f"Note: {problem}." for problem in data.problems),
    ]


def describe_rehearsal(found: Rehearsal, train_seconds: int | None = None) -> list[str]:
    """Time and score of a dry run, beside a round's deadline where there is one."""
    is_few = found.test_count < TEST_COUNT_FEW
    epochs = "1 epoch" if found.local_epochs == 1 else f"{found.local_epochs} epochs"
    deadline = "" if train_seconds is None else f" The alliance gives {format_seconds(train_seconds)}."
    return [
        f"One epoch over {found.example_count:,} records took {format_cpu(found.seconds)} and "
        f"{format_bytes(found.memory_bytes)} of memory. A round has {epochs}: about {format_cpu(found.round_seconds)} "
        f"on this machine.{deadline}",
        _describe_score(found),
        *(["Note: so few test records say little: the score goes up or down by chance."] if is_few else []),
        *(f"Note: {warning}" + ("" if warning.endswith("?") else ".") for warning in found.warnings),
    ]


def _describe_score(found: Rehearsal) -> str:
    loss = f"the loss went from {found.loss_before:.3g} to {found.loss_after:.3g}"
    if found.score_before is None or found.score_after is None:
        return (
            f"On {found.test_count:,} test records {loss} (lower is better); {found.score_name} is undefined on them."
        )
    return (
        f"On {found.test_count:,} test records {found.score_name} went from {found.score_before:.3f} to "
        f"{found.score_after:.3f} (higher is better), {loss}: after one epoch of your data alone, from the untrained "
        "model."
    )


def check_deadline(found: Rehearsal, train_seconds: int) -> str | None:
    """A warning where training takes more than half of a round's deadline; ``None`` where it fits well.

    Raises:
        UsageError: it takes longer than the deadline: the node would be absent whenever it is to train.
    """
    needed = found.round_seconds
    if needed <= train_seconds / 2:
        return None
    times = f"training one round takes about {format_cpu(needed)} on this machine, the alliance gives "
    times += format_seconds(train_seconds)
    if needed <= train_seconds:
        return f"{times[0].upper()}{times[1:]}. Keep other work off this machine, or the node will sometimes be late."
    raise UsageError(
        f"{times}: the node would be late in every round and lose its seat\n"
        "run it on a faster machine or without other work beside it; --no-dry-run joins all the same"
    )
