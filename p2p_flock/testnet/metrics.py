"""Reads what the daemons wrote about their rounds: ``rounds.jsonl`` of every home, see ``METRICS.md``.

Called by ``table.py``, ``report.py`` and ``readd.py``. A daemon is killed at any moment, so an unfinished last line is
left for the next look.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from p2p_flock.errors import StoreError

FILE_NAME = "rounds.jsonl"
GROUP_KEYS = ("messages_sent", "messages_received", "rpc_calls")
PEAK_KEYS = ("daemon_memory_peak_bytes", "worker_memory_peak_bytes")
COUNTER_KEYS = (
    *("message_bytes_sent", "message_bytes_received", "hints_sent", "hints_received", "blob_bytes_served"),
    *("bytes_sent", "bytes_received", "signatures_made", "signatures_verified"),
    *("rpc_exchanges", "rpc_bytes_sent", "rpc_bytes_received", "daemon_cpu_seconds", "worker_cpu_seconds"),
)
LEVEL_KEYS = (  # what a node holds at a round's end; of a round that it closed twice the larger one counts
    *("daemon_memory_bytes", "daemon_descriptors", "daemon_threads", "daemon_tasks", "worker_memory_bytes"),
)
COST_KEYS = (*GROUP_KEYS, *PEAK_KEYS, *LEVEL_KEYS, *COUNTER_KEYS)


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
    """How one node saw a round end; per-cohort lists of seats. Digests and seed are ``0x`` hex as written.

    ``cost``: the counters of METRICS.md, "What the round cost this node", as written.
    """

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
    cost: Mapping[str, Any]
    privacy: Mapping[str, Any] | None


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
                if known is not None:
                    cost = add_costs([known.cost, closed.cost])
                    closed = replace(closed, bytes_sent=known.bytes_sent + closed.bytes_sent, cost=cost)
                self.closed[closed.round] = closed
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.home / FILE_NAME}: not a line of METRICS.md: {line[:200]!r} ({error!r})"
            ) from error

    def _take_phase(self, record: PhaseRecord) -> None:
        phases = self.phases.setdefault(record.round, {})
        known = phases.get(record.phase)
        if known is None or record.seconds >= known.seconds:
            phases[record.phase] = record


def add_costs(costs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of several lines' counters; of peaks and levels the largest."""
    total: dict[str, Any] = {}
    for cost in costs:
        for name, value in cost.items():
            if value is None:
                continue
            if name in GROUP_KEYS:
                total[name] = dict(Counter(total.get(name, {})) + Counter(value))
            elif name in PEAK_KEYS or name in LEVEL_KEYS:
                total[name] = max(total.get(name, 0), value)
            else:
                total[name] = total.get(name, 0) + value
    return total


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
        cost={name: record[name] for name in COST_KEYS if name in record},
        privacy=cast("Mapping[str, Any] | None", record.get("privacy")),
    )


def _seats_by_cohort(value: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(seat) for seat in cohort) for cohort in value)


def _optional_int(value: Any) -> int | None:
    return None if value is None else int(value)
