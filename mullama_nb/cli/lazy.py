"""A group of commands whose modules are imported when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A group that imports the module of a command when that is called, listed or completed.

    Parameters
    ----------
    modules : sequence of str
        Modules beside this one; the command in each has its module's name.
    **options
        As for ``click.Group``.
    """

    def __init__(self, *, modules: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self._modules = modules

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return the names, without importing anything."""
        return sorted(self._modules)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Return a command, or None if there is none of that name."""
        if name not in self._modules:
            return None
        module = importlib.import_module(f".{name}", __package__)
        command: click.Command = getattr(module, name)
        return command
