"""The network between simulated nodes: who reaches whom when, what is lost, late, doubled, and who serves which blob.

Decides only; the simulation plans what follows. All chance comes from the generator given.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from p2p_flock.testing.faults import Faults

NOTICED_MS = 100  # how soon the others see that a connection broke
CALM_MS_MAX = 100
PULL_TIMEOUT_MS = 5000  # of a source that does not answer


@dataclass(frozen=True, slots=True)
class Partition:
    """From ``start_ms`` to ``end_ms`` nobody in ``side`` reaches anybody outside of it."""

    start_ms: int
    end_ms: int
    side: frozenset[int]


class Network:
    """See the module. Members are named by their number.

    Attributes:
        is_healed: no more losses; partitions that stand end in their own time.
        mute: members whose messages are lost from now on although they run (a test's means).
    """

    def __init__(self, faults: Faults, chance: random.Random) -> None:
        self._faults, self._chance = faults, chance
        self.partitions: list[Partition] = []
        self.is_healed = False

    def latency_ms(self) -> int:
        """One way, between members."""
        most = min(self._faults.delay_max_ms, CALM_MS_MAX) if self.is_healed else self._faults.delay_max_ms
        return self._chance.randint(self._faults.delay_min_ms, most)

    def poll_ms(self) -> int:
        """How soon a member sees a new block."""
        return self._chance.randint(5, CALM_MS_MAX)

    def is_cut(self, first: int, second: int, now_ms: int) -> bool:
        """Whether a partition lies between two members."""
        return bool(self.partitions) and any(
            cut.start_ms <= now_ms < cut.end_ms and (first in cut.side) != (second in cut.side)
            for cut in self.partitions
        )

    def plan_delivery(self, sender: int, receiver: int, now_ms: int) -> tuple[int, ...]:
        """Delays after which copies of one message arrive: none, one or two."""
        if self.is_cut(sender, receiver, now_ms):
            return ()
        if self.is_healed or not (self._faults.loss or self._faults.duplication):
            return (self.latency_ms(),)
        copies = (self._chance.random() >= self._faults.loss) + (self._chance.random() < self._faults.duplication)
        return tuple(self.latency_ms() for _ in range(copies))

    def loses_blob(self) -> bool:
        """Whether one blob asked of one source does not come."""
        return not self.is_healed and self._faults.loss > 0 and self._chance.random() < self._faults.loss

    def split(self, members: int, start_ms: int) -> Partition:
        """A partition from ``start_ms`` on, anything from one member alone to two halves."""
        count = self._chance.randint(1, max(1, members // 2))
        side = frozenset(self._chance.sample(range(members), count))
        cut = Partition(start_ms, start_ms + self._chance.randint(500, self._faults.partition_ms), side)
        self.partitions.append(cut)
        return cut
