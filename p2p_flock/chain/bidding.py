"""What a transaction offers per unit of gas: Base's rules, a bound that the operator sets, bumps of a stuck one. Pure.

Called by ``transactions.py``. EIP-1559: what is paid is the block's base fee plus the tip, never more than the maximum
offered; so a base fee that an endpoint invents costs nothing by itself, and the bound holds where it is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2p_flock.errors import ChainError

GWEI = 10**9
TIP_WEI = 1_000_000  # Base's sequencer takes what exceeds the base fee; web3.py's floor of 1 gwei is 200 base fees
BASE_FEE_FACTOR = 4  # the base fee grows at most 12.5 % a block: enough for twelve full blocks in a row
FEE_GWEI_MAX_DEFAULT = 5  # a thousand times Base's minimum: a round's three transactions then cost about 0.005 ETH
BUMP_MIN_PERCENT = 110  # nodes ask for 10 % more in tip and maximum, or they keep the old one


@dataclass(frozen=True, slots=True)
class Bid:
    """Wei per unit of gas: to the sequencer on top of the base fee, and in all at most."""

    tip_wei: int
    fee_wei_max: int


def choose_base_fee(reported_wei: Sequence[int], bound_wei: int) -> int:
    """The base fee to bid on, of those that the endpoints report: the highest that is within the operator's bound.

    The highest, because too low a bid waits and too high a maximum is not paid.

    Raises:
        ChainError: every one is above the bound.
    """
    within = [fee_wei for fee_wei in reported_wei if fee_wei + TIP_WEI <= bound_wei]
    if not within:
        raise ChainError(
            f"the base fee is {describe_gwei(min(reported_wei))} gwei as the RPC endpoint says, and this node pays at "
            f"most {describe_gwei(bound_wei)} gwei. If another source says the same, wait or raise chain.fee_gwei_max; "
            "if not, replace the endpoint (chain.rpc_urls)."
        )
    return max(within)


def first_bid(base_fee_wei: int, bound_wei: int) -> Bid:
    """What a new transaction offers. ``base_fee_wei`` + :data:`TIP_WEI` is within the bound."""
    assert base_fee_wei + TIP_WEI <= bound_wei
    return Bid(TIP_WEI, min(BASE_FEE_FACTOR * base_fee_wei + TIP_WEI, bound_wei))


def next_bid(bid: Bid, base_fee_wei: int, bound_wei: int) -> Bid | None:
    """What replaces a stuck ``bid``: twice as much, and enough for the base fee of now; ``None`` at the bound."""
    tip_wei = 2 * bid.tip_wei
    fee_wei_max = min(max(2 * bid.fee_wei_max, BASE_FEE_FACTOR * base_fee_wei + tip_wei), bound_wei)
    if fee_wei_max * 100 < bid.fee_wei_max * BUMP_MIN_PERCENT:
        return None
    return Bid(min(tip_wei, fee_wei_max), fee_wei_max)


def describe_gwei(wei: int) -> str:
    """Wei as gwei in decimals, exactly, without trailing zeros."""
    return f"{wei // GWEI}.{wei % GWEI:09d}".rstrip("0").rstrip(".")
