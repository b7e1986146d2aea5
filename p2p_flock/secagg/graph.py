"""Who shares a pair seed with whom, who holds whose shares, and which sets of members can be opened.

Called by ``secagg/context.py``, which keeps what is computed here, and by ``alliance/`` for the survivors. Complete
where 2t > n + c; beyond that the k-regular circulant graph of Bell et al. 2020 (Harary), on a ring whose order nobody
knows before all keys are fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2p_flock.crypto import suite

if TYPE_CHECKING:
    from p2p_flock.secagg.context import CohortContext  # which imports this file

Neighborhoods = dict[int, tuple[int, ...]]


def compute_ring_order(seed: bytes, cohort: int, seats: Sequence[int]) -> tuple[int, ...]:
    """The seats in ring order: by a hash of the round's seed, which is drawn when all mask keys are on chain.

    Whoever registers a key cannot know beside whom it will stand, so the colluders in a neighborhood are drawn too.
    """
    place = bytes([cohort])
    return tuple(
        sorted(seats, key=lambda seat: suite.hash32("p2p_flock ring order v1", seed, place, seat.to_bytes(2, "big")))
    )


def compute_neighborhoods(ring: Sequence[int], holder_count: int) -> Neighborhoods:
    """N[seat] for every seat, ascending: itself and the h − 1 nearest on the ring, as many on either side.

    Symmetric: l ∈ N[i] exactly when i ∈ N[l].

    Args:
        ring: all members in ring order.
        holder_count: h, odd, or the number of members (``params.compute_holder_count``).
    """
    if holder_count == len(ring):
        everybody = tuple(sorted(ring))
        return dict.fromkeys(everybody, everybody)
    assert holder_count % 2 == 1 and holder_count < len(ring)
    reach = holder_count // 2
    around = (*ring[-reach:], *ring, *ring[:reach])
    return {seat: tuple(sorted(around[at : at + holder_count])) for at, seat in enumerate(ring)}


def find_short(context: CohortContext, sealed: frozenset[int]) -> tuple[int, ...]:
    """Members, sealed or not, of whose closed neighborhood some, but fewer than threshold, are in ``sealed``.

    Each of them has a secret that the opening needs (its self mask, or its pair seeds with sealed neighbors) and that
    nobody can rebuild. Empty exactly when ``sealed`` is its own closure; nobody answers a seal where it is not.
    """
    return tuple(seat for seat in context.seats if 0 < len(sealed & context.holder_set(seat)) < context.threshold)


def survivors_closure(context: CohortContext, held: frozenset[int]) -> frozenset[int]:
    """The largest set of held seats that can be opened: no member has some, yet fewer than threshold, holders in it.

    Where one has, all of them go, which may take others with it, and so on; the order makes no difference, because no
    set without a short member holds any of them. In a complete graph it is all or nothing. The result may still be too
    small to be opened: compare with ``context.survivors_min``.
    """
    remaining = held & frozenset(context.seats)
    while short := find_short(context, remaining):
        remaining = remaining.difference(*(context.holder_set(seat) for seat in short))
    return remaining
