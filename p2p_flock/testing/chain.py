"""The alliance contract's rules for one round, in memory: seal, commit, settle, void, with the contract's refusals.

Used by the swarm. Every call is one block at the time given; it returns the contract's error name, empty on success.
"""

from __future__ import annotations

from collections.abc import Callable

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.sealing import is_signed_by_quorum
from p2p_flock.alliance.voting import CohortTally, compute_tally, is_valid_ballot, is_valid_commitment
from p2p_flock.chain_events import BallotsCommitted, LogPosition, RoundSealed
from p2p_flock.crypto.signing import seal_digest, seal_struct_hash
from p2p_flock.ports import CommitRound, SealRound, SettleRound
from p2p_flock.wire.messages import Ballot, BallotCommitment

STUCK_PATIENCE_MS = 2000


class FakeChain:
    """One alliance contract in one round.

    Attributes:
        sealed, commitments, ballots: what it holds; ballots and commitments by position.
        commit_deadline_s: chain time of the last second in which commitments are taken.
        commit_ended_ms, ended_ms: when the commit phase and the round were over.
        tallies: per cohort once settled; ``voided`` where it was not.
    """

    def __init__(self, context: RoundContext, publish: Callable[[RoundSealed | BallotsCommitted], None]) -> None:
        self._context = context
        self._publish = publish
        self._block = 0
        self.sealed: RoundSealed | None = None
        self.commitments: dict[int, bytes] = {}
        self.ballots: dict[int, Ballot] = {}
        self.commit_deadline_s = 0
        self.commit_ended_ms: int | None = None
        self.ended_ms: int | None = None
        self.tallies: tuple[CohortTally, ...] = ()
        self.voided = False

    @property
    def reveal_deadline_s(self) -> int:
        return self.commit_deadline_s + self._context.params.settle_seconds

    def is_revealing(self, now_ms: int) -> bool:
        """Whether no further commitment will be taken."""
        if self.sealed is None or self.ended_ms is not None:
            return False
        complete = len(self.commitments) == self._context.params.validator_count
        over = complete or now_ms // 1000 > self.commit_deadline_s
        if over and self.commit_ended_ms is None:
            self.commit_ended_ms = now_ms
        return over

    def send(self, call: SealRound | CommitRound | SettleRound, now_ms: int) -> str:
        """Run one transaction; the contract's error name, or empty."""
        if self.ended_ms is not None:
            return "WrongRound"
        self._block += 1
        match call:
            case SealRound():
                return self._seal(call, now_ms)
            case CommitRound():
                return self._commit(call, now_ms)
            case SettleRound():
                return self._settle(call, now_ms)

    def void(self, now_ms: int) -> str:
        """``voidRound``."""
        deadline_ms = self.commit_deadline_s * 1000 if self.sealed else self._context.seal_deadline_ms
        if self.ended_ms is not None or self.commitments or now_ms // 1000 <= deadline_ms // 1000:
            return "DeadlineNotPassed"
        self.voided, self.ended_ms = True, now_ms
        return ""

    def end_if_stuck(self, now_ms: int) -> None:
        """What some member's upkeep does when nobody else ends the round (daemon/upkeep.py)."""
        deadline_ms = self.commit_deadline_s * 1000 if self.sealed else self._context.seal_deadline_ms
        if self.is_revealing(now_ms) and now_ms > self.reveal_deadline_s * 1000 + STUCK_PATIENCE_MS:
            self.send(SettleRound((), ()), now_ms)
        elif now_ms > deadline_ms + STUCK_PATIENCE_MS:
            self.void(now_ms)

    def _at(self, now_ms: int) -> LogPosition:
        return LogPosition(self._block, 0, now_ms // 1000, bytes(32))

    def _seal(self, call: SealRound, now_ms: int) -> str:
        context, params = self._context, self._context.params
        if self.sealed is not None:
            return "AlreadySealed"
        if not context.snapshot.opens_at_s <= now_ms // 1000 <= context.snapshot.seal_deadline_s:
            return "DeadlinePassed"
        if call.view >= params.validator_count:
            return "WrongView"
        index_of = {seat: index for index, seat in enumerate(context.trainers)}
        bits = sum(word << 256 * index for index, word in enumerate(call.survivors))
        sizes = [sum(bits >> index_of[seat] & 1 for seat in cohort) for cohort in context.assignment.cohorts]
        if max(sizes) < params.survivors_min:
            return "TooFewSurvivors"
        beacon_round = context.snapshot.beacon_round
        terms = (context.round, call.view, beacon_round, context.seed, call.manifest_digest, call.survivors)
        digest = seal_struct_hash(context.domain, *terms)
        signing_digest = seal_digest(context.domain, digest)
        if not is_signed_by_quorum(context, signing_digest, call.positions, call.signatures):
            return "WrongSignature"
        self.sealed = RoundSealed(
            self._at(now_ms), context.round, call.view, digest, context.seed, call.manifest_digest,
            call.survivors, call.positions, call.signatures,
        )  # fmt: skip
        self._is_void = [size < params.survivors_min for size in sizes]
        patience_s = params.unmask_seconds + params.evaluate_seconds + params.commit_seconds * params.validator_count
        self.commit_deadline_s = now_ms // 1000 + patience_s
        self._publish(self.sealed)
        return ""

    def _commit(self, call: CommitRound, now_ms: int) -> str:
        if self.sealed is None:
            return "NotSealed"
        if now_ms // 1000 > self.commit_deadline_s:
            return "DeadlinePassed"
        fresh: dict[int, bytes] = {}
        for position, commitment, signature in zip(call.positions, call.commitments, call.signatures, strict=True):
            message = BallotCommitment(self.sealed.seal, commitment, signature)
            if position in self.commitments:
                continue
            if not is_valid_commitment(self._context, position, self.sealed.seal, message):
                return "WrongSignature"
            fresh[position] = commitment
        if not fresh:
            return "NothingNew"
        before, params = len(self.commitments), self._context.params
        self.commitments.update(fresh)
        if before < params.verdict_quorum <= len(self.commitments):
            self.commit_deadline_s = min(self.commit_deadline_s, now_ms // 1000 + params.commit_seconds)
        if len(self.commitments) == params.validator_count:
            self.commit_deadline_s = now_ms // 1000
        positions = tuple(sorted(fresh))
        values = tuple(fresh[position] for position in positions)
        self._publish(BallotsCommitted(self._at(now_ms), self._context.round, positions, values))
        return ""

    def _settle(self, call: SettleRound, now_ms: int) -> str:
        if self.sealed is None or not self.is_revealing(now_ms):
            return "CommitPhaseNotOver"
        fresh: dict[int, Ballot] = {}
        for position, ballot in zip(call.positions, call.ballots, strict=True):
            if position in self.ballots:
                continue
            commitment = self.commitments.get(position, b"")
            if not is_valid_ballot(self._context, position, self.sealed.seal, commitment, ballot):
                return "BallotNotCommitted"
            fresh[position] = ballot
        self.ballots.update(fresh)
        if self.ballots.keys() == self.commitments.keys() or now_ms // 1000 > self.reveal_deadline_s:
            quorum = self._context.params.verdict_quorum
            self.tallies = tuple(
                compute_tally(quorum, self.ballots, cohort, is_void) for cohort, is_void in enumerate(self._is_void)
            )
            self.ended_ms = now_ms
            return ""
        return "" if fresh else "DeadlineNotPassed"
