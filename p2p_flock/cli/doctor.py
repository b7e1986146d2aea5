"""``p2p-flock doctor``: looks at everything that a newcomer gets wrong, with and without a running node.

Only parses, asks for the password and prints; ``cli/checks/`` looks. Must never print a secret: every line goes through
the process's filter.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from p2p_flock.cli.failures import EXIT_FAILED, EXIT_OK
from p2p_flock.cli.options import STATUS_TIMEOUT_S, call, home_option, json_option, print_json
from p2p_flock.daemon.control_messages import StatusResult
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import ConfigError, NoDaemonError, P2PFlockError, PasswordError
from p2p_flock.types import AllianceId

if TYPE_CHECKING:
    from p2p_flock.cli.checks.findings import Finding
    from p2p_flock.cli.checks.scene import Scene
    from p2p_flock.daemon.config import NodeConfig
    from p2p_flock.daemon.observability import SecretsFilter

NAME_COLUMNS = 13
MARKS_IN_ASCII = {"✓": "ok", "✗": "X", "–": "-"}
COLOURS = {"✓": "green", "!": "yellow", "✗": "red", "–": "bright_black"}


@click.command()
@home_option
@click.option("--alliance", "alliance_text", metavar="ID", help="Alliance you mean to join: compares its stake, too.")
@click.option(
    "--password-file", type=click.Path(dir_okay=False, path_type=Path), help="File (mode 0600) with the password."
)
@click.option("--no-password", is_flag=True, help="Do not ask for the password and do not try it.")
@click.option(
    "--only", "names", multiple=True, metavar="NAME", help="Only this check, as the report names it; may be repeated."
)
@json_option
def doctor(
    home: Path,
    alliance_text: str | None,
    password_file: Path | None,
    no_password: bool,
    names: tuple[str, ...],
    as_json: bool,
) -> int:
    """Check everything a node needs, and say what to mend. Changes nothing; takes 30 seconds at most.

    Looks at installation, home, settings, password, chain, clock, beacon, ports, addresses, bootstrap nodes, balance,
    data, training worker, disk and memory, whether the node runs or not.

    Ends with 0 where all is well or only worth a look (!), with 1 where something must be mended (✗).
    """
    alliance = None if alliance_text is None else AllianceId.parse(alliance_text)
    started = time.monotonic()
    wants_password = not no_password and (not names or "password" in names)
    scene, secrets = _look(home, alliance, password_file, wants_password)
    lines = _Lines(as_json, secrets)
    lines.progress("loading")
    import trio  # noqa: PLC0415  start-up cost of other commands

    from p2p_flock.cli.checks.every import choose_checks, run_checks  # noqa: PLC0415  a second for libp2p
    from p2p_flock.cli.checks.findings import Level  # noqa: PLC0415

    checks = choose_checks(names)
    lines.expect([check.name for check in checks])
    trio.run(run_checks, scene, lambda check, findings: lines.take(check.name, findings), checks)
    found = lines.finish()
    broken = sum(finding.level is Level.BROKEN for finding in found)
    warned = sum(finding.level is Level.WARNING for finding in found)
    if as_json:
        print_json({"ok": not broken, "broken": broken, "warnings": warned,
                    "seconds": round(time.monotonic() - started, 1), "findings": lines.for_scripts()})  # fmt: skip
    else:
        click.echo(_summary(broken, warned))
    return EXIT_FAILED if broken else EXIT_OK


def _summary(broken: int, warned: int) -> str:
    if not broken and not warned:
        return "All is well."
    look = f"{warned} {'is' if warned == 1 else 'are'} worth a look (!)"
    if not broken:
        return f"Nothing must be mended; {look}."
    mend = f"{broken} {'thing' if broken == 1 else 'things'} must be mended (✗)"
    return f"{mend}; {look}." if warned else f"{mend}."


def _look(
    home: Path, alliance: AllianceId | None, password_file: Path | None, wants_password: bool
) -> tuple[Scene, SecretsFilter]:
    """What is read before anything is asked over a network: settings, the running node, the password."""
    from p2p_flock.cli.checks.scene import Scene  # noqa: PLC0415  start-up cost of other commands
    from p2p_flock.daemon.config_file import load_config  # noqa: PLC0415
    from p2p_flock.daemon.observability import process_secrets  # noqa: PLC0415

    directory = DataDirectory(home)
    config: NodeConfig | None = None
    config_error: P2PFlockError | None = None
    try:
        config = load_config(directory.config, os.environ)
        for url in (*config.chain.rpc_urls, *config.chain.beacon_urls):
            process_secrets.register_url(url)
    except ConfigError as error:
        config_error = error
    status: StatusResult | None = None
    status_error: P2PFlockError | None = None
    try:
        status = cast(StatusResult, call(home, "status", {}, STATUS_TIMEOUT_S / 3))
    except NoDaemonError:
        pass
    except P2PFlockError as error:
        status_error = error
    password: str | None = None
    password_error: P2PFlockError | None = None
    if wants_password and directory.keystore.exists() and (status is None or password_file is not None):
        try:
            password = _read_password(password_file)
            process_secrets.register(password)
        except PasswordError as error:
            password_error = error
    scene = Scene(
        directory=directory,
        config=config,
        config_error=config_error,
        status=status,
        status_error=status_error,
        holder=_read_holder(directory),
        password=password,
        password_error=password_error,
        alliance=alliance,
    )
    return scene, process_secrets


def _read_password(password_file: Path | None) -> str:
    from p2p_flock.daemon.passwords import read_password  # noqa: PLC0415  start-up cost of other commands

    def prompt() -> str:
        return str(click.prompt("Password of the keystore", hide_input=True, err=True))

    return read_password(password_file, os.environ, prompt if sys.stdin.isatty() else None)


def _read_holder(directory: DataDirectory) -> str | None:
    """Process ID in the home's lock, where somebody holds that."""
    import fcntl  # noqa: PLC0415  only here

    try:
        with directory.lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read(20).decode("ascii", "replace").strip() or "unknown"
    except OSError:
        return None
    return None


