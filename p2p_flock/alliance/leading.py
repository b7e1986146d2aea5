"""Whose turn it is to lead: views, and when the next leader may take over. Pure.

Three times a round somebody must gather and post (seal, commit, settle). The validators take turns in position order;
nobody waits for a leader whose connection is gone longer than a grace, and for a silent one no longer than the phase's
timeout (P3). A leader that two validators disagree about does no harm: the chain takes the first valid transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

GONE_GRACE_MS = 1000  # a connection that breaks and is redialled at once does not cost the leader its turn


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
