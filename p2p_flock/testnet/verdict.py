"""Whether a run was a success: what is wrong with it, in sentences. Called by ``launcher.py`` at the end; pure.

A run without faults must settle every round. One with faults must end every round, settled or void, and hang nowhere;
nodes that were killed for good are no complaint. In both, all nodes that live agree on one model, no honest stake is
lost and all money is accounted for (``money.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from p2p_flock.chain_events import Slashed
from p2p_flock.cli.amounts import format_money
from p2p_flock.testnet.scores import verify_agreement
from p2p_flock.testnet.summary import RoundSummary


def judge_rounds(rounds: Sequence[RoundSummary], round_count: int, is_faulty: bool) -> list[str]:
    """How the rounds ended, and whether the nodes that told of one told the same.

    Args:
        round_count: rounds that were to be settled.
        is_faulty: faults were asked for.
    """
    if is_faulty:
        return [f"round {s.round} neither settled nor was voided" for s in rounds if not (s.settled or s.voided)] + [
            f"round {s.round}: the nodes hold different models" for s in rounds if s.contradicted
        ]
    complaints = [f"round {summary.round} was not settled" for summary in rounds if not summary.settled]
    settled = sum(summary.settled for summary in rounds)
    if settled != round_count:
        complaints.append(f"{settled} rounds were settled instead of {round_count}")
    return complaints + [
        f"round {s.round}: the nodes hold different models" for s in rounds if s.settled and not s.agreed
    ]


def judge_agreement(rounds: Sequence[RoundSummary], homes: Mapping[str, Path]) -> list[str]:
    """Whether the nodes named hold one model at the end: that after the last round that any of them told of."""
    told = [summary for summary in rounds if summary.model_digest is not None]
    if not rounds:
        return []
    return verify_agreement(homes, told[-1] if told else rounds[-1])


def stakes_lost(slashed: Sequence[Slashed], names: Mapping[bytes, str]) -> dict[str, int]:
    """FLOCK wei that each node has lost, by name; ``names``: node by account."""
    lost: dict[str, int] = {}
    for event in slashed:
        name = names.get(event.owner, "0x" + event.owner.hex())
        lost[name] = lost.get(name, 0) + event.amount
    return lost


def judge_stakes(lost: Mapping[str, int], crooked: Collection[str] = ()) -> list[str]:
    """No honest node may lose any of its stake. ``crooked``: nodes that were told to misbehave."""
    return [
        f"{name} lost {format_money(amount, 'FLOCK')} of its stake"
        for name, amount in lost.items()
        if name not in crooked
    ]
