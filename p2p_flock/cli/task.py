"""``p2p-flock task``: what can be trained here, whether one's data fits, and the start of a task of one's own."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import click

from p2p_flock.cli.options import json_option, print_json
from p2p_flock.cli.task_check import check
from p2p_flock.cli.task_template import render_task
from p2p_flock.errors import UsageError
from p2p_flock.learning.task_manifest import ENTRY_POINT_GROUP


@click.group()
def task() -> None:
    """List installed tasks, check your data against one, or begin one."""


task.add_command(check)


def installed_tasks() -> list[str]:
    """Names of the installed tasks, ascending; imports none of them."""
    return sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP))


@task.command("list")
@json_option
def list_tasks(as_json: bool) -> None:
    """Show the installed tasks: the name to give to --task, where it is, and the package that brought it."""
    found = [
        {
            "task": point.name,
            "object": point.value,
            "package": point.dist.name if point.dist is not None else "",
            "version": point.dist.version if point.dist is not None else "",
        }
        for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    ]
    if as_json:
        print_json({"tasks": found})
        return
    width = max((len(entry["task"]) for entry in found), default=0)
    for entry in found:
        click.echo(f"{entry['task']:<{width}}  {entry['object']}  ({entry['package']} {entry['version']})")
    if not found:
        click.echo("No task is installed; `p2p-flock task new NAME` begins one.")


@task.command()
@click.argument("name")
@click.option(
    "--directory", type=click.Path(path_type=Path), help="Where to write the package; new or empty [default: ./NAME]."
)
def new(name: str, directory: Path | None) -> None:
    """Write a small installable package with a task that trains already; change it into yours."""
    files = render_task(name)
    folder = (directory or Path(name)).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty\nname a new folder with --directory; nothing is overwritten")
        for path, text in files.items():
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}\nname another folder with --directory") from error
    click.echo(f"Wrote {', '.join(sorted(files))} to {folder}")
    click.echo("Next: make it yours, then")
    click.echo(f"  pip install -e {folder}")
    click.echo(f"  pytest {folder}")
