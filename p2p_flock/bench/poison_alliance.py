"""Our defence over one run: the real sortition, encoding, votes, tally, merge, pay and suspicion, in one process.

Called by ``bench/poison.py``. What is left out is what changes none of these numbers: masks, messages and the chain.
Cohorts' words are added up as they are, which is what the masked sum opens to; that it does is what the tests of
``secagg/`` prove. No validator here sees an update, only its cohort's sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from p2p_flock.alliance.model import AdoptedCohort, Model, apply_cohorts
from p2p_flock.alliance.pay import compute_mean_grade, compute_trainer_rewards, compute_validator_rewards
from p2p_flock.alliance.sortition import compute_assignment, compute_seed
from p2p_flock.alliance.suspicion import advance_run
from p2p_flock.alliance.voting import NO_AGGREGATE, CohortTally, compute_grade, compute_tally, is_acceptable_change
from p2p_flock.bench.poison_members import VICTIM_OFFSET, Members
from p2p_flock.bench.poison_model import Reals, compute_losses
from p2p_flock.bench.poison_settings import AGAINST_VICTIM, ALWAYS_YES, OPPOSITE, Defence
from p2p_flock.crypto.fixed_point import Encoder, compute_squared_norm, compute_squared_norm_max, compute_sum_bound
from p2p_flock.crypto.ring import Ring
from p2p_flock.crypto.signing import GRADE_MAX
from p2p_flock.crypto.suite import hash32, sha256
from p2p_flock.types import Assignment, CohortOutcome, Domain, Vote
from p2p_flock.wire.messages import CHUNK_BYTES, Ballot

DOMAIN = Domain(31_337, bytes(20), 6)
UNCLIPPED = float(1 << 12)  # a clip that no sum reaches
STATISTICS = np.ones(1)  # any: with them the model is past its first stage


def compute_roles(seed: int, number: int, seat_count: int, members: Members) -> Assignment:
    """The sortition of a round, by the beacon value that stands for it here."""
    randomness = sha256(f"p2p_flock bench poison {seed} {number}".encode())
    return compute_assignment(compute_seed(DOMAIN, number, randomness), seat_count, members.setting.params)


def encode_honest(members: Members, update: Reals, key: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The words that an honest trainer would mask: clipped to the norm, rounded."""
    params = members.setting.params
    encoder = Encoder(update, True, members.setting.clip_norm, params.levels, 1, params.lane_bits, key)
    return np.concatenate(list(encoder.encode(CHUNK_BYTES)))


