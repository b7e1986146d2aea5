"""Who provides which key, as told to us: pure, the clock is an argument.

Called by `net/dht.py`. Every record was told by the peer it names, on a connection that proved its key. Records end by
themselves, and at each bound the origin (IP address) with most records loses its oldest, so that somebody who invents
peers displaces himself first. It must never grow with what strangers say.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from p2p_flock.net.routing_table import BUCKET_PEERS_MAX, PeerRecord

# A record of 16 addresses takes about 3 KB, so all of them 12 MB.
PROVIDERS_MAX = 4096
PROVIDERS_PER_KEY_MAX = 64
LIFETIME_SECONDS = 3600.0


@dataclass(frozen=True)
class _Told:
    record: PeerRecord
    origin: str
    told_s: float


class ProviderStore:
    """Records by key and peer, in the order in which they were told last."""

    def __init__(self, generator: random.Random) -> None:
        self._random = generator
        self._told: dict[tuple[bytes, str], _Told] = {}

    def __len__(self) -> int:
        return len(self._told)

    def add(self, key: bytes, record: PeerRecord, origin: str, now_s: float) -> None:
        """The peer says that it provides the key; a later word replaces an earlier one."""
        self._expire(now_s)
        place = (key, record.peer_id)
        self._told.pop(place, None)
        of_key = [other for other in self._told if other[0] == key]
        if len(of_key) >= PROVIDERS_PER_KEY_MAX:
            self._forget_one(of_key)
        elif len(self._told) >= PROVIDERS_MAX:
            self._forget_one(self._told)
        self._told[place] = _Told(record, origin, now_s)

    def get(self, key: bytes, now_s: float) -> list[PeerRecord]:
        """At most BUCKET_PEERS_MAX providers of the key, chosen at random where there are more."""
        self._expire(now_s)
        records = [told.record for place, told in self._told.items() if place[0] == key]
        return self._random.sample(records, min(len(records), BUCKET_PEERS_MAX))

    def _forget_one(self, places: Iterable[tuple[bytes, str]]) -> None:
        places = list(places)
        (busiest, _), *_ = Counter(self._told[place].origin for place in places).most_common(1)
        del self._told[next(place for place in places if self._told[place].origin == busiest)]

    def _expire(self, now_s: float) -> None:
        while self._told and now_s - next(iter(self._told.values())).told_s > LIFETIME_SECONDS:
            del self._told[next(iter(self._told))]
