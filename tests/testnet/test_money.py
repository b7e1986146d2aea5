"""The account of all money at an alliance's end: every wei that is missing or counted twice is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p_flock.testnet.money import Money, _refunds, _trainers_pay, money_line
from tests.testnet.makers import PARAMS, RECORD

STAKES, POOL = 6_000, 2_000
# One round of 1,000 wei: 899 earned, and the creator is credited the rest of the pool at the end.
MONEY = Money(
    funded=60_000,
    held=60_000 - STAKES - POOL,
    balance=STAKES + POOL,
    stakes=STAKES,
    pool=0,
    owed=POOL,
    credited=POOL - 899,
    claimable={b"\x01" * 20: 499, b"\x02" * 20: 400},
    trainers=400,
    validators=400,
    refunds=99,
    escrowed=STAKES + POOL,
)


def test_money__that_is_all_there_is_conserved() -> None:
    """Every run would fail."""
    assert MONEY.complaints() == []
    assert "to the wei" in money_line(MONEY)
    described = MONEY.describe({b"\x01" * 20: "node0"})
    assert described["claimable_by_node"] == {"node0": "499", "0x" + "02" * 20: "400"}
    assert (described["conserved"], described["owed"]) == (True, str(POOL))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"held": MONEY.held - 1}, id="bad_lost_on_the_way"),
        pytest.param({"stakes": STAKES - 1}, id="bad_booked_too_little"),
        pytest.param({"validators": 401}, id="bad_earned_and_not_claimable"),
        pytest.param({"credited": MONEY.credited + 1}, id="bad_owed_twice"),
        pytest.param({"stuck": {b"\x01" * 20: "StillSeated"}}, id="bad_stake_that_nobody_gets_back"),
    ],
)
def test_money__that_is_missing_or_counted_twice_is_told(changes: dict[str, object]) -> None:
    """A contract that loses or makes money would pass every run."""
    wrong = replace(MONEY, **changes)  # type: ignore[arg-type]  # by name
    assert len(wrong.complaints()) == 1
    assert "NOT" in money_line(wrong)


def test_money__that_was_claimed_already_is_no_fault() -> None:
    """An operator who tries `wallet claim` on a testnet would be told that money is lost."""
    claimed = replace(
        MONEY,
        held=MONEY.held + 400,
        balance=MONEY.balance - 400,
        owed=POOL - 400,
        claimable={b"\x01" * 20: 499, b"\x02" * 20: 0},
    )
    assert claimed.complaints() == []


def test_record__is_added_up_by_role() -> None:
    """Trainers' pay stands in a record once a cohort, refunds once for three senders."""
    assert _trainers_pay(RECORD, PARAMS) == 400
    assert _trainers_pay(replace(RECORD, survivors=(0b0111,)), PARAMS) == 300
    assert _refunds(RECORD) == 99
    assert _refunds(replace(RECORD, settler=bytes(20))) == 66
