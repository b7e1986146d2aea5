"""Bytes that no honest member sends: forged, replayed, huge, absurd. Shared by the byzantine members of both roles."""

from __future__ import annotations

import random

from p2p_flock.alliance.context import RoundContext
from p2p_flock.crypto.signing import envelope_digest
from p2p_flock.ports import Send, Signer
from p2p_flock.wire.messages import MESSAGE_KINDS, Envelope

BURST_MS = 1500
BURST_MESSAGES = 6
HUGE_BYTES = 1 << 17  # long beside every honest message, short beside the memory of a thousand simulated nodes
HEARD_MAX = 16


class Noise:
    """What one member throws at everybody; deterministic by round and seat."""

    def __init__(self, context: RoundContext, seat: int, sign: Signer) -> None:
        self._context, self._seat, self._sign = context, seat, sign
        self._chance = random.Random(context.seed + seat.to_bytes(2, "big"))
        self._next_ms = 0
        self._heard: list[Envelope] = []

    def hear(self, envelope: Envelope) -> None:
        """Remember what others said, to replay it."""
        if len(self._heard) < HEARD_MAX:
            self._heard.append(envelope)

    def make(self, now_ms: int) -> tuple[Send, ...]:
        """A burst, now and then."""
        if now_ms < self._next_ms:
            return ()
        self._next_ms = now_ms + BURST_MS
        seats = tuple(range(len(self._context.snapshot.seats)))
        receivers = tuple(self._chance.sample(seats, min(4, len(seats))))
        return tuple(Send(receivers, self._draw()) for _ in range(BURST_MESSAGES))

    def _draw(self) -> Envelope:
        chance = self._chance
        kind = chance.choice([*MESSAGE_KINDS, 0, 255])
        body = chance.randbytes(chance.choice([0, 1, 33, 500]))
        number = self._context.round
        match chance.randrange(6):
            case 0:  # garbage, well signed
                return self._seal(kind, number, self._seat, body)
            case 1:  # in the name of another
                return self._seal(kind, number, chance.randrange(len(self._context.snapshot.seats)), body)
            case 2:  # of another round
                return self._seal(kind, max(0, number - 1), self._seat, body)
            case 3:  # huge
                return self._seal(kind, number, self._seat, bytes(HUGE_BYTES))
            case 4 if self._heard:  # somebody's words again, or twisted
                heard = chance.choice(self._heard)
                return (
                    heard if chance.random() < 0.5 else Envelope(heard.kind, number, heard.seat, body, heard.signature)
                )
            case _:  # signed by nobody
                return Envelope(kind, number, self._seat, body, chance.randbytes(65))

    def _seal(self, kind: int, number: int, seat: int, body: bytes) -> Envelope:
        signature = self._sign(envelope_digest(self._context.domain, kind, number, seat, body))
        return Envelope(kind, number, seat, body, signature)
