"""A small alliance with deterministic keys, for tests and simulations: parameters, task, seats, one round's context."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.manifest import Json, TaskManifest, decode_manifest, encode_manifest
from p2p_flock.alliance.model import Model
from p2p_flock.alliance.sortition import compute_seed
from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.crypto.signing import address_of, sign
from p2p_flock.params import COMPLETE_GRAPH_OWNERS_MAX, AllianceParams, validate_params
from p2p_flock.ports import Signer
from p2p_flock.types import Domain, RoundSnapshot, Seat

DOMAIN = Domain(84530, bytes(range(1, 21)), 3)
OPENS_AT_S = 1_700_000_000


def digest_of(*parts: object) -> bytes:
    """32 bytes that stand for ``parts``."""
    return hashlib.sha256(repr(parts).encode()).digest()


def make_params(validator_count: int = 3, cohort_count: int = 1, seat_count: int = 8, **changes: Any) -> AllianceParams:
    """Parameters for ``seat_count`` seats: the testnet's deadlines, t just above half of the largest cohort."""
    largest = -(-(seat_count - validator_count) // cohort_count)
    values: dict[str, Any] = {
        "seat_stake": 10**18, "reward_per_round": 0, "round_count": 10, "seat_count_min": seat_count,
        "seat_count_max": seat_count, "validator_count": validator_count, "cohort_count": cohort_count,
        "threshold": max(3, largest // 2 + 1), "collusion_bound": 0, "lane_bits": 32, "levels": 1000,
        "weight_max": 16, "loss_tolerance_micro": 10_000, "train_seconds": 30, "seal_seconds": 5,
        "unmask_seconds": 5, "evaluate_seconds": 10, "commit_seconds": 5, "settle_seconds": 5,
        "opening_slot_seconds": 1, "beacon_margin": 1, "redraw_rounds": 1, "penalty_window_seconds": 60,
        "unbonding_seconds": 120, "provable_slash_bps": 1000, "void_count_max": 3, **changes,
    }  # fmt: skip
    return AllianceParams(manifest_digest=make_task().digest, **values)


def make_scaled_params(nodes: int, rounds: int, task: TaskManifest) -> AllianceParams:
    """Parameters for an alliance of ``nodes`` seats: V and cohorts grow with it, deadlines of a few seconds.

    Raises:
        ParameterError: no alliance of this size is possible.
    """
    validator_count = 3 if nodes < 16 else 5 if nodes < 24 else 7
    trainer_count = nodes - validator_count
    cohort_count = min(16, max(1, trainer_count // 11))
    largest = -(-trainer_count // cohort_count)
    collusion_bound = 0 if largest < 8 else 1
    threshold = max(3, (largest + collusion_bound) // 2 + 1)
    if largest > COMPLETE_GRAPH_OWNERS_MAX:  # sparse: the secrets' holders are fewer than the cohort
        threshold, collusion_bound = 14, 4
    params = AllianceParams(
        manifest_digest=task.digest, seat_stake=10**18, reward_per_round=10**18, round_count=rounds,
        seat_count_min=nodes, seat_count_max=nodes, validator_count=validator_count, cohort_count=cohort_count,
        threshold=threshold, collusion_bound=collusion_bound, lane_bits=32, levels=1000, weight_max=16,
        loss_tolerance_micro=10_000, train_seconds=12, seal_seconds=4, unmask_seconds=6, evaluate_seconds=5,
        commit_seconds=4, settle_seconds=4, opening_slot_seconds=1, beacon_margin=1, redraw_rounds=1,
        penalty_window_seconds=60, unbonding_seconds=120, provable_slash_bps=1000, void_count_max=6,
        suspicion_bound=2 if cohort_count > 1 else 0,  # low, so that few rounds bring one about
    )  # fmt: skip
    validate_params(params)
    return params


def make_task(statistics_count: int = 3, parameter_count: int = 6) -> TaskManifest:
    """A task of a few lanes."""
    document: dict[str, Json] = {
        "name": "tiny", "version": "1", "statistics_count": statistics_count, "parameter_count": parameter_count,
        "statistics_clip": 100.0, "clip_norm": 1.5,
    }  # fmt: skip
    return decode_manifest(encode_manifest(document))


def make_model(is_training: bool = True, task: TaskManifest | None = None) -> Model:
    """The current model; without statistics where the round is to collect them."""
    task = task or make_task()
    statistics = np.linspace(1, 2, task.statistics_count if is_training else 0)
    return Model(statistics, np.linspace(-1, 1, task.parameter_count))


@dataclass(frozen=True)
class Setting:
    """One round before it begins, and every member's secrets.

    Attributes:
        owner_secrets, mask_secrets: by seat.
    """

    context: RoundContext
    model: Model
    randomness: bytes
    owner_secrets: tuple[bytes, ...]
    mask_secrets: tuple[bytes, ...]

    def signer(self, seat: int) -> Signer:
        """Signs with the key of the seat's owner."""
        return partial(sign, self.owner_secrets[seat])

    def value_of(self, seat: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """What the seat's worker computes in this round."""
        width = self.context.manifest.width(self.context.stage)
        return np.random.default_rng([seat, self.context.round]).normal(0, 0.5, width)


def make_setting(
    params: AllianceParams | None = None,
    seat_count: int = 8,
    is_training: bool = True,
    round_number: int = 1,
    salt: int = 0,
    keyless: Collection[int] = (),
) -> Setting:
    """A round whose roles follow from ``salt``; the seats in ``keyless`` have spent their mask key."""
    params = params or make_params(seat_count=seat_count)
    owners = tuple(digest_of("owner", seat) for seat in range(seat_count))
    masks = tuple(digest_of("mask", round_number, seat) for seat in range(seat_count))
    seats = tuple(
        Seat(
            seat,
            address_of(owners[seat]),
            f"peer-{seat}",
            1 + seat % params.weight_max,
            None if seat in keyless else mask_public_key(masks[seat]),
        )
        for seat in range(seat_count)
    )
    train_deadline_s = OPENS_AT_S + params.train_seconds
    seal_deadline_s = train_deadline_s + params.seal_seconds * params.validator_count
    snapshot = RoundSnapshot(DOMAIN, round_number, seats, 77, OPENS_AT_S, train_deadline_s, seal_deadline_s)
    model, randomness = make_model(is_training), digest_of("randomness", salt)
    seed = compute_seed(DOMAIN, round_number, randomness)
    context = RoundContext.make(snapshot, params, make_task(), model.stage, model.digest, seed)
    return Setting(context, model, randomness, owners, masks)
