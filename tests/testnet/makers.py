"""Makes what the testnet's programs read: homes with metrics, saved vectors and recorded bytes, and chain events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from p2p_flock.alliance.sortition import compute_assignment
from p2p_flock.chain_events import BallotsCommitted, LogPosition, RoundOpened, RoundSealed, RoundSettled, SettledRecord
from p2p_flock.testnet.metrics import FILE_NAME, NodeMetrics
from p2p_flock.testnet.options import alliance_params
from p2p_flock.testnet.watch import RoundCall, RoundLog, RoundTransaction

NODES = 6
PARAMS = alliance_params(NODES, rounds=2)
SEED = bytes(range(32))
ASSIGNMENT = compute_assignment(SEED, NODES, PARAMS)
MODEL = "0x" + "ab" * 32
BASE_MODEL = "0x" + "cd" * 32


# 400 wei to two validators, 100 to each of four trainers, 33 to each of three senders.
RECORD = SettledRecord(
    *(1, NODES, 0b11, 1, SEED, (0b1111,), (100,), (200, 200), 33),
    *(b"\x01" * 20, b"\x02" * 20, b"\x03" * 20),
)


def position(block: int = 1) -> LogPosition:
    return LogPosition(block, 0, 1_000, bytes(32))


def phase_line(**changes: Any) -> dict[str, Any]:
    line = {"event": "phase", "round": 1, "phase": "train", "role": "trainer", "seat": 0}
    return {**line, "started_at": 11.0, "ended_at": 12.0, **changes}


def closed_line(**changes: Any) -> dict[str, Any]:
    return {
        "event": "closed",
        "round": 1,
        "outcome": "settled",
        "stage": "training",
        "role": "trainer",
        "seat": 0,
        "model_digest": MODEL,
        "base_model_digest": BASE_MODEL,
        "cohort_outcomes": [1],
        "aggregate_digests": ["0x" + "00" * 32],
        "survivors": [list(ASSIGNMENT.trainers)],
        "trainers": [list(ASSIGNMENT.trainers)],
        "validators": list(ASSIGNMENT.validators),
        "seed": "0x" + SEED.hex(),
        "bytes_sent": 1_000,
        "closed_at": 20.0,
        **changes,
    }


def make_node(folder: Path, name: str, lines: list[dict[str, Any]]) -> NodeMetrics:
    """A home with these metrics, read."""
    home = folder / name
    home.mkdir(parents=True)
    (home / FILE_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    node = NodeMetrics(name, home)
    node.refresh()
    return node


def save_lanes(home: Path, folder: str, name: str, lanes: Any) -> None:
    path = home / "test" / folder / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(lanes, dtype=np.uint32))


def settled_log(survivors: int = 0b1111, outcome: int = 1) -> RoundLog:
    """Round 1 of six nodes: opened at 10, beacon at 10.5, sealed at 13, committed at 15, settled at 16 seconds."""
    return RoundLog(
        opened=RoundOpened(position(), 1, NODES, beacon_round=7, opens_at_s=10),
        opened_seen_at=10.0,
        beacon_seen_at=10.5,
        sealed=RoundSealed(position(2), 1, 0, bytes(32), SEED, bytes(32), (survivors,), (0, 1), (b"", b"")),
        sealed_seen_at=13.0,
        commits=[BallotsCommitted(position(3), 1, (0, 1), (bytes(32), bytes(32)))],
        committed_seen_at=15.0,
        settled=RoundSettled(position(4), 1, (outcome,), (b"\x01" * 32,), (2,), (0,), bytes(32), False, RECORD),
        ended_seen_at=16.0,
        transactions=[
            transaction(RoundCall.SEAL, 300_000),
            transaction(RoundCall.SEAL, 40_000, succeeded=False),
            transaction(RoundCall.COMMIT, 90_000),
            transaction(RoundCall.COMMIT, 10_000),
            transaction(RoundCall.SETTLE, 200_000),
        ],
    )


def transaction(call: RoundCall, gas: int, *, succeeded: bool = True) -> RoundTransaction:
    return RoundTransaction(bytes(32), call, 1, b"\x01" * 20, gas, 2, succeeded)


def phases_of_a_round() -> dict[int, list[dict[str, Any]]]:
    """Metrics by seat that fit :func:`settled_log`: training ends at 12, opening at 13.5, evaluation at 14."""
    lines: dict[int, list[dict[str, Any]]] = {}
    for seat in ASSIGNMENT.trainers:
        lines[seat] = [
            phase_line(seat=seat, started_at=10.75, ended_at=12.0 if seat == ASSIGNMENT.trainers[0] else 11.0),
            closed_line(seat=seat),
        ]
        lines[seat][0]["train_seed"] = 100 + seat
    for seat in ASSIGNMENT.validators:
        who = {"role": "validator", "seat": seat}
        lines[seat] = [
            phase_line(**who, phase="unmask", started_at=13.0, ended_at=13.5),
            phase_line(**who, phase="evaluate", started_at=13.5, ended_at=14.0),
            closed_line(**who),
        ]
    return lines


def nodes_of_a_round(folder: Path) -> list[NodeMetrics]:
    """Six homes, ``node<seat>``, that saw :func:`settled_log`."""
    return [make_node(folder, f"node{seat}", lines) for seat, lines in sorted(phases_of_a_round().items())]


NAMES = {seat: f"node{seat}" for seat in range(NODES)}
