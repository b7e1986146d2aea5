"""What the chain's log says about an alliance: seats, mask keys, rounds, adopted aggregates. A pure fold.

Called by ``daemon/node.py`` with every confirmed event, in order. Every node folds the same log and the same sealed
manifests, so all agree on the frozen seats of each round and on which mask key each seat holds (SPEC, "Keys"). It never
reads the network: where it needs a manifest's content or a void round's beacon it says so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import assert_never

from p2p_flock.alliance.seat_table import NEVER, SeatEntry, SeatTable, describe_happening
from p2p_flock.alliance.sortition import compute_assignment, compute_seed
from p2p_flock.chain_events import (
    AbsenceAnswered,
    AbsenceChallenged,
    AddressesRegistered,
    AllianceClosed,
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
    Slashed,
    StakeWithdrawn,
)
from p2p_flock.crypto.key_agreement import is_usable_mask_key
from p2p_flock.errors import ChainError
from p2p_flock.params import AllianceParams
from p2p_flock.types import Assignment, CohortOutcome, Domain, RoundSnapshot, Seat
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import Manifest


@dataclass(frozen=True, slots=True)
class Standing:
    """An owner's ``state`` (none, joined, leaving, suspended, suspected, unbonding, withdrawn) and its stake's release.

    ``release_at_s``: Unix seconds of chain time, ``None`` while not known. Suspended, suspected: the seat is gone.
    """

    state: str
    release_at_s: int | None


@dataclass(slots=True)
class RoundRecord:
    """What happened in one round. ``seats`` are frozen; ``manifest`` is the sealed one once its content is known.

    ``manifest_invalid``: what was sealed is no manifest of this seal; then ``manifest`` has no entries.
    ``committed``: each transaction that brought commitments, and how many stood on chain after it.
    """

    opened: RoundOpened
    seats: tuple[SeatEntry, ...]
    keys: dict[bytes, bytes | None] = field(default_factory=dict)
    randomness: bytes | None = None
    sealed: RoundSealed | None = None
    manifest: Manifest | None = None
    manifest_invalid: bool = False
    commitments: dict[int, bytes] = field(default_factory=dict)
    committed: list[tuple[LogPosition, int]] = field(default_factory=list)
    reveals: dict[int, BallotRevealed] = field(default_factory=dict)
    settled: RoundSettled | None = None
    voided: RoundVoided | None = None

    @property
    def ended(self) -> bool:
        return (self.settled or self.voided) is not None

    @property
    def adopted(self) -> tuple[tuple[int, bytes], ...]:
        """(cohort, aggregate digest) of each adopted cohort, ascending."""
        if self.settled is None:
            return ()
        pairs = zip(self.settled.outcomes, self.settled.aggregate_digests, strict=True)
        return tuple(
            (index, digest) for index, (outcome, digest) in enumerate(pairs) if outcome == CohortOutcome.ADOPTED
        )


class AllianceHistory(SeatTable):
    """The fold. Not a machine: it has no deadlines and says nothing."""

    def __init__(self, domain: Domain, params: AllianceParams) -> None:
        super().__init__()
        self.domain = domain
        self.params = params
        self.rounds: list[RoundRecord] = []
        self.closed = False
        self._closed_at_s = 0
        # owner -> (key, round during which it was installed by a sealed manifest)
        self._manifest_keys: dict[bytes, tuple[bytes, int]] = {}
        # owner -> latest round in which the owner was elected trainer, as far as roles are known
        self._elected: dict[bytes, int] = {}
        self._elections_counted = 0
        self._sealable: tuple[int, frozenset[bytes]] | None = None  # of the running round: who may be in its seal
        self._assignments: dict[tuple[int, bytes], Assignment] = {}  # asked for often, 1 ms each at eight seats

    def copy(self) -> AllianceHistory:
        """An independent fold of the same log. For simulations, where many nodes go on from one block."""
        other = AllianceHistory(self.domain, self.params)
        for name, value in vars(self).items():
            is_table = isinstance(value, list | dict | set) and name != "_assignments"  # a cache, right for all
            setattr(other, name, value.copy() if is_table else value)
        other.rounds = [
            replace(
                record,
                keys=dict(record.keys),
                commitments=dict(record.commitments),
                committed=list(record.committed),
                reveals=dict(record.reveals),
            )
            for record in self.rounds
        ]
        return other

    # --- folding ---------------------------------------------------------------------------------------------

    def apply(self, event: ChainEvent, binding_valid: bool = False) -> None:
        """Fold one confirmed event.

        Args:
            binding_valid: for :class:`SeatJoined`, whether the peer ID's signature is good.

        Raises:
            ChainError: the log contradicts itself: a lying or broken RPC endpoint.
        """
        match event:
            case SeatJoined() | SeatReactivated():
                self._seat(event, binding_valid)
            case SeatLeft() | SeatRemoved() | SeatMoved() | KeyRegistered():
                self._apply_seat_event(event)
            case AbsenceChallenged() | AbsenceAnswered():
                pass  # between two owners and their money; no seat and no round depends on it
            case SeatSuspended() | SeatSuspected() | Slashed() | AddressesRegistered() | StakeWithdrawn():
                self._apply_member_event(event)
            case RoundOpened():
                self._open(event)
            case RoundSealed() | BallotsCommitted() | BallotRevealed() | RoundSettled() | RoundVoided():
                self._apply_round_event(event, self._running(event.round))
            case AllianceClosed():
                self.closed, self._closed_at_s = True, event.at.timestamp_s
            case _:
                assert_never(event)
        happening = describe_happening(event, len(self.rounds) - 1)
        if happening is not None:
            self.happenings.append(happening)

    def _apply_round_event(
        self,
        event: RoundSealed | BallotsCommitted | BallotRevealed | RoundSettled | RoundVoided,
        record: RoundRecord,
    ) -> None:
        if record.sealed is None and not isinstance(event, RoundSealed | RoundVoided):
            raise ChainError(f"the log counts votes of round {event.round}, which is not sealed; compare RPC endpoints")
        match event:
            case RoundSealed():
                if record.sealed is not None:
                    raise ChainError(f"the log seals round {event.round} twice; compare RPC endpoints")
                record.sealed = event
            case BallotsCommitted():
                if len(event.positions) != len(event.commitments):
                    raise ChainError("the log holds commitments without positions; compare RPC endpoints")
                record.commitments.update(zip(event.positions, event.commitments, strict=True))
                record.committed.append((event.at, len(record.commitments)))
            case BallotRevealed():
                if event.position not in record.commitments:
                    raise ChainError("the log reveals a ballot that was not committed; compare RPC endpoints")
                # A settlement repeats what was recorded before it, without the salt that settling needs.
                record.reveals.setdefault(event.position, event)
            case RoundSettled():
                if not len(event.outcomes) == len(event.aggregate_digests) == self.params.cohort_count:
                    raise ChainError(f"the log settles other cohorts than round {event.round}'s; compare RPC endpoints")
                record.settled = event
                self.closed = self.closed or event.closed
            case RoundVoided():
                record.voided = event
            case _:
                assert_never(event)

    def _open(self, event: RoundOpened) -> None:
        if self._vacated is not None or (self.rounds and not self.rounds[-1].ended):
            raise ChainError(f"round {event.round} opened before the one before it ended; compare RPC endpoints")
        if event.round != len(self.rounds) or event.seat_count != len(self.seats):
            raise ChainError(
                f"round {event.round} opened with {event.seat_count} seats, but the log so far gives round "
                f"{len(self.rounds)} with {len(self.seats)}; compare RPC endpoints"
            )
        self.rounds.append(RoundRecord(event, tuple(self.seats)))

    def _record(self, round_number: int) -> RoundRecord:
        if not 0 <= round_number < len(self.rounds):
            raise ChainError(f"the log names round {round_number}, which never opened; compare RPC endpoints")
        return self.rounds[round_number]

    def _running(self, round_number: int) -> RoundRecord:
        record = self._record(round_number)
        if record.ended or round_number != len(self.rounds) - 1:
            raise ChainError(f"the log goes on with round {round_number} after its end; compare RPC endpoints")
        return record

    def standing(self, owner: bytes) -> Standing:
        """How it stands with an owner's seat and stake."""
        entry = self._member(owner)
        if entry is None:
            return Standing("withdrawn" if owner in self.withdrawn else "none", None)
        if entry.removed_at_s is None and not self.closed:
            return Standing("leaving" if entry.leaving else "joined", None)
        freed_at_s = self._closed_at_s if entry.removed_at_s is None else entry.removed_at_s
        release_at_s = freed_at_s + self.params.unbonding_seconds
        known = (("suspected", self.suspected), ("suspended", self.suspended))
        return Standing(next((state for state, table in known if owner in table), "unbonding"), release_at_s)

    # --- what must be fetched --------------------------------------------------------------------------------

    def missing_manifest(self) -> bytes | None:
        """Manifest digest of the earliest sealed round whose manifest's content is not known yet."""
        for record in self.rounds:
            if record.sealed is not None and record.manifest is None:
                return record.sealed.manifest_digest
        return None

    def add_manifest(self, manifest: Manifest) -> None:
        """Give the content of a sealed manifest.

        Raises:
            ChainError: it is not the one that the chain names for its round, or it contradicts the log, although a
                quorum of validators signed it.
        """
        record = self._record(manifest.round)
        digest = hashlib.sha256(encode(manifest)).digest()
        if (
            record.sealed is None
            or record.sealed.manifest_digest != digest
            or any(entry.seat >= len(record.seats) for entry in manifest.entries)
        ):
            raise ChainError(
                f"the sealed manifest of round {manifest.round} contradicts the log; compare RPC endpoints"
            )
        record.manifest = manifest

    def take_manifest(self, digest: bytes, manifest: Manifest | None) -> bool:
        """Give what stands under a sealed manifest's digest; whether it is a manifest of its seal.

        Args:
            digest: sha-256 of the bytes, as on chain.
            manifest: ``None`` where the bytes are none.

        What is not: Q validators sealed nonsense, which is provable (``evidence.InvalidSeal``). Every node reads the
        same bytes, so all agree to read them as a seal without survivors: no sum is opened, no key is installed, and
        the alliance goes on. Content under a digest that no round waits for is not taken.
        """
        for record in self.rounds:
            sealed = record.sealed
            if sealed is not None and record.manifest is None and sealed.manifest_digest == digest:
                record.manifest_invalid = manifest is None or not self._fits(record, sealed, manifest)
                empty = Manifest(record.opened.round, ())
                record.manifest = empty if record.manifest_invalid or manifest is None else manifest
                return not record.manifest_invalid
        return False

    def _fits(self, record: RoundRecord, sealed: RoundSealed, manifest: Manifest) -> bool:
        """Whether it names exactly the sealed survivors, in position order; as ``sealing.decode_sealed_manifest``."""
        assignment = self.assignment(record.opened.round)
        assert assignment is not None  # sealed: the seed is known
        bits = sum(word << 256 * index for index, word in enumerate(sealed.survivors))
        survivors = [seat for index, seat in enumerate(assignment.trainers) if bits >> index & 1]
        fits = bits >> len(assignment.trainers) == 0 and [entry.seat for entry in manifest.entries] == survivors
        return fits and manifest.round == record.opened.round

    def add_randomness(self, round_number: int, randomness: bytes) -> None:
        """Give the verified beacon value of a round."""
        self._record(round_number).randomness = randomness

    # --- questions -------------------------------------------------------------------------------------------

    def seed(self, round_number: int) -> bytes | None:
        """The round's seed, or ``None`` while its beacon is not known."""
        record = self._record(round_number)
        if record.sealed is not None:
            return record.sealed.seed
        if record.randomness is None:
            return None
        return compute_seed(self.domain, round_number, record.randomness)

    def assignment(self, round_number: int) -> Assignment | None:
        """The round's roles, or ``None`` while its beacon is not known."""
        seed = self.seed(round_number)
        if seed is None:
            return None
        if (round_number, seed) not in self._assignments:
            seat_count = self._record(round_number).opened.seat_count
            self._assignments[round_number, seed] = compute_assignment(seed, seat_count, self.params)
        return self._assignments[round_number, seed]

    def snapshot(self, round_number: int) -> RoundSnapshot | None:
        """The frozen seats of a round with the mask key each may use in it.

        ``None`` while the manifest or the beacon of an earlier round is missing: without it the keys are not known.

        A key counts in round r when it was registered or installed during a round before r and its seat was not elected
        trainer in any round between: an election spends the key (DESIGN §6, Keys).
        """
        if not self._count_elections(round_number):
            return None
        record = self._record(round_number)
        self._fix_keys(record)
        seats = tuple(
            Seat(index, entry.owner, entry.peer_id, entry.weight, record.keys[entry.owner])
            for index, entry in enumerate(record.seats)
        )
        opened = record.opened
        train_deadline_s = opened.opens_at_s + self.params.train_seconds
        seal_deadline_s = train_deadline_s + self.params.seal_seconds * self.params.validator_count
        return RoundSnapshot(
            self.domain, round_number, seats, opened.beacon_round, opened.opens_at_s, train_deadline_s, seal_deadline_s
        )

    def upcoming_key(self, owner: bytes) -> tuple[bool, bytes | None]:
        """(known, mask key) that the owner's seat could use in the next round to open, as the log stands now.

        Not known while the running round may still seal the owner's contribution, or an earlier manifest or beacon is
        missing. Whoever cannot be sealed in it, a validator or a trainer without a usable key, need not wait for it: it
        would sit aside for rounds that no seal ends, and without it they may get none.
        """
        if not self._count_elections(len(self.rounds)) and not self._cannot_be_sealed(owner):
            return False, None
        for entry in self.seats:
            if entry.owner == owner:
                return True, self._usable_key(entry, len(self.rounds))
        return True, None

    def _cannot_be_sealed(self, owner: bytes) -> bool:
        """Whether only the running round's seal is unknown, and cannot hold a contribution of ``owner``."""
        number = len(self.rounds) - 1
        assignment = self.assignment(number)
        if self._elections_counted != number or assignment is None or self.rounds[number].sealed is not None:
            return False
        if self._sealable is None or self._sealable[0] != number:
            record = self.rounds[number]
            trainers = (record.seats[seat].owner for seat in assignment.trainers)
            self._sealable = number, frozenset(trainer for trainer in trainers if record.keys.get(trainer) is not None)
        return owner not in self._sealable[1]

    def _count_elections(self, before_round: int) -> bool:
        """Fold the elections and installed keys of all rounds before ``before_round``; False where one is unknown."""
        while self._elections_counted < before_round:
            record = self.rounds[self._elections_counted]
            self._fix_keys(record)  # before this round's own elections count
            assignment = self.assignment(record.opened.round)
            if not record.ended and record.sealed is None:
                return False  # whether its trainers get new keys is not decided yet
            if assignment is None or (record.sealed is not None and record.manifest is None):
                return False
            for seat in assignment.trainers:
                self._elected[record.seats[seat].owner] = record.opened.round
            if record.manifest is not None:
                for entry in record.manifest.entries:
                    owner = record.seats[entry.seat].owner
                    self._manifest_keys[owner] = (entry.next_mask_key, record.opened.round)
            self._elections_counted += 1
        return True

    def _fix_keys(self, record: RoundRecord) -> None:
        if not record.keys:
            record.keys = {entry.owner: self._usable_key(entry, record.opened.round) for entry in record.seats}

    def _usable_key(self, entry: SeatEntry, round_number: int) -> bytes | None:
        if not entry.binding_valid:
            return None  # a peer ID that never signed its join cannot be talked to
        key, installed = entry.key, entry.key_round
        from_manifest = self._manifest_keys.get(entry.owner)
        if from_manifest is not None and from_manifest[1] >= installed:
            key, installed = from_manifest
        elected = self._elected.get(entry.owner, NEVER)
        usable = installed < round_number and installed >= elected and is_usable_mask_key(key)
        return key if usable else None
