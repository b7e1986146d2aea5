"""An alliance that has run for some rounds, and the peers that hold what is left of them: fakes for catching up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from p2p_flock.alliance.aggregates import encode_aggregate
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.model import AdoptedCohort, apply_cohorts, encode_model
from p2p_flock.chain.beacon import BeaconValue
from p2p_flock.chain_events import ChainEvent, RoundSettled, SeatJoined
from p2p_flock.crypto.signing import recover_address
from p2p_flock.daemon.judging import compute_weight_total
from p2p_flock.daemon.lineage import Lineage
from p2p_flock.daemon.progress import Progress
from p2p_flock.daemon.sync import Sync
from p2p_flock.daemon.world import World
from p2p_flock.errors import BeaconError
from p2p_flock.store.blobs import BlobStore
from p2p_flock.store.models import ModelStore
from p2p_flock.testing.alliance import DOMAIN, make_model, make_task
from p2p_flock.types import CohortOutcome
from p2p_flock.wire.codec import encode
from tests.unit.alliance_log import PARAMS, LogWriter

ALLIANCE = "flock:84530:0x" + "ab" * 20 + ":1"
SEATS = 8


class Past:
    """Plays rounds by the rules and keeps everything that anybody ever held.

    Attributes:
        models: before each round, and after the last.
        contents: model files, aggregates and manifests by digest.
    """

    def __init__(self) -> None:
        self.log = LogWriter(PARAMS)
        for seat in range(SEATS):
            self.log.join(seat)
        self.log.open()
        self.models = [make_model(is_training=False)]
        self._folded, self._folded_count = AllianceHistory(DOMAIN, PARAMS), 0
        self.contents: dict[bytes, bytes] = {}
        self.aggregates: dict[int, bytes] = {}
        self._hold(encode_model(self.models[0]))

    def _hold(self, data: bytes) -> bytes:
        digest = hashlib.sha256(data).digest()
        self.contents[digest] = data
        return digest

    def _fold(self) -> None:
        for event in self.log.events[self._folded_count :]:
            self._folded.apply(event, isinstance(event, SeatJoined))
        self._folded_count = len(self.log.events)
        for record in self._folded.rounds[-2:]:
            self._folded.add_randomness(record.opened.round, self.log.randomness(record.opened.round))
            if record.sealed is not None:
                self._folded.add_manifest(self.log.manifests[record.opened.round])

    def history(self, events: Sequence[ChainEvent] | None = None) -> AllianceHistory:
        """The log as a node folds it."""
        history = AllianceHistory(DOMAIN, PARAMS)
        for event in self.log.events if events is None else events:
            history.apply(event, isinstance(event, SeatJoined))
        return history

    def play(self, count: int = 1, *, adopted: bool = True, base: bytes | None = None, salt: int = 0) -> None:
        """Rounds to their settlement; ``base`` is what the quorum names instead of the truth."""
        for _ in range(count):
            number, before = self.log.round, self.models[-1]
            self.log.seal()
            manifest = self.log.manifests[number]
            self._hold(encode(manifest))
            self._fold()
            seed, snapshot = self._folded.seed(number), self._folded.snapshot(number)
            assert seed is not None and snapshot is not None
            context = RoundContext.make(snapshot, PARAMS, make_task(), before.stage, before.digest, seed)
            width = context.manifest.width(context.stage)
            ring_sum = np.random.default_rng([number, salt]).integers(0, 1000, width).astype(np.uint32)
            cohort = AdoptedCohort(ring_sum.astype(np.int64), compute_weight_total(context, 0, manifest))
            digest = self.aggregates[number] = self._hold(encode_aggregate(context.cohorts[0], ring_sum))
            after = apply_cohorts(before, make_task(), PARAMS.levels_in(before.stage), [cohort] if adopted else [])
            self.models.append(after)
            self._hold(encode_model(after))
            outcome = CohortOutcome.ADOPTED if adopted else CohortOutcome.REJECTED
            self.log.settle(outcome)
            settled = self.log.events[-1]
            assert isinstance(settled, RoundSettled)
            named = before.digest if base is None else base
            self.log.events[-1] = replace(settled, aggregate_digests=(digest,), base_model_digest=named)
            self.log.open()

    def forget_before(self, round_number: int) -> None:
        """No member holds models or aggregates of rounds before this one."""
        for number in range(round_number):
            self.contents.pop(self.aggregates.get(number, b""), None)
            self.contents.pop(self.models[number].digest, None)

    def void(self) -> None:
        """A round that nobody sealed."""
        self.models.append(self.models[-1])
        self.log.void()
        self.log.open()
        self._fold()


@dataclass
class Peer:
    """What one member serves. ``lie``: what it sends instead of anything; ``bytes_max``: where its link breaks."""

    contents: dict[bytes, bytes] = field(default_factory=dict)
    lie: bytes | None = None
    bytes_max: int | None = None


class FakeNet:
    """Pulls from peers in memory, by the promises of ``net/adapter.py``: verified, resumable, missing ones absent."""

    peer_id = "joiner"

    def __init__(self, peers: dict[str, Peer]) -> None:
        self.peers = peers
        self.asked: list[tuple[str, bytes]] = []
        self.pulled: list[bytes] = []
        self.bytes_pulled = 0
        self.batches: list[int] = []

    def connected(self) -> frozenset[str]:
        return frozenset(self.peers)

    async def fetch(
        self, digests: Sequence[bytes], sources: Sequence[str], bytes_max_each: int, timeout_s: float
    ) -> dict[bytes, bytes]:
        self.batches.append(len(digests))
        found = {}
        for digest in digests:
            for source in sources:
                peer = self.peers[source]
                data = peer.lie if peer.lie is not None else peer.contents.get(digest)
                if data is not None and len(data) <= bytes_max_each and hashlib.sha256(data).digest() == digest:
                    found[digest] = data
                    self.pulled.append(digest)
                    self.bytes_pulled += len(data)
                    break
        return found

    async def fetch_to_path(
        self, digest: bytes, path: Path, sources: Sequence[str], bytes_max: int, timeout_s: float
    ) -> bool:
        part = path.with_name(path.name + ".part")
        for source in sources:
            peer = self.peers[source]
            self.asked.append((source, digest))
            data = peer.lie if peer.lie is not None else peer.contents.get(digest)
            if data is None or len(data) > bytes_max:
                continue
            held = part.read_bytes() if part.exists() else b""
            end = len(data) if peer.bytes_max is None else min(len(data), len(held) + peer.bytes_max)
            part.write_bytes(held + data[len(held) : end])
            self.bytes_pulled += end - len(held)
            if end < len(data):
                continue
            if hashlib.sha256(part.read_bytes()).digest() == digest:
                part.rename(path)
                self.pulled.append(digest)
                return True
            part.unlink()
        return False


class FakeBeacon:
    """A relay; ``fails`` counts down."""

    def __init__(self, past: Past) -> None:
        self.past = past
        self.fails = 0
        self.asked: list[int] = []

    async def get(self, beacon_round: int) -> BeaconValue:
        self.asked.append(beacon_round)
        if self.fails:
            self.fails -= 1
            raise BeaconError("no relay has it")
        return BeaconValue(beacon_round, b"", self.past.log.randomness(beacon_round - 100))


class Joiner:
    """A node's stores, and what runs over them; :meth:`restart` loses the memory and keeps the disk."""

    def __init__(self, folder: Path, past: Past, peers: dict[str, Peer] | None = None) -> None:
        self.folder, self.past = folder, past
        self.net = FakeNet({"member-0": Peer(past.contents)} if peers is None else peers)
        self.beacon = FakeBeacon(past)
        self.restart()

    def restart(self) -> None:
        self.models, self.blobs = ModelStore(self.folder / "models"), BlobStore(self.folder / "blobs", 1 << 26)
        world = SimpleNamespace(
            models=self.models, blobs=self.blobs, net=self.net, beacon=self.beacon, recover=recover_address
        )
        progress = Progress()
        self.lineage = Lineage(cast(World, world), ALLIANCE, make_task(), make_model(is_training=False), progress)
        self.lineage.restore()
        self.sync = Sync(cast(World, world), self.lineage, progress)

    async def advance(self, history: AllianceHistory | None = None) -> bool:
        """One pass over the log as it stands."""
        return await self.sync.advance(history or self.past.history(), sorted(self.net.peers))

    @property
    def digest(self) -> bytes:
        return self.lineage.model.digest

    def part_files(self) -> list[Path]:
        return sorted([*(self.folder / "models").glob("*.part"), *(self.folder / "blobs" / "parts").iterdir()])


def unreadable_model() -> bytes:
    """A canonical file whose values are not finite, as no honest node writes it."""
    model = make_model()
    data = encode_model(model)
    return data[:-8] + np.array([np.nan], dtype="<f8").tobytes()
