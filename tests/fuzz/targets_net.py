"""Targets of net/: everything that a stranger's bytes reach before a message of ours is decoded."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Coroutine, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgpack
import outcome
from google.protobuf.message import DecodeError
from libp2p.connection_types import ConnectionType
from libp2p.network.stream.exceptions import StreamReset
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable
from libp2p.utils.varint import encode_varint_prefixed
from trio._core._traps import CancelShieldedCheckpoint

from p2p_flock.daemon.node import _read_peer_book
from p2p_flock.errors import NetError
from p2p_flock.net.blob_server import ITEMS_MAX, BlobServer
from p2p_flock.net.blobs import _read_body, _read_size
from p2p_flock.net.dht_messages import (
    Answer,
    Kind,
    Question,
    decode_address,
    decode_answer,
    decode_question,
    encode_address,
    encode_answer,
    encode_question,
)
from p2p_flock.net.discovery import _decode_answer, _decode_texts, _unpack, parse_peer_id
from p2p_flock.net.framing import READ_BYTES, STREAM_FAILURES, FrameError, FrameReader, encode_frame
from p2p_flock.net.hardened_gossip import RPC_BYTES_MAX, _is_signed
from p2p_flock.net.hardening import _read_bounded
from p2p_flock.net.mdns_packets import PacketError, decode_packet, encode_response
from p2p_flock.net.mdns_packets import encode_question as encode_mdns_question
from p2p_flock.net.muxer import INBOUND_STREAMS_MAX, OUTBOX_CONTROL_FRAMES_MAX, Muxer
from p2p_flock.net.peer_book import ADDRESSES_PER_PEER_MAX, PeerBook, parse_address, parse_addresses
from p2p_flock.net.routing_table import PeerRecord
from p2p_flock.net.yamux_frames import INITIAL_WINDOW_BYTES, Flag, FrameKind, Header, MuxerProtocolError
from p2p_flock.net.yamux_stream import Stream
from tests.fuzz.target import Form, Target

PEER = "12D3KooWSahP5pFRCEfaziPEba7urXGeif6T1y8jmodzdFUvzBHj"
OTHER = "12D3KooWFbPuRiujiuSW77o6AWqzsw46udiBtzDgb3tsbQMFNhGR"
ADDRESSES = ("/ip4/192.0.2.1/tcp/4101", "/ip6/2001:db8::1/tcp/4101", "/dns4/node.example.org/tcp/65535")
FRAME_BYTES_MAX = 2048


class Readable:
    """A stream whose peer says ``data`` in small pieces and leaves; it remembers how much was asked of it at once."""

    def __init__(self, data: bytes, piece_bytes: int = 7) -> None:
        self.asked_bytes_max = 0
        self.written_bytes = 0
        self._data, self._position, self._piece_bytes = data, 0, piece_bytes
        self.muxed_conn = self
        self.peer_id = ID.from_base58(PEER)

    async def read(self, n: int | None = None) -> bytes:
        self.asked_bytes_max = max(self.asked_bytes_max, n or 0)
        taken = self._data[self._position : self._position + min(self._piece_bytes, n or self._piece_bytes)]
        self._position += len(taken)
        if not taken:
            raise StreamReset
        return taken

    async def write(self, data: bytes) -> None:
        self.written_bytes += len(data)

    async def close(self) -> None:
        """Nothing to do."""

    async def reset(self) -> None:
        """Nothing to do."""


def drive(waiting: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that lets others run now and then and never really waits."""
    try:
        trap = waiting.send(None)
        while trap is CancelShieldedCheckpoint:
            trap = waiting.send(outcome.Value(None))
    except StopIteration as stop:
        return stop.value
    finally:
        waiting.close()
    raise AssertionError("it waited for something that never comes")


# --- framing and negotiation -------------------------------------------------------------------------------------


def run_framing(data: bytes) -> bool:
    """First byte: our frames, libp2p's, or the negotiation of a protocol."""
    mode, stream = (data[0] % 3 if data else 0), Readable(data[1:])
    reader = FrameReader(stream)
    read = (reader.read_frame, reader.read_varint_frame)
    try:
        if mode == 2:
            assert len(drive(_read_bounded(MultiselectCommunicator(stream)))) <= 1024  # type: ignore[arg-type]
        else:
            assert len(drive(read[mode](FRAME_BYTES_MAX))) <= FRAME_BYTES_MAX
    except (*STREAM_FAILURES, FrameError, MultiselectCommunicatorError):
        return False
    finally:
        assert stream.asked_bytes_max <= READ_BYTES, "more was asked for than a frame may have"
    return True


