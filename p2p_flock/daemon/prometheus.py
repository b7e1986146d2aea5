"""The node's metrics in Prometheus' text format, for ``/metrics`` of the dashboard.

``render_metrics(node)`` is called for every scrape, from the daemon's event loop: everything is read from memory, as
for ``alliance.watch``, whose answer most of it is. Nothing is kept between scrapes and nothing is global. A value that
is not known is left out, never told as 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from p2p_flock import __version__
from p2p_flock.daemon.metric_families import METRIC_FAMILIES, PREFIX, Family
from p2p_flock.daemon.tally import read_levels
from p2p_flock.daemon.watch_messages import EndedRoundResult, RunningRoundResult, WatchedAllianceResult, WatchResult

if TYPE_CHECKING:
    from p2p_flock.daemon.node import Node

WEI = 10**18
SILENT_S = 15  # awaited and unheard for longer is late, as on the page
ROLES = ("trainer", "validator", "none")
STEPS = ("beacon", "train", "seal", "unmask", "evaluate", "commit", "settle")

Labels = tuple[str, ...]
Values = dict[str, dict[Labels, float]]  # by a family's name


@dataclass(frozen=True, slots=True)
class Reading:
    """What a node knows at one moment.

    Attributes:
        watch: the answer to ``alliance.watch``.
        counts, groups: of the node's tally; ``totals``: what network and chain count themselves, under METRICS.md's
            names.
        levels: of :func:`tally.read_levels`.
        rpc_error_count: HTTP exchanges with the chain's endpoints that failed.
        worker_starts: how often the training process was started; ``None`` where the node has none.
        is_chain_up: whether the alliance's log can be followed; ``None`` without an alliance.
        loop_lag_s, disk_free_bytes, disk_used_bytes: of :class:`vitals.Vitals`.
    """

    watch: WatchResult
    counts: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    totals: Mapping[str, int] = field(default_factory=dict)
    levels: Mapping[str, int | None] = field(default_factory=dict)
    clock_offset_ms: int = 0
    rpc_error_count: int = 0
    worker_starts: int | None = None
    is_worker_up: bool = False
    is_chain_up: bool | None = None
    loop_lag_s: float | None = None
    disk_free_bytes: int | None = None
    disk_used_bytes: Mapping[str, int] = field(default_factory=dict)


def render_metrics(node: Node) -> bytes:
    """Prometheus' text format, version 0.0.4, UTF-8."""
    return render(read_node(node))


def read_node(node: Node) -> Reading:
    """Look at the node; waits for nobody."""
    world, worker, session = node.world, node.worker, node.session
    tally, vitals = world.tally, node.vitals
    return Reading(
        watch=node.watch(),
        counts=tally.counts,
        groups=tally.groups,
        totals=tally.read_totals(),
        levels=read_levels(os.getpid(), None),
        clock_offset_ms=world.clock.offset_ms,
        rpc_error_count=world.chain.client.error_count,
        worker_starts=None if worker is None else worker.start_count,
        is_worker_up=worker is not None and worker.pid is not None,
        is_chain_up=None if session is None else session.chain_trouble is None,
        loop_lag_s=vitals.loop_lag_s,
        disk_free_bytes=vitals.disk_free_bytes,
        disk_used_bytes=vitals.disk_used_bytes,
    )


def render(reading: Reading) -> bytes:
    """A reading as text: one registry for this call alone."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(reading))
    return generate_latest(registry)


class _Collector:
    """What prometheus_client asks for the families of one reading."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        values = compute_values(self._reading)
        assert not set(values) - {family.name for family in METRIC_FAMILIES}, "a value without a family"
        for family in METRIC_FAMILIES:
            if values.get(family.name):
                yield _to_metric(family, values[family.name])


def _to_metric(family: Family, samples: Mapping[Labels, float]) -> Metric:
    name = PREFIX + family.name
    if family.kind == "info":
        info = InfoMetricFamily(name, family.help)
        for labels in samples:
            info.add_metric([], dict(zip(family.labels, labels, strict=True)))
        return info
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(name, family.help, labels=family.labels)
    for labels, value in samples.items():
        metric.add_metric(labels, value)
    return metric


# --- values ----------------------------------------------------------------------------------------------------------


def compute_values(reading: Reading) -> Values:
    """Samples by a family's name and label values; what is not known is missing."""
    values: Values = {}

    def put(name: str, value: float | None, *labels: str) -> None:
        if value is not None:
            values.setdefault(name, {})[labels] = float(value)

    put("build", 1, __version__)
    _put_node(put, reading)
    _put_traffic(put, reading)
    alliance = reading.watch["alliance"]
    put("in_alliance", alliance is not None)
    if alliance is not None:
        _put_alliance(put, alliance)
        if alliance["running"] is not None:
            _put_running(put, alliance["running"], reading.watch["now_ms"])
        if alliance["rounds"]:
            _put_ended(put, alliance["rounds"])
    return values


Put = Callable[..., None]


