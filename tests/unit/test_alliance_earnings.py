"""What rounds owe to whom, by their records: every role and every transaction, to the wei."""

from __future__ import annotations

from dataclasses import replace

from p2p_flock.alliance.earnings import Earning, compute_earning, compute_earnings
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.chain_events import RoundSettled
from p2p_flock.types import CohortOutcome
from tests.unit.alliance_log import LogWriter, owner_of
from tests.unit.test_alliance_history import fold

MEMBERS = 8


def begun() -> LogWriter:
    log = LogWriter()
    for name in range(MEMBERS):
        log.join(name)
    log.open()
    return log


def earned(history: AllianceHistory, name: object, number: int = 0) -> tuple[int, int, int]:
    earning = compute_earning(history, number, owner_of(name))
    assert earning is not None
    amounts = (earning.trainer_reward, earning.validator_reward, earning.refunds)
    assert earning.total == sum(amounts)
    return amounts


def test_earnings__of_every_role_come_from_the_record() -> None:
    """A validator's pay would stay in the contract for ever, as it did while only contributions were looked at."""
    log = begun()
    roles = log.roles()
    absent = roles.trainers[1]
    log.seal(absent=(absent,))
    log.settle()
    history = fold(log)
    for seat in roles.trainers:
        assert earned(history, seat) == (0 if seat == absent else 11, 0, 0)
    for position, seat in enumerate(roles.validators):
        assert earned(history, seat) == (0, 7 if position == 2 else 0, 0)  # only that one revealed


def test_earnings__of_senders_need_no_seat() -> None:
    """Whoever paid the gas for all would not get it back."""
    log = begun()
    log.seal()
    log.settle()
    history = fold(log)
    for name in ("sealer", "committer", "settler"):
        assert earned(history, name) == (0, 0, 3)
    assert earned(history, "stranger") == (0, 0, 0)


def test_earnings__of_one_that_sent_everything_add_up() -> None:
    """One of three refunds would be claimed, or a validator's pay without them."""
    log = begun()
    poster = log.roles().validators[2]
    log.seal()
    log.settle()
    settled = log.events[-1]
    assert isinstance(settled, RoundSettled)
    own = owner_of(poster)
    log.events[-1] = replace(settled, record=replace(settled.record, sealer=own, committer=own, settler=own))
    assert earned(fold(log), poster) == (0, 7, 9)


def test_earnings__of_rounds_that_adopted_nothing_or_did_not_settle() -> None:
    """A claim would name rounds that owe nothing, and pay gas for each."""
    log = begun()
    log.seal()
    log.settle(CohortOutcome.REJECTED)
    log.open()
    log.void()
    log.open()
    trainer = log.roles().trainers[0]
    log.seal()
    log.settle()
    log.open()  # and a running one
    history = fold(log)
    assert compute_earning(history, 1, owner_of(trainer)) is None
    assert compute_earning(history, 3, owner_of(trainer)) is None
    earnings = compute_earnings(history, owner_of(trainer))
    assert [earning.record.round for earning in earnings if earning.trainer_reward] == [2]
    assert all(earning.total for earning in earnings)
    assert isinstance(earnings[0], Earning)
