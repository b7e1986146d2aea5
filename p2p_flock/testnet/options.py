"""What ``scripts/testnet`` was asked for, and the alliance parameters that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from p2p_flock.errors import UsageError
from p2p_flock.params import COHORT_OWNERS_MIN, COMPLETE_GRAPH_OWNERS_MAX, AllianceParams, validate_params

FLOCK_WEI = 10**18
CHAIN_ID = 84_530  # a devnet number of its own, so that no signature is valid on a public chain
NODES_MIN = 6
NODES_MAX = COMPLETE_GRAPH_OWNERS_MAX + 3  # one cohort with a complete graph, and three validators
LEVELS_MAX = 1 << 18
WEIGHT_MAX = 64
HEADROOM = 1 << 28  # 2^(lane_bits − 4)
SEAT_STAKE_WEI = 1_000 * FLOCK_WEI
REWARD_PER_ROUND_WEI = 100 * FLOCK_WEI


@dataclass(frozen=True, slots=True)
class Options:
    """The command line. ``directory`` is where everything is written, ``None`` for a temporary one."""

    nodes: int = 8
    rounds: int = 10
    task: str = "heart"
    seed: int = 1
    report: Path | None = None
    keep: bool = False
    block_time: float = 0.2
    directory: Path | None = None
    test_mode: frozenset[str] = frozenset()

    def validate(self) -> None:
        """Check what argparse cannot.

        Raises:
            UsageError: naming the option and what it may be.
        """
        if not NODES_MIN <= self.nodes <= NODES_MAX:
            raise UsageError(
                f"--nodes {self.nodes}: give {NODES_MIN} to {NODES_MAX}. Fewer leave no four trainers beside the "
                "validators, more need several cohorts, which this launcher does not set up."
            )
        if self.rounds < 1:
            raise UsageError(f"--rounds {self.rounds}: give at least 1.")
        if not 0.1 <= self.block_time <= 12:
            raise UsageError(f"--block-time {self.block_time}: give 0.1 to 12 seconds.")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: give a whole number from 0.")
        if self.directory is not None and self.directory.exists() and any(self.directory.iterdir()):
            raise UsageError(
                f"--directory {self.directory} is not empty. Name a new one; a running network in it is ended with "
                f"`scripts/testnet stop {self.directory}`."
            )


def alliance_params(nodes: int, rounds: int) -> AllianceParams:
    """Parameters of an alliance of exactly ``nodes`` seats and one cohort, DESIGN §6's column "testnet".

    One round more than asked for: round 0 sums the data's statistics. The manifest digest is filled in by the node
    that creates the alliance; zeros stand here.

    Raises:
        ParameterError: ``nodes`` outside :data:`NODES_MIN` … :data:`NODES_MAX`.
    """
    validators = 3 if nodes >= COHORT_OWNERS_MIN + 3 else 2
    trainers = nodes - validators
    levels = LEVELS_MAX
    while trainers * levels * WEIGHT_MAX > HEADROOM:
        levels //= 2
    params = AllianceParams(
        manifest_digest=bytes(32),
        seat_stake=SEAT_STAKE_WEI,
        reward_per_round=REWARD_PER_ROUND_WEI,
        round_count=rounds + 1,
        seat_count_min=nodes,
        seat_count_max=nodes,
        validator_count=validators,
        cohort_count=1,
        threshold=max(3, trainers // 2 + 1),
        collusion_bound=0,
        lane_bits=32,
        levels=levels,
        weight_max=WEIGHT_MAX,
        loss_tolerance_micro=10_000,
        train_seconds=30,
        seal_seconds=5,
        unmask_seconds=5,
        evaluate_seconds=10,
        commit_seconds=5,
        settle_seconds=5,
        opening_slot_seconds=1,
        beacon_margin=1,
        redraw_rounds=1,
        penalty_window_seconds=60,
        unbonding_seconds=120,
        provable_slash_bps=1_000,
        void_count_max=10,
    )
    validate_params(params)
    return params


def round_seconds_max(params: AllianceParams) -> int:
    """The longest one round may last before the contract lets anyone end it, in seconds of chain time."""
    views = params.validator_count
    return (
        params.train_seconds
        + params.seal_seconds * views
        + params.unmask_seconds
        + params.evaluate_seconds
        + params.commit_seconds * views
        + params.settle_seconds
        + 10  # opening slot, beacon margin and the transactions' way into a block
    )
