"""``alliance watch`` as a command: once, as JSON, as lines, and live on a terminal of its own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from p2p_flock.cli.watching import loop
from p2p_flock.errors import ControlError
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import FakeDaemon
from tests.cli.watch_samples import ALLIANCE, SAMPLES
from tests.heeded_signals import heeded_signals

COMMAND = [sys.executable, "-m", "p2p_flock.cli.main", "watch"]
PATIENCE_S = 20.0
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"
ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


def test_once__prints_one_whole_frame(run: RunCommand, daemon: FakeDaemon) -> None:
    """A script or a bug report could not take a picture of the round."""
    ran = run("alliance", "watch", "--once")
    assert ran.code == 0, ran.err
    for part in (ALLIANCE, "round 5", "seat 1, validator", "Late: the masked update of seat 5", "42.25 FLOCK"):
        assert part in ran.out, part
    assert "\x1b" not in ran.out and "Ctrl-C" not in ran.out
    assert daemon.requests == [("alliance.watch", {})]


def test_watch__is_also_a_command_of_its_own(run: RunCommand, daemon: FakeDaemon) -> None:
    """Who types the short form would be told that there is no such command; the long one stands in old notes."""
    assert run("watch", "--once").out == run("alliance", "watch", "--once").out


@pytest.mark.parametrize("name", SAMPLES)
def test_once__json_is_the_answer_on_one_line(run: RunCommand, daemon: FakeDaemon, name: str) -> None:
    """Scripts could not read what the daemon said."""
    daemon.results["alliance.watch"] = SAMPLES[name]
    ran = run("alliance", "watch", "--once", "--json")
    assert ran.code == 0, ran.err
    assert ran.out.count("\n") == 1
    assert json.loads(ran.out) == SAMPLES[name]


def test_once__without_a_daemon_says_how_to_start_one(run: RunCommand, tmp_path: Path) -> None:
    """A script would wait for ever, or a newcomer see a traceback."""
    ran = run("alliance", "watch", "--once")
    assert ran.code == 3
    assert f"p2p-flock node --home {tmp_path / 'home'}" in ran.err


def test_once__other_format_is_refused(run: RunCommand, daemon: FakeDaemon) -> None:
    """Fields of another meaning would be shown as if they were understood."""
    daemon.change("alliance.watch", format=2)
    ran = run("alliance", "watch", "--once")
    assert (ran.code, "restart the daemon" in ran.err) == (1, True)


@pytest.mark.parametrize("interval", ["0", "0.1", "-1", "many", "4000"])
def test_interval__bounds_are_kept(run: RunCommand, interval: str) -> None:
    """A slip would keep a core busy asking."""
    assert run("alliance", "watch", f"--interval={interval}").code == 2


def rounds_of_loop(monkeypatch: pytest.MonkeyPatch, count: int) -> list[float]:
    """Let the loop end after so many waits; the waits' lengths from then on."""
    waits: list[float] = []

    def until(_self: loop.Pause, moment: float) -> bool:
        waits.append(moment - time.monotonic())
        if len(waits) == count:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(loop.Pause, "until", until)
    return waits


