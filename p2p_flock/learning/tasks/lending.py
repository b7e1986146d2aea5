"""LendingClub loans by US state: will the borrower fail? Logistic regression over 17 columns, one bad loan in twenty.

What a lender sums up in round 0 and how every node turns that sum into the same preprocessing stand in
``table_task.py``. Sub-grade and length of employment are left out: with them the pooled model is no better.

Measured, AUC on the union of all private test parts, the eight largest states (5,140 loans, 282 of them bad), 20 rounds
of 5 trainers, mean of three seeds that split the data and draw the trainers anew:

    one member alone   plain FedAvg after 1, 5, 10, 20 rounds   pooled
    .697               .702  .738  .752  .756                   .761

None of the 60 rounds raised the test loss of two of the three members that did not train by more than .01.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from p2p_flock.learning.task import digest_parameters
from p2p_flock.learning.task_manifest import TaskManifest
from p2p_flock.learning.tasks.lending_data import SCHEMA
from p2p_flock.learning.tasks.table import Schema
from p2p_flock.learning.tasks.table_task import Layout, TableTask

NAME: Final = "lending"
VERSION: Final = "1"
FEATURE_COUNT: Final = Layout(SCHEMA).feature_count

MANIFEST: Final = TaskManifest(
    name=NAME,
    version=VERSION,
    model=f"logistic regression: linear layer {FEATURE_COUNT} to 1",
    loss="mean log-loss of Class = bad",
    optimiser="SGD without momentum, fresh each round",
    preprocessing="standardise numbers, missing at the mean; centered one-hot and missing indicators; 10 prior records",
    statistics_count=Layout(SCHEMA).statistics_count,
    parameter_count=FEATURE_COUNT + 1,
    statistics_clip=4096.0,
    clip_norm=4.0,
    local_epochs=5,
    batch_size=32,
    learning_rate=0.05,
    test_ratio=0.25,
    initial_parameters_sha256=digest_parameters(np.zeros(FEATURE_COUNT + 1)),
    columns=SCHEMA.columns,
    examples_per_weight=16,
)


class LendingTask(TableTask):
    """See the module's docstring."""

    name: ClassVar[str] = NAME
    version: ClassVar[str] = VERSION
    schema: ClassVar[Schema] = SCHEMA
    described: ClassVar[TaskManifest] = MANIFEST
    deviations_max: ClassVar[float] = 60.0  # counts and incomes have long tails: 24 deviations occur