def framing_seeds() -> Sequence[bytes]:
    frame = b"x" * 300
    hello = encode_varint_prefixed(b"/multistream/1.0.0\n")
    return [
        b"\0" + encode_frame(frame),
        b"\0" + encode_frame(b"y" * (FRAME_BYTES_MAX + 1)),
        b"\1" + encode_varint_prefixed(frame),
        b"\1" + b"\xff" * 6,
        b"\2" + hello + hello,
        b"\2\x80\x80\x80\x80\x04",
    ]


# --- yamux -----------------------------------------------------------------------------------------------------


class Scope:
    """What a muxer cancels when its peer goes too far."""

    cancel_called = False

    def cancel(self) -> None:
        self.cancel_called = True


class Session:
    """The encrypted session under a muxer, of which nothing is read or written here."""

    is_initiator = True
    negotiated_security_protocol = "/noise"

    def get_transport_addresses(self) -> list[Any]:
        return []

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT

    def get_remote_address(self) -> tuple[str, int]:
        return "127.0.0.1", 1


def run_yamux(data: bytes) -> bool:
    """First byte: in what pieces the rest arrives at a connection with two streams of ours."""
    muxer = Muxer(Session(), ID.from_base58(PEER))  # type: ignore[arg-type]
    muxer._scope = Scope()  # type: ignore[assignment]
    for number in (1, 3):
        muxer._streams[number] = Stream(muxer, muxer, number, is_ours=True)
    muxer._next_stream_id = 5
    size = (1, 5, 12, 13, 100, 65536)[data[0] % 6] if data else 1
    streams: dict[int, Stream] = {}
    try:
        for start in range(1, len(data), size):
            muxer._take(memoryview(data[start : start + size]))
            streams |= muxer._streams
            if muxer._scope.cancel_called:
                return False
    except (MuxerProtocolError, MuxedConnUnavailable, NetError):
        return False
    finally:
        inbound = [stream for stream in muxer._streams.values() if not stream.is_ours]
        assert len(inbound) <= INBOUND_STREAMS_MAX
        assert muxer._outbox_control_frames <= OUTBOX_CONTROL_FRAMES_MAX + 1
        for stream in streams.values():
            assert stream._received_bytes <= INITIAL_WINDOW_BYTES
            assert stream._received_bytes == sum(map(len, stream._received))
            assert 0 <= stream._window_left <= INITIAL_WINDOW_BYTES
    return True


def yamux_seeds() -> Sequence[bytes]:
    def frames(*parts: tuple[FrameKind, int, int, int, bytes]) -> bytes:
        return b"".join(
            Header(kind, Flag(flags), stream, length).encode() + body for kind, flags, stream, length, body in parts
        )

    data, update, ping, leave = FrameKind.DATA, FrameKind.WINDOW_UPDATE, FrameKind.PING, FrameKind.GO_AWAY
    talk = frames(
        (update, 1, 2, 0, b""), (data, 0, 2, 5, b"hello"), (data, 4, 2, 0, b""), (update, 0, 1, 4096, b""),
        (data, 0, 1, 3, b"abc"), (data, 8, 3, 0, b""), (ping, 1, 0, 7, b""), (ping, 2, 0, 7, b""),
    )  # fmt: skip
    opened = frames(*((update, 1, 2 * number, 0, b"") for number in range(1, 140)))
    return [
        *(bytes([piece]) + talk for piece in range(6)),
        b"\4" + opened,
        b"\4" + frames((data, 1, 2, 16 << 20, b"x")),
        b"\4" + frames((data, 1, 2, (16 << 20) + 1, b"x")),
        b"\5" + frames((ping, 1, 0, 1, b"")) * 60,
        b"\2" + frames((leave, 0, 0, 0, b"")),
    ]


# --- discovery -------------------------------------------------------------------------------------------------


def run_dht(data: bytes) -> bool:
    """First byte: a question, an answer to one of the four, or one address."""
    mode, body = (data[0] % 6 if data else 0), data[1:]
    asker = ID.from_base58(PEER).to_bytes()
    try:
        if mode == 0:
            question = decode_question(body, asker)
            assert len(question.provider) <= 8
        elif mode == 5:
            try:
                address = decode_address(body)
            except ValueError:
                return False
            assert decode_address(encode_address(address)) == address, "an address that is another one when told on"
        else:
            kind = tuple(Kind)[mode - 1]
            answer = decode_answer(body, Question(kind, b"k" * 32))
            for record in (*answer.providers, *answer.closer):
                ID.from_base58(record.peer_id)
            encode_answer(Question(kind, b"k" * 32), answer)
    except FrameError:
        return False
    return True


