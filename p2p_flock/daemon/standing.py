"""This member's standing, and others': suspends who was absent twice, comes back when suspended, publishes addresses.

Run by upkeep. Others are suspended in turns, so that one member pays and the others see that it did. A suspension costs
no stake and is lifted by the suspended node itself, as soon as it runs again and is up to date.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.penalties import compute_suspensions, get_last_settled
from p2p_flock.daemon.world import World
from p2p_flock.errors import ChainError, TransactionFailedError

if TYPE_CHECKING:
    from p2p_flock.daemon.session import AllianceSession

logger = logging.getLogger(__name__)

SUSPEND_GRACE_MS = 1000  # after the settlement: others see it in their own time
SUSPEND_TURN_MS = 2000  # between members
REACTIVATE_RETRY_FIRST_MS, REACTIVATE_RETRY_MAX_MS = 3000, 300_000
REACTIVATE_TRIES_MAX = 12  # more than half an hour; then the operator has to look (`alliance reactivate`)
ADDRESSES_TRIES_MAX = 3  # for each new set of addresses
ADDRESSES_RETRY_MS = 30_000
ADDRESSES_BYTES_MAX = 512  # the contract's bound


class Standing:
    """See the module. One per session."""

    def __init__(self, world: World, session: AllianceSession) -> None:
        self._world = world
        self._session = session
        self._stays_away = False
        self._suspended: set[tuple[bytes, int]] = set()  # (owner, second strike) that this node tried
        self._reactivations = 0
        self._next_reactivation_ms = 0
        self._registered: bytes | None = None  # what this process published, or gave up publishing
        self._registrations = 0
        self._next_registration_ms = 0

    def stay_away(self) -> None:
        """The operator left: a suspended seat is not taken again."""
        self._stays_away = True

    async def run(self) -> None:
        """Do what is due.

        Raises:
            ChainError: the endpoint failed; it is tried again.
        """
        await self._suspend_absent()
        await self._come_back()
        await self._publish_addresses()

    # --- others ------------------------------------------------------------------------------------------------

    async def _suspend_absent(self) -> None:
        history, address = self._session.history, self._world.chain.address
        own = next((seat for seat, entry in enumerate(history.seats) if entry.owner == address), None)
        rounds = get_last_settled(history)
        if own is None or rounds is None:
            return
        first, second = (history.rounds[number].settled for number in rounds)
        assert first is not None and second is not None
        due_ms = second.at.timestamp_s * 1000 + SUSPEND_GRACE_MS + own * SUSPEND_TURN_MS
        if self._world.clock.now_ms() < due_ms:
            return
        for found in compute_suspensions(history):
            if found.owner == address or (found.owner, found.second) in self._suspended:
                continue
            self._suspended.add((found.owner, found.second))
            try:
                await self._session.handle.suspend(found.owner, first.record, second.record)
            except TransactionFailedError as error:
                logger.info("suspending seat %d: %s", found.seat, error.reason)  # somebody else was first
            else:
                logger.warning("suspended seat %d: absent in rounds %d and %d", found.seat, found.first, found.second)

    # --- own seat ----------------------------------------------------------------------------------------------

    async def _come_back(self) -> None:
        """Reactivate a suspended seat, once it is removed and this node could take part again."""
        history, now_ms = self._session.history, self._world.clock.now_ms()
        if not may_reactivate(history, self._world.chain.address):
            if self._world.chain.address not in history.suspended:
                self._reactivations = 0
            return
        if not self._is_healthy() or now_ms < self._next_reactivation_ms:
            return
        if not self._world.config.alliance.reactivate or self._stays_away or self._reactivations > REACTIVATE_TRIES_MAX:
            return
        if self._reactivations == REACTIVATE_TRIES_MAX:
            logger.error("this node's seat is suspended and could not be reactivated; try `alliance reactivate`")
            self._reactivations += 1
            return
        pause_ms = min(REACTIVATE_RETRY_FIRST_MS << self._reactivations, REACTIVATE_RETRY_MAX_MS)
        self._reactivations += 1
        self._next_reactivation_ms = now_ms + pause_ms
        try:
            await self.reactivate()
        except TransactionFailedError as error:
            logger.warning("reactivating the own seat: %s", error.reason)

    async def reactivate(self) -> bytes:
        """Take the seat again with a fresh mask key, whose secret is on disk before; the transaction's hash.

        Raises:
            ChainError: refused, or the endpoint failed.
        """
        self._stays_away = False
        public = await trio.to_thread.run_sync(self._session.keys.create)
        receipt = await self._session.handle.reactivate(public)
        logger.warning("the own seat was suspended and is reactivated: transaction 0x%s", receipt.hash.hex())
        return receipt.hash

    def _is_healthy(self) -> bool:
        session = self._session
        return session.chain_trouble is None and session.sync.rounds_behind() == 0

    # --- addresses ---------------------------------------------------------------------------------------------

    async def _publish_addresses(self) -> None:
        """Register this node's addresses where they differ from those on chain."""
        settings, history, address = self._world.config.net, self._session.history, self._world.chain.address
        wanted = bool(settings.announce) if settings.register_addresses is None else settings.register_addresses
        seated = any(entry.owner == address and not entry.leaving for entry in history.seats)
        now_ms = self._world.clock.now_ms()
        if not wanted or not seated or history.closed or now_ms < self._next_registration_ms:
            return
        data = join_addresses(self._world.net.dialable_addresses)
        if data in (history.addresses.get(address, b""), self._registered):
            return
        self._registrations += 1
        self._next_registration_ms = now_ms + ADDRESSES_RETRY_MS
        try:
            await self._session.handle.register_addresses(data)
        except ChainError as error:
            if self._registrations < ADDRESSES_TRIES_MAX:
                raise
            logger.error("this node's addresses could not be registered on chain: %s", error)
        else:
            logger.info("registered this node's addresses on chain: %s", data.decode().replace("\n", " "))
        self._registered, self._registrations = data, 0


def may_reactivate(history: AllianceHistory, owner: bytes) -> bool:
    """Whether the contract would take ``reactivate`` from this owner, as far as the log tells."""
    seated = any(entry.owner == owner for entry in history.seats)
    return owner in history.suspended and owner not in history.slashed and not seated and not history.closed


def join_addresses(addresses: tuple[str, ...]) -> bytes:
    """One a line, whole ones, as many as the contract takes; the first are the best."""
    lines: list[str] = []
    for address in addresses:
        if len("\n".join([*lines, address]).encode()) <= ADDRESSES_BYTES_MAX:
            lines.append(address)
    return "\n".join(lines).encode()


def split_addresses(data: bytes) -> list[str]:
    """What somebody registered; anything may stand there, and the dialler takes only what is an address."""
    return data[:ADDRESSES_BYTES_MAX].decode("utf-8", "replace").split("\n")
