"""Commit, reveal and settle: what one validator says and posts once it has judged. One part of the validator machine.

The ballot is journalled before its commitment leaves the node and stays secret until the chain's commit phase is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.leading import Attendance, compute_patience_ms, is_gone, rotate, turn_starts_ms
from p2p_flock.alliance.voting import is_valid_ballot, is_valid_commitment, make_ballot, make_commitment, make_salt
from p2p_flock.errors import DropReason, RemoteProtocolError
from p2p_flock.ports import CommitRound, Effect, Persist, Report, Send, SettleRound, Signer, Transact
from p2p_flock.types import Vote
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import Ballot, BallotCommitment, Envelope

BALLOT = "ballot"
RETRY_POST_MS = 1000
NOT_POSTED, POSTED = -1, 2**62


class Phase(Enum):
    """Where the desk stands. It never goes back: after a reorganisation a new one begins from the journal."""

    WAITING = "waiting"  # no seal was seen
    JUDGING = "judging"  # sealed; this validator has not voted
    COMMITTING = "committing"  # its ballot stands, and stays secret
    REVEALING = "revealing"  # no commitment is taken any more


FOLLOWERS: dict[Phase, tuple[Phase, ...]] = {
    Phase.WAITING: (Phase.WAITING, Phase.JUDGING, Phase.COMMITTING, Phase.REVEALING),  # facts come in any order
    Phase.JUDGING: (Phase.JUDGING, Phase.COMMITTING, Phase.REVEALING),
    Phase.COMMITTING: (Phase.COMMITTING, Phase.REVEALING),
    Phase.REVEALING: (Phase.REVEALING,),
}


class BallotDesk:
    """What this validator knows and promised about the votes of its round."""

    def __init__(self, context: RoundContext, seat: int, sign: Signer, attendance: Attendance) -> None:
        self._context = context
        self._seat = seat
        self._position = context.assignment.validators.index(seat)
        self._sign = sign
        self._attendance = attendance
        self._seal: bytes | None = None
        self._order: tuple[int, ...] = ()
        self._ballot: Ballot | None = None
        self._commitment_envelope: Envelope | None = None
        self._ballot_envelope: Envelope | None = None
        self._commitments: dict[int, BallotCommitment] = {}  # position -> as signed, not yet known to be on chain
        self._early: list[tuple[int, BallotCommitment]] = []  # (position, message) that came before the seal was seen
        self._early_ballots: dict[int, Ballot] = {}
        self._on_chain: dict[int, bytes] = {}  # position -> commitment
        self._ballots: dict[int, Ballot] = {}
        self._quorum_at_ms: int | None = None
        self._commit_post_at_ms = NOT_POSTED
        self._commit_ended_at_ms: int | None = None
        self._reveal_deadline_ms = 0
        self._settle_post_at_ms = NOT_POSTED
        self._is_recorded = False  # what is here was put on chain before the reveal deadline
        self._phase_before = Phase.WAITING

    @property
    def phase(self) -> Phase:
        """What follows from the facts that are here."""
        if self._seal is None:
            return Phase.WAITING
        if self._commit_ended_at_ms is not None:
            return Phase.REVEALING
        return Phase.JUDGING if self._ballot is None else Phase.COMMITTING

    @property
    def has_voted(self) -> bool:
        return self._ballot is not None

    @property
    def is_commit_phase_over(self) -> bool:
        return self._commit_ended_at_ms is not None

    @property
    def committed(self) -> frozenset[int]:
        """Positions whose commitment is here or on chain."""
        return frozenset(self._commitments) | frozenset(self._on_chain)

    @property
    def revealed(self) -> frozenset[int]:
        """Positions whose ballot is here, checked already or not."""
        return frozenset(self._ballots) | frozenset(self._early_ballots)

    def restore(self, record: Persist) -> None:
        """Take back the ballot found in the journal."""
        self._ballot = decode(Ballot, record.body, 1 << 16)

    # --- facts -------------------------------------------------------------------------------------------------

    def sealed(self, seal: bytes, view: int) -> None:
        """The chain's seal is known. Whoever led it was alive: the order of leaders starts there."""
        self._seal = seal
        self._order = rotate(self._context.assignment.validators, view)
        for position, message in self._early:
            if is_valid_commitment(self._context, position, seal, message):
                self._commitments[position] = message
        if self._ballot is not None and self._ballot.seal == seal:
            self._speak_commitment()

    def add_commitment(self, seat: int, message: BallotCommitment) -> None:
        """Take a validator's commitment.

        Raises:
            RemoteProtocolError: invalid, or a second one that differs.
        """
        position = self._context.assignment.validators.index(seat)
        if self._seal is None:
            self._early = [entry for entry in self._early if entry[0] != position] + [(position, message)]
            return
        if message.seal != self._seal:
            raise RemoteProtocolError(seat, DropReason.WRONG_SEAL)
        known = self._commitments.get(position)
        if known is not None and known.commitment != message.commitment:
            raise RemoteProtocolError(seat, DropReason.EQUIVOCATION, "two ballot commitments")
        if not is_valid_commitment(self._context, position, self._seal, message):
            raise RemoteProtocolError(seat, DropReason.BAD_SIGNATURE)
        self._commitments[position] = message

    def committed_on_chain(self, positions: tuple[int, ...], commitments: tuple[bytes, ...]) -> None:
        """The contract took these commitments."""
        self._on_chain.update(zip(positions, commitments, strict=True))
        self._commit_post_at_ms = NOT_POSTED

    def add_ballot(self, seat: int, ballot: Ballot) -> None:
        """Take a revealed ballot.

        Raises:
            RemoteProtocolError: it is not the one committed to.
        """
        position = self._context.assignment.validators.index(seat)
        commitment = self._on_chain.get(position)
        if commitment is None or self._seal is None:
            self._early_ballots[position] = ballot
            return
        if not is_valid_ballot(self._context, position, self._seal, commitment, ballot):
            raise RemoteProtocolError(seat, DropReason.BAD_BALLOT)
        self._ballots[position] = ballot

    def commit_phase_ended(self, committed: frozenset[int], reveal_deadline_s: int, now_ms: int) -> None:
        """No further commitment will be taken; revealing copies from nobody now."""
        if self._commit_ended_at_ms is None:
            self._commit_ended_at_ms = now_ms
        # The contract settles without the missing ballots in the second after its deadline, not in the same one.
        self._reveal_deadline_ms = (reveal_deadline_s + 1) * 1000
        self._on_chain = {position: c for position, c in self._on_chain.items() if position in committed}

    def post_failed(self, what: str, now_ms: int) -> None:
        """A transaction was lost for a reason other than a lost race."""
        if what == "commit":
            self._commit_post_at_ms = now_ms + RETRY_POST_MS
        else:
            self._settle_post_at_ms = now_ms + RETRY_POST_MS

    # --- what to do --------------------------------------------------------------------------------------------

    def vote(
        self,
        votes: Mapping[int, Vote],
        grades: Mapping[int, int],
        score_micro: int,
        aggregate_digests: Mapping[int, bytes],
    ) -> list[Effect]:
        """Form the ballot, once; as :func:`voting.make_ballot`. After a restart the journalled one stands."""
        assert self._seal is not None
        if self._ballot is not None:
            return []
        salt = make_salt(self._context, self._position, self._seal, self._sign)
        terms = (votes, grades, score_micro, aggregate_digests, salt)
        self._ballot = make_ballot(self._context, self._seal, *terms)
        self._speak_commitment()
        words = ", ".join(f"cohort {cohort}: {vote.name.lower()}" for cohort, vote in sorted(votes.items()))
        return [
            Persist(BALLOT, "", encode(self._ballot)),
            *self.repeat(),
            Report("commit", f"voted ({words})"),
        ]

    def repeat(self) -> list[Effect]:
        """Say again what may be said now."""
        others = tuple(seat for seat in self._context.assignment.validators if seat != self._seat)
        if self._ballot_envelope is not None:
            return [Send(others, self._ballot_envelope)]
        if self._commitment_envelope is not None:
            return [Send(others, self._commitment_envelope)]
        return []

    def advance(self, now_ms: int) -> list[Effect]:
        """Next effects: batch the commitments, reveal, settle."""
        phase = self.phase
        assert phase in FOLLOWERS[self._phase_before]
        self._phase_before = phase
        match phase:
            case Phase.WAITING:
                return []
            case Phase.JUDGING | Phase.COMMITTING:
                return self._commit(now_ms)
            case Phase.REVEALING:
                return [*self._reveal(), *self._settle(now_ms)]

    def _speak_commitment(self) -> None:
        assert self._ballot is not None
        message = make_commitment(self._context, self._position, self._ballot, self._sign)
        self._commitments[self._position] = message
        self._commitment_envelope = self._context.seal_envelope(self._seat, message, self._sign)

    def _commit(self, now_ms: int) -> list[Effect]:
        missing = {p: m for p, m in self._commitments.items() if p not in self._on_chain}
        if not missing or now_ms < self._commit_post_at_ms:
            return []
        quorum = self._context.params.verdict_quorum
        if self._quorum_at_ms is None and len(self._commitments) >= quorum:
            self._quorum_at_ms = now_ms
        if self._on_chain:
            # A batch stands already. Whoever it left out posts its own at once; nobody else needs to.
            return self._post_commit({self._position: missing[self._position]}) if self._position in missing else []
        if self._quorum_at_ms is None:
            return []
        self._give_up(self._quorum_at_ms, now_ms)
        is_turn = self._is_my_turn(self._quorum_at_ms, self._timeout_ms("commit"), now_ms)
        return self._post_commit(missing) if is_turn and self._all_present(set(self._commitments), now_ms) else []

    def _give_up(self, quorum_at_ms: int, now_ms: int) -> None:
        """Wait no more for whoever did not commit in time, or led and let its turn pass. See :class:`Attendance`.

        A quorum's batch starts the chain's own countdown, in which the others post theirs: waiting a whole timeout here
        would be a second one.
        """
        timeout_ms = self._timeout_ms("commit")
        if now_ms >= quorum_at_ms + compute_patience_ms(timeout_ms):
            for position, seat in enumerate(self._context.assignment.validators):
                if position not in self._commitments and seat != self._seat:
                    self._attendance.give_up(seat, now_ms)
        for view, seat in enumerate(self._order):
            if now_ms < turn_starts_ms(self._order, view + 1, quorum_at_ms, timeout_ms, self._attendance.gone_since_ms):
                return
            if seat != self._seat:
                self._attendance.give_up(seat, now_ms)

    def _post_commit(self, messages: Mapping[int, BallotCommitment]) -> list[Effect]:
        self._commit_post_at_ms = POSTED
        positions = tuple(sorted(messages))
        commitments = tuple(messages[position].commitment for position in positions)
        signatures = tuple(messages[position].signature for position in positions)
        return [Transact(CommitRound(positions, commitments, signatures))]

    def _reveal(self) -> list[Effect]:
        for position in sorted(self._early_ballots.keys() & self._on_chain.keys()):
            ballot = self._early_ballots.pop(position)
            assert self._seal is not None
            if is_valid_ballot(self._context, position, self._seal, self._on_chain[position], ballot):
                self._ballots[position] = ballot
        if self._ballot is None or self._ballot_envelope is not None or self._position not in self._on_chain:
            return []
        self._ballot_envelope = self._context.seal_envelope(self._seat, self._ballot, self._sign)
        self._ballots[self._position] = self._ballot
        return self.repeat()

    def _settle(self, now_ms: int) -> list[Effect]:
        assert self._commit_ended_at_ms is not None
        if now_ms < self._settle_post_at_ms:
            return []
        complete = self._ballots.keys() >= self._on_chain.keys()
        ready_ms = self._commit_ended_at_ms if complete else self._reveal_deadline_ms
        if not self._is_my_turn(ready_ms, self._timeout_ms("settle"), now_ms):
            return self._record(complete, now_ms) if now_ms < self._reveal_deadline_ms else []
        self._settle_post_at_ms = POSTED
        return [self._settle_call()]

    def _record(self, is_complete: bool, now_ms: int) -> list[Effect]:
        """Put the ballots on chain before the reveal deadline, though another validator leads.

        Behind it anybody ends the round with what is recorded and what they care to add, long before a silent leader's
        turn is over: a leader that shows nothing, or its own ballot only, would take all other votes with it. Where
        some committed ballot does not come, validators take turns in the second third of the phase; where all are here,
        so that this call ends the round, in the first half of its last third, for the leader may be posting just now.
        """
        assert self._commit_ended_at_ms is not None
        third_ms, place = self._timeout_ms("settle") // 3, self._order.index(self._seat)
        due_ms = self._commit_ended_at_ms + third_ms + third_ms * place // len(self._order)
        if is_complete:
            due_ms = self._reveal_deadline_ms - third_ms + third_ms // 2 * place // len(self._order)
        if self._is_recorded or now_ms < due_ms or not self._ballots:
            return []
        self._is_recorded = True
        return [self._settle_call()]

    def _settle_call(self) -> Transact:
        positions = tuple(sorted(self._ballots))
        return Transact(SettleRound(positions, tuple(self._ballots[position] for position in positions)))

    def _timeout_ms(self, phase: str) -> int:
        params = self._context.params
        return (params.commit_seconds if phase == "commit" else params.settle_seconds) * 1000

    def _is_my_turn(self, ready_at_ms: int, timeout_ms: int, now_ms: int) -> bool:
        view = self._order.index(self._seat)
        return now_ms >= turn_starts_ms(self._order, view, ready_at_ms, timeout_ms, self._attendance.gone_since_ms)

    def _all_present(self, positions: set[int], now_ms: int) -> bool:
        """Whether every validator that is waited for has committed."""
        return all(
            position in positions or is_gone(self._attendance.gone_since_ms, seat, now_ms)
            for position, seat in enumerate(self._context.assignment.validators)
        )
