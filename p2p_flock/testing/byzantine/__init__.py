"""Members that do not follow the protocol: one small class per behaviour, drawn from the seed of a simulation.

A :class:`Villain` is a ``Make``: it behaves in one way whenever its member is elected trainer, in another as a
validator, and remembers across rounds. What it may do is whatever its keys allow: it signs what it likes with its own,
forges nobody's. ``kinds.py`` has the villains by the names that a testnet knows them by.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.model import Model
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.params import AllianceParams
from p2p_flock.ports import Machine, Signer
from p2p_flock.testing.byzantine import poisoners, replay, trainers, validators, voters
from p2p_flock.testing.byzantine.mind import Coalition, Mind
from p2p_flock.testing.byzantine.trainers import CrookedTrainer
from p2p_flock.testing.byzantine.updates import UPDATE_ATTACKS
from p2p_flock.testing.byzantine.validators import CrookedValidator
from p2p_flock.testing.facts import Post
from p2p_flock.types import Role

__all__ = [
    "TRAINERS", "VALIDATORS", "Coalition", "Mind", "Villain", "compute_byzantine_max", "draw", "draw_villains",
    "make_coalition",
]  # fmt: skip

TRAINERS: Mapping[str, type[CrookedTrainer]] = {
    kind.__name__: kind for kind in (*trainers.KINDS, *poisoners.KINDS, replay.ReplayingTrainer)
}
VALIDATORS: Mapping[str, type[CrookedValidator]] = {
    kind.__name__: kind for kind in (*validators.KINDS, *voters.KINDS, replay.ReplayingValidator)
}


@dataclass(frozen=True, slots=True)
class Villain:
    """See the module. One for each member: it remembers.

    Attributes:
        trainer, validator: keys of :data:`TRAINERS` and :data:`VALIDATORS`; ``None``: honest in that role.
    """

    trainer: str | None = None
    validator: str | None = None
    mind: Mind = field(default_factory=Mind, compare=False, repr=False)

    def __call__(self, post: Post) -> Machine:
        return self.make(post.context, post.seat, post.sign, post.mask_secret_key, post.history, post.model)

    def make(
        self,
        context: RoundContext,
        seat: int,
        sign: Signer,
        mask_secret_key: bytes,
        history: AllianceHistory,
        model: Model,
    ) -> TrainerMachine | ValidatorMachine:
        """The machine for a round; a daemon's ``MakeMachine``.

        Args:
            history, model: the log so far and the model that the round starts from: what anybody may learn from.
        """
        self.mind.learn(history, context.seat(seat).owner, model)
        if context.role_of(seat) is Role.VALIDATOR:
            if self.validator is None:
                return ValidatorMachine(context, seat, sign)
            return VALIDATORS[self.validator](context, seat, sign, self.mind)
        if self.trainer is None:
            return TrainerMachine(context, seat, sign, mask_secret_key)
        return TRAINERS[self.trainer](context, seat, sign, mask_secret_key, self.mind)


def compute_byzantine_max(params: AllianceParams, seat_count: int) -> int:
    """How many members may be byzantine so that every property holds whoever of them is elected to what.

    As validators, all at once: V − ⌈2V/3⌉ leave a quorum for seal and verdict to the honest, and have none themselves.
    As trainers of one cohort, all at once: each may be gone and take one honest trainer with it (a quarrel); the rest
    of the smallest cohort must reach max(3, t, c + 3) survivors, who then are enough to open it.

    With more of them P1, P2 and P5 to P8 hold all the same, P3 and P4 promise nothing. Beyond c of them among the
    holders of a trainer's secrets P1 promises nothing to that trainer; its checker allows for that.
    """
    validators_max = params.validator_count - params.verdict_quorum
    trainers_max = (params.cohort_owners_min(seat_count) - params.survivors_min) // 2
    return max(0, min(validators_max, trainers_max))


def draw(chance: random.Random) -> Villain:
    """One of all behaviours for each role, all alike likely, and one of all attacks on updates."""
    trainer, validator = chance.choice(sorted(TRAINERS)), chance.choice(sorted(VALIDATORS))
    return Villain(trainer, validator, Mind(chance.choice(sorted(UPDATE_ATTACKS))))


def draw_villains(
    chance: random.Random, params: AllianceParams, member_count: int, count: int | None = None
) -> dict[int, Villain]:
    """Members and how each of them behaves, for the default mix.

    Args:
        count: how many are wanted; ``None`` draws that too. Never more than :func:`compute_byzantine_max`.
    """
    most = compute_byzantine_max(params, member_count)
    count = chance.randint(0, most) if count is None else min(count, most)
    return {member: draw(chance) for member in sorted(chance.sample(range(member_count), count))}


def make_coalition(chance: random.Random, member_count: int, count: int) -> dict[int, Villain]:
    """So many colluding members, or as many Sybil seats of one, drawn; they poison alike and vote for each other."""
    coalition, attack = Coalition(), chance.choice(sorted(UPDATE_ATTACKS))
    members = sorted(chance.sample(range(member_count), min(count, member_count)))
    return {member: Villain("ColludingTrainer", "ColludingValidator", Mind(attack, coalition)) for member in members}
