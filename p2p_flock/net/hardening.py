"""Every remedy that py-libp2p 0.8.1 needs before it may face a stranger, and nothing else.

Called by `net/host.py`, which builds its host only from these classes. `tests/net/test_hardening.py` holds one test per
remedy, each of which fails on the stock class: after an upgrade of libp2p, run them against the stock ones to see what
can go. Two remedies are large enough for files of their own: `net/muxer.py` (cancelled writes, unbounded streams and
buffers, silent peers) and `net/session.py` (bulk encryption, the account of what was sent).

| stock behaviour (facts: evidence) | remedy here |
|---|---|
| 1 accepts `/plaintext/2.0.0`: anyone may claim any peer ID | `HardenedUpgrader` offers Noise and nothing else |
| 2 refuses every connection after 250 inbound ones | `HardenedSwarm._do_handle_inbound_connection` |
| 3 an exception in a stream handler ends the process or deafens the connection | `HardenedHost._swarm_stream_handler` |
| 4 one malformed gossip frame, key or a raising validator ends the process | `SafePubsub`, `GuardedManager` |
| 5 a cancelled write poisons the connection | `net/muxer.py` |
| 6 two daemons on one port share its connections silently (SO_REUSEPORT) | `HardenedSwarm.serve` |
| 7 negotiation reads a frame of any length that a stranger announces | `_read_bounded` |
| 8 dials on its own, one address only, then refuses for 60 s | `HardenedSwarm.dial_peer` |
| 9 negotiation takes two round trips; identify runs on every connection | `HardenedHost.new_stream` and others |
| 10 gossip forgets a peer's topics when one of two connections closes | `SafePubsub._handle_dead_peer` |
| 11 gossip keeps every message body; sequence numbers repeat after a restart | `SafeGossipSub`, `SafePubsub` |
| 12 gossip caches a verdict of "not yet" for 300 s as "never" | `SafePubsub.push_msg` |
| 13 a topic subscribed while a peer is being greeted is never announced to it | `SafePubsub._handle_new_peer` |
| 14 logs to stderr through the root logger, with payloads | `quiet_library_logging` |
| 15 keeps keys and tags of every peer that was ever connected | `HardenedSwarm.remove_conn` |
| 16 answers pings without end on one stream | `HardenedHost.__init__` |

It must never import another module of this package but the two above, `framing`, `admission`, `limits` and
`fault_port`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import libp2p.network.connection.swarm_connection
import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream, IRawConnection, ISecureConn
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.host.exceptions import StreamFailure
from libp2p.host.ping import ID as PING
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.trio import TrioTCPStream
from libp2p.metrics.swarm import SwarmEvent
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectCommunicatorError, MultiselectError
from libp2p.protocol_muxer.multiselect import MULTISELECT_PROTOCOL_ID
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.rcmgr import Direction
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.secure_session import SecureSession
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_ID
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import LifecycleError, Service, TrioManager
from libp2p.transport.exceptions import MuxerUpgradeFailure
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.utils.varint import encode_delim
from multiaddr import Multiaddr

from p2p_flock.net.admission import (
    HANDSHAKES_MAX,
    INBOUND_CONNECTIONS_MAX,
    BarredAddresses,
    Guest,
    Handshakes,
    admit,
)
from p2p_flock.net.fault_port import FaultPort
from p2p_flock.net.framing import STREAM_FAILURES, FrameError, end_stream
from p2p_flock.net.limits import get_limited_logger
from p2p_flock.net.muxer import Liveness, Muxer
from p2p_flock.net.session import BulkSession, Traffic

log = get_limited_logger(__name__)

# Outbound connections have their own room beside INBOUND_CONNECTIONS_MAX, so that strangers who fill the inbound slots
# cannot keep us from our own peers.
CONNECTIONS_MAX = INBOUND_CONNECTIONS_MAX + 128
HANDSHAKE_SECONDS_MAX = 10.0
NEGOTIATION_SECONDS_MAX = 10.0
# A protocol name in negotiation; go-libp2p's limit is 1024 too.
NEGOTIATION_BYTES_MAX = 1024
# Peers remembered as banned, and for how long. At the bound the oldest is forgiven. Long enough that a spammer's words
# cost us next to nothing, short enough that a ban by two versions of us that disagree heals within a round.
BANS_MAX = 1024
BAN_SECONDS = 120.0
_NO_ADDRESS = Multiaddr("/ip4/0.0.0.0")  # the library only logs it


def quiet_library_logging() -> None:
    """Keep the library's chatter, which holds addresses and at times payloads, away from users' terminals.

    One module logs through the root logger, and that call installs a handler on stderr for the whole process.
    """
    for name in ("libp2p", "libp2p.network.auto_connector", "multiaddr", "aioquic", "noise"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    module = libp2p.network.connection.swarm_connection
    setattr(module, "logging", logging.getLogger(module.__name__))  # noqa: B010 - mypy allows no plain assignment


class GuardedManager(TrioManager):
    """The library's service manager, whose tasks end alone instead of ending the service and so the process.

    A defect in one gossip message's handling is logged and costs that message. Daemon tasks (heartbeats) start again.
    """

    def run_task(
        self,
        async_fn: Callable[..., Awaitable[object]],
        *args: object,
        daemon: bool = False,
        name: str | None = None,
        _internal: bool = False,
    ) -> None:
        """Run ``async_fn(*args)`` in the service's nursery."""
        if self._task_nursery is None or not self.is_running:
            raise LifecycleError("the service is not running")
        if _internal:  # the service's own body: if it ends, the node must know
            self._task_nursery.start_soon(async_fn, *args)
        else:
            self._task_nursery.start_soon(self._run_guarded, async_fn, args, daemon)

    async def _run_guarded(
        self, async_fn: Callable[..., Awaitable[object]], args: tuple[object, ...], daemon: bool
    ) -> None:
        while True:
            try:
                await async_fn(*args)
            except Exception:  # broad: remote input reaches library code of unknown quality here; it may cost one task
                log.warning("a task of libp2p failed: %s", getattr(async_fn, "__qualname__", async_fn), exc_info=True)
            if not daemon:
                return
            await trio.sleep(1.0)


