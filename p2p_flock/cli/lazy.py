"""A group whose commands are imported when they run: chain and trio load longer than most commands take to answer."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """A click group that knows its commands by name and place.

    Args:
        places: command name → ``module:attribute``.
    """

    def __init__(self, name: str, places: Mapping[str, str], help: str) -> None:
        super().__init__(name, help=help)
        self._places = places

    @property
    def commands_known(self) -> list[str]:
        """Names of the commands; imports none of them."""
        return list(self._places)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self.commands_known

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._places:
            return None
        module, _, attribute = self._places[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names, without importing the commands for their help texts: a shell waits for this."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415  only where a shell asks

        names = [CompletionItem(name) for name in self.commands_known if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]
