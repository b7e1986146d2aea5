"""What a member's RPC endpoints show it of the chain: the truth, the truth of a while ago, nothing, or a lie."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p_flock.chain_events import ChainEvent
from p2p_flock.errors import P2PFlockError
from p2p_flock.testing.ledger import Block, Ledger, RoundView, find_fork

LAG_MS_MAX = 10_000  # how long two endpoints may differ; ``chain/client.py`` LAG_S_MAX


class Disagreement(P2PFlockError):
    """Two endpoints show different chains for longer than one can lag behind."""


@dataclass(slots=True)
class Endpoint:
    """One RPC endpoint as one member sees it.

    Attributes:
        lag_ms: it shows what was true so long ago.
        silent: (from, to) in ms of virtual time in which it does not answer.
        swallows: it takes transactions and forgets them.
        lie: a block of its own that it shows instead of the chain's newest.
    """

    lag_ms: int = 0
    silent: list[tuple[int, int]] = field(default_factory=list)
    swallows: bool = False
    lie: Block | None = None

    def heal(self) -> None:
        """From now on it shows the truth."""
        self.lag_ms, self.silent, self.swallows, self.lie = 0, [], False, None

    def tip(self, ledger: Ledger, now_ms: int) -> Block | None:
        """The newest block that it shows; ``None`` where it does not answer."""
        if any(start_ms <= now_ms < end_ms for start_ms, end_ms in self.silent):
            return None
        if self.lie is not None:
            return self.lie
        return ledger.tip if not self.lag_ms else ledger.tip_at(now_ms - self.lag_ms)

    def show_falsely(self, ledger: Ledger, events: tuple[ChainEvent, ...], view: RoundView, timestamp_s: int) -> None:
        """Show these logs in a block of its own on the truth, and go on from there."""
        self.lie = ledger.extend_falsely(self.lie or ledger.tip, timestamp_s, events, view)

    def extend(self, ledger: Ledger, timestamp_s: int) -> None:
        """Another empty block on the lie, so that it gets its confirmations."""
        if self.lie is not None:
            self.lie = ledger.extend_falsely(self.lie, timestamp_s, (), self.lie.view)

    @property
    def is_honest(self) -> bool:
        """Whether it shows the newest truth, always."""
        return not (self.lag_ms or self.silent or self.swallows or self.lie)


def read_together(
    endpoints: tuple[Endpoint, ...], ledger: Ledger, now_ms: int, differing_since_ms: int | None
) -> tuple[Block | None, int | None]:
    """What a node sees through its endpoints: (newest block on which all agree, since when they differ).

    Raises:
        Disagreement: they have differed for longer than one may lag.
    """
    tips = [endpoint.tip(ledger, now_ms) for endpoint in endpoints]
    first = tips[0]
    if first is None or len(tips) == 1:
        return first, None
    second = tips[1]
    if second is None:
        return None, differing_since_ms
    fork = find_fork(first, second)
    if fork is first or fork is second:
        return fork, None
    since_ms = now_ms if differing_since_ms is None else differing_since_ms
    if now_ms - since_ms > LAG_MS_MAX:
        raise Disagreement("the RPC endpoints show different chains")
    return None, since_ms
