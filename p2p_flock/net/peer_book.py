"""Which peers we know, at which addresses, and when to dial them next: pure, the clock is an argument.

Called by `net/discovery.py`. It holds no connection and trusts nobody: addresses are claims, and the Noise handshake
shows whether the right peer answers.
"""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

# Peers in the book. At the bound one of whom we only heard is forgotten, or for a vouched one the oldest unwanted.
PEERS_MAX = 1024
# Vouched addresses kept of one peer; the newest win. As many as an exchange may carry.
ADDRESSES_PER_PEER_MAX = 16
# Addresses of one peer that others told us; the newest win, and none displaces a vouched one.
HEARSAY_PER_PEER_MAX = 8
# How many claimed addresses are looked at to find as many valid ones.
CLAIMS_MAX = 4 * ADDRESSES_PER_PEER_MAX
ADDRESS_CHARACTERS_MAX = 256
# Waiting times between two rounds over all addresses of a peer, doubled each time.
FIRST_RETRY_SECONDS = 0.25
WANTED_RETRY_SECONDS_MAX = 10.0
OTHER_RETRY_SECONDS_MAX = 120.0
ALONE_RETRY_SECONDS_MAX = 30.0  # for all, while we have no connection at all
# A peer that nobody asked for is forgotten after as many failed rounds; not while we have no connection at all, since
# then the fault is more likely ours.
OTHER_FAILURES_MAX = 8
# A peer that failed so often is not dialed sooner because somebody names a new address.
HURRIED_FAILURES_MAX = 3
# A connection that lasted this long clears the peer's failures.
LASTING_SECONDS = 5.0
_HOST_KINDS = ("ip4", "ip6", "dns", "dns4", "dns6")
# RFC 1123, section 2.1: what every resolver and every multiaddr library takes. Other letters come as punycode.
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Address:
    """A TCP address: ``/ip4/192.0.2.1/tcp/4001`` and the like, without a peer ID."""

    kind: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"/{self.kind}/{self.host}/tcp/{self.port}"

    @property
    def is_global(self) -> bool:
        """Whether it means the same place for everybody; names count as global."""
        return self.kind.startswith("dns") or ipaddress.ip_address(self.host).is_global

    @property
    def is_loopback(self) -> bool:
        """Whether it means the machine on which it is read."""
        return not self.kind.startswith("dns") and is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address is this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_address(text: str) -> tuple[Address, str | None]:
    """The TCP address and the peer ID, if there is one, of a multiaddr.

    Raises ValueError for anything but ``/{ip4|ip6|dns|dns4|dns6}/HOST/tcp/PORT[/p2p/ID]``.
    """
    parts = text[: ADDRESS_CHARACTERS_MAX + 1].split("/")
    if len(text) > ADDRESS_CHARACTERS_MAX or parts[0] or len(parts) not in (5, 7) or parts[3] != "tcp":
        raise ValueError(f"not a TCP multiaddr: {text[:80]!r}")
    kind, host, port = parts[1], parts[2], parts[4]
    if kind not in _HOST_KINDS or (len(parts) == 7 and parts[5] != "p2p"):
        raise ValueError(f"not a TCP multiaddr: {text[:80]!r}")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"not a TCP port: {port[:20]!r}")
    if kind.startswith("ip"):
        if "%" in host or ipaddress.ip_address(host).version != int(kind[2]):  # %: a zone, of the teller's machine
            raise ValueError(f"not an {kind} address: {host[:80]!r}")
    elif not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError(f"not a host name: {host[:80]!r}")
    return Address(kind, host, int(port)), parts[6] if len(parts) == 7 else None


def parse_addresses(texts: Iterable[object]) -> tuple[Address, ...]:
    """The valid ones among claimed addresses, each once, at most ADDRESSES_PER_PEER_MAX; no unspecified IPs.

    Never raises on what a stranger claims; beyond CLAIMS_MAX claims it stops looking.
    """
    found: dict[Address, None] = {}
    for text in islice(texts, CLAIMS_MAX):
        if not isinstance(text, str):
            continue
        try:
            address = parse_address(text)[0]
        except ValueError:
            continue
        if address.host not in ("0.0.0.0", "::"):
            found[address] = None
    return tuple(found)[:ADDRESSES_PER_PEER_MAX]


