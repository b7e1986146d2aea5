"""``p2p-flock config``: look at settings without a running daemon."""

from __future__ import annotations

import os
from pathlib import Path

import click

from p2p_flock.cli.options import home_option
from p2p_flock.daemon.data_directory import DataDirectory


@click.group()
def config() -> None:
    """Explain and check the settings file."""


@config.command()
def template() -> None:
    """Print a settings file with every setting, its default and what it means."""
    from p2p_flock.daemon.config_template import render_config  # noqa: PLC0415  start-up cost

    click.echo(render_config({}), nl=False)


@config.command()
@home_option
def check(home: Path) -> None:
    """Read config.toml and the environment and say whether a node could start with them."""
    from p2p_flock.daemon.config_file import load_config  # noqa: PLC0415  start-up cost

    path = DataDirectory(home).config
    load_config(path, os.environ)
    click.echo(f"{path} is in order.")
