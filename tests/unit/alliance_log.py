"""Writes the log of an alliance as the contract would, for tests of the fold."""

from __future__ import annotations

import hashlib

from p2p_flock.alliance.sortition import compute_assignment, compute_seed
from p2p_flock.chain_events import (
    BEFORE_ROUND_ZERO,
    BallotRevealed,
    BallotsCommitted,
    ChainEvent,
    KeyRegistered,
    LogPosition,
    RoundOpened,
    RoundSealed,
    RoundSettled,
    RoundVoided,
    SeatJoined,
    SeatLeft,
    SeatMoved,
    SeatReactivated,
    SeatRemoved,
    SeatSuspected,
    SeatSuspended,
    SettledRecord,
    Slashed,
    StakeWithdrawn,
)
from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.params import AllianceParams
from p2p_flock.testing.alliance import DOMAIN, digest_of, make_params
from p2p_flock.types import Assignment, CohortOutcome
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import Manifest, ManifestEntry

PARAMS = make_params()


def owner_of(name: object) -> bytes:
    return digest_of("owner", name)[:20]


def key_of(name: object, generation: int = 0) -> bytes:
    return mask_public_key(digest_of("key", name, generation))


class LogWriter:
    """Follows the rules of ``contracts/src``: seats removed at OPEN by the last one moving in, moved before removed."""

    def __init__(self, params: AllianceParams = PARAMS) -> None:
        self.params = params
        self.events: list[ChainEvent] = []
        self.names: list[object] = []  # by seat
        self.leaving: list[object] = []
        self.round = -1
        self.frozen_count = 0
        self.manifests: dict[int, Manifest] = {}

    def at(self) -> LogPosition:
        return LogPosition(len(self.events) + 1, 0, 1_700_000_000 + len(self.events), bytes(32))

    def write(self, *events: ChainEvent) -> None:
        self.events.extend(events)

    def join(self, name: object) -> None:
        first_round = self.round + 1
        peer_id, signature = f"peer-{name}", bytes(64)
        seat, key = len(self.names), key_of(name)
        self.names.append(name)
        self.write(SeatJoined(self.at(), seat, owner_of(name), peer_id, key, 2, first_round, signature))

    def leave(self, name: object) -> None:
        self.leaving.append(name)
        self.write(SeatLeft(self.at(), self.names.index(name), owner_of(name)))

    def suspend(self, name: object, first: int, second: int) -> None:
        self.write(SeatSuspended(self.at(), self.names.index(name), owner_of(name), first, second))
        self.leave(name)

    def suspect(self, name: object, first: int, last: int) -> None:
        self.write(SeatSuspected(self.at(), self.names.index(name), owner_of(name), first, last))
        self.leave(name)

    def withdraw(self, name: object) -> None:
        self.write(StakeWithdrawn(self.at(), owner_of(name), self.params.seat_stake))

    def reactivate(self, name: object, generation: int) -> None:
        seat, key = len(self.names), key_of(name, generation)
        self.names.append(name)
        self.write(SeatReactivated(self.at(), seat, owner_of(name), key, generation, self.round + 1))

    def slash(self, name: object, fault: int = 1) -> None:
        seat = self.names.index(name)
        self.write(Slashed(self.at(), owner_of(name), seat, self.round, fault, 10**17, owner_of("poster")))
        self.leave(name)

    def register(self, name: object, generation: int) -> None:
        round_number = BEFORE_ROUND_ZERO if self.round < 0 else self.round
        seat = self.names.index(name)
        key = key_of(name, generation)
        self.write(KeyRegistered(self.at(), seat, owner_of(name), key, round_number, generation))

    def open(self) -> None:
        for name in self.leaving:
            seat, last = self.names.index(name), len(self.names) - 1
            if seat != last:
                self.names[seat] = self.names[last]
                self.write(SeatMoved(self.at(), owner_of(self.names[seat]), last, seat))
            self.names.pop()
            self.write(SeatRemoved(self.at(), seat, owner_of(name)))
        self.leaving.clear()
        self.round += 1
        self.frozen_count = len(self.names)
        opens_at_s = self.at().timestamp_s + 3
        self.write(RoundOpened(self.at(), self.round, len(self.names), 100 + self.round, opens_at_s))

    def randomness(self, round_number: int) -> bytes:
        return digest_of("randomness", round_number)

    def roles(self) -> Assignment:
        seed = compute_seed(DOMAIN, self.round, self.randomness(self.round))
        return compute_assignment(seed, self.frozen_count, self.params)

    def seal(self, absent: tuple[object, ...] = ()) -> None:
        """All trainers but the absent ones survive; each survivor's next key is of generation 100 + round."""
        seed = compute_seed(DOMAIN, self.round, self.randomness(self.round))
        roles = self.roles()
        entries, bits = [], 0
        for index, seat in enumerate(roles.trainers):
            name = self.names[seat]
            if name not in absent:
                bits |= 1 << index
                digest = digest_of("document", name, self.round)
                entries.append(ManifestEntry(seat, digest, digest, key_of(name, 100 + self.round)))
        manifest = self.manifests[self.round] = Manifest(self.round, tuple(entries))
        digest = hashlib.sha256(encode(manifest)).digest()
        self.write(RoundSealed(self.at(), self.round, 0, digest_of("seal"), seed, digest, (bits,), (0, 1), ()))

    def settle(
        self, outcome: CohortOutcome | tuple[CohortOutcome, ...] = CohortOutcome.ADOPTED, closed: bool = False
    ) -> None:
        """One outcome for all cohorts, or one for each."""
        count = self.params.cohort_count
        aggregate = digest_of("aggregate", self.round)
        self.write(BallotsCommitted(self.at(), self.round, (0, 2), (bytes(32), bytes(32))))
        verdicts, sums = b"\x01" * count, (aggregate,) * count
        self.write(
            BallotRevealed(self.at(), self.round, 2, verdicts, bytes(count), 0, sums, bytes(32), digest_of("salt"))
        )
        votes = (2,) * count
        outcomes = (outcome,) * count if isinstance(outcome, CohortOutcome) else outcome
        self.write(
            RoundSettled(
                self.at(), self.round, outcomes, sums, votes, (0,) * count, bytes(32), closed, self.record(outcomes)
            )
        )

    def record(self, outcomes: tuple[CohortOutcome, ...]) -> SettledRecord:
        """Every trainer's reward is 11 wei, that of the one validator that reveals 7, a refund 3, to strangers."""
        rewards = tuple(11 if outcome is CohortOutcome.ADOPTED else 0 for outcome in outcomes)
        packed = sum(outcome << 2 * cohort for cohort, outcome in enumerate(outcomes))
        sealed = next(event for event in reversed(self.events) if isinstance(event, RoundSealed))
        validators = tuple(7 if position == 2 else 0 for position in range(self.params.validator_count))
        senders = (owner_of("sealer"), owner_of("committer"), owner_of("settler"))
        terms = (self.round, self.frozen_count, 1 << 2, packed, sealed.seed, sealed.survivors)
        return SettledRecord(*terms, rewards, validators, 3, *senders)

    def void(self) -> None:
        self.write(RoundVoided(self.at(), self.round, 1))
