"""When this node last heard from each peer; for the operator's eyes only. Decides nothing."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

PEERS_MAX = 8192  # twice the seats of the largest alliance; beyond it whoever was silent longest is forgotten


class Presence:
    """See the module. One per session; times are of ``clock``, a monotonic one, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, float] = OrderedDict()

    def note(self, peer_id: str) -> None:
        """Something came from this peer, or its connection came or went."""
        self._seen[peer_id] = self._clock()
        self._seen.move_to_end(peer_id)
        if len(self._seen) > PEERS_MAX:
            self._seen.popitem(last=False)

    def seconds_since(self, peer_id: str) -> int | None:
        """Whole seconds since then; ``None`` where nothing was heard since the node started."""
        seen = self._seen.get(peer_id)
        return None if seen is None else int(self._clock() - seen)
