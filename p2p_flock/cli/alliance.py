"""``p2p-flock alliance``: the group of the alliance commands."""

from __future__ import annotations

import click

from p2p_flock.cli.alliance_create import create
from p2p_flock.cli.alliance_join import join
from p2p_flock.cli.alliance_leave import leave, reactivate, withdraw
from p2p_flock.cli.alliance_list import list_alliances
from p2p_flock.cli.alliance_show import show
from p2p_flock.cli.alliance_watch import watch


@click.group()
def alliance() -> None:
    """Create, find, join, watch and leave alliances."""


for command in (create, list_alliances, show, join, watch, leave, withdraw, reactivate):
    alliance.add_command(command)
