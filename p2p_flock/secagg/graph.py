"""Who shares a pair seed with whom, and who holds whose shares.

Called by ``secagg/context.py``. Up to 32 owners the graph is complete; the k-regular graph of Bell et al. 2020 for
larger cohorts is not there yet, and asking for it fails clearly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_flock.errors import ParameterError
from p2p_flock.params import COMPLETE_GRAPH_OWNERS_MAX

if TYPE_CHECKING:
    from p2p_flock.secagg.context import CohortContext  # which imports this file


def compute_neighbors(seats: tuple[int, ...], seat: int) -> tuple[int, ...]:
    """N(seat): the seats that share a pair seed with ``seat``, ascending.

    Args:
        seats: all members of the cohort, ascending.

    Raises:
        ParameterError: more members than the complete graph serves, or ``seat`` is no member.
    """
    return tuple(other for other in compute_holders(seats, seat) if other != seat)


def compute_holders(seats: tuple[int, ...], seat: int) -> tuple[int, ...]:
    """N[seat]: the closed neighborhood, ascending. It holds the shares of the seat's secrets; the seat is in it.

    Raises:
        ParameterError: as :func:`compute_neighbors`.
    """
    if len(seats) > COMPLETE_GRAPH_OWNERS_MAX:
        raise ParameterError(
            f"a cohort of {len(seats)} owners needs the k-regular graph, which this version does not have; "
            f"raise cohort_count so that cohorts hold at most {COMPLETE_GRAPH_OWNERS_MAX}"
        )
    if seat not in seats:
        raise ParameterError(f"seat {seat} is no member of this cohort")
    return seats


def survivors_closure(context: CohortContext, held: frozenset[int]) -> frozenset[int]:
    """The largest set of held seats of which each has at least threshold holders in the set (itself counts).

    Seats below go, which may take others below, and so on; in a complete graph it is all or nothing. The result may
    still be too small to be opened: compare with ``context.survivors_min``.
    """
    remaining = held & frozenset(context.seats)
    while True:
        kept = frozenset(
            seat
            for seat in remaining
            if sum(holder in remaining for holder in context.holders(seat)) >= context.threshold
        )
        if kept == remaining:
            return kept
        remaining = kept
