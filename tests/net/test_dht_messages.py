"""The DHT's messages: they are libp2p's, and whatever a stranger sends instead is refused."""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2p_flock.net.dht_messages import (
    ADDRESSES_PER_RECORD_MAX,
    ANSWER_BYTES_MAX,
    KEY_BYTES_MAX,
    Answer,
    Kind,
    Question,
    decode_address,
    decode_answer,
    decode_question,
    encode_address,
    encode_answer,
    encode_question,
    peer_id_from_bytes,
)
from p2p_flock.net.framing import FrameError
from p2p_flock.net.peer_book import Address, parse_address
from p2p_flock.net.routing_table import BUCKET_PEERS_MAX, PeerRecord

STRANGER = "12D3KooWSahP5pFRCEfaziPEba7urXGeif6T1y8jmodzdFUvzBHj"
STRANGER_ID = ID.from_base58(STRANGER).to_bytes()
HERE = Address("ip4", "127.0.0.1", 4001)
LONG = Address("dns4", ".".join(["a" * 60] * 3), 65_535)
KEY = b"\x12\x20" + bytes(32)


@pytest.mark.parametrize(
    "text",
    ["/ip4/1.2.3.4/tcp/4001", "/ip6/2001:db8::1/tcp/1", "/dns4/a-b.example.org/tcp/5", "/dns6/x/tcp/9", str(LONG)],
)
def test_address__is_the_librarys_binary_form(text: str) -> None:
    """No other implementation could read our addresses."""
    address = parse_address(text)[0]
    assert encode_address(address) == Multiaddr(text).to_bytes()
    assert decode_address(Multiaddr(text).to_bytes()) == address
    assert decode_address(Multiaddr(f"{text}/p2p/{STRANGER}").to_bytes()) == address


@pytest.mark.parametrize(
    "text",
    ["/ip4/1.2.3.4/udp/1", "/ip4/1.2.3.4/udp/1/quic-v1", "/ip4/1.2.3.4/tcp/1/ws", "/ip4/1.2.3.4/tcp/0", "/tcp/1"],
)
def test_address__others_are_refused(text: str) -> None:
    """We would dial what we cannot speak."""
    with pytest.raises(ValueError, match=r"."):
        decode_address(Multiaddr(text).to_bytes())


@given(st.binary(max_size=400))
def test_decoders__raise_one_error_on_garbage(data: bytes) -> None:
    """A stranger's bytes could end the node."""
    with_key = Message(type=Message.MessageType.ADD_PROVIDER, key=KEY)
    with_key.providerPeers.add(id=STRANGER_ID, addrs=[data])
    with_key.closerPeers.add(id=data, addrs=[data])
    for decode in (
        lambda: decode_question(data, STRANGER_ID),
        lambda: decode_question(with_key.SerializeToString() + data, STRANGER_ID),
        lambda: decode_answer(data, Question(Kind.FIND_NODE, KEY)),
        lambda: peer_id_from_bytes(data),
    ):
        with contextlib.suppress(FrameError):
            decode()
    with contextlib.suppress(ValueError):
        decode_address(data)


def test_question__of_each_kind_is_read_as_written() -> None:
    """Lookups would ask for something else than they mean."""
    for kind in Kind:
        provider = (HERE, LONG) if kind is Kind.ADD_PROVIDER else ()
        question = Question(kind, KEY, provider)
        assert decode_question(encode_question(question, STRANGER_ID), STRANGER_ID) == question


def test_question__nobody_provides_for_another() -> None:
    """A stranger could announce members at addresses of its own."""
    data = encode_question(Question(Kind.ADD_PROVIDER, KEY, (HERE,)), STRANGER_ID)
    assert decode_question(data, b"somebody else").provider == ()


@pytest.mark.parametrize("kind", [0, 1, 9])
def test_question__values_are_not_served(kind: int) -> None:
    """Strangers could store what they like with us."""
    message = Message(key=KEY)
    data = message.SerializeToString() + bytes([8, kind])
    with pytest.raises(FrameError):
        decode_question(data, STRANGER_ID)


@pytest.mark.parametrize("key", [b"", bytes(KEY_BYTES_MAX + 1)])
def test_question__key_is_bounded(key: bytes) -> None:
    """A stranger could make us hash and keep long keys."""
    with pytest.raises(FrameError):
        decode_question(Message(type=Message.MessageType.FIND_NODE, key=key).SerializeToString(), STRANGER_ID)


def test_answer__is_bounded_on_both_sides() -> None:
    """An answer could be refused by who asked, or fill its memory."""
    record = PeerRecord(STRANGER, (LONG,) * 20)
    question = Question(Kind.GET_PROVIDERS, KEY)
    data = encode_answer(question, Answer((record,) * 100, (record,) * 100))
    assert len(data) <= ANSWER_BYTES_MAX
    answer = decode_answer(data, question)
    assert len(answer.closer) == BUCKET_PEERS_MAX
    assert all(len(one.addresses) <= ADDRESSES_PER_RECORD_MAX for one in answer.closer)
    flood = Message(type=Message.MessageType.GET_PROVIDERS, key=KEY)
    for _ in range(1000):
        flood.providerPeers.add(id=STRANGER_ID, addrs=[encode_address(HERE)] * 100)
    assert decode_answer(flood.SerializeToString(), question).providers == (PeerRecord(STRANGER, (HERE,)),) * 20


def test_answer__to_another_question_is_refused() -> None:
    """An answer of another kind would be taken for this one."""
    data = encode_answer(Question(Kind.FIND_NODE, KEY), Answer((), ()))
    with pytest.raises(FrameError):
        decode_answer(data, Question(Kind.GET_PROVIDERS, KEY))


def test_answer__bad_records_are_left_out() -> None:
    """One bad record could hide the good ones of an answer."""
    message = Message(type=Message.MessageType.FIND_NODE, key=KEY)
    message.closerPeers.add(id=os.urandom(50), addrs=[encode_address(HERE)])
    message.closerPeers.add(
        id=STRANGER_ID, addrs=[b"nonsense", encode_address(HERE), b"\x04\x00\x00\x00\x00\x06\x00\x01"]
    )
    answer = decode_answer(message.SerializeToString(), Question(Kind.FIND_NODE, KEY))
    assert answer.closer == (PeerRecord(STRANGER, (HERE,)),)
