"""Who does what in a round, from a seed that nobody chose.

Called by every node and mirrored by ``contracts/src/Sortition.sol``; both run ``tests/vectors/sortition.json``. The
order of the seats is a keyed permutation evaluated one position at a time, so the contract checks a role in O(1).
"""

from __future__ import annotations

from p2p_flock.crypto.suite import keccak256
from p2p_flock.params import AllianceParams
from p2p_flock.types import Assignment, Domain

FEISTEL_ROUNDS = 8  # four are measurably biased for small N (DESIGN §5)


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

    A balanced Feistel network over the smallest even number of bits that holds ``seat_count − 1``, walked along its
    cycle until it lands below ``seat_count`` (Black and Rogaway 2002, "cycle walking"): a permutation of 0..N−1. The
    domain is less than 4·N, so the walk takes fewer than four steps on average.

    Raises:
        ValueError: position outside 0..N−1.
    """
    if not 0 <= position < seat_count:
        raise ValueError(f"position {position} is outside 0..{seat_count - 1}")
    half_bits = max(1, ((seat_count - 1).bit_length() + 1) // 2)
    mask = (1 << half_bits) - 1
    value = position
    while True:
        left, right = value >> half_bits, value & mask
        for index in range(FEISTEL_ROUNDS):
            digest = keccak256(b"p2p_flock feistel v1" + seed + bytes([index]) + right.to_bytes(4, "big"))
            left, right = right, left ^ (int.from_bytes(digest, "big") & mask)
        value = left << half_bits | right
        if value < seat_count:
            return value


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
