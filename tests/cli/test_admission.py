"""Who may join an alliance, until when, and when it ends early: what a creator writes and a joiner reads."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from p2p_flock.alliance.allowlist import compute_allowlist_root
from p2p_flock.cli.alliance_admission import parse_join_deadline, parse_score_target, read_allowlist
from p2p_flock.daemon.control_messages import params_from_json
from p2p_flock.errors import UsageError
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import ALLIANCE, LISTED, SHOW, FakeDaemon

CREATE = ("alliance", "create", "--preset", "testnet", "--task", "heart", "--yes")
FIRST, SECOND, THIRD = ("0x" + letter * 40 for letter in "1aF")
NOW_S = int(datetime(2026, 12, 1, 12, tzinfo=UTC).timestamp())


def write_list(folder: Path, text: str) -> Path:
    path = folder / "members.txt"
    path.write_text(text)
    return path


# --- the allowlist ---------------------------------------------------------------------------------------------


def test_allowlist__is_sorted_and_sent_with_its_root(run: RunCommand, daemon: FakeDaemon, tmp_path: Path) -> None:
    """The factory would refuse the list, or the alliance would admit others than the creator named."""
    path = write_list(tmp_path, f"# the clinics\n{SECOND}   # Basel\n\n  {FIRST}\n{THIRD}")
    ran = run(*CREATE, "--allowlist", str(path))
    assert ran.code == 0, ran.err
    arguments = daemon.requests[-1][1]
    owners = [bytes.fromhex(text[2:]) for text in (FIRST, SECOND, THIRD)]
    assert arguments["allowlist"] == ["0x" + owner.hex() for owner in owners]
    root = params_from_json(arguments["params"], bytes(32)).allowlist_root
    assert root == compute_allowlist_root(owners) != bytes(32)


def test_allowlist__survives_a_dry_run(run: RunCommand, daemon: FakeDaemon, tmp_path: Path) -> None:
    """What the creator checked and what is sent would differ."""
    path = write_list(tmp_path, f"{SECOND}\n{FIRST}\n")
    ran = run(*CREATE, "--allowlist", str(path), "--join-deadline", "+1h", "--score-target", "0.9", "--dry-run")
    assert ran.code == 0, ran.err
    document = tomllib.loads(ran.out)
    assert document["allowlist"] == [FIRST, SECOND]
    assert document["params"]["score_target_micro"] == 900_000
    saved = tmp_path / "alliance.toml"
    saved.write_text(ran.out)
    assert run("alliance", "create", "--from", str(saved), "--yes").code == 0
    arguments = daemon.requests[-1][1]
    assert arguments["allowlist"] == [FIRST, SECOND]
    assert arguments["params"]["join_deadline_s"] == document["params"]["join_deadline_s"] > 0


def test_allowlist__is_empty_for_an_open_alliance(run: RunCommand, daemon: FakeDaemon) -> None:
    """Nobody could join where everybody should."""
    assert run(*CREATE).code == 0
    arguments = daemon.requests[-1][1]
    assert (arguments["allowlist"], arguments["params"]["allowlist_root"]) == ([], "0x" + "00" * 32)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(f"{FIRST}\n0x12\n", "line 2: '0x12' is no address", id="bad_address"),
        pytest.param(f"{FIRST}\n\n{FIRST.upper().replace('X', 'x')}\n", "line 3", id="bad_twice"),
        pytest.param("# nobody\n", "lists nobody", id="bad_empty"),
        pytest.param("0x" + "00" * 20, "none of them zero", id="bad_zero"),
        pytest.param("\n".join(f"0x{number:040x}" for number in range(1, 1_026)), "at most 1024", id="bad_many"),
        pytest.param("#" * (300 << 10), "longer than", id="bad_long"),
    ],
)
def test_allowlist__mistakes_are_refused_with_their_place(tmp_path: Path, text: str, says: str) -> None:
    """A list with a typing mistake would lock a member out for ever."""
    with pytest.raises(UsageError, match=says):
        read_allowlist(write_list(tmp_path, text))


def test_allowlist__repetitions_name_both_lines(tmp_path: Path) -> None:
    """The creator would have to search a thousand lines."""
    with pytest.raises(UsageError, match=r"line 3: .* first in .*line 1"):
        read_allowlist(write_list(tmp_path, f"{FIRST}\n{SECOND}\n{FIRST}\n"))


def test_allowlist__root_without_its_list_is_refused(run: RunCommand, daemon: FakeDaemon, tmp_path: Path) -> None:
    """An alliance that should be closed to strangers would be open to all, or closed to everybody."""
    ran = run(*CREATE, "--allowlist", write_list(tmp_path, FIRST), "--dry-run")
    saved = tmp_path / "alliance.toml"
    saved.write_text(ran.out.replace(f'    "{FIRST}",\n', ""))
    ran = run("alliance", "create", "--from", saved, "--yes")
    assert ran.code == 2
    assert "--allowlist, or drop" in ran.err
    assert "alliance.create" not in [command for command, _ in daemon.requests]


# --- times and scores ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-12-01T12:01Z", 60),
        ("2026-12-01 12:01", 60),  # without a zone it is UTC, wherever the creator sits
        ("2026-12-01T14:01+02:00", 60),
        ("+2d12h", 2 * 86_400 + 12 * 3_600),
        ("+90m", 5_400),
        ("+90min30s", 5_430),
    ],
)
def test_join_deadline__is_read_as_utc_or_from_now(text: str, seconds: int) -> None:
    """Joining would end hours before or after what the creator meant."""
    assert parse_join_deadline(text, NOW_S) == NOW_S + seconds


@pytest.mark.parametrize("text", ["", "+", "tomorrow", "+2 days", "2026-11-30T12:00Z", "-2d", "12:00"])
def test_join_deadline__mistakes_are_refused(text: str) -> None:
    """An alliance that nobody can join any more would hold its pool for a month."""
    with pytest.raises(UsageError):
        parse_join_deadline(text, NOW_S)


@pytest.mark.parametrize(("text", "micro"), [("0.85", 850_000), ("1", 1_000_000), (".5", 500_000), ("0.000001", 1)])
def test_score_target__is_exact(text: str, micro: int) -> None:
    """A float's rounding would end an alliance a millionth too early."""
    assert parse_score_target(text) == micro