@dataclass
class Entry:
    """One known peer.

    Attributes:
        vouched: addresses that the peer itself, its owner or our operator named, or at which it answered; best first.
        hearsay: addresses that others named.
        is_wanted: dialed for ever.
        is_proven: it was connected once, in this run or a former one.
        due_s: when it may be dialed again.
    """

    vouched: list[Address] = field(default_factory=list)
    hearsay: list[Address] = field(default_factory=list)
    is_wanted: bool = False
    is_proven: bool = False
    failure_count: int = 0
    due_s: float = 0.0
    is_dialing: bool = False
    connected_s: float = 0.0

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where to dial, in this order."""
        return (*self.vouched, *self.hearsay)


class PeerBook:
    """All known peers."""

    def __init__(self, own_peer_id: str, generator: random.Random) -> None:
        self._own_peer_id = own_peer_id
        self._random = generator
        self._entries: dict[str, Entry] = {}

    def __contains__(self, peer_id: str) -> bool:
        return peer_id in self._entries

    def add(
        self,
        peer_id: str,
        addresses: Sequence[Address],
        now_s: float,
        *,
        wanted: bool = False,
        vouched: bool = False,
        courteous: bool = True,
    ) -> None:
        """Learn addresses, best first. ``wanted`` peers are kept and dialed for ever; the mark is never taken back.

        A new address, or a new wish, makes the peer due; for the ``courteous`` after a short wait if its ID is below
        ours, since both sides often learn of each other at once and one connection is enough. What only others say
        does not shorten the wait after many failures, so that nobody can make us dial without pause.
        """
        if peer_id == self._own_peer_id:
            return
        entry = self._entries.get(peer_id)
        if entry is None:
            if len(self._entries) >= PEERS_MAX and not self._forget_one(vouched or wanted):
                return
            entry = self._entries[peer_id] = Entry()
        is_new_wish = wanted and not entry.is_wanted
        is_news = self._merge(entry, addresses, vouched)
        if is_new_wish or (is_news and (vouched or entry.failure_count <= HURRIED_FAILURES_MAX)):
            if vouched or is_new_wish:
                entry.failure_count = 0
            courtesy_s = FIRST_RETRY_SECONDS if courteous and peer_id < self._own_peer_id else 0.0
            entry.due_s = min(entry.due_s, now_s + courtesy_s) if entry.due_s else now_s + courtesy_s
        entry.is_wanted |= wanted

    def _merge(self, entry: Entry, addresses: Sequence[Address], vouched: bool) -> bool:
        """Whether something was new. The order of what is known stays: the address that answered is tried first."""
        news = [address for address in addresses if address not in entry.addresses]
        if vouched:
            raised = [address for address in addresses if address not in entry.vouched]
            entry.vouched = [*raised, *entry.vouched][:ADDRESSES_PER_PEER_MAX]
            entry.hearsay = [address for address in entry.hearsay if address not in entry.vouched]
        else:
            entry.hearsay = [*news, *entry.hearsay][:HEARSAY_PER_PEER_MAX]
        return bool(news)

    def _forget_one(self, is_vouched: bool) -> bool:
        unwanted = [(peer, entry) for peer, entry in self._entries.items() if not (entry.is_wanted or entry.is_dialing)]
        for peer_id, entry in unwanted:
            if is_vouched or not entry.is_proven:
                del self._entries[peer_id]
                return True
        return False

    def hurry(self, now_s: float) -> None:
        """Our last connection ended: everybody is due within a second, whatever failed before."""
        for entry in self._entries.values():
            entry.failure_count = min(entry.failure_count, HURRIED_FAILURES_MAX)
            entry.due_s = min(entry.due_s, now_s + self._random.uniform(0.0, 1.0))

    def is_wanted(self, peer_id: str) -> bool:
        """Whether the peer is dialed for ever."""
        return peer_id in self._entries and self._entries[peer_id].is_wanted

    def without_address(self, connected: frozenset[str]) -> list[str]:
        """Wanted peers that are not connected and whose every known address, if there is one, has failed lately."""
        return [
            peer_id
            for peer_id, entry in self._entries.items()
            if entry.is_wanted and peer_id not in connected and (not entry.addresses or entry.failure_count > 0)
        ]

    def take_due(
        self, now_s: float, connected: frozenset[str], others_max: int
    ) -> list[tuple[str, tuple[Address, ...]]]:
        """Peers to dial now, marked as being dialed: wanted ones that are due, and at most ``others_max`` others."""
        due = []
        for peer_id, entry in self._entries.items():
            if entry.is_dialing or entry.due_s > now_s or not entry.addresses or peer_id in connected:
                continue
            if not entry.is_wanted:
                if others_max <= 0:
                    continue
                others_max -= 1
            entry.is_dialing = True
            due.append((peer_id, entry.addresses))
        return due

    def next_due_s(self, connected: frozenset[str], others_max: int) -> float | None:
        """When `take_due` will have something to say."""
        return min(
            (
                entry.due_s
                for peer_id, entry in self._entries.items()
                if entry.addresses
                and not entry.is_dialing
                and peer_id not in connected
                and (entry.is_wanted or others_max > 0)
            ),
            default=None,
        )

    def note_reached(self, peer_id: str, address: Address) -> None:
        """A dial succeeded: start with this address next time."""
        entry = self._entries.get(peer_id)
        if entry is not None:
            others = [other for other in entry.vouched if other != address]
            entry.vouched = [address, *others][:ADDRESSES_PER_PEER_MAX]
            entry.hearsay = [other for other in entry.hearsay if other != address]

    def note_connected(self, peer_id: str, now_s: float) -> None:
        """The peer reached us, or we it."""
        entry = self._entries.get(peer_id)
        if entry is not None:
            entry.is_dialing = False
            entry.is_proven = True
            entry.connected_s = now_s

    def note_lost(self, peer_id: str, now_s: float) -> None:
        """The last connection ended: dial again soon, but ever later if none lasts (the peer may have banned us)."""
        entry = self._entries.get(peer_id)
        if entry is not None:
            if now_s - entry.connected_s > LASTING_SECONDS:
                entry.failure_count = -1
            self.note_failed(peer_id, now_s)

    def note_failed(self, peer_id: str, now_s: float, *, is_alone: bool = False) -> None:
        """No address of the peer answered: wait, or forget a peer that nobody asked for.

        ``is_alone``: we have no connection at all.
        """
        entry = self._entries.get(peer_id)
        if entry is None:
            return
        entry.is_dialing = False
        entry.failure_count += 1
        if not entry.is_wanted and not is_alone and entry.failure_count >= OTHER_FAILURES_MAX:
            del self._entries[peer_id]
            return
        longest = ALONE_RETRY_SECONDS_MAX if is_alone else OTHER_RETRY_SECONDS_MAX
        if entry.is_wanted:
            longest = WANTED_RETRY_SECONDS_MAX
        wait_s = min(longest, FIRST_RETRY_SECONDS * 2 ** min(entry.failure_count, 16))
        entry.due_s = now_s + wait_s * self._random.uniform(0.75, 1.25)

    def snapshot(self) -> dict[str, tuple[str, ...]]:
        """Everything worth keeping over a restart."""
        return {
            peer_id: tuple(map(str, entry.addresses)) for peer_id, entry in self._entries.items() if entry.addresses
        }

    def restore(self, saved: Mapping[str, Sequence[str]], now_s: float) -> None:
        """Take up a snapshot; what is not a valid address is left out."""
        for peer_id, texts in saved.items():
            self.add(peer_id, parse_addresses(texts), now_s, vouched=True)
            if peer_id in self._entries:
                self._entries[peer_id].is_proven = True
