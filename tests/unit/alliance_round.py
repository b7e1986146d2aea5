"""A round in which everybody has contributed: documents, blobs, signed messages, a sealed manifest. For unit tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.sealing import Seal, make_have, make_manifest, make_seal
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.chain_events import LogPosition, RoundSealed
from p2p_flock.crypto.suite import sha256
from p2p_flock.ports import BlobsFetched, Effect, MessageReceived
from p2p_flock.secagg.contributor import PreparedContribution, contribute
from p2p_flock.testing.alliance import OPENS_AT_S, Setting, digest_of, make_setting
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import Contribution, Envelope, Manifest, Message, SealProposal

NOW_MS = OPENS_AT_S * 1000
SEALED_AT_S = OPENS_AT_S + 5
TRAINED_MS = NOW_MS + 30_000  # the train deadline


@dataclass(frozen=True)
class ContributedRound:
    """See the module."""

    setting: Setting

    @property
    def context(self) -> RoundContext:
        return self.setting.context

    @property
    def validators(self) -> tuple[int, ...]:
        return self.context.assignment.validators

    @property
    def trainers(self) -> tuple[int, ...]:
        return self.context.trainers

    @cached_property
    def made(self) -> dict[int, PreparedContribution]:
        lanes = np.arange(self.context.cohorts[0].lane_count, dtype=np.uint32)
        made = {}
        for cohort in self.context.cohorts:
            for seat in cohort.seats:
                secret = self.setting.mask_secrets[seat]
                made[seat] = contribute(cohort, seat, secret, lanes, digest_of("entropy", seat))
        return made

    @property
    def roots(self) -> dict[int, bytes]:
        return {seat: made.root for seat, made in self.made.items()}

    def blobs_of(self, seats: Iterable[int] | None = None) -> dict[bytes, bytes]:
        """Documents, commitments, chunks and bundles of these trainers, by digest."""
        found = []
        for seat in self.made if seats is None else seats:
            made = self.made[seat]
            found += [encode(made.document), made.commitments, *made.chunks, *made.bundles.values()]
        return {sha256(blob): blob for blob in found}

    def say(self, seat: int, message: Message) -> MessageReceived:
        """A message as the driver hands it over."""
        return MessageReceived(self.context.seal_envelope(seat, message, self.setting.signer(seat)), message)

    def contribution(self, seat: int) -> Contribution:
        return Contribution(self.made[seat].root, self.made[seat].document_digest)

    def have(self, validator: int, roots: dict[int, bytes] | None = None) -> Envelope:
        message = make_have(self.context, self.roots if roots is None else roots)
        return self.context.seal_envelope(validator, message, self.setting.signer(validator))

    def manifest(self, seats: Iterable[int] | None = None) -> Manifest:
        chosen = tuple(self.made if seats is None else seats)
        documents = {seat: (self.made[seat].document_digest, self.made[seat].document) for seat in chosen}
        return make_manifest(self.context, {seat: self.roots[seat] for seat in chosen}, documents)

    def seal(self, view: int = 0, seats: Iterable[int] | None = None) -> Seal:
        return make_seal(self.context, view, self.manifest(seats))

    def proposal(self, view: int = 0, haves: Sequence[Envelope] | None = None, manifest: bytes = b"") -> SealProposal:
        carried = tuple(self.have(v) for v in self.validators[:2]) if haves is None else tuple(haves)
        return SealProposal(view, manifest or encode(self.manifest()), carried)

    def sealed(
        self, seal: Seal | None = None, signers: Sequence[int] = (0, 1), at_s: int = OPENS_AT_S + 5
    ) -> RoundSealed:
        """The chain's log of a seal that the validators at these positions signed."""
        seal = seal or self.seal()
        signatures = tuple(self.setting.signer(self.validators[p])(seal.signing_digest) for p in signers)
        at = LogPosition(1, 0, SEALED_AT_S, bytes(32))
        return RoundSealed(
            at, self.context.round, seal.view, seal.digest, self.context.seed, seal.manifest_digest, seal.survivors,
            tuple(signers), signatures,
        )  # fmt: skip

    def validator(self, position: int, announced: Iterable[int] | None = None) -> ValidatorMachine:
        """A fresh validator that holds these trainers' contributions."""
        seat = self.validators[position]
        machine = ValidatorMachine(self.context, seat, self.setting.signer(seat))
        machine.start((), NOW_MS)
        chosen = tuple(self.made if announced is None else announced)
        for trainer in chosen:
            machine.handle(self.say(trainer, self.contribution(trainer)), NOW_MS)
        machine.handle(BlobsFetched("", self.blobs_of(chosen)), NOW_MS)
        return machine


def effects_of(kind: type, effects: Iterable[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, kind)]


def make_round(**setting: int) -> ContributedRound:
    return ContributedRound(make_setting(**setting))  # type: ignore[arg-type]