def encode_crooked(members: Members, update: Reals, key: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The words of one who does not clip: as long a vector as it likes, on the same grid.

    It only keeps every lane within what a lane of an honest trainer can be: beyond that the sum may leave its range,
    and then nobody can use it, nor be poisoned by it.
    """
    setting = members.setting
    largest = float(np.abs(update).max(initial=0.0))
    kept = update * min(1.0, setting.clip_norm / largest) if largest > 0 else update
    times = max(1, ceil(float(np.sqrt(np.square(kept).sum())) / setting.clip_norm))
    params = setting.params
    encoder = Encoder(kept, True, setting.clip_norm * times, params.levels * times, 1, params.lane_bits, key)
    return np.concatenate(list(encoder.encode(CHUNK_BYTES)))


@dataclass
class Alliance:
    """One run; :meth:`play` plays it.

    Attributes:
        seats: the member on each seat; shrinks as members are suspended.
        runs: rejections in a row, by member. suspended: the round by member.
        earned: wei by member, as trainer and as validator; served: how often each was elected.
    """

    members: Members
    defence: Defence
    model: Model = field(init=False)
    seats: list[int] = field(init=False)
    runs: dict[int, int] = field(init=False)
    suspended: dict[int, int] = field(default_factory=dict)
    earned: dict[int, int] = field(init=False)
    accuracies: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _leaving: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = self.members.setting.members
        self.model = Model(STATISTICS.copy(), self.members.initial.copy())
        self.seats = list(range(count))
        self.runs = dict.fromkeys(self.seats, 0)
        self.earned = dict.fromkeys(self.seats, 0)

    def play(self) -> None:
        """All rounds."""
        for number in range(1, self.members.setting.rounds + 1):
            self.play_round(number)
            self.accuracies.append(self.members.score(np.asarray(self.model.parameters)))

    def play_round(self, number: int) -> None:
        """One round. Seats are frozen at OPEN, so whoever is suspended after it still serves in the next one."""
        setting = self.members.setting
        roles = compute_roles(self.members.seed, number, len(self.seats), self.members)
        validators = [self.seats[seat] for seat in roles.validators]
        cohorts = [[self.seats[seat] for seat in cohort] for cohort in roles.cohorts]
        leaving, self._leaving = self._leaving, []
        sums = self.sum_cohorts(cohorts, number)
        ballots = self.vote(validators, cohorts, sums)
        quorum = setting.params.verdict_quorum
        tallies = [compute_tally(quorum, ballots, cohort, False) for cohort in range(len(cohorts))]
        adopted = [
            one
            for one, tally in zip(sums, tallies, strict=True)
            if one and (tally.outcome is CohortOutcome.ADOPTED or not self.defence.has_votes)
        ]
        before = np.asarray(self.model.parameters)
        self.model = self.merge(adopted)
        self.members.remember_step(np.asarray(self.model.parameters) - before)
        self.pay(validators, cohorts, ballots, tallies)
        self.suspect(cohorts, tallies, number)
        self.seats = [member for member in self.seats if member not in leaving]

    def sum_cohorts(self, cohorts: Sequence[Sequence[int]], number: int) -> list[AdoptedCohort | None]:
        """Every cohort's opened sum; ``None`` where a lane is out of range."""
        members, params = self.members, self.members.setting.params
        updates = members.train(np.asarray(self.model.parameters), cohorts, number)
        ring = Ring(params.lane_bits)
        sums: list[AdoptedCohort | None] = []
        for index, cohort in enumerate(cohorts):
            total = np.zeros(ring.word_count(len(self.members.initial)), dtype=ring.dtype)
            for member in cohort:
                key = hash32("p2p_flock bench poison v1", f"{members.seed} {number} {member}".encode())
                encode = encode_crooked if members.is_attacking(member, cohort) else encode_honest
                total += encode(members, updates[member], key)
            bound = compute_sum_bound((1,) * len(cohort), params.levels)
            if not ring.is_in_range(total, len(self.members.initial), bound):
                sums.append(None)
                continue
            lifted = ring.lift(total, len(self.members.initial), bound)
            sums.append(AdoptedCohort(lifted, len(cohort), sha256(f"{number} {index}".encode())))
        return sums

    def merge(self, adopted: Sequence[AdoptedCohort]) -> Model:
        """The model with these cohorts."""
        setting = self.members.setting
        manifest = setting.make_manifest(self.model.parameters.size)
        levels = setting.params.levels
        if not self.defence.has_clip:  # the same step
            manifest = replace(manifest, clip_norm=UNCLIPPED)
            levels = round(levels * UNCLIPPED / setting.clip_norm)
        return apply_cohorts(self.model, manifest, levels, adopted)

    def vote(
        self, validators: Sequence[int], cohorts: Sequence[Sequence[int]], sums: Sequence[AdoptedCohort | None]
    ) -> dict[int, Ballot]:
        """Everybody's ballot, by position."""
        compared = self.compare(validators, sums)
        tolerance = self.members.setting.params.loss_tolerance_micro
        ballots = {}
        for position, validator in enumerate(validators):
            verdicts, grades = bytearray(len(cohorts)), bytearray(len(cohorts))
            for cohort, one in enumerate(sums):
                if one is None:
                    continue  # UNAVAILABLE
                found = compared[cohort]
                is_good, grade = False, 0
                if found is not None:
                    before, after = found[0][position], found[1][position]
                    is_good = is_acceptable_change(before, after, tolerance)
                    grade = compute_grade(before, after)
                if validator in self.members.bad:
                    is_good, grade = self.lie(cohorts[cohort], is_good, grade)
                verdicts[cohort] = Vote.YES if is_good else Vote.NO
                grades[cohort] = grade if is_good else 0
            digests = tuple(NO_AGGREGATE if one is None else one.aggregate_digest for one in sums)
            ballots[position] = Ballot(
                bytes(32), self.model.digest, bytes(verdicts), bytes(grades), 0, digests, bytes(32)
            )
        return ballots

    def compare(
        self, validators: Sequence[int], sums: Sequence[AdoptedCohort | None]
    ) -> list[tuple[list[float], list[float]] | None]:
        """Losses of every validator without and with each cohort; ``None`` where nobody need look."""
        is_seen = [one is not None and self.is_possible(one) for one in sums]
        seen = [one for one, is_it in zip(sums, is_seen, strict=True) if one is not None and is_it]
        found: list[tuple[list[float], list[float]] | None] = [None] * len(sums)
        base = self.merge(seen) if self.defence.is_marginal else self.model
        fixed = self.judge(base, validators)
        for cohort, one in enumerate(sums):
            if one is None or not is_seen[cohort]:
                continue
            if self.defence.is_marginal:
                found[cohort] = (
                    self.judge(self.merge([other for other in seen if other is not one]), validators),
                    fixed,
                )
            else:
                found[cohort] = (fixed, self.judge(self.merge([one]), validators))
        return found

    def is_possible(self, one: AdoptedCohort) -> bool:
        """What ``alliance.voting.is_possible_sum`` says of this sum; always yes without the check."""
        most = compute_squared_norm_max(one.weight_total, self.members.setting.params.levels, one.integer_sum.size)
        return not self.defence.has_norm_check or compute_squared_norm(one.integer_sum) <= most

    def lie(self, cohort: Sequence[int], is_good: bool, grade: int) -> tuple[bool, int]:
        """A bad validator's vote; ``is_good`` and ``grade`` are its honest ones."""
        match self.members.attack.votes:
            case kind if kind == OPPOSITE:  # they know each other, and whom they poisoned
                return any(member in self.members.bad for member in cohort), GRADE_MAX
            case kind if kind == ALWAYS_YES:
                return True, GRADE_MAX
            case kind if kind == AGAINST_VICTIM and VICTIM_OFFSET in cohort:
                return False, 0
        return is_good, grade

    def judge(self, model: Model, validators: Sequence[int]) -> list[float]:
        """Each validator's loss on its private test images and, where there is one, the public holdout together."""
        split, setting = self.members.split, self.members.setting
        rows = list(validators)
        images, labels = split.private.images[rows], split.private.labels[rows]
        parameters = np.asarray(model.parameters)
        own = compute_losses(parameters, images.reshape(-1, images.shape[-1]), labels.reshape(-1))
        sums, count = own.reshape(labels.shape).sum(axis=1), labels.shape[1]
        if setting.has_holdout:
            public = compute_losses(parameters, split.holdout.images, split.holdout.labels)
            sums, count = sums + public.sum(), count + len(public)
        return [float(value) / count for value in sums]

    def pay(
        self,
        validators: Sequence[int],
        cohorts: Sequence[Sequence[int]],
        ballots: dict[int, Ballot],
        tallies: Sequence[CohortTally],
    ) -> None:
        """Book what the round pays its trainers and validators; refunds for gas are left out."""
        params = self.members.setting.params
        grades = [
            compute_mean_grade(ballots, cohort, tally.aggregate_digest)
            if tally.outcome is CohortOutcome.ADOPTED
            else None
            for cohort, tally in enumerate(tallies)
        ]
        sizes = [len(cohort) for cohort in cohorts]
        for cohort, reward in zip(
            cohorts, compute_trainer_rewards(params.reward_per_round, sizes, grades), strict=True
        ):
            for member in cohort:
                self.earned[member] += reward
        verdicts = {position: ballot.verdicts for position, ballot in ballots.items()}
        rewards = compute_validator_rewards(params.reward_per_round, len(validators), len(cohorts), verdicts)
        for validator, reward in zip(validators, rewards, strict=True):
            self.earned[validator] += reward

    def suspect(self, cohorts: Sequence[Sequence[int]], tallies: Sequence[CohortTally], number: int) -> None:
        """Advance the runs, and suspend those at the bound, most rejected first, while seats are spare."""
        setting = self.members.setting
        for cohort, tally in zip(cohorts, tallies, strict=True):
            has_bad = any(self.members.is_attacking(member, cohort) for member in cohort)
            name = f"{'poisoned' if has_bad else 'clean'} {tally.outcome.name.lower()}"
            self.counts[name] = self.counts.get(name, 0) + 1
            for member in cohort:
                self.runs[member] = advance_run(self.runs[member], tally.outcome)
                memory = self.members.memories.get(member)
                if memory is not None and tally.outcome in (CohortOutcome.ADOPTED, CohortOutcome.REJECTED):
                    memory.hear(tally.outcome is CohortOutcome.ADOPTED)
        staying = [member for member in self.seats if member not in self.suspended]
        spare = len(staying) - setting.params.seats_min
        found = [member for member in staying if self.runs[member] >= setting.params.suspicion_bound]
        for member in sorted(found, key=lambda member: (-self.runs[member], member))[: max(0, spare)]:
            self.suspended[member] = number
            self._leaving.append(member)
