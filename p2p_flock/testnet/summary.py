"""One round as the table and the report show it: chain events, the launcher's clock and the nodes' metrics joined.

Called by ``table.py`` and ``report.py``; pure. Roles, survivors, votes and digests come from the chain, durations of
training and evaluation from the nodes, everything else from the launcher's own observation of blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from p2p_flock.alliance.sortition import compute_assignment
from p2p_flock.params import AllianceParams
from p2p_flock.testnet.metrics import NodeMetrics, PhaseRecord
from p2p_flock.testnet.watch import RoundCall, RoundLog, RoundTransaction
from p2p_flock.types import CohortOutcome

BITS_PER_WORD = 256


@dataclass(frozen=True, slots=True)
class CohortSummary:
    """One cohort's trainers (seats), who of them the seal holds, and what became of it."""

    trainers: tuple[int, ...]
    survivors: tuple[int, ...]
    aggregate_digest: bytes | None
    outcome: CohortOutcome | None
    votes_for: int
    votes_against: int


@dataclass(frozen=True, slots=True)
class RoundSeconds:
    """Where a round's wall time went; ``None`` for what did not happen.

    Attributes:
        beacon: opening of the round → first block at or after the beacon's scheduled publication.
        train, evaluate: the slowest trainer, the slowest validator.
        seal: end of the last training → seal seen on chain. unmask: seal seen → last validator opened its cohorts.
        commit: end of the last evaluation → last commitment seen. settle: last commitment → settlement seen.
        total: opening → settlement, which is the next round's opening, so that no time falls between two rounds.
        overhead: total − beacon − train − evaluate.
    """

    beacon: float | None
    train: float | None
    seal: float | None
    unmask: float | None
    evaluate: float | None
    commit: float | None
    settle: float | None
    total: float | None
    overhead: float | None


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """A round that has at least opened. Seats are indexes; digests by node name.

    ``names``: the node on each of the round's seats, empty where nobody said whose account is whose.
    """

    round: int
    stage: str | None
    seed: bytes | None
    validators: tuple[int, ...]
    cohorts: tuple[CohortSummary, ...]
    settled: bool
    voided: bool
    model_digest: str | None
    base_model_digest: str | None
    model_digest_by_node: dict[str, str | None]
    bytes_sent_by_node: dict[str, int]
    role_by_node: dict[str, str]
    cost_by_node: dict[str, Mapping[str, Any]]
    privacy_by_node: dict[str, Mapping[str, Any]]  # nodes of a private alliance only
    gas: dict[RoundCall, int]
    transactions: tuple[RoundTransaction, ...]
    seconds: RoundSeconds
    opened_at: float | None = None  # Unix seconds at which the launcher saw it
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def adopted(self) -> bool:
        """Whether the model moved."""
        return any(cohort.outcome is CohortOutcome.ADOPTED for cohort in self.cohorts)

    @property
    def agreed(self) -> bool:
        """Whether every node reported the same model."""
        digests = set(self.model_digest_by_node.values())
        return len(digests) == 1 and None not in digests

    @property
    def contradicted(self) -> bool:
        """Whether two nodes reported different models; one that was away reports none."""
        return len(set(self.model_digest_by_node.values()) - {None}) > 1


def summarise(
    log: RoundLog, params: AllianceParams, nodes: Sequence[NodeMetrics], addresses: Mapping[bytes, str] | None = None
) -> RoundSummary:
    """Join all that is known about one round. ``addresses``: node by account."""
    number = log.opened.round
    closed = {node.name: node.closed[number] for node in nodes if number in node.closed}
    model = _most_common([record.model_digest for record in closed.values()])
    base = _most_common([record.base_model_digest for record in closed.values()])
    seed = log.sealed.seed if log.sealed is not None else None
    if seed is None and (told := _most_common([record.seed for record in closed.values()])) is not None:
        seed = bytes.fromhex(told.removeprefix("0x"))  # the contract never saw the beacon of an unsealed round
    validators: tuple[int, ...] = ()
    cohorts: tuple[CohortSummary, ...] = ()
    if seed is not None:
        assignment = compute_assignment(seed, log.opened.seat_count, params)
        validators = assignment.validators
        cohorts = _cohorts(log, assignment.cohorts, assignment.trainers)
    return RoundSummary(
        round=number,
        stage=_most_common([record.stage for record in closed.values()]),
        seed=seed,
        validators=validators,
        cohorts=cohorts,
        settled=log.settled is not None,
        voided=log.voided is not None,
        model_digest=model,
        base_model_digest=base,
        model_digest_by_node={n.name: closed[n.name].model_digest if n.name in closed else None for n in nodes},
        role_by_node={name: record.role for name, record in closed.items()},
        cost_by_node={name: record.cost for name, record in closed.items()},
        privacy_by_node={name: record.privacy for name, record in closed.items() if record.privacy is not None},
        bytes_sent_by_node={n.name: closed[n.name].bytes_sent if n.name in closed else 0 for n in nodes},
        gas=_gas(log.transactions),
        transactions=tuple(log.transactions),
        seconds=compute_seconds(log, [record for n in nodes for record in n.phases.get(number, {}).values()]),
        opened_at=log.opened_seen_at,
        names=node_names(log.owners, addresses) if addresses is not None else {},
    )


