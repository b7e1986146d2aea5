"""The DHT between real nodes: finding an alliance's nodes and a lost member, and standing hostile questions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import trio
from libp2p.abc import INetStream
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.utils.varint import encode_varint_prefixed

from p2p_flock.crypto.peer_identity import peer_id_of
from p2p_flock.errors import NetError
from p2p_flock.net import dht
from p2p_flock.net.adapter import DhtTimes, Net, NetConfig, open_net
from p2p_flock.net.dht import DHT_PROTOCOL, STREAMS_PER_PEER_MAX, SUBJECTS_MAX, subject_key
from p2p_flock.net.dht_messages import (
    ANSWER_BYTES_MAX,
    Answer,
    Kind,
    Question,
    decode_answer,
    encode_answer,
    encode_question,
)
from p2p_flock.net.discovery import EXCHANGE_PROTOCOL
from p2p_flock.net.framing import STREAM_FAILURES, FrameReader
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.limits import DHT_QUESTIONS
from p2p_flock.net.peer_book import Address
from p2p_flock.net.routing_table import PeerRecord
from tests.net.nodes import dial, make_config, open_hardened, until

QUICK = DhtTimes(poor_s=0.1, first_s=0.1, retry_s=0.3, again_s=1.0, check_s=0.2)


def quick(**changes: object) -> NetConfig:
    """A node that asks the DHT often."""
    return make_config(dht_times=QUICK, **changes)


def silence_exchange(net: Net) -> None:
    """From now on this node names no peers but in the DHT."""

    async def refuse(stream: INetStream) -> None:
        await stream.reset()

    net._discovery._host.set_stream_handler(EXCHANGE_PROTOCOL, refuse)


async def ask(host: HardenedHost, net: Net, question: Question) -> Answer:
    """One answer of a node."""
    stream = await host.new_stream(net._discovery._host.get_id(), [DHT_PROTOCOL])
    await stream.write(encode_varint_prefixed(encode_question(question, host.get_id().to_bytes())))
    with trio.fail_after(3.0):
        data = await FrameReader(stream).read_varint_frame(ANSWER_BYTES_MAX)
    await stream.close()
    return decode_answer(data, question)


@asynccontextmanager
async def open_victim() -> AsyncIterator[tuple[Net, HardenedHost]]:
    """A node and a connected stranger."""
    async with open_net(quick()) as victim, open_hardened() as stranger:
        await dial(stranger, victim._discovery._host)
        yield victim, stranger


async def test_dht__newcomer_finds_an_alliance_through_a_contact_of_the_dht() -> None:
    """Who knows an alliance and one address of anybody would find nobody."""
    async with open_net(quick()) as contact, AsyncExitStack() as stack:
        members = []
        for _ in range(5):
            net = await stack.enter_async_context(open_net(quick(bootstrap=contact.addresses)))
            net.seek("alliance")
            members.append(net)
        await until(lambda: len(contact._dht._store) >= 5)
        silence_exchange(contact)
        async with open_net(quick(bootstrap=contact.addresses)) as newcomer:
            newcomer.seek("alliance")
            everybody = {net.peer_id for net in (*members, contact)}
            await until(lambda: newcomer.connected() == everybody)


async def test_dht__another_alliance_is_not_found() -> None:
    """Nodes of different alliances would be mixed up."""
    async with open_net(quick()) as contact, open_net(quick(bootstrap=contact.addresses)) as other:
        other.seek("one alliance")
        await until(lambda: len(contact._dht._store) == 1)
        async with open_hardened() as host:
            await dial(host, contact._discovery._host)
            asked = [
                await ask(host, contact, Question(Kind.GET_PROVIDERS, subject_key(subject)))
                for subject in ("one alliance", "another")
            ]
        assert [[record.peer_id for record in answer.providers] for answer in asked] == [[other.peer_id], []]


async def test_dht__member_without_known_address_is_found() -> None:
    """A member of whom the chain names only the peer ID could not be reached."""
    async with open_net(quick()) as contact, open_net(quick(bootstrap=contact.addresses)) as member:
        await until(lambda: len(contact._dht._table) == 1)
        silence_exchange(contact)
        async with open_net(quick(bootstrap=contact.addresses)) as seeker:
            await until(lambda: contact.peer_id in seeker.connected())
            seeker.add_peer(member.peer_id, ["/ip4/127.0.0.1/tcp/1"])
            await until(lambda: member.peer_id in seeker.connected())


async def test_dht__costs_nothing_when_all_are_met() -> None:
    """Eight daemons on a small machine would spend their time with looking for each other."""
    times = DhtTimes(poor_s=0.05, first_s=0.05, retry_s=0.05, again_s=900.0, check_s=0.05)
    async with AsyncExitStack() as stack:
        nets = [await stack.enter_async_context(open_net(make_config(dht_times=times)))]
        for _ in range(3):
            config = make_config(dht_times=times, bootstrap=nets[0].addresses)
            nets.append(await stack.enter_async_context(open_net(config)))
        await until(lambda: all(len(net.connected()) == 3 for net in nets))
        for net in nets:
            net.seek("alliance")
            for other in nets:
                net.add_peer(other.peer_id, [])
        await until(
            lambda: all(seek.due_s > trio.current_time() + 100 for net in nets for seek in net._dht._seeks.values())
        )
        assert max(net._dht.asked_count for net in nets) <= 6  # three for the lookup, three to announce


async def test_seek__subjects_are_bounded() -> None:
    """A caller's mistake would make the node ask the network without end."""
    async with open_net(quick()) as net:
        for number in range(SUBJECTS_MAX):
            net.seek(str(number))
        net.seek("0")
        with pytest.raises(NetError):
            net.seek("one more")


