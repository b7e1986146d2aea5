"""Reads what the daemons wrote about their rounds: ``rounds.jsonl`` of every home, see ``METRICS.md``.

Called by ``table.py``, ``report.py`` and ``readd.py``. A daemon is killed at any moment, so an unfinished last line is
left for the next look.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from p2p_flock.errors import StoreError

FILE_NAME = "rounds.jsonl"


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """One node's part in one phase of one round; Unix seconds. ``train_seed`` only in a trainer's ``train``."""

    round: int
    phase: str
    role: str
    seat: int | None
    started_at: float
    ended_at: float
    train_seed: int | None

    @property
    def seconds(self) -> float:
        return max(0.0, self.ended_at - self.started_at)


@dataclass(frozen=True, slots=True)
class ClosedRecord:
    """How one node saw a round end; per-cohort lists of seats. Digests and seed are ``0x`` hex as written."""

    round: int
    outcome: str
    stage: str
    role: str
    seat: int | None
    model_digest: str | None
    base_model_digest: str | None
    cohort_outcomes: tuple[int, ...]
    aggregate_digests: tuple[str, ...]
    trainers: tuple[tuple[int, ...], ...]
    survivors: tuple[tuple[int, ...], ...]
    validators: tuple[int, ...]
    seed: str | None
    bytes_sent: int
    closed_at: float


@dataclass(slots=True)
class NodeMetrics:
    """Everything read from one home so far."""

    name: str
    home: Path
    phases: dict[int, dict[str, PhaseRecord]] = field(default_factory=dict)
    closed: dict[int, ClosedRecord] = field(default_factory=dict)
    _offset: int = 0

    def refresh(self) -> None:
        """Read the lines that came since the last call.

        Raises:
            StoreError: a finished line is not what METRICS.md says.
        """
        path = self.home / FILE_NAME
        try:
            with path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        for line in data[:end].splitlines():
            self._take(line)
        self._offset += end

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            if record["event"] == "phase":
                self._take_phase(_phase(record))
            elif record["event"] == "closed":
                closed = _closed(record)
                known = self.closed.get(closed.round)
                sent = closed.bytes_sent + (known.bytes_sent if known is not None else 0)
                self.closed[closed.round] = replace(closed, bytes_sent=sent)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.home / FILE_NAME}: not a line of METRICS.md: {line[:200]!r} ({error!r})"
            ) from error

    def _take_phase(self, record: PhaseRecord) -> None:
        phases = self.phases.setdefault(record.round, {})
        known = phases.get(record.phase)
        if known is None or record.seconds >= known.seconds:
            phases[record.phase] = record


def _phase(record: dict[str, Any]) -> PhaseRecord:
    seed = record.get("train_seed")
    return PhaseRecord(
        round=int(record["round"]),
        phase=str(record["phase"]),
        role=str(record["role"]),
        seat=_optional_int(record["seat"]),
        started_at=float(record["started_at"]),
        ended_at=float(record["ended_at"]),
        train_seed=_optional_int(seed),
    )


def _closed(record: dict[str, Any]) -> ClosedRecord:
    return ClosedRecord(
        round=int(record["round"]),
        outcome=str(record["outcome"]),
        stage=str(record["stage"]),
        role=str(record["role"]),
        seat=_optional_int(record["seat"]),
        model_digest=cast("str | None", record["model_digest"]),
        base_model_digest=cast("str | None", record["base_model_digest"]),
        cohort_outcomes=tuple(int(outcome) for outcome in record["cohort_outcomes"]),
        aggregate_digests=tuple(str(digest) for digest in record["aggregate_digests"]),
        trainers=_seats_by_cohort(record["trainers"]),
        survivors=_seats_by_cohort(record["survivors"]),
        validators=tuple(int(seat) for seat in record["validators"]),
        seed=cast("str | None", record["seed"]),
        bytes_sent=int(record["bytes_sent"]),
        closed_at=float(record["closed_at"]),
    )


def _seats_by_cohort(value: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(seat) for seat in cohort) for cohort in value)


def _optional_int(value: Any) -> int | None:
    return None if value is None else int(value)