def compute_seconds(log: RoundLog, phases: Sequence[PhaseRecord]) -> RoundSeconds:
    """Divide a round's wall time; see :class:`RoundSeconds`."""
    by_phase: dict[str, list[PhaseRecord]] = {}
    for record in phases:
        by_phase.setdefault(record.phase, []).append(record)

    def longest(phase: str) -> float | None:
        return max((record.seconds for record in by_phase.get(phase, [])), default=None)

    def last_end(phase: str) -> float | None:
        return max((record.ended_at for record in by_phase.get(phase, [])), default=None)

    beacon = _between(log.opened_seen_at, log.beacon_seen_at)
    train, evaluate = longest("train"), longest("evaluate")
    total = _between(log.opened_seen_at, log.ended_seen_at)
    waited = (beacon or 0.0) + (train or 0.0) + (evaluate or 0.0)
    return RoundSeconds(
        beacon=beacon,
        train=train,
        seal=_between(last_end("train"), log.sealed_seen_at),
        unmask=_between(log.sealed_seen_at, last_end("unmask")),
        evaluate=evaluate,
        commit=_between(last_end("evaluate"), log.committed_seen_at),
        settle=_between(log.committed_seen_at, log.ended_seen_at) if log.settled is not None else None,
        total=total,
        overhead=None if total is None else max(0.0, total - waited),
    )


def sealed_seats(log: RoundLog, trainers: Sequence[int]) -> frozenset[int]:
    """The trainers in the seal's bitmap; none before the seal. ``trainers``: seats in the assignment's order."""
    if log.sealed is None:
        return frozenset()
    words = log.sealed.survivors
    return frozenset(
        seat for index, seat in enumerate(trainers) if words[index // BITS_PER_WORD] >> (index % BITS_PER_WORD) & 1
    )


def _cohorts(log: RoundLog, cohorts: Sequence[tuple[int, ...]], trainers: Sequence[int]) -> tuple[CohortSummary, ...]:
    sealed = sealed_seats(log, trainers)
    settled = log.settled
    return tuple(
        CohortSummary(
            trainers=members,
            survivors=tuple(seat for seat in members if seat in sealed),
            aggregate_digest=settled.aggregate_digests[index] if settled is not None else None,
            outcome=CohortOutcome(settled.outcomes[index]) if settled is not None else None,
            votes_for=settled.votes_for[index] if settled is not None else 0,
            votes_against=settled.votes_against[index] if settled is not None else 0,
        )
        for index, members in enumerate(cohorts)
    )


def _gas(transactions: Sequence[RoundTransaction]) -> dict[RoundCall, int]:
    """Gas of the successful transactions by kind; of several (commits, late reveals) the sum."""
    gas = Counter[RoundCall]()
    for transaction in transactions:
        if transaction.succeeded:
            gas[transaction.call] += transaction.gas_used
    return {call: gas[call] for call in (RoundCall.SEAL, RoundCall.COMMIT, RoundCall.SETTLE)}


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else max(0.0, end - start)


def _most_common(values: Sequence[str | None]) -> str | None:
    counted = Counter(value for value in values if value is not None)
    return counted.most_common(1)[0][0] if counted else None


def node_names(owners: Mapping[int, bytes], addresses: Mapping[bytes, str]) -> dict[int, str]:
    """Name of each seat's node; a seat of a stranger is named by its address."""
    return {seat: addresses.get(owner, "0x" + owner.hex()) for seat, owner in owners.items()}
