"""Notices within seconds that another validator of the running round was stopped, though its connection stands.

Run by the driver of a validator. A process that is stopped (SIGSTOP, a suspended virtual machine, a cut cable) answers
no ping; the network closes its connection after nine seconds, and a round's timeouts are of the same order. Until then
the machine is told that the seat cannot be reached, and that it can again with the first byte that comes. Trainers are
not pinged: they are many, a machine that trains may well answer late, and nobody waits less than a share of the train
phase for one (alliance/lost_trainers.py); the nine seconds come on top of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import trio

from p2p_flock.net.adapter import Net
from p2p_flock.ports import SeatReachable

LOOK_S = 0.25
# A ping without an answer; the machine waits for a grace of another second (alliance/leading.py). A loaded node
# answers late, not never; whoever is taken for stopped wrongly is merely not waited for, and heard with its next byte.
QUIET_S = 1.0


class Attention:
    """Whom of a round's other validators nothing is heard from."""

    def __init__(self, net: Net, peers: Mapping[int, str], post: Callable[[SeatReachable], None]) -> None:
        """``peers``: peer ID by seat; ``post``: takes what the machine is to be told."""
        self._net = net
        self._peers = dict(peers)
        self._post = post
        self._quiet: set[int] = set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await trio.sleep(LOOK_S)

    def look(self) -> None:
        """Tell of seats that fell quiet or were heard again. What connections do is told by the session."""
        connected = self._net.connected()
        for seat, peer_id in self._peers.items():
            is_connected = peer_id in connected
            is_quiet = is_connected and self._net.silence_s(peer_id) >= QUIET_S
            if is_quiet and seat not in self._quiet:
                self._quiet.add(seat)
                self._post(SeatReachable(seat, False))
            elif not is_quiet and seat in self._quiet:
                self._quiet.discard(seat)
                if is_connected:
                    self._post(SeatReachable(seat, True))