# Hostile questions.


async def test_serve__silent_streams_deafen_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """One peer that opens streams and says nothing could keep all others from the DHT."""
    monkeypatch.setattr(dht, "SERVE_SECONDS_MAX", 0.3)
    async with open_victim() as (victim, silent), open_hardened() as honest:
        for _ in range(40):
            await silent.new_stream(victim._discovery._host.get_id(), [DHT_PROTOCOL])
        await until(lambda: victim._dht._streams.total() <= STREAMS_PER_PEER_MAX)
        await dial(honest, victim._discovery._host)
        await ask(honest, victim, Question(Kind.FIND_NODE, b"key"))
        await until(lambda: victim._dht._streams.total() == 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 20,
        b"\xff\xff\xff\x7f",
        b"\x00",
        encode_varint_prefixed(b"\xff" * 100),
        encode_varint_prefixed(os.urandom(5_000)),
        encode_varint_prefixed(Message(type=Message.MessageType.PUT_VALUE, key=b"k").SerializeToString()),
        encode_varint_prefixed(Message(type=Message.MessageType.FIND_NODE).SerializeToString()),
        encode_varint_prefixed(bytes(dht.QUESTION_BYTES_MAX + 1)),
    ],
    ids=["endless length", "length", "empty", "garbage", "noise", "value", "no key", "too long"],
)
async def test_serve__garbage_costs_its_stream_only(data: bytes) -> None:
    """A stranger could end the node, or its own connection with an innocent stream on it."""
    async with open_victim() as (victim, stranger):
        stream = await stranger.new_stream(victim._discovery._host.get_id(), [DHT_PROTOCOL])
        await stream.write(data)
        with trio.fail_after(3.0), pytest.raises(STREAM_FAILURES):
            await stream.read(1)
        await ask(stranger, victim, Question(Kind.FIND_NODE, b"key"))
        await until(lambda: victim._dht._streams.total() == 0)


async def test_serve__flood_of_questions_is_refused() -> None:
    """One peer could keep our processor busy."""
    async with open_victim() as (victim, stranger):
        answered = 0
        with suppress(*STREAM_FAILURES):
            for answered in range(100):  # noqa: B007 - what counts is how far it comes
                await ask(stranger, victim, Question(Kind.FIND_NODE, b"key"))
        assert DHT_QUESTIONS.burst <= answered <= DHT_QUESTIONS.burst + 20


async def test_serve__records_of_a_flooder_are_bounded() -> None:
    """Announcing ever new keys, or many addresses, would fill our memory."""
    async with open_victim() as (victim, flooder):
        addresses = tuple(Address("ip4", "192.0.2.1", port) for port in range(1, 200))
        for number in range(20):
            question = Question(Kind.ADD_PROVIDER, number.to_bytes(8, "big"), addresses)
            data = encode_varint_prefixed(encode_question(question, flooder.get_id().to_bytes()))
            with suppress(*STREAM_FAILURES):  # too many streams at once
                stream = await flooder.new_stream(victim._discovery._host.get_id(), [DHT_PROTOCOL])
                await stream.write(data)
                await stream.close()
        await until(lambda: len(victim._dht._store) > 0)
        for told in victim._dht._store._told.values():
            assert told.record.peer_id == flooder.get_id().to_base58()
            assert len(told.record.addresses) <= 10


async def test_lookup__lies_cost_no_more_than_failed_dials() -> None:
    """A liar could keep a newcomer from the honest, or make it keep invented peers."""
    lies = tuple(
        PeerRecord(name, (Address("ip4", "127.0.0.1", 1),)) for name in (peer_id_of(os.urandom(32)) for _ in range(20))
    )

    async def lie(stream: INetStream) -> None:
        data = await FrameReader(stream).read_varint_frame(1 << 16)
        kind = Kind(Message.FromString(data).type)
        await stream.write(
            encode_varint_prefixed(encode_answer(Question(kind, subject_key("alliance")), Answer(lies, lies)))
        )

    async with open_net(quick()) as contact, open_net(quick(bootstrap=contact.addresses)) as member:
        member.seek("alliance")
        await until(lambda: len(contact._dht._store) == 1)
        silence_exchange(contact)
        async with open_hardened() as liar, open_net(quick(bootstrap=contact.addresses)) as newcomer:
            liar.set_stream_handler(DHT_PROTOCOL, lie)
            await dial(liar, newcomer._discovery._host)
            newcomer.seek("alliance")
            await until(lambda: member.peer_id in newcomer.connected())
            assert not {one.peer_id for one in lies} & newcomer.connected()
            assert all(newcomer._dht._table.get(one.peer_id) is None for one in lies)
