"""The members of one run: their data, honest training, and what the bad ones make of it.

Called by ``bench/poison_alliance.py`` and by the rules compared with, so that all see the same updates.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property

import numpy as np

from p2p_flock.bench.poison_data import CLASSES, Part, Split
from p2p_flock.bench.poison_model import Reals, compute_accuracy, make_initial, train_many
from p2p_flock.bench.poison_settings import Attack, Setting
from p2p_flock.testing.byzantine.updates import (
    BACKDOOR_TARGET,
    DATA_ATTACKS,
    UPDATE_ATTACKS,
    AttackMemory,
    stamp_trigger,
)

VICTIM_OFFSET = 0  # of the framing attack: the first honest member


class Members:
    """All members of one run. The bad ones are the last of them; the sortition does not care for the order.

    Attributes:
        memories: of the bad members, by member.
    """

    def __init__(self, setting: Setting, split: Split, attack: Attack, seed: int) -> None:
        self.setting, self.split, self.attack, self.seed = setting, split, attack, seed
        is_attacked = attack.update is not None or attack.data is not None
        self.bad = frozenset(range(setting.members - setting.bad, setting.members)) if is_attacked else frozenset()
        self.memories = {member: AttackMemory() for member in self.bad}

    @cached_property
    def initial(self) -> Reals:
        """Where the model starts."""
        return make_initial(self.seed, self.split.test.images.shape[-1])

    @cached_property
    def poisoned(self) -> Part:
        """Everybody's training images, those of the bad members after their attack on data, if it is one."""
        train = self.split.train
        if self.attack.data is None:
            return train
        images, labels = train.images.copy(), train.labels.copy()
        for member in sorted(self.bad):
            chance = np.random.default_rng([self.seed, 8, member])
            planted = DATA_ATTACKS[self.attack.data](images[member].astype(np.float64), labels[member], CLASSES, chance)
            images[member], labels[member] = planted[0].astype(np.float32), planted[1]
        return Part(images, labels)

    def is_attacking(self, member: int, cohort: Collection[int]) -> bool:
        """Whether ``member`` attacks in this company."""
        return member in self.bad and (not self.attack.is_framing or VICTIM_OFFSET in cohort)

    def train(self, parameters: Reals, cohorts: Sequence[Sequence[int]], number: int) -> dict[int, Reals]:
        """What each member of these cohorts sends, unclipped, float64[D], by member."""
        trainers = [member for cohort in cohorts for member in cohort]
        setting, poisoned = self.setting, self.poisoned
        chance = np.random.default_rng([self.seed, 9, number])
        rows = sorted(trainers)
        updates = dict(
            zip(
                rows,
                train_many(
                    parameters,
                    poisoned.images[rows],
                    poisoned.labels[rows],
                    chance,
                    setting.rate,
                    setting.batch,
                    setting.epochs,
                ),
                strict=True,
            )
        )
        if self.attack.update is None:
            return updates
        change = UPDATE_ATTACKS[self.attack.update]
        for cohort in cohorts:
            for member in cohort:
                if self.is_attacking(member, cohort):
                    draw = np.random.default_rng([self.seed, 10, number, member])
                    updates[member] = change(updates[member], draw, self.memories[member])
        return updates

    def remember_step(self, step: Reals) -> None:
        """The global model changed so: everybody sees it."""
        for memory in self.memories.values():
            memory.last_step = step

    def score(self, parameters: Reals) -> float:
        """Accuracy on the test images."""
        return compute_accuracy(parameters, self.split.test.images, self.split.test.labels)

    def score_backdoor(self, parameters: Reals) -> float:
        """How many test images of other classes the trigger turns into the backdoor's target."""
        test = self.split.test
        others = test.labels != BACKDOOR_TARGET
        stamped = stamp_trigger(test.images[others].astype(np.float64), 1.0).astype(np.float32)
        return compute_accuracy(parameters, stamped, np.full(int(others.sum()), BACKDOOR_TARGET, dtype=np.int64))