def dht_seeds() -> Sequence[bytes]:
    asker = ID.from_base58(PEER).to_bytes()
    addresses = tuple(parse_address(text)[0] for text in ADDRESSES)
    records = (PeerRecord(PEER, addresses), PeerRecord(OTHER, addresses[:1]))
    seeds = [b"\5" + encode_address(address) for address in addresses]
    for index, kind in enumerate(Kind):
        question = Question(kind, b"k" * 32, addresses)
        seeds += [b"\0" + encode_question(question, asker)]
        seeds += [bytes([index + 1]) + encode_answer(question, Answer(records, records[::-1]))]
    return seeds


def run_mdns(data: bytes) -> bool:
    try:
        packet = decode_packet(data)
    except PacketError:
        return False
    for text in packet.addresses:
        parse_addresses([text])
    return packet.asks or bool(packet.addresses)


def mdns_seeds() -> Sequence[bytes]:
    told = [f"{address}/p2p/{PEER}" for address in ADDRESSES]
    compressed = bytearray(encode_response("a" * 32, told))
    return [encode_mdns_question(), encode_response("q" * 32, told), bytes(compressed[:12]) + b"\xc0\x0c" + bytes(20)]


def run_exchange(data: bytes) -> bool:
    """First byte: the question or the answer of the peer exchange."""
    try:
        if data and data[0] % 2:
            records = _decode_answer(data[1:])
            for peer_id, addresses in records:
                parse_peer_id(peer_id)
                assert len(addresses) <= ADDRESSES_PER_PEER_MAX
        else:
            assert len(parse_addresses(_decode_texts(_unpack(data[1:])))) <= ADDRESSES_PER_PEER_MAX
    except FrameError:
        return False
    return True


def exchange_seeds() -> Sequence[bytes]:
    return [
        b"\0" + msgpack.packb(list(ADDRESSES)),
        b"\1" + msgpack.packb([[PEER, list(ADDRESSES)], [OTHER, list(ADDRESSES[:1])]]),
    ]


@cache
def scratch_folder() -> Path:
    """A folder of this process for readers that take a path."""
    return Path(_SCRATCH.name)


# In memory where the machine has such a folder: it is written ten thousand times a minute.
_SCRATCH = tempfile.TemporaryDirectory(
    prefix="p2p-flock-fuzz-", ignore_cleanup_errors=True, dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
)


def run_peer_book(data: bytes) -> bool:
    """The peer book as it lies on disk, and what the book makes of it."""
    path = scratch_folder() / "peers.json"
    path.write_bytes(data)
    saved = _read_peer_book(path)
    book = PeerBook(PEER, random.Random(0))
    book.restore(saved, 0.0)
    assert all(len(addresses) <= 24 for addresses in book.snapshot().values())
    return bool(saved)


def peer_book_seeds() -> Sequence[bytes]:
    return [json.dumps({PEER: ADDRESSES, OTHER: ADDRESSES[:1]}).encode(), b"{}"]


def run_address(data: bytes) -> bool:
    """A multiaddr as operators, peers and the chain write it."""
    text = data.decode(errors="replace")
    try:
        address, peer_id = parse_address(text)
    except ValueError:
        return False
    assert parse_address(str(address))[0] == address
    told = decode_address(encode_address(address))
    assert decode_address(encode_address(told)) == told, "an address that is another one when told on"
    if peer_id is not None:
        try:
            parse_peer_id(peer_id)
        except FrameError:
            return False
    return True


def address_seeds() -> Sequence[bytes]:
    return [address.encode() for address in ADDRESSES] + [f"{ADDRESSES[0]}/p2p/{PEER}".encode()]


# --- gossip and blobs --------------------------------------------------------------------------------------------


def run_gossip_frame(data: bytes) -> bool:
    """A frame of the mesh: the protobuf and the signature check, with whatever key the message carries."""
    try:
        rpc = rpc_pb2.RPC.FromString(data[:RPC_BYTES_MAX])
    except DecodeError:
        return False
    for message in list(rpc.publish)[:4]:
        if 0 < len(message.from_id) <= 64:
            ID(message.from_id).to_base58()
            _is_signed(message)
    return bool(rpc.publish)


