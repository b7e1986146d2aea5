"""Gossip: small hints that everyone in an alliance wants (sealed, settled, status), one topic per alliance.

Called by `net/adapter.py`. A message reaches most subscribers, most of the time, in tens of milliseconds; nobody may
rely on any one message having arrived. Everything else goes point to point (`streams.py`, `blobs.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from p2p_flock.errors import NetError
from p2p_flock.net.hardened_gossip import MESSAGE_BYTES_MAX, TOPIC_BYTES_MAX, SafeGossipSub, SafePubsub
from p2p_flock.net.hardening import HardenedHost, run_service
from p2p_flock.net.limits import get_limited_logger
from p2p_flock.types import Verdict

log = get_limited_logger(__name__)

# Accepted messages that wait for our reader. At the bound new ones are dropped and counted: they are hints.
QUEUE_MESSAGES_MAX = 1024
TOPICS_MAX = 64

Validate = Callable[[str, bytes], Verdict]


@dataclass(frozen=True)
class GossipMessage:
    """One accepted message; ``peer_id`` is its author, whose signature was checked."""

    topic: str
    peer_id: str
    data: bytes


class Gossip:
    """Topics of one host. Use `open_gossip`."""

    def __init__(self, host: HardenedHost) -> None:
        send, self.messages = trio.open_memory_channel[GossipMessage](QUEUE_MESSAGES_MAX)
        self.dropped_count = 0
        self._send = send
        self._validators: dict[str, Validate] = {}
        self.router = SafeGossipSub()
        self.pubsub = SafePubsub(host, self.router, self._check, self._deliver)

    async def subscribe(self, topic: str, validate: Validate) -> None:
        """Take part in ``topic``. ``validate(author, data)`` runs in the event loop and must be quick and total:

        REJECT bans who passed the message on, so it is only for what no honest node can send; IGNORE drops it, and it
        may come again. Raises NetError at TOPICS_MAX or for a name beyond TOPIC_BYTES_MAX.
        """
        is_new = topic not in self._validators
        if len(topic.encode()) > TOPIC_BYTES_MAX or (is_new and len(self._validators) >= TOPICS_MAX):
            raise NetError(f"at most {TOPICS_MAX} topics of at most {TOPIC_BYTES_MAX} bytes each")
        self._validators[topic] = validate
        await self.pubsub.subscribe(topic)

    async def publish(self, topic: str, data: bytes) -> None:
        """Tell all subscribers; our own reader does not get it. Raises NetError beyond MESSAGE_BYTES_MAX."""
        if len(data) > MESSAGE_BYTES_MAX:
            raise NetError(f"a gossip message of {len(data)} bytes; at most {MESSAGE_BYTES_MAX}, more is pulled")
        await self.pubsub.publish(topic, data)

    def subscribers(self, topic: str) -> frozenset[str]:
        """Connected peers that said they take part."""
        return frozenset(peer.to_base58() for peer in self.pubsub.peer_topics.get(topic, ()))

    def mesh_peers(self, topic: str) -> frozenset[str]:
        """Those of them with whom full messages are exchanged at once (gossipsub's mesh), not only announced."""
        return frozenset(peer.to_base58() for peer in self.router.mesh.get(topic, ()))

    def _check(self, topic: str, author: str, data: bytes) -> Verdict:
        validate = self._validators.get(topic)
        if validate is None:
            return Verdict.IGNORE
        try:
            return validate(author, data)
        except Exception:  # broad: our own check failing on a peer's bytes must neither end the node nor ban the peer
            log.exception("the check of topic %s failed", topic)
            return Verdict.IGNORE

    def _deliver(self, topic: str, author: str, data: bytes) -> None:
        try:
            self._send.send_nowait(GossipMessage(topic, author, data))
        except trio.WouldBlock:
            self.dropped_count += 1

    def close(self) -> None:
        """End the channel of messages."""
        self._send.close()


@asynccontextmanager
async def open_gossip(host: HardenedHost) -> AsyncIterator[Gossip]:
    """Run gossip on ``host`` while the block runs."""
    gossip = Gossip(host)
    try:
        async with run_service(gossip.pubsub), run_service(gossip.router):
            await gossip.pubsub.wait_until_ready()
            yield gossip
    finally:
        gossip.close()
