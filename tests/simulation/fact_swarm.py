"""The one-round swarm as a teller of facts, so that the checkers can be tested on it."""

from __future__ import annotations

from collections.abc import Collection

from p2p_flock import ports
from p2p_flock.chain_events import BallotsCommitted, RoundSealed
from p2p_flock.errors import WireError
from p2p_flock.testing.alliance import OPENS_AT_S, Setting
from p2p_flock.testing.checkers import Panel, Roster, make_panel
from p2p_flock.testing.facts import (
    Accused,
    Acted,
    Fact,
    Logged,
    Persisted,
    RoundBegan,
    Said,
    Started,
    Stopped,
    TookPost,
)
from p2p_flock.testing.members import Fate, Faults, Make, Node, make_machine
from p2p_flock.testing.swarm import Swarm
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import MESSAGE_BYTES_MAX, MESSAGE_KINDS


class FactSwarm(Swarm):
    """One round of real machines whose every step the checkers see. A member's number is its seat."""

    def __init__(
        self,
        setting: Setting,
        seed: int,
        faults: Faults | None = None,
        make: Make = make_machine,
        byzantine: Collection[int] = (),
        panel: Panel | None = None,
    ) -> None:
        super().__init__(setting, seed, faults, make)
        self.facts: list[Fact] = []
        roster = Roster(setting.context.params, setting.model, frozenset(byzantine), self.find_blob)
        self.panel = panel or make_panel(roster)
        self._event: ports.Event | None = None
        seats = setting.context.snapshot.seats
        self.tell(
            RoundBegan(OPENS_AT_S * 1000, setting.context, tuple(seat.index for seat in seats), setting.randomness)
        )

    def find_blob(self, digest: bytes) -> bytes | None:
        """The bytes with this digest from whoever has them."""
        return next((node.blobs[digest] for node in self.nodes if digest in node.blobs), None)

    def tell(self, fact: Fact) -> None:
        """A fact to all checkers."""
        self.facts.append(fact)
        self.panel.observe(fact)

    def _start(self, node: Node) -> None:
        if node.seat not in self.faults.hangs:
            self.tell(Started(self.now_ms, node.seat, False))
            self.tell(TookPost(self.now_ms, node.seat, node.seat, self.setting.context))
        self._event = None
        super()._start(node)

    def _strike(self, node: Node, fate: Fate) -> None:
        self.tell(Stopped(self.now_ms, node.seat, fate is Fate.DEATH, fate.value))
        super()._strike(node, fate)

    def _tell(self, node: Node, event: ports.Event) -> None:
        self._event = event
        super()._tell(node, event)

    def _execute(self, node: Node, effects: tuple[ports.Effect, ...]) -> None:
        self.tell(Acted(self.now_ms, node.seat, self.setting.context.round, self._event, effects))
        super()._execute(node, effects)

    def _carry_out(self, node: Node, effect: ports.Effect) -> None:
        super()._carry_out(node, effect)
        number = self.setting.context.round
        if isinstance(effect, ports.Persist):
            self.tell(Persisted(self.now_ms, node.seat, number, effect))
        elif isinstance(effect, ports.Send):
            try:
                message = decode(MESSAGE_KINDS[effect.envelope.kind], effect.envelope.body, MESSAGE_BYTES_MAX)
            except (WireError, KeyError):
                message = None
            self.tell(Said(self.now_ms, node.seat, number, effect.seats, effect.envelope, message))
        elif isinstance(effect, ports.Accuse):
            self.tell(Accused(self.now_ms, node.seat, number, effect.evidence))

    def _on_log(self, event: RoundSealed | BallotsCommitted) -> None:
        self.tell(Logged(self.now_ms, 0, event))
        super()._on_log(event)
