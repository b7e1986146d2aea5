"""Messages from peers on their way to the running round's machine: checked, kept while early, counted where refused.

One per session. Nothing that arrives can do more than cost its sender the connection's message streams for a while.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.gossip import decode_envelope, validate_envelope
from p2p_flock.daemon.driver import RoundDriver
from p2p_flock.daemon.tally import Tally
from p2p_flock.errors import WireError
from p2p_flock.net.adapter import Net
from p2p_flock.net.limits import get_limited_logger
from p2p_flock.ports import MessageReceived
from p2p_flock.types import Verdict
from p2p_flock.wire.messages import Contribution, Envelope

logger = get_limited_logger(__name__)

# Messages of a round that this node has not started yet. At each bound the peer's own oldest is dropped, or where all
# together are too many its new one: nobody can displace another's, and peers repeat what is dropped.
EARLY_ENVELOPES_PER_PEER_MAX = 128
EARLY_BYTES_PER_PEER_MAX = 8 << 20
EARLY_BYTES_MAX = 64 << 20
REFUSED_PEERS_MAX = 1024  # whose refusals are counted; beyond it the one refused least lately is forgiven
REFUSALS_MAX = 8  # a bug or a version difference shows as one or two; a flood does not stop at eight
CUT_OFF_S = 60.0


class EarlyEnvelopes:
    """Unchecked messages of later rounds, by the peer that sent them, in the order in which each sent them."""

    def __init__(self) -> None:
        self._by_peer: dict[str, deque[Envelope]] = {}
        self._bytes: dict[str, int] = {}

    def add(self, peer_id: str, envelope: Envelope) -> None:
        """Keep one, within the bounds above."""
        size = len(envelope.body)
        waiting = self._by_peer.get(peer_id, deque())
        held = self._bytes.get(peer_id, 0)
        while waiting and (len(waiting) >= EARLY_ENVELOPES_PER_PEER_MAX or held + size > EARLY_BYTES_PER_PEER_MAX):
            held -= len(waiting.popleft().body)
        self._bytes[peer_id] = held
        if sum(self._bytes.values()) + size <= EARLY_BYTES_MAX:
            waiting.append(envelope)
            self._by_peer[peer_id] = waiting
            self._bytes[peer_id] = held + size

    def __iter__(self) -> Iterator[tuple[str, Envelope]]:
        return ((peer_id, envelope) for peer_id, waiting in self._by_peer.items() for envelope in waiting)


class Intake:
    """See the module."""

    def __init__(self, net: Net, tally: Tally) -> None:
        self._net = net
        self._tally = tally
        self._early = EarlyEnvelopes()
        self._refusals: OrderedDict[str, int] = OrderedDict()

    def take(self, peer_id: str, data: bytes, is_member: bool, driver: RoundDriver | None) -> None:
        """Check one message; hand it to the machine, keep it for the next round, or refuse it."""
        # [REJECT] Only members' nodes have anything to say here.
        if not is_member:
            self._refuse(peer_id, "it is no member")
            return
        # [REJECT] The bytes are a canonical envelope.
        try:
            envelope = decode_envelope(data)
        except WireError as error:
            self._refuse(peer_id, str(error))
            return
        self._tally.note_received(envelope.kind, len(data))
        if driver is None or envelope.round > driver.context.round:
            self._early.add(peer_id, envelope)
            return
        self._hand_over(driver, peer_id, envelope)

    def replay(self, driver: RoundDriver) -> None:
        """Hand over what came before the round's driver was there."""
        early, self._early = self._early, EarlyEnvelopes()
        for peer_id, envelope in early:
            if envelope.round == driver.context.round:
                self._hand_over(driver, peer_id, envelope)
            elif envelope.round > driver.context.round:
                self._early.add(peer_id, envelope)

    def _hand_over(self, driver: RoundDriver, peer_id: str, envelope: Envelope) -> None:
        checked = validate_envelope(driver.context, envelope)
        if checked.verdict is Verdict.IGNORE:
            return
        if checked.verdict is Verdict.REJECT:
            assert checked.reason is not None
            self._refuse(peer_id, checked.reason.text)
            return
        assert checked.message is not None
        # [REJECT] Each node speaks for its own seat. Only contributions are passed on, by validators to validators: a
        # trainer that tells them different things is found out by nothing else (``alliance/watching.py``).
        is_own = driver.context.seat(envelope.seat).peer_id == peer_id
        if not is_own and not (isinstance(checked.message, Contribution) and _is_validator(driver.context, peer_id)):
            self._refuse(peer_id, f"it speaks for seat {envelope.seat}, which is not its own")
            return
        driver.post(MessageReceived(envelope, checked.message))

    def _refuse(self, peer_id: str, why: str) -> None:
        """Count a message that no honest node sends; past the bound the peer is cut off for a while."""
        logger.warning("dropped a message from %s: %s", peer_id, why)
        self._refusals[peer_id] = self._refusals.get(peer_id, 0) + 1
        self._refusals.move_to_end(peer_id)
        if len(self._refusals) > REFUSED_PEERS_MAX:
            self._refusals.popitem(last=False)
        if self._refusals[peer_id] >= REFUSALS_MAX:
            del self._refusals[peer_id]
            logger.warning("taking no messages from %s for %.0f s", peer_id, CUT_OFF_S)
            self._net.cut_off(peer_id, CUT_OFF_S)


def _is_validator(context: RoundContext, peer_id: str) -> bool:
    return any(context.seat(seat).peer_id == peer_id for seat in context.assignment.validators)
