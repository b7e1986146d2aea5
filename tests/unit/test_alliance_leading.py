"""Whose turn it is, and whom a validator waits for: not for the gone, and not twice for the silent."""

from __future__ import annotations

from collections.abc import Sequence

from p2p_flock.alliance.leading import GONE_GRACE_MS, Attendance, compute_patience_ms, is_gone, rotate, turn_starts_ms
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.ports import Effect, SeatReachable, Send, SettleRound, TimePassed
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import KIND_OF_MESSAGE, Have, SealProposal
from tests.unit.alliance_round import NOW_MS, TRAINED_MS, make_round
from tests.unit.test_alliance_voting import COMMIT_MS, VALIDATORS, Desk, ballot_of

ORDER = (4, 7, 2)
ROUND = make_round()
FIRST, SECOND, THIRD = ROUND.validators
SEAL_MS = ROUND.context.params.seal_seconds * 1000


def proposes(effects: Sequence[Effect]) -> bool:
    kind = KIND_OF_MESSAGE[SealProposal]
    return any(isinstance(effect, Send) and effect.envelope.kind == kind for effect in effects)


def say_have(machine: ValidatorMachine, seat: int, now_ms: int = NOW_MS, count: int = 5) -> bool:
    """A validator's Have with the first contributions; whether the machine proposes then."""
    roots = {trainer: ROUND.roots[trainer] for trainer in sorted(ROUND.roots)[:count]}
    have = decode(Have, ROUND.have(seat, roots).body, 1 << 20)
    return proposes(machine.handle(ROUND.say(seat, have), now_ms))


def proposes_at(machine: ValidatorMachine, now_ms: int) -> bool:
    return proposes(machine.handle(TimePassed(), now_ms))


# --- whose turn --------------------------------------------------------------------------------------------------


def test_turns__silent_leaders_cost_a_timeout_gone_ones_a_grace() -> None:
    """P3: everybody would wait for a leader that is known to be gone, or nobody for one that is slow."""
    assert [turn_starts_ms(ORDER, view, 100, 5000, {}) for view in range(3)] == [100, 5100, 10100]
    gone_long = {4: -5000}
    assert [turn_starts_ms(ORDER, view, 100, 5000, gone_long) for view in range(3)] == [100, 100, 5100]
    gone_now = {4: 100, 7: 100}
    assert [turn_starts_ms(ORDER, view, 100, 5000, gone_now) for view in range(3)] == [100, 1100, 1100]
    gone_later = {4: 4800}
    assert turn_starts_ms(ORDER, 1, 100, 5000, gone_later) == 5100, "a late loss never costs more than the timeout"


def test_turns__loss_is_forgiven_for_a_grace() -> None:
    """A connection that is redialled at once would cost a leader its turn."""
    assert not is_gone({4: 1000}, 4, 1999) and is_gone({4: 1000}, 4, 2000) and not is_gone({}, 4, 2000)


def test_turns__whoever_sealed_leads_on() -> None:
    """A leader found dead once would be waited for three times."""
    assert [rotate(ORDER, first) for first in range(3)] == [(4, 7, 2), (7, 2, 4), (2, 4, 7)]


# --- who is waited for -------------------------------------------------------------------------------------------


def test_attendance__who_is_given_up_costs_nothing_until_it_is_heard() -> None:
    """P3: a stopped process would cost a timeout in each phase; or nobody would wait for one that has come back."""
    attendance = Attendance()
    attendance.give_up(4, 7000)
    attendance.give_up(4, 9000)
    assert is_gone(attendance.gone_since_ms, 4, 7000), "without a further grace"
    assert turn_starts_ms(ORDER, 1, 8000, 5000, attendance.gone_since_ms) == 8000
    attendance.note_heard(4)
    assert not attendance.gone_since_ms


def test_attendance__a_broken_connection_is_not_mended_by_an_old_message() -> None:
    """A dead leader would be waited for because its last words came late."""
    attendance = Attendance()
    attendance.note_connection(4, False, 1000)
    attendance.note_connection(4, False, 3000)
    attendance.note_heard(4)
    attendance.give_up(4, 5000)
    attendance.note_heard(4)
    assert attendance.gone_since_ms == {4: 1000}
    attendance.note_connection(4, True, 6000)
    attendance.note_heard(7)
    assert not attendance.gone_since_ms


def test_attendance__who_was_given_up_and_lost_its_connection_is_gone() -> None:
    """Its late words would make everybody wait for a connection that is down."""
    attendance = Attendance()
    attendance.give_up(4, 5000)
    attendance.note_connection(4, False, 6000)
    attendance.note_heard(4)
    assert attendance.gone_since_ms == {4: 5000 - GONE_GRACE_MS}


