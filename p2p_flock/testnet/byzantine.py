"""``--byzantine KIND:COUNT``: who of a testnet's members is dishonest and how, and what came of each of them.

Called by ``options.py``, ``network.py`` and ``launcher.py``. Which members they are follows from the run's seed; the
kinds are those of ``testing/byzantine/kinds.py``, and ``crooked_node.py`` is what runs in their place.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from p2p_flock.alliance.evidence import describe_fault
from p2p_flock.chain_events import SeatSuspected, SeatSuspended, Slashed
from p2p_flock.cli.amounts import format_money
from p2p_flock.errors import UsageError
from p2p_flock.testing.byzantine.kinds import KINDS
from p2p_flock.testnet.money import Money
from p2p_flock.testnet.summary import CohortSummary, RoundSummary
from p2p_flock.types import CohortOutcome

_BAND: Final = re.compile(r"([a-z0-9-]{1,40})(?::([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Band:
    """So many members of one kind."""

    kind: str
    count: int


def parse_band(text: str) -> Band:
    """Read ``signflip:2``; ``signflip`` is one.

    Raises:
        UsageError: no such kind (the text lists those that there are), or no number above 0.
    """
    found = _BAND.fullmatch(text)
    kind, count = (found[1], int(found[2] or 1)) if found else ("", 0)
    if kind not in KINDS or count < 1:
        raise UsageError(
            f"--byzantine {text}: give KIND or KIND:COUNT, such as signflip:2.\nKinds: {', '.join(sorted(KINDS))}."
        )
    return Band(kind, count)


def validate_bands(bands: Sequence[Band], node_count: int) -> None:
    """Check that somebody honest is left to judge by.

    Raises:
        UsageError: there is not.
    """
    crooked = sum(band.count for band in bands)
    if crooked > node_count - 2:
        raise UsageError(f"--byzantine: {crooked} of {node_count} nodes are dishonest; two honest ones at least.")


def choose_crooked(bands: Sequence[Band], node_count: int, seed: int) -> dict[int, str]:
    """Kind by the node's index."""
    kinds = [band.kind for band in bands for _ in range(band.count)]
    chosen = random.Random(f"byzantine members {seed}").sample(range(node_count), len(kinds))
    return dict(sorted(zip(chosen, kinds, strict=True)))


# --- what came of them -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cheat:
    """One dishonest node's account.

    Attributes:
        slashed_for: the faults that were proved, in words; ``suspended``: how often it was for absence.
        suspected: whether its seat was suspended for the cohorts that were rejected with it.
        rejected, adopted, undecided: cohorts in which it was a sealed trainer.
        earned, lost: FLOCK wei; ``earned`` is ``None`` where the chain could not be asked.
    """

    node: str
    kind: str
    slashed_for: tuple[str, ...]
    suspended: int
    suspected: bool
    rejected: int
    adopted: int
    undecided: int
    earned: int | None
    lost: int

    def describe(self) -> dict[str, Any]:
        """For the report; amounts are wei as text."""
        earned = None if self.earned is None else str(self.earned)
        return {**asdict(self), "slashed_for": list(self.slashed_for), "earned": earned, "lost": str(self.lost)}

    @property
    def line(self) -> str:
        """For the operator."""
        caught = [f"slashed for {fault}" for fault in self.slashed_for]
        caught += [f"suspended {self.suspended} times".replace(" 1 times", " once")] if self.suspended else []
        caught += ["lost its seat as a suspect"] if self.suspected else []
        sealed = self.rejected + self.adopted + self.undecided
        caught += [f"{self.rejected} of {sealed} cohorts with it rejected"] if sealed else []
        earned = "unknown" if self.earned is None else format_money(self.earned, "FLOCK")
        return (
            f"{self.node} ({self.kind}): {', '.join(caught) or 'not caught'}; "
            f"earned {earned}, lost {format_money(self.lost, 'FLOCK')}"
        )


def account_for(
    crooked: Mapping[str, str],
    rounds: Sequence[RoundSummary],
    slashed: Sequence[Slashed],
    suspended: Sequence[SeatSuspended | SeatSuspected],
    names: Mapping[bytes, str],
    money: Money | None,
) -> list[Cheat]:
    """What became of each dishonest node.

    Args:
        crooked: kind by node's name; ``names``: node by account.
    """
    owner_of = {name: owner for owner, name in names.items()}
    cheats = []
    for name, kind in crooked.items():
        owner = owner_of.get(name, b"")
        outcomes = [cohort.outcome for cohort in _cohorts_with(name, rounds)]
        convictions = [event for event in slashed if event.owner == owner]
        cheats.append(
            Cheat(
                node=name,
                kind=kind,
                slashed_for=tuple(describe_fault(event.fault) for event in convictions),
                suspended=sum(event.owner == owner and isinstance(event, SeatSuspended) for event in suspended),
                suspected=any(event.owner == owner and isinstance(event, SeatSuspected) for event in suspended),
                rejected=outcomes.count(CohortOutcome.REJECTED),
                adopted=outcomes.count(CohortOutcome.ADOPTED),
                undecided=outcomes.count(CohortOutcome.UNDECIDED) + outcomes.count(CohortOutcome.VOID),
                earned=None if money is None else money.claimable.get(owner, 0),
                lost=sum(event.amount for event in convictions),
            )
        )
    return cheats


def _cohorts_with(name: str, rounds: Sequence[RoundSummary]) -> list[CohortSummary]:
    """Cohorts of settled rounds in which the node was a sealed trainer."""
    return [
        cohort
        for summary in rounds
        if summary.settled
        for cohort in summary.cohorts
        if any(summary.names.get(seat) == name for seat in cohort.survivors)
    ]


def honest_line(crooked: Collection[str], lost: Mapping[str, int]) -> str:
    """Whether any honest node paid for it; ``lost``: FLOCK wei by node."""
    victims = [name for name in lost if name not in crooked]
    return f"honest nodes that lost stake: {', '.join(victims)}" if victims else "no honest node lost any of its stake"
