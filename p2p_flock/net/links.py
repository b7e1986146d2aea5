"""What this node sees of its own connections, for the operator's eyes only. Decides nothing.

Called by `net/adapter.py`. It asks no peer anything but a ping on a connection that is open anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio
from libp2p.network.connection.swarm_connection import SwarmConn

from p2p_flock.net.hardening import HardenedSwarm
from p2p_flock.net.muxer import Muxer


@dataclass(frozen=True, slots=True)
class PeerLink:
    """The oldest open connection to one peer.

    Attributes:
        is_outbound: whether we dialed.
        address: the peer's IP address and port as TCP sees them, ``203.0.113.7:4101``; of an inbound one the port is
            not the one it listens on.
        connected_seconds: age of the connection.
        round_trip_s: of the last ping; None before the first answer.
    """

    peer_id: str
    is_outbound: bool
    address: str | None
    connected_seconds: float
    round_trip_s: float | None


def describe_links(swarm: HardenedSwarm) -> dict[str, PeerLink]:
    """All of them by peer ID. While this is asked each connection is pinged, at most each ROUND_TRIP_INTERVAL_S."""
    now, found = trio.current_time(), dict[str, PeerLink]()
    for conn in swarm.get_connections():
        if not isinstance(conn, SwarmConn) or conn.is_closed or not isinstance(conn.muxed_conn, Muxer):
            continue
        muxer = conn.muxed_conn
        remote = muxer.get_remote_address()
        link = PeerLink(
            peer_id=muxer.peer_id.to_base58(),
            is_outbound=muxer.is_initiator,
            address=None if remote is None else _join(*remote[:2]),
            connected_seconds=now - muxer.began_at,
            round_trip_s=muxer.measure_round_trip(),
        )
        other = found.get(link.peer_id)
        if other is None or other.connected_seconds < link.connected_seconds:
            found[link.peer_id] = link
    return found


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
