"""How often a committee is captured: the real sortition over many rounds, bad members all of one mind.

Called by ``bench/poison.py``. A committee of V is captured when ⌈2V/3⌉ of it are bad: they decide every cohort. It is
blocked when more than V − ⌈2V/3⌉ are: nothing is decided against them, which costs the round.
"""

from __future__ import annotations

from math import comb
from typing import Final, TypedDict

from p2p_flock.alliance.sortition import compute_seat_at, compute_seed
from p2p_flock.bench.poison_alliance import DOMAIN
from p2p_flock.crypto.suite import sha256

MEMBERS: Final = 100
BAD: Final = 30
ROUNDS: Final = 2_000
COMMITTEES: Final = ((7, None), (15, 5), (21, 1))
"""V, and captures allowed; 7 is BlockDFL's committee, for comparison."""


class Captures(TypedDict):
    """``expected``: of captures, by the hypergeometric distribution."""

    validators: int
    seed: int
    captured: int
    blocked: int
    expected: float


def compute_tail(members: int, bad: int, drawn: int, least: int) -> float:
    """Chance that at least ``least`` of ``drawn`` are bad (hypergeometric)."""
    ways = sum(comb(bad, count) * comb(members - bad, drawn - count) for count in range(least, min(drawn, bad) + 1))
    return ways / comb(members, drawn)


def count_captures(validators: int, seed: int, rounds: int = ROUNDS) -> Captures:
    """Draw the committees of so many rounds."""
    quorum = -(-2 * validators // 3)
    captured = blocked = 0
    for number in range(1, rounds + 1):
        randomness = sha256(f"p2p_flock bench poison committee {seed} {number}".encode())
        drawn = compute_seed(DOMAIN, number, randomness)
        bad = sum(compute_seat_at(drawn, MEMBERS, position) < BAD for position in range(validators))
        captured += bad >= quorum
        blocked += bad > validators - quorum
    return {
        "validators": validators, "seed": seed, "captured": captured, "blocked": blocked,
        "expected": rounds * compute_tail(MEMBERS, BAD, validators, quorum),
    }  # fmt: skip
