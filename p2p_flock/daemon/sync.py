"""Catches up with the alliance: sealed manifests, old beacons, and the model, from whichever members have them.

Run by the session whenever the chain has news; in a node that is in sync each call costs what is new. What came is in
the stores at once, so a restart goes on where it stopped, and a member that vanishes costs one attempt. Nothing is
believed that does not fit a digest on chain or the beacon's key (SPEC, "Catching up").
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import trio

from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.daemon.lineage import Lineage
from p2p_flock.daemon.progress import Progress
from p2p_flock.daemon.world import World
from p2p_flock.errors import BeaconError, WireError
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import MANIFEST_BYTES_MAX, Manifest

logger = logging.getLogger(__name__)

MANIFESTS_PER_PULL = 256  # one question of the blob protocol; their decoding takes some 50 ms
MANIFEST_TIMEOUT_S = 5.0  # of one pull; what came by then is kept
# Three digests, a seat and their heads, in each entry; round, count and heads around them.
MANIFEST_ENTRY_BYTES_MAX, MANIFEST_HEAD_BYTES_MAX = 112, 16
MANIFEST_SOURCES_MAX = 8  # members asked in one pass; the next pass begins with others
FAR_SOURCES_MAX = 8  # members without a connection, each of which costs a dial
BEACONS_AT_ONCE = 4
BEACONS_PER_PASS = 64
BEACON_PAUSE_FIRST_S, BEACON_PAUSE_MAX_S = 0.5, 30.0  # between passes in which a relay failed
BEHIND_TOLD_MIN = 2  # rounds: one behind is where every node is for a moment after a settlement


class Sync:
    """See the module. One per session.

    Attributes:
        lineage: the model.
        progress: what is being fetched now.
    """

    def __init__(self, world: World, lineage: Lineage, progress: Progress) -> None:
        self._world = world
        self.lineage = lineage
        self.progress = progress
        self._history: AllianceHistory | None = None
        self._complete_rounds = 0  # rounds of which nothing is missing
        self._turn = 0
        self._beacon_pause_s = BEACON_PAUSE_FIRST_S
        self._next_beacons_at = 0.0
        self._behind_since: float | None = None

    async def advance(self, history: AllianceHistory, members: Sequence[str]) -> bool:
        """Fetch what the log asks for and apply what has ended; False: something could not be had, try again soon.

        Args:
            members: peer IDs of the other members.

        Raises:
            StoreError: as :meth:`Lineage.advance`.
        """
        if history is not self._history:  # reorganised: what is known was carried over, nothing of it counts as seen
            self._history, self._complete_rounds = history, 0
        sources = self.choose_sources(members)
        self._tell_start(history)
        complete = await self._fetch_manifests(history, sources)
        complete = await self._fetch_beacons(history) and complete
        self._count_complete(history)
        complete = await self.lineage.advance(history, sources) and complete
        self._tell_end(history)
        return complete

    def rounds_behind(self) -> int:
        """How many ended rounds are not applied yet."""
        return self.lineage.rounds_behind(self._history) if self._history is not None else 0

    def choose_sources(self, members: Sequence[str]) -> list[str]:
        """Connected members and some others, beginning with another one every time: no member is needed, and a hostile
        one spoils one pass."""
        connected = self._world.net.connected()
        near = [peer for peer in members if peer in connected]
        far = [peer for peer in members if peer not in connected]
        turn, self._turn = self._turn, self._turn + 1
        return [*_rotated(near, turn), *_rotated(far, turn)[:FAR_SOURCES_MAX]]

    # --- manifests ---------------------------------------------------------------------------------------------

    async def _fetch_manifests(self, history: AllianceHistory, sources: Sequence[str]) -> bool:
        """All sealed manifests whose content is not known yet: own store first, then members, many at a time."""
        wanted = [
            record
            for record in history.rounds[self._complete_rounds :]
            if record.sealed is not None and record.manifest is None
        ]
        missing = []
        for start in range(0, len(wanted), MANIFESTS_PER_PULL):
            batch = wanted[start : start + MANIFESTS_PER_PULL]
            found = await trio.to_thread.run_sync(self._read_own, [_digest_of(record) for record in batch])
            await self._add(history, found)
            missing += [record for record in batch if _digest_of(record) not in found]
        for start in range(0, len(missing), MANIFESTS_PER_PULL):
            with self.progress.doing(f"fetching sealed manifests, {start} of {len(missing)} here"):
                await self._pull(history, missing[start : start + MANIFESTS_PER_PULL], sources)
        return all(record.manifest is not None for record in wanted)

    async def _pull(self, history: AllianceHistory, batch: Sequence[RoundRecord], sources: Sequence[str]) -> None:
        seats = max(len(record.seats) for record in batch)
        bytes_max = min(MANIFEST_BYTES_MAX, MANIFEST_HEAD_BYTES_MAX + MANIFEST_ENTRY_BYTES_MAX * seats)
        digests = [_digest_of(record) for record in batch]
        fetched = await self._world.net.fetch(digests, sources[:MANIFEST_SOURCES_MAX], bytes_max, MANIFEST_TIMEOUT_S)
        self.progress.fetched_bytes += sum(map(len, fetched.values()))
        await trio.to_thread.run_sync(self._keep, list(fetched.values()), manifest_pin(history))
        await self._add(history, fetched)

    def _read_own(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        found = {digest: self._world.blobs.get(digest) for digest in digests}
        assert self._history is not None
        for digest, data in found.items():
            if data is not None:  # seen in a round that was taken part in: from now on it is kept for newcomers
                self._world.blobs.pin(digest, manifest_pin(self._history))
        return {digest: data for digest, data in found.items() if data is not None}

    def _keep(self, contents: Sequence[bytes], reason: str) -> None:
        for data in contents:
            self._world.blobs.pin(self._world.blobs.put(data, durable=False), reason)

    async def _add(self, history: AllianceHistory, contents: dict[bytes, bytes]) -> None:
        for digest, manifest in (await trio.to_thread.run_sync(_decode_all, contents)).items():
            if not history.take_manifest(digest, manifest):
                logger.error("validators sealed what is no manifest, 0x%s: it installs nothing", digest.hex())

    def _count_complete(self, history: AllianceHistory) -> None:
        while self._complete_rounds < len(history.rounds):
            record = history.rounds[self._complete_rounds]
            if not record.ended or (record.randomness if record.sealed is None else record.manifest) is None:
                return
            self._complete_rounds += 1

    # --- beacons -----------------------------------------------------------------------------------------------

    async def _fetch_beacons(self, history: AllianceHistory) -> bool:
        """Roles of rounds that ended without a seal follow from the beacon alone; keys depend on them."""
        wanted = [
            record
            for record in history.rounds[self._complete_rounds :]
            if record.ended and record.sealed is None and record.randomness is None
        ]
        if not wanted:
            self._beacon_pause_s = BEACON_PAUSE_FIRST_S
            return True
        if trio.current_time() < self._next_beacons_at:
            return False
        limiter = trio.CapacityLimiter(BEACONS_AT_ONCE)
        with self.progress.doing(f"fetching {len(wanted)} beacon values of rounds without a seal"):
            async with trio.open_nursery() as nursery:
                for record in wanted[:BEACONS_PER_PASS]:
                    nursery.start_soon(self._fetch_beacon, record, limiter)
        if any(record.randomness is None for record in wanted[:BEACONS_PER_PASS]):
            self._next_beacons_at = trio.current_time() + self._beacon_pause_s
            self._beacon_pause_s = min(2 * self._beacon_pause_s, BEACON_PAUSE_MAX_S)
            return False
        return len(wanted) <= BEACONS_PER_PASS

    async def _fetch_beacon(self, record: RoundRecord, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            try:
                value = await self._world.beacon.get(record.opened.beacon_round)
            except BeaconError as error:
                logger.info("round %d: %s", record.opened.round, error)
                return
            record.randomness = value.randomness

    # --- for the operator --------------------------------------------------------------------------------------

    def _tell_start(self, history: AllianceHistory) -> None:
        behind = self.lineage.rounds_behind(history)
        if behind >= BEHIND_TOLD_MIN and self._behind_since is None:
            self._behind_since = trio.current_time()
            logger.info("%d rounds behind: fetching what was missed from other members", behind)

    def _tell_end(self, history: AllianceHistory) -> None:
        if self._behind_since is None or self.lineage.rounds_behind(history):
            return
        logger.info(
            "caught up with round %d in %.1f s; fetched %d bytes for it since the start",
            *(len(history.rounds) - 1, trio.current_time() - self._behind_since, self.progress.fetched_bytes),
        )
        self._behind_since = None


def manifest_pin(history: AllianceHistory) -> str:
    """Name under which sealed manifests are kept, for ever: newcomers compute everybody's keys from them."""
    return f"{history.domain.contract.hex()}-manifests"


def _rotated(peers: list[str], turn: int) -> list[str]:
    start = turn % len(peers) if peers else 0
    return peers[start:] + peers[:start]


def _digest_of(record: RoundRecord) -> bytes:
    assert record.sealed is not None
    return record.sealed.manifest_digest


def _decode_all(contents: Mapping[bytes, bytes]) -> dict[bytes, Manifest | None]:
    """Manifest by digest; ``None`` where the bytes are none."""
    return {digest: _decode(data) for digest, data in contents.items()}


def _decode(data: bytes) -> Manifest | None:
    try:
        return decode(Manifest, data, MANIFEST_BYTES_MAX)
    except WireError:
        return None
