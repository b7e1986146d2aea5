"""Standing: who posts a suspicion and when, and what a suspected node does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.suspicion import compute_suspects
from p2p_flock.chain_events import SettledRecord
from p2p_flock.daemon.session import AllianceSession
from p2p_flock.daemon.standing import SUSPEND_GRACE_MS, SUSPEND_TURN_MS, Standing, may_reactivate
from p2p_flock.daemon.world import World
from p2p_flock.errors import ChainError, TransactionFailedError
from tests.unit.alliance_log import LogWriter, owner_of
from tests.unit.test_alliance_history import fold
from tests.unit.test_alliance_suspicion import VICTIM, begun, rejected_often


class FakeHandle:
    """Takes suspensions and reactivations, and remembers them; refuses with ``error``."""

    def __init__(self) -> None:
        self.error: ChainError | None = None
        self.shown: list[tuple[bytes, tuple[int, ...]]] = []
        self.reactivations = 0

    async def suspend(self, owner: bytes, first: SettledRecord, second: SettledRecord) -> None:
        """Of absent ones; not what is tested here."""

    async def suspend_suspected(self, owner: bytes, records: Sequence[SettledRecord]) -> None:
        self.shown.append((owner, tuple(record.round for record in records)))
        if self.error is not None:
            raise self.error

    async def reactivate(self, mask_key: bytes) -> SimpleNamespace:
        self.reactivations += 1
        return SimpleNamespace(hash=bytes(32))


class Node:
    """One member's standing over a log."""

    def __init__(self, log: LogWriter, name: object) -> None:
        self.log, self.handle, self.now_ms = log, FakeHandle(), 0
        self.session = SimpleNamespace(
            history=fold(log), handle=self.handle, chain_trouble=None, sync=SimpleNamespace(rounds_behind=lambda: 0),
            keys=SimpleNamespace(create=lambda: bytes(32)),
        )  # fmt: skip
        config = SimpleNamespace(
            alliance=SimpleNamespace(reactivate=True), net=SimpleNamespace(announce=(), register_addresses=None)
        )
        world = SimpleNamespace(
            chain=SimpleNamespace(address=owner_of(name)), clock=SimpleNamespace(now_ms=lambda: self.now_ms),
            config=config,
        )  # fmt: skip
        self.standing = Standing(cast(World, world), cast(AllianceSession, self.session))
        self.turn_ms = self.settled_ms() + SUSPEND_GRACE_MS
        if name in log.names:
            self.turn_ms += log.names.index(name) * SUSPEND_TURN_MS

    @property
    def history(self) -> AllianceHistory:
        return cast(AllianceHistory, self.session.history)

    def settled_ms(self) -> int:
        return max(r.settled.at.timestamp_s for r in self.history.rounds if r.settled is not None) * 1000

    async def run_at(self, now_ms: int) -> list[tuple[bytes, tuple[int, ...]]]:
        self.now_ms = now_ms
        await self.standing.run()
        return self.handle.shown


def suspicious() -> LogWriter:
    log = begun(round_count=1000)
    rejected_often(log)
    return log


async def test_suspicion__is_posted_in_turn_and_once() -> None:
    """All members would pay for the same suspension, or nobody would post it."""
    node = Node(suspicious(), 3)
    (suspect,) = compute_suspects(node.history)
    assert await node.run_at(node.turn_ms - 1) == []
    assert await node.run_at(node.turn_ms) == [(owner_of(VICTIM), suspect.rounds)]
    assert len(await node.run_at(node.turn_ms + 60_000)) == 1


async def test_suspicion__is_posted_again_after_the_next_settlement() -> None:
    """A suspension that failed once would never come."""
    log = suspicious()
    node = Node(log, 3)
    node.handle.error = TransactionFailedError("suspending", "AlreadyLeaving")
    assert len(await node.run_at(node.turn_ms)) == 1
    rejected_often(log, 1)
    node.session.history = fold(log)
    assert len(await node.run_at(node.turn_ms + 10**9)) == 2


async def test_suspicion__of_the_own_seat_is_not_posted() -> None:
    """A node would pay to suspend itself."""
    node = Node(suspicious(), VICTIM)
    assert compute_suspects(node.history)
    assert await node.run_at(node.turn_ms + 10**9) == []


async def test_suspicion__is_not_posted_by_whom_it_does_not_concern() -> None:
    """A node without a seat would pay for the others, or look for its turn in a table it is not in."""
    node = Node(suspicious(), "stranger")
    assert await node.run_at(node.turn_ms + 10**9) == []


async def test_suspected__is_told_and_stays_away(caplog: pytest.LogCaptureFixture) -> None:
    """The operator would not know why its node idles, or the node would pay for reactivations that are refused."""
    log = suspicious()
    (suspect,) = compute_suspects(fold(log))
    log.suspect(VICTIM, suspect.rounds[0], suspect.rounds[-1])
    log.void()
    log.open()
    node = Node(log, VICTIM)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await node.run_at(node.turn_ms + 10**9)
    (told,) = caplog.messages
    assert "rejected 3 times in a row" in told and "withdraw" in told
    assert not may_reactivate(node.history, owner_of(VICTIM)) and node.handle.reactivations == 0


async def test_absent__still_comes_back() -> None:
    """A member that was merely away would stay away."""
    log = suspicious()
    log.suspend(VICTIM, log.round - 2, log.round - 1)
    log.void()
    log.open()
    node = Node(log, VICTIM)
    await node.run_at(node.turn_ms + 10**9)
    assert node.handle.reactivations == 1
