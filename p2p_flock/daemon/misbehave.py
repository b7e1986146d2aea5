"""Test mode: a trainer that commits a provable fault whenever it is elected. Never active outside a test on a devnet.

``daemon/config_file.py`` refuses the setting elsewhere. Called by the session instead of making a ``TrainerMachine``.
It costs the node a part of its stake, which is what the tests want to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.crypto.suite import sha256
from p2p_flock.ports import Effect, Event, Persist, Send, Signer
from p2p_flock.secagg import answer, contributor
from p2p_flock.secagg.context import CohortContext
from p2p_flock.secagg.dealing import Dealing, compute_dealing
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import KIND_OF_MESSAGE, MESSAGE_BYTES_MAX, Contribution, Unmasking

APART_MIN = 3  # validators


def make_trainer(
    misbehave: str | None, context: RoundContext, seat: int, sign: Signer, mask_secret_key: bytes
) -> TrainerMachine:
    """The honest machine, or where the setting names a fault, one that commits it."""
    kind = TrainerMachine if misbehave is None else _MACHINES[misbehave]
    return kind(context, seat, sign, mask_secret_key)


class _Twisted(TrainerMachine):
    """An honest machine up to what it sends."""

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        return self._twist(super().start(records, now_ms))

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        return self._twist(super().handle(event, now_ms))

    def _twist(self, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        return tuple(twisted for effect in effects for twisted in self.twist(effect))

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        """What becomes of one effect; each kind of misbehaviour says."""
        raise NotImplementedError


class Equivocator(_Twisted):
    """Announces one contribution to the last validator and another one to all others: nobody sees both.

    Of two validators each sees both, for apart they would have no quorum for either.
    """

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not isinstance(effect, Send) or effect.envelope.kind != KIND_OF_MESSAGE[Contribution]:
            return (effect,)
        said = decode(Contribution, effect.envelope.body, MESSAGE_BYTES_MAX)
        other = Contribution(sha256(said.root), sha256(said.document_digest))
        envelope = self.context.seal_envelope(self.seat, other, self._sign)
        told = effect.seats if len(effect.seats) < APART_MIN else effect.seats[:-1]
        return Send(told, effect.envelope), Send(effect.seats[-1:], envelope)


class BadHolder(_Twisted):
    """Answers the seal with a share that nobody dealt."""

    def twist(self, effect: Effect) -> tuple[Effect, ...]:
        if not isinstance(effect, Send) or effect.envelope.kind != KIND_OF_MESSAGE[Unmasking]:
            return (effect,)
        said = decode(Unmasking, effect.envelope.body, MESSAGE_BYTES_MAX)
        forged = replace(said.items[0], share=sha256(said.items[0].share))
        message = Unmasking(said.seal, (forged, *said.items[1:]))
        return (Send(effect.seats, self.context.seal_envelope(self.seat, message, self._sign)),)


class BadDealer(TrainerMachine):
    """Shares another self mask than it masks with, and commits to those shares: nobody can open its cohort."""

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        with dealing_another_secret():
            return super().start(records, now_ms)

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        with dealing_another_secret():
            return super().handle(event, now_ms)


@contextmanager
def dealing_another_secret() -> Iterator[None]:
    """Whoever deals meanwhile deals wrongly, and finds its own shares accordingly."""

    def deal(context: CohortContext, dealer: int, self_mask: bytes, pair_seeds: Mapping[int, bytes]) -> Dealing:
        return compute_dealing(context, dealer, sha256(self_mask), pair_seeds)

    for module in (contributor, answer):
        module.compute_dealing = deal  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in (contributor, answer):
            module.compute_dealing = compute_dealing  # type: ignore[attr-defined]


_MACHINES: Mapping[str, type[TrainerMachine]] = {
    "equivocate": Equivocator,
    "bad-share": BadHolder,
    "bad-dealing": BadDealer,
}
