"""``p2p-flock log``: what it shows of the daemon's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2p_flock.cli.log import _Follower, format_line
from tests.cli.conftest import RunCommand


def line(message: str, level: str = "info", round_number: int | None = None, **fields: object) -> str:
    """As the daemon writes it."""
    entry = {
        "time": 1_700_000_000.5, "level": level, "logger": "p2p_flock.daemon", "message": message, "alliance": None,
        "round": round_number, "round_id": None if round_number is None else f"a7-r{round_number}", **fields,
    }  # fmt: skip
    return json.dumps(entry) + "\n"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "logs"
    folder.mkdir(parents=True)
    (folder / "node.log.1").write_text(line("older", round_number=3))
    (folder / "node.log").write_text(
        line("training", round_number=4, seat=2)
        + "cut off by a full dis\n"
        + line("chatter", "debug", 4)
        + line("late", "warning", 4)
        + line("broken", "error", exception="Traceback\n  here")
    )
    return folder


def test_log__shows_all_files_oldest_first(run: RunCommand, logs: Path) -> None:
    """An operator would miss what happened before the file was rotated."""
    ran = run("log")
    assert ran.code == 0
    words = [text for text in ("older", "training", "late", "broken") if text in ran.out]
    assert words == ["older", "training", "late", "broken"] and "chatter" not in ran.out
    assert "a7-r4  training  seat=2" in ran.out and "    Traceback\n" in ran.out


def test_log__of_a_round_and_a_level(run: RunCommand, logs: Path) -> None:
    """What happened in a round would have to be searched by hand."""
    assert run("log", "--round", "4", "--level", "warning").out.count("\n") == 1
    assert "chatter" in run("log", "--round", "4", "--level", "debug").out
    assert run("log", "--lines", "1").out.startswith("2023-11-1")
    assert run("log", "--round", "99").out == ""


def test_log__json_is_what_the_daemon_wrote(run: RunCommand, logs: Path) -> None:
    """A program could not read it."""
    entries = [json.loads(text) for text in run("log", "--round", "4", "--json").out.splitlines()]
    assert [entry["message"] for entry in entries] == ["training", "late"]


def test_log__none_yet_says_where_it_looked(run: RunCommand, tmp_path: Path) -> None:
    """A newcomer would take no output for no news."""
    ran = run("log")
    assert ran.code == 2 and str(tmp_path / "home" / "logs") in ran.err


def test_log__a_peers_text_steers_no_terminal() -> None:
    """A peer could clear the screen, or forge a line."""
    text = format_line({"time": 1, "level": "info", "message": "peer says\n\x1b[2J", "round_id": None})
    assert "\x1b" not in text and "\n" not in text


def test_follower__takes_whole_lines_and_follows_a_rotation(logs: Path) -> None:
    """``--follow`` would show half a line, or fall silent when the daemon begins a new file."""
    path = logs / "node.log"
    follower = _Follower(path)
    assert len(list(follower.read())) == 4
    whole = line("in two parts")
    with path.open("a") as file:
        file.write(whole[:20])
        file.flush()
        assert list(follower.read()) == []
        file.write(whole[20:])
    assert [entry["message"] for entry in follower.read()] == ["in two parts"]
    with path.open("a") as file:
        file.write(line("last of the old"))
    path.rename(logs / "node.log.2")
    path.write_text(line("first of the new"))
    assert [entry["message"] for entry in follower.read()] == ["last of the old", "first of the new"]
    path.unlink()
    assert list(follower.read()) == []
    follower.close()
