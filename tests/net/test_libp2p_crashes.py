"""Every crash and hang of py-libp2p's host that we know, thrown at a live node of ours: it goes on serving its peers.

The node is the daemon's whole network side on real sockets. `test_hardening.py` shows for the defects in the library
that the stock host really falls; here nothing may fall, whatever is thrown (`hostile.py`), and no connection of an
honest peer may end. Where else the known failures are tested:

- plaintext impostor, leaked inbound slots, raising handler or check, reset that deafens, cancelled write, shared port,
  dialing on its own: `test_hardening.py`;
- a stale address before a good one: `test_discovery.py`; a dial that failed refuses the peer for a minute: here;
- 250 inbound connections in a lifetime, metrics channel that fills at the 100th: `test_net.py`, three hundred in a row;
- stopped or killed peer never noticed, death that looks like a clean end: `test_net.py`, `test_muxer.py`;
- slow reader, full window, floods, blocked loop: `test_muxer.py`, `test_resources.py`, `test_net.py`, here;
- the 257th stream hangs: here.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamError

from p2p_flock.net.adapter import Net, open_net
from p2p_flock.net.muxer import OUTBOUND_STREAMS_MAX
from p2p_flock.types import Verdict
from tests.net.hostile import FAMILIES, Victim, ask_peers, carry_out, connected
from tests.net.nodes import ask_echo, dial, make_config, open_hardened, until

CONTENT = os.urandom(100_000)
DIGEST = hashlib.sha256(CONTENT).digest()
TOPIC = "an alliance"


@dataclass
class Pair:
    """A live node and an honest peer of it."""

    node: Net
    peer: Net
    heard: list[bytes]

    @property
    def victim(self) -> Victim:
        """Where strangers find the node."""
        _, _, host, _, port, *_ = self.node.addresses[0].split("/")
        return Victim(host, int(port), ID.from_base58(self.node.peer_id))

    async def check(self, step: int) -> None:
        """The peer's one connection still carries messages, gossip and contents both ways, and a newcomer is served.

        Raises TooSlowError or an AssertionError where not.
        """
        word = b"step %d" % step
        with trio.fail_after(10.0):
            assert await self.peer.send(self.node.peer_id, word)
            assert (await self.peer.messages.receive()).data == word  # echoed
            await self.peer.publish(TOPIC, word)
            await until(lambda: word in self.heard)
            found = await self.peer.fetch([DIGEST], [self.node.peer_id], 1 << 20, 5.0)
            assert found == {DIGEST: CONTENT}
        async with connected(self.victim) as (host, _):
            assert await ask_peers(host, self.victim.peer_id)


@asynccontextmanager
async def open_couple() -> AsyncIterator[Pair]:
    """Both of them, connected, in one alliance; the node answers each message with itself."""
    heard: list[bytes] = []

    def listen(_author: str, data: bytes) -> Verdict:
        heard.append(data)
        return Verdict.ACCEPT

    async def echo(net: Net) -> None:
        async for message in net.messages:
            if message.peer_id == peer.peer_id:
                await net.send(message.peer_id, message.data)

    async with open_net(make_config(blob_source={DIGEST: CONTENT}.get)) as node, trio.open_nursery() as nursery:
        async with open_net(make_config(bootstrap=(node.addresses[0],))) as peer:
            node.add_peer(peer.peer_id, peer.addresses)  # a member, as the chain says
            nursery.start_soon(echo, node)
            for net, validate in ((node, listen), (peer, lambda _author, _data: Verdict.ACCEPT)):
                await net.subscribe(TOPIC, validate)
            await until(lambda: bool(node.subscribers(TOPIC)) and bool(peer.subscribers(TOPIC)))
            yield Pair(node, peer, heard)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("family", FAMILIES)
async def test_live_node__serves_on_whatever_is_thrown(family: str, caplog: pytest.LogCaptureFixture) -> None:
    """One stranger could end a node, deafen it or cut it off from its alliance."""
    caplog.set_level(logging.WARNING)
    async with open_couple() as pair:
        lost: list[str] = []
        for step, (name, attack) in enumerate(FAMILIES[family].items()):
            await carry_out(attack, pair.victim)
            if pair.peer.peer_id not in pair.node.connected():
                lost.append(name)
            try:
                await pair.check(step)
            except (trio.TooSlowError, SwarmException) as error:
                raise AssertionError(f"after {name}: {error!r}") from error
        assert not lost, "the honest peer lost its connection"
        await until(lambda: pair.node.connected() == {pair.peer.peer_id})  # of the strangers nothing stays
    # A defect of ours or of the library that only a guard caught; what peers do wrong is no news at this level.
    defects = [record for record in caplog.records if record.exc_info and record.levelno >= logging.WARNING]
    assert not defects, defects[0].getMessage()


async def test_stream__beyond_the_limit_is_an_error() -> None:
    """Whoever forgot to close its streams hung for ever at the 257th."""
    async with open_hardened() as ours, open_hardened() as other:
        await dial(ours, other)
        muxer = ours.swarm.get_connection(other.get_id()).muxed_conn
        for _ in range(OUTBOUND_STREAMS_MAX):
            await muxer.open_stream()  # hands over to nobody, so none is answered in between
        with pytest.raises(MuxedStreamError, match="streams to this peer are open"):
            await muxer.open_stream()


async def test_dial__to_a_dead_peer_is_not_held_against_it() -> None:
    """After one failed dial the library refused the peer for a minute, also once it was back."""
    async with open_hardened() as ours, open_hardened() as other:
        address, peer_id = other.get_addrs()[0], other.get_id()
        stale = address.decapsulate_code(0x06)  # without its TCP port
        for _ in range(3):
            with pytest.raises(SwarmException):
                await ours.swarm.dial_addr(type(address)(f"{stale}/tcp/1"), peer_id)
        await dial(ours, other)
        assert await ask_echo(ours, peer_id)
