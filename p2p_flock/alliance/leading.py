"""Whose turn it is to lead: views, and when the next leader may take over. Pure.

Three times a round somebody must gather and post (seal, commit, settle). The validators take turns in position order;
nobody waits for a leader whose connection is gone longer than a grace, and for a silent one no longer than the phase's
timeout, once (P3). A leader that two validators disagree about does no harm: the chain takes the first valid
transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

GONE_GRACE_MS = 1000  # a connection that breaks and is redialled at once does not cost the leader its turn


class Attendance:
    """Which validators one validator waits for: not those whose connection is down, nor those that it has given up.

    A process that is stopped, or whose worker hangs, keeps its connections. Whoever let one timeout pass without what
    was due would cost another in every phase in which it is waited for, so it is given up for the rest of the round,
    until it is heard again. Like a connection's state this is hearsay of one node and decides nothing but its patience.

    Attributes:
        gone_since_ms: chain time since when, by seat, of everybody who is not waited for once the grace is over.
    """

    def __init__(self) -> None:
        self.gone_since_ms: dict[int, int] = {}
        self._given_up: set[int] = set()

    def note_connection(self, seat: int, is_up: bool, now_ms: int) -> None:
        """The seat's connection came or went."""
        self._given_up.discard(seat)
        if is_up:
            self.gone_since_ms.pop(seat, None)
        else:
            self.gone_since_ms.setdefault(seat, now_ms)

    def note_heard(self, seat: int) -> None:
        """The seat said something. A connection that is down stays down: what comes then was said before."""
        if seat in self._given_up:
            self._given_up.discard(seat)
            del self.gone_since_ms[seat]

    def give_up(self, seat: int, now_ms: int) -> None:
        """The seat let its time pass: from now on, without a grace, nobody waits for it."""
        if seat not in self.gone_since_ms:
            self._given_up.add(seat)
            self.gone_since_ms[seat] = now_ms - GONE_GRACE_MS


def compute_patience_ms(timeout_ms: int) -> int:
    """How long a quorum that is complete waits for the others' word: half a timeout, for the next leader comes after.

    A whole one would add up to two with the countdown that the chain then starts.
    """
    return timeout_ms // 2


def is_gone(gone_since_ms: Mapping[int, int], seat: int, now_ms: int) -> bool:
    """Whether the seat's connection has been down for longer than the grace."""
    since = gone_since_ms.get(seat)
    return since is not None and now_ms - since >= GONE_GRACE_MS


def turn_starts_ms(
    order: Sequence[int], view: int, ready_at_ms: int, timeout_ms: int, gone_since_ms: Mapping[int, int]
) -> int:
    """Chain time from which the leader of ``view`` may act.

    Args:
        order: validator seats in leader order; view v is led by ``order[v]``.
        ready_at_ms: when this node had all that the first leader needs.
        timeout_ms: what a silent leader costs. A leader known to be gone costs the rest of its grace only.
    """
    starts_ms = ready_at_ms
    for seat in order[:view]:
        since = gone_since_ms.get(seat)
        turn_ms = timeout_ms if since is None else min(timeout_ms, max(0, since + GONE_GRACE_MS - starts_ms))
        starts_ms += turn_ms
    return starts_ms


def rotate(order: Sequence[int], first: int) -> tuple[int, ...]:
    """The leader order that starts at position ``first``: who led the seal is alive and leads on."""
    return tuple(order[(first + index) % len(order)] for index in range(len(order)))
