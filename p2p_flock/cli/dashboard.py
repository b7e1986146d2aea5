"""``p2p-flock dashboard``: the link to the node's page.

The link holds the node's secret: it goes to standard output, and to a browser through a private file, since every user
of the machine can read the arguments of a process.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import cast

import click

from p2p_flock.cli.options import STATUS_TIMEOUT_S, call, home_option, print_json
from p2p_flock.daemon.control_messages import StatusResult
from p2p_flock.daemon.dashboard_files import read_token
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import UsageError
from p2p_flock.store.files import write_atomic

BROWSER_VARIABLE = "BROWSER"
TROUBLE = "the dashboard"  # how its warnings begin


@click.command()
@home_option
@click.option("--open", "opens", is_flag=True, help="Open it in a browser of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print url, token and link as JSON.")
def dashboard(home: Path, opens: bool, as_json: bool) -> None:
    """Print the link to the node's page.

    Whoever has the link can see what this node does, and change nothing. The page is on this machine only; from another
    one, forward its port: `ssh -L PORT:127.0.0.1:PORT HOST`.
    """
    url = _find_url(home)
    token = read_token(DataDirectory(home).dashboard_token)
    link = f"{url}/#token={token}"
    if as_json:
        print_json({"url": url, "token": token, "link": link})
    else:
        click.echo(link)
    if opens:
        _open(DataDirectory(home).dashboard_link, link)


def _find_url(home: Path) -> str:
    """Where the page is.

    Raises:
        NoDaemonError: the node does not run.
        UsageError: it runs without a dashboard.
    """
    status = cast(StatusResult, call(home, "status", {}, STATUS_TIMEOUT_S))
    if status["dashboard"] is not None:
        return status["dashboard"]
    for warning in status["warnings"]:
        if warning.startswith(TROUBLE):
            raise UsageError(f"This node has no page: {warning}")
    raise UsageError(
        "This node's dashboard is switched off.\n"
        f"Set enabled = true under [dashboard] in {DataDirectory(home).config} and restart the node."
    )


def _open(path: Path, link: str) -> None:
    """Hand the link to the browser by a file that leads there; where there is no browser the printed link has to do.

    Not by ``webbrowser``, which may wait for a text browser to end.

    Raises:
        StoreError: the file cannot be written.
    """
    leads_there = f'<meta http-equiv="refresh" content="0; url={link}">'
    write_atomic(path, f'<!doctype html><meta charset="utf-8"><title>p2p_flock</title>{leads_there}'.encode())
    command = os.environ.get(BROWSER_VARIABLE) or shutil.which("xdg-open") or shutil.which("open")
    if command is None:
        click.echo("no browser found here: open the link yourself", err=True)
        return
    quiet = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in range(3)]
    try:
        # In a group of its own, so that Ctrl-C in this terminal does not end it; nobody waits for it.
        os.posix_spawnp(command, [command, str(path)], os.environ, file_actions=quiet, setpgroup=0)
    except OSError as error:
        click.echo(f"cannot start {command}: {error.strerror}; open the link yourself", err=True)
