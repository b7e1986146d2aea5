"""Votes: what the contract would take, how it counts, and who posts what when in commit, reveal and settle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_flock.alliance.balloting import BALLOT, RETRY_POST_MS, BallotDesk
from p2p_flock.alliance.leading import Attendance
from p2p_flock.alliance.voting import (
    NO_AGGREGATE,
    compute_commitment,
    compute_grade,
    compute_score_micro,
    compute_tally,
    is_acceptable_change,
    is_valid_ballot,
    is_valid_commitment,
    make_ballot,
    make_commitment,
    make_salt,
)
from p2p_flock.crypto.signing import commit_digest
from p2p_flock.errors import DropReason, RemoteProtocolError
from p2p_flock.ports import CommitRound, Persist, Send, SettleRound, Transact
from p2p_flock.testing.alliance import digest_of, make_setting
from p2p_flock.types import CohortOutcome, Vote
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import Ballot, BallotCommitment
from tests.unit.alliance_round import NOW_MS, effects_of

SETTING = make_setting()
CONTEXT = SETTING.context
VALIDATORS = CONTEXT.assignment.validators
SEAL, AGGREGATE = digest_of("seal"), digest_of("aggregate")
COMMIT_MS, SETTLE_MS = CONTEXT.params.commit_seconds * 1000, CONTEXT.params.settle_seconds * 1000
DEADLINE_S = NOW_MS // 1000 + 20


def ballot_of(position: int, vote: Vote = Vote.YES, seal: bytes = SEAL) -> Ballot:
    sign = SETTING.signer(VALIDATORS[position])
    salt = make_salt(CONTEXT, position, seal, sign)
    return make_ballot(CONTEXT, seal, {0: vote}, {0: 9}, 750_000, {0: AGGREGATE}, salt)


def commitment_of(position: int, vote: Vote = Vote.YES) -> BallotCommitment:
    return make_commitment(CONTEXT, position, ballot_of(position, vote), SETTING.signer(VALIDATORS[position]))


# --- ballots and commitments -------------------------------------------------------------------------------------


def test_ballot__good_one() -> None:
    """No vote would ever count."""
    for position in range(3):
        ballot, commitment = ballot_of(position), commitment_of(position)
        assert is_valid_commitment(CONTEXT, position, SEAL, commitment)
        assert is_valid_ballot(CONTEXT, position, SEAL, commitment.commitment, ballot)
        assert (ballot.verdicts, ballot.aggregate_digests) == (b"\x01", (AGGREGATE,))
        assert (ballot.grades, ballot.score_micro) == (b"\x09", 750_000)


def test_ballot__without_a_vote_is_unavailable() -> None:
    """A validator that could not open a cohort would seem to judge it."""
    ballot = make_ballot(CONTEXT, SEAL, {}, {0: 5}, 0, {}, bytes(32))
    assert (ballot.verdicts, ballot.aggregate_digests) == (b"\x00", (NO_AGGREGATE,))
    assert ballot.grades == b"\x00", "a grade without a yes is malformed"
    assert ballot_of(0, Vote.NO).grades == b"\x00"


GOOD = ballot_of(0)
BAD_BALLOTS: dict[str, Ballot] = {
    "another seal": replace(GOOD, seal=digest_of("other")),
    "another model": replace(GOOD, base_model_digest=bytes(32)),
    "another vote": replace(GOOD, verdicts=b"\x02"),
    "another sum": replace(GOOD, aggregate_digests=(digest_of("other"),)),
    "another salt": replace(GOOD, salt=bytes(32)),
    "another grade": replace(GOOD, grades=b"\x08"),
    "another score": replace(GOOD, score_micro=750_001),
    "an unknown verdict": replace(GOOD, verdicts=b"\x03"),
    "a grade of sixteen": replace(GOOD, grades=b"\x10"),
    "a grade under a no": replace(GOOD, verdicts=b"\x02"),
    "a score above one": replace(GOOD, score_micro=1_000_001),
    "too many cohorts": replace(GOOD, verdicts=b"\x01\x01", grades=bytes(2), aggregate_digests=(AGGREGATE,) * 2),
    "too few digests": replace(GOOD, verdicts=b"\x01\x01", grades=bytes(2)),
    "too few grades": replace(GOOD, grades=b""),
}
# Committed to as they stand, and still refused by the contract.
MALFORMED_BALLOTS: dict[str, Ballot] = {
    "a yes to nothing": replace(GOOD, aggregate_digests=(NO_AGGREGATE,)),
    "cohorts that there are none of": replace(
        GOOD, verdicts=b"\x01\x01", grades=bytes(2), aggregate_digests=(AGGREGATE,) * 2
    ),
}


@pytest.mark.parametrize("name", [*BAD_BALLOTS, *MALFORMED_BALLOTS])
def test_ballot__that_the_contract_refuses_is_refused(name: str) -> None:
    """One such ballot in the batch makes the whole settlement fail, as often as it is tried."""
    ballot = BAD_BALLOTS.get(name) or MALFORMED_BALLOTS[name]
    commitment = commitment_of(0).commitment if name in BAD_BALLOTS else compute_commitment(CONTEXT, 0, ballot)
    assert not is_valid_ballot(CONTEXT, 0, SEAL, commitment, ballot)


def test_ballot__of_one_position_is_none_of_another() -> None:
    """A vote could be copied, commitment and all."""
    commitment = compute_commitment(CONTEXT, 0, GOOD)
    assert not is_valid_ballot(CONTEXT, 1, SEAL, commitment, GOOD)
    assert not is_valid_commitment(CONTEXT, 1, SEAL, commitment_of(0))


def test_commitment__that_the_contract_refuses_is_refused() -> None:
    """One such commitment in the batch makes the whole commit fail."""
    good = commitment_of(0)
    for bad in (
        replace(good, seal=digest_of("other")),
        replace(good, commitment=digest_of("other")),
        replace(good, signature=bytes(65)),
        _signed_zero(),
    ):
        assert not is_valid_commitment(CONTEXT, 0, SEAL, bad)


def _signed_zero() -> BallotCommitment:
    signature = SETTING.signer(VALIDATORS[0])(commit_digest(CONTEXT.domain, CONTEXT.round, SEAL, 0, bytes(32)))
    return BallotCommitment(SEAL, bytes(32), signature)


def test_salt__is_secret_and_stable() -> None:
    """A commitment could be opened by guessing three votes, or a restarted validator could not reveal."""
    salts = {make_salt(CONTEXT, p, seal, SETTING.signer(VALIDATORS[p])) for p in range(3) for seal in (SEAL, bytes(32))}
    assert len(salts) == 6
    assert make_salt(CONTEXT, 0, SEAL, SETTING.signer(VALIDATORS[0])) == GOOD.salt


@pytest.mark.parametrize(
    ("before", "after", "accepted"),
    [
        (0.5, 0.5, True),
        (0.5, 0.51, True),
        (0.5, 0.510002, False),
        (0.5, 0.1, True),
        (float("nan"), 0.1, False),
        (0.5, float("nan"), False),
        (0.5, float("inf"), False),
        (float("-inf"), 0.5, False),
    ],
)
def test_change__is_judged_in_millionths(before: float, after: float, accepted: bool) -> None:
    """A diverged model would be adopted, or noise below the tolerance rejected."""
    assert is_acceptable_change(before, after, 10_000) is accepted


@pytest.mark.parametrize(
    ("before", "after", "grade"),
    [
        (1.0, 1.0, 0),
        (1.0, 0.0, 15),
        (1.0, 0.9375, 1),
        (1.0, 0.937501, 0),
        (0.8, 0.4, 8),
        (1000.0, 999.0, 0),
        (0.000016, 0.000015, 1),
        (0.5, 0.6, 0),
        (0.0, 0.0, 0),
        (0.0000001, 0.0, 0),
        (-1.0, -2.0, 0),
        (float("nan"), 0.1, 0),
        (0.5, float("inf"), 0),
    ],
)
def test_grade__is_a_sixteenth_of_the_loss_taken_away(before: float, after: float, grade: int) -> None:
    """Trainers would be paid for what they did not do, or two machines would grade one sum differently."""
    assert compute_grade(before, after) == grade


@pytest.mark.parametrize(
    ("score", "micro"),
    [(None, 0), (0.0, 0), (1.0, 1_000_000), (0.8125, 812_500), (1.5, 0), (-0.1, 0), (float("nan"), 0), (0.0000004, 0)],
)
def test_score__outside_of_0_to_1_is_not_measured(score: float | None, micro: int) -> None:
    """A task with a metric of another kind would close the alliance early."""
    assert compute_score_micro(score) == micro


# --- the tally ---------------------------------------------------------------------------------------------------


def ballots_with(votes: Mapping[int, tuple[Vote, bytes]]) -> dict[int, Ballot]:
    return {
        position: Ballot(SEAL, bytes(32), bytes([vote]), bytes(1), 0, (digest,), bytes(32))
        for position, (vote, digest) in votes.items()
    }


A, B = digest_of("a"), digest_of("b")
YES_A, YES_B, NO_A, NONE = (Vote.YES, A), (Vote.YES, B), (Vote.NO, A), (Vote.UNAVAILABLE, NO_AGGREGATE)
TALLIES = [
    ("all yes", [YES_A] * 3, CohortOutcome.ADOPTED, 3, 0),
    ("two yes", [YES_A, YES_A, NO_A], CohortOutcome.ADOPTED, 2, 1),
    ("two no", [YES_A, NO_A, NO_A], CohortOutcome.REJECTED, 1, 2),
    ("no to different sums", [NO_A, (Vote.NO, B)], CohortOutcome.REJECTED, 0, 2),
    ("yes to different sums", [YES_A, YES_B], CohortOutcome.UNDECIDED, 1, 0),
    ("a tie of one each", [YES_A, NO_A], CohortOutcome.UNDECIDED, 1, 1),
    ("one revealed", [YES_A], CohortOutcome.UNDECIDED, 1, 0),
    ("nobody revealed", [], CohortOutcome.UNDECIDED, 0, 0),
    ("all unavailable", [NONE] * 3, CohortOutcome.UNDECIDED, 0, 0),
    ("one unavailable", [YES_A, NONE, YES_A], CohortOutcome.ADOPTED, 2, 0),
]


@pytest.mark.parametrize(("votes", "outcome", "for_", "against"), [t[1:] for t in TALLIES], ids=[t[0] for t in TALLIES])
def test_tally__of_three(votes: list[tuple[Vote, bytes]], outcome: CohortOutcome, for_: int, against: int) -> None:
    """Node and contract would follow different models."""
    tally = compute_tally(2, ballots_with(dict(enumerate(votes))), 0, is_void=False)
    assert (tally.outcome, tally.votes_for, tally.votes_against) == (outcome, for_, against)
    assert tally.aggregate_digest == (A if outcome is CohortOutcome.ADOPTED else NO_AGGREGATE)


def test_tally__of_a_void_cohort() -> None:
    """A sum over too few would be adopted."""
    assert compute_tally(2, ballots_with(dict(enumerate([YES_A] * 3))), 0, True).outcome is CohortOutcome.VOID


@given(st.lists(st.sampled_from([YES_A, YES_B, NO_A, NONE]), max_size=7))
def test_tally__at_most_one_outcome(votes: list[tuple[Vote, bytes]]) -> None:
    """Two thirds for and two thirds against cannot both be."""
    quorum = 5  # of seven
    tally = compute_tally(quorum, ballots_with(dict(enumerate(votes))), 0, is_void=False)
    expected = CohortOutcome.UNDECIDED
    if max(votes.count(YES_A), votes.count(YES_B)) >= quorum:
        expected = CohortOutcome.ADOPTED
    elif votes.count(NO_A) >= quorum:
        expected = CohortOutcome.REJECTED
    assert tally.outcome is expected


# --- the desk ----------------------------------------------------------------------------------------------------


class Desk:
    """A ballot desk at one position, and whom it waits for."""

    def __init__(self, position: int = 0, vote: bool = True, sealed_view: int = 0) -> None:
        self.attendance = Attendance()
        self.position = position
        self.desk = BallotDesk(CONTEXT, VALIDATORS[position], SETTING.signer(VALIDATORS[position]), self.attendance)
        self.desk.sealed(SEAL, sealed_view)
        if vote:
            self.desk.vote({0: Vote.YES}, {0: 9}, 750_000, {0: AGGREGATE})

    def commit(self, *positions: int) -> None:
        for position in positions:
            self.desk.add_commitment(VALIDATORS[position], commitment_of(position))

    def on_chain(self, *positions: int) -> None:
        self.desk.committed_on_chain(positions, tuple(commitment_of(p).commitment for p in positions))

    def end_commit(self, *positions: int, now_ms: int = NOW_MS) -> None:
        self.on_chain(*positions)
        self.desk.commit_phase_ended(frozenset(positions), DEADLINE_S, now_ms)

    def posted(self, now_ms: int = NOW_MS) -> list[CommitRound | SettleRound]:
        calls = [effect.call for effect in self.desk.advance(now_ms) if isinstance(effect, Transact)]
        return [call for call in calls if isinstance(call, CommitRound | SettleRound)]


def test_vote__is_journalled_before_it_is_committed() -> None:
    """P8: a restarted validator could commit to another ballot."""
    desk = Desk(vote=False)
    effects = desk.desk.vote({0: Vote.NO}, {}, 0, {0: AGGREGATE})
    assert isinstance(effects[0], Persist) and effects[0].kind == BALLOT
    (said,) = effects_of(Send, effects)
    assert isinstance(said, Send) and set(said.seats) == set(VALIDATORS[1:])
    assert desk.desk.vote({0: Vote.YES}, {}, 0, {0: AGGREGATE}) == [], "once"
    assert desk.desk.repeat() == [said]


def test_commit__leader_batches_when_all_have_committed() -> None:
    """Three transactions would be paid for instead of one."""
    desk = Desk()
    assert desk.posted() == []
    desk.commit(1)
    assert desk.posted() == [], "a quorum, but the third may still come"
    desk.commit(2)
    (call,) = desk.posted()
    assert isinstance(call, CommitRound) and call.positions == (0, 1, 2)
    assert desk.posted() == []


def test_commit__leader_waits_for_the_missing_half_a_timeout() -> None:
    """P3: a silent validator would stop the round, or cost two timeouts: this one and the chain's."""
    desk = Desk()
    desk.commit(1)
    assert desk.posted() == [] and desk.posted(NOW_MS + COMMIT_MS // 2 - 1) == []
    (call,) = desk.posted(NOW_MS + COMMIT_MS // 2)
    assert call.positions == (0, 1)


def test_commit__nobody_waits_for_the_gone() -> None:
    """P3: everybody would wait for a node that is known to be dead."""
    desk = Desk()
    desk.commit(1)
    desk.attendance.note_connection(VALIDATORS[2], False, NOW_MS - 1000)
    assert len(desk.posted()) == 1


def test_commit__below_the_quorum_is_not_posted() -> None:
    """The chain's countdown would start although most still judge."""
    desk = Desk()
    assert desk.posted(NOW_MS + 10 * COMMIT_MS) == []


def test_commit__next_leader_takes_over() -> None:
    """P3: a dead leader would stop the round."""
    desk = Desk(position=1)
    desk.commit(0, 2)
    assert desk.posted() == [] and desk.posted(NOW_MS + COMMIT_MS - 1) == []
    assert len(desk.posted(NOW_MS + COMMIT_MS)) == 1


def test_commit__leader_of_the_seal_goes_first() -> None:
    """A leader found dead at the seal would be waited for again."""
    desk = Desk(position=1, sealed_view=1)
    desk.commit(0, 2)
    assert len(desk.posted()) == 1


def test_commit__whom_the_batch_left_out_posts_its_own() -> None:
    """A leader could silence a validator."""
    desk = Desk(position=2)
    desk.commit(0, 1)
    desk.on_chain(0, 1)
    (call,) = desk.posted()
    assert isinstance(call, CommitRound) and call.positions == (2,)
    other = Desk(position=1)
    other.commit(2)
    other.on_chain(0, 1)
    assert other.posted() == [], "only its own"


def test_commit__failed_post_is_tried_again() -> None:
    """A hiccup of the RPC endpoint would cost a leader's turn."""
    desk = Desk()
    desk.commit(1, 2)
    assert len(desk.posted()) == 1
    desk.desk.post_failed("commit", NOW_MS)
    assert desk.posted(NOW_MS + RETRY_POST_MS - 1) == [] and len(desk.posted(NOW_MS + RETRY_POST_MS)) == 1


def test_commit__before_the_seal_was_seen_is_kept() -> None:
    """A validator whose RPC lags would miss commitments."""
    desk = BallotDesk(CONTEXT, VALIDATORS[0], SETTING.signer(VALIDATORS[0]), Attendance())
    desk.add_commitment(VALIDATORS[1], commitment_of(1))
    desk.add_commitment(VALIDATORS[2], replace(commitment_of(2), signature=bytes(65)))
    desk.sealed(SEAL, 0)
    desk.vote({0: Vote.YES}, {}, 0, {0: AGGREGATE})
    (call,) = [e.call for e in desk.advance(NOW_MS) + desk.advance(NOW_MS + COMMIT_MS) if isinstance(e, Transact)]
    assert isinstance(call, CommitRound) and call.positions == (0, 1)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (replace(commitment_of(1), seal=bytes(32)), DropReason.WRONG_SEAL),
        (replace(commitment_of(1), signature=bytes(65)), DropReason.BAD_SIGNATURE),
        (commitment_of(2), DropReason.BAD_SIGNATURE),
    ],
)
def test_commit__bad_one_names_its_sender(message: BallotCommitment, reason: DropReason) -> None:
    """The batch would fail as often as it is tried."""
    with pytest.raises(RemoteProtocolError) as caught:
        Desk().desk.add_commitment(VALIDATORS[1], message)
    assert (caught.value.culprit, caught.value.reason) == (VALIDATORS[1], reason)


