"""Who does what in a round, from a seed that nobody chose.

Called by every node and mirrored by ``contracts/src/Sortition.sol``; both run ``tests/vectors/sortition.json``. The
order of the seats is a keyed permutation evaluated one position at a time, so the contract checks a role in O(1).
"""

from __future__ import annotations

from math import isqrt

from p2p_flock.crypto.suite import keccak256
from p2p_flock.params import AllianceParams
from p2p_flock.types import Assignment, Domain

# With four some pairs of a few seats come much oftener than others, with eight at five to nine seats a few per cent
# oftener, beyond that nothing shows.
FEISTEL_ROUNDS = 8
MIX_BITS = 64  # a quarter of a digest for each round; the remainder by a half's size is even to 2⁻⁵⁰


def compute_seed(domain: Domain, round_number: int, randomness: bytes) -> bytes:
    """The round's seed, 32 bytes: keccak of domain, chain, contract, alliance, round and the beacon's randomness.

    Args:
        randomness: sha-256 of the drand signature, 32 bytes.
    """
    assert len(randomness) == 32 and len(domain.contract) == 20
    return keccak256(
        b"p2p_flock seed v1"
        + domain.chain_id.to_bytes(32, "big")
        + domain.contract
        + domain.alliance.to_bytes(32, "big")
        + round_number.to_bytes(4, "big")
        + randomness
    )


def compute_seat_at(seed: bytes, seat_count: int, position: int) -> int:
    """The seat index that stands at ``position`` of the round's order.

    A generalised Feistel network (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, section 6):
    a place is left · b + right with left < a = ⌈√N⌉ and right < b = ⌈N / a⌉; rounds add a keyed hash of one half to the
    other, modulo a and b in turn. The i-th pair of rounds takes bits 64·i to 64·i + 63 of a half's digest. Walked along
    its cycle until it lands below ``seat_count``: a permutation of 0..N−1. a · b exceeds N by less than a, so a walk
    takes hardly more than one step.

    Raises:
        ValueError: position outside 0..N−1.
    """
    if not 0 <= position < seat_count:
        raise ValueError(f"position {position} is outside 0..{seat_count - 1}")
    a = isqrt(seat_count - 1) + 1
    b = -(-seat_count // a)
    value = position
    while True:
        left, right = divmod(value, b)
        for pair in range(FEISTEL_ROUNDS // 2):
            left = (left + _mix(seed, pair, 0, right)) % a
            right = (right + _mix(seed, pair, 1, left)) % b
        value = left * b + right
        if value < seat_count:
            return value


def _mix(seed: bytes, pair: int, side: int, half: int) -> int:
    digest = keccak256(b"p2p_flock feistel v2" + seed + bytes([side]) + half.to_bytes(4, "big"))
    return int.from_bytes(digest, "big") >> MIX_BITS * pair & (1 << MIX_BITS) - 1


def compute_cohort_range(trainer_count: int, cohort_count: int, cohort: int) -> range:
    """The trainer indexes of one cohort: trainers are split evenly, sizes differ by one at most."""
    return range(cohort * trainer_count // cohort_count, (cohort + 1) * trainer_count // cohort_count)


def compute_assignment(seed: bytes, seat_count: int, params: AllianceParams) -> Assignment:
    """All roles of a round.

    Args:
        seat_count: seats frozen at OPEN, at least validator_count + cohort_count.
    """
    order = [compute_seat_at(seed, seat_count, position) for position in range(seat_count)]
    trainers = order[params.validator_count :]
    cohorts = tuple(
        tuple(trainers[index] for index in compute_cohort_range(len(trainers), params.cohort_count, cohort))
        for cohort in range(params.cohort_count)
    )
    return Assignment(validators=tuple(order[: params.validator_count]), cohorts=cohorts)
