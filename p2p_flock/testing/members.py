"""One member of a swarm: what survives a crash, the machine that does not, and what may go wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from p2p_flock.alliance.trainer import CONTRIBUTION, TrainerMachine
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.errors import StoreError
from p2p_flock.ports import Effect, Persist
from p2p_flock.testing.alliance import Setting
from p2p_flock.types import Role

Machine = TrainerMachine | ValidatorMachine
Make = Callable[[Setting, int], Machine]


def make_machine(setting: Setting, seat: int) -> Machine:
    """The honest machine for the seat's role."""
    if setting.context.role_of(seat) is Role.VALIDATOR:
        return ValidatorMachine(setting.context, seat, setting.signer(seat))
    return TrainerMachine(setting.context, seat, setting.signer(seat), setting.mask_secrets[seat])


class Fate(Enum):
    """What happens to a node instead of its next effect."""

    CRASH = "crash"  # it comes back
    DEATH = "death"


@dataclass(frozen=True)
class Faults:
    """What goes wrong. Chances per message or per effect; times in ms.

    Attributes:
        fate: asked before each effect of each seat; strikes that node.
        hangs: seats that stay connected and never do anything.
    """

    loss: float = 0.0
    duplication: float = 0.0
    delay_ms: tuple[int, int] = (5, 50)
    crash: float = 0.0
    crashes_max: int = 0
    downtime_ms: tuple[int, int] = (100, 4000)
    fate: Callable[[int, Effect], Fate | None] = lambda seat, effect: None
    hangs: frozenset[int] = frozenset()


@dataclass
class Node:
    """See the module.

    Attributes:
        life: counts starts; answers to an earlier life are lost.
        contributed_with: the entropy of the contribution that it promised.
    """

    seat: int
    machine: Machine | None = None
    life: int = 0
    tick: int = 0
    journal: list[Persist] = field(default_factory=list)
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    entropy: bytes = b""
    contributed_with: bytes = b""

    def persist(self, promise: Persist) -> None:
        """Keep a promise.

        Raises:
            StoreError: it contradicts an earlier one; a real node stops.
        """
        for known in self.journal:
            if (known.kind, known.key) == (promise.kind, promise.key):
                if known.body != promise.body:
                    raise StoreError(f"seat {self.seat} would contradict its journal: {promise.kind}")
                return
        self.journal.append(promise)
        if promise.kind == CONTRIBUTION:
            self.contributed_with = self.entropy
