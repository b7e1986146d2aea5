"""What a member does between and beside the rounds: fresh mask keys, old secrets, rounds that got stuck, penalties.

Run by the session's keeper, often; each duty looks first whether there is anything to do.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from p2p_flock.chain.records import RoundPhase
from p2p_flock.daemon.posting import post_ballots
from p2p_flock.daemon.prosecution import Prosecution
from p2p_flock.daemon.standing import Standing
from p2p_flock.daemon.world import World
from p2p_flock.errors import ChainError, TransactionFailedError
from p2p_flock.secagg.secrets import ROUND_SECRETS_BYTES_MAX, RoundSecrets
from p2p_flock.wire.codec import decode

if TYPE_CHECKING:
    from p2p_flock.daemon.session import AllianceSession

logger = logging.getLogger(__name__)

STUCK_GRACE_MS = 2000  # before anyone ends a stuck round: time for trainers to register keys first
STUCK_STAGGER_MS = 1000  # between members, so that one of them sends and the others see that it did
RETRY_MS = 3000
FINALITY_CHECK_MS = 30_000


class Upkeep:
    """See the module. One per session."""

    def __init__(self, world: World, session: AllianceSession) -> None:
        self._world = world
        self._session = session
        self.prosecution = Prosecution(world, session)
        self.standing = Standing(world, session)
        self._registered_in: int | None = None
        self._registered_key: bytes | None = None  # the newest one; the log shows it only once it is confirmed
        self._next_try_ms = 0
        self._next_finality_check_ms = 0
        self._keys_final_at: int | None = None  # the finalized block with which spent keys are still to be erased

    async def run(self) -> None:
        """Do what is due."""
        try:
            await self._register_key()
            await self._end_stuck_round()
            await self.prosecution.run()
            await self.standing.run()
            await self._erase_final_secrets()
        except ChainError as error:
            logger.warning("upkeep: %s", error)

    # --- keys --------------------------------------------------------------------------------------------------

    async def keep_sealed_keys(self) -> None:
        """A seal that holds our contribution installed our next mask key: keep its secret beyond the round's."""
        history = self._session.history
        contract = self._session.handle.domain.contract.hex()
        held = await trio.to_thread.run_sync(self._world.secrets.rounds, contract)  # also of rounds it slept through
        for record in [history.rounds[number] for number in held if number < len(history.rounds)]:
            if record.manifest is None:
                continue
            own = [e for e in record.manifest.entries if record.seats[e.seat].owner == self._world.chain.address]
            if own and await trio.to_thread.run_sync(self._session.keys.find, own[0].next_mask_key) is None:
                await trio.to_thread.run_sync(self._keep_next_secret, record.opened.round)

    def _keep_next_secret(self, round_number: int) -> None:
        contract = self._session.handle.domain.contract.hex()
        for record in self._world.secrets.load(contract, round_number):
            secrets = decode(RoundSecrets, record.body, ROUND_SECRETS_BYTES_MAX)
            self._session.keys.keep(secrets.next_mask_secret)

    async def _register_key(self) -> None:
        """Register a fresh mask key where ours is spent, or where this node does not hold its secret."""
        history, address = self._session.history, self._world.chain.address
        seat = next((entry for entry in history.seats if entry.owner == address), None)
        current = len(history.rounds) - 1
        if seat is None or seat.leaving or history.closed or current < 0 or self._registered_in == current:
            return
        known, key = history.upcoming_key(address)
        if known:
            needed = key is None or await trio.to_thread.run_sync(self._session.keys.find, key) is None
        else:
            needed = self._was_left_unsealed(current)
        if not needed or seat.key_round == current or self._world.clock.now_ms() < self._next_try_ms:
            return
        public = await trio.to_thread.run_sync(self._session.keys.create)
        logger.info("registering a fresh mask key")
        self._registered_in, self._registered_key = current, public
        try:
            await self._session.handle.register_key(public)
        except ChainError:
            self._registered_in, self._next_try_ms = None, self._world.clock.now_ms() + RETRY_MS
            raise

    def _was_left_unsealed(self, round_number: int) -> bool:
        """Whether we were elected trainer in a round whose seal deadline passed without a seal."""
        record = self._session.history.rounds[round_number]
        assignment = self._session.history.assignment(round_number)
        if record.sealed is not None or assignment is None:
            return False
        elected = any(record.seats[seat].owner == self._world.chain.address for seat in assignment.trainers)
        return elected and self._world.clock.now_ms() > self._seal_deadline_ms(round_number)

    def _seal_deadline_ms(self, round_number: int) -> int:
        params = self._session.handle.params
        opened = self._session.history.rounds[round_number].opened
        return (opened.opens_at_s + params.train_seconds + params.seal_seconds * params.validator_count) * 1000

    # --- stuck rounds ------------------------------------------------------------------------------------------

    async def _end_stuck_round(self) -> None:
        """Any member may end a round whose deadlines have passed (P3): void it, or settle it with what is revealed."""
        state, history = self._session.state, self._session.history
        now_ms = self._world.clock.now_ms()
        if state is None or not history.rounds or history.closed or now_ms < self._next_try_ms:
            return
        own = [i for i, entry in enumerate(history.seats) if entry.owner == self._world.chain.address]
        if not own:
            return
        patience_ms = STUCK_GRACE_MS + own[0] * STUCK_STAGGER_MS
        handle = self._session.handle
        try:
            if state.phase == RoundPhase.OPEN and now_ms > state.seal_deadline_s * 1000 + patience_ms:
                self._next_try_ms = now_ms + RETRY_MS
                await handle.void_round(state.round)
            elif state.phase == RoundPhase.REVEALING:
                ends_s = state.reveal_deadline_s if state.commit_count else state.commit_deadline_s
                if now_ms > ends_s * 1000 + patience_ms:
                    self._next_try_ms = now_ms + RETRY_MS
                    if state.commit_count:
                        await post_ballots(handle, history, state.round, {})
                    else:
                        await handle.void_round(state.round)
        except TransactionFailedError as error:
            logger.info("ending the stuck round %d: %s", state.round, error.reason)  # somebody else was first

    # --- secrets -----------------------------------------------------------------------------------------------

    async def _erase_final_secrets(self) -> None:
        """Erase round secrets at finality of the round's end: masked vectors are public for ever (SPEC, "Keys")."""
        await self._erase_spent_keys()
        now_ms = self._world.clock.now_ms()
        if now_ms < self._next_finality_check_ms:
            return
        self._next_finality_check_ms = now_ms + FINALITY_CHECK_MS
        contract = self._session.handle.domain.contract.hex()
        held = await trio.to_thread.run_sync(self._world.secrets.rounds, contract)
        if not held:
            return
        finalized = await self._world.chain.finalized_block()
        history = self._session.history
        for round_number in held:
            record = history.rounds[round_number] if round_number < len(history.rounds) else None
            if record is None or not record.ended or (record.sealed is not None and record.manifest is None):
                continue
            ended = record.settled or record.voided
            assert ended is not None
            if ended.at.block <= finalized:
                await trio.to_thread.run_sync(self._keep_and_erase, contract, round_number)
        self._keys_final_at = finalized
        await self._erase_spent_keys()

    async def _erase_spent_keys(self) -> None:
        """Once a finality check is due; in the next run again where a round is unsealed, which may be so every time."""
        if self._keys_final_at is None:
            return
        in_use = self._keys_in_use(self._keys_final_at)
        if in_use is not None:
            self._keys_final_at = None
            await trio.to_thread.run_sync(self._session.keys.erase_except, in_use)

    def _keys_in_use(self, finalized: int) -> frozenset[bytes] | None:
        """Public mask keys of ours that a running, coming or not yet final round may need; ``None`` if that is
        unclear."""
        history, address = self._session.history, self._world.chain.address
        known, upcoming = history.upcoming_key(address)
        if not known or all(entry.owner != address for entry in history.seats):
            return None  # the round is unsealed, or our join is not confirmed yet
        keys = {key for key in (upcoming, self._registered_key) if key is not None}
        for record in history.rounds:
            ended = record.settled or record.voided
            if ended is not None and ended.at.block <= finalized:
                continue
            keys |= {key for owner, key in record.keys.items() if owner == address and key is not None}
            if record.manifest is not None:
                keys |= {e.next_mask_key for e in record.manifest.entries if record.seats[e.seat].owner == address}
        return frozenset(keys)

    def _keep_and_erase(self, contract: str, round_number: int) -> None:
        record = self._session.history.rounds[round_number]
        if record.manifest is not None and any(
            record.seats[entry.seat].owner == self._world.chain.address for entry in record.manifest.entries
        ):
            self._keep_next_secret(round_number)
        self._world.secrets.erase(contract, round_number)
