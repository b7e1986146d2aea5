"""The network as the daemon sees it: `open_net` gives a `Net`, and no type of libp2p leaves this package.

Called by `daemon/node.py` and by the bootstrap node. It joins the host, gossip, messages, blobs and discovery, and owns
their lifetime: everything ends when the block of `open_net` ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from libp2p.peer.id import ID

from p2p_flock.errors import ConfigError
from p2p_flock.net.blob_server import BlobServer, BlobSource
from p2p_flock.net.blobs import BlobClient
from p2p_flock.net.dht import Dht, DhtTimes
from p2p_flock.net.discovery import Discovery, PeerDown, PeerUp, parse_peer_id
from p2p_flock.net.fault_port import FaultPort
from p2p_flock.net.framing import FrameError
from p2p_flock.net.gossip import Gossip, GossipMessage, Validate, open_gossip
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.host import open_host, open_listening_sockets, reachable_addresses
from p2p_flock.net.links import PeerLink, describe_links
from p2p_flock.net.mdns import Mdns, own_networks
from p2p_flock.net.muxer import Liveness
from p2p_flock.net.peer_book import Address, parse_address, parse_addresses
from p2p_flock.net.session import Traffic
from p2p_flock.net.streams import InboundMessage, Messenger

__all__ = [
    "DhtTimes",
    "GossipMessage",
    "InboundMessage",
    "Liveness",
    "Net",
    "NetConfig",
    "PeerDown",
    "PeerLink",
    "PeerUp",
    "open_net",
]

MESSAGE_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class NetConfig:
    """How to open the network.

    Attributes:
        private_key: 32-byte Ed25519 seed of the libp2p identity.
        listen_host: IP address to listen on; 0.0.0.0 and :: mean every interface.
        listen_port: TCP port; 0 takes a free one.
        bootstrap: multiaddrs with ``/p2p/ID`` of nodes to meet first.
        blob_source: SHA-256 digest to content, or None. Called in the event loop, so it must be quick; a Path is
            streamed from disk. What it returns is given to any peer that asks.
        peer_book: what `Net.peer_book_snapshot` said before the last restart.
        announce: further multiaddrs under which others reach this node (a forwarded port), without peer ID.
        message_bytes_max: longest point-to-point message.
        liveness: when a silent peer counts as gone.
        mdns: look for nodes on the networks on which we listen, by multicast there and nowhere else.
        dht_times: when the DHT is asked.
        record_sent: test mode: gets every plaintext byte string that is handed to an encrypted session, in order per
            connection: multiplexer frames with gossip, messages, blobs and negotiation inside, all that this node says
            but the Noise handshake itself (its public keys and a signature). A 12-byte frame header stands at least
            after every 262,064 bytes of a stream.
        fault_port: test mode: says which peers are not heard.
    """

    private_key: bytes = field(repr=False)
    listen_host: str
    listen_port: int
    bootstrap: tuple[str, ...]
    blob_source: BlobSource
    peer_book: Mapping[str, Sequence[str]] = field(default_factory=dict)
    announce: tuple[str, ...] = ()
    message_bytes_max: int = MESSAGE_BYTES_MAX
    liveness: Liveness = field(default_factory=Liveness)
    mdns: bool = False
    dht_times: DhtTimes = field(default_factory=DhtTimes)
    record_sent: Callable[[bytes], None] | None = None
    fault_port: FaultPort | None = None


class Net:
    """An open network. Made by `open_net`.

    Attributes:
        peer_id: our own, base58.
        addresses: multiaddrs with peer ID under which we listen.
        messages: point-to-point messages; read them promptly, a peer whose messages wait is slowed down.
        gossip: accepted gossip messages of others; beyond 1024 waiting ones new ones are dropped.
        peer_events: peers that came and went.
    """

    def __init__(
        self,
        host: HardenedHost,
        traffic: Traffic,
        messenger: Messenger,
        gossip: Gossip,
        discovery: Discovery,
        dht: Dht,
        blobs: BlobClient,
    ) -> None:
        self._swarm = host.swarm
        self.peer_id = host.get_id().to_base58()
        self.addresses = tuple(map(str, host.get_addrs()))
        self.messages: trio.MemoryReceiveChannel[InboundMessage] = messenger.messages
        self.gossip: trio.MemoryReceiveChannel[GossipMessage] = gossip.messages
        self.peer_events: trio.MemoryReceiveChannel[PeerUp | PeerDown] = discovery.events
        self._traffic = traffic
        self._messenger = messenger
        self._gossip = gossip
        self._discovery = discovery
        self._dht = dht
        self._blobs = blobs

    @property
    def bytes_sent(self) -> int:
        """Plaintext bytes handed to encrypted sessions; on the wire each 64 KiB carry 18 more."""
        return self._traffic.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Plaintext bytes that encrypted sessions gave."""
        return self._traffic.bytes_received

    @property
    def dropped_counts(self) -> dict[str, int]:
        """What was dropped at a bound since the start, by kind; all zero in a healthy node."""
        return {
            "messages": self._messenger.dropped_count,
            "gossip": self._gossip.dropped_count,
            "peer_events": self._discovery.events_dropped_count,
        }

    async def send(self, peer_id: str, data: bytes) -> bool:
        """Queue one message to a peer, in order after those before; it is never promised to arrive.

        False if the peer's queue (256 messages, 16 MiB) is full and the message was not taken. A queued message is
        dropped after 60 s without a connection. Never waits for the peer. Raises NetError for a message beyond
        ``message_bytes_max`` and for a peer ID that is none. A message to ourselves goes straight to `messages`.
        """
        await trio.lowlevel.checkpoint()
        return self._messenger.send(_peer(peer_id), data)

    def cut_off(self, peer_id: str, seconds: float) -> None:
        """Take no messages from a peer that sends what no honest node would, and ban it if we did not `add_peer` it.

        Raises NetError for a bad peer ID.
        """
        self._messenger.cut_off(_peer(peer_id), seconds)

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip at most 64 KiB to the topic's subscribers. Raises NetError beyond."""
        await self._gossip.publish(topic, data)

    async def subscribe(self, topic: str, validate: Validate) -> None:
        """Take part in a topic; ``validate(author's peer ID, data)`` judges each message before it is passed on."""
        await self._gossip.subscribe(topic, validate)

    async def fetch(
        self, digests: Sequence[bytes], sources: Sequence[str], bytes_max_each: int, timeout_s: float
    ) -> dict[bytes, bytes]:
        """Contents by SHA-256 digest from whichever of ``sources`` have them, verified; the missing ones are absent.

        Returns as soon as all are here or no reachable source can give more, at the latest after ``timeout_s``. Raises
        NetError for a digest or peer ID that is none.
        """
        return await self._blobs.fetch(digests, self._in_order(sources), bytes_max_each, timeout_s)

    async def fetch_each(
        self,
        digests: Sequence[bytes],
        sources: Sequence[str],
        bytes_max_each: int,
        timeout_s: float,
        take: Callable[[bytes, bytes], Awaitable[None]],
    ) -> frozenset[bytes]:
        """As `fetch`, for more than memory holds: ``await take(digest, content)`` gets each verified content once.

        Contents come in any order, up to four at a time; a slow ``take`` slows the pull (beyond 30 s for one content
        the source may give up and is asked again). It must not fetch itself. At ``timeout_s`` a ``take`` under way is
        cancelled. Returns the digests whose ``take`` returned. An error of ``take`` ends the pull and is raised as it
        is; NetError as in `fetch`.
        """
        return await self._blobs.fetch_each(digests, self._in_order(sources), bytes_max_each, timeout_s, take)

    async def fetch_to_path(
        self, digest: bytes, path: Path, sources: Sequence[str], bytes_max: int, timeout_s: float
    ) -> bool:
        """One large content to ``path``; a broken pull leaves ``path`` + ".part" and the next one goes on there.

        True if ``path`` holds it now. Raises NetError as `fetch` does, OSError if the disk fails.
        """
        return await self._blobs.fetch_to_path(digest, path, self._in_order(sources), bytes_max, timeout_s)

    def _in_order(self, sources: Sequence[str]) -> list[ID]:
        """Connected ones first, else as the caller prefers."""
        connected = self.connected()
        return [_peer(source) for source in sorted(sources, key=lambda source: source not in connected)]

    def connected(self) -> frozenset[str]:
        """Peers with an open connection, now."""
        return self._discovery.connected

    def silence_s(self, peer_id: str) -> float:
        """For how long a connected peer has said nothing at all; 0 where it is not connected.

        Counted in ticks of half a second of our own loop, so that a node that was itself stopped does not blame its
        peers. While this is asked the peer is pinged at each tick of silence: whoever does not answer has been stopped,
        or its network is cut, seconds before its connection breaks. Raises NetError for a peer ID that is none.
        """
        return self._discovery.silence_s(_peer(peer_id))

    def subscribers(self, topic: str) -> frozenset[str]:
        """Connected peers that take part in a topic."""
        return self._gossip.subscribers(topic)

    def mesh_peers(self, topic: str) -> frozenset[str]:
        """Those subscribers to whom gossip goes in full at once; the others are only told what there is."""
        return self._gossip.mesh_peers(topic)

    def links(self) -> dict[str, PeerLink]:
        """The open connections by peer ID. While this is asked each is pinged, at most each 10 s; never waits."""
        return describe_links(self._swarm)

    def add_peer(self, peer_id: str, addresses: Sequence[str]) -> None:
        """Stay connected with a peer from now on, at these multiaddrs and all that others tell, for ever.

        ``addresses`` are those that the peer's owner named, best first; they may come again with others, and are tried
        before all that are known. What is no TCP multiaddr is left out, whatever it is; at most 16 count. Raises
        NetError for a peer ID that is none.
        """
        self._discovery.add(_peer(peer_id).to_base58(), parse_addresses(addresses), wanted=True, vouched=True)

    def seek(self, subject: str, *, provide: bool = True) -> None:
        """Find others who take part in ``subject`` (an alliance) through the DHT, and be found if ``provide``.

        Whoever says so is dialed like any peer of whom we hear. It goes on until the network closes; a repeated call
        only starts a new search. Raises NetError beyond 64 subjects.
        """
        self._dht.seek(subject, provide=provide)

    @property
    def dialable_addresses(self) -> tuple[str, ...]:
        """Multiaddrs without peer ID that are worth telling others: the announced ones, else those we listen on.

        Loopback is among them only where there is nothing else.
        """
        return self._discovery.dialable_addresses

    def peer_book_snapshot(self) -> dict[str, tuple[str, ...]]:
        """Known peers and their multiaddrs, for the next start's `NetConfig.peer_book`."""
        return self._discovery.book.snapshot()


