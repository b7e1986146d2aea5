"""What a settled round pays, to the wei: trainers by their cohort's grade, validators by agreement, senders their gas.

Pure, integers only; every division rounds down, and what nobody earned stays in the pool. The contract's rule
(``contracts/src``) in Python: both run ``tests/vectors/pay.json``. Called by ``reference.py``, the simulated contract
and the checks of the simulator; a node never computes what it is owed, it reads the record that the chain logs.

Money is FLOCK wei. B is ``reward_per_round``, V validators, K cohorts; "revealed" are the positions whose ballots were
opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from p2p_flock.chain_events import SettledRecord
from p2p_flock.types import ADDRESS_BYTES, CohortOutcome, Vote
from p2p_flock.wire.messages import Ballot

BPS = 10_000
TRAINER_BPS, VALIDATOR_BPS, AGREEMENT_BPS, REFUND_BPS = 4_000, 4_000, 1_000, 1_000  # of B; together all of it
REFUND_COUNT = 3  # whoever sealed, brought the commitments to the quorum, and ended the round
NOBODY = bytes(ADDRESS_BYTES)


def compute_mean_grade(ballots: Mapping[int, Ballot], cohort: int, digest: bytes) -> int:
    """g_k = ⌊Σ grades / votes⌋ over the yes votes for ``digest``, 0..15; 0 where there is none."""
    grades = [
        ballot.grades[cohort]
        for ballot in ballots.values()
        if ballot.verdicts[cohort] == Vote.YES and ballot.aggregate_digests[cohort] == digest
    ]
    return sum(grades) // len(grades) if grades else 0


def compute_trainer_rewards(
    reward_per_round: int, survivor_counts: Sequence[int], grades: Sequence[int | None]
) -> tuple[int, ...]:
    """Wei for each survivor of each cohort: ⌊T · (1 + g_k) / W⌋, with W = Σ n_k · (1 + g_k) over adopted cohorts.

    T is 40 % of B. A cohort whose grade is g weighs 1 + g, so that an adopted one that hardly helped is still paid, and
    where one cohort is adopted alone its survivors are paid equally whatever its grade.

    Args:
        survivor_counts: n_k, per cohort.
        grades: g_k, per cohort; ``None`` where the cohort was not adopted, which then earns 0.
    """
    shares = [0 if grade is None else 1 + grade for grade in grades]
    total = sum(count * share for count, share in zip(survivor_counts, shares, strict=True))
    pot = reward_per_round * TRAINER_BPS // BPS
    return tuple(pot * share // total if total else 0 for share in shares)


def compute_agreement_scores(verdicts: Mapping[int, bytes], cohort_count: int) -> dict[int, int]:
    """S_i by revealed position: how much oftener a validator agrees with the others than their habits alone would.

    S_i = K · Σ_k (C_k(v_ik) − 1) − y_i · (Y − y_i) − n_i · (N − n_i), the sum over cohorts where v_ik is yes or no.
    C_k(v): revealed ballots with verdict v in cohort k; y_i, n_i: own yes and no votes; Y, N: all.

    Correlated agreement (Dasgupta and Ghosh, "Crowdsourced Judgement Elicitation with Endogenous Proficiency", WWW
    2013; Shnayder, Agarwal, Frongillo and Parkes, "Informed Truthfulness in Multi-Task Peer Prediction", EC 2016) with
    the identity as score matrix, summed over all peers and all pairs of cohorts: agreement in the same cohort counts K
    times, agreement expected from the number of yes and no votes is taken off. Who always votes yes scores exactly 0,
    however the others vote, and with one cohort everybody does.

    Args:
        verdicts: by revealed position, one byte a cohort, of :class:`types.Vote`.
    """
    counts = [Counter(ballot[cohort] for ballot in verdicts.values()) for cohort in range(cohort_count)]
    yes = {position: ballot.count(Vote.YES) for position, ballot in verdicts.items()}
    no = {position: ballot.count(Vote.NO) for position, ballot in verdicts.items()}
    all_yes, all_no = sum(yes.values()), sum(no.values())
    scores = {}
    for position, ballot in verdicts.items():
        agreeing = sum(counts[cohort][vote] - 1 for cohort, vote in enumerate(ballot) if vote != Vote.UNAVAILABLE)
        expected = yes[position] * (all_yes - yes[position]) + no[position] * (all_no - no[position])
        scores[position] = cohort_count * agreeing - expected
    return scores


def compute_validator_rewards(
    reward_per_round: int, validator_count: int, cohort_count: int, verdicts: Mapping[int, bytes]
) -> tuple[int, ...]:
    """Wei by position: 40 % of B / V for whoever revealed, and the agreement bonus; 0 for who did not.

    bonus_i = ⌊(10 % of B / V) · max(0, S_i) / ((V − 1) · ⌊K² / 2⌋)⌋; the divisor is the most that S_i can be, and where
    it is 0 (one validator, or one cohort) there is no bonus.
    """
    base = reward_per_round * VALIDATOR_BPS // BPS // validator_count
    pot = reward_per_round * AGREEMENT_BPS // BPS // validator_count
    most = (validator_count - 1) * (cohort_count * cohort_count // 2)
    rewards = [0] * validator_count
    for position, score in compute_agreement_scores(verdicts, cohort_count).items():
        rewards[position] = base + (pot * max(0, score) // most if most else 0)
    return tuple(rewards)


def compute_refund(reward_per_round: int) -> int:
    """Wei to each of the three senders: 10 % of B / 3."""
    return reward_per_round * REFUND_BPS // BPS // REFUND_COUNT


@dataclass(frozen=True, slots=True)
class Senders:
    """Who sent the round's three transactions, 20 bytes each.

    ``committer`` brought the commitments to the verdict quorum A, :data:`NOBODY` where they never came to it;
    ``settler`` ended the round.
    """

    sealer: bytes
    committer: bytes
    settler: bytes


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """What a round's pay follows from.

    Attributes:
        survivors: words of the sealed bitmap, as on chain; survivor_counts: per cohort how many of it.
        outcomes, aggregate_digests: per cohort; the digest that was adopted, where one was.
        ballots: revealed ones by position.
    """

    round: int
    seat_count: int
    seed: bytes
    survivors: tuple[int, ...]
    survivor_counts: tuple[int, ...]
    outcomes: tuple[CohortOutcome, ...]
    aggregate_digests: tuple[bytes, ...]
    ballots: Mapping[int, Ballot]


def compute_record(
    reward_per_round: int, validator_count: int, verdict_quorum: int, facts: RoundFacts, senders: Senders
) -> SettledRecord:
    """The record that the contract logs and keeps the hash of.

    Sealer and committer get their refund where a quorum committed, the settler where a quorum revealed; else their
    address is zero. A refund for less would pay for rounds that decide nothing.
    """
    grades = [
        compute_mean_grade(facts.ballots, cohort, digest) if outcome == CohortOutcome.ADOPTED else None
        for cohort, (outcome, digest) in enumerate(zip(facts.outcomes, facts.aggregate_digests, strict=True))
    ]
    verdicts = {position: ballot.verdicts for position, ballot in facts.ballots.items()}
    is_committed = senders.committer != NOBODY
    return SettledRecord(
        round=facts.round,
        seat_count=facts.seat_count,
        revealed=sum(1 << position for position in facts.ballots),
        outcomes=sum(outcome << 2 * cohort for cohort, outcome in enumerate(facts.outcomes)),
        seed=facts.seed,
        survivors=facts.survivors,
        trainer_rewards=compute_trainer_rewards(reward_per_round, facts.survivor_counts, grades),
        validator_rewards=compute_validator_rewards(reward_per_round, validator_count, len(grades), verdicts),
        refund=compute_refund(reward_per_round),
        sealer=senders.sealer if is_committed else NOBODY,
        committer=senders.committer,
        settler=senders.settler if len(facts.ballots) >= verdict_quorum else NOBODY,
    )


def compute_total(record: SettledRecord, survivor_counts: Sequence[int]) -> int:
    """Everything that a record owes, wei: what leaves the pool when the round settles."""
    trainers = sum(reward * count for reward, count in zip(record.trainer_rewards, survivor_counts, strict=True))
    senders = sum(sender != NOBODY for sender in (record.sealer, record.committer, record.settler))
    return trainers + sum(record.validator_rewards) + record.refund * senders


def has_reached_target(ballots: Mapping[int, Ballot], verdict_quorum: int, base_model: bytes, target: int) -> bool:
    """Whether a quorum of revealed ballots names ``base_model``, the confirmed one, with at least the target's score.

    ``target`` in millionths; 0 is reached never, for it means that there is none.
    """
    reached = sum(
        ballot.base_model_digest == base_model and ballot.score_micro >= target for ballot in ballots.values()
    )
    return target > 0 and any(base_model) and reached >= verdict_quorum
