"""Suspicion: whose cohorts were rejected so often in a row that the seat is suspended. Pure; never costs stake.

Nobody sees a single update, so a rejected cohort accuses all of its trainers alike. Cohorts are drawn anew in every
round: an honest trainer soon sits in one that is adopted, and one that always poisons never does. That is adaptive group
testing in its simplest form (each round's cohorts are the pools), and a rule short enough to be checked on chain from
the records of the rounds.
"""

from __future__ import annotations

from p2p_flock.types import CohortOutcome


def advance_run(run: int, outcome: CohortOutcome) -> int:
    """How often in a row a sealed trainer's cohorts were rejected, after one more of them.

    An adopted cohort clears; one that is undecided or void says nothing about its trainers.
    """
    if outcome is CohortOutcome.ADOPTED:
        return 0
    return run + (outcome is CohortOutcome.REJECTED)
