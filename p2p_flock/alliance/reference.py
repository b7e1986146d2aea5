"""One whole round of an alliance in one function: read this first.

Called by tests and by whoever makes vectors, never by a node: it knows everybody's values. It holds no masks, messages
or deadlines; given who holds, answers, judges and reveals what, it says what the round must come to. The machines and
the contract must agree with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.alliance.model import Model
from p2p_flock.alliance.pay import (
    NOBODY,
    Senders,
    compute_refund,
    compute_trainer_rewards,
    compute_validator_rewards,
)
from p2p_flock.alliance.privacy import compute_noise_share
from p2p_flock.alliance.sortition import compute_assignment, compute_seed
from p2p_flock.chain_events import SettledRecord
from p2p_flock.crypto.fixed_point import DITHER_BYTES_PER_LANE, encode_statistics, encode_update
from p2p_flock.crypto.masking import keystream
from p2p_flock.crypto.noise import Noise
from p2p_flock.crypto.suite import derive_key
from p2p_flock.params import AllianceParams
from p2p_flock.types import Assignment, CohortOutcome, Domain, Seat, Stage, Vote

Quarrel = tuple[int, int]


@dataclass(frozen=True)
class RoundInputs:
    """What the members of one round have and do.

    Attributes:
        seats: frozen seats; one without a mask key is elected in vain.
        randomness: the beacon's, 32 bytes.
        values, entropy: per trainer that trains in time; float64 of the stage's width, and 32 bytes.
        held: per validator whose Have counts, the trainers whose contribution it holds and has verified.
        answering: trainers whose unmasking reaches the validators.
        verdicts: per validator whose ballot is revealed, per cohort: is the aggregate good? Absent: unavailable.
        quarrels: pairs of trainers that committed to different pair seeds.
        grades: per validator, per cohort, how much better a good aggregate makes the model, 0..15; absent: 0.
        senders: who sent the round's three transactions.
    """

    domain: Domain
    round: int
    params: AllianceParams
    manifest: TaskManifest
    model: Model
    seats: Sequence[Seat]
    randomness: bytes
    values: Mapping[int, NDArray[np.float64]]
    entropy: Mapping[int, bytes]
    held: Mapping[int, frozenset[int]]
    answering: frozenset[int]
    verdicts: Mapping[int, Mapping[int, bool]]
    quarrels: frozenset[Quarrel] = field(default_factory=frozenset)
    grades: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    senders: Senders = field(default_factory=lambda: Senders(NOBODY, NOBODY, NOBODY))


@dataclass(frozen=True)
class RoundOutputs:
    """What the round comes to.

    Attributes:
        survivors: sealed trainers in position order; empty where nothing can be sealed.
        sums: per cohort that can be opened, Σ weight · round(value / step) as plain integers.
        outcomes: per cohort, as the contract decides.
        model: the next one.
        record: what is paid to whom, to the wei, as the contract logs it; ``None`` where nothing can be sealed.
    """

    seed: bytes
    assignment: Assignment
    survivors: tuple[int, ...]
    sums: Mapping[int, tuple[int, ...]]
    outcomes: tuple[CohortOutcome, ...]
    model: Model
    record: SettledRecord | None = None


def run_round(r: RoundInputs) -> RoundOutputs:
    """Run a round."""
    p = r.params
    # OPEN. The beacon elects: the first V of the order are validators, the others trainers in K even cohorts.
    seed = compute_seed(r.domain, r.round, r.randomness)
    roles = compute_assignment(seed, len(r.seats), p)

    # SEAL. A trainer survives when ⌊V/2⌋+1 validators hold it, no quarrel stands, and t of its holders survive too.
    counts = Counter(seat for validator in r.held for seat in r.held[validator])
    sealed: list[int] = []
    for cohort in roles.cohorts:
        keyed = [seat for seat in cohort if r.seats[seat].mask_key is not None]
        kept = _without_quarrels((seat for seat in keyed if counts[seat] >= p.validator_count // 2 + 1), r.quarrels)
        sealed += [seat for seat in keyed if seat in kept and len(kept) >= p.threshold]  # the graph is complete
    sizes = [sum(seat in sealed for seat in cohort) for cohort in roles.cohorts]
    least = max(3, p.threshold, p.collusion_bound + 3)
    if max(sizes) < least:
        void = (CohortOutcome.VOID,) * p.cohort_count
        return RoundOutputs(seed, roles, (), {}, void, r.model)  # nobody may seal this: the round is void

    # UNMASK. Masks cancel or are taken off, so a cohort's sum is the plain sum, if t of its survivors answer.
    sums: dict[int, tuple[int, ...]] = {}
    for index, cohort in enumerate(roles.cohorts):
        members = [seat for seat in cohort if seat in sealed]
        if len(members) >= least and len(r.answering.intersection(members)) >= p.threshold:
            vectors = [_encode(r, seat, cohort) for seat in members]
            sums[index] = tuple(sum(lane) for lane in zip(*vectors, strict=True))

    # EVALUATE, COMMIT, SETTLE. Whoever can open votes; ⌈2V/3⌉ of the fixed V adopt or reject.
    outcomes = []
    for index, size in enumerate(sizes):
        votes = [verdict[index] for verdict in r.verdicts.values() if index in verdict and index in sums]
        outcome = CohortOutcome.UNDECIDED
        if size < least:
            outcome = CohortOutcome.VOID
        elif 3 * votes.count(True) >= 2 * p.validator_count:
            outcome = CohortOutcome.ADOPTED
        elif 3 * votes.count(False) >= 2 * p.validator_count:
            outcome = CohortOutcome.REJECTED
        outcomes.append(outcome)
    adopted = [index for index, outcome in enumerate(outcomes) if outcome is CohortOutcome.ADOPTED]
    weights = {index: sum(_weight(r, s) for s in roles.cohorts[index] if s in sealed) for index in adopted}
    model = _next_model(r, sums, weights)
    record = _pay(r, RoundOutputs(seed, roles, tuple(sealed), sums, tuple(outcomes), model))
    return RoundOutputs(seed, roles, tuple(sealed), sums, tuple(outcomes), model, record)


def _pay(r: RoundInputs, o: RoundOutputs) -> SettledRecord:
    """PAY. Trainers by their cohort's mean grade, validators for revealing and for agreeing, senders for their gas."""
    p = r.params
    revealed = {o.assignment.validators.index(seat): seat for seat in r.verdicts}
    verdicts = {
        position: bytes(_vote(r.verdicts[seat].get(index)) if index in o.sums else 0 for index in range(p.cohort_count))
        for position, seat in revealed.items()
    }
    grades: list[int | None] = []
    for index, outcome in enumerate(o.outcomes):
        given = [r.grades.get(seat, {}).get(index, 0) for seat in r.verdicts if r.verdicts[seat].get(index)]
        grades.append(sum(given) // len(given) if outcome is CohortOutcome.ADOPTED else None)
    sizes = [sum(seat in o.survivors for seat in cohort) for cohort in o.assignment.cohorts]
    is_committed = r.senders.committer != NOBODY
    bits = sum(1 << o.assignment.trainers.index(seat) for seat in o.survivors)
    return SettledRecord(
        r.round, len(r.seats), sum(1 << position for position in revealed),
        sum(outcome << 2 * index for index, outcome in enumerate(o.outcomes)), o.seed,
        tuple(bits >> 256 * word & (1 << 256) - 1 for word in range(-(-len(o.assignment.trainers) // 256))),
        compute_trainer_rewards(p.reward_per_round, sizes, grades),
        compute_validator_rewards(p.reward_per_round, p.validator_count, p.cohort_count, verdicts),
        compute_refund(p.reward_per_round),
        r.senders.sealer if is_committed else NOBODY,
        r.senders.committer,
        r.senders.settler if 3 * len(revealed) >= 2 * p.validator_count else NOBODY,
    )  # fmt: skip


def _vote(is_good: bool | None) -> Vote:
    return Vote.UNAVAILABLE if is_good is None else Vote.YES if is_good else Vote.NO


def _without_quarrels(seats: Iterable[int], quarrels: frozenset[Quarrel]) -> set[int]:
    """Who quarrels most goes, all that quarrel equally much at once, until nobody quarrels (secagg/SPEC.md)."""
    kept = set(seats)
    while True:
        left = [pair for pair in quarrels if kept.issuperset(pair)]
        if not left:
            return kept
        counts = Counter(seat for pair in left for seat in pair)
        most = max(counts.values())
        kept -= {seat for seat, count in counts.items() if count == most}


def _weight(r: RoundInputs, seat: int) -> int:
    return 1 if r.model.stage is Stage.STATISTICS else r.seats[seat].weight


def _encode(r: RoundInputs, seat: int, cohort: Sequence[int]) -> list[int]:
    """Weighted fixed point, lifted back to signed integers, and the trainer's share of the noise."""
    width = r.manifest.width(r.model.stage)
    dither = keystream(derive_key(r.entropy[seat], "dither"), DITHER_BYTES_PER_LANE * width)
    levels, bits = (
        r.params.levels_in(r.model.stage),
        32,
    )  # every ring holds the same integers; here they are seen plainly
    if r.model.stage is Stage.STATISTICS:
        lanes = encode_statistics(r.values[seat], r.manifest.statistics_clip, levels, 1, dither, bits)
    else:
        lanes = encode_update(r.values[seat], r.manifest.clip_norm, levels, _weight(r, seat), dither, bits)
    half = 1 << (bits - 1)
    values = [(lane + half) % (2 * half) - half for lane in lanes.tolist()]
    members = [_weight(r, other) for other in cohort if r.seats[other].mask_key is not None]
    share = compute_noise_share(r.params, r.manifest, r.model.stage, members)
    if share is None:
        return values
    noise = Noise(derive_key(r.entropy[seat], "noise"), share.variance)
    return [value + drawn for value, drawn in zip(values, noise(0, width).tolist(), strict=True)]


def _next_model(r: RoundInputs, sums: Mapping[int, tuple[int, ...]], weights: Mapping[int, int]) -> Model:
    """The adopted cohorts applied in cohort order: every operation is one of IEEE 754 double, in this order (P2)."""
    levels = r.params.levels_in(r.model.stage)
    if not weights:
        return r.model
    if r.model.stage is Stage.STATISTICS:
        totals = [sum(lane) for lane in zip(*(sums[index] for index in weights), strict=True)]
        statistics = [float(total) * r.manifest.statistics_clip / levels for total in totals]
        return Model(np.array(statistics, dtype=np.float64), r.model.parameters)
    parameters = r.model.parameters[:].tolist()
    for index, weight in weights.items():
        squared = sum(lane * lane for lane in sums[index])
        root = isqrt(squared)
        root += root * root < squared
        factor = r.manifest.clip_norm / max(levels * weight, root)
        share = weight / sum(weights.values())
        parameters = [
            value + (float(lane) * factor) * share for value, lane in zip(parameters, sums[index], strict=True)
        ]
    return Model(r.model.statistics, np.array(parameters, dtype=np.float64))
