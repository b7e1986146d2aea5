"""How a schema report and a rehearsal travel from the worker to its client, strictly read.

Used by ``worker.py`` and ``worker_client.py``, the two ends of the pipe.
"""

from __future__ import annotations

from typing import Final

from p2p_flock.errors import P2PFlockError, WireError
from p2p_flock.learning.frames import Value, get_float, get_int, get_list, get_text
from p2p_flock.learning.results import Rehearsal
from p2p_flock.learning.schema_report import LISTED_MAX, Mismatch, SchemaMismatchError, SchemaReport

WARNINGS_MAX: Final = 100  # a task may have a warning for each of its columns; who reads more?
TEXT_CHARACTERS_MAX: Final = 8192  # a category with a thousand values names all of them in its remedy
MORE_MAX: Final = 200  # columns whose further mismatches are counted one by one; with all, a frame's map would overflow


def pack_report(error: P2PFlockError) -> dict[str, Value]:
    """The fields beside ``error`` and ``text`` of an answer that refuses a member's data; none for other errors."""
    if not isinstance(error, SchemaMismatchError):
        return {}
    report = error.report
    listed: list[Value] = [
        {"row": one.row, "column": one.column, "problem": _cut(one.problem), "remedy": _cut(one.remedy)}
        for one in report.listed
    ]
    more: dict[str, Value] = dict(list(report.more.items())[:MORE_MAX])
    return {"mismatches": listed, "count": report.count, "more": more}


def read_report(answer: dict[str, Value]) -> SchemaReport:
    """The report in an answer that has ``mismatches``.

    Raises:
        WireError: it is none.
    """
    listed, more = get_list(answer, "mismatches"), answer.get("more")
    if len(listed) > LISTED_MAX or not isinstance(more, dict) or len(more) > MORE_MAX:
        raise WireError("the report of the data is none")
    counts = {name: get_int(more, name) for name in more}
    return SchemaReport(tuple(_read_mismatch(one) for one in listed), get_int(answer, "count"), counts)


def _read_mismatch(value: Value) -> Mismatch:
    if not isinstance(value, dict):
        raise WireError("a mismatch is no map")
    row = None if value.get("row") is None else get_int(value, "row")
    return Mismatch(row, *(get_text(value, name) for name in ("column", "problem", "remedy")))


def pack_rehearsal(rehearsal: Rehearsal) -> dict[str, Value]:
    """The answer to ``rehearse``."""
    return {
        "seconds": rehearsal.seconds,
        "cpu_seconds": rehearsal.cpu_seconds,
        "local_epochs": rehearsal.local_epochs,
        "example_count": rehearsal.example_count,
        "test_count": rehearsal.test_count,
        "loss_before": rehearsal.loss_before,
        "loss_after": rehearsal.loss_after,
        "score_name": _cut(rehearsal.score_name),
        "score_before": rehearsal.score_before,
        "score_after": rehearsal.score_after,
        "memory_bytes": rehearsal.memory_bytes,
        "warnings": [_cut(warning) for warning in rehearsal.warnings[:WARNINGS_MAX]],
    }


def read_rehearsal(answer: dict[str, Value]) -> Rehearsal:
    """The inverse.

    Raises:
        WireError: a field is missing or of another type.
    """
    warnings = get_list(answer, "warnings")
    if len(warnings) > WARNINGS_MAX:
        raise WireError("there are too many warnings")
    return Rehearsal(
        seconds=get_float(answer, "seconds"),
        cpu_seconds=get_float(answer, "cpu_seconds"),
        local_epochs=get_int(answer, "local_epochs"),
        example_count=get_int(answer, "example_count"),
        test_count=get_int(answer, "test_count"),
        loss_before=get_float(answer, "loss_before"),
        loss_after=get_float(answer, "loss_after"),
        score_name=get_text(answer, "score_name"),
        score_before=_score(answer, "score_before"),
        score_after=_score(answer, "score_after"),
        memory_bytes=get_int(answer, "memory_bytes"),
        warnings=tuple(get_text({"warning": warning}, "warning") for warning in warnings),
    )


def _score(answer: dict[str, Value], name: str) -> float | None:
    return None if answer.get(name) is None else get_float(answer, name)


def _cut(text: str) -> str:
    return text[:TEXT_CHARACTERS_MAX]
