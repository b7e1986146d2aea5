"""Ballots: how a validator votes, commits and reveals, and how the contract counts. Pure; mirrored by ``Tally.sol``.

A ballot names the seal, the model it was judged against and each cohort's aggregate, so a vote cannot be carried to
another round, another seal or another sum; and it is committed before any is revealed, so it cannot be copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from p2p_flock.alliance.context import RoundContext
from p2p_flock.crypto.fixed_point import compute_squared_norm
from p2p_flock.crypto.signing import GRADE_MAX, ballot_commitment, commit_digest, pack_marks
from p2p_flock.crypto.suite import hash32, keccak256
from p2p_flock.crypto.vectors import Vector
from p2p_flock.errors import CryptoError
from p2p_flock.params import SCORE_MICRO_MAX
from p2p_flock.ports import Signer
from p2p_flock.types import CohortOutcome, Stage, Vote
from p2p_flock.wire.messages import Ballot, BallotCommitment

NO_AGGREGATE = bytes(32)  # the aggregate digest of a cohort that could not be opened
LOSS_SCALE = 1_000_000  # losses are compared in millionths: a float is never compared across machines


def is_possible_sum(context: RoundContext, cohort: int, sealed: Iterable[int], total: Vector[np.int64]) -> bool:
    """Whether honest members, who all clip, can have made this opened sum. Whole numbers: all validators agree.

    Longer ones prove that somebody in the cohort cheated, not who. The clip at the merge would make most of them
    harmless to the model, but they drown the honest updates of their cohort, and no loss tells of it.

    Args:
        sealed: the cohort's sealed seats.
        total: the lifted ring sum; read once, in blocks.
    """
    if context.stage is not Stage.TRAINING:
        return True  # every lane has a bound of its own there, and an opening beyond it fails
    return compute_squared_norm(total) <= context.squared_norm_max(cohort, sealed)


def is_acceptable_change(loss_before: float, loss_after: float, tolerance_micro: int) -> bool:
    """Whether a candidate's loss is at most ``tolerance_micro`` millionths above the current model's.

    Not-a-number and infinite losses are refused.
    """
    if not (abs(loss_before) < float("inf") and abs(loss_after) < float("inf")):
        return False
    return round(loss_after * LOSS_SCALE) - round(loss_before * LOSS_SCALE) <= tolerance_micro


def compute_grade(loss_before: float, loss_after: float) -> int:
    """How much better a candidate is, 0..15: ⌊16 · (before − after) / before⌋ in whole millionths, 15 at most.

    0 where it is worse, where a loss is not finite, or where there was no loss left to take away. Of the contract's
    pay for trainers: a cohort that helps twice as much as another is not paid twice as much, but more.
    """
    if not (abs(loss_before) < float("inf") and abs(loss_after) < float("inf")):
        return 0
    before, after = round(loss_before * LOSS_SCALE), round(loss_after * LOSS_SCALE)
    return min(max((GRADE_MAX + 1) * (before - after) // before, 0), GRADE_MAX) if before > 0 else 0


def compute_score_micro(score: float | None) -> int:
    """A task's score in whole millionths, 0..1,000,000; 0, "not measured", for what is no number from 0 to 1."""
    if score is None or not 0 <= score <= 1:
        return 0
    return round(score * SCORE_MICRO_MAX)


def make_salt(context: RoundContext, position: int, seal: bytes, sign: Signer) -> bytes:
    """The ballot's salt, 32 bytes that only the owner can compute: a hash of a signature that is never published.

    RFC 6979 signatures are a pseudo-random function of the digest under the key, so the machine needs no randomness of
    its own and a restarted validator finds the same salt.
    """
    digest = keccak256(b"p2p_flock salt v1" + commit_digest(context.domain, context.round, seal, position, bytes(32)))
    return hash32("p2p_flock salt v1", sign(digest))


def make_ballot(
    context: RoundContext,
    seal: bytes,
    votes: Mapping[int, Vote],
    grades: Mapping[int, int],
    score_micro: int,
    aggregate_digests: Mapping[int, bytes],
    salt: bytes,
) -> Ballot:
    """A validator's ballot; cohorts without a vote are UNAVAILABLE, and grades count for a yes only.

    Args:
        votes, grades, aggregate_digests: by cohort; a grade that is not there is 0.
        score_micro: :func:`compute_score_micro` of the base model.
    """
    cohorts = range(context.params.cohort_count)
    verdicts = [votes.get(cohort, Vote.UNAVAILABLE) for cohort in cohorts]
    digests = tuple(
        NO_AGGREGATE if verdict is Vote.UNAVAILABLE else aggregate_digests[cohort]
        for cohort, verdict in enumerate(verdicts)
    )
    given = bytes(grades.get(cohort, 0) if verdict is Vote.YES else 0 for cohort, verdict in enumerate(verdicts))
    return Ballot(seal, context.base_model_digest, bytes(verdicts), given, score_micro, digests, salt)


