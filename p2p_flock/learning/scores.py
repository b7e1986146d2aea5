"""Scores that the report compares models by; plain numpy.

Called by tasks and by ``baseline.py``. Validators vote by loss, never by these.
"""

from __future__ import annotations

import numpy as np

from p2p_flock.learning.results import Float64


def compute_auc(scores: Float64, targets: Float64) -> float | None:
    """Area under the ROC curve by the rank sum (Mann and Whitney 1947); ties count one half.

    Args:
        scores: shape (n,), larger means more likely positive.
        targets: shape (n,), 1.0 for positive and 0.0 for negative.

    Returns:
        A number in [0, 1], or None where only one class is present (a small hospital's test split) or a score is
        not a number.
    """
    positive_count = int(np.count_nonzero(targets == 1.0))
    negative_count = len(targets) - positive_count
    if positive_count == 0 or negative_count == 0 or bool(np.isnan(scores).any()):
        return None
    _, group, size = np.unique(scores, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(size) - (size - 1) / 2  # ranks from 1; tied scores share their mean rank
    rank_sum = float(middle_rank[group][targets == 1.0].sum())
    return (rank_sum - positive_count * (positive_count + 1) / 2) / (positive_count * negative_count)
