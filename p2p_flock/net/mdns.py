"""Finding nodes on the same network by multicast DNS, where there is no bootstrap node and no Internet.

Called by `net/adapter.py` if `NetConfig.mdns` is set. It speaks libp2p's mDNS discovery for IPv4 under a service name
of our own, on the interfaces on which the node listens and no others: a node that listens on 127.0.0.1 multicasts on
loopback only. What it hears is hearsay: addresses of the own network to dial; Noise proves who answers.

Not `libp2p.discovery.mdns` (py-libp2p 0.8.1): it multicasts on every interface of the machine whatever the host listens
on, waits in threads, sleeps in them between retries, and keeps every name it hears.
"""

from __future__ import annotations

import ipaddress
import logging
import random
import secrets
import socket
import sys
from collections.abc import Sequence

import trio

from p2p_flock.net.discovery import Discovery, parse_peer_id
from p2p_flock.net.framing import FrameError
from p2p_flock.net.mdns_packets import (
    PACKET_BYTES_MAX,
    PacketError,
    decode_packet,
    encode_question,
    encode_response,
)
from p2p_flock.net.peer_book import ADDRESSES_PER_PEER_MAX, Address, parse_address

log = logging.getLogger(__name__)

GROUP = "224.0.0.251"
PORT = 5353
# Pauses between our questions; a newcomer asks, so those who are there need not.
ASK_SECONDS = (0.0, 1.0, 3.0, 9.0, 27.0, 120.0)
ASK_SELDOM_SECONDS = 600.0
ANSWER_PAUSE_SECONDS = 1.0  # between two answers of ours (RFC 6762, section 6)
ANSWER_DELAY_SECONDS = (0.02, 0.12)  # so that not all answer at once (the same)
# Packets looked at per second, and peers learned per minute; what comes beyond is left to the kernel to drop.
PACKETS_PER_SECOND_MAX = 50
NEWS_PER_MINUTE_MAX = 64
_MULTICAST_ALL = 49  # Linux, linux/in.h; missing in Python's socket module


def own_networks(listen: Sequence[Address]) -> list[str]:
    """The IPv4 addresses of interfaces on which to multicast: loopback only where the node listens nowhere else."""
    hosts = list(dict.fromkeys(address.host for address in listen if address.kind == "ip4"))
    return [host for host in hosts if not ipaddress.ip_address(host).is_loopback] or hosts


class Mdns:
    """One interface's part; `run` it in a nursery."""

    def __init__(self, host: str, own_peer_id: str, listen: Sequence[Address], discovery: Discovery) -> None:
        own = [f"{address}/p2p/{own_peer_id}" for address in listen if address.host == host]
        self._host = host
        self._discovery = discovery
        self._response = encode_response(secrets.token_hex(16), own)
        self._asked = trio.Event()
        self._news_left = NEWS_PER_MINUTE_MAX
        self._news_since = trio.current_time()
        self.sent_count = 0

    async def run(self) -> None:
        """Ask, answer and listen for ever; returns at once, with a line in the log, where multicast is impossible."""
        try:
            opened = trio.socket.from_stdlib_socket(open_multicast_socket(self._host))
        except OSError as error:
            log.info("no multicast DNS on %s: %s", self._host, error.strerror)
            return
        with opened:
            async with trio.open_nursery() as nursery:
                for task in (self._ask, self._answer, self._listen):
                    nursery.start_soon(task, opened)

    async def _ask(self, opened: trio.socket.SocketType) -> None:
        await self._send(opened, self._response)
        for wait_s in ASK_SECONDS:
            await trio.sleep(wait_s)
            await self._send(opened, encode_question())
        while True:
            await trio.sleep(ASK_SELDOM_SECONDS)
            await self._send(opened, encode_question())

    async def _answer(self, opened: trio.socket.SocketType) -> None:
        while True:
            await self._asked.wait()
            await trio.sleep(random.uniform(*ANSWER_DELAY_SECONDS))
            self._asked = trio.Event()
            await self._send(opened, self._response)
            await trio.sleep(ANSWER_PAUSE_SECONDS)

    async def _send(self, opened: trio.socket.SocketType, data: bytes) -> None:
        self.sent_count += 1
        try:
            await opened.sendto(data, (GROUP, PORT))
        except OSError as error:
            log.debug("cannot multicast on %s: %s", self._host, error.strerror)

    async def _listen(self, opened: trio.socket.SocketType) -> None:
        while True:
            second_ends = trio.current_time() + 1.0
            for _ in range(PACKETS_PER_SECOND_MAX):
                data, (seen, *_) = await opened.recvfrom(PACKET_BYTES_MAX + 1)
                self._take(data, seen)
                if trio.current_time() > second_ends:
                    break
            else:
                await trio.sleep(max(0.0, second_ends - trio.current_time()))

    def _take(self, data: bytes, seen: str) -> None:
        try:
            packet = decode_packet(data)
        except PacketError as error:
            log.debug("%s sent no mDNS packet: %s", seen, error)
            return
        if packet.asks:
            self._asked.set()
        found: dict[str, list[Address]] = {}
        for text in packet.addresses:
            try:
                address, peer_id = parse_address(text)
                peer = parse_peer_id(peer_id or "").to_base58()
            except (ValueError, FrameError):
                continue
            if is_of_network(address, seen):
                found.setdefault(peer, []).append(address)
        for peer, addresses in found.items():
            if self._take_allowance():
                self._discovery.add(peer, addresses[:ADDRESSES_PER_PEER_MAX])

    def _take_allowance(self) -> bool:
        now = trio.current_time()
        if now - self._news_since > 60.0:
            self._news_left, self._news_since = NEWS_PER_MINUTE_MAX, now
        self._news_left -= 1
        return self._news_left >= 0


def is_of_network(address: Address, seen: str) -> bool:
    """Whether a neighbor may name the address: its own, or one that means nothing outside; so that nobody on the
    network can make all its nodes dial somebody on the Internet."""
    return not address.is_global or address.host == seen


def open_multicast_socket(host: str) -> socket.socket:
    """A socket that hears and sends the group on the interface of ``host`` only. Raises OSError."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind((GROUP, PORT))  # the group, so that no unicast from elsewhere arrives
        interface = socket.inet_aton(host)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)  # RFC 6762, section 11
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)  # for other nodes on this machine
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + interface)
        if sys.platform == "linux":
            opened.setsockopt(socket.IPPROTO_IP, _MULTICAST_ALL, 0)  # not what other programs joined elsewhere
    except OSError:
        opened.close()
        raise
    return opened
