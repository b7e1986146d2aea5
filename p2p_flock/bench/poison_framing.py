"""How likely framers get their victim suspended: they poison only in the cohorts that hold it.

Called by ``bench/poison.py``. No learning is needed for this: honest validators reject what is openly poisoned, framers
among them do so too, and cohorts without the victim are adopted, which clears whoever trained in them: a framer is
hardly ever suspected. To a clean cohort that holds the victim framers vote no, so that it clears only where the honest
have a verdict quorum. Uniform permutations stand for the sortition. ``alliance/risk.py`` computes the same chance.
"""

from __future__ import annotations

from typing import Final, TypedDict

import numpy as np

from p2p_flock.alliance.sortition import compute_cohort_range
from p2p_flock.alliance.suspicion import advance_run
from p2p_flock.bench.poison_settings import Setting
from p2p_flock.types import CohortOutcome

ALLIANCES: Final = 2_000
REJECTED, ADOPTED, UNDECIDED = (
    int(outcome) for outcome in (CohortOutcome.REJECTED, CohortOutcome.ADOPTED, CohortOutcome.UNDECIDED)
)


class Framed(TypedDict):
    """``chance`` that the victim is suspended within the row's rounds; ``beside``: a framer in its cohort."""

    setting: str
    alliances: int
    beside: float
    chance: float


def count_framed(setting: Setting, seed: int, alliances: int = ALLIANCES) -> Framed:
    """Play so many alliances. The victim is member 0, the framers are the last ones."""
    chance = np.random.default_rng([seed, 11])
    trainers = setting.members - setting.validators
    cohorts = [compute_cohort_range(trainers, setting.cohorts, cohort) for cohort in range(setting.cohorts)]
    quorum, rounds_beside, rounds_training, framed = setting.params.verdict_quorum, 0, 0, 0
    for _ in range(alliances):
        orders = chance.permuted(np.tile(np.arange(setting.members), (setting.rounds, 1)), axis=1)
        framers = orders[:, setting.validators :] >= setting.members - setting.bad
        victims = orders[:, setting.validators :] == 0
        bad_validators = (orders[:, : setting.validators] >= setting.members - setting.bad).sum(axis=1)
        is_beside, is_training = np.zeros(setting.rounds, dtype=bool), victims.any(axis=1)
        for cohort in cohorts:
            part = slice(cohort.start, cohort.stop)
            is_beside |= victims[:, part].any(axis=1) & framers[:, part].any(axis=1)
        rounds_beside += int(is_beside.sum())
        rounds_training += int(is_training.sum())
        is_rejected = is_beside | (bad_validators >= quorum)
        is_cleared = ~is_beside & (setting.validators - bad_validators >= quorum)
        outcomes = np.where(is_rejected, REJECTED, np.where(is_cleared, ADOPTED, UNDECIDED))[is_training]
        run = 0
        for outcome in outcomes.tolist():
            run = advance_run(run, CohortOutcome(outcome))
            if run >= setting.suspicion_bound:
                framed += 1
                break
    return {
        "setting": setting.name,
        "alliances": alliances,
        "beside": rounds_beside / rounds_training,
        "chance": framed / alliances,
    }
