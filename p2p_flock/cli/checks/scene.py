"""What all checks of ``p2p-flock doctor`` may know: the home, its settings, the running node, the password, the chain.

Made once by ``cli/doctor.py``; the check of the chain adds what it read, and whoever needs that waits for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from p2p_flock.chain.client import BlockHead
from p2p_flock.cli.checks.findings import Finding
from p2p_flock.daemon.config import NodeConfig
from p2p_flock.daemon.control_messages import StatusResult
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import P2PFlockError
from p2p_flock.types import AllianceId

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChainSeen:
    """What the chain's check read. ``head``: newest block of the first endpoint that answered rightly, and our clock
    then (ms since 1970); ``None`` where no endpoint can be believed. ``url``: that endpoint's."""

    head: BlockHead | None
    seen_at_ms: int
    url: str | None


@dataclass(slots=True)
class Scene:
    """See the module.

    Attributes:
        config: ``None`` where config.toml is missing or wrong; ``config_error`` says how.
        status: the running node's answer; ``None`` where none answers, ``status_error`` says how where one should.
        holder: process ID of whoever holds the home's lock, as text; ``None`` where nobody does.
        password: ``None`` where it was not asked for; ``password_error`` where there is none.
        alliance: the one that the operator means to join.
    """

    directory: DataDirectory
    config: NodeConfig | None
    config_error: P2PFlockError | None
    status: StatusResult | None
    status_error: P2PFlockError | None
    holder: str | None
    password: str | None = field(repr=False)
    password_error: P2PFlockError | None
    alliance: AllianceId | None
    _chain: ChainSeen | None = None
    _chain_seen: trio.Event = field(default_factory=trio.Event)

    def show_chain(self, seen: ChainSeen) -> None:
        """Called once, by the chain's check."""
        self._chain = seen
        self._chain_seen.set()

    async def chain(self) -> ChainSeen:
        """What was read, once it is."""
        await self._chain_seen.wait()
        assert self._chain is not None
        return self._chain


@dataclass(frozen=True, slots=True)
class Check:
    """One subject: ``name`` for scripts and people, ``run`` never raises but P2PFlockError."""

    name: str
    run: Callable[[Scene], Awaitable[list[Finding]]]


async def in_thread(work: Callable[[], T]) -> T:
    """Run what blocks; at the check's time limit its thread is left alone."""
    return await trio.to_thread.run_sync(
        work,
        abandon_on_cancel=True,  # type: ignore[call-arg]  # trio-typing (libp2p's) is older than trio
    )
