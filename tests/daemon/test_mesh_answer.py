"""The answer to ``node.mesh``: who is connected how, and who sits where."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from p2p_flock.daemon.mesh_answer import PEERS_SHOWN_MAX, answer_mesh
from p2p_flock.daemon.node_messages import MeshResult
from p2p_flock.daemon.session import AllianceSession
from p2p_flock.daemon.world import World
from p2p_flock.net.links import PeerLink
from tests.daemon.test_watch_answer import OWN, SEATS, Past, conforms


def world_of(past: Past, links: dict[str, PeerLink], mesh: frozenset[str]) -> World:
    own = past.history.seats[OWN].peer_id
    net = SimpleNamespace(
        peer_id=own, addresses=("/ip4/127.0.0.1/tcp/4101",), links=lambda: links, mesh_peers=lambda _topic: mesh
    )
    return cast(World, SimpleNamespace(net=net, chain=past.world.chain))


def link_to(peer_id: str, **changes: Any) -> PeerLink:
    return PeerLink(
        **{
            "peer_id": peer_id,
            "is_outbound": True,
            "address": "127.0.0.1:4102",
            "connected_seconds": 12.7,
            "round_trip_s": 0.0035,
            **changes,
        }
    )


def test_mesh__tells_connection_seat_and_role_of_each_peer() -> None:
    """The operator could not see who is reachable and who is not."""
    past = Past(3)
    neighbor, silent = past.history.seats[0].peer_id, past.history.seats[1].peer_id
    links = {neighbor: link_to(neighbor), "stranger": link_to("stranger", is_outbound=False, round_trip_s=None)}
    session = cast(AllianceSession, past.session)
    answer = answer_mesh(world_of(past, links, frozenset({neighbor})), session, "topic")
    assert conforms(answer, MeshResult)
    peers = {peer["peer_id"]: peer for peer in answer["peers"]}
    assert answer["peer_count"] == len(peers) == SEATS  # seven other seats and the stranger
    assert answer["own"]["seat"] == OWN and answer["own"]["role"] in ("trainer", "validator")
    assert answer["own"]["peer_id"] not in peers
    assert (peers[neighbor]["seat"], peers[neighbor]["in_mesh"], peers[neighbor]["direction"]) == (0, True, "outbound")
    assert (peers[neighbor]["round_trip_ms"], peers[neighbor]["connected_seconds"]) == (3.5, 12)
    assert (peers[silent]["is_connected"], peers[silent]["direction"], peers[silent]["address"]) == (False, None, None)
    assert (peers["stranger"]["seat"], peers["stranger"]["owner"], peers["stranger"]["role"]) == (None, None, None)
    assert (peers["stranger"]["direction"], peers["stranger"]["round_trip_ms"]) == ("inbound", None)
    assert [peer["is_connected"] for peer in answer["peers"][:3]] == [True, True, False]


def test_mesh__without_an_alliance_tells_the_connections() -> None:
    """A newcomer could not see whether anybody is reached."""
    past = Past(0)
    answer = answer_mesh(world_of(past, {"bootstrap": link_to("bootstrap")}, frozenset()), None, None)
    assert conforms(answer, MeshResult) and answer["own"]["seat"] is None
    assert [peer["peer_id"] for peer in answer["peers"]] == ["bootstrap"]
    assert answer["peers"][0]["seen_seconds_ago"] is None and not answer["peers"][0]["in_mesh"]


def test_mesh__is_bounded() -> None:
    """Strangers that connect by hundreds would make the answer as long as they like."""
    past = Past(0)
    links = {f"peer{number:04}": link_to(f"peer{number:04}") for number in range(2 * PEERS_SHOWN_MAX)}
    answer = answer_mesh(world_of(past, links, frozenset()), None, None)
    assert len(answer["peers"]) == PEERS_SHOWN_MAX and answer["peer_count"] == 2 * PEERS_SHOWN_MAX