@asynccontextmanager
async def open_net(config: NetConfig) -> AsyncIterator[Net]:
    """Run the network while the block runs.

    Raises PortTakenError if another process listens on the port and ConfigError for a bad bootstrap or announce
    address. An error from inside the block comes out as it is, not in a group.
    """
    bootstrap = [_parse_bootstrap(text) for text in config.bootstrap]
    announce = [_parse_announce(text) for text in config.announce]
    sockets = await open_listening_sockets(config.listen_host, config.listen_port)
    traffic = Traffic(record_sent=config.record_sent)
    changes = _Changes()
    try:
        async with (
            _closing(sockets),
            open_host(config.private_key, sockets, traffic, config.liveness, changes.note, config.fault_port) as host,
            open_gossip(host) as gossip,
            trio.open_nursery() as nursery,
        ):
            messenger = Messenger(host, config.message_bytes_max)
            listen = reachable_addresses(sockets)

            def note_event(event: PeerUp | PeerDown) -> None:
                messenger.note_change(event.peer_id)
                dht.note_change(event.peer_id)

            discovery = Discovery(host, announce, listen, config.peer_book, on_event=note_event)
            dht = Dht(host, discovery, config.dht_times)
            BlobServer(host, config.blob_source)
            changes.listener = discovery.note_change
            host.swarm.prefers = lambda peer: discovery.book.is_wanted(peer.to_base58())
            await nursery.start(messenger.run)
            await nursery.start(discovery.run)
            await nursery.start(dht.run)
            for network in own_networks(listen) if config.mdns else ():
                nursery.start_soon(Mdns(network, host.get_id().to_base58(), listen, discovery).run)
            for peer_id, address in bootstrap:
                discovery.add(peer_id, [address], wanted=True, vouched=True, courteous=False)
            try:
                yield Net(host, traffic, messenger, gossip, discovery, dht, BlobClient(host))
            finally:
                nursery.cancel_scope.cancel()
                changes.listener = None
                messenger.close()
                discovery.close()
    except BaseExceptionGroup as group:
        raise _unwrap(group) from None


@asynccontextmanager
async def _closing(sockets: list[trio.SocketListener]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for listener in sockets:
            await listener.aclose()


class _Changes:
    """Passes on the swarm's changes once somebody listens; the swarm is built first."""

    def __init__(self) -> None:
        self.listener: Callable[[ID], None] | None = None

    def note(self, peer: ID) -> None:
        if self.listener is not None:
            self.listener(peer)


def _peer(text: str) -> ID:
    return parse_peer_id(text)


def _parse_bootstrap(text: str) -> tuple[str, Address]:
    try:
        address, peer_id = parse_address(text)
        if peer_id is None:
            raise ValueError("it lacks /p2p/ID, without which anyone could answer")
        return parse_peer_id(peer_id).to_base58(), address
    except (ValueError, FrameError) as error:
        raise ConfigError(f"bootstrap address {text!r}: {error}") from error


def _parse_announce(text: str) -> Address:
    try:
        return parse_address(text)[0]
    except ValueError as error:
        raise ConfigError(f"announce address {text!r}: {error}") from error


def _unwrap(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup) and len(group.exceptions) == 1:
        group = group.exceptions[0]
    return group
