"""Section of ``make_vectors.py`` for what a settled round pays: ballots and survivors in, wei out.

Expected values are counted here pair by pair and with fractions, not with the code under test. Everything is flat so
that the contracts' tests can read it: integers as decimal text, marks as hex, digests as small numbers.
"""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

Case = dict[str, object]
YES, NO = 1, 2
NONE, SUM, OTHER = 0, 1, 2  # aggregate digests
UNDECIDED, ADOPTED, REJECTED, VOID = 0, 1, 2, 3


class Ballot:
    """One revealed ballot: a list of (verdict, grade, aggregate digest) by cohort."""

    def __init__(self, position: int, votes: list[tuple[int, int, int]], score_micro: int = 0) -> None:
        self.position, self.votes, self.score_micro = position, votes, score_micro

    @property
    def marks(self) -> int:
        word = self.position + (self.score_micro << 16)
        for cohort, (verdict, grade, _) in enumerate(self.votes):
            word += (verdict << (48 + 2 * cohort)) + (grade << (80 + 4 * cohort))
        return word


def _decide(ballots: list[Ballot], cohort: int, quorum: int, is_void: bool) -> tuple[int, int]:
    """(outcome, mean grade of whoever voted for the adopted digest)."""
    votes = [ballot.votes[cohort] for ballot in ballots]
    named = Counter(digest for verdict, _, digest in votes if verdict == YES)
    digest, count = max(named.items(), key=lambda item: item[1], default=(NONE, 0))
    if is_void:
        return VOID, 0
    if count >= quorum:
        return ADOPTED, sum(g for v, g, d in votes if v == YES and d == digest) // count
    return (REJECTED if sum(verdict == NO for verdict, _, _ in votes) >= quorum else UNDECIDED), 0


def _agreement(ballots: list[Ballot], own: Ballot) -> int:
    """K for each agreement in one cohort, minus one for each agreement of any two cohorts, over all others."""
    total, cohorts = 0, range(len(own.votes))
    for other in ballots:
        if other is own:
            continue
        for mine in cohorts:
            for theirs in cohorts:
                agrees = own.votes[mine][0] == other.votes[theirs][0] != 0
                total += agrees * ((len(own.votes) if mine == theirs else 0) - 1)
    return total


