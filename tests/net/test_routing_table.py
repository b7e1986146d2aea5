"""Routing table, provider records and the course of a lookup: their bounds, and who gives way."""

from __future__ import annotations

import os
import random

from libp2p.peer.id import ID

from p2p_flock.net.dht_lookup import CLOSER_USED_MAX, QUESTIONS_MAX, Lookup
from p2p_flock.net.peer_book import Address
from p2p_flock.net.provider_store import LIFETIME_SECONDS, PROVIDERS_MAX, PROVIDERS_PER_KEY_MAX, ProviderStore
from p2p_flock.net.routing_table import (
    BUCKET_PEERS_MAX,
    BUCKET_SUBNET_PEERS_MAX,
    FRESH_SECONDS,
    KNOWN_SECONDS,
    PeerRecord,
    RoutingTable,
    compute_distance,
    hash_key,
)

HERE = Address("ip4", "127.0.0.1", 4001)
NOBODY: frozenset[str] = frozenset()
# 2,000 random IDs share their first k bits with ours with chance 2000/2^k: eleven buckets fill, a 28th never.
BUCKETS_FILLED_MAX = 28


def make_peer() -> tuple[bytes, PeerRecord]:
    """A peer with a random ID."""
    id_bytes = b"\x00\x24\x08\x01\x12\x20" + os.urandom(32)
    return id_bytes, PeerRecord(ID(id_bytes).to_base58(), (HERE,))


def fill(table: RoutingTable, count: int, host: str | None = None, now_s: float = 0.0) -> dict[bytes, PeerRecord]:
    """As many peers as have found a place, of ``count`` that were seen."""
    peers = [make_peer() for _ in range(count)]
    return {id_bytes: record for id_bytes, record in peers if table.note_seen(id_bytes, record, host, now_s, NOBODY)}


def test_table__tells_the_closest() -> None:
    """Lookups would not come closer to their target."""
    table = RoutingTable(os.urandom(32))
    peers = fill(table, 200)
    target = hash_key(b"target")
    nearest = sorted(peers, key=lambda id_bytes: compute_distance(hash_key(id_bytes), target))[:BUCKET_PEERS_MAX]
    assert table.closest(target, 1.0, NOBODY) == [peers[id_bytes] for id_bytes in nearest]


def test_table__flood_of_new_peers_displaces_nobody() -> None:
    """Somebody who invents peers could surround us with them."""
    table = RoutingTable(os.urandom(32))
    first = fill(table, 40)
    size = len(table)
    fill(table, 2_000)
    assert len(table) < BUCKETS_FILLED_MAX * BUCKET_PEERS_MAX
    assert all(table.get(record.peer_id) == record for record in first.values())
    assert size <= len(table)


def test_table__who_went_long_ago_gives_way_and_the_connected_stay() -> None:
    """The table would fill with the dead, or lose its living."""
    table = RoutingTable(os.urandom(32))
    peers = fill(table, 500)
    connected = frozenset([record.peer_id for record in peers.values()][:10])
    now = FRESH_SECONDS + 1.0
    for id_bytes, record in (make_peer() for _ in range(500)):
        table.note_seen(id_bytes, record, None, now, connected)
    assert all(table.get(peer_id) is not None for peer_id in connected)
    assert sum(table.get(record.peer_id) is not None for record in peers.values()) < len(peers)
    assert {record.peer_id for record in table.closest(hash_key(b"x"), now + KNOWN_SECONDS, connected)} == connected


def test_table__one_network_gets_few_places() -> None:
    """Whoever rents one block of addresses could fill all buckets."""
    table = RoutingTable(os.urandom(32))
    fill(table, 2_000, host="8.8.8.8")
    assert len(table) <= BUCKETS_FILLED_MAX * BUCKET_SUBNET_PEERS_MAX
    assert fill(table, 50, host="192.168.1.1")


