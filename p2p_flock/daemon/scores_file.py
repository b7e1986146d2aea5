"""``scores.jsonl`` in the node's home: what its private test data said of each round's model, kept across restarts.

Written by ``daemon/scorekeeper.py``, one line whenever a round's scores are known better; the last line of a round
counts. It is for the operator's eyes only and nothing depends on it: lines that are damaged are passed over, and a file
that is too long keeps its newest half.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from p2p_flock.store.files import PRIVATE_FILE_MODE, translate_os_errors, write_all, write_atomic

SCORES_NAME = "scores.jsonl"
FILE_BYTES_MAX = 4 << 20  # some 25,000 lines; beyond it the older half goes
ROUNDS_MAX = 4096  # in memory, the newest ones: more than anybody looks at
ROUND_MAX = 1 << 32


@dataclass(frozen=True, slots=True)
class Score:
    """Of the models after a round, on this member's private test part; ``None``: not known, or undefined there.

    Attributes:
        own_score: of the alliance's model.
        local_only_score: of the model that this member would have alone.
        local_trainings: how often that one has been trained.
    """

    own_score: float | None = None
    local_only_score: float | None = None
    local_trainings: int = 0


class ScoresFile:
    """See the module. Methods block."""

    def __init__(self, path: Path, alliance: str) -> None:
        """``alliance``: its full ID; lines of others stay as they are."""
        self._path, self._alliance = path, alliance

    def read(self) -> dict[int, Score]:
        """Scores by round, ascending, the newest :data:`ROUNDS_MAX`.

        Raises:
            StoreError: the disk refuses.
        """
        found: dict[int, Score] = {}
        for line in self._read_lines():
            entry = _decode(line, self._alliance)
            if entry is not None:
                found[entry[0]] = entry[1]
        return {number: found[number] for number in sorted(found)[-ROUNDS_MAX:]}

    def append(self, round_number: int, score: Score) -> None:
        """Note what is known of a round now.

        Raises:
            StoreError: the disk refuses.
        """
        entry = {
            "alliance": self._alliance,
            "round": round_number,
            "own_score": score.own_score,
            "local_only_score": score.local_only_score,
            "local_trainings": score.local_trainings,
        }
        with translate_os_errors(f"write {self._path}"):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE_MODE)
            try:
                write_all(file, json.dumps(entry, separators=(",", ":")).encode() + b"\n")
                size = os.fstat(file).st_size
            finally:
                os.close(file)
        if size > FILE_BYTES_MAX:
            lines = self._read_lines()
            write_atomic(self._path, b"".join(line + b"\n" for line in lines[len(lines) // 2 :]))

    def _read_lines(self) -> list[bytes]:
        """The last lines, as many as the file should have; a first one that is cut does not decode."""
        with translate_os_errors(f"read {self._path}"):
            if not self._path.exists():
                return []
            with self._path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - FILE_BYTES_MAX))
                return file.read(FILE_BYTES_MAX).splitlines()


def _decode(line: bytes, alliance: str) -> tuple[int, Score] | None:
    """The round and scores of one line; ``None`` where it is damaged or another alliance's."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or entry.get("alliance") != alliance:
        return None
    number, trainings = entry.get("round"), entry.get("local_trainings")
    scores = (entry.get("own_score"), entry.get("local_only_score"))
    if not (type(number) is int and 0 <= number < ROUND_MAX and type(trainings) is int and 0 <= trainings < ROUND_MAX):
        return None
    if not all(score is None or (type(score) is float and math.isfinite(score)) for score in scores):
        return None
    return number, Score(scores[0], scores[1], trainings)
