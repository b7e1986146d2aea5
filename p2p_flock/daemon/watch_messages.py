"""The result of ``alliance.watch`` as types; ``CONTROL.md`` says what the fields mean. Standard library only.

Called by the daemon, which fills it in from memory, and by ``alliance watch``, which shows it. Money is wei as a
decimal text, digests and addresses are ``0x`` hex, ``*_ms`` are of the chain's clock as the node estimates it.
"""

from __future__ import annotations

from typing import TypedDict

WATCH_FORMAT = 1  # grows with every change that is more than a new field


class SlashResult(TypedDict):
    fault: str
    round: int
    amount: str
    transaction: str


class StandingResult(TypedDict):
    standing: str
    release_at_s: int | None
    suspended_for: list[int]
    suspected_for: list[int]
    slashed: SlashResult | None


class PrivacyResult(TypedDict):
    noise_multiplier: float
    delta: float
    rounds: int
    epsilon: float | None
    rounds_spent: int
    epsilon_spent: float | None


class StepResult(TypedDict):
    step: str  # beacon, train, seal, unmask, evaluate, commit, settle
    state: str  # done, running, coming, hidden
    started_ms: int | None
    ended_ms: int | None
    deadline_ms: int | None


class ParticipantResult(TypedDict):
    seat: int
    peer_id: str
    owner: str
    role: str
    cohort: int | None
    is_eligible: bool
    is_own: bool
    is_connected: bool
    seen_seconds_ago: int | None
    is_awaited: bool
    items: dict[str, str]  # item -> receipt


class CohortResult(TypedDict):
    cohort: int
    trainers: int
    held: int | None
    survivors: int | None
    answered: int | None
    threshold: int


class WorkResult(TypedDict):
    what: str  # training, fetching, unmasking, judging
    done: int
    total: int  # at least 1
    unit: str  # batches, bytes, shares, candidates
    started_ms: int


class RunningRoundResult(TypedDict):
    round: int
    stage: str
    role: str
    step: str
    is_exact: bool
    steps: list[StepResult]
    participants: list[ParticipantResult]
    participant_count: int
    cohorts: list[CohortResult]
    work: list[WorkResult]


class JudgementResult(TypedDict):
    loss_before: float
    score_before: float | None
    losses_after: dict[str, float]  # by cohort, as text: a JSON key
    scores_after: dict[str, float | None]
    accepted: dict[str, bool]


class RoundResult(TypedDict):
    round: int
    outcome: str
    cohort_outcomes: list[str]
    trainers: int
    trainers_by_cohort: list[int]  # empty where the draw is not known
    survivors: int
    survivors_by_cohort: list[int]  # empty where nothing was sealed
    votes_for: list[int]
    votes_against: list[int]
    model_digest: str | None
    seconds: int | None


class EndedRoundResult(RoundResult):
    role: str | None
    judgement: JudgementResult | None
    own_score: float | None
    local_only_score: float | None


class CountsResult(TypedDict):
    adopted: int
    rejected: int
    undecided: int
    voided: int


class HoldingsResult(TypedDict):
    stake: str
    claimable: str
    eth: str
    flock: str
    as_of_s: int
    earned_total: str
    claimed_total: str
    gas_spent_wei: str
    gas_since_s: int


class WatchedAllianceResult(StandingResult):
    alliance: str
    task: str
    round_count: int
    settled_rounds: int
    model_rounds: int
    opened_rounds: int
    seats: int
    seat_count_min: int
    closed: bool
    counts: CountsResult
    model_digest: str
    own_seat: int | None
    activity: str
    activity_text: str
    activity_since_ms: int | None
    running: RunningRoundResult | None
    rounds: list[EndedRoundResult]
    strikes: int | None
    rejections: int | None
    suspicion_bound: int
    privacy: PrivacyResult | None
    holdings: HoldingsResult | None
    score_name: str | None
    local_only_note: str | None


class CostResult(TypedDict):
    cpu_seconds: float
    memory_bytes: int | None
    worker_cpu_seconds: float | None
    worker_memory_bytes: int | None
    bytes_sent: int
    bytes_received: int


class WatchResult(TypedDict):
    format: int
    now_ms: int
    peer_id: str
    address: str
    uptime_s: int
    connected_peers: int
    chain_id: int
    block: int | None
    chain_time_s: int | None
    warnings: list[str]
    cost: CostResult
    alliance: WatchedAllianceResult | None