def _put_node(put: Put, reading: Reading) -> None:
    watch, levels, cost = reading.watch, reading.levels, reading.watch["cost"]
    put("uptime_seconds", watch["uptime_s"])
    put("warnings", len(watch["warnings"]))
    put("event_loop_lag_seconds", reading.loop_lag_s)
    put("process_cpu_seconds", cost["cpu_seconds"], "daemon")
    put("process_cpu_seconds", cost["worker_cpu_seconds"], "worker")
    put("process_memory_bytes", cost["memory_bytes"], "daemon")
    put("process_memory_bytes", cost["worker_memory_bytes"], "worker")
    put("open_descriptors", levels.get("daemon_descriptors"))
    put("threads", levels.get("daemon_threads"))
    put("tasks", levels.get("daemon_tasks"))
    put("worker_up", reading.is_worker_up)
    if reading.worker_starts is not None:
        put("worker_restarts", max(0, reading.worker_starts - 1))
    put("disk_free_bytes", reading.disk_free_bytes)
    for part, used in reading.disk_used_bytes.items():
        put("disk_used_bytes", used, part)
    put("signatures_made", reading.counts.get("signatures_made", 0))
    put("signatures_verified", reading.counts.get("signatures_verified", 0))


def _put_traffic(put: Put, reading: Reading) -> None:
    watch, totals = reading.watch, reading.totals
    put("peers_connected", watch["connected_peers"])
    put("net_sent_bytes", watch["cost"]["bytes_sent"])
    put("net_received_bytes", watch["cost"]["bytes_received"])
    put("blob_served_bytes", reading.counts.get("blob_bytes_served", 0))
    for group in ("messages_sent", "messages_received"):
        for kind, count in reading.groups.get(group, {}).items():
            put(group, count, kind)
    put("chain_block", watch["block"])
    if watch["chain_time_s"] is not None:
        put("chain_lag_seconds", max(0.0, watch["now_ms"] / 1000 - watch["chain_time_s"]))
    put("chain_up", reading.is_chain_up)
    for method, count in reading.groups.get("rpc_calls", {}).items():
        put("chain_rpc_calls", count, method)
    put("chain_rpc_errors", reading.rpc_error_count)
    put("chain_rpc_sent_bytes", totals.get("rpc_bytes_sent"))
    put("chain_rpc_received_bytes", totals.get("rpc_bytes_received"))
    put("clock_offset_seconds", reading.clock_offset_ms / 1000)


def _put_alliance(put: Put, alliance: WatchedAllianceResult) -> None:
    put("alliance_closed", alliance["closed"])
    put("alliance_rounds", alliance["round_count"])
    put("alliance_seats", alliance["seats"])
    put("rounds_settled", alliance["settled_rounds"])
    counts = alliance["counts"]
    for outcome, count in (
        ("adopted", counts["adopted"]),
        ("rejected", counts["rejected"]),
        ("undecided", counts["undecided"]),
        ("voided", counts["voided"]),
    ):
        put("rounds_ended", count, outcome)
    put("seated", alliance["own_seat"] is not None)
    put("strikes", alliance["strikes"])
    put("rejections", alliance["rejections"])
    put("rejections_limit", alliance["suspicion_bound"] or None)
    put("slashed", alliance["slashed"] is not None)
    if alliance["privacy"] is not None:
        put("privacy_epsilon_spent", alliance["privacy"]["epsilon_spent"])
    holdings = alliance["holdings"]
    if holdings is not None:
        put("stake_flock", int(holdings["stake"]) / WEI)
        put("rewards_claimable_flock", int(holdings["claimable"]) / WEI)
        put("balance_flock", int(holdings["flock"]) / WEI)
        put("balance_eth", int(holdings["eth"]) / WEI)


def _put_running(put: Put, running: RunningRoundResult, now_ms: int) -> None:
    put("round", running["round"])
    for role in ROLES:
        put("round_role", running["role"] == role, role)
    for step in STEPS:
        put("round_step", running["step"] == step, step)
    deadline_ms = next((step["deadline_ms"] for step in running["steps"] if step["step"] == running["step"]), None)
    left_s = None if deadline_ms is None else (deadline_ms - now_ms) / 1000
    put("round_step_left_seconds", left_s)
    awaited = [member for member in running["participants"] if member["is_awaited"]]
    late = [
        member
        for member in awaited
        if (left_s is not None and left_s < 0)
        or not (member["is_connected"] or member["is_own"])
        or (member["seen_seconds_ago"] or 0) > SILENT_S
    ]
    put("participants", running["participant_count"])
    put("participants_connected", sum(member["is_connected"] for member in running["participants"]))
    put("participants_awaited", len(awaited))
    put("participants_late", len(late))


def _put_ended(put: Put, rounds: list[EndedRoundResult]) -> None:
    last = rounds[0]
    put("last_round", last["round"])
    put("last_round_seconds", last["seconds"])
    put("last_round_trainers", last["trainers"])
    put("last_round_survivors", last["survivors"])
    for verdict, votes in (("yes", last["votes_for"]), ("no", last["votes_against"])):
        for cohort, count in enumerate(votes):
            put("last_round_votes", count, str(cohort), verdict)
    # Scores come with the next round, so the newest known ones are told.
    scored = next((one for one in rounds if one["own_score"] is not None), None)
    put("score", None if scored is None else scored["own_score"], "alliance")
    alone = next((one for one in rounds if one["local_only_score"] is not None), None)
    put("score", None if alone is None else alone["local_only_score"], "local_only")
