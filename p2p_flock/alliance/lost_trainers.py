"""Which trainers one validator no longer waits for before the train deadline. Pure. See SPEC, "Lost trainers".

A trainer that dies before it contributed would cost its round the rest of the train phase. Its broken connection is
seen by every validator, so after a share of the phase it is not waited for. Like a leader's connection this is hearsay
of one node and decides nothing but its patience: survivors follow from the Have messages of a quorum.
"""

from __future__ import annotations

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.leading import GONE_GRACE_MS

# A sixth of the train phase: five seconds of a testnet's 30, in which a process that is started again is back, and ten
# minutes of an hour, in which a router restarts or a computer. Whoever is lost for less loses nothing; a larger share
# would cost everybody more for each member that dies.
LOST_AFTER_SHARE = 6
# A node holds so many inbound connections (net/admission.py). In a larger alliance it is not connected with everybody
# at all times, and a connection that is not there tells nothing.
CONNECTED_SEATS_MAX = 256


def compute_lost_after_ms(train_seconds: int) -> int:
    """How long a trainer's connection is down, and nothing of its contribution comes, until nobody waits for it."""
    return max(train_seconds * 1000 // LOST_AFTER_SHARE, GONE_GRACE_MS)


class LostTrainers:
    """The trainers that one validator, at ``seat``, cannot reach and has nothing new of.

    A validator that has itself lost its network sees everybody's connection down. So it loses nobody while it reaches
    fewer than a seal quorum of validators, itself included, or no other node at all, and counts anew once it does.
    """

    def __init__(self, context: RoundContext, seat: int) -> None:
        self._trainers = context.eligible_trainers
        self._other_validators = frozenset(context.assignment.validators) - {seat}
        self._others_count = len(context.snapshot.seats) - 1
        self._quorum = context.params.seal_quorum
        self._lost_after_ms = compute_lost_after_ms(context.params.train_seconds)
        self._seat = seat
        self._down: set[int] = set()
        self._silent_since_ms: dict[int, int] = {}  # of trainers whose connection is down
        self._in_touch_since_ms: int | None = 0  # None: this node's own network seems to be what is down

    def note_connection(self, seat: int, is_up: bool, now_ms: int) -> None:
        """A seat's connection came or went."""
        if seat == self._seat:
            return
        if is_up:
            self._down.discard(seat)
            self._silent_since_ms.pop(seat, None)
        else:
            self._down.add(seat)
            if seat in self._trainers:
                self._silent_since_ms.setdefault(seat, now_ms)
        if not self._is_in_touch():
            self._in_touch_since_ms = None
        elif self._in_touch_since_ms is None:
            self._in_touch_since_ms = now_ms

    def note_progress(self, seat: int, now_ms: int) -> None:
        """Something of a trainer's contribution came that was not here, from it or from another validator."""
        if seat in self._silent_since_ms:
            self._silent_since_ms[seat] = now_ms

    def find_lost(self, now_ms: int) -> frozenset[int]:
        """Seats of eligible trainers that need not be waited for, whether or not their contribution is held."""
        since_ms = now_ms - self._lost_after_ms
        if self._in_touch_since_ms is None or self._in_touch_since_ms > since_ms:
            return frozenset()
        return frozenset(seat for seat, silent_ms in self._silent_since_ms.items() if silent_ms <= since_ms)

    def _is_in_touch(self) -> bool:
        reached = 1 + len(self._other_validators - self._down)
        is_telling = self._others_count < CONNECTED_SEATS_MAX
        return is_telling and reached >= self._quorum and len(self._down) < self._others_count