def test_table__without_address_or_ourselves_no_place() -> None:
    """We would tell others of ourselves, or of peers that nobody can reach."""
    own, record = make_peer()
    table = RoutingTable(own)
    assert not table.note_seen(own, record, None, 0.0, NOBODY)
    other, _ = make_peer()
    assert not table.note_seen(other, PeerRecord("x", ()), None, 0.0, NOBODY)
    assert len(table) == 0


def test_providers__end_and_are_replaced() -> None:
    """Who left an alliance would be sought for ever."""
    store = ProviderStore(random.Random(1))
    _, record = make_peer()
    store.add(b"key", record, "1.1.1.1", 0.0)
    moved = PeerRecord(record.peer_id, (Address("ip4", "127.0.0.1", 9),))
    store.add(b"key", moved, "1.1.1.1", 10.0)
    assert store.get(b"key", 20.0) == [moved]
    assert store.get(b"other", 20.0) == []
    assert store.get(b"key", 11.0 + LIFETIME_SECONDS) == []
    assert len(store) == 0


def test_providers__who_invents_peers_displaces_himself() -> None:
    """A squatter could hold an alliance's key, so that newcomers find nobody else."""
    store = ProviderStore(random.Random(1))
    honest = [make_peer()[1] for _ in range(10)]
    for number, record in enumerate(honest):
        store.add(b"key", record, f"1.1.1.{number}", 0.0)
    for _ in range(5 * PROVIDERS_PER_KEY_MAX):
        store.add(b"key", make_peer()[1], "6.6.6.6", 1.0)
    assert len(store) == PROVIDERS_PER_KEY_MAX
    found = {record.peer_id for _ in range(200) for record in store.get(b"key", 2.0)}
    assert {record.peer_id for record in honest} <= found


def test_providers__are_bounded_over_all_keys() -> None:
    """Announcing ever new keys would fill our memory."""
    store = ProviderStore(random.Random(1))
    _, honest = make_peer()
    store.add(b"key", honest, "1.1.1.1", 0.0)
    _, squatter = make_peer()
    for number in range(PROVIDERS_MAX + 100):
        store.add(number.to_bytes(4, "big"), squatter, "6.6.6.6", 0.0)
    assert len(store) == PROVIDERS_MAX
    assert store.get(b"key", 1.0) == [honest]


async def test_lookup__asks_the_closest_once_and_ends() -> None:
    """A lookup would ask for ever, or ask somebody twice."""
    peers = dict(make_peer() for _ in range(60))
    records = list(peers.values())
    lookup = Lookup(b"key", "own", records[:3])
    asked = []
    while (record := await lookup.next()) is not None:
        asked.append(record.peer_id)
        lookup.take(record, records)
    assert len(asked) == len(set(asked))
    nearest = sorted(peers, key=lambda id_bytes: compute_distance(hash_key(id_bytes), hash_key(b"key")))
    assert lookup.nearest_answered()[:CLOSER_USED_MAX] == [peers[one] for one in nearest[:CLOSER_USED_MAX]]


async def test_lookup__is_bounded_whatever_it_is_told() -> None:
    """A liar that names ever new peers could keep us busy for ever."""
    lookup = Lookup(b"key", "own", [make_peer()[1]])
    count = 0
    while (record := await lookup.next()) is not None:
        count += 1
        lookup.take(record, [make_peer()[1] for _ in range(20)])
    assert count <= QUESTIONS_MAX


async def test_lookup__one_liar_does_not_crowd_out_the_honest() -> None:
    """One answer full of invented close peers could end the lookup before it reached anybody real."""
    honest = [make_peer()[1] for _ in range(15)]
    liar = make_peer()[1]
    lookup = Lookup(b"key", "own", [liar, *honest])
    asked = set()
    while (record := await lookup.next()) is not None:
        asked.add(record.peer_id)
        is_real = record in honest
        lies = sorted(
            (make_peer() for _ in range(400)), key=lambda one: compute_distance(hash_key(one[0]), hash_key(b"key"))
        )
        lookup.take(record, [one for _, one in lies[:20]] if record is liar else [] if is_real else None)
    assert {record.peer_id for record in honest} <= asked
