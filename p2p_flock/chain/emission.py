"""The emission: what the schedule releases, how the gauges divide it, minting what a gauge is owed (``IEmission.sol``).

Called by the commands ``p2p-flock gov emission`` and ``gov mint``. Computes no amount: all are the contract's.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p_flock.chain.alliance_contract import eth_call
from p2p_flock.chain.client import as_bytes, raised_or_value
from p2p_flock.chain.contracts import EMISSION, address_bytes, load_contract
from p2p_flock.chain.governance import Governance, View, read_views
from p2p_flock.chain.governance_logs import read_events
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.errors import ChainError

DAY_S = 86_400
MONTH_S, MONTHS = 30 * DAY_S, 60  # of the schedule (EmissionMath.sol)


@dataclass(frozen=True, slots=True)
class Gauge:
    """An address that FLOCK is minted to: its weight now, wei that ``mint`` would mint now, wei minted before."""

    address: bytes
    weight: int
    accrued_wei: int
    minted_wei: int


@dataclass(frozen=True, slots=True)
class Emission:
    """The schedule and its gauges at one moment; FLOCK wei, Unix seconds.

    Attributes:
        month: of the schedule, from 1; ``MONTHS + 1`` once it has ended.
        next_day_wei: what the schedule releases in the next 24 hours.
        released_wei, minted_wei, total_wei: released so far; minted so far; released by the schedule's end.
        gauges: those with weight, the heaviest first; then those that had some once, which keep what they accrued.
    """

    now_s: int
    starts_at_s: int
    ends_at_s: int
    month: int
    next_day_wei: int
    released_wei: int
    minted_wei: int
    total_wei: int
    total_weight: int
    gauges: tuple[Gauge, ...]


async def read_emission(governance: Governance) -> Emission:
    """The emission as of the newest block.

    Raises:
        ChainError: the endpoints failed or disagree.
    """
    where = governance.contracts.emission
    names = ("startsAt", "mintedTotal", "totalWeight", "gauges")
    starts_at_s, minted, total_weight, listed = await read_views(
        governance.client, [View(EMISSION, where, name) for name in names]
    )
    now_s = await governance.now_s()
    ends_at_s = starts_at_s + MONTHS * MONTH_S
    released, tomorrow, total = await read_views(
        governance.client,
        [View(EMISSION, where, "emittedAt", (moment,)) for moment in (now_s, now_s + DAY_S, ends_at_s)],
    )
    with_weight = [address for address, _ in sorted(listed, key=lambda entry: (-entry[1], entry[0]))]
    logs = await read_events(governance, EMISSION, where, "WeightSet")
    former = dict.fromkeys(log["gauge"] for log in logs if log["gauge"] not in with_weight)
    gauges = [await read_gauge(governance, address_bytes(address)) for address in (*with_weight, *former)]
    month = min(max(0, now_s - starts_at_s) // MONTH_S, MONTHS) + 1
    return Emission(
        now_s, starts_at_s, ends_at_s, month, tomorrow - released, released, minted, total, total_weight, tuple(gauges)
    )


async def read_gauge(governance: Governance, gauge: bytes) -> Gauge:
    """One gauge; also one whose weight was taken away, which keeps what it had accrued.

    Raises:
        ChainError: the endpoints failed or disagree.
    """
    where = governance.contracts.emission
    # What accrues grows with every block: the first endpoint's answer will do, as the mint pays what is due then.
    view = load_contract(EMISSION).functions["accrued"]
    (answer,) = await governance.client.batch((eth_call(where, view.encode(gauge)),))
    weight, minted = await read_views(
        governance.client, [View(EMISSION, where, name, (gauge,)) for name in ("weightOf", "mintedOf")]
    )
    (accrued,) = view.decode(as_bytes(raised_or_value(answer)))
    return Gauge(gauge, weight, accrued, minted)


async def mint(governance: Governance, gauge: bytes) -> tuple[int, TransactionReceipt]:
    """Mint to the gauge all that it has accrued; anyone may.

    Returns:
        FLOCK wei minted, and the receipt.

    Raises:
        TransactionFailedError: NothingAccrued.
        ChainError: the endpoint failed.
    """
    where = governance.contracts.emission
    before = await governance.read(EMISSION, where, "mintedOf", gauge)
    receipt = await governance.send("minting to the gauge", EMISSION, where, "mint", gauge)
    minted = await governance.read(EMISSION, where, "mintedOf", gauge) - before
    if minted <= 0:
        raise ChainError("the endpoint does not show the mint yet\nlook at `p2p-flock gov emission`")
    return minted, receipt
