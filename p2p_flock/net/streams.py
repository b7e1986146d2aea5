"""Point-to-point messages over one lasting stream per direction and peer: `/p2p-flock/message/1`.

Called by `net/adapter.py`. Messages to one peer arrive in the order in which they were sent, or not at all: a message
is lost when its queue is full, when the peer stays away longer than MESSAGE_SECONDS_MAX, or when the connection ends
under it, and it may then arrive twice. Senders that need certainty send again until they see the effect.

Wire format, from the opener only: frames after a 4-byte big-endian length.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID

from p2p_flock.errors import NetError
from p2p_flock.net.framing import STREAM_FAILURES, FrameError, FrameReader, encode_frame, end_stream
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.limits import (
    MESSAGE_UNIT_BYTES,
    MESSAGES_HELD_BACK,
    MESSAGES_OF_PREFERRED,
    MESSAGES_OF_STRANGER,
    Allowance,
    Buckets,
    get_limited_logger,
)

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = get_limited_logger(__name__)

MESSAGE_PROTOCOL = TProtocol("/p2p-flock/message/1")
# Outgoing, per peer. At either bound `send` says False and the message is not sent.
OUTBOX_MESSAGES_MAX = 256
OUTBOX_BYTES_MAX = 16 * 1024 * 1024
OUTBOXES_MAX = 1024  # peers at once; one more peer's messages are refused alike
# A message that could not be handed to its peer for so long is dropped: its phase is over.
MESSAGE_SECONDS_MAX = 60.0
# One message that takes longer to pass the peer's window means that the peer does not read: its connection is closed.
WRITE_SECONDS_MAX = 10.0
# Incoming, per peer: at either bound that peer's stream waits (its sender feels it), for INBOX_SECONDS_MAX at most.
INBOX_MESSAGES_PER_PEER_MAX = 128
INBOX_BYTES_PER_PEER_MAX = 8 * 1024 * 1024
INBOX_SECONDS_MAX = 5.0
# Incoming over all peers, unfinished ones at their full size, beyond which messages are dropped and counted. Strangers
# share the smaller part, so that their crowd cannot displace a member's message.
INBOX_BYTES_MAX = 128 * 1024 * 1024
INBOX_BYTES_OF_STRANGERS_MAX = 32 * 1024 * 1024
SKIP_BYTES = 64 * 1024  # of a message without room, read at once
CUT_OFFS_MAX = 1024  # remembered; beyond it the oldest is forgiven
# Lasting message streams that one peer may have open to us: one, and one that replaces it.
INBOUND_STREAMS_PER_PEER_MAX = 2
FRAME_SECONDS_MAX = 30.0  # from a frame's length to its last byte


@dataclass(frozen=True)
class InboundMessage:
    """One message; ``peer_id`` is who sent it, proven by the connection."""

    peer_id: str
    data: bytes


@dataclass
class _Outbox:
    """What one peer has still to be told."""

    peer: ID
    messages: deque[tuple[float, bytes]] = field(default_factory=deque)  # when queued, what
    size_bytes: int = 0
    changed: trio.Event = field(default_factory=trio.Event)


class Messenger:
    """All messages of one host. `run` it in a nursery."""

    def __init__(self, host: HardenedHost, message_bytes_max: int) -> None:
        send, self.messages = trio.open_memory_channel[InboundMessage](0)
        self.dropped_count = 0  # incoming and outgoing
        self._send = send
        self._host = host
        self._message_bytes_max = message_bytes_max
        self._outboxes: dict[str, _Outbox] = {}
        self._inbox: dict[str, deque[bytes]] = {}
        self._inbox_bytes: Counter[str] = Counter()
        self._inbox_filled = trio.lowlevel.ParkingLot()
        self._inbox_emptied = trio.lowlevel.ParkingLot()
        self._inbound_streams: Counter[str] = Counter()
        self._reading_bytes: Counter[str] = Counter()  # of messages that have begun
        self._rates = Allowance(MESSAGES_OF_PREFERRED, MESSAGES_OF_STRANGER)
        self._held_back = Buckets(MESSAGES_HELD_BACK)
        self._cut_off_until: dict[str, float] = {}
        self._nursery: trio.Nursery | None = None
        host.set_stream_handler(MESSAGE_PROTOCOL, self._receive)

    async def run(self, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry messages for ever."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await self._hand_over()

    def close(self) -> None:
        """End the channel of messages."""
        self._send.close()

    # Sending.

    def send(self, peer: ID, data: bytes) -> bool:
        """Queue one message and return at once; False if a bound was reached. Raises NetError if it is too long."""
        if len(data) > self._message_bytes_max:
            raise NetError(
                f"a message of {len(data)} bytes; at most {self._message_bytes_max}, larger content is pulled"
            )
        if self._nursery is None:
            raise NetError("the network is not open")
        peer_id = peer.to_base58()
        if peer == self._host.get_id():  # two seats of one owner
            return self._keep_own(peer_id, data)
        outbox = self._outboxes.get(peer_id)
        if outbox is None:
            if len(self._outboxes) >= OUTBOXES_MAX:
                self.dropped_count += 1
                return False
            outbox = self._outboxes[peer_id] = _Outbox(peer)
            self._nursery.start_soon(self._empty_outbox, peer_id, outbox)
        if len(outbox.messages) >= OUTBOX_MESSAGES_MAX or outbox.size_bytes + len(data) > OUTBOX_BYTES_MAX:
            self.dropped_count += 1
            return False
        outbox.messages.append((trio.current_time(), data))
        outbox.size_bytes += len(data)
        outbox.changed.set()
        return True

    def cut_off(self, peer: ID, seconds: float) -> None:
        """Take no message from this peer for a while: what waits is dropped, its streams end with the next message.

        A stranger is banned, since nothing else that it may want of us is worth a connection.
        """
        peer_id = peer.to_base58()
        if not self._host.swarm.prefers(peer):
            self._host.swarm.ban(peer, "it sends messages that no honest node sends")
        self._cut_off_until.pop(peer_id, None)
        if len(self._cut_off_until) >= CUT_OFFS_MAX:
            del self._cut_off_until[next(iter(self._cut_off_until))]
        self._cut_off_until[peer_id] = trio.current_time() + seconds
        self.dropped_count += len(self._inbox.pop(peer_id, ()))
        del self._inbox_bytes[peer_id]
        self._inbox_emptied.unpark_all()

    def note_change(self, peer_id: str) -> None:
        """The peer was connected or lost: its outbox may go on."""
        outbox = self._outboxes.get(peer_id)
        if outbox is not None:
            outbox.changed.set()

    async def _empty_outbox(self, peer_id: str, outbox: _Outbox) -> None:
        """The one writer of a peer's messages, so that no caller's cancellation can cut a message in two."""
        stream: INetStream | None = None
        try:
            while True:
                outbox.changed = trio.Event()
                self._drop_old(outbox)
                if outbox.messages and self._host.swarm.is_connected(outbox.peer):
                    stream = await self._write_next(outbox, stream)
                    continue
                with trio.move_on_after(MESSAGE_SECONDS_MAX) as waited:
                    await outbox.changed.wait()
                if waited.cancelled_caught and not outbox.messages and not self._host.swarm.is_connected(outbox.peer):
                    return
        finally:
            del self._outboxes[peer_id]

    def _drop_old(self, outbox: _Outbox) -> None:
        oldest = trio.current_time() - MESSAGE_SECONDS_MAX
        while outbox.messages and outbox.messages[0][0] < oldest:
            outbox.size_bytes -= len(outbox.messages.popleft()[1])
            self.dropped_count += 1

    async def _write_next(self, outbox: _Outbox, stream: INetStream | None) -> INetStream | None:
        """Write the first message; the stream to go on with, or None after a failure: the message is tried again."""
        try:
            if stream is None:
                stream = await self._host.new_stream(outbox.peer, [MESSAGE_PROTOCOL])
            with trio.fail_after(WRITE_SECONDS_MAX):
                await stream.write(encode_frame(outbox.messages[0][1]))
        except StreamFailure:
            log.debug("%s does not take messages", outbox.peer)
            await trio.sleep(5.0)
            return None
        except (*STREAM_FAILURES, SwarmException) as error:
            log.debug("lost the message stream to %s: %s", outbox.peer, error)
            if stream is not None:
                await end_stream(stream, broken=True)
            await trio.sleep(0.05)
            return None
        except trio.TooSlowError:
            log.info("%s does not read its messages; closing its connection", outbox.peer)
            await self._host.swarm.close_peer(outbox.peer)
            return None
        outbox.size_bytes -= len(outbox.messages.popleft()[1])
        return stream

    # Receiving.

    async def _receive(self, stream: INetStream) -> None:
        """Read one peer's messages until its stream ends. A frame too long ends the stream, and only that."""
        peer = stream.muxed_conn.peer_id
        peer_id = peer.to_base58()
        self._check_cut_off(peer_id)
        if self._inbound_streams[peer_id] >= INBOUND_STREAMS_PER_PEER_MAX:
            raise FrameError("too many message streams")
        self._inbound_streams[peer_id] += 1
        reader = FrameReader(stream)
        try:
            while True:
                size = int.from_bytes(await reader.read_exactly(4), "big")
                if size > self._message_bytes_max:
                    raise FrameError(f"a message of {size} bytes, allowed are {self._message_bytes_max}")
                await self._hold_back(peer, peer_id, size)
                await self._receive_one(reader, peer, peer_id, size)
        except trio.TooSlowError as error:
            raise FrameError("a message that never ended") from error
        except STREAM_FAILURES:
            pass  # the peer closed its stream, or the connection ended: both are usual
        finally:
            self._inbound_streams[peer_id] -= 1
            if not self._inbound_streams[peer_id]:
                del self._inbound_streams[peer_id]
            await end_stream(stream, broken=True)

    def _check_cut_off(self, peer_id: str) -> None:
        if trio.current_time() < self._cut_off_until.get(peer_id, 0.0):
            raise FrameError("this peer is cut off for a while")

    async def _hold_back(self, peer: ID, peer_id: str, size: int) -> None:
        """Let a peer that sends too fast wait; ban one that goes on."""
        cost = 1.0 + size / MESSAGE_UNIT_BYTES
        wait_s = self._rates.take(peer_id, cost, is_preferred=self._host.swarm.prefers(peer))
        if wait_s > 0.0:
            if self._held_back.of(peer_id).take(wait_s) > 0.0:
                self._host.swarm.ban(peer, "it sends messages without end")
            await trio.sleep(wait_s)

    async def _receive_one(self, reader: FrameReader, peer: ID, peer_id: str, size: int) -> None:
        """Read one message once there is room for it, or skip it where there is none for long."""
        is_preferred = self._host.swarm.prefers(peer)
        with trio.move_on_after(INBOX_SECONDS_MAX) as waiting:
            while not self._has_room(peer_id, size, is_preferred):
                await self._inbox_emptied.park()
        if waiting.cancelled_caught:
            self.dropped_count += 1
            with trio.fail_after(FRAME_SECONDS_MAX):
                while size:
                    size -= len(await reader.read_at_most(min(size, SKIP_BYTES)))
            return
        self._reading_bytes[peer_id] += size
        try:
            with trio.fail_after(FRAME_SECONDS_MAX):
                data = await reader.read_exactly(size)
        finally:
            self._reading_bytes[peer_id] -= size
            if not self._reading_bytes[peer_id]:
                del self._reading_bytes[peer_id]
            self._inbox_emptied.unpark_all()
        self._check_cut_off(peer_id)
        self._put(peer_id, data)

    def _keep_own(self, own_id: str, data: bytes) -> bool:
        if not self._has_room(own_id, len(data), is_preferred=True):
            self.dropped_count += 1
            return False
        self._put(own_id, data)
        return True

    def _has_room(self, peer_id: str, size: int, is_preferred: bool) -> bool:
        held = self._inbox_bytes[peer_id] + self._reading_bytes[peer_id]
        total = self._inbox_bytes.total() + self._reading_bytes.total()
        return (
            len(self._inbox.get(peer_id, ())) < INBOX_MESSAGES_PER_PEER_MAX
            and held + size <= INBOX_BYTES_PER_PEER_MAX + self._message_bytes_max
            and total + size <= (INBOX_BYTES_MAX if is_preferred else INBOX_BYTES_OF_STRANGERS_MAX)
        )

    def _put(self, peer_id: str, data: bytes) -> None:
        self._inbox.setdefault(peer_id, deque()).append(data)
        self._inbox_bytes[peer_id] += len(data)
        self._inbox_filled.unpark_all()

    async def _hand_over(self) -> None:
        """Give messages to our reader, one peer after the other, so that a loud peer cannot crowd out the others."""
        while True:
            while not self._inbox:
                await self._inbox_filled.park()
            for peer_id in list(self._inbox):
                waiting = self._inbox[peer_id]
                data = waiting.popleft()
                self._inbox_bytes[peer_id] -= len(data)
                if not waiting:
                    del self._inbox[peer_id], self._inbox_bytes[peer_id]
                self._inbox_emptied.unpark_all()
                await self._send.send(InboundMessage(peer_id, data))