def compute_commitment(context: RoundContext, position: int, ballot: Ballot) -> bytes:
    """keccak commitment that the revealed ballot opens.

    Raises:
        CryptoError: the ballot has no form that the contract could read.
    """
    marks = pack_marks(position, ballot.score_micro, ballot.verdicts, ballot.grades)
    terms = (ballot.base_model_digest, ballot.aggregate_digests, ballot.salt)
    return ballot_commitment(context.domain, context.round, ballot.seal, marks, *terms)


def make_commitment(context: RoundContext, position: int, ballot: Ballot, sign: Signer) -> BallotCommitment:
    """The signed commitment to ``ballot``."""
    commitment = compute_commitment(context, position, ballot)
    digest = commit_digest(context.domain, context.round, ballot.seal, position, commitment)
    return BallotCommitment(ballot.seal, commitment, sign(digest))


def is_valid_commitment(context: RoundContext, position: int, seal: bytes, message: BallotCommitment) -> bool:
    """Whether the contract would take this commitment. One that it would not take makes the whole batch fail."""
    if message.commitment == bytes(32):
        return False
    digest = commit_digest(context.domain, context.round, seal, position, message.commitment)
    return message.seal == seal and _is_signed_by(context, position, digest, message.signature)


def is_valid_ballot(context: RoundContext, position: int, seal: bytes, commitment: bytes, ballot: Ballot) -> bool:
    """Whether the contract would take this ballot: form, seal, and that it opens ``commitment``, which was signed.

    One ballot that it would not take makes the whole settlement fail, so nothing here may be laxer than the contract.
    """
    cohort_count = context.params.cohort_count
    if ballot.seal != seal or len(ballot.verdicts) != cohort_count or len(ballot.aggregate_digests) != cohort_count:
        return False
    for verdict, digest in zip(ballot.verdicts, ballot.aggregate_digests, strict=True):
        if verdict == Vote.YES and digest == NO_AGGREGATE:
            return False
    try:
        return compute_commitment(context, position, ballot) == commitment
    except CryptoError:  # a verdict, a grade or a score that has no form
        return False


def _is_signed_by(context: RoundContext, position: int, digest: bytes, signature: bytes) -> bool:
    try:
        return context.recover(digest, signature) == context.seat(context.assignment.validators[position]).owner
    except CryptoError:
        return False


@dataclass(frozen=True, slots=True)
class CohortTally:
    """What the contract decides about one cohort.

    Attributes:
        aggregate_digest: the adopted one; zero where none is.
        votes_for: yes votes of the digest that has most of them.
    """

    outcome: CohortOutcome
    aggregate_digest: bytes
    votes_for: int
    votes_against: int


def compute_tally(verdict_quorum: int, ballots: Mapping[int, Ballot], cohort: int, is_void: bool) -> CohortTally:
    """Count one cohort's votes. An unrevealed ballot abstains.

    Adopted when one aggregate digest has at least ``verdict_quorum`` yes votes (at most one can, for the quorum is more
    than half of V); rejected when that many vote no; otherwise undecided: not adopted, nobody suspected. Votes on a
    void cohort are counted and decide nothing.
    """
    votes_against = sum(ballot.verdicts[cohort] == Vote.NO for ballot in ballots.values())
    for_digest = Counter(
        ballot.aggregate_digests[cohort] for ballot in ballots.values() if ballot.verdicts[cohort] == Vote.YES
    )
    leading, votes_for = max(for_digest.items(), key=lambda item: (item[1], item[0]), default=(NO_AGGREGATE, 0))
    outcome = CohortOutcome.UNDECIDED
    if is_void:
        outcome = CohortOutcome.VOID
    elif votes_for >= verdict_quorum:
        outcome = CohortOutcome.ADOPTED
    elif votes_against >= verdict_quorum:
        outcome = CohortOutcome.REJECTED
    adopted = leading if outcome is CohortOutcome.ADOPTED else NO_AGGREGATE
    return CohortTally(outcome, adopted, votes_for, votes_against)
