"""Who may come in: handshakes in progress and established inbound connections. Pure but for the clock of the buckets.

Called by `HardenedSwarm` only. A stranger can open as many TCP connections as it likes and make as many identities; so
what is scarce is shared by address, the address that takes most gives way first, and peers that the node prefers (its
alliance) have room that no stranger can take. Who is preferred shows only after the handshake; where handshakes
themselves are crowded out, a member is still reached by our own dialing, which has its own room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from p2p_flock.net.limits import BANS_PER_ADDRESS, HANDSHAKES_PER_ADDRESS, Buckets, address_key

# Handshakes in progress. An honest one takes a few round trips, so at either bound the oldest (from the address, or
# from the address that has most) is given up for the new one, not the other way round.
HANDSHAKES_MAX = 128
HANDSHAKES_PER_ADDRESS_MAX = 64
# Established inbound connections. Strangers never get the last 96, which are the alliance's.
INBOUND_CONNECTIONS_MAX = 256
STRANGERS_MAX = 160
STRANGERS_PER_ADDRESS_MAX = 96  # an alliance on one machine meets before its members know each other


@dataclass
class _Handshake:
    address: str
    give_up: Callable[[], None]


class Handshakes:
    """Handshakes in progress, oldest first."""

    def __init__(self) -> None:
        self._running: dict[int, _Handshake] = {}
        self._rates = Buckets(HANDSHAKES_PER_ADDRESS)
        self._count = 0

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, host: str, give_up: Callable[[], None]) -> int | None:
        """Begin one; a number for `end`, or None if the address has had too many. ``give_up`` may be called once."""
        address = address_key(host)
        if not self._rates.of(address).try_take(1.0):
            return None
        of_address = [number for number, one in self._running.items() if one.address == address]
        if len(of_address) >= HANDSHAKES_PER_ADDRESS_MAX:
            self._running.pop(of_address[0]).give_up()
        elif len(self._running) >= HANDSHAKES_MAX:
            busiest = _busiest(one.address for one in self._running.values())
            oldest = next(number for number, one in self._running.items() if one.address == busiest)
            self._running.pop(oldest).give_up()
        self._count += 1
        self._running[self._count] = _Handshake(address, give_up)
        return self._count

    def end(self, number: int) -> None:
        """It is over, however it ended."""
        self._running.pop(number, None)


@dataclass(frozen=True)
class Guest:
    """An established inbound connection: from which IP address, and whether we prefer its peer."""

    host: str
    is_preferred: bool


@dataclass(frozen=True)
class Admission:
    """Whether a new connection may stay, and which of the present ones (its position) has to go for it."""

    is_admitted: bool
    evicted: int | None = None


def admit(newcomer: Guest, present: Sequence[Guest]) -> Admission:
    """Decide about a newcomer; ``present`` are the others, oldest first.

    A member displaces a stranger; a stranger displaces the newest from an address that has more than its own.
    """
    strangers = [(position, address_key(one.host)) for position, one in enumerate(present) if not one.is_preferred]
    counts = Counter(address for _, address in strangers)
    if newcomer.is_preferred:
        if len(present) < INBOUND_CONNECTIONS_MAX:
            return Admission(True)
        return Admission(True, _newest_of_busiest(strangers)) if strangers else Admission(False)
    own = counts[address_key(newcomer.host)]
    if own >= STRANGERS_PER_ADDRESS_MAX:
        return Admission(False)
    if len(strangers) < STRANGERS_MAX and len(present) < INBOUND_CONNECTIONS_MAX:
        return Admission(True)
    if strangers and max(counts.values()) > own + 1:
        return Admission(True, _newest_of_busiest(strangers))
    return Admission(False)


def _newest_of_busiest(strangers: Sequence[tuple[int, str]]) -> int:
    busiest = _busiest(address for _, address in strangers)
    return next(position for position, address in reversed(strangers) if address == busiest)


def _busiest(addresses: Iterable[str]) -> str:
    ((address, _),) = Counter(addresses).most_common(1)
    return address


class BarredAddresses:
    """Addresses whose strangers were banned too often."""

    def __init__(self) -> None:
        self._bans = Buckets(BANS_PER_ADDRESS)

    def note_ban(self, host: str) -> None:
        """A stranger from there was banned."""
        self._bans.of(address_key(host)).take(1.0)

    def __contains__(self, host: str) -> bool:
        return self._bans.of(address_key(host)).take(0.0) > 0.0