@asynccontextmanager
async def run_service(service: Service) -> AsyncIterator[None]:
    """The library's `background_trio_service` with a GuardedManager."""
    async with trio.open_nursery() as nursery:
        manager = GuardedManager(service)
        service._manager = manager
        nursery.start_soon(manager.run)
        await manager.wait_started()
        try:
            yield
        finally:
            await manager.stop()


async def _read_bounded(self: MultiselectCommunicator) -> str:
    """In place of `MultiselectCommunicator.read`: byte by byte, because bytes after the frame are not ours to read."""
    size = 0
    try:
        for position in range(2):
            (byte,) = await _read_exactly(self.read_writer, 1)
            size |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                break
        else:
            raise MultiselectCommunicatorError("a negotiation frame is too long")
        if not 0 < size <= NEGOTIATION_BYTES_MAX:
            raise MultiselectCommunicatorError("a negotiation frame is empty or too long")
        frame = await _read_exactly(self.read_writer, size)
    except STREAM_FAILURES as error:
        raise MultiselectCommunicatorError("the peer left during the negotiation") from error
    if frame[-1:] != b"\n" or not frame.isascii():
        raise MultiselectCommunicatorError("not a negotiation frame")
    return frame[:-1].decode("ascii")


async def _read_exactly(reader: ReadWriteCloser, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await reader.read(size - len(data))
        if not piece:
            raise MultiselectCommunicatorError("the peer left during the negotiation")
        data += piece
    return data


def patch_negotiation() -> None:
    """Bound what a negotiation reads. The only class attribute of the library that is replaced: it is built by name."""
    MultiselectCommunicator.read = _read_bounded  # type: ignore[method-assign]


class HardenedUpgrader(TransportUpgrader):
    """Noise and yamux, nothing else, with our session and our muxer in them."""

    def __init__(
        self, key_pair: KeyPair, traffic: Traffic, liveness: Liveness, fault_port: FaultPort | None = None
    ) -> None:
        noise = NoiseTransport(key_pair, noise_privkey=create_noise_key_pair().private_key)
        super().__init__({NOISE_ID: noise}, {TProtocol(YAMUX_ID): Yamux}, int(HANDSHAKE_SECONDS_MAX))
        self._traffic = traffic
        self._liveness = liveness
        self._fault_port = fault_port

    async def upgrade_security(
        self, raw_conn: IRawConnection, is_initiator: bool, peer_id: ID | None = None
    ) -> ISecureConn:
        """Secure a TCP connection; raises as in the library."""
        secured = await super().upgrade_security(raw_conn, is_initiator, peer_id)
        assert isinstance(secured, SecureSession)
        if self._fault_port is not None:  # test mode
            return await self._fault_port.open_session(secured, self._traffic)
        return BulkSession(secured, self._traffic)

    async def upgrade_connection(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """Agree on yamux; raises MuxerUpgradeFailure."""
        assert isinstance(conn, BulkSession)
        try:
            await self.muxer_multistream.select_transport(conn)
        except (MultiselectError, MultiselectClientError) as error:
            raise MuxerUpgradeFailure("the peer does not speak yamux") from error
        return Muxer(conn, peer_id, self._liveness)


@dataclass
class Bans:
    """Peers that we do not talk to for a while. Times are trio's clock, seconds."""

    until: dict[ID, float] = field(default_factory=dict)

    def add(self, peer_id: ID) -> None:
        """Ban for BAN_SECONDS."""
        self.until.pop(peer_id, None)
        if len(self.until) >= BANS_MAX:
            del self.until[next(iter(self.until))]
        self.until[peer_id] = trio.current_time() + BAN_SECONDS

    def __contains__(self, peer_id: ID) -> bool:
        return self.until.get(peer_id, 0.0) > trio.current_time()


class _NoAutoConnector(AutoConnector):
    """The library's would dial all it ever heard of, up to half of the connections, whatever its watermarks say."""

    async def run_background_task(self, nursery: trio.Nursery) -> None:
        """Dial nobody."""


class HardenedSwarm(Swarm):
    """Connections. ``on_change(peer_id)`` is called, synchronously, after each connection that came or went."""

    def __init__(
        self,
        peer_id: ID,
        peerstore: PeerStore,
        upgrader: HardenedUpgrader,
        on_change: Callable[[ID], None],
    ) -> None:
        # The library's own connectors and pruners stay off: `net/discovery.py` decides whom to dial.
        super().__init__(
            peer_id,
            peerstore,
            upgrader,
            [TCP()],
            RetryConfig(max_retries=0),
            ConnectionConfig(
                max_connections=CONNECTIONS_MAX,
                min_connections=0,
                low_watermark=0,
                high_watermark=CONNECTIONS_MAX,
                auto_connect_interval=3600.0,
                max_connections_per_peer=CONNECTIONS_MAX,
                inbound_upgrade_timeout=HANDSHAKE_SECONDS_MAX,
                outbound_upgrade_timeout=HANDSHAKE_SECONDS_MAX,
                inbound_stream_protocol_negotiation_timeout=NEGOTIATION_SECONDS_MAX,
            ),
        )
        self.auto_connector = _NoAutoConnector(self)
        self.bans = Bans()
        # Whether a peer is one of those that the daemon wants, see `net/limits.py`. Set by the adapter.
        self.prefers: Callable[[ID], bool] = lambda _: False
        self._on_change = on_change
        self._inbound_limiter = trio.CapacityLimiter(INBOUND_CONNECTIONS_MAX + HANDSHAKES_MAX)
        self._handshakes = Handshakes()
        self._barred = BarredAddresses()

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Accept connections on sockets that the caller opened without SO_REUSEPORT.

        In place of `listen`, whose port several processes can share unknowingly, and whose accept loop is a system task
        of trio, where any error ends the process.
        """
        if not listeners:  # a host that only dials; trio takes an empty list for a defect
            await trio.sleep_forever()
        await trio.serve_listeners(self._accept, listeners)

    async def _accept(self, stream: trio.SocketStream) -> None:
        try:
            await self._handle_inbound_connection(TrioTCPStream(stream), _NO_ADDRESS)
        except Exception as error:  # noqa: BLE001 - a stranger's handshake must not end the listener, whatever it raised
            log.debug("an inbound connection failed: %s: %s", type(error).__name__, error)
        finally:
            with trio.CancelScope(shield=True):
                await stream.aclose()

    def _schedule_auto_connect(self) -> None:
        """Not the library's decision."""

    def is_connected(self, peer_id: ID) -> bool:
        """Whether at least one open connection leads to the peer."""
        return any(not conn.is_closed for conn in self.connections.get(peer_id, ()))

    async def dial_peer(self, peer_id: ID) -> list[INetConn]:
        """The open connections. Never dials: raises SwarmException where there are none."""
        connections = [conn for conn in self.get_connections(peer_id) if not conn.is_closed]
        if not connections:
            raise SwarmException(f"no connection to {peer_id}")
        return connections

    async def _do_handle_inbound_connection(
        self,
        read_write_closer: ReadWriteCloser,
        maddr: Multiaddr,
        failure_event: SwarmEvent,
    ) -> None:
        """Hold the inbound slot exactly as long as this connection lives; the library holds it for ever."""
        host = (read_write_closer.get_remote_address() or ("", 0))[0]
        muxed: IMuxedConn | None = None
        with trio.CancelScope() as scope:
            number = self._handshakes.begin(host, scope.cancel)
            if number is None:
                return
            try:
                muxed = await self.upgrade_inbound_raw_conn(RawConnection(read_write_closer, False), maddr)
            finally:
                self._handshakes.end(number)
        if muxed is None:  # given up for a newer one
            return
        assert isinstance(muxed, Muxer)
        await muxed.event_closed.wait()

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        """Register a connection unless the peer is banned.

        A second one in the same direction replaces the first, which is then half-open: the peer has restarted. One in
        each direction is normal after a simultaneous dial; both stay.
        """
        peer_id = muxed_conn.peer_id
        if peer_id in self.bans or peer_id == self.self_id:
            await muxed_conn.close()
            raise SwarmException(f"{peer_id} is banned or ourselves")
        if direction == "inbound" and not self._makes_room(muxed_conn):
            await muxed_conn.close()
            raise SwarmException("there is no room for more strangers")
        assert isinstance(muxed_conn, Muxer)
        muxed_conn.on_flood = lambda reason: self.ban(peer_id, reason)
        conn = await super().add_conn(muxed_conn, direction)
        for other in self.get_connections(muxed_conn.peer_id):
            if other is not conn and getattr(other, "direction", None) == conn.direction:
                self.manager.run_task(other.close)
        self._on_change(muxed_conn.peer_id)
        return conn

    def _makes_room(self, muxed_conn: IMuxedConn) -> bool:
        """Whether an inbound connection may stay; closes the one that it displaces."""
        newcomer = Guest(_host_of(muxed_conn), self.prefers(muxed_conn.peer_id))
        if not newcomer.is_preferred and newcomer.host in self._barred:
            return False
        present = [
            conn
            for conn in self.get_connections()
            if isinstance(conn, SwarmConn)
            and conn.direction is Direction.INBOUND
            and conn.muxed_conn.peer_id != muxed_conn.peer_id
        ]
        guests = [Guest(_host_of(conn.muxed_conn), self.prefers(conn.muxed_conn.peer_id)) for conn in present]
        admission = admit(newcomer, guests)
        if admission.evicted is not None:
            self.manager.run_task(present[admission.evicted].close)
        return admission.is_admitted

    def remove_conn(self, swarm_conn: SwarmConn) -> None:
        """As in the library, which calls it as soon as a connection ends; forgets a peer that is gone."""
        super().remove_conn(swarm_conn)
        peer_id = swarm_conn.muxed_conn.peer_id
        if not self.is_connected(peer_id) and self.peerstore.has_peer(peer_id):
            self.peerstore.clear_peerdata(peer_id)
        self._on_change(peer_id)

    def ban(self, peer_id: ID, reason: str) -> None:
        """Close the peer's connections and accept none for BAN_SECONDS."""
        if peer_id in self.bans:
            return
        log.warning("banning %s for %d s: %s", peer_id, BAN_SECONDS, reason)
        self.bans.add(peer_id)
        for conn in self.get_connections(peer_id):
            if not self.prefers(peer_id):
                self._barred.note_ban(_host_of(conn.muxed_conn))
            self.manager.run_task(conn.close)


def _host_of(muxed_conn: IMuxedConn) -> str:
    assert isinstance(muxed_conn, Muxer)
    return (muxed_conn.get_remote_address() or ("", 0))[0]


class HardenedHost(BasicHost):
    """Streams and their protocols."""

    def __init__(self, swarm: HardenedSwarm) -> None:
        super().__init__(swarm, disable_identify_address_discovery=True, negotiate_timeout=int(NEGOTIATION_SECONDS_MAX))
        self.remove_stream_handler(ID_PUSH)  # would let any peer fill our peer store
        self.remove_stream_handler(PING)  # answers for ever, and tells nothing that yamux's own pings do not
        self._advertised: list[Multiaddr] = []

    @property
    def swarm(self) -> HardenedSwarm:
        """The network below."""
        assert isinstance(self._network, HardenedSwarm)
        return self._network

    def advertise(self, addresses: Sequence[Multiaddr]) -> None:
        """Fix what `get_addrs` says; the library computes it anew for every gossip message."""
        suffix = Multiaddr(f"/p2p/{self.get_id()}")
        self._advertised = [address.encapsulate(suffix) for address in addresses]

    def get_addrs(self) -> list[Multiaddr]:
        """Our addresses, each with our peer ID."""
        return list(getattr(self, "_advertised", ()))

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        """Not ours to ask: addresses travel in our own exchange, and each peer's answer would stay in memory."""

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        try:
            await super()._swarm_stream_handler(net_stream)
        except (
            Exception
        ) as error:  # broad: what a handler raises on a peer's bytes costs that stream, not the connection or the host
            level = logging.DEBUG if isinstance(error, (*STREAM_FAILURES, FrameError)) else logging.WARNING
            log.log(level, "stream %s failed: %s", net_stream.get_protocol(), error, exc_info=level > logging.DEBUG)
            await end_stream(net_stream, broken=True)

    async def new_stream(self, peer_id: ID, protocol_ids: Sequence[TProtocol]) -> INetStream:
        """Open a stream to a connected peer in one round trip.

        Raises SwarmException if it cannot be opened now, StreamFailure if the peer speaks none of the protocols.
        """
        stream = await self.swarm.new_stream(peer_id)
        try:
            with trio.fail_after(NEGOTIATION_SECONDS_MAX):
                protocol = await _negotiate(stream, protocol_ids)
        except (*STREAM_FAILURES, MultiselectCommunicatorError, trio.TooSlowError) as error:
            await end_stream(stream, broken=True)
            raise SwarmException(f"no stream to {peer_id}: {error}") from error
        except BaseException:
            await end_stream(stream, broken=True)
            raise
        stream.set_protocol(protocol)
        return stream


async def _negotiate(stream: INetStream, protocol_ids: Sequence[TProtocol]) -> TProtocol:
    """Say hello and the first wish at once, as go-libp2p does; the answers come in order."""
    answers = MultiselectCommunicator(stream)
    hello = encode_delim(MULTISELECT_PROTOCOL_ID.encode())
    for position, protocol in enumerate(protocol_ids):
        wish = encode_delim(str(protocol).encode())
        await stream.write(wish if position else hello + wish)
        if not position and await answers.read() != MULTISELECT_PROTOCOL_ID:
            raise MultiselectCommunicatorError("the peer negotiates another way")
        if await answers.read() == str(protocol):
            return protocol
    raise StreamFailure(f"the peer speaks none of {list(protocol_ids)}")
