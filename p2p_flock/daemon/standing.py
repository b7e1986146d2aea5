"""This member's standing, and others': suspends the absent and the suspected, comes back, publishes addresses.

Run by upkeep. Others are suspended in turns, so that one member pays and the others see that it did. A suspension
costs no stake. For absence, it is lifted by the suspended node itself, as soon as it runs again and is up to date. For
cohorts that were rejected again and again it stands: the node tells its operator, and does not try to come back.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.penalties import compute_suspensions
from p2p_flock.alliance.suspicion import compute_rejected_rounds, compute_suspects
from p2p_flock.chain_events import RoundSettled, SettledRecord
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
        self._suspected_after: RoundSettled | None = None  # the last settlement after which this node looked
        self._is_told = False  # whether the operator knows that the own seat is suspected
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
        await self._suspend_others()
        self._tell_suspected()
        await self._come_back()
        await self._publish_addresses()

    # --- others ------------------------------------------------------------------------------------------------

    async def _suspend_others(self) -> None:
        """In this node's turn after the last settlement; never its own seat."""
        history, address = self._session.history, self._world.chain.address
        own = next((seat for seat, entry in enumerate(history.seats) if entry.owner == address), None)
        settled = next((record.settled for record in reversed(history.rounds) if record.settled is not None), None)
        if own is None or settled is None:
            return
        due_ms = settled.at.timestamp_s * 1000 + SUSPEND_GRACE_MS + own * SUSPEND_TURN_MS
        if self._world.clock.now_ms() < due_ms:
            return
        await self._suspend_absent(history)
        if self._suspected_after != settled:  # once: whoever comes later in turn goes on where an endpoint failed
            self._suspected_after = settled
            await self._suspend_suspects(history)

    async def _suspend_absent(self, history: AllianceHistory) -> None:
        for found in compute_suspensions(history):
            if found.owner == self._world.chain.address or (found.owner, found.second) in self._suspended:
                continue
            self._suspended.add((found.owner, found.second))
            first, second = _records(history, (found.first, found.second))
            try:
                await self._session.handle.suspend(found.owner, first, second)
            except TransactionFailedError as error:
                logger.info("suspending seat %d: %s", found.seat, error.reason)  # somebody else was first
            else:
                logger.warning("suspended seat %d: absent in rounds %d and %d", found.seat, found.first, found.second)

    async def _suspend_suspects(self, history: AllianceHistory) -> None:
        for found in compute_suspects(history):
            if found.owner == self._world.chain.address:
                continue
            try:
                await self._session.handle.suspend_suspected(found.owner, _records(history, found.rounds))
            except TransactionFailedError as error:
                logger.info("suspending the suspected seat %d: %s", found.seat, error.reason)  # another was first
            else:
                logger.warning("suspended seat %d: its cohorts were rejected %d times in a row up to round %d, none "
                               "adopted between", found.seat, found.rejections, found.rounds[-1])  # fmt: skip

    # --- own seat ----------------------------------------------------------------------------------------------

    def _tell_suspected(self) -> None:
        """To the log, once: the operator has to look, for nothing happens by itself any more."""
        history, address = self._session.history, self._world.chain.address
        if address not in history.suspected:
            self._is_told = False
        elif not self._is_told:
            self._is_told = True
            logger.error("this node's seat was suspended: %s", describe_suspicion(history, address))

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
    is_barred = owner in history.slashed or owner in history.suspected
    return owner in history.suspended and not is_barred and not seated and not history.closed


def describe_suspicion(history: AllianceHistory, owner: bytes) -> str:
    """What happened to a suspected owner, why, and what to do, in sentences for its operator."""
    rounds = compute_rejected_rounds(history, owner)
    named = ", ".join(map(str, rounds))
    return (
        f"the cohorts that it trained in were rejected {len(rounds)} times in a row (rounds {named}), none adopted "
        "between. Nobody sees a single update, so this may be bad luck; more often something is wrong with the data, "
        "the labels or the versions here. No stake is lost, and this node does not take the seat again: check its data "
        "and its log, `p2p-flock alliance withdraw ID` once the stake is free, then join anew"
    )


def _records(history: AllianceHistory, rounds: Sequence[int]) -> tuple[SettledRecord, ...]:
    settled = [history.rounds[number].settled for number in rounds]
    return tuple(one.record for one in settled if one is not None)


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
