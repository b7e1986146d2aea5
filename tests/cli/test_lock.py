"""Locks from the command line, on a real chain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import RunCommand
from tests.cli.governed_home import FLOCK, PASSWORD, GovernedHome, open_governed_home, printed

DAY_S = 86_400


@pytest.fixture
def governed(run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GovernedHome]:
    monkeypatch.setenv("P2P_FLOCK_PASSWORD", PASSWORD)
    with open_governed_home(run, tmp_path / "home", flock_wei=1_000 * FLOCK) as opened:
        yield opened


def test_lock__comes_back_after_its_time_and_not_before(run: RunCommand, governed: GovernedHome) -> None:
    """A holder would lose FLOCK, or could vote with what it has taken back."""
    ran = run("lock", "create", "100", "FLOCK", "--days", "365", "--yes")
    assert ran.code == 0, ran.err
    assert "Locking 100 FLOCK for 365 days gives 301 gmFLOCK (3.01 times)." in ran.out
    assert "It can be unlocked from" in ran.out
    assert printed(run("lock", "create", "7 FLOCK", "--days", "30", "--yes", "--json").out)["gm"] == str(7 * FLOCK)
    held = printed(run("lock", "list", "--json").out)
    assert (held["votes"], held["flock"], held["delegate"]) == (str(308 * FLOCK), str(893 * FLOCK), governed.address)
    assert "lock 1: 100 FLOCK, 301 gmFLOCK, until" in run("lock", "list").out

    ran = run("lock", "unlock", "1")
    assert (ran.code, "lock 1 still holds" in ran.err) == (2, True)
    ran = run("lock", "unlock", "3")
    assert (ran.code, "has no lock 3" in ran.err) == (2, True)
    governed.travel(30 * DAY_S)
    ran = run("lock", "unlock", "1", "2")
    assert (ran.code, "lock 1 still holds" in ran.err) == (2, True)
    assert "Unlocked 7 FLOCK; 7 gmFLOCK are burnt." in run("lock", "unlock", "2", "2").out
    governed.travel(336 * DAY_S)
    assert "Unlocked 100 FLOCK; 301 gmFLOCK are burnt." in run("lock", "unlock", "1").out
    assert governed.flock_of(governed.address) == 1_000 * FLOCK
    held = printed(run("lock", "list", "--json").out)
    assert (held["votes"], held["gm"], held["locks"]) == ("0", "0", [])


def test_lock__what_cannot_succeed_is_refused_before_sending(run: RunCommand, governed: GovernedHome) -> None:
    """Gas would be paid, or a password typed, for a lock that the contract does not take."""
    for arguments, says in (
        (("1001", "FLOCK", "--days", "30"), "holds 1,000 FLOCK, less than 1,001 FLOCK"),
        (("0", "FLOCK", "--days", "30"), "a lock of nothing"),
        (("many", "--days", "30"), "is no amount"),
        (("5", "FLOCK", "--days", "366"), "--days"),
        (("5", "FLOCK", "--days", "0"), "--days"),
        (("5", "FLOCK", "--days", "30"), "pass --yes"),
    ):
        ran = run("lock", "create", *arguments)
        assert (ran.code, says in ran.err) == (2, True), ran.err
    assert printed(run("lock", "list", "--json").out)["locks"] == []


def test_lock__needs_the_password_to_send_only(
    run: RunCommand, governed: GovernedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking would need the key in memory, or sending would not."""
    monkeypatch.delenv("P2P_FLOCK_PASSWORD")
    assert run("lock", "list").code == 0
    ran = run("lock", "create", "5", "FLOCK", "--days", "30", "--yes")
    assert (ran.code, "no password was given" in ran.err) == (2, True)
    monkeypatch.setenv("P2P_FLOCK_PASSWORD", "another password")
    ran = run("lock", "create", "5", "FLOCK", "--days", "30", "--yes")
    assert (ran.code, "does not open" in ran.err) == (2, True)


def test_delegate__moves_the_votes_and_nothing_else(run: RunCommand, governed: GovernedHome) -> None:
    """A delegate could spend, or votes would be counted twice."""
    assert run("lock", "create", "100", "FLOCK", "--days", "30", "--yes").code == 0
    other = "0x" + "99" * 20
    assert f"{other} votes with 100 gmFLOCK of yours" in run("lock", "delegate", other).out
    held = printed(run("lock", "list", "--json").out)
    assert (held["votes"], held["delegate"], held["locked_gm"]) == ("0", other, str(100 * FLOCK))
    assert f"vote through {other}" in run("lock", "list").out
    assert run("lock", "create", "1", "FLOCK", "--days", "30", "--yes").out.count(f"Its votes go to {other}") == 1
    assert run("lock", "delegate", "self").code == 0
    assert printed(run("lock", "list", "--json").out)["votes"] == str(101 * FLOCK)
    ran = run("lock", "delegate", "0x" + "00" * 20)
    assert (ran.code, "zero address" in ran.err) == (2, True)
