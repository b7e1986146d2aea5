"""One alliance's log as any stranger reads it: from RPC endpoints, with no account and no daemon.

Called by ``model export`` and ``model verify``. Every log comes from the endpoints, or from the node's archive where
the endpoints still hold the block that it ends with. Sends nothing: the account that the adapter wants is made up.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.seat_table import is_bound
from p2p_flock.chain.account import Account
from p2p_flock.chain.adapter import ChainConfig, open_chain
from p2p_flock.chain.alliance_contract import AllianceHandle
from p2p_flock.chain.archive import LogArchive
from p2p_flock.chain.beacon import BeaconNetwork, compute_randomness, verify_beacon
from p2p_flock.chain_events import SeatJoined
from p2p_flock.errors import CryptoError, WireError
from p2p_flock.types import AllianceId, CohortOutcome
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import MANIFEST_BYTES_MAX, Manifest


@dataclass(slots=True)
class AllianceLog:
    """What the chain says of an alliance now.

    Attributes:
        block: newest block that was read.
        beacon: key and schedule of the beacon that the contracts verify.
        beacons: uncompressed signatures of the beacon in rounds that ended without a seal, by round; verified.
    """

    id: AllianceId
    handle: AllianceHandle
    history: AllianceHistory
    block: int
    beacon: BeaconNetwork
    beacons: dict[int, bytes] = field(default_factory=dict)

    def add_manifests(self, read: Callable[[bytes], bytes | None]) -> list[bytes]:
        """Give the contents of sealed manifests as far as ``read`` has them by digest; digests of those that it lacks.

        Each is hashed by the history against the digest on chain.
        """
        missing = []
        for record in self.history.rounds:
            if record.sealed is None or record.manifest is not None:
                continue
            digest = record.sealed.manifest_digest
            data = read(digest)
            if data is None:
                missing.append(digest)
                continue
            self.history.take_manifest(digest, _decode_manifest(data))
        return missing

    def unsealed_rounds(self) -> list[RoundRecord]:
        """Ended rounds whose roles follow from the beacon alone."""
        return [record for record in self.history.rounds if record.ended and record.sealed is None]

    def add_beacons(self, signatures: Mapping[int, bytes]) -> None:
        """Give beacon signatures (48 or 96 bytes) by alliance round; what is none of that beacon is not taken."""
        for record in self.unsealed_rounds():
            signature = signatures.get(record.opened.round, b"")
            try:
                is_good = verify_beacon(self.beacon.public_key, record.opened.beacon_round, signature)
            except CryptoError:
                is_good = False
            if is_good:
                self.history.add_randomness(record.opened.round, compute_randomness(signature))
                self.beacons[record.opened.round] = signature

    def confirmed_after(self, round_number: int) -> tuple[int, bytes] | None:
        """(round whose quorum said so, digest) of the model after ``round_number``, if a quorum named one.

        The quorum of a later round names the model that the round started from, and that is the one after
        ``round_number`` as long as no round between adopted anything.
        """
        for record in self.history.rounds[round_number + 1 :]:
            if record.settled is not None and any(record.settled.base_model_digest):
                return record.opened.round, record.settled.base_model_digest
            if record.adopted or not record.ended:
                return None
        return None

    def contributors(self, last_round: int) -> dict[bytes, list[int]]:
        """By owner, the rounds up to ``last_round`` whose adopted sum its update is in."""
        found: dict[bytes, list[int]] = {}
        for record in self.history.rounds[: last_round + 1]:
            for owner in _owners_in(self.history, record):
                found.setdefault(owner, []).append(record.opened.round)
        return dict(sorted(found.items()))


def _owners_in(history: AllianceHistory, record: RoundRecord) -> list[bytes]:
    assignment = history.assignment(record.opened.round) if record.settled is not None else None
    if record.settled is None or record.sealed is None or assignment is None:
        return []
    bits = sum(word << 256 * index for index, word in enumerate(record.sealed.survivors))
    return [
        record.seats[seat].owner
        for index, seat in enumerate(assignment.trainers)
        if bits >> index & 1 and record.settled.outcomes[assignment.cohort_of(seat)] == CohortOutcome.ADOPTED
    ]


def _decode_manifest(data: bytes) -> Manifest | None:
    try:
        return decode(Manifest, data, MANIFEST_BYTES_MAX)
    except WireError:
        return None


@asynccontextmanager
async def open_log(
    config: ChainConfig, alliance: AllianceId, make_archive: Callable[[AllianceHandle], LogArchive] | None = None
) -> AsyncIterator[AllianceLog]:
    """Read an alliance's whole log up to the newest block.

    Args:
        make_archive: what an earlier run kept of it; must not be written to by two programs.

    Raises:
        UsageError: the factory has no such alliance.
        ConfigError: an endpoint is on another chain, or no factory stands at the address.
        ChainError: an endpoint failed, endpoints disagree, or the log contradicts itself.
    """
    async with open_chain(config, Account.from_key(secrets.token_bytes(32))) as chain:
        handle = await chain.alliance(alliance.number)
        beacon = await chain.beacon_network()
        archive = None if make_archive is None else make_archive(handle)
        update = await anext(handle.follow(handle.terms.created_block, archive))
        history = AllianceHistory(handle.domain, handle.params)
        for event in update.events:
            history.apply(event, isinstance(event, SeatJoined) and is_bound(handle.domain, event))
        yield AllianceLog(alliance, handle, history, update.block, beacon)