@pytest.mark.parametrize("text", ["", "85", "1.1", "-0.5", "0.1234567", "1e-3", "nan"])
def test_score_target__mistakes_are_refused(text: str) -> None:
    """85 % written as 85 would never be reached."""
    with pytest.raises(UsageError):
        parse_score_target(text)


# --- what others read ------------------------------------------------------------------------------------------


def test_terms__say_who_may_join_until_when_and_what_ends_it(run: RunCommand, daemon: FakeDaemon) -> None:
    """A member would find out from a failed transaction, or from an alliance that ended."""
    admission = {"listed_owners": 12, "is_listed": True, "join_deadline_s": NOW_S, "is_over": False}
    params = {**SHOW["params"], "score_target_micro": 850_000}
    daemon.change("alliance.show", admission=admission, params=params)
    shown = " ".join(run("alliance", "show", ALLIANCE).out.split())
    assert "Only the 12 owners on its creator's list may join. This account is one of them." in shown
    assert "Nobody joins after 2026-12-01 12:00:00 UTC" in shown
    assert "It ends early once 2 of a round's 3 validators" in shown
    assert "0.85 or more" in shown


def test_terms__of_an_open_alliance_say_that(run: RunCommand, daemon: FakeDaemon) -> None:
    """Silence would be read as a restriction."""
    shown = run("alliance", "show", ALLIANCE).out
    assert "Anybody may join." in shown
    assert "ends early" not in shown


def test_list__says_whom_an_alliance_is_for(run: RunCommand, daemon: FakeDaemon) -> None:
    """Who looks for an alliance would pick one that does not take it."""
    admission = {"listed_owners": 12, "is_listed": False, "join_deadline_s": NOW_S, "is_over": True}
    daemon.results["alliance.list"] = {"alliances": [{**LISTED, "admission": admission}]}
    shown = " ".join(run("alliance", "list").out.split())
    assert "not for you: you are not on its allowlist; joining is over" in shown


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"listed_owners": 2, "is_listed": False}, "not on the allowlist", id="bad_account"),
        pytest.param({"join_deadline_s": NOW_S, "is_over": True}, "join deadline has passed", id="bad_time"),
    ],
)
def test_join__of_those_not_admitted_sends_nothing(
    run: RunCommand, daemon: FakeDaemon, changes: dict[str, object], says: str
) -> None:
    """Gas would be paid for a refusal that was known before."""
    daemon.change("alliance.show", admission={**SHOW["admission"], **changes})
    ran = run("alliance", "join", ALLIANCE, "--no-dry-run", "--yes")
    assert ran.code == 2
    assert says in ran.err
    assert [command for command, _ in daemon.requests] == ["alliance.show"]


def test_join__of_an_alliance_with_absence_slashes_is_refused(run: RunCommand, daemon: FakeDaemon) -> None:
    """This version cannot answer a challenge: a stranger could take one percent of the stake three times."""
    daemon.change("alliance.show", params={**SHOW["params"], "absence_slash_bps": 100})
    ran = run("alliance", "join", ALLIANCE, "--no-dry-run", "--yes")
    assert ran.code == 2
    assert "challenge of absence" in ran.err
    assert [command for command, _ in daemon.requests] == ["alliance.show"]
