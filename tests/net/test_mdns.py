"""Multicast DNS: nodes of one network meet, nothing leaves it, and packets of strangers cost next to nothing.

The nodes here listen on 127.0.0.1, so all multicast stays on loopback.
"""

from __future__ import annotations

import contextlib
import os
import socket

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import DNSIncoming, DNSOutgoing, DNSPointer, DNSQuestion, DNSText

from p2p_flock.crypto.peer_identity import peer_id_of
from p2p_flock.net.adapter import open_net
from p2p_flock.net.mdns import GROUP, NEWS_PER_MINUTE_MAX, PORT, Mdns, open_multicast_socket, own_networks
from p2p_flock.net.mdns_packets import PacketError, decode_packet, encode_question, encode_response
from p2p_flock.net.peer_book import Address
from tests.net.nodes import make_config, until

STRANGER = "12D3KooWSahP5pFRCEfaziPEba7urXGeif6T1y8jmodzdFUvzBHj"
HERE = f"/ip4/192.168.1.7/tcp/4001/p2p/{STRANGER}"
SERVICE = "_p2p-flock._udp.local."


async def test_mdns__nodes_of_one_network_meet() -> None:
    """Without a bootstrap node and the Internet nobody would be found."""
    async with open_net(make_config(mdns=True)) as one, open_net(make_config(mdns=True)) as two:
        await until(lambda: one.peer_id in two.connected() and two.peer_id in one.connected())
        async with open_net(make_config(mdns=True)) as late:
            await until(lambda: {one.peer_id, two.peer_id} <= late.connected())


async def test_mdns__is_off_unless_asked_for() -> None:
    """A node whose operator wants silence would shout."""
    async with open_net(make_config(mdns=True)) as loud, open_net(make_config()) as silent:
        with open_multicast_socket("127.0.0.1") as probe, trio.socket.from_stdlib_socket(probe.dup()) as heard:
            await heard.sendto(encode_question(), (GROUP, PORT))
            with trio.fail_after(3.0):
                while loud.peer_id.encode() not in (data := await heard.recv(9000)):
                    assert silent.peer_id.encode() not in data


def test_mdns__stays_on_the_interface_on_which_the_node_listens() -> None:
    """A node that listens on loopback would tell the whole network of itself."""
    loopback, elsewhere = Address("ip4", "127.0.0.1", 1), Address("ip4", "192.168.1.7", 1)
    assert own_networks([loopback]) == ["127.0.0.1"]
    assert own_networks([elsewhere, loopback]) == ["192.168.1.7"]
    assert own_networks([Address("ip6", "::1", 1)]) == []
    with open_multicast_socket("127.0.0.1") as opened:
        interface = opened.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4)
        assert socket.inet_ntoa(interface) == "127.0.0.1"


async def test_mdns__neighbors_name_only_addresses_of_the_network() -> None:
    """One device on a network could make all its nodes dial somebody on the Internet, or fill their books."""
    async with open_net(make_config()) as net:
        mdns = Mdns("127.0.0.1", net.peer_id, [], net._discovery)
        book = net._discovery.book
        far, near, own = (peer_id_of(os.urandom(32)) for _ in range(3))
        texts = [f"/ip4/8.8.8.8/tcp/1/p2p/{far}", f"/dns4/example.org/tcp/1/p2p/{far}", "/ip4/10.0.0.1/tcp/1", "junk"]
        texts += [f"/ip4/192.168.1.9/tcp/1/p2p/{near}", f"/ip4/9.9.9.9/tcp/1/p2p/{own}", "/ip4/10.0.0.1/tcp/1/p2p/x"]
        mdns._take(encode_response("x", texts), "9.9.9.9")
        assert [peer in book for peer in (far, near, own)] == [False, True, True]
        for _ in range(10):
            flood = [f"/ip4/10.0.0.1/tcp/1/p2p/{peer_id_of(os.urandom(32))}" for _ in range(50)]
            mdns._take(encode_response("x", flood), "10.0.0.1")
        assert len(book._entries) <= NEWS_PER_MINUTE_MAX
        mdns._take(b"garbage", "10.0.0.1")


# Packets.


def test_packets__are_read_by_another_implementation() -> None:
    """Nodes in other languages could not find ours."""
    response = DNSIncoming(encode_response("instance", [HERE]))
    assert response.valid
    pointer, text = response.answers()
    assert isinstance(pointer, DNSPointer) and isinstance(text, DNSText)
    assert (pointer.name, pointer.alias) == (SERVICE, f"instance.{SERVICE}")
    assert text.text[1:] == b"dnsaddr=" + HERE.encode()
    question = DNSIncoming(encode_question())
    assert [one.name for one in question.questions] == [SERVICE]


def test_packets__of_another_implementation_are_read() -> None:
    """We could not find nodes in other languages, which compress names."""
    question = DNSOutgoing(0)
    question.add_question(DNSQuestion(SERVICE, 12, 1))
    assert decode_packet(question.packets()[0]).asks
    response = DNSOutgoing(0x8400)
    name = f"Some Instance.{SERVICE}"
    body = b"dnsaddr=" + HERE.encode()
    response.add_answer_at_time(DNSPointer(SERVICE, 12, 1, 120, name), 0)
    response.add_additional_answer(DNSText(name, 16, 0x8001, 120, bytes((len(body),)) + body))
    assert decode_packet(response.packets()[0]).addresses == (HERE,)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(11),
        encode_question()[:-1],
        encode_question() + bytes(9000),
        b"\x00" * 4 + b"\xff" * 8,
        bytes(4) + b"\x00\x01" + bytes(6) + b"\xc0\x0c\x00\x0c\x00\x01",
        bytes(4) + b"\x00\x01" + bytes(6) + b"\x01a\xc0\x0c\x00\x0c\x00\x01",
        bytes(4) + b"\x00\x01" + bytes(6) + b"\x01a" * 200 + b"\x00\x00\x0c\x00\x01",
        bytes(4) + b"\x00\x01" + bytes(6) + b"\x02\xff\xff\x00\x00\x0c\x00\x01",
    ],
    ids=["empty", "short", "cut", "long", "counts", "self", "loop", "labels", "text"],
)
def test_packets__bad_ones_are_refused(data: bytes) -> None:
    """One packet could keep every node of a network busy for ever."""
    with pytest.raises(PacketError):
        decode_packet(data)


@given(st.binary(max_size=300), st.integers(0, 200))
def test_packets__garbage_raises_one_error(data: bytes, position: int) -> None:
    """One packet could end every node of a network."""
    whole = encode_response("instance", [HERE])
    for packet in (data, whole[:position] + data, whole[:position] + data[:4] + whole[position + 4 :]):
        with contextlib.suppress(PacketError):
            decode_packet(packet)
