"""Messages of the DHT: libp2p's kad-dht protobufs, bounded and strictly decoded.

Called by `net/dht.py`. Format: https://github.com/libp2p/specs/blob/master/kad-dht/README.md, "RPC messages", so that
any libp2p that is told our protocol ID can take part. Of the library's package only the generated protobuf class is
used; why, stands in `net/dht.py`. It must never return an address that `net/peer_book.py` would refuse.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from google.protobuf.message import DecodeError
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID

from p2p_flock.net.framing import FrameError
from p2p_flock.net.peer_book import Address, parse_address
from p2p_flock.net.routing_table import BUCKET_PEERS_MAX, PeerRecord

QUESTION_BYTES_MAX = 8 * 1024
ANSWER_BYTES_MAX = 64 * 1024
# A multihash of 32 bytes or a peer ID; the longest peer ID of ours has 42.
KEY_BYTES_MAX = 64
ADDRESSES_PER_RECORD_MAX = 8
# Multicodec numbers (https://github.com/multiformats/multiaddr/blob/master/protocols.csv) as varints, then host bytes.
_CODES = {b"\x04": ("ip4", 4), b"\x29": ("ip6", 16), b"\x35": ("dns", 0), b"\x36": ("dns4", 0), b"\x37": ("dns6", 0)}
_CODE_OF = {kind: code for code, (kind, _) in _CODES.items()}
_TCP = b"\x06"
_P2P = b"\xa5\x03"


class Kind(Enum):
    """What is asked; the numbers are libp2p's."""

    ADD_PROVIDER = 2
    GET_PROVIDERS = 3
    FIND_NODE = 4
    PING = 5


@dataclass(frozen=True)
class Question:
    """One question. ``provider`` are the addresses that the asker claims in ADD_PROVIDER, which has no answer."""

    kind: Kind
    key: bytes
    provider: tuple[Address, ...] = ()


@dataclass(frozen=True)
class Answer:
    """Providers of the key (GET_PROVIDERS only) and known peers close to it. All of it is hearsay."""

    providers: tuple[PeerRecord, ...]
    closer: tuple[PeerRecord, ...]


def encode_question(question: Question, own_id: bytes) -> bytes:
    """The question's protobuf."""
    message = Message(type=_type_of(question.kind), key=question.key)
    if question.kind is Kind.ADD_PROVIDER:
        message.providerPeers.add(id=own_id, addrs=map(encode_address, question.provider[:ADDRESSES_PER_RECORD_MAX]))
    return message.SerializeToString()


def decode_question(data: bytes, asker_id: bytes) -> Question:
    """Read a question. Raises FrameError for what no honest node asks; values are not served (nor stored) at all."""
    message = _parse(data)
    try:
        kind = Kind(message.type)
    except ValueError as error:
        raise FrameError("a question that we do not serve") from error
    if kind is not Kind.PING and not 0 < len(message.key) <= KEY_BYTES_MAX:
        raise FrameError("a key that is empty or too long")
    own = [peer for peer in message.providerPeers if peer.id == asker_id]
    claimed = own[0].addrs if kind is Kind.ADD_PROVIDER and own else ()
    return Question(kind, message.key, _decode_addresses(claimed))


def encode_answer(question: Question, answer: Answer) -> bytes:
    """The answer's protobuf, of at most ANSWER_BYTES_MAX: what does not fit is left out, the closest last."""
    message = Message(type=_type_of(question.kind), key=question.key)
    left = ANSWER_BYTES_MAX - message.ByteSize()
    for field, records in ((message.closerPeers, answer.closer), (message.providerPeers, answer.providers)):
        for record in records[:BUCKET_PEERS_MAX]:
            addresses = [encode_address(address) for address in record.addresses[:ADDRESSES_PER_RECORD_MAX]]
            id_bytes = ID.from_base58(record.peer_id).to_bytes()
            left -= 16 + len(id_bytes) + sum(4 + len(address) for address in addresses)
            if left < 0:
                break
            field.add(id=id_bytes, addrs=addresses)
    return message.SerializeToString()


def decode_answer(data: bytes, question: Question) -> Answer:
    """Read an answer; bad records in it are left out. Raises FrameError if it answers something else."""
    message = _parse(data)
    if message.type != question.kind.value:
        raise FrameError("an answer to another question")
    providers = message.providerPeers if question.kind is Kind.GET_PROVIDERS else ()
    return Answer(_decode_records(providers), _decode_records(message.closerPeers))


def encode_address(address: Address) -> bytes:
    """A multiaddr's binary form."""
    if address.kind.startswith("ip"):
        host = ipaddress.ip_address(address.host).packed
    else:
        name = address.host.encode()
        host = (
            bytes((len(name) & 0x7F | 0x80, len(name) >> 7)) + name if len(name) > 0x7F else bytes((len(name),)) + name
        )
    return _CODE_OF[address.kind] + host + _TCP + address.port.to_bytes(2, "big")


def decode_address(data: bytes) -> Address:
    """A TCP address from a multiaddr's binary form, a peer ID at its end left out. Raises ValueError for all else."""
    kind, size = _CODES.get(data[:1], ("", 0))
    position = 1
    if kind.startswith("dns"):
        size, position = _read_varint(data, position)
    host = data[position : position + size]
    position += size
    port = data[position + 1 : position + 3]
    rest = data[position + 3 :]
    if not kind or len(host) != size or data[position : position + 1] != _TCP or len(port) != 2:
        raise ValueError("not the binary form of a TCP multiaddr")
    if rest and not rest.startswith(_P2P):
        raise ValueError("more than an address and a peer ID")
    name = str(ipaddress.ip_address(host)) if kind.startswith("ip") else host.decode("ascii")
    return parse_address(f"/{kind}/{name}/tcp/{int.from_bytes(port, 'big')}")[0]


def peer_id_from_bytes(data: bytes) -> str:
    """A peer ID's base58: of a SHA-256 multihash, or a short key itself. Raises FrameError for all else."""
    is_hash = data[:2] == b"\x12\x20" and len(data) == 34
    is_key = data[:1] == b"\x00" and 3 < len(data) == data[1] + 2 <= 44
    if not (is_hash or is_key):
        raise FrameError("not a peer ID")
    return ID(data).to_base58()


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    first, second = (*data[position : position + 2], 0, 0)[:2]
    return (first, position + 1) if first < 0x80 else (first & 0x7F | second << 7, position + 2)


def _type_of(kind: Kind) -> Message.MessageType:
    return Message.MessageType.Name(kind.value)  # type: ignore[return-value]  # protobuf takes names too


def _parse(data: bytes) -> Message:
    try:
        return Message.FromString(data)
    except DecodeError as error:
        raise FrameError("not a message of the DHT") from error


def _decode_records(peers: Sequence[Message.Peer]) -> tuple[PeerRecord, ...]:
    records = []
    for peer in peers[:BUCKET_PEERS_MAX]:
        try:
            peer_id = peer_id_from_bytes(peer.id)
        except FrameError:
            continue
        records.append(PeerRecord(peer_id, _decode_addresses(peer.addrs)))
    return tuple(records)


def _decode_addresses(addresses: Iterable[bytes]) -> tuple[Address, ...]:
    found: dict[Address, None] = {}
    for data in list(addresses)[:ADDRESSES_PER_RECORD_MAX]:
        try:
            address = decode_address(data)
        except ValueError:
            continue
        if address.host not in ("0.0.0.0", "::"):
            found[address] = None
    return tuple(found)
