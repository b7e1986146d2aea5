"""Members that do not follow the protocol: one small class per behaviour, drawn from the seed of a simulation.

A :class:`Villain` is a ``Make``: it behaves in one way whenever its member is elected trainer, in another as a
validator. What it may do is whatever its keys allow: it signs what it likes with its own, forges nobody's.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from p2p_flock.params import AllianceParams
from p2p_flock.ports import Machine
from p2p_flock.testing.byzantine import trainers, validators
from p2p_flock.testing.byzantine.trainers import CrookedTrainer
from p2p_flock.testing.byzantine.validators import CrookedValidator
from p2p_flock.testing.facts import Post
from p2p_flock.types import Role

TRAINERS: Mapping[str, type[CrookedTrainer]] = {kind.__name__: kind for kind in trainers.KINDS}
VALIDATORS: Mapping[str, type[CrookedValidator]] = {kind.__name__: kind for kind in validators.KINDS}


@dataclass(frozen=True, slots=True)
class Villain:
    """See the module. ``trainer`` and ``validator`` are keys of :data:`TRAINERS` and :data:`VALIDATORS`."""

    trainer: str
    validator: str

    def __call__(self, post: Post) -> Machine:
        if post.context.role_of(post.seat) is Role.VALIDATOR:
            return VALIDATORS[self.validator](post.context, post.seat, post.sign)
        return TRAINERS[self.trainer](post.context, post.seat, post.sign, post.mask_secret_key)


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
    """One of all behaviours for each role, all alike likely."""
    return Villain(chance.choice(sorted(TRAINERS)), chance.choice(sorted(VALIDATORS)))


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