class _Lines:
    """Prints findings in the order of the checks, each as soon as it and all before it are known."""

    def __init__(self, as_json: bool, secrets: SecretsFilter) -> None:
        self._as_json, self._secrets = as_json, secrets
        self._names: list[str] = []
        self._found: dict[str, list[Finding]] = {}
        self._printed = 0
        self._is_live = sys.stderr.isatty() and not as_json

    def expect(self, names: list[str]) -> None:
        self._names = names
        self.progress("checking: " + ", ".join(names))

    def take(self, name: str, findings: list[Finding]) -> None:
        self._found[name] = findings
        self.progress("")
        while self._printed < len(self._names) and self._names[self._printed] in self._found:
            if not self._as_json:
                self._show(self._names[self._printed])
            self._printed += 1
        waiting = [other for other in self._names if other not in self._found]
        if waiting:
            self.progress(f"still checking: {', '.join(waiting)}")

    def finish(self) -> list[Finding]:
        self.progress("")
        return [finding for name in self._names for finding in self._found[name]]

    def for_scripts(self) -> list[dict[str, str]]:
        clean = self._secrets.clean
        return [
            {"check": name, "level": finding.level.word, "found": clean(finding.found), "remedy": clean(finding.remedy)}
            for name in self._names
            for finding in self._found[name]
        ]

    def progress(self, text: str) -> None:
        """One line that is overwritten, on a terminal only."""
        if self._is_live:
            sys.stderr.write("\r\x1b[K" + text[: _columns() - 1])
            sys.stderr.flush()

    def _show(self, name: str) -> None:
        for finding in self._found[name]:
            mark = finding.level.mark
            shown = mark if _can_print(mark) else MARKS_IN_ASCII.get(mark, mark)
            lead = f"{name:<{NAME_COLUMNS}}"
            indent = len(shown) + 1 + NAME_COLUMNS
            click.secho(shown, fg=COLOURS[mark], nl=False)
            click.echo(f" {lead}{_fold(self._secrets.clean(finding.found), indent)}")
            if finding.remedy:
                arrow = "→ " if _can_print("→") else "do: "
                click.echo(" " * indent + _fold(arrow + self._secrets.clean(finding.remedy), indent))
            name = ""


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _columns() -> int:
    import shutil  # noqa: PLC0415  only here

    return shutil.get_terminal_size().columns


def _fold(text: str, indent: int) -> str:
    """Wrapped for a terminal; whole where a program or a file reads it."""
    if not sys.stdout.isatty():
        return text
    width = max(40, _columns() - indent - 1)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(lines)
