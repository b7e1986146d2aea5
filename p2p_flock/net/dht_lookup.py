"""The course of one lookup: whom to ask next, and when it is over. No I/O.

Called by `net/dht.py`. Maymounkov and Mazières, "Kademlia", 2002, section 2.3, with bounds against answers that are
made up: of one answer only the closest few count, so that no single liar decides where the lookup goes, and it ends
after so many questions whatever it was told.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio
from libp2p.peer.id import ID

from p2p_flock.net.routing_table import BUCKET_PEERS_MAX, PeerRecord, compute_distance, hash_key

QUESTIONS_MAX = 48
CLOSER_USED_MAX = 6  # of one answer


class Lookup:
    """Candidates of one lookup. Several tasks may work on it: each takes `next` and reports with `take`."""

    def __init__(self, key: bytes, own_id: str, seeds: Sequence[PeerRecord]) -> None:
        self._hashed = hash_key(key)
        self._own_id = own_id
        self._known: dict[str, tuple[int, PeerRecord]] = {}
        self._asked: set[str] = set()
        self._under_way = 0
        self._answered: set[str] = set()
        self._changed = trio.lowlevel.ParkingLot()
        self._add(seeds)

    async def next(self) -> PeerRecord | None:
        """The closest candidate that nobody has asked; None when the closest have all answered."""
        await trio.lowlevel.checkpoint()
        while True:
            record = self._pick()
            if record is not None:
                self._asked.add(record.peer_id)
                self._under_way += 1
                return record
            if not self._under_way:
                self._changed.unpark_all()
                return None
            await self._changed.park()

    def take(self, record: PeerRecord, closer: Sequence[PeerRecord] | None) -> None:
        """What a candidate said; None if it did not answer, and it is none any more."""
        self._under_way -= 1
        if closer is None:
            del self._known[record.peer_id]
        else:
            self._answered.add(record.peer_id)
            self._add(sorted(closer, key=self._distance)[:CLOSER_USED_MAX])
        self._changed.unpark_all()

    def nearest_answered(self) -> list[PeerRecord]:
        """The closest peers that answered, at most BUCKET_PEERS_MAX."""
        return [record for record in self._nearest() if record.peer_id in self._answered]

    def _add(self, records: Sequence[PeerRecord]) -> None:
        for record in records:
            if record.peer_id not in self._known and record.peer_id not in self._asked | {self._own_id}:
                self._known[record.peer_id] = (self._distance(record), record)

    def _distance(self, record: PeerRecord) -> int:
        return compute_distance(hash_key(ID.from_base58(record.peer_id).to_bytes()), self._hashed)

    def _nearest(self) -> list[PeerRecord]:
        places = sorted(self._known.values(), key=lambda place: place[0])
        return [record for _, record in places[:BUCKET_PEERS_MAX]]

    def _pick(self) -> PeerRecord | None:
        if len(self._asked) >= QUESTIONS_MAX:
            return None
        return next((record for record in self._nearest() if record.peer_id not in self._asked), None)