def gossip_frame_seeds() -> Sequence[bytes]:
    peer = ID.from_base58(PEER).to_bytes()
    message = rpc_pb2.Message(data=b"x", topicIDs=["t"], from_id=peer, seqno=b"12345678", signature=b"s" * 64)
    keyed = rpc_pb2.Message(
        data=b"x", topicIDs=["t"], from_id=b"\x12\x20" + b"f" * 32, seqno=b"12345678", signature=b"s" * 64,
        key=b"\x08\x01\x12\x20" + peer[-32:],
    )  # fmt: skip
    control = rpc_pb2.ControlMessage(ihave=[rpc_pb2.ControlIHave(topicID="t", messageIDs=[b"m"])])
    subscription = rpc_pb2.RPC.SubOpts(subscribe=True, topicid="t")
    return [
        rpc_pb2.RPC(publish=[message, keyed], subscriptions=[subscription], control=control).SerializeToString(),
        rpc_pb2.RPC(publish=[keyed]).SerializeToString(),
    ]


class Host:
    """What a blob server needs of a host, and of its network: nobody is preferred."""

    @property
    def swarm(self) -> Host:
        return self

    def prefers(self, _peer: ID) -> bool:
        return False

    def set_stream_handler(self, _protocol: object, _handler: object) -> None:
        """Nothing to do."""


def run_blobs(data: bytes) -> bool:
    """First byte: what an asker says to our server, or a source to our client."""
    stream = Readable(data[1:], piece_bytes=4096)
    contents = {b"d" * 32: b"content", b"e" * 32: bytes(70_000)}

    async def serve() -> None:
        await BlobServer(Host(), contents.get)._serve(stream)  # type: ignore[arg-type]

    async def pull() -> None:
        reader, got = FrameReader(stream), 0

        async def take(piece: bytes | memoryview) -> None:
            nonlocal got
            got += len(piece)

        for _ in range(4):
            size = await _read_size(reader, 0, 4096)
            if size is not None:
                await _read_body(reader, size, take)
        assert got <= 4 * 4096

    try:
        drive(pull() if data and data[0] % 2 else serve())
    except (FrameError, *STREAM_FAILURES):
        return False
    finally:
        asked_frames = 1 + len(data) // 5
        assert stream.written_bytes <= asked_frames * ITEMS_MAX * 70_009
    return stream.written_bytes > 0 or bool(data and data[0] % 2)


def blobs_seeds() -> Sequence[bytes]:
    def item(digest: bytes, offset: int, bytes_max: int) -> bytes:
        return digest + offset.to_bytes(8, "big") + bytes_max.to_bytes(8, "big")

    found = b"\0" + (7).to_bytes(8, "big") + b"content"
    question = encode_frame(item(b"d" * 32, 0, 100), item(b"e" * 32, 5, 1 << 20), item(b"f" * 32, 0, 1))
    return [b"\0" + question, b"\0" + question * 3, b"\1" + found * 2 + b"\1" + bytes(8) + b"\2" + bytes(8)]


TARGETS = (
    Target("framing", run_framing, framing_seeds, Form.BYTES, 4096, prefix_bytes=1, weight=2.0),
    Target("yamux", run_yamux, yamux_seeds, Form.BYTES, 4096, prefix_bytes=1, weight=2.0),
    Target("dht", run_dht, dht_seeds, Form.BYTES, 2048, prefix_bytes=1, weight=3.0),
    Target(
        "mdns", run_mdns, mdns_seeds, Form.BYTES, 2048, tokens=(b"_p2p-flock", b"\xc0\x0c", b"dnsaddr="), weight=5.0
    ),
    Target("exchange", run_exchange, exchange_seeds, Form.MSGPACK, 4096, prefix_bytes=1),
    Target("peer-book", run_peer_book, peer_book_seeds, Form.JSON, 4096, weight=0.2),
    Target(
        "address",
        run_address,
        address_seeds,
        Form.TEXT,
        512,
        tokens=(b"/ip4/", b"/dns/", b"/tcp/", b"/p2p/"),
        weight=4.0,
    ),
    Target("gossip-frame", run_gossip_frame, gossip_frame_seeds, Form.BYTES, 2048),
    Target("blobs", run_blobs, blobs_seeds, Form.BYTES, 4096, prefix_bytes=1, weight=0.3),
)
