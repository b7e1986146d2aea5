"""All that one round's machines share and none may change: snapshot, roles, cohorts, deadlines, digests to sign.

Made by ``daemon/node.py`` once the beacon is known; the machines, the seal rules and the gossip checks read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.alliance.privacy import NoiseShare, compute_noise_share
from p2p_flock.alliance.sortition import compute_assignment
from p2p_flock.crypto.fixed_point import compute_squared_norm_max, compute_sum_bound
from p2p_flock.crypto.signing import envelope_digest, recover_address
from p2p_flock.params import AllianceParams
from p2p_flock.ports import Recoverer, Signer
from p2p_flock.secagg.context import CohortContext, build_context
from p2p_flock.types import Assignment, Domain, Role, RoundSnapshot, Seat, Stage
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import KIND_OF_MESSAGE, Envelope, Message


@dataclass(frozen=True)
class RoundContext:
    """One round, as every participant sees it.

    Attributes:
        base_model_digest: digest of the model that this round starts from.
        seed: the round's seed, 32 bytes.
        recover: what every signature of the round is verified with; an argument so that a daemon can count.
    """

    snapshot: RoundSnapshot
    params: AllianceParams
    manifest: TaskManifest
    stage: Stage
    base_model_digest: bytes
    seed: bytes
    assignment: Assignment
    recover: Recoverer = recover_address

    @classmethod
    def make(
        cls,
        snapshot: RoundSnapshot,
        params: AllianceParams,
        manifest: TaskManifest,
        stage: Stage,
        base_model_digest: bytes,
        seed: bytes,
        recover: Recoverer = recover_address,
    ) -> RoundContext:
        """Derive the roles from the round's seed (``sortition.compute_seed``)."""
        assignment = compute_assignment(seed, len(snapshot.seats), params)
        return cls(snapshot, params, manifest, stage, base_model_digest, seed, assignment, recover)

    @property
    def domain(self) -> Domain:
        return self.snapshot.domain

    @property
    def round(self) -> int:
        return self.snapshot.round

    def seat(self, index: int) -> Seat:
        return self.snapshot.seats[index]

    def role_of(self, seat: int) -> Role:
        return Role.VALIDATOR if seat in self.assignment.validators else Role.TRAINER

    @cached_property
    def trainers(self) -> tuple[int, ...]:
        """Seats of all trainers in position order; a trainer's index here is its bit in every bitmap."""
        return self.assignment.trainers

    @cached_property
    def eligible_trainers(self) -> frozenset[int]:
        """Trainers that can contribute: those whose mask key is not spent."""
        return frozenset(seat for seat in self.trainers if self.seat(seat).mask_key is not None)

    def weight_of(self, seat: int) -> int:
        """Public weight of a trainer's values: its example bucket, or 1 where the sums themselves are wanted."""
        return 1 if self.stage is Stage.STATISTICS else self.seat(seat).weight

    @cached_property
    def cohorts(self) -> tuple[CohortContext, ...]:
        """The secure-aggregation context of each cohort: its trainers with a usable mask key."""
        return tuple(
            build_context(
                self.domain,
                self.round,
                self.seed,
                index,
                (self.seat(seat) for seat in seats),
                self.params.threshold,
                self.params.collusion_bound,
                self.params.lane_bits,
                self.manifest.width(self.stage),
            )
            for index, seats in enumerate(self.assignment.cohorts)
        )

    @cached_property
    def noise_shares(self) -> tuple[NoiseShare | None, ...]:
        """Per cohort the noise that each of its trainers adds; ``None`` where there is none to add."""
        return tuple(
            compute_noise_share(self.params, self.manifest, self.stage, map(self.weight_of, cohort.seats))
            for cohort in self.cohorts
        )

    def sum_bound(self, cohort: int, sealed: Iterable[int]) -> int:
        """The largest magnitude that a lane of the honest sum over these sealed seats can have."""
        share = self.noise_shares[cohort]
        weights = tuple(self.weight_of(seat) for seat in sealed)
        return compute_sum_bound(weights, self.params.levels_in(self.stage), 0 if share is None else share.bound)

    def squared_norm_max(self, cohort: int, sealed: Iterable[int]) -> int:
        """The squared norm that the honest sum of updates over these sealed seats can have. For TRAINING only.

        In STATISTICS every lane has a bound of its own, and an opening beyond it fails (:meth:`sum_bound`).
        """
        assert self.stage is Stage.TRAINING
        share = self.noise_shares[cohort]
        weights = [self.weight_of(seat) for seat in sealed]
        variance = 0 if share is None else share.variance * len(weights)
        return compute_squared_norm_max(sum(weights), self.params.levels, self.manifest.width(self.stage), variance)

    # --- deadlines, chain time in ms ---------------------------------------------------------------------------

    @property
    def train_deadline_ms(self) -> int:
        return self.snapshot.train_deadline_s * 1000

    @property
    def seal_deadline_ms(self) -> int:
        return self.snapshot.seal_deadline_s * 1000

    def unmask_deadline_ms(self, sealed_at_s: int) -> int:
        return (sealed_at_s + self.params.unmask_seconds) * 1000

    def evaluate_deadline_ms(self, sealed_at_s: int) -> int:
        return self.unmask_deadline_ms(sealed_at_s) + self.params.evaluate_seconds * 1000

    # --- envelopes ---------------------------------------------------------------------------------------------

    def seal_envelope(self, seat: int, message: Message, sign: Signer) -> Envelope:
        """Put ``message`` into an envelope signed by the owner of ``seat``."""
        kind, body = KIND_OF_MESSAGE[type(message)], encode(message)
        return Envelope(kind, self.round, seat, body, sign(envelope_digest(self.domain, kind, self.round, seat, body)))
