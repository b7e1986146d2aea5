"""The remedies for gossip (rows 4 and 10 to 13 of the table in `net/hardening.py`): its two classes, made safe.

Called by `net/gossip.py` only. Compared with the library this reads bounded frames, checks each message once in one
place, lets a check say "not yet" without remembering it as "never", and lets no message of a peer end more than that
peer's connection. Protocol: meshsub/1.1.0 of https://github.com/libp2p/specs/tree/master/pubsub/gossipsub.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import trio
from google.protobuf.message import DecodeError
from libp2p.abc import INetStream
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.validators import signature_validator

from p2p_flock.net.framing import STREAM_FAILURES, FrameError, FrameReader, end_stream
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.limits import (
    GOSSIP_DEBT_SECONDS_MAX,
    GOSSIP_ENTRIES,
    GOSSIP_OF_AUTHOR,
    GOSSIP_OF_STRANGERS,
    Bucket,
    Buckets,
)
from p2p_flock.types import Verdict

# Payload of one message. Gossip carries hints; everything larger is pulled (DESIGN, section 7).
MESSAGE_BYTES_MAX = 64 * 1024
# One frame of a peer: a few messages and control entries. Beyond it the peer is banned.
RPC_BYTES_MAX = 4 * MESSAGE_BYTES_MAX
MESSAGES_PER_RPC_MAX = 64
SUBSCRIPTIONS_PER_PEER_MAX = 64
TOPIC_BYTES_MAX = 256
CONTROL_ENTRIES_PER_RPC_MAX = 4096
# From a frame's length to its last byte.
FRAME_SECONDS_MAX = 30.0
# Gossip streams that one peer may have open to us: one, and one that replaces it.
STREAMS_PER_PEER_MAX = 2
HEARTBEAT_SECONDS = 1
# Messages kept for a peer whose topics we do not know yet.
PENDING_MESSAGES_PER_PEER_MAX = 16

# Given topic, origin's peer ID and payload.
Check = Callable[[str, str, bytes], Verdict]
Deliver = Callable[[str, str, bytes], None]


class SafeGossipSub(GossipSub):
    """The mesh, without the library's additions that keep bodies in memory or prune peers that share an IP address."""

    def __init__(self) -> None:
        super().__init__(
            [PROTOCOL_ID_V11],  # 1.2 announces every message to every peer first: 4 times the frames for small messages
            degree=6,
            degree_low=4,
            degree_high=12,
            heartbeat_interval=HEARTBEAT_SECONDS,
            spam_protection_enabled=False,  # drops our own messages silently; SafePubsub has its own limit
            adaptive_gossip_enabled=False,
            eclipse_protection_enabled=False,
            max_pending_messages_per_peer=PENDING_MESSAGES_PER_PEER_MAX,
        )

    def _check_equivocation(self, msg: rpc_pb2.Message) -> bool:
        """Always true: seen numbers are dropped before, and the library would keep every body."""
        return True


