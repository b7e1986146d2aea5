"""Alliance parameters: the numbers fixed for ever when an alliance is created, and what follows from them.

The field order of :class:`AllianceParams` is the ABI order of the contract's struct; ``chain/`` converts by position.
Every rule in :func:`validate_params` is checked again by the contract, but for those of the graph at every size
(``contracts/README.md``).
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p_flock.errors import ParameterError
from p2p_flock.types import Stage

# Up to this many owners per cohort the graph must be complete; beyond it, it may be sparse (Bell et al. 2020).
COMPLETE_GRAPH_OWNERS_MAX = 32
VALIDATORS_MAX = 64  # one word of the committed bitmap, and 531 k gas for as many signatures
COHORTS_MAX = 16
COHORT_OWNERS_MIN = 4  # three honest owners (P1) and one that may drop out
SEATS_MAX = 4096  # 16 words of survivors bitmap
PLAIN_LANE_BITS = (16, 32)  # a word each, added modulo 2^16 or 2^32
RINGS = (10, 12, 15, 16, 20, 30, 32)  # the others share 64-bit words (crypto/ring.py)
PHASE_SECONDS_MIN = 3  # the chain's clock ticks in whole seconds; below three a phase can be one block long


ABSENCE_SLASH_BPS_MAX = 100  # one percent: a challenge is cheap to make, and silence can have honest causes
SCORE_MICRO_MAX = 1_000_000  # scores lie in 0..1
SUSPICION_BOUND_MAX = 255  # one byte of the contract; as many rejections in a row nobody lives to see

SHARING_HOLDERS_MAX = 255  # GF(2⁸) has as many points besides that of the secret
COLLUSION_BOUND_MAX = SHARING_HOLDERS_MAX - 3  # three honest owners among the holders of a secret at least


def compute_holder_count(owners: int, threshold: int, collusion_bound: int) -> int:
    """h: owners that hold the shares of one secret in a cohort of so many; its graph has h − 1 neighbors each.

    All of them (the complete graph) where 2t > n + c allows it, else the largest odd h with 2t ≥ h + c + 3: with that
    many, two contradicting seals still leave three honest owners in every sum (secagg/SPEC.md §7).

    Raises:
        ParameterError: neither graph serves; the text says which numbers would.
    """
    if 2 * threshold > owners + collusion_bound and owners <= SHARING_HOLDERS_MAX:
        return owners
    most = min(2 * threshold - collusion_bound - 3, SHARING_HOLDERS_MAX)
    holders = most if most % 2 else most - 1
    if not threshold < holders < owners:
        raise ParameterError(
            f"threshold {threshold} and collusion bound {collusion_bound} serve no graph of {owners} owners: "
            f"2t > n + c for the complete one, else t < h for the largest odd h ≤ 2t − c − 3; raise the threshold"
        )
    return holders


@dataclass(frozen=True, slots=True)
class AllianceParams:
    """Money in FLOCK wei, times in whole seconds, ratios in basis points or millionths.

    Attributes:
        absence_slash_bps: what an unanswered challenge of absence takes; 0 switches challenges off.
        score_target_micro: score of the global model, in millionths, with which the alliance ends early; 0 = none.
        join_deadline_s: Unix seconds of chain time after which nobody joins; 0 = none.
        allowlist_root: Merkle root of the owners that may join; 32 zero bytes = anyone.
        suspicion_bound: rejections in a row of a sealed trainer's cohorts, none adopted between, from which on anyone
            may suspend its seat (``alliance/suspicion.py``); 0 switches suspicion off.
    """

    manifest_digest: bytes
    seat_stake: int
    reward_per_round: int
    round_count: int
    seat_count_min: int
    seat_count_max: int
    validator_count: int
    cohort_count: int
    threshold: int
    collusion_bound: int
    lane_bits: int
    levels: int
    weight_max: int
    loss_tolerance_micro: int
    train_seconds: int
    seal_seconds: int
    unmask_seconds: int
    evaluate_seconds: int
    commit_seconds: int
    settle_seconds: int
    opening_slot_seconds: int
    beacon_margin: int
    redraw_rounds: int
    penalty_window_seconds: int
    unbonding_seconds: int
    provable_slash_bps: int
    void_count_max: int
    absence_slash_bps: int = 0
    score_target_micro: int = 0
    join_deadline_s: int = 0
    allowlist_root: bytes = bytes(32)
    suspicion_bound: int = 0

    @property
    def seal_quorum(self) -> int:
        """Q: validators that must hold a contribution and sign the seal; ⌊V/2⌋ + 1."""
        return self.validator_count // 2 + 1

    def levels_in(self, stage: Stage) -> int:
        """Quantisation levels on either side of zero in this stage.

        Local sums count every member once, so the room that the ring keeps for weights is resolution there.
        """
        return self.levels * self.weight_max if stage is Stage.STATISTICS else self.levels

    @property
    def verdict_quorum(self) -> int:
        """Ballots that adopt or reject a cohort; ⌈2V/3⌉ of the fixed V."""
        return -(-2 * self.validator_count // 3)

    @property
    def survivors_min(self) -> int:
        """Fewest surviving owners a cohort may be opened with: max(3, t, c + 3)."""
        return max(3, self.threshold, self.collusion_bound + 3)

    @property
    def seats_min(self) -> int:
        """Seats below which no round opens: the committee, and as many trainers as every cohort needs."""
        return self.validator_count + self.cohort_count * self.survivors_min

    def cohort_owners_max(self, seat_count: int) -> int:
        """Most trainers one cohort can have when ``seat_count`` seats are frozen."""
        return -(-(seat_count - self.validator_count) // self.cohort_count)

    def cohort_owners_min(self, seat_count: int) -> int:
        """Fewest trainers one cohort can have when ``seat_count`` seats are frozen."""
        return (seat_count - self.validator_count) // self.cohort_count


def compute_sum_bound_max(lane_bits: int) -> int:
    """The largest magnitude that a lane of an honest sum may have.

    Plain lanes keep 4 bits of headroom, so that a garbled lane shows. A packed lane holds value + bias of the same size
    and must not carry into the next; its word's top bits show garbling.
    """
    return 1 << (lane_bits - 4) if lane_bits in PLAIN_LANE_BITS else (1 << (lane_bits - 1)) - 1


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise ParameterError(f"alliance parameters break a rule: {rule}")


def validate_params(params: AllianceParams) -> None:
    """Check every bound of DESIGN §6.

    Raises:
        ParameterError: naming the first rule that is broken.
    """
    p = params
    _require(len(p.manifest_digest) == 32, "the manifest digest has 32 bytes")
    _require(p.seat_stake > 0, "a seat costs a stake")
    _require(1 <= p.round_count < 2**32, "at least one round")
    _require(1 <= p.validator_count <= VALIDATORS_MAX, f"1 to {VALIDATORS_MAX} validators")
    _require(1 <= p.cohort_count <= COHORTS_MAX, f"1 to {COHORTS_MAX} cohorts")
    _require(p.seat_count_min <= p.seat_count_max <= SEATS_MAX, f"seat_count_min ≤ seat_count_max ≤ {SEATS_MAX}")
    _require(
        p.cohort_owners_min(p.seat_count_min) >= max(COHORT_OWNERS_MIN, p.survivors_min),
        "every cohort has at least max(4, t, c + 3) owners",
    )
    _require(p.threshold >= 3, "the threshold is at least 3")
    _require(0 <= p.collusion_bound <= COLLUSION_BOUND_MAX, f"the collusion bound c lies in 0..{COLLUSION_BOUND_MAX}")
    _require(p.lane_bits in RINGS, f"lanes have {', '.join(map(str, RINGS))} bits")
    _require(p.levels >= 1 and p.weight_max >= 1, "levels and weight_max are positive")
    largest = p.cohort_owners_max(p.seat_count_max)
    # Every cohort that can be frozen must have a graph, while t stays within the smallest (checked above through
    # survivors_min). If the largest has one, all have: the smaller ones are complete, or sparse with the same h.
    if largest <= COMPLETE_GRAPH_OWNERS_MAX:
        _require(2 * p.threshold > largest + p.collusion_bound, "2t > n + c for the largest cohort (Bell et al. 2020)")
    compute_holder_count(largest, p.threshold, p.collusion_bound)
    _require(
        largest * p.levels * p.weight_max <= compute_sum_bound_max(p.lane_bits),
        f"n·levels·weight_max ≤ {compute_sum_bound_max(p.lane_bits)} for lane_bits {p.lane_bits}",
    )
    for name in ("train", "seal", "unmask", "evaluate", "commit", "settle"):
        _require(getattr(p, f"{name}_seconds") >= PHASE_SECONDS_MIN, f"{name}_seconds ≥ {PHASE_SECONDS_MIN}")
    _require(p.opening_slot_seconds >= 1 and p.beacon_margin >= 1, "opening slot and beacon margin are at least 1")
    _require(p.redraw_rounds == 1, "redraw_rounds is 1: this version draws the cohorts anew in every round")
    _require(p.penalty_window_seconds < p.unbonding_seconds, "evidence windows end before unbonding does")
    _require(p.provable_slash_bps <= 5000, "a provable slash takes at most half the stake")
    _require(p.void_count_max >= 1, "void_count_max is at least 1")
    _require(
        0 <= p.absence_slash_bps <= ABSENCE_SLASH_BPS_MAX,
        f"an unanswered challenge of absence takes at most {ABSENCE_SLASH_BPS_MAX} basis points of the stake",
    )
    _require(
        p.absence_slash_bps == 0 or p.unbonding_seconds > 2 * p.penalty_window_seconds >= 2 * PHASE_SECONDS_MIN,
        "where absence can be challenged, penalty windows are phases and unbonding outlasts two of them",
    )
    _require(0 <= p.score_target_micro <= SCORE_MICRO_MAX, "the score target lies in 0..1,000,000 millionths")
    _require(0 <= p.join_deadline_s < 2**64, "the join deadline is a time in Unix seconds")
    _require(len(p.allowlist_root) == 32, "the allowlist's root has 32 bytes")
    _require(
        0 <= p.suspicion_bound <= SUSPICION_BOUND_MAX,
        f"the suspicion bound lies in 0..{SUSPICION_BOUND_MAX}, rejections in a row; 0 is off",
    )
    _require(
        p.suspicion_bound == 0 or p.cohort_count > 1,
        "suspicion needs two cohorts at least: the rejection of a round's only one accuses all of its trainers alike",
    )


def validate_joinable(params: AllianceParams) -> None:
    """Check that this version's node can do what the alliance asks of its members. Asked before a stake is paid.

    Raises:
        ParameterError: it cannot; the text says what to do instead.
    """
    if params.absence_slash_bps > 0:
        raise ParameterError(
            f"this alliance takes {params.absence_slash_bps / 100:g} % of the stake of whoever does not answer a "
            "challenge of absence, and this version's node cannot answer one yet: join an alliance with "
            "absence_slash_bps 0, or a newer version of p2p-flock"
        )
