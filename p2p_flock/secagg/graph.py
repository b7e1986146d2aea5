"""Who shares a pair seed with whom, and who holds whose shares.

Called by ``secagg/context.py``. Up to 32 owners the graph is complete; the k-regular graph of Bell et al. 2020 for
larger cohorts is not there yet, and asking for it fails clearly.
"""

from __future__ import annotations

from p2p_flock.errors import ParameterError
from p2p_flock.params import COMPLETE_GRAPH_OWNERS_MAX


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
