"""How likely framers get their victim suspended: they poison only in the cohorts that hold it.

Called by ``bench/poison.py``. No learning is needed for this: honest validators reject what is openly poisoned,
framers among them do so too, and every other cohort is adopted, which clears whoever trained in it. So a framer itself
is hardly ever suspected, and its victim is when it meets one in b cohorts in a row. Uniform permutations stand for the
sortition.
"""

from __future__ import annotations

from typing import Final, TypedDict

import numpy as np

from p2p_flock.alliance.sortition import compute_cohort_range
from p2p_flock.alliance.suspicion import advance_run
from p2p_flock.bench.poison_settings import Setting
from p2p_flock.types import CohortOutcome

ALLIANCES: Final = 2_000


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
    rounds_beside = rounds_training = framed = 0
    for _ in range(alliances):
        orders = chance.permuted(np.tile(np.arange(setting.members), (setting.rounds, 1)), axis=1)
        framers = orders[:, setting.validators :] >= setting.members - setting.bad
        victims = orders[:, setting.validators :] == 0
        is_beside, is_training = np.zeros(setting.rounds, dtype=bool), victims.any(axis=1)
        for cohort in cohorts:
            part = slice(cohort.start, cohort.stop)
            is_beside |= victims[:, part].any(axis=1) & framers[:, part].any(axis=1)
        rounds_beside += int(is_beside.sum())
        rounds_training += int(is_training.sum())
        run = 0
        for is_rejected in is_beside[is_training].tolist():
            run = advance_run(run, CohortOutcome.REJECTED if is_rejected else CohortOutcome.ADOPTED)
            if run >= setting.suspicion_bound:
                framed += 1
                break
    return {
        "setting": setting.name,
        "alliances": alliances,
        "beside": rounds_beside / rounds_training,
        "chance": framed / alliances,
    }
