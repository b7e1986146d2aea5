"""How much one peer may take of this node: every rate of `net/`, why it is that large, and what happens at it.

Called by the protocols of this package. Counts (streams, queues, frame sizes) stand beside the code that counts; here
stand the allowances per second, which all work alike: a token bucket per peer that survives its reconnections. Whoever
takes more waits, so its own sender feels it; whoever goes on for long where no honest node would is banned by
`HardenedSwarm.ban`. *Preferred* peers are those that the daemon wants (members of its alliance, and the bootstrap nodes
that its operator named); everybody else is a stranger, and strangers together never get what one member may.

Every bucket holds what an honest node can need at once; the rate is what it may cost us for ever. Both are judgements,
not derived from a model; `scripts/bench attacks` measures what they leave of an honest node's service.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import trio

from p2p_flock.errors import NetError

# Peers (or addresses) remembered by one kind of allowance. Beyond it the one that asked least lately is forgotten.
KEYS_MAX = 4096


@dataclass(frozen=True)
class Rate:
    """A token bucket's size: ``burst`` at once, ``per_second`` for ever."""

    per_second: float
    burst: float


# Connections. A handshake costs us a key agreement and a signature, in Python. A testnet on one machine has one
# address.
HANDSHAKES_PER_ADDRESS = Rate(4.0, 400.0)
# Bans of strangers from one address; each one beyond the burst keeps all strangers from there out for a minute, since
# identities are free and addresses are not. Members behind the same address still get in.
BANS_PER_ADDRESS = Rate(1 / 60, 8.0)

# Per connection. Honest nodes open a dozen streams when they meet, then one every few seconds.
STREAMS_OPENED = Rate(20.0, 128.0)
# Multiplexer frames below SMALL_FRAME_BYTES, all control frames among them. A pull at 400 MB/s asks for 3,200 window
# updates a second of the stock muxers and 200 of ours.
SMALL_FRAMES = Rate(2000.0, 20_000.0)
SMALL_FRAME_BYTES = 4096
# Bytes for streams that do not exist: what was under way when we reset one, at most its window.
STRAY_BYTES = Rate(1 << 20, 64 << 20)
# Of each of the three: a peer that would have to wait longer for what it has already sent is banned.
CONNECTION_WAIT_SECONDS_MAX = 2.0

# Messages, in units: one for each and one for each 64 KiB. A validator may pass on a round's contributions all at once.
MESSAGES_OF_PREFERRED = Rate(100.0, 1024.0)
MESSAGES_OF_STRANGER = Rate(20.0, 256.0)
MESSAGE_UNIT_BYTES = 64 * 1024
# Who was held back for so many seconds (less a tenth of the time that has passed) sends for the sake of sending.
MESSAGES_HELD_BACK = Rate(0.1, 5.0)

# Gossip entries (messages, subscriptions, control) of one forwarder, who passes on what everybody said.
GOSSIP_ENTRIES = Rate(200.0, 400.0)
# Messages that one author wrote. An author beyond it is not heard, nor passed on; who sends its own without end is
# banned once it would have to be silent for GOSSIP_DEBT_SECONDS_MAX.
GOSSIP_OF_AUTHOR = Rate(10.0, 100.0)
GOSSIP_OF_STRANGERS = Rate(10.0, 100.0)  # all of them together
GOSSIP_DEBT_SECONDS_MAX = 15.0

# Contents served: bytes and looked-up items. A member pulls a round's chunks at full speed, many gigabytes; who pulls
# for the sake of pulling costs a tenth of a core. A newcomer that is no member yet pulls one model.
SERVED_BYTES_TO_PREFERRED = Rate(64 << 20, 8 << 30)
SERVED_BYTES_TO_STRANGER = Rate(4 << 20, 256 << 20)
SERVED_BYTES_TO_STRANGERS = Rate(32 << 20, 1 << 30)
SERVED_ITEMS_TO_PREFERRED = Rate(1000.0, 65_536.0)
SERVED_ITEMS_TO_STRANGER = Rate(100.0, 4096.0)

# Peer exchange and DHT: questions. An honest node asks a peer for its peers once in 20 s.
EXCHANGES = Rate(0.5, 10.0)
DHT_QUESTIONS = Rate(5.0, 30.0)
DHT_QUESTIONS_OF_STRANGERS = Rate(50.0, 300.0)  # all of them together


class OverLimitError(NetError):
    """A peer took more than any honest node would; it is banned for a while."""


class Bucket:
    """One token bucket; it may be overdrawn, and then says for how long. Times are trio's clock, seconds."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._left = rate.burst
        self._since = trio.current_time()

    def take(self, cost: float) -> float:
        """Take ``cost`` tokens whether they are there or not; the seconds until the bucket is in credit again."""
        now = trio.current_time()
        self._left = min(self._rate.burst, self._left + (now - self._since) * self._rate.per_second) - cost
        self._since = now
        return max(0.0, -self._left / self._rate.per_second)

    def try_take(self, cost: float) -> bool:
        """Take ``cost`` tokens if they are there."""
        if self.take(cost) > 0.0:
            self._left += cost
            return False
        return True


class Buckets:
    """A bucket per key, for the KEYS_MAX keys that were used last."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def of(self, key: Hashable) -> Bucket:
        """The key's bucket, a full one if it has none yet."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= KEYS_MAX:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = Bucket(self._rate)
        self._buckets.move_to_end(key)
        return bucket


class Allowance:
    """What peers may take: a larger bucket for each preferred peer, a smaller one for each stranger."""

    def __init__(self, preferred: Rate, stranger: Rate, strangers: Rate | None = None) -> None:
        self._preferred = Buckets(preferred)
        self._stranger = Buckets(stranger)
        self._strangers = None if strangers is None else Bucket(strangers)

    def take(self, key: Hashable, cost: float, *, is_preferred: bool) -> float:
        """Take ``cost``; the seconds that the peer should wait before it is served further."""
        if is_preferred:
            return self._preferred.of(key).take(cost)
        wait_s = self._stranger.of(key).take(cost)
        return wait_s if self._strangers is None else max(wait_s, self._strangers.take(cost))


def address_key(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 one, which whoever has one has all of."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


# Lines of one statement in a minute. What peers do decides how often these are logged, so they could fill the disk.
LINES_PER_STATEMENT = Rate(20 / 60, 20.0)


class RepeatFilter(logging.Filter):
    """Lets each logging statement speak LINES_PER_STATEMENT often; the next line that passes tells how many did not."""

    def __init__(self) -> None:
        super().__init__()
        self._buckets: dict[int, Bucket] = {}  # by line of the module
        self._dropped: dict[int, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        try:
            bucket = self._buckets.setdefault(record.lineno, Bucket(LINES_PER_STATEMENT))
            if not bucket.try_take(1.0):
                self._dropped[record.lineno] = self._dropped.get(record.lineno, 0) + 1
                return False
        except RuntimeError:  # outside of trio, in tests: nobody floods us there
            return True
        if dropped := self._dropped.pop(record.lineno, 0):
            record.msg = f"{record.msg} ({dropped} such lines were left out)"
        return True


def get_limited_logger(name: str) -> logging.Logger:
    """The logger of a module in which strangers decide how often something is logged."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, RepeatFilter) for one in logger.filters):
        logger.addFilter(RepeatFilter())
    return logger
