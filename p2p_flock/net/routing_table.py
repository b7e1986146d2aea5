"""Kademlia's routing table and distance: pure, the clock and who is connected are arguments.

Called by `net/dht.py`. It holds peers whose key a Noise handshake has proven, with the addresses that they named
themselves; what others say of a peer never enters it. Maymounkov and Mazières, "Kademlia", 2002, sections 2.2 and 2.4,
without pings: a peer that is connected, or was lately, keeps its place, so a flood of new peers displaces nobody.
"""

from __future__ import annotations

import hashlib
import heapq
import ipaddress
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from p2p_flock.net.peer_book import Address

# k of the paper: peers per bucket, and how many of the closest are told and asked.
BUCKET_PEERS_MAX = 20
# Of one bucket from one public /24 or /48: whoever rents such a block cannot fill buckets with invented peers.
BUCKET_SUBNET_PEERS_MAX = 2
# A peer that has not been connected for so long gives way to a new one; after the second it is not told any more.
FRESH_SECONDS = 600.0
KNOWN_SECONDS = 3600.0


def hash_key(key: bytes) -> bytes:
    """Where a key, or a peer with this ID, lies: 32 bytes (libp2p's kad-dht specification, "Distance")."""
    return hashlib.sha256(key).digest()


def compute_distance(one: bytes, other: bytes) -> int:
    """Of two hashed keys: their XOR as a number."""
    return int.from_bytes(one, "big") ^ int.from_bytes(other, "big")


@dataclass(frozen=True)
class PeerRecord:
    """A peer and where it may be reached; an address list may be empty."""

    peer_id: str
    addresses: tuple[Address, ...]


@dataclass
class _Place:
    record: PeerRecord
    hashed: bytes
    subnet: str | None
    seen_s: float


class RoutingTable:
    """Known peers by the length of the prefix that their place shares with ours."""

    def __init__(self, own_id: bytes) -> None:
        self._own = hash_key(own_id)
        self._buckets: defaultdict[int, dict[str, _Place]] = defaultdict(dict)

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def note_seen(
        self, id_bytes: bytes, record: PeerRecord, host: str | None, now_s: float, connected: frozenset[str]
    ) -> bool:
        """A connected peer named its addresses; ``host`` is the IP address at which we see it. Whether it has a place.

        At the bound of a bucket, or of its subnet in it, the one not connected for longest gives way, if it was away
        for FRESH_SECONDS; else there is no place.
        """
        hashed = hash_key(id_bytes)
        distance = compute_distance(hashed, self._own)
        if not distance or not record.addresses:
            return False
        bucket = self._buckets[256 - distance.bit_length()]
        place = _Place(record, hashed, _subnet_of(host), now_s)
        if bucket.pop(record.peer_id, None) is None:
            alike = [peer for peer, other in bucket.items() if other.subnet == place.subnet is not None]
            if len(alike) >= BUCKET_SUBNET_PEERS_MAX and not _give_way(bucket, alike, now_s, connected):
                return False
            if len(bucket) >= BUCKET_PEERS_MAX and not _give_way(bucket, list(bucket), now_s, connected):
                return False
        bucket[record.peer_id] = place
        return True

    def note_lost(self, peer_id: str, now_s: float) -> None:
        """A peer's last connection ended."""
        for bucket in self._buckets.values():
            if peer_id in bucket:
                bucket[peer_id].seen_s = now_s

    def remove(self, peer_id: str) -> None:
        """The peer cannot be reached."""
        for bucket in self._buckets.values():
            bucket.pop(peer_id, None)

    def get(self, peer_id: str) -> PeerRecord | None:
        """What is known of one peer."""
        return next((bucket[peer_id].record for bucket in self._buckets.values() if peer_id in bucket), None)

    def closest(self, hashed: bytes, now_s: float, connected: frozenset[str]) -> list[PeerRecord]:
        """The at most BUCKET_PEERS_MAX known peers closest to a hashed key, the closest first."""
        places = [
            place
            for bucket in self._buckets.values()
            for peer_id, place in bucket.items()
            if peer_id in connected or now_s - place.seen_s < KNOWN_SECONDS
        ]
        nearest = heapq.nsmallest(BUCKET_PEERS_MAX, places, key=lambda place: compute_distance(place.hashed, hashed))
        return [place.record for place in nearest]


def _give_way(bucket: dict[str, _Place], peers: Sequence[str], now_s: float, connected: frozenset[str]) -> bool:
    away = [peer for peer in peers if peer not in connected and now_s - bucket[peer].seen_s > FRESH_SECONDS]
    if away:
        del bucket[min(away, key=lambda peer: bucket[peer].seen_s)]
    return bool(away)


def _subnet_of(host: str | None) -> str | None:
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return None
    if not address.is_global:
        return None
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))