def _case(
    name: str, budget: int, validators: int, survivors_min: int, survivors: list[int], ballots: list[Ballot]
) -> Case:
    cohorts, quorum = len(survivors), -(-2 * validators // 3)
    decided = [_decide(ballots, k, quorum, survivors[k] < survivors_min) for k in range(cohorts)]
    weights = [1 + grade if outcome == ADOPTED else 0 for outcome, grade in decided]
    total = sum(weight * size for weight, size in zip(weights, survivors, strict=True))
    trainers = [int(Fraction(budget * 4000 // 10000 * weight, total)) if weight else 0 for weight in weights]
    most = (validators - 1) * (cohorts * cohorts // 2)
    rewards, scores = [0] * validators, []
    for ballot in ballots:
        score = _agreement(ballots, ballot)
        scores.append(max(0, score))
        bonus = int(Fraction(budget * 1000 // 10000 // validators * max(0, score), most)) if most else 0
        rewards[ballot.position] = budget * 4000 // 10000 // validators + bonus
    paid = sum(reward * size for reward, size in zip(trainers, survivors, strict=True)) + sum(rewards)
    return {
        "name": name, "reward_per_round": str(budget), "validator_count": validators, "cohort_count": cohorts,
        "survivors_min": survivors_min, "survivor_counts": survivors,
        "marks": [f"0x{ballot.marks:064x}" for ballot in ballots],
        "aggregate_digests": [digest for ballot in ballots for _, _, digest in ballot.votes],
        "outcomes": [outcome for outcome, _ in decided], "grades": [grade for _, grade in decided],
        "agreement_scores": [str(score) for score in scores],
        "trainer_rewards": [str(reward) for reward in trainers],
        "validator_rewards": [str(reward) for reward in rewards],
        "refund": str(budget * 1000 // 10000 // 3), "paid_without_refunds": str(paid),
    }  # fmt: skip


def _vote(verdict: int, grade: int = 0, digest: int = SUM) -> tuple[int, int, int]:
    return verdict, grade if verdict == YES else 0, digest if verdict else NONE


def _uniform(positions: range, verdicts: list[int], grade: int = 0) -> list[Ballot]:
    return [Ballot(p, [_vote(v, grade) for v in verdicts]) for p in positions]


def _draw(chance: random.Random, number: int) -> Case:
    validators, cohorts = chance.choice([3, 4, 7, 7, 16]), chance.choice([1, 2, 3, 4, 8])
    truth = [chance.choice([YES, YES, YES, NO]) for _ in range(cohorts)]
    common = [chance.randrange(16) for _ in range(cohorts)]
    ballots = []
    for position in range(validators):
        if chance.random() < 0.1:
            continue
        votes = []
        for cohort in range(cohorts):
            verdict = truth[cohort] if chance.random() < 0.9 else chance.choice([0, YES, NO])
            digest = SUM if chance.random() < 0.95 else OTHER + position
            votes.append(_vote(verdict, min(15, common[cohort] + chance.randrange(3)), digest))
        ballots.append(Ballot(position, votes, chance.randrange(1_000_001)))
    budget = chance.choice([10**18, 3 * 10**15 + 7, 1, 10**4, 2**96 - 1, chance.randrange(10**21)])
    survivors = [chance.choice([0, 3, 4, 11, 40, 249]) for _ in range(cohorts)]
    return _case(f"drawn_{number}", budget, validators, 4, survivors, ballots)


def make_pay() -> dict[str, object]:
    """Round numbers by hand, then drawn rounds."""
    ether, everybody = 10**18, range(7)
    half = [YES, YES, NO, NO]
    contrary = [*_uniform(range(6), half, 7), Ballot(6, [_vote(v) for v in (NO, NO, YES, YES)])]
    split = [Ballot(p, [_vote(YES, 15 if p < 5 else 0, SUM if p < 5 else OTHER)]) for p in range(7)]
    cases = [
        _case("one_cohort_pays_equally", ether, 7, 4, [4], _uniform(everybody, [YES], 15)),
        _case("one_cohort_no_grade", ether, 7, 4, [4], _uniform(everybody, [YES])),
        _case("perfect_agreement_half_yes_half_no", ether, 7, 4, [4, 4, 4, 4], _uniform(everybody, half, 3)),
        _case("bad_always_yes_has_no_bonus", ether, 7, 4, [4, 4, 4, 4], _uniform(everybody, [YES] * 4, 3)),
        _case("bad_contrary_voter_has_no_bonus", ether, 7, 4, [4, 4, 4, 4], contrary),
        _case("grades_weigh", ether, 7, 4, [4, 8], [Ballot(p, [_vote(YES, 15), _vote(YES, 0)]) for p in everybody]),
        _case("grades_of_the_adopted_digest_only", ether, 7, 4, [5], split),
        _case("bad_quorum_of_survivors_missing", ether, 7, 4, [3, 4], _uniform(everybody, [YES, YES], 5)),
        _case("bad_nobody_revealed", ether, 7, 4, [4, 4], []),
        _case("bad_rejected", ether, 7, 4, [4, 4], _uniform(everybody, [NO, NO])),
        _case("bad_too_few_votes", ether, 7, 4, [4, 4], _uniform(range(4), [YES, NO], 9)),
        _case("one_validator", ether, 1, 4, [4, 4], _uniform(range(1), [YES, NO], 2)),
        _case("bad_budget_of_one_wei", 1, 7, 4, [4, 4], _uniform(everybody, [YES, NO], 2)),
        _case("largest_budget", 2**96 - 1, 64, 4, [249] * 16, _uniform(range(64), [YES, NO] * 8, 15)),
    ]
    chance = random.Random("p2p_flock pay")
    cases += [_draw(chance, number) for number in range(24)]
    about = (
        "marks: a word per revealed ballot, ascending; aggregate_digests: cohort_count per ballot, in the same order: "
        "the digest is the number as 32 bytes, big-endian. "
        "grades: of adopted cohorts, 0 elsewhere. agreement_scores: per ballot, negative ones as 0. Money in wei; "
        "trainer_rewards for each survivor of a cohort, validator_rewards by position. bad_: somebody gets nothing"
    )
    return {"about": about, "cases": cases}
