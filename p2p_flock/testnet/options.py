"""What ``scripts/testnet`` was asked for, and the alliance parameters that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from p2p_flock.cli.alliance_create import PRESETS
from p2p_flock.daemon.control_messages import params_from_json
from p2p_flock.errors import UsageError
from p2p_flock.learning.privacy import compute_noise_multiplier
from p2p_flock.learning.task_manifest import Variant, read_variant
from p2p_flock.params import (
    COHORT_OWNERS_MIN,
    COMPLETE_GRAPH_OWNERS_MAX,
    RINGS,
    AllianceParams,
    compute_sum_bound_max,
    validate_params,
)
from p2p_flock.testnet.byzantine import Band, choose_crooked, validate_bands
from p2p_flock.testnet.data import demo_of, validate_source
from p2p_flock.testnet.faults.grammar import CutBy, Fault, validate_faults
from p2p_flock.testnet.place import LOOPBACK, validate_listen_host
from p2p_flock.types import DIGEST_BYTES

NODES_MIN = 6
ROUNDS_UNTIL_STOPPED = 2_000  # about two hours; their rewards must be in one account when the alliance is created
REWARD_UNTIL_STOPPED = 40 * 10**18
SUSPICION_BOUND = 8  # a short run is to show a suspension; `alliance create` chooses by risk
NODES_MAX = COMPLETE_GRAPH_OWNERS_MAX + 3  # one cohort with a complete graph, and three validators


@dataclass(frozen=True, slots=True)
class Options:
    """The command line.

    Attributes:
        directory: where everything is written, ``None`` for a temporary one.
        partition: of the testnet's own data, ``None`` for the task's default.
        data: a folder with one file per member, for a task that the testnet has no data for.
        spare_seats: how many more may join while it runs; their shares of the data are kept for them.
        until_stopped: whether it is to run until somebody ends it, and to end well then.
        listen_host: the address of this machine that nodes listen on; beyond loopback only where it was asked for.
        cohorts: into how many the trainers are drawn; each is summed and voted on by itself.
        lane_bits: the ring that updates are added in; levels are as many as it has room for.
        faults: that befall the network while it runs. cut_by: what partitions it, where they do.
        byzantine: how many of the nodes are dishonest, and how.
        void_count_max: void rounds in a row that close the alliance, ``None`` for the preset's.
        local_only: whether the nodes compare with a model of their own; benches that measure cost switch it off.
        references: whether the same data's other scores are computed at the end: pooled, alone, by plain FedAvg.
    """

    nodes: int = 8
    rounds: int = 10
    task: str = "heart"
    partition: str | None = None
    data: Path | None = None
    seed: int = 1
    report: Path | None = None
    keep: bool = False
    block_time: float = 0.2
    directory: Path | None = None
    test_mode: frozenset[str] = frozenset()
    spare_seats: int = 0
    lane_bits: int = 32
    cohorts: int = 1
    faults: tuple[Fault, ...] = ()
    cut_by: CutBy = CutBy.AUTO
    byzantine: tuple[Band, ...] = ()
    void_count_max: int | None = None
    references: bool = True
    local_only: bool = True
    until_stopped: bool = False
    listen_host: str = LOOPBACK

    @property
    def crooked(self) -> dict[str, str]:
        """Kind by name of each dishonest node; who they are follows from the seed."""
        chosen = choose_crooked(self.byzantine, self.nodes, self.seed)
        return {f"node{index}": kind for index, kind in chosen.items()}

    @property
    def params(self) -> AllianceParams:
        """Of the alliance; see :func:`alliance_params`."""
        params = alliance_params(self.nodes, self.rounds, self.spare_seats, self.task, self.lane_bits, self.cohorts)
        if self.until_stopped:
            params = replace(params, reward_per_round=REWARD_UNTIL_STOPPED)
        return params if self.void_count_max is None else replace(params, void_count_max=self.void_count_max)

    @property
    def shares(self) -> int:
        """Into how many parts the demo's data is dealt: one for each node and each spare seat."""
        return self.nodes + self.spare_seats

    @property
    def needs_test_mode(self) -> bool:
        """Whether the nodes must be allowed settings that no real node has."""
        return bool(self.test_mode or self.faults)

    def validate(self) -> None:
        """Check what argparse cannot.

        Raises:
            UsageError: naming the option and what it may be.
        """
        if not NODES_MIN <= self.nodes <= NODES_MAX:
            raise UsageError(
                f"--nodes {self.nodes}: give {NODES_MIN} to {NODES_MAX}. Fewer leave no four trainers beside the "
                "validators, more are too many processes for one machine."
            )
        spare_max = min(self.nodes // 2, NODES_MAX - self.nodes)
        if not 0 <= self.spare_seats <= spare_max:
            raise UsageError(
                f"--spare-seats {self.spare_seats}: give 0 to {spare_max} for {self.nodes} nodes. One threshold must "
                "serve the smallest cohort and the largest."
            )
        cohorts_max = max(1, (self.nodes - 3) // COHORT_OWNERS_MIN)
        if not 1 <= self.cohorts <= cohorts_max or (self.cohorts > 1 and self.spare_seats):
            raise UsageError(
                f"--cohorts {self.cohorts}: give 1 to {cohorts_max} for {self.nodes} nodes, each has "
                f"{COHORT_OWNERS_MIN} trainers at least; more than one without --spare-seats."
            )
        validate_source(self.task, self.partition, self.data, self.nodes)
        if self.lane_bits not in RINGS:
            raise UsageError(f"--lane-bits {self.lane_bits}: give one of {', '.join(map(str, RINGS))}.")
        if self.void_count_max is not None and not 1 <= self.void_count_max < 2**16:
            raise UsageError(f"--void-count-max {self.void_count_max}: give 1 to {2**16 - 1}.")
        if self.rounds < 1:
            raise UsageError(f"--rounds {self.rounds}: give at least 1.")
        if not 0.1 <= self.block_time <= 12:
            raise UsageError(f"--block-time {self.block_time}: give 0.1 to 12 seconds.")
        validate_faults(self.faults, self.nodes, self.rounds)
        validate_bands(self.byzantine, self.nodes)
        if self.listen_host != LOOPBACK:
            validate_listen_host(self.listen_host)
            if self.faults:
                raise UsageError("--listen-host goes with no --fault: faults place the nodes where they need them.")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: give a whole number from 0.")
        if self.directory is not None and self.directory.exists() and any(self.directory.iterdir()):
            raise UsageError(
                f"--directory {self.directory} is not empty. Name a new one; a running network in it is ended with "
                f"`scripts/testnet stop {self.directory}`."
            )


def private_task(task: str, epsilon: float, rounds: int) -> str:
    """The private variant of a task whose noise costs at most ε over so many training rounds, at δ = 10⁻⁵.

    Raises:
        ParameterError: ε is not positive, or there is no round.
    """
    return Variant(task, compute_noise_multiplier(epsilon, rounds)).name


def _noise_room(task: str) -> float:
    """How many times the room of the updates they need with a private variant's noise; a little too much.

    A trainer's noise has a deviation of z / √2 sensitivities at most and never exceeds 14 of them
    (``crypto/noise.py``, the worst of its layers).
    """
    variant = read_variant(task)
    return 1.0 if variant is None else 1.2 + 14 * variant.noise_multiplier / math.sqrt(2)


def alliance_params(
    nodes: int, rounds: int, spare_seats: int = 0, task: str = "heart", lane_bits: int = 32, cohorts: int = 1
) -> AllianceParams:
    """The preset "testnet" of ``p2p-flock alliance create``, fitted to ``nodes`` seats and some spare ones.

    One round more than asked for: round 0 sums the data's statistics. The manifest digest is filled in by the node
    that creates the alliance; zeros stand here.

    Raises:
        ParameterError: ``nodes`` outside :data:`NODES_MIN` … :data:`NODES_MAX`, too many spare seats for them, or the
            ring has no room for a single level at the task's weights.
    """
    demo = demo_of(task)
    preset = replace(
        params_from_json(PRESETS["testnet"], bytes(DIGEST_BYTES)),
        weight_max=demo.weight_max,
        loss_tolerance_micro=demo.loss_tolerance_micro,
    )
    validators = 3 if nodes >= COHORT_OWNERS_MIN + 3 else 2
    trainers = nodes - validators + spare_seats  # at most
    largest = -(-trainers // cohorts)
    levels = preset.levels
    while largest * levels * preset.weight_max * _noise_room(task) > compute_sum_bound_max(lane_bits):
        levels //= 2
    params = replace(
        preset,
        round_count=rounds + 1,
        seat_count_min=nodes,
        seat_count_max=nodes + spare_seats,
        validator_count=validators,
        cohort_count=cohorts,
        threshold=max(3, largest // 2 + 1),
        lane_bits=lane_bits,
        levels=levels,
        suspicion_bound=SUSPICION_BOUND if cohorts > 1 else 0,  # one cohort's rejection singles nobody out
    )
    validate_params(params)
    return params
