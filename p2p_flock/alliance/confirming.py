"""Holds back what the chain says of the running round until enough blocks lie on top of it.

Called by the session and by the simulator.
Everything else is folded and acted on as soon as it is seen: what follows from it can be taken
back after a reorganisation. An unmasking cannot, and a ballot that was shown cannot be hidden again.
"""

from __future__ import annotations

from p2p_flock.chain_events import BallotsCommitted, RoundSealed

# A reveal that a reorganisation undoes lets another validator copy one verdict; no more hangs on it. One block on top
# shows that the sequencer built on the commitments.
COMMIT_CONFIRMATIONS_MAX = 1

Confirmable = RoundSealed | BallotsCommitted


class ConfirmationGate:
    """The running round's seal and commitments, in the order of the log.

    Attributes:
        committed: positions whose commitments were let through.
    """

    def __init__(self, confirmations: int) -> None:
        """``confirmations``: blocks on top of a seal before it is acted on, as the operator asks."""
        self._seal_depth = confirmations
        self._commit_depth = min(confirmations, COMMIT_CONFIRMATIONS_MAX)
        self._held: list[Confirmable] = []
        self.committed: frozenset[int] = frozenset()

    def add(self, event: Confirmable) -> None:
        """Take an event of the running round as it appears in the log."""
        self._held.append(event)

    def release(self, newest_block: int) -> tuple[Confirmable, ...]:
        """Events that are deep enough now, each once."""
        ready = tuple(event for event in self._held if self._due(event) <= newest_block)
        self._held = [event for event in self._held if self._due(event) > newest_block]
        for event in ready:
            if isinstance(event, BallotsCommitted):
                self.committed |= set(event.positions)
        return ready

    @property
    def awaited_block(self) -> int | None:
        """The block with which everything held back is deep enough; ``None`` where nothing is."""
        return max((self._due(event) for event in self._held), default=None)

    def _due(self, event: Confirmable) -> int:
        return event.at.block + (self._seal_depth if isinstance(event, RoundSealed) else self._commit_depth)
