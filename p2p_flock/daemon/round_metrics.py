"""Measures a round's phases and writes them to ``rounds.jsonl``; see ``testnet/METRICS.md`` for the lines.

Called by the driver with every event and effect, and by the session at a round's end. Nothing reads the file back:
losing it costs a measurement, never a promise.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from p2p_flock.alliance.balloting import BALLOT
from p2p_flock.alliance.proposing import HAVE
from p2p_flock.ports import (
    CommitPhaseEnded,
    Effect,
    Evaluate,
    EvaluationFinished,
    Event,
    Persist,
    Report,
    SealObserved,
    Train,
    UpdateComputed,
)


class MetricsFile:
    """Appends one JSON object a line, each with a single write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, line: Mapping[str, object]) -> None:
        os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


class RoundMetrics:
    """Phases of one round at one node.

    Attributes:
        phase: the one that runs now, for the status command.
        started, ended: of each phase so far, Unix seconds.
        report: what the machine said last.
    """

    def __init__(self, file: MetricsFile, round_number: int, started_at: float, round_id: str | None = None) -> None:
        self._file = file
        self._round_id = round_id
        self.round_number = round_number
        self.started: dict[str, float] = {"beacon": started_at}
        self.ended: dict[str, float] = {}
        self.report = ""
        self._train_seed: int | None = None
        self.role = "none"
        self.seat: int | None = None
        self.phase = "beacon"

    def begin(self, phase: str) -> None:
        """A phase starts; a second start of the same one is ignored."""
        if phase not in self.started:
            self.started[phase] = time.time()
            self.phase = phase

    def end(self, phase: str) -> None:
        """A phase ends, once."""
        if phase in self.started and phase not in self.ended:
            self.ended[phase] = time.time()
            line: dict[str, object] = {
                "event": "phase",
                "round": self.round_number,
                "round_id": self._round_id,
                "phase": phase,
                "role": self.role,
                "seat": self.seat,
            }
            if phase == "train":
                line["train_seed"] = self._train_seed
            self._file.write({**line, "started_at": self.started[phase], "ended_at": self.ended[phase]})

    def note_event(self, event: Event) -> None:
        """Phases that end with an event, and the ones that follow."""
        match event:
            case UpdateComputed():
                self._follow("train", "contribute")
            case SealObserved():
                for phase in ("contribute", "seal"):
                    self.end(phase)
                self.begin("unmask")
            case EvaluationFinished():
                self.end("evaluate")
            case CommitPhaseEnded():
                self._follow("commit", "settle")
            case _:
                pass

    def note_effect(self, effect: Effect) -> None:
        """Phases that start with an effect."""
        match effect:
            case Train(seed=seed):
                self._train_seed = seed
                self.begin("train")
            case Persist(kind=kind) if kind == HAVE:
                self.begin("seal")
            case Evaluate():
                self._follow("unmask", "evaluate")
            case Persist(kind=kind) if kind == BALLOT:
                self.end("unmask")
                self.begin("commit")
            case Report():
                self.report = effect.text
            case _:
                pass

    def _follow(self, ended: str, begun: str) -> None:
        self.end(ended)
        self.begin(begun)
