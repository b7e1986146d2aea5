"""Money as people write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_flock.cli.amounts import WEI_MAX, format_money, format_seconds, parse_flock
from p2p_flock.errors import UsageError


@pytest.mark.parametrize(
    ("text", "wei"),
    [("1000 FLOCK", 10**21), ("2.5flock", 25 * 10**17), ("0.000000000000000001 FLOCK", 1), ("7", 7), (7, 7),
     ("7 wei", 7), ("1_000 FLOCK", 10**21), (str(WEI_MAX), WEI_MAX)],
)  # fmt: skip
def test_amounts__are_read_exactly(text: str | int, wei: int) -> None:
    """A stake would be another than the user wrote."""
    assert parse_flock(text) == wei


@pytest.mark.parametrize(
    "text", ["", "FLOCK", "-1", "1.5", "1.5 wei", "1 ETH", "1e18", "0.0000000000000000001 FLOCK", "1,5 FLOCK", "٣",
             str(WEI_MAX + 1), "1" * 41, -1, 1.5],
)  # fmt: skip
def test_amounts__other_texts_are_refused(text: str) -> None:
    """A mistyped amount would be staked."""
    with pytest.raises(UsageError):
        parse_flock(text)


@given(st.integers(0, WEI_MAX))
def test_amounts__whole_wei_comes_back(wei: int) -> None:
    """Some amounts would lose a wei on the way."""
    whole, fraction = divmod(wei, 10**18)
    assert parse_flock(f"{whole}.{fraction:018d} FLOCK") == parse_flock(wei) == wei


@pytest.mark.parametrize(
    ("wei", "text"),
    [("0", "0 X"), (1, "< 0.000001 X"), (10**18, "1 X"), (1_234_567 * 10**18 + 5 * 10**17, "1,234,567.5 X"),
     (10**18 + 1, "1 X"), (999_999_999_999_999_999, "0.999999 X")],
)  # fmt: skip
def test_amounts__are_shown_rounded_down(wei: str | int, text: str) -> None:
    """A member would believe it holds more than it does."""
    assert format_money(wei, "X") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min"), (604_800, "7 d"), (90_061, "1 d 1 h")],
)
def test_seconds__are_shown_in_two_units(seconds: int, text: str) -> None:
    """Long times would be unreadable."""
    assert format_seconds(seconds) == text
