"""Finding peers and staying connected with them: dialing, and the peer exchange `/p2p-flock/peers/1`.

Called by `net/adapter.py`. A node that knows one bootstrap node asks it, and everybody it meets, whom they are
connected with. The question carries the asker's own addresses, so one exchange tells both sides. What a peer says of
itself is authenticated by its connection; what it says of others is hearsay, which costs at most a failed dial: the
Noise handshake shows who answers.

Wire format, both ways one frame after a 4-byte big-endian length, msgpack:
question: ``[address, …]``; answer: ``[[peer ID, [address, …]], …]``, the answering peer first.
"""

from __future__ import annotations

import ipaddress
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgpack
import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2p_flock.net.dht_messages import peer_id_from_bytes
from p2p_flock.net.framing import STREAM_FAILURES, FrameError, FrameReader, encode_frame, end_stream
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.limits import EXCHANGES, Buckets
from p2p_flock.net.muxer import Muxer
from p2p_flock.net.peer_book import ADDRESS_CHARACTERS_MAX, ADDRESSES_PER_PEER_MAX, Address, PeerBook, parse_addresses

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger(__name__)

EXCHANGE_PROTOCOL = TProtocol("/p2p-flock/peers/1")
RECORDS_MAX = 64  # of one answer; a random choice where more are connected
QUESTION_BYTES_MAX = 8 * 1024
ANSWER_BYTES_MAX = RECORDS_MAX * QUESTION_BYTES_MAX // 4
EXCHANGE_SECONDS_MAX = 10.0
# Peers that nobody asked for are dialed until we have this many connections: enough for a gossip mesh, and a small
# alliance is fully connected before its members know each other's IDs.
CONNECTIONS_TARGET = 16
DIALS_MAX = 16  # at once
DIAL_SECONDS_MAX = 5.0  # per address
# When to ask again whom others know: quickly after the start, then seldom.
ASK_AGAIN_SECONDS = (0.5, 0.5, 1.0, 2.0, 4.0, 8.0)
ASK_SELDOM_SECONDS = 20.0
# Waiting events of peers that came or went. At the bound new ones are dropped and counted; `connected` tells the truth.
EVENTS_MAX = 4096


@dataclass(frozen=True)
class PeerUp:
    """The first connection with the peer stands."""

    peer_id: str


@dataclass(frozen=True)
class PeerDown:
    """The last connection with the peer is gone: closed, reset, or silent beyond the liveness timeout."""

    peer_id: str