def test_commit__two_are_an_equivocation() -> None:
    """A validator could show each other one another commitment."""
    desk = Desk()
    desk.commit(1)
    desk.commit(1)
    with pytest.raises(RemoteProtocolError) as caught:
        desk.desk.add_commitment(VALIDATORS[1], commitment_of(1, Vote.NO))
    assert caught.value.reason is DropReason.EQUIVOCATION


def test_reveal__only_after_the_commit_phase() -> None:
    """A vote could be copied."""
    desk = Desk()
    desk.on_chain(0, 1)
    assert not effects_of(Send, desk.desk.advance(NOW_MS))
    desk.end_commit(0, 1)
    assert len(effects_of(Send, desk.desk.advance(NOW_MS))) == 1
    assert effects_of(Send, desk.desk.repeat()) == effects_of(Send, desk.desk.repeat()) != []


def test_reveal__not_what_was_not_committed_on_chain() -> None:
    """A ballot would be shown that cannot count, or that a reorg lets somebody copy."""
    desk = Desk()
    desk.end_commit(1, 2)
    assert not effects_of(Send, desk.desk.advance(NOW_MS))


def test_settle__when_all_are_revealed() -> None:
    """The round would wait for its deadline."""
    desk = Desk()
    desk.end_commit(0, 1, 2)
    desk.desk.add_ballot(VALIDATORS[1], ballot_of(1))
    assert desk.posted() == []
    desk.desk.add_ballot(VALIDATORS[2], ballot_of(2))
    (call,) = desk.posted()
    assert isinstance(call, SettleRound) and call.positions == (0, 1, 2)
    desk.desk.post_failed("settle", NOW_MS)
    assert desk.posted(NOW_MS + RETRY_POST_MS - 1) == [] and len(desk.posted(NOW_MS + RETRY_POST_MS)) == 1


