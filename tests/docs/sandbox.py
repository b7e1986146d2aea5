"""Executes a page's blocks as a reader would: one after the other, with a home and folders of their own.

The page's ``scripts/…``, ``.venv/…`` and the like are the checkout's; everything else is below the sandbox. Folder and
exported variables go on from block to block. What a block left running ends with the page, as by Ctrl-C.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.pages import ROOT, Block
from tests.heeded_signals import heeded_signals

CHECKOUT_PATHS = re.compile(r"(?<![\w./~$-])((?:scripts|\.venv|bootstrap|contracts|docs|tests|p2p_flock)/)")
END_SECONDS_MAX = 60.0
INHERITED = ("LANG", "LC_ALL", "TERM", "TMPDIR")


class BlockFailedError(AssertionError):
    """A documented command did not do what its page says; the text has its output."""


@contextmanager
def typed(answer: str) -> Iterator[int]:
    """A terminal on which somebody has typed this already, or nothing at all to read from."""
    if not answer:
        yield subprocess.DEVNULL
        return
    master, terminal = os.openpty()
    try:
        os.write(master, answer.encode())
        yield terminal
    finally:
        os.close(terminal)
        os.close(master)


@dataclass(slots=True)
class Running:
    """A block in the background: its process, and what it printed so far."""

    block: Block
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    found: threading.Event = field(default_factory=threading.Event)
    reader: threading.Thread | None = None

    def read(self) -> None:
        """Take lines until the end; run in a thread, so that the pipe never fills."""
        assert self.process.stdout is not None and self.block.background_until is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if re.search(self.block.background_until, line):
                self.found.set()
        self.found.set()


class Sandbox:
    """Where one page is executed; a context manager that leaves nothing running."""

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.folder, self.values = folder, dict(variables or {})
        self._state = folder / "shell-state"
        self._running: list[Running] = []
        home, clone = folder / "home", folder / "p2p_flock"
        for each in (home, clone):
            each.mkdir(parents=True)
        self.environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self.environment |= {"HOME": str(home), "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
        self.environment |= {"PYTHONUNBUFFERED": "1", "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
        self.environment |= {name: value for name, value in self.values.items() if name.isupper()}
        self._state.write_text(f"cd {clone}\n")

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def script(self, block: Block) -> str:
        """What is executed for a block.

        Raises:
            BlockFailedError: a text that is to be replaced is not there.
        """
        text = "\n".join(block.instead) + "\n" if block.instead else block.text
        for old, new in block.replaced:
            if old not in text:
                raise BlockFailedError(f"{block.name}: {old!r} is to be replaced and is not in the block")
            text = text.replace(old, re.sub(r"\$(\w+)", lambda found: self.values.get(found[1], found[0]), new))
        text = re.sub(r"\$([A-Z_]+)\b", lambda found: self.values.get(found[1], found[0]), text)
        return CHECKOUT_PATHS.sub(rf"{ROOT}/\1", text)

    def run(self, block: Block) -> str:
        """Execute a block; what it printed.

        Raises:
            BlockFailedError: it failed, took too long, or did not print what it should.
        """
        if block.background_until is not None:
            return self._start(block)
        deadline = time.monotonic() + block.seconds_max
        while True:
            output = self._execute(block, deadline)
            if block.again_until is None or re.search(block.again_until, output):
                break
            if time.monotonic() > deadline:
                raise BlockFailedError(f"{block.name}: never printed {block.again_until!r}, last:\n{output}")
        for pattern in block.shows:
            if not re.search(pattern, output):
                raise BlockFailedError(f"{block.name}: does not print {pattern!r} but:\n{output}")
        self._capture(block, output)
        return output

    def _capture(self, block: Block, output: str) -> None:
        for name, pattern in block.captures:
            found = re.search(pattern, output)
            if found is None:
                raise BlockFailedError(f"{block.name}: nothing like {pattern!r} in:\n{output}")
            self.values[name] = found[1]

    def _execute(self, block: Block, deadline: float) -> str:
        keep = f"{{ declare -px; printf 'cd %q\\n' \"$PWD\"; }} >{self._state}"
        script = f"set -e\n. {self._state}\n{self.script(block)}\n{keep}\n"
        try:
            with typed(block.answer) as keyboard:
                result = subprocess.run(
                    ["bash", "-c", script],
                    check=False,
                    env=self.environment,
                    stdin=keyboard,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=max(1.0, deadline - time.monotonic()),
                )
        except subprocess.TimeoutExpired as error:
            raise BlockFailedError(f"{block.name}: did not end within {block.seconds_max:.0f} s") from error
        if result.returncode != block.exit_code:
            raise BlockFailedError(
                f"{block.name}: exit code {result.returncode}\n{script}\n{result.stdout}\n{self.told()}"
            )
        return result.stdout

    def _start(self, block: Block) -> str:
        # exec: a signal for the block is one for its program, as in a terminal.
        script = f". {self._state}\nexec {self.script(block).strip()}\n"
        with heeded_signals():
            process = subprocess.Popen(
                ["bash", "-c", script],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        running = Running(block, process)
        self._running.append(running)
        running.reader = threading.Thread(target=running.read)
        running.reader.start()
        running.found.wait(block.seconds_max)
        output = "".join(running.lines)
        assert block.background_until is not None
        if not re.search(block.background_until, output):
            raise BlockFailedError(f"{block.name}: never printed {block.background_until!r} but:\n{output}")
        self._capture(block, output)
        return output

    def told(self) -> str:
        """What the blocks in the background printed last."""
        return "\n".join(f"--- {each.block.name}\n{''.join(each.lines[-15:])}" for each in self._running)

    def close(self) -> None:
        """End what still runs, the last first.

        Raises:
            BlockFailedError: one of them did not end well.
        """
        wrong = []
        for running in reversed(self._running):
            running.process.send_signal(signal.SIGINT)
            try:
                code = running.process.wait(END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                running.process.kill()
                code = running.process.wait()
            assert running.reader is not None and running.process.stdout is not None
            running.reader.join(END_SECONDS_MAX)
            running.process.stdout.close()
            if code not in (0, 130, -signal.SIGINT):
                wrong.append(f"{running.block.name} ended with {code}:\n{''.join(running.lines[-15:])}")
        self._running.clear()
        if wrong:
            raise BlockFailedError("\n".join(wrong))
