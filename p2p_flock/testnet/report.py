"""The JSON report of a testnet run.

Called by ``launcher.py`` at the end. ``overhead`` and its like are defined at :class:`summary.RoundSeconds`; every
round that opened is in it, round 0 (which sums the data's statistics) included. Scores are those of ``scores.py``:
models as they lie in a node's store, measured on the test parts of all members together.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from p2p_flock import __version__
from p2p_flock.testnet.summary import CohortSummary, RoundSummary
from p2p_flock.testnet.watch import RoundCall
from p2p_flock.types import CohortOutcome

GAS_NAMES = {RoundCall.SEAL: "seal", RoundCall.COMMIT: "commit", RoundCall.SETTLE: "settle", RoundCall.VOID: "void"}
SECONDS_DIGITS = 3


@dataclass(frozen=True, slots=True)
class References:
    """What the same data gives otherwise, and per round what plain federated averaging had; ``None``: unknown."""

    local_only_score: float | None = None
    pooled_score: float | None = None
    plain_fedavg_score: float | None = None
    plain_fedavg_scores: Mapping[int, float | None] | None = None


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Seconds: of the installation before the launcher, from its start to the first settlement, of everything.

    ``stages``: from ``scripts/testnet`` to each stage of the start, up to the settlement of round 0. The CPU times are
    those of :class:`costs.RunCosts`.
    """

    set_up_seconds: float
    first_round_seconds: float | None
    wall_seconds: float
    stages: Mapping[str, float] = field(default_factory=dict)
    start_cpu_seconds: Mapping[str, float] | None = None
    round_cpu_seconds: Mapping[int, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What befell the run, and what came of it.

    Attributes:
        faults: :meth:`faults.injector.FaultRecord.describe` of each.
        network_faults_by: what cuts nodes off from each other, where that was asked for: "namespaces" or "fault port".
        nodes_gone: killed for good.
        stake_lost_by_node: FLOCK wei.
        complaints: why the run failed; empty if it did not.
        byzantine: :meth:`byzantine.Cheat.describe` of each dishonest node.
    """

    faults: Sequence[Mapping[str, Any]] = ()
    network_faults_by: str | None = None
    nodes_gone: Collection[str] = ()
    stake_lost_by_node: Mapping[str, int] = field(default_factory=dict)
    complaints: Sequence[str] = ()
    byzantine: Sequence[Mapping[str, Any]] = ()


def build_report(
    *,
    alliance: str,
    task: str,
    seed: int,
    partition: str | None = None,
    score_name: str = "score",
    rounds: Sequence[RoundSummary],
    names: Mapping[int, str],
    scores: Mapping[str, float | None],
    references: References,
    times: RunTimes,
    money: Mapping[str, Any] | None = None,
    dashboards: Mapping[str, str | None] | None = None,
    trouble: Trouble | None = None,
) -> dict[str, Any]:
    """The report as one JSON object.

    Args:
        money: :meth:`money.Money.describe` of the closed alliance.
        dashboards: address of each node's first page, without token.
        trouble: what befell the run.
        rounds: in order, all that opened.
        names: node name of each seat.
        scores: by model digest, as far as measured.
    """
    last = rounds[-1].model_digest if rounds else None
    trouble = trouble or Trouble()
    return {
        "version": __version__,
        "alliance": alliance,
        "task": task,
        "partition": partition,
        "score_name": score_name,
        "seed": seed,
        "nodes": len(names),
        "set_up_seconds": round(times.set_up_seconds, SECONDS_DIGITS),
        "first_round_seconds": _rounded(times.first_round_seconds),
        "start": {
            "stages": {name: round(at, SECONDS_DIGITS) for name, at in times.stages.items()},
            "cpu_seconds_by_kind": times.start_cpu_seconds,
        },
        "wall_seconds": round(times.wall_seconds, SECONDS_DIGITS),
        "local_only_score": references.local_only_score,
        "pooled_score": references.pooled_score,
        "plain_fedavg_score": references.plain_fedavg_score,
        "final_score": scores.get(last) if last is not None else None,
        "money": money,
        "dashboards": dict(dashboards or {}),
        "faults": list(trouble.faults),
        "byzantine": list(trouble.byzantine),
        "network_faults_by": trouble.network_faults_by,
        "nodes_gone": sorted(trouble.nodes_gone),
        "stake_lost_by_node": {name: str(amount) for name, amount in trouble.stake_lost_by_node.items()},
        "complaints": list(trouble.complaints),
        "curve": build_curve(rounds, scores, references, score_name),
        "rounds": [
            _round(summary, summary.names or names, scores, references, times, trouble.faults) for summary in rounds
        ],
    }


def build_curve(
    rounds: Sequence[RoundSummary], scores: Mapping[str, float | None], references: References, score_name: str
) -> dict[str, Any]:
    """The alliance's score after each settled training round, and that of plain federated averaging beside it.

    A round that adopted nothing moved neither: both keep their last value, the first of all being that of the initial
    model. ``difference_max`` is the largest distance of the two and ``difference_max_round`` where; ``None`` without
    references.
    """
    training = [summary for summary in rounds if summary.settled and summary.stage == "training"]
    fedavg = references.plain_fedavg_scores or {}
    alliance = [scores.get(summary.model_digest or "") for summary in training]
    reference: list[float | None] = []
    for summary, own in zip(training, alliance, strict=True):
        before = reference[-1] if reference else own  # a first round that adopted nothing: the same initial model
        reference.append((fedavg.get(summary.round) if summary.adopted else before) if fedavg else None)
    differences = {
        summary.round: abs(own - other)
        for summary, own, other in zip(training, alliance, reference, strict=True)
        if own is not None and other is not None
    }
    largest = max(differences, key=differences.__getitem__, default=None)
    return {
        "score_name": score_name,
        "rounds": [summary.round for summary in training],
        "alliance": alliance,
        "plain_fedavg": reference,
        "difference_max": None if largest is None else differences[largest],
        "difference_max_round": largest,
        "unadopted_rounds": [summary.round for summary in training if not summary.adopted],
    }


def curve_line(curve: Mapping[str, Any]) -> str:
    """The curve's comparison in one sentence."""
    rejected = f"{len(curve['unadopted_rounds'])} of {len(curve['rounds'])} training rounds adopted nothing"
    if curve["difference_max"] is None:
        return f"{curve['score_name']}: no plain FedAvg to compare with; {rejected}"
    return (
        f"{curve['score_name']} differs from plain FedAvg on the same schedule by at most "
        f"{curve['difference_max']:.4f} (round {curve['difference_max_round']}); {rejected}"
    )


def _round(
    summary: RoundSummary,
    names: Mapping[int, str],
    scores: Mapping[str, float | None],
    references: References,
    times: RunTimes,
    faults: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    fedavg = references.plain_fedavg_scores or {}
    return {
        "round": summary.round,
        "stage": summary.stage,
        "outcome": "settled" if summary.settled else "voided" if summary.voided else "open",
        "opened_at": _rounded(summary.opened_at),
        "faults": [fault["fault"] for fault in faults if fault["at"] is not None and fault["round"] == summary.round],
        "seed": _hex(summary.seed),
        "trainers": [names[seat] for cohort in summary.cohorts for seat in cohort.trainers],
        "validators": [names[seat] for seat in summary.validators],
        "cohorts": [_cohort(cohort, names) for cohort in summary.cohorts],
        "model_digest": summary.model_digest,
        "model_digest_by_node": summary.model_digest_by_node,
        "score_before": scores.get(summary.base_model_digest or ""),
        "score_after": scores.get(summary.model_digest or ""),
        "plain_fedavg_score": fedavg.get(summary.round),
        "gas": {GAS_NAMES[call]: gas for call, gas in summary.gas.items()},
        "transactions": [
            {
                "hash": _hex(transaction.hash),
                "call": GAS_NAMES[transaction.call],
                "from": _hex(transaction.sender),
                "gas": transaction.gas_used,
                "block": transaction.block,
                "succeeded": transaction.succeeded,
            }
            for transaction in summary.transactions
        ],
        "seconds": {name: _rounded(value) for name, value in asdict(summary.seconds).items()},
        "privacy_by_node": {name: dict(privacy) for name, privacy in summary.privacy_by_node.items()},
        "bytes_sent_by_node": summary.bytes_sent_by_node,
        "role_by_node": summary.role_by_node,
        "cost_by_node": {name: dict(cost) for name, cost in summary.cost_by_node.items()},
        "cpu_seconds_by_kind": times.round_cpu_seconds.get(summary.round),
    }


def _cohort(cohort: CohortSummary, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "trainers": [names[seat] for seat in cohort.trainers],
        "survivors": [names[seat] for seat in cohort.survivors],
        "aggregate_digest": _hex(cohort.aggregate_digest),
        "accepted": cohort.outcome is CohortOutcome.ADOPTED,
        "votes_for": cohort.votes_for,
        "votes_against": cohort.votes_against,
    }


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write the report whole or not at all.

    Raises:
        OSError: the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump(report, file, indent=2)
        file.write("\n")
    os.chmod(file.name, 0o644)  # a report holds nothing secret; temporary files are private by default
    os.replace(file.name, path)


def _hex(value: bytes | None) -> str | None:
    return None if value is None else "0x" + value.hex()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, SECONDS_DIGITS)