class SafePubsub(Pubsub):
    """Subscriptions and messages. ``check`` judges a stranger's message, ``deliver`` gets it if it is accepted."""

    def __init__(self, host: HardenedHost, router: SafeGossipSub, check: Check, deliver: Deliver) -> None:
        super().__init__(
            host,
            router,
            max_subscriptions_per_rpc=SUBSCRIPTIONS_PER_PEER_MAX,
            max_subscriptions_per_peer=SUBSCRIPTIONS_PER_PEER_MAX,
            max_inbound_rpc_size=RPC_BYTES_MAX,
        )
        self.counter = time.time_ns()  # the library starts at seconds and repeats numbers after a quick restart
        self._swarm = host.swarm
        self._mesh = router
        self._check = check
        self._deliver = deliver
        self._entries = Buckets(GOSSIP_ENTRIES)
        self._authors = Buckets(GOSSIP_OF_AUTHOR)
        self._strangers = Bucket(GOSSIP_OF_STRANGERS)
        self._streams: Counter[ID] = Counter()
        self._opening: set[ID] = set()

    async def stream_handler(self, stream: INetStream) -> None:
        """Read one peer's frames until its stream ends. A frame that is not gossip bans it."""
        peer_id = stream.muxed_conn.peer_id
        if self._streams[peer_id] >= STREAMS_PER_PEER_MAX:
            raise FrameError("too many gossip streams")
        self._streams[peer_id] += 1
        reader = FrameReader(stream)
        try:
            while True:
                frame = await reader.read_varint_frame(RPC_BYTES_MAX, FRAME_SECONDS_MAX)
                rpc = rpc_pb2.RPC.FromString(frame)
                await self._take_rpc(peer_id, rpc)
        except (DecodeError, FrameError) as error:
            self._swarm.ban(peer_id, f"not a gossip frame: {error}")
        except STREAM_FAILURES:
            pass  # the peer closed its stream, or the connection ended: both are usual
        finally:
            self._streams[peer_id] -= 1
            if not self._streams[peer_id]:
                del self._streams[peer_id]
            await end_stream(stream, broken=True)

    async def _take_rpc(self, peer_id: ID, rpc: rpc_pb2.RPC) -> None:
        """One frame, slowly if the peer sends many: others' messages are not its fault, so it is not banned for it."""
        control = _count_control_entries(rpc.control)
        if len(rpc.publish) > MESSAGES_PER_RPC_MAX or len(rpc.subscriptions) > SUBSCRIPTIONS_PER_PEER_MAX:
            raise FrameError("a gossip frame with too many entries")
        if control > CONTROL_ENTRIES_PER_RPC_MAX:
            raise FrameError("a gossip frame with too many control entries")
        entries = 1.0 + len(rpc.publish) + len(rpc.subscriptions) + control / 16  # announced IDs are only looked up
        await trio.sleep(self._entries.of(peer_id).take(entries))
        rpc.ClearField("senderRecord")  # addresses travel in our own exchange; verifying it costs a signature per frame
        for entry in rpc.subscriptions:
            # Protobuf gives a name that is not UTF-8 as bytes, whatever its annotation says.
            if not isinstance(entry.topicid, str) or len(entry.topicid.encode()) > TOPIC_BYTES_MAX:
                raise FrameError("a topic name that is no text or too long")
            self.handle_subscription(peer_id, entry)
        for message in rpc.publish:
            await self.push_msg(peer_id, message)
        if rpc.HasField("control"):
            await self.router.handle_rpc(rpc, peer_id)

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Check one message, deliver it and pass it on; our own are only passed on."""
        if msg_forwarder != self.my_id:
            match self._judge(msg_forwarder, msg):
                case Verdict.IGNORE:
                    return
                case Verdict.REJECT:
                    self._mark_msg_seen(msg)
                    self._swarm.ban(msg_forwarder, "it passed on a gossip message that is invalid for ever")
                    return
                case Verdict.ACCEPT:
                    self._deliver(msg.topicIDs[0], ID(msg.from_id).to_base58(), msg.data)
        self._mark_msg_seen(msg)
        await self.router.publish(msg_forwarder, msg)

    def _judge(self, forwarder: ID, msg: rpc_pb2.Message) -> Verdict:
        # [REJECT] It names one topic, a number and an author in their sizes, and is not too large.
        if len(msg.topicIDs) != 1 or len(msg.seqno) != 8 or not 0 < len(msg.from_id) <= 64:
            return Verdict.REJECT
        if len(msg.data) > MESSAGE_BYTES_MAX:
            return Verdict.REJECT
        # [IGNORE] We subscribe to the topic, did not write it and have not seen it, and its author is not banned.
        author = ID(msg.from_id)
        if msg.topicIDs[0] not in self.topic_ids or author == self.my_id or author in self._swarm.bans:
            return Verdict.IGNORE
        if self._is_msg_seen(msg):
            return Verdict.IGNORE
        # [REJECT] The author signed it.
        if not _is_signed(msg):
            return Verdict.REJECT
        # [IGNORE] The author keeps to its rate, and all strangers to theirs. Only now, or others could use up its rate.
        if not self._is_within_rate(forwarder, author):
            return Verdict.IGNORE
        return self._check(msg.topicIDs[0], author.to_base58(), msg.data)

    def _is_within_rate(self, forwarder: ID, author: ID) -> bool:
        wait_s = self._authors.of(author).take(1.0)
        if wait_s > GOSSIP_DEBT_SECONDS_MAX and forwarder == author:
            self._swarm.ban(author, "it gossips without end")
        return wait_s == 0.0 and (self._swarm.prefers(author) or self._strangers.try_take(1.0))

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """One stream per peer, even if two connections came up at once, and all our topics on it.

        The library announces those of the moment at which it began to write its first frame; what is subscribed while
        that is under way would never be announced.
        """
        if peer_id in self._opening:
            return
        announced = set(self.topic_ids)
        self._opening.add(peer_id)
        try:
            await super()._handle_new_peer(peer_id)
        finally:
            self._opening.discard(peer_id)
        queue = self.peer_queues.get(peer_id)
        for topic in sorted(set(self.topic_ids) - announced):
            if queue is not None:
                queue.push(self._build_announce_rpc(topic, subscribe=True)[0])

    def _handle_dead_peer(self, peer_id: ID) -> None:
        """Keep the peer's topics while another connection to it lives: it will not announce them a second time."""
        topics = [topic for topic, peers in self.peer_topics.items() if peer_id in peers]
        super()._handle_dead_peer(peer_id)
        if self._swarm.is_connected(peer_id):
            for topic in topics:
                self.peer_topics.setdefault(topic, set()).add(peer_id)
            self._peer_subscription_count[peer_id] = len(topics)
        else:
            for counts in (self._mesh.iwant_request_limits, self._mesh.ihave_message_limits):
                counts.pop(peer_id, None)
            self._mesh.graft_flood_tracking.pop(peer_id, None)


def _count_control_entries(control: rpc_pb2.ControlMessage) -> int:
    ids = sum(len(one.messageIDs) for one in control.ihave) + sum(len(one.messageIDs) for one in control.iwant)
    return ids + len(control.ihave) + len(control.iwant) + len(control.graft) + len(control.prune)


def _is_signed(msg: rpc_pb2.Message) -> bool:
    try:
        return bool(signature_validator(msg))
    except Exception:  # noqa: BLE001 - key parsers of the library raise ValueError, DecodeError, TypeError and more on garbage
        return False
