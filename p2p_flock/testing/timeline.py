"""Virtual time: actions on a heap, one generator of chance. The same seed gives the same run in every process."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

STEPS_MAX = 100_000_000  # of many rounds with a thousand nodes


class Timeline:
    """Base of a simulation. ``now_ms`` is chain time; actions at the same moment run in the order of their planning."""

    def __init__(self, seed: int, now_ms: int) -> None:
        self.now_ms = now_ms
        self.random = random.Random(seed)
        self._heap: list[tuple[int, int, Callable[[], object]]] = []
        self._count = 0
        self.steps = 0

    def _at(self, delay_ms: int, action: Callable[[], object]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._count, action))

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Run action after action until ``is_over``, asked whenever time has gone on.

        Raises:
            AssertionError: nothing is planned any more, or it does not end.
        """
        heap = self._heap
        while True:
            if not heap or heap[0][0] != self.now_ms:
                if is_over():
                    return
                assert heap, "nothing is planned and it is not over"
            self.steps += 1
            assert self.steps < STEPS_MAX, "it does not end: is a machine looping?"
            self.now_ms, _, action = heapq.heappop(heap)
            action()
