"""Runs pay.json, which the contracts run too: what a settled round pays, by other means (scripts/vectors_pay.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from p2p_flock.alliance.pay import (
    NOBODY,
    RoundFacts,
    Senders,
    compute_agreement_scores,
    compute_mean_grade,
    compute_record,
    compute_refund,
    compute_total,
)
from p2p_flock.alliance.voting import compute_tally
from p2p_flock.crypto.signing import unpack_marks
from p2p_flock.types import CohortOutcome
from p2p_flock.wire.messages import Ballot

Case = dict[str, Any]
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "pay.json").read_text(encoding="utf-8"))
STRANGER = bytes(19) + b"\x07"


def ballots_of(case: Case) -> dict[int, Ballot]:
    count, ballots = case["cohort_count"], {}
    for index, word in enumerate(case["marks"]):
        marks = unpack_marks(int(word, 16), count)
        digests = tuple(n.to_bytes(32, "big") for n in case["aggregate_digests"][index * count : (index + 1) * count])
        ballots[marks.position] = Ballot(
            bytes(32), bytes(32), marks.verdicts, marks.grades, marks.score_micro, digests, bytes(32)
        )
    return ballots


def numbers(texts: list[str]) -> tuple[int, ...]:
    return tuple(map(int, texts))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_pay__vector(case: Case) -> None:
    """Nodes and contract would count other money."""
    ballots, count = ballots_of(case), case["cohort_count"]
    sizes, validator_count = tuple(case["survivor_counts"]), case["validator_count"]
    quorum = -(-2 * validator_count // 3)
    tallies = [compute_tally(quorum, ballots, k, sizes[k] < case["survivors_min"]) for k in range(count)]
    assert [tally.outcome for tally in tallies] == case["outcomes"]
    grades = [
        compute_mean_grade(ballots, k, tally.aggregate_digest) if tally.outcome is CohortOutcome.ADOPTED else 0
        for k, tally in enumerate(tallies)
    ]
    assert grades == case["grades"]
    scores = compute_agreement_scores({p: ballot.verdicts for p, ballot in ballots.items()}, count)
    assert [max(0, score) for score in scores.values()] == [int(score) for score in case["agreement_scores"]]
    facts = RoundFacts(
        3, 20, bytes(32), (0,), sizes, tuple(tally.outcome for tally in tallies),
        tuple(tally.aggregate_digest for tally in tallies), ballots,
    )  # fmt: skip
    budget = int(case["reward_per_round"])
    record = compute_record(budget, validator_count, quorum, facts, Senders(STRANGER, STRANGER, STRANGER))
    assert record.trainer_rewards == numbers(case["trainer_rewards"])
    assert record.validator_rewards == numbers(case["validator_rewards"])
    assert record.refund == compute_refund(budget) == int(case["refund"])
    refunds = 3 if len(ballots) >= quorum else 2
    assert compute_total(record, sizes) == int(case["paid_without_refunds"]) + refunds * record.refund <= budget
    assert (record.settler == NOBODY) == (len(ballots) < quorum) and record.sealer == record.committer == STRANGER


def test_vectors__bad_ones_pay_less() -> None:
    """Cases in which somebody gets nothing are where the rule shows."""
    bad = [case for case in VECTORS["cases"] if case["name"].startswith("bad_")]
    assert len(bad) >= 6
    for case in bad:
        base = int(case["reward_per_round"]) * 4000 // 10000 // case["validator_count"]
        paid = numbers(case["trainer_rewards"] + case["validator_rewards"])
        assert min(paid) == 0 or max(paid[-case["validator_count"] :]) == base or paid[-1] == base
