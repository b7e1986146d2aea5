"""A stopped validator is noticed before its connection breaks, and heard again when it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from p2p_flock.daemon.attention import QUIET_S, Attention
from p2p_flock.net.adapter import Net
from p2p_flock.ports import SeatReachable


@dataclass
class Silences:
    """A network of which only connections and their silence are known."""

    silence: dict[str, float] = field(default_factory=dict)

    def connected(self) -> frozenset[str]:
        return frozenset(self.silence)

    def silence_s(self, peer_id: str) -> float:
        return self.silence.get(peer_id, 0.0)


def test_attention__tells_of_who_falls_quiet_and_is_heard_again() -> None:
    """P3: a stopped leader would cost its whole timeout; or be left out for the rest of the round."""
    net, told = Silences({"one": 0.0, "two": QUIET_S / 2}), list[SeatReachable]()
    attention = Attention(cast(Net, net), {4: "one", 7: "two"}, told.append)
    attention.look()
    assert told == []
    net.silence["two"] = QUIET_S
    attention.look()
    attention.look()
    assert told == [SeatReachable(7, False)], "once"
    net.silence["two"] = 0.0
    attention.look()
    attention.look()
    assert told == [SeatReachable(7, False), SeatReachable(7, True)]


def test_attention__a_broken_connection_is_the_sessions_to_tell() -> None:
    """A seat whose connection broke at last would be told to be reachable."""
    net, told = Silences({"one": QUIET_S}), list[SeatReachable]()
    attention = Attention(cast(Net, net), {4: "one"}, told.append)
    attention.look()
    del net.silence["one"]
    attention.look()
    assert told == [SeatReachable(4, False)]
    net.silence["one"] = QUIET_S
    attention.look()
    assert told == [SeatReachable(4, False)] * 2