def test_settle__without_the_missing_in_the_second_after_the_deadline() -> None:
    """In the deadline's own second the contract takes the ballots and does not settle: the round would hang."""
    desk = Desk()
    desk.end_commit(0, 1, 2)
    assert len(desk.posted((DEADLINE_S + 1) * 1000 - 1)) == 1, "what is here is recorded before the deadline"
    (call,) = desk.posted((DEADLINE_S + 1) * 1000)
    assert call.positions == (0,)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_settle__records_what_is_here_where_a_ballot_does_not_come(position: int) -> None:
    """A silent leader would take all votes with it: behind the deadline any member settles with what is recorded."""
    desk = Desk(position=position)
    desk.end_commit(0, 1, 2)
    third_ms = SETTLE_MS // 3
    due_ms = NOW_MS + third_ms + third_ms * position // 3
    assert desk.posted(due_ms - 1) == []
    (call,) = desk.posted(due_ms)
    assert isinstance(call, SettleRound) and call.positions == (position,)
    assert desk.posted(due_ms + 1) == [], "once is enough"


def test_settle__next_leader_takes_over() -> None:
    """P3: a dead leader would stop the round."""
    desk = Desk(position=1)
    desk.end_commit(0, 1)
    desk.desk.add_ballot(VALIDATORS[0], ballot_of(0))
    assert desk.posted() == [] and len(desk.posted(NOW_MS + SETTLE_MS)) == 1


