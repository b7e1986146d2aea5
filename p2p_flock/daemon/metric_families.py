"""Every metric of ``/metrics``: name, kind, what it says, labels. ``prometheus.py`` is built from it, and the docs are.

Names follow Prometheus' conventions: a unit last, ``_total`` is added to counters. FLOCK and ETH are floats here: a
double holds 15 to 16 digits, so beyond some 9 FLOCK the last digits of a wei are rounded; ``wallet show`` has all of
them. Labels take few values, all fixed in the program: no peer, no address, no alliance is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "p2p_flock_"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: without prefix and without ``_total``.
        help: a sentence for operators; also the documentation.
        labels: their names, in order.
    """

    name: str
    kind: Literal["gauge", "counter", "info"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """As it is written in ``/metrics``."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else '_info' if self.kind == 'info' else ''}"


METRIC_FAMILIES: tuple[Family, ...] = (
    # the node
    Family("build", "info", "Version of p2p-flock; always 1.", ("version",)),
    Family("uptime_seconds", "gauge", "How long the daemon has run."),
    Family("warnings", "gauge", "Warnings that `p2p-flock status` shows now."),
    Family("event_loop_lag_seconds", "gauge", "Longest delay of the event loop within the last minute."),
    Family("process_cpu_seconds", "counter", "CPU time used by the daemon and by its present worker.", ("process",)),
    Family("process_memory_bytes", "gauge", "Resident memory of the daemon and of its worker.", ("process",)),
    Family("open_descriptors", "gauge", "File descriptors that the daemon has open."),
    Family("threads", "gauge", "Threads of the daemon."),
    Family("tasks", "gauge", "Tasks of the daemon's event loop."),
    Family("worker_up", "gauge", "1 while the training process runs."),
    Family("worker_restarts", "counter", "How often the training process was started again since the daemon's start."),
    Family("disk_free_bytes", "gauge", "Free space on the disk of the node's home."),
    Family("disk_used_bytes", "gauge", "Space taken in the node's home, by kind of file.", ("part",)),
    Family("signatures_made", "counter", "Signatures that the account made."),
    Family("signatures_verified", "counter", "Signatures of others that were checked."),
    # the network
    Family("peers_connected", "gauge", "Peers that this node is connected to."),
    Family("net_sent_bytes", "counter", "Bytes handed to the transport: messages, blobs, gossip, framing."),
    Family("net_received_bytes", "counter", "Bytes taken from the transport."),
    Family("messages_sent", "counter", "Point-to-point messages sent, by kind (WIRE.md).", ("kind",)),
    Family("messages_received", "counter", "Point-to-point messages received, by kind (WIRE.md).", ("kind",)),
    Family("blob_served_bytes", "counter", "Bytes of blobs that others fetched from this node."),
    # the chain
    Family("chain_block", "gauge", "Newest block that this node has seen."),
    Family("chain_lag_seconds", "gauge", "Age of the newest block seen, by the node's clock."),
    Family("chain_up", "gauge", "1 while the alliance's log can be followed."),
    Family("chain_rpc_calls", "counter", "JSON-RPC calls to the endpoints, by method.", ("method",)),
    Family("chain_rpc_errors", "counter", "HTTP exchanges with an endpoint that failed, those tried again included."),
    Family("chain_rpc_sent_bytes", "counter", "Bodies of requests to the endpoints."),
    Family("chain_rpc_received_bytes", "counter", "Bodies of the endpoints' answers."),
    Family("clock_offset_seconds", "gauge", "How far the chain's clock is ahead of this machine's."),
    # the alliance
    Family("in_alliance", "gauge", "1 while the node takes part in an alliance."),
    Family("alliance_closed", "gauge", "1 once the alliance has ended."),
    Family("alliance_rounds", "gauge", "Rounds that the alliance has in all."),
    Family("alliance_seats", "gauge", "Seats that are taken."),
    Family("rounds_settled", "counter", "Rounds of the alliance that were settled."),
    Family("rounds_ended", "counter", "Rounds of the alliance that ended, by what came of them.", ("outcome",)),
    Family("seated", "gauge", "1 while this node holds a seat."),
    Family("strikes", "gauge", "Settled rounds in a row in which this node was absent; two suspend its seat."),
    Family("rejections", "gauge", "Rejected cohorts in a row that this node trained in."),
    Family("rejections_limit", "gauge", "So many rejections in a row suspend a seat; absent where there is no limit."),
    Family("slashed", "gauge", "1 if part of this node's stake was taken."),
    Family("privacy_epsilon_spent", "gauge", "Epsilon of differential privacy that this node has spent."),
    # the running round
    Family("round", "gauge", "Number of the running round; absent while none runs."),
    Family("round_role", "gauge", "1 for the role that this node has in the running round, 0 for others.", ("role",)),
    Family("round_step", "gauge", "1 for the step that the running round is in, 0 for others.", ("step",)),
    Family("round_step_left_seconds", "gauge", "Until the step's deadline; negative once it has passed."),
    Family("participants", "gauge", "Members that take part in the running round."),
    Family("participants_connected", "gauge", "Of these, those that this node is connected to."),
    Family("participants_awaited", "gauge", "Of these, those that this node waits for now."),
    Family("participants_late", "gauge", "Of those awaited: past the deadline, not connected, or silent for 15 s."),
    # the last round that ended
    Family("last_round", "gauge", "Number of the round that ended last."),
    Family("last_round_seconds", "gauge", "How long it took, in chain time."),
    Family("last_round_trainers", "gauge", "Trainers it was drawn with."),
    Family("last_round_survivors", "gauge", "Trainers whose updates it sealed."),
    Family("last_round_votes", "gauge", "Validators' votes on it, by cohort.", ("cohort", "verdict")),
    Family("score", "gauge", "Score on this node's private test part: the alliance's model, a local one.", ("model",)),
    # money
    Family("stake_flock", "gauge", "FLOCK that this node has at stake."),
    Family("rewards_claimable_flock", "gauge", "FLOCK that `p2p-flock wallet claim` would pay now."),
    Family("balance_flock", "gauge", "FLOCK in the node's account."),
    Family("balance_eth", "gauge", "ETH in the node's account, for gas."),
)  # fmt: skip