# --- the seal ----------------------------------------------------------------------------------------------------


def test_sealing__silent_validator_costs_half_a_timeout() -> None:
    """P3: one process that is stopped would cost the rest of the train phase, and half a seal timeout besides."""
    machine = ROUND.validator(0)
    patience_ms = compute_patience_ms(SEAL_MS)
    assert not say_have(machine, SECOND), "the third may still come"
    assert not proposes_at(machine, NOW_MS + patience_ms - 1)
    assert proposes_at(machine, NOW_MS + patience_ms)


def test_sealing__silent_leader_is_followed_after_half_a_timeout() -> None:
    """P3: it would be waited for once for its Have and once more for its proposal."""
    machine = ROUND.validator(1)
    assert not say_have(machine, THIRD)
    assert not proposes_at(machine, NOW_MS + SEAL_MS // 2 - 1)
    assert proposes_at(machine, NOW_MS + SEAL_MS // 2)


def test_sealing__leader_that_spoke_has_its_whole_turn() -> None:
    """A leader that gathers signatures would be overtaken by all others."""
    machine = ROUND.validator(1)
    assert not say_have(machine, THIRD) and not say_have(machine, FIRST)
    assert not proposes_at(machine, NOW_MS + SEAL_MS - 1)
    assert proposes_at(machine, NOW_MS + SEAL_MS)


def test_sealing__who_is_heard_again_is_waited_for() -> None:
    """A validator that was slow once would be left out of everything."""
    machine = ROUND.validator(1)
    say_have(machine, THIRD)
    machine.handle(TimePassed(), NOW_MS + SEAL_MS // 2 - 1)
    say_have(machine, FIRST, NOW_MS + SEAL_MS // 2 - 1)
    assert not proposes_at(machine, NOW_MS + SEAL_MS // 2)


def test_sealing__slow_validators_are_waited_for_while_they_are_needed() -> None:
    """A proposal would leave out trainers whose contribution is still on its way to a quorum."""
    machine = ROUND.validator(0)
    say_have(machine, SECOND, count=4)
    say_have(machine, THIRD, count=4)
    assert not proposes_at(machine, NOW_MS + 4 * SEAL_MS)
    assert not machine._attendance.gone_since_ms, "nobody could propose, so nobody is given up"
    assert proposes_at(machine, TRAINED_MS)


def test_sealing__connection_that_comes_back_is_waited_for() -> None:
    """A leader that was given up and lost its connection would never have a turn again."""
    machine = ROUND.validator(1)
    say_have(machine, THIRD)
    machine.handle(SeatReachable(FIRST, False), NOW_MS)
    machine.handle(SeatReachable(FIRST, True), NOW_MS + 500)
    assert not proposes_at(machine, NOW_MS + SEAL_MS // 2 - 1)


# --- commit and settle -------------------------------------------------------------------------------------------


def test_commit__silent_leader_that_did_not_commit_loses_its_turn_early() -> None:
    """P3: its turn would be waited for after its commitment had been waited for in vain."""
    desk = Desk(position=1)
    desk.commit(2)
    assert desk.posted() == [] and desk.posted(NOW_MS + COMMIT_MS // 2 - 1) == []
    (call,) = desk.posted(NOW_MS + COMMIT_MS // 2)
    assert call.positions == (1, 2)


def test_commit__leader_that_let_its_turn_pass_is_not_waited_for_at_the_settlement() -> None:
    """P3: one that hangs would cost a timeout more."""
    desk = Desk(position=1)
    desk.commit(0, 2)
    assert desk.posted() == [] and len(desk.posted(NOW_MS + COMMIT_MS)) == 1
    desk.end_commit(0, 1, 2, now_ms=NOW_MS + COMMIT_MS)
    for position in (0, 2):
        desk.desk.add_ballot(VALIDATORS[position], ballot_of(position))
    (call,) = desk.posted(NOW_MS + COMMIT_MS)
    assert isinstance(call, SettleRound)


def test_commit__who_commits_late_is_waited_for_again() -> None:
    """A validator that judges slowly would lose its part in the settlement."""
    desk = Desk(position=1)
    desk.commit(0)
    desk.posted(NOW_MS)
    desk.posted(NOW_MS + COMMIT_MS // 2)
    assert VALIDATORS[2] in desk.attendance.gone_since_ms
    desk.attendance.note_heard(VALIDATORS[2])
    assert not desk.attendance.gone_since_ms