@pytest.mark.parametrize("position", [1, 2])
def test_settle__others_do_not_leave_the_last_second_to_the_leader(position: int) -> None:
    """Behind the reveal deadline the leader could end the round with its own ballot alone."""
    desk = Desk(position=position)
    deadline_ms = NOW_MS + SETTLE_MS // 2 // 1000 * 1000  # earlier than this validator's own turn
    desk.on_chain(0, 1, 2)
    desk.desk.commit_phase_ended(frozenset(range(3)), deadline_ms // 1000 - 1, NOW_MS)
    for other in {0, 1, 2} - {position}:
        desk.desk.add_ballot(VALIDATORS[other], ballot_of(other))
    third_ms = SETTLE_MS // 3
    due_ms = deadline_ms - third_ms + third_ms // 2 * position // 3
    assert desk.posted(due_ms - 1) == []
    (call,) = desk.posted(due_ms)
    assert isinstance(call, SettleRound) and call.positions == (0, 1, 2)
    assert desk.posted(due_ms + 1) == [], "once is enough"


def test_settle__ballots_that_came_early_count() -> None:
    """A validator whose RPC lags would settle without the others' votes."""
    desk = Desk()
    for position in (1, 2):
        desk.desk.add_ballot(VALIDATORS[position], ballot_of(position, Vote.YES if position == 1 else Vote.NO))
    desk.end_commit(0, 1, 2)
    assert desk.posted() == [], "the ballot of 2 is not the one committed to"
    desk.desk.add_ballot(VALIDATORS[2], ballot_of(2))
    assert len(desk.posted()) == 1


def test_reveal__another_ballot_names_its_sender() -> None:
    """The settlement would fail as often as it is tried."""
    desk = Desk()
    desk.end_commit(0, 1)
    with pytest.raises(RemoteProtocolError) as caught:
        desk.desk.add_ballot(VALIDATORS[1], ballot_of(1, Vote.NO))
    assert (caught.value.culprit, caught.value.reason) == (VALIDATORS[1], DropReason.BAD_BALLOT)


def test_restore__of_another_seals_ballot_abstains() -> None:
    """P8: after a reorg a validator would vote twice in one round number."""
    desk = Desk(vote=False)
    desk.desk.restore(Persist(BALLOT, "", encode(ballot_of(0, seal=digest_of("gone")))))
    desk.desk.sealed(SEAL, 0)
    assert desk.desk.has_voted and desk.desk.repeat() == [] and desk.posted() == []
    desk.end_commit(1, 2)
    assert not effects_of(Send, desk.desk.advance(NOW_MS))