def test_json__a_line_per_refresh_and_errors_as_objects(
    run: RunCommand, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that reads along would lose its place when the daemon stops."""
    waits = rounds_of_loop(monkeypatch, 2)
    ran = run("alliance", "watch", "--json", "--interval", "7")
    assert ran.code == 130
    assert [json.loads(line) for line in ran.out.splitlines()] == [SAMPLES["collecting"]] * 2
    assert 6 < waits[0] <= 7
    daemon.results["alliance.watch"] = ControlError("busy\ntry later")
    rounds_of_loop(monkeypatch, 1)
    ran = run("alliance", "watch", "--json")
    assert json.loads(ran.out) == {"error": {"kind": "ControlError", "message": "busy\ntry later"}}


def test_lines__one_whenever_something_changes(
    run: RunCommand, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log would be filled with the same line, or miss that the daemon ended."""
    rounds_of_loop(monkeypatch, 3)
    ran = run("alliance", "watch")
    assert ran.code == 130
    (line,) = ran.out.splitlines()
    assert re.match(r"\d\d:\d\d:\d\d flock:", line) and "Waiting for seats 5." in line
    daemon.results["alliance.watch"] = ControlError("busy\ntry later")
    rounds_of_loop(monkeypatch, 2)
    assert run("alliance", "watch").out.splitlines()[0].endswith("busy: try later")


# --- on a terminal ---------------------------------------------------------------------------------------------------


class Terminal:
    """A running watch on a pseudo-terminal, and what it has written."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process, self.master = process, master
        self.text = ""

    def resize(self, columns: int, lines: int) -> None:
        """As a terminal emulator does; the signal by hand, for this terminal controls no session."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def close(self) -> None:
        """As when the machine at the other end is gone: nobody reads, and no signal is sent."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def wait_for(self, part: str, since: int = 0) -> int:
        """Read until ``part`` stands behind ``since``; where the text ends then."""
        deadline = time.monotonic() + PATIENCE_S
        while part not in self.text[since:]:
            assert time.monotonic() < deadline, self.text[since:]
            self._read()
        return len(self.text)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.master], [], [], 0.2)
        if not ready:
            return True
        try:
            data = os.read(self.master, 65_536)
        except OSError:  # the other end is closed
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def end(self) -> int:
        """Everything it still writes, and its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it still runs: {self.text[-500:]}"
            self._read()
        while select.select([self.master], [], [], 0)[0] and self._read():
            pass
        return self.process.returncode


@contextmanager
def on_terminal(home: Path, *options: str, columns: int = 80, lines: int = 24, **more: str) -> Iterator[Terminal]:
    """Watch on a terminal of this size; ``more`` goes into the environment."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment.update(TERM="xterm-256color", **more)
    with heeded_signals():
        process = subprocess.Popen(
            [*COMMAND, "--home", str(home), *options],
            stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        )  # fmt: skip
    os.close(slave)
    terminal = Terminal(process, master)
    try:
        yield terminal
    finally:
        process.kill()
        process.wait()
        terminal.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_screen__is_given_back_however_it_ends(daemon: FakeDaemon, number: signal.Signals, code: int) -> None:
    """The user's terminal would be left without a cursor, or with the last frame for ever."""
    with on_terminal(daemon.home) as terminal:
        terminal.wait_for("Late: the masked update of seat 5")
        assert ENTER_SCREEN in terminal.text and HIDE_CURSOR in terminal.text
        terminal.process.send_signal(number)
        assert terminal.end() == code
        assert terminal.text.rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)
        assert terminal.text.rindex(LEAVE_SCREEN) > terminal.text.rindex(ENTER_SCREEN)
        assert "Traceback" not in terminal.text


def test_screen__ends_with_its_terminal(daemon: FakeDaemon) -> None:
    """Every terminal that was closed without a signal, or test that was killed, would leave a process for ever."""
    with on_terminal(daemon.home, "--interval", "0.2") as terminal:
        terminal.wait_for("round 5")
        terminal.close()
        assert terminal.process.wait(PATIENCE_S) != 0


def test_screen__redraws_in_place_without_clearing(daemon: FakeDaemon) -> None:
    """Every refresh would flicker, or push the former frame up the screen."""
    with on_terminal(daemon.home, "--interval", "0.2") as terminal:
        end = terminal.wait_for("round 5")
        daemon.results["alliance.watch"] = SAMPLES["judging"]
        terminal.wait_for("answer refused", end)
        frames = terminal.text[end:]
        assert "\x1b[2J" not in frames and "\x1b[3J" not in frames
        assert "\x1b[H" in frames


def test_screen__follows_a_new_size_at_once(daemon: FakeDaemon) -> None:
    """The frame would be torn until the next refresh."""
    with on_terminal(daemon.home, "--interval", "3600") as terminal:
        end = terminal.wait_for("seat 5")
        assert "0x0005…0005" not in terminal.text
        terminal.resize(140, 40)
        terminal.wait_for("0x0005…0005", end)
        assert len(daemon.requests) == 1, "the daemon is not asked for it"


def test_screen__waits_for_a_daemon_that_stopped(tmp_path: Path) -> None:
    """The operator would have to start the watch again after every restart of the node."""
    home = tmp_path / "home"
    home.mkdir()
    fake = FakeDaemon(home)
    with on_terminal(home, "--interval", "0.2") as terminal:
        end = terminal.wait_for("no daemon runs")
        assert "p2p-flock node --home" in terminal.text
        with fake.running():
            end = terminal.wait_for("seat 1, validator", end)
        end = terminal.wait_for("Below: as of", end)
        with fake.running():
            daemon_is_back = terminal.wait_for("round 5", end)
        assert daemon_is_back


def test_screen__respects_no_color(daemon: FakeDaemon) -> None:
    """Who has set NO_COLOR would get colours nevertheless."""
    colour = re.compile(r"\x1b\[(?:\d+;)*[349][0-7]m")
    with on_terminal(daemon.home) as terminal:
        terminal.wait_for("Ctrl-C ends")
        assert colour.search(terminal.text)
    with on_terminal(daemon.home, NO_COLOR="1") as terminal:
        terminal.wait_for("Ctrl-C ends")
        assert not colour.search(terminal.text)
