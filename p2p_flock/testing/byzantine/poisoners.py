"""Byzantine trainers that follow the protocol to the letter and lie in the one thing that masks hide: the update.

Whatever they send is in range, so that every cohort opens; only what validators measure of the sum can tell. They work
in a simulation and in a testnet's node alike: the update is changed where the worker's comes in.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from p2p_flock.alliance.trainer import Phase
from p2p_flock.ports import Effect, Event, MaskUpdate, UpdateComputed
from p2p_flock.testing.byzantine.trainers import CrookedTrainer
from p2p_flock.testing.byzantine.updates import UPDATE_ATTACKS
from p2p_flock.types import Stage

# 128 MiB of float64, a few times over: attacks hold the update whole. Beyond it a poisoner sits the round out.
POISONED_VALUES_MAX = 1 << 24


class Poisoner(CrookedTrainer):
    """Sends what its mind's attack makes of its update, as long as a lane may be: nobody can hold it to a norm.

    Only training is attacked; sums of statistics are honest.
    """

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if isinstance(event, UpdateComputed) and self.phase is Phase.COMPUTING and self.is_poisoning:
            if event.values.size > POISONED_VALUES_MAX:
                return self._step_aside(f"too long to poison: {event.values.size} values")
            chance = np.random.default_rng([self.seat, *self.context.seed])
            honest = np.array(event.values[:], dtype=np.float64)
            event = UpdateComputed(UPDATE_ATTACKS[self.mind.attack](honest, chance, self.mind.memory), event.entropy)
        return super().handle(event, now_ms)

    @property
    def is_poisoning(self) -> bool:
        """Whether it attacks in this round."""
        return self.context.stage is Stage.TRAINING

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if isinstance(effect, MaskUpdate) and self.is_poisoning:
            # Each coordinate is limited instead of the norm: what a lane holds is all that anybody can check.
            return (MaskUpdate(effect.masking, replace(effect.encoder, is_update=False)),)
        return (effect,)


class Framer(Poisoner):
    """Poisons beside one victim only, so that it looks as if the victim's cohorts are never any good."""

    @property
    def is_poisoning(self) -> bool:
        return super().is_poisoning and self.victim in self._cohort.seats

    @property
    def victim(self) -> int:
        """The same owner in every round, and for all who frame: the first by account that is not one of them."""
        owners = {seat.owner: seat.index for seat in self.context.snapshot.seats}
        others = sorted(set(owners) - self.mind.coalition.owners - {self.context.seat(self.seat).owner})
        return owners[others[0]] if others else self.seat


class ColludingTrainer(Poisoner):
    """Poisons with its accomplices: the same attack, and votes of their validators for each other's cohorts."""


KINDS: tuple[type[CrookedTrainer], ...] = (ColludingTrainer, Framer, Poisoner)
