"""mDNS packets for `net/mdns.py`: pure, bounded, and only what libp2p's mDNS discovery needs.

Formats: RFC 1035 section 4, RFC 6762, https://github.com/libp2p/specs/blob/master/discovery/mdns.md. It must raise
nothing but PacketError on what a stranger sends.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

# libp2p's `_p2p` with a network name, as its specification wants for networks of their own.
SERVICE = ("_p2p-flock", "_udp", "local")
PACKET_BYTES_MAX = 9000  # RFC 6762, section 17
RECORDS_MAX = 64  # questions and records of one packet
TEXTS_MAX = 64  # addresses of one packet
LABELS_MAX = 32
JUMPS_MAX = 32
LIFETIME_SECONDS = 120
_PTR, _TXT, _ANY, _IN, _UNIQUE, _RESPONSE = 12, 16, 255, 1, 0x8000, 0x8400
_PREFIX = b"dnsaddr="


class PacketError(ValueError):
    """Not an mDNS packet within its bounds."""


@dataclass(frozen=True)
class Packet:
    """What a packet means for us: whether it asks for our service, and multiaddrs that it names for it."""

    asks: bool
    addresses: tuple[str, ...]


def encode_question() -> bytes:
    """Who is there?"""
    return struct.pack("!6H", 0, 0, 1, 0, 0, 0) + _encode_name(SERVICE) + struct.pack("!HH", _PTR, _IN)


def encode_response(instance: str, addresses: Sequence[str]) -> bytes:
    """We are, under a random ``instance`` name of at most 63 characters, at these multiaddrs (with peer ID)."""
    name = (instance, *SERVICE)
    texts = b""
    for address in addresses:
        text = _PREFIX + address.encode()
        if len(text) < 256:
            texts += bytes((len(text),)) + text
    pointer = _encode_record(SERVICE, _PTR, _IN, _encode_name(name))
    return struct.pack("!6H", 0, _RESPONSE, 0, 1, 0, 1) + pointer + _encode_record(name, _TXT, _IN | _UNIQUE, texts)


def decode_packet(data: bytes) -> Packet:
    """Read any mDNS packet; what is not about our service is passed over. Raises PacketError."""
    try:
        return _decode(data)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise PacketError("a packet that ends too early or is not text") from error


def _decode(data: bytes) -> Packet:
    if len(data) > PACKET_BYTES_MAX:
        raise PacketError("a packet that is too long")
    _, flags, question_count, *record_counts = struct.unpack_from("!6H", data)
    if question_count + sum(record_counts) > RECORDS_MAX:
        raise PacketError("a packet with too many records")
    position = 12
    asks = False
    for _ in range(question_count):
        name, position = _decode_name(data, position)
        kind, _ = struct.unpack_from("!HH", data, position)
        position += 4
        asks |= name == SERVICE and kind in (_PTR, _ANY)
    addresses: list[str] = []
    for _ in range(sum(record_counts)):
        name, position = _decode_name(data, position)
        kind, _, lifetime, size = struct.unpack_from("!HHIH", data, position)
        position += 10
        body = data[position : position + size]
        position += size
        if kind == _TXT and name[1:] == SERVICE and lifetime:
            addresses += _decode_texts(body)
    is_response = bool(flags & 0x8000)
    return Packet(asks and not is_response, tuple(addresses[:TEXTS_MAX]) if is_response else ())


def _decode_texts(body: bytes) -> list[str]:
    texts: list[str] = []
    while body and len(texts) < TEXTS_MAX:
        text, body = body[1 : 1 + body[0]], body[1 + body[0] :]
        if text.startswith(_PREFIX) and text.isascii():
            texts.append(text[len(_PREFIX) :].decode("ascii"))
    return texts


def _encode_name(labels: Sequence[str]) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in labels) + b"\0"


def _encode_record(name: Sequence[str], kind: int, group: int, body: bytes) -> bytes:
    return _encode_name(name) + struct.pack("!HHIH", kind, group, LIFETIME_SECONDS, len(body)) + body


def _decode_name(data: bytes, position: int) -> tuple[tuple[str, ...], int]:
    """The labels in lower case, and where the name ends. Compressed names (RFC 1035, section 4.1.4) only go back."""
    labels: list[str] = []
    end = None
    jumps = 0
    while size := data[position]:
        if size >= 0xC0:
            target = (size & 0x3F) << 8 | data[position + 1]
            end = position + 2 if end is None else end
            jumps += 1
            if target >= position or jumps > JUMPS_MAX:
                raise PacketError("a name that does not end")
            position = target
            continue
        if size > 63 or len(labels) >= LABELS_MAX:
            raise PacketError("a name that is too long")
        labels.append(data[position + 1 : position + 1 + size].decode("utf-8").lower())
        position += 1 + size
    return tuple(labels), position + 1 if end is None else end
