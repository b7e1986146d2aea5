"""``p2p-flock dashboard``: the link, or what to do where there is none."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from p2p_flock.daemon.dashboard_files import create_token
from p2p_flock.daemon.data_directory import DataDirectory
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import STATUS, FakeDaemon

URL = "http://127.0.0.1:4180"


@pytest.fixture
def token(daemon: FakeDaemon) -> str:
    """Of a node whose dashboard listens."""
    daemon.results["status"] = {**STATUS, "dashboard": URL}
    return create_token(DataDirectory(daemon.home).dashboard_token)


def test_dashboard__prints_the_link_and_nothing_else(run: RunCommand, token: str) -> None:
    """The operator, or a script, could not open the page."""
    ran = run("dashboard")
    assert (ran.code, ran.out, ran.err) == (0, f"{URL}/#token={token}\n", "")
    printed = json.loads(run("dashboard", "--json").out)
    assert printed == {"url": URL, "token": token, "link": f"{URL}/#token={token}"}


def test_dashboard__opens_it_without_showing_the_token_to_other_users(
    run: RunCommand, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every user of the machine can read the arguments of a process."""
    pipe = tmp_path / "opened"
    os.mkfifo(pipe)
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {pipe}\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(browser))
    ran = run("dashboard", "--open")
    assert ran.code == 0, ran.err
    link = DataDirectory(tmp_path / "home").dashboard_link
    assert pipe.read_text().strip() == str(link)  # waits for the browser
    assert token in link.read_text() and stat.S_IMODE(link.stat().st_mode) == 0o600


def test_dashboard__without_a_browser_says_so(
    run: RunCommand, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator of a server without a screen would wait for a window."""
    monkeypatch.delenv("BROWSER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = run("dashboard", "--open")
    assert ran.code == 0 and token in ran.out and "no browser" in ran.err


@pytest.mark.parametrize(
    ("warnings", "says"),
    [
        ([], ("is switched off", "enabled = true")),
        (
            ["no peer", "the dashboard cannot listen on 127.0.0.1 port 4180: taken set another"],
            ("cannot listen", "4180"),
        ),
    ],
)
def test_dashboard__that_is_not_there_is_explained(
    run: RunCommand, daemon: FakeDaemon, warnings: list[str], says: tuple[str, ...]
) -> None:
    """The operator would look for a page that cannot come."""
    daemon.results["status"] = {**STATUS, "warnings": warnings, "dashboard": None}
    ran = run("dashboard")
    assert ran.code == 2 and ran.out == ""
    assert all(word in ran.err for word in says), ran.err


def test_dashboard__without_a_daemon_says_how_to_start_one(run: RunCommand, tmp_path: Path) -> None:
    """The link of a node that is not there would open an error of the browser."""
    ran = run("dashboard")
    assert ran.code == 3 and "p2p-flock node --home" in ran.err
