"""The answer to ``node.mesh``: this node's connections as it sees them itself, from memory.

Called by ``daemon/handlers.py``. It knows nothing of connections between others and guesses none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_flock.alliance.history import RoundRecord
from p2p_flock.daemon.node_messages import MeshResult, PeerResult
from p2p_flock.daemon.world import World
from p2p_flock.types import Assignment

if TYPE_CHECKING:
    from p2p_flock.daemon.session import AllianceSession

PEERS_SHOWN_MAX = 256  # of up to 4,096 seats and 512 connections; connected ones first


class _Seats:
    """Who sits where and does what in the running round; in the table of now where none runs."""

    def __init__(self, session: AllianceSession | None) -> None:
        self.by_peer: dict[str, tuple[int, str]] = {}
        self._assignment: Assignment | None = None
        if session is None:
            return
        history = session.history
        running: RoundRecord | None = history.rounds[-1] if history.rounds and not history.rounds[-1].ended else None
        seats = history.seats if running is None else running.seats
        if running is not None:
            self._assignment = history.assignment(running.opened.round)
        for index, seat in enumerate(seats):
            self.by_peer.setdefault(seat.peer_id, (index, "0x" + seat.owner.hex()))

    def find(self, peer_id: str) -> tuple[int | None, str | None, str | None]:
        """(seat, owner, role) of a peer."""
        seat, owner = self.by_peer.get(peer_id, (None, None))
        if self._assignment is None or seat is None:
            return seat, owner, None
        return seat, owner, "validator" if seat in self._assignment.validators else "trainer"


def answer_mesh(world: World, session: AllianceSession | None, topic: str | None) -> MeshResult:
    """See the module; ``topic`` is the gossip topic of the session's alliance."""
    seats, links = _Seats(session), world.net.links()
    in_mesh = frozenset() if topic is None else world.net.mesh_peers(topic)
    own_seat, _, own_role = seats.find(world.net.peer_id)
    known = dict.fromkeys([*sorted(links), *seats.by_peer])  # connected ones first, then by seat
    known.pop(world.net.peer_id, None)
    peers: list[PeerResult] = []
    for peer_id in list(known)[:PEERS_SHOWN_MAX]:
        link = links.get(peer_id)
        seat, owner, role = seats.find(peer_id)
        round_trip_s = None if link is None else link.round_trip_s
        peers.append(
            {
                "peer_id": peer_id,
                "seat": seat,
                "owner": owner,
                "role": role,
                "is_connected": link is not None,
                "in_mesh": peer_id in in_mesh,
                "direction": None if link is None else "outbound" if link.is_outbound else "inbound",
                "address": None if link is None else link.address,
                "round_trip_ms": None if round_trip_s is None else round(round_trip_s * 1000, 1),
                "connected_seconds": None if link is None else int(link.connected_seconds),
                "seen_seconds_ago": None if session is None else session.presence.seconds_since(peer_id),
            }
        )
    return {
        "own": {
            "peer_id": world.net.peer_id,
            "owner": "0x" + world.chain.address.hex(),
            "seat": own_seat,
            "role": own_role,
            "addresses": list(world.net.addresses),
        },
        "peers": peers,
        "peer_count": len(known),
    }