class Discovery:
    """Connections of one host. `run` it in a nursery; `note_change` must be the swarm's ``on_change``."""

    def __init__(
        self,
        host: HardenedHost,
        announce: Sequence[Address],
        listen: Sequence[Address],
        saved: Mapping[str, Sequence[str]],
        on_event: Callable[[PeerUp | PeerDown], None],
    ) -> None:
        send, self.events = trio.open_memory_channel[PeerUp | PeerDown](EVENTS_MAX)
        self.book = PeerBook(host.get_id().to_base58(), random.Random())
        self.connected: frozenset[str] = frozenset()
        self.events_dropped_count = 0
        self._send = send
        self._host = host
        self._on_event = on_event
        # Told, for each peer that named its addresses, these and the IP address at which we see it.
        self.on_announced: Callable[[str, Sequence[Address], str | None], None] = lambda *_: None
        self._announce = tuple(announce)
        self._listen = tuple(listen)
        self._own_addresses = [str(address) for address in (*announce, *listen)]
        self._announced: dict[str, tuple[Address, ...]] = {}  # by connected peers, of themselves
        self._exchanges = Buckets(EXCHANGES)
        self._changed = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._dials = trio.Semaphore(DIALS_MAX)
        self.book.restore(saved, trio.current_time())
        host.set_stream_handler(EXCHANGE_PROTOCOL, self._answer)

    def add(
        self,
        peer_id: str,
        addresses: Sequence[Address],
        *,
        wanted: bool = False,
        vouched: bool = False,
        courteous: bool = True,
    ) -> None:
        """Learn a peer; a wanted one is dialed until it answers, for ever. See `PeerBook.add`."""
        now = trio.current_time()
        self.book.add(peer_id, addresses, now, wanted=wanted, vouched=vouched, courteous=courteous)
        self._changed.set()

    def note_change(self, peer: ID) -> None:
        """A connection came or went."""
        peer_id = peer.to_base58()
        is_connected = self._host.swarm.is_connected(peer)
        if is_connected == (peer_id in self.connected):
            return
        if is_connected:
            self.connected |= {peer_id}
            self.book.note_connected(peer_id, trio.current_time())
            if self._nursery is not None:
                self._nursery.start_soon(self._ask, peer_id)
        else:
            self.connected -= {peer_id}
            self._announced.pop(peer_id, None)
            self.book.note_lost(peer_id, trio.current_time())
            if not self.connected:
                self.book.hurry(trio.current_time())
        event = PeerUp(peer_id) if is_connected else PeerDown(peer_id)
        self._on_event(event)
        self._changed.set()
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            self.events_dropped_count += 1

    def silence_s(self, peer: ID) -> float:
        """See `Net.silence_s`; of the connection that was heard last."""
        muxers = [conn.muxed_conn for conn in self._host.swarm.get_connections(peer)]
        return min((muxer.silence_s() for muxer in muxers if isinstance(muxer, Muxer)), default=0.0)

    @property
    def dialable_addresses(self) -> tuple[str, ...]:
        """See `Net.dialable_addresses`."""
        chosen = self._announce or self._listen
        elsewhere = tuple(str(address) for address in chosen if not address.is_loopback)
        return elsewhere or tuple(map(str, chosen))

    async def run(self, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Dial and ask for ever."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            nursery.start_soon(self._ask_again)
            while True:
                self._changed = trio.Event()
                now = trio.current_time()
                others_max = CONNECTIONS_TARGET - len(self.connected)
                for peer_id, addresses in self.book.take_due(now, self.connected, others_max):
                    nursery.start_soon(self._dial, peer_id, addresses)
                due = self.book.next_due_s(self.connected, others_max)
                with trio.move_on_after(60.0 if due is None else max(0.02, due - trio.current_time())):
                    await self._changed.wait()

    async def _dial(self, peer_id: str, addresses: Sequence[Address]) -> None:
        """Try each address once; `swarm.dial_addr` takes 40 ms where `host.connect` takes 250 and tries only one."""
        try:
            peer = ID.from_base58(peer_id)
        except ValueError:
            self.book.note_failed(peer_id, trio.current_time())
            return
        async with self._dials:
            for address in addresses:
                if self._host.swarm.is_connected(peer):
                    break
                try:
                    with trio.fail_after(DIAL_SECONDS_MAX):
                        await self._host.swarm.dial_addr(Multiaddr(str(address)), peer)
                # ValueError: the library reads names more strictly than we do (punycode that is none).
                except (SwarmException, trio.TooSlowError, ValueError) as error:
                    log.debug("cannot reach %s at %s: %s", peer_id, address, error)
                    continue
                self.book.note_reached(peer_id, address)
                break
        if self._host.swarm.is_connected(peer):
            self.book.note_connected(peer_id, trio.current_time())
        else:
            self.book.note_failed(peer_id, trio.current_time(), is_alone=not self.connected)
        self._changed.set()

    async def reach(self, peer_id: str, addresses: Sequence[Address]) -> None:
        """Try to connect with a peer now, at these addresses only; returns when it is connected or they have failed."""
        if peer_id not in self.connected and addresses:
            await self._dial(peer_id, addresses)

    async def release(self, peers: frozenset[str]) -> None:
        """Close connections that were opened for a question, where we have enough without them."""
        for peer_id in sorted(peers & self.connected):
            if len(self.connected) > CONNECTIONS_TARGET and not self.book.is_wanted(peer_id):
                await self._host.swarm.close_peer(ID.from_base58(peer_id))

    # The exchange.

    async def _ask_again(self) -> None:
        for wait_s in ASK_AGAIN_SECONDS:
            await trio.sleep(wait_s)
            await self._ask_someone()
        while True:
            await trio.sleep(ASK_SELDOM_SECONDS * random.uniform(0.75, 1.25))
            await self._ask_someone()

    async def _ask_someone(self) -> None:
        if self.connected:
            await self._ask(random.choice(sorted(self.connected)))

    async def _ask(self, peer_id: str) -> None:
        try:
            with trio.move_on_after(EXCHANGE_SECONDS_MAX):
                stream = await self._host.new_stream(ID.from_base58(peer_id), [EXCHANGE_PROTOCOL])
                try:
                    await stream.write(encode_frame(msgpack.packb(self._own_addresses)))
                    answer = await FrameReader(stream).read_frame(ANSWER_BYTES_MAX)
                    self._take_answer(peer_id, stream, _decode_answer(answer))
                finally:
                    await end_stream(stream)
        except (*STREAM_FAILURES, StreamFailure, SwarmException, FrameError) as error:
            log.debug("no peer exchange with %s: %s", peer_id, error)

    def _take_answer(self, teller: str, stream: INetStream, records: list[tuple[str, tuple[Address, ...]]]) -> None:
        for peer_id, addresses in records:
            if peer_id == teller:
                self._take_announcement(peer_id, addresses, stream)
            else:
                self.add(peer_id, usable_from(stream, addresses))

    def _take_announcement(self, peer_id: str, addresses: tuple[Address, ...], stream: INetStream) -> None:
        host = seen_host(stream)
        addresses = self.with_seen_host(addresses, host)
        if peer_id in self.connected:
            self._announced[peer_id] = addresses
            self.on_announced(peer_id, addresses, host)
        self.add(peer_id, addresses, vouched=True)

    def with_seen_host(self, addresses: Sequence[Address], host: str | None) -> tuple[Address, ...]:
        """What a peer says of itself, and the same ports at the IP address from which we see it."""
        if host is None:
            return tuple(addresses)
        ports = {address.port for address in addresses[:2]}
        seen = [Address("ip6" if ":" in host else "ip4", host, port) for port in sorted(ports)]
        return tuple(dict.fromkeys((*addresses, *seen)))[-ADDRESSES_PER_PEER_MAX:]

    async def _answer(self, stream: INetStream) -> None:
        peer_id = stream.muxed_conn.peer_id.to_base58()
        if not self._exchanges.of(peer_id).try_take(1.0):
            raise FrameError("it asks for peers too often")
        try:
            with trio.fail_after(EXCHANGE_SECONDS_MAX):
                question = await FrameReader(stream).read_frame(QUESTION_BYTES_MAX)
                self._take_announcement(peer_id, parse_addresses(_decode_texts(_unpack(question))), stream)
                known = [
                    (other, self._announced[other]) for other in self.connected & self._announced.keys() - {peer_id}
                ]
                known = random.sample(known, min(RECORDS_MAX - 1, len(known)))
                records: list[tuple[str, list[str]]] = [(self._host.get_id().to_base58(), self._own_addresses)]
                records += [(other, [str(address) for address in addresses]) for other, addresses in known]
                await stream.write(encode_frame(msgpack.packb(records)))
        except trio.TooSlowError as error:
            raise FrameError("the question never came") from error
        finally:
            await end_stream(stream)

    def close(self) -> None:
        """End the channel of events."""
        self._send.close()


def seen_host(stream: INetStream) -> str | None:
    """The IP address at which we see the peer."""
    return (stream.get_remote_address() or (None, 0))[0]


def usable_from(teller: INetStream, addresses: Sequence[Address]) -> tuple[Address, ...]:
    """Addresses that we may dial on the word of the peer at the other end of ``teller``.

    Hearsay must not make us probe the private network around us for a stranger outside it.
    """
    try:
        is_teller_global = ipaddress.ip_address(seen_host(teller) or "").is_global
    except ValueError:
        is_teller_global = True
    return tuple(address for address in addresses if address.is_global or not is_teller_global)


def _unpack(data: bytes) -> object:
    try:
        unpacked: object = msgpack.unpackb(
            data,
            max_array_len=RECORDS_MAX,
            max_str_len=ADDRESS_CHARACTERS_MAX,
            max_map_len=0,
            max_bin_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise FrameError("not msgpack within its bounds") from error
    return unpacked


def _decode_texts(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) > ADDRESSES_PER_PEER_MAX:
        raise FrameError("not a list of addresses")
    texts = [text for text in value if isinstance(text, str)]
    if len(texts) != len(value):
        raise FrameError("an address that is not text")
    return texts


def _decode_answer(data: bytes) -> list[tuple[str, tuple[Address, ...]]]:
    value = _unpack(data)
    if not isinstance(value, list) or len(value) > RECORDS_MAX:
        raise FrameError("not a list of peers")
    records = []
    for record in value:
        if not isinstance(record, list) or len(record) != 2 or not isinstance(record[0], str):
            raise FrameError("not a peer with its addresses")
        peer_id = parse_peer_id(record[0]).to_base58()
        records.append((peer_id, parse_addresses(_decode_texts(record[1]))))
    return records


def parse_peer_id(text: str) -> ID:
    """A peer ID from base58: a SHA-256 multihash, or a short key itself. Raises FrameError for all else."""
    try:
        peer = ID.from_base58(text)
    except ValueError as error:
        raise FrameError(f"not a peer ID: {text[:80]!r}") from error
    peer_id_from_bytes(peer.to_bytes())
    return peer
